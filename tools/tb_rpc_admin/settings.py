# Copyright (C) tb-rpc contributors.

"""Options that any command has, from where the first of these has them: the
command line, the environment, a configuration file."""

import os
import re

from .errors import Failure, Usage
from .terminal import shown
from .values import first_line, number, secret_text, uuid

FILE = '/etc/tb-rpc/admin.conf'
MAX_SHARDS = 512
MOST_REPLICAS = 100
WAIT, MOST_WAIT = 1000, 30000           # ms for replicas

# name, metavar (none is a switch), help
OPTIONS = [
    ('config', 'FILE', 'configuration file (%s)' % FILE),
    ('redis', 'URL', 'redis://host[:port][/db], rediss:// for TLS, or'
                     ' unix:/path (redis://127.0.0.1:6379); several are seeds'
                     ' of a cluster, or Sentinels'),
    ('redis-user', 'USER', 'ACL user'),
    ('redis-password-file', 'FILE', 'its password, the first line; or the'
                                    ' variable REDISCLI_AUTH'),
    ('redis-cluster', None, 'it is a Redis Cluster'),
    ('redis-sentinel', 'NAME', 'the URLs are Sentinels, which know the master'
                               ' by this name'),
    ('redis-sentinel-user', 'USER', 'ACL user of the Sentinels'),
    ('redis-sentinel-password-file', 'FILE', 'its password'),
    ('redis-ca', 'FILE', 'PEM, authorities that may sign the server\'s'
                         ' certificate (those of the system)'),
    ('redis-cert', 'FILE', 'PEM, a certificate of ours'),
    ('redis-key', 'FILE', 'PEM, its key'),
    ('redis-wait', 'N[:MS]', 'what is changed must be at N replicas within MS'
                             ' (1000), else the exit code is 3; 0 is none,'
                             ' which is the default'),
    ('prefix', 'TEXT', 'of all keys (tb:)'),
    ('shards', 'N', 'when the Redis is new (128); later PREFIXmeta decides'),
    ('json', None, 'for programs: one JSON object a line'),
]

# what commands have, and may be the same for all of them
DEFAULTS = ['tenant', 'url', 'key', 'alg', 'issuer', 'token-file',
            'api-key-file']

YES = {'': True, 'on': True, 'yes': True, '1': True,
       'off': False, 'no': False, '0': False}


def variable(name):
    return 'TB_RPC_' + name.upper().replace('-', '_')


class Settings:
    """Its members are the names above, with "_" for "-"; what is not set is
    None."""

    def __init__(self, options, environ=os.environ):
        given = vars(options)
        path = given.get('config') or environ.get(variable('config'))
        file = read(path or FILE, must=path is not None)
        known = {name: metavar for name, metavar, _ in OPTIONS}
        known.update({name: 'TEXT' for name in DEFAULTS})

        for name, metavar in known.items():
            member = name.replace('-', '_')
            value, where = given.get(member), '--' + name

            if value is None:
                value = environ.get(variable(name))
                where = variable(name)
            if value is None and name in file:
                value, where = file[name]

            setattr(self, member, self.switch(where, value)
                    if metavar is None else value)

        self.check(environ)

    @staticmethod
    def switch(where, value):
        if value is None or isinstance(value, bool):
            return bool(value)
        if value.lower() not in YES:
            raise Usage('%s must be on or off: %s' % (where, shown(value)))
        return YES[value.lower()]

    def check(self, environ):
        urls = self.redis or ['redis://127.0.0.1:6379']
        self.redis = urls.split() if isinstance(urls, str) else urls
        self.prefix = 'tb:' if self.prefix is None else self.prefix
        self.shards = self.shards and number('--shards', self.shards)
        self.redis_wait = self.redis_wait and waited(self.redis_wait)

        if re.search('[{}]', self.prefix):
            raise Usage('--prefix has braces')
        if self.shards is not None and not 1 <= self.shards <= MAX_SHARDS:
            raise Usage('--shards must be 1 to %d' % MAX_SHARDS)
        if self.tenant is not None:
            self.tenant = uuid('--tenant', self.tenant)
        if self.redis_cluster and self.redis_sentinel:
            raise Usage('--redis-cluster or --redis-sentinel, not both')
        if (self.redis_cert is None) != (self.redis_key is None):
            raise Usage('--redis-cert needs --redis-key, and the other way'
                        ' round')

        self.password = first_line(self.redis_password_file) \
            if self.redis_password_file else environ.get('REDISCLI_AUTH')
        self.sentinel_password = first_line(self.redis_sentinel_password_file)\
            if self.redis_sentinel_password_file else None


def waited(text):
    """(replicas, ms), or nothing."""
    n, colon, ms = text.partition(':')
    n = number('--redis-wait', n, 0, MOST_REPLICAS)
    ms = number('--redis-wait N:MS', ms, 1, MOST_WAIT) if colon else WAIT

    return (n, ms) if n else None


def read(path, must):
    """{name: (value, where)}; lines of a name, blanks, and a value."""
    values = {}
    names = [name for name, _, _ in OPTIONS] + DEFAULTS

    try:
        with open(path, 'rb') as file:
            lines = file.read(1 << 20).split(b'\n')
    except FileNotFoundError:
        if must:
            raise Failure('%s: No such file or directory' % path)
        return values
    except OSError as e:
        raise Failure('%s: %s' % (path, e.strerror))

    for n, line in enumerate(lines, 1):
        line = line.strip()

        if not line or line.startswith(b'#'):
            continue

        name, value = (secret_text(line, '').split(None, 1) + [''])[:2]
        where = '%s, line %d' % (path, n)

        if name not in names or name == 'config':
            raise Usage('%s: unknown option %s' % (where, shown(name)))

        # several servers
        if name == 'redis' and name in values:
            value = values[name][0] + ' ' + value

        values[name] = (value, where)

    return values
