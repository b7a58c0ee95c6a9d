# Copyright (C) tb-rpc contributors.

"""Redis as the commands see it: keys, shards, functions."""

import re
import time
import zlib

from .errors import Failure
from .replies import redis_error, words
from .settings import MAX_SHARDS
from .terminal import shown

SHARDS = 128                            # of a new Redis
SCHEMA = '2'
AGAIN = ('TRYAGAIN', 'MOVED', 'ASK', 'CLUSTERDOWN')
PATIENCE = 10                           # s that those are repeated for


class Store:
    def __init__(self, settings):
        from . import connect           # jwt and the like do without

        self.settings, self.prefix = settings, settings.prefix
        self.server = connect.connect(settings)
        self.known = None

    # commands ---------------------------------------------------------------

    def ask(self, keyed):
        """Replies of (key, command) pairs; errors are among them."""
        replies = self.server.many(keyed)
        end = time.time() + PATIENCE

        while True:
            places = [i for i, reply in enumerate(replies)
                      if redis_error(reply) and self.may_repeat(reply)]

            if not places or time.time() > end:
                return replies

            time.sleep(0.05)
            self.server.refresh()

            for i, reply in zip(places, self.server.many(
                    [keyed[i] for i in places])):
                replies[i] = reply

    def may_repeat(self, error):
        """Nothing was done, and soon it may be."""
        text = words(error)

        return text.startswith(AGAIN if self.server.is_cluster
                               else 'TRYAGAIN')

    def many(self, commands, but=None):
        """Replies of commands whose first argument is the key, or which are
        FCALLs.  An error ends the program, but for what "but" is found in."""
        replies = self.ask([(key_of(command), command)
                            for command in commands])

        for command, reply in zip(commands, replies):
            if redis_error(reply) and (but is None
                                       or but not in words(reply)):
                raise self.failed(reply)

        return replies

    def run(self, *command):
        return self.many([command])[0]

    def fcall(self, function, key, *arguments):
        return self.run('FCALL', function, 1, key, *arguments)

    def everywhere(self, *command):
        """[(where, reply)] of all masters."""
        return [(link.where, link.many([command])[0])
                for link in self.server.masters()]

    def failed(self, error, what=''):
        text = words(error)

        if re.search('unknown command.*(fcall|function)', text.lower()):
            version = self.server.of('').many([('INFO', 'server')])[0]
            m = re.search(r'^redis_version:([0-9.]+)', version, re.M) \
                if isinstance(version, str) else None

            if not m or re.match(r'[0-6]\.', m.group(1)):
                return Failure('Redis 7.0 or newer is needed, this is %s'
                               % (m.group(1) if m else 'an older one'))

        return Failure('Redis: %s%s' % (what, text))

    def confirm(self):
        """Unconfirmed, unless as many replicas as --redis-wait asks for have
        what was written."""
        if self.settings.redis_wait:
            from . import replicas

            replicas.confirm(self.server.used(), *self.settings.redis_wait)

    def now(self):
        """Epoch ms, by the clock of Redis."""
        reply = self.run('TIME')

        if not isinstance(reply, list) or len(reply) != 2:
            raise Failure('Redis: that is no reply of a Redis')

        return int(reply[0]) * 1000 + int(reply[1]) // 1000

    # shards and keys --------------------------------------------------------

    @property
    def meta(self):
        return self.prefix + 'meta'

    def check_schema(self):
        """Nothing is written to what another version has made."""
        schema = self.run('HGET', self.meta, 'schema')

        if schema not in (None, SCHEMA):
            raise Failure('%s says schema %s, not 2: this Redis is of another'
                          ' version; use another --prefix or an empty Redis'
                          % (self.meta, shown(schema)))

    def new(self):
        """A new Redis gets its shards, as nginx gives them."""
        self.check_schema()
        self.run('FCALL', 'tb_rpc_version', 0)      # without it nothing works
        self.many([('HSETNX', self.meta, 'shards',
                    self.settings.shards or SHARDS),
                   ('HSETNX', self.meta, 'schema', SCHEMA)])

        return self.shards

    @property
    def shards(self):
        if self.known is None:
            self.known = self.find_shards()
        return self.known

    def find_shards(self):
        self.check_schema()
        shards = self.run('HGET', self.meta, 'shards')

        if shards is None:
            raise Failure('there is no %s: no nginx was started with this'
                          ' Redis and prefix, and no device was added'
                          % self.meta)
        if not re.match(r'[0-9]{1,4}\Z', shards) \
                or not 1 <= int(shards) <= MAX_SHARDS:
            raise Failure('%s has a wrong number of shards: %s'
                          % (self.meta, shown(shards)))
        if self.settings.shards not in (None, int(shards)):
            raise Failure('%s says %s shards, not %d'
                          % (self.meta, shards, self.settings.shards))

        return int(shards)

    def shard(self, uuid):
        return shard_of(uuid, self.shards)

    def in_shard(self, n, *name):
        return '%s{s%03o}:%s' % (self.prefix, n, ':'.join(name))

    def key(self, kind, uuid, *more):
        """tb:{s}:KIND:UUID, in the shard of a device or a tenant."""
        return self.in_shard(self.shard(uuid), kind, uuid, *more)

    def each_shard(self, *name):
        return [self.in_shard(n, *name) for n in range(self.shards)]

    def token(self, entry):
        """Of an entry of a device's list: SHA256, basic:SHA256, cert:SHA256."""
        return self.prefix + (entry if ':' in entry else 'token:' + entry)

    def api_key(self, sha):
        return '%sapikey:%s' % (self.prefix, sha)


def shard_of(uuid, shards):
    return zlib.crc32(uuid.encode()) % shards


def key_of(command):
    if command[0] == 'FCALL':
        return command[3] if len(command) > 3 else ''
    return command[1] if len(command) > 1 else ''


def fields(reply):
    """A hash, as a dict."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2]))
