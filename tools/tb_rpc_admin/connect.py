# Copyright (C) tb-rpc contributors.

"""Where a Redis is: one server, TLS, by a Sentinel, a Cluster."""

import re

from .cluster import Cluster
from .errors import Failure, Usage
from .link import CONNECT, Link
from .replies import redis_error, words
from .terminal import shown

URL = re.compile(r'(rediss?)://(\[[^]/]+\]|[^:/@\[\]]+)(?::(\d+))?'
                 r'(?:/(\d*))?\Z')


def parse(url):
    """(scheme, host or path, port, database)"""
    if url.startswith('unix:') and len(url) > 5:
        return 'unix', url[5:], None, 0

    if re.match('rediss?://.*@', url):
        raise Usage('--redis must not carry a user or password: use'
                    ' --redis-user and --redis-password-file')

    m = URL.match(url)

    if not m or int(m.group(3) or 1) > 65535:
        raise Usage('--redis must be redis://host[:port][/db], rediss:// or'
                    ' unix:/path: %s' % shown(url))

    return (m.group(1), m.group(2).strip('[]'), int(m.group(3) or 6379),
            int(m.group(4) or 0))


def context(settings, scheme):
    """Of TLS; loaded for that only."""
    if scheme != 'rediss':
        return None

    import ssl

    file = settings.redis_ca

    try:
        made = ssl.create_default_context(cafile=file)
        file = settings.redis_cert
        if file:
            made.load_cert_chain(file, settings.redis_key)
    except OSError as e:                # that of the ssl module is one
        raise Failure('%s: %s' % (file, e.strerror or e))

    return made


def login(user, password):
    """The words of AUTH."""
    if user:
        return user, password or ''
    return (password,) if password else ()


def connect(settings):
    """A Single or a Cluster."""
    urls = [parse(url) for url in settings.redis]

    for scheme, _, _, db in urls:
        if scheme != urls[0][0]:
            raise Usage('--redis: all of them with TLS, or none')
        if scheme == 'unix' and (settings.redis_cluster
                                 or settings.redis_sentinel):
            raise Usage('--redis unix: is one server')
        if db and settings.redis_cluster:
            raise Usage('--redis: a cluster has database 0 only')

    if len(urls) > 1 and not (settings.redis_cluster
                              or settings.redis_sentinel):
        raise Usage('several --redis need --redis-cluster or'
                    ' --redis-sentinel NAME')

    scheme, host, port, db = urls[0]
    tls = context(settings, scheme)
    words_of_auth = login(settings.redis_user, settings.password)

    def make(host, port):
        return Link((scheme, host, port), words_of_auth, db, tls)

    if settings.redis_cluster:
        return Cluster([(host, port) for _, host, port, _ in urls], make)
    if settings.redis_sentinel:
        return Single(make(*master(settings, urls, tls)))
    return Single(make(host, port))


def master(settings, urls, tls):
    """Its host and port, by the first Sentinel that knows it."""
    name, failed = settings.redis_sentinel, []

    for scheme, host, port, _ in urls:
        link = Link((scheme, host, port),
                    login(settings.redis_sentinel_user,
                          settings.sentinel_password), 0, tls, CONNECT)

        try:
            reply = link.many([('SENTINEL', 'GET-MASTER-ADDR-BY-NAME',
                                name)])[0]
        except Failure as e:
            failed.append(str(e))
            continue
        finally:
            link.close()

        if isinstance(reply, list) and len(reply) == 2 \
                and str(reply[1]).isdigit():
            return reply[0], int(reply[1])

        failed.append('%s: %s' % (
            link.where, words(reply) if redis_error(reply)
            else 'there is no master %s' % shown(name) if reply is None
            else 'that is no reply of a Sentinel'))

    raise Failure('Sentinel: ' + '; '.join(failed))


class Single:
    """One server; all keys are there."""

    is_cluster = False

    def __init__(self, link):
        self.link = link

    def many(self, keyed):
        """Replies of (key, command) pairs; the key names the server."""
        return self.link.many([command for _, command in keyed])

    def masters(self):
        return [self.link]

    def of(self, key):
        return self.link

    def refresh(self):
        pass
