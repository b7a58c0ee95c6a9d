# Copyright (C) tb-rpc contributors.

"""Connections to Redis: plain, TLS, by a Sentinel, of a Cluster.

Commands are written and replies read on redis-py's connections themselves:
thousands at a time, and the replies as they are, whatever version it has.
"""

import re
import ssl

try:
    import redis
    import redis.backoff
    import redis.cluster
    import redis.retry
    import redis.sentinel
except ImportError:
    redis = None

from .errors import Failure, Usage
from .replies import FIRST, words
from .terminal import shown

CONNECT = 10                            # s
REPLY = 60
MANY = 2000                             # commands sent before replies are read

# what needs no replica; anything else is taken for a write
READS = ('EXISTS', 'GET', 'HGET', 'HGETALL', 'HMGET', 'INFO', 'TIME', 'WAIT',
         'ZRANGE')
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


def encode(commands):
    """As one text of bytes, of which redis-py would make many."""
    out = bytearray()

    for command in commands:
        out += b'*%d\r\n' % len(command)
        for arg in command:
            if not isinstance(arg, bytes):
                arg = str(arg).encode('utf-8', 'surrogateescape')
            out += b'$%d\r\n%s\r\n' % (len(arg), arg)

    return bytes(out)


class Link:
    """A connection, opened when it is first used."""

    def __init__(self, connection, where):
        self.connection, self.where = connection, where
        self.wrote = False

    def open(self):
        try:
            self.connection.connect()
        except redis.ResponseError as e:
            raise Failure('%s: %s' % (self.where, words(e)))
        except (redis.RedisError, OSError) as e:
            raise Failure('%s: %s' % (self.where, broken(e)))

    def many(self, commands):
        """Their replies; an error is an exception among them."""
        replies = []

        for i in range(0, len(commands), MANY):
            part = commands[i:i + MANY]
            self.send(part)
            replies += [self.reply() for _ in part]

        return replies

    def send(self, commands):
        self.open()

        if any(command[0] not in READS for command in commands):
            self.wrote = True

        try:
            self.connection.send_packed_command([encode(commands)])
        except (redis.RedisError, OSError) as e:
            self.lost(e)

    def reply(self):
        try:
            return self.connection.read_response()
        except redis.ResponseError as e:
            # redis-py has such errors close the connection, but for these
            return e
        except (redis.RedisError, OSError, ValueError) as e:
            self.lost(e)

    def waits(self, seconds):
        """Is there anything to read within so many seconds?"""
        try:
            return self.connection.can_read(timeout=seconds)
        except (redis.RedisError, OSError) as e:
            self.lost(e)

    def lost(self, e):
        self.connection.disconnect()
        raise Lost('Redis: %s' % broken(e))

    def another(self):
        """A second connection to the same server."""
        return Link(type(self.connection)(**self.connection.tb_options),
                    self.where)


class Lost(Failure):
    """The connection broke; what was done is not known."""


def broken(e):
    """Of an error of the connection."""
    if type(e).__name__ in FIRST:
        return words(e)

    while isinstance(e, redis.RedisError) and e.__context__ is not None \
            and not isinstance(e, redis.ResponseError):
        e = e.__context__

    text = getattr(e, 'strerror', None) or str(e) or type(e).__name__

    if isinstance(e, ssl.SSLCertVerificationError):
        return "the server's certificate: %s (--redis-ca)" % e.verify_message
    if isinstance(e, ssl.SSLError):
        return 'TLS: %s (is it a port with TLS?  --redis-cert?)' % text
    if isinstance(e, ConnectionResetError):
        return '%s (is it a port with TLS?  --redis-cert?)' % text
    if isinstance(e, redis.InvalidResponse) or isinstance(e, ValueError):
        return 'that is no reply of a Redis'
    if isinstance(e, (redis.TimeoutError, TimeoutError)):
        return 'no reply in time'
    if 'closed by server' in text:
        return 'the connection was closed'
    return text


def options(settings, scheme, user, password):
    """What redis-py's connections have in common."""
    given = {'username': user or None, 'password': password,
             'socket_timeout': REPLY, 'encoding': 'utf-8',
             'encoding_errors': 'surrogateescape', 'decode_responses': True,
             'retry': redis.retry.Retry(redis.backoff.NoBackoff(), 0)}

    if scheme != 'unix':
        given['socket_connect_timeout'] = CONNECT
        given['socket_keepalive'] = True

    if scheme == 'rediss':
        given.update(ssl_cert_reqs='required', ssl_check_hostname=True,
                     ssl_ca_certs=settings.redis_ca,
                     ssl_certfile=settings.redis_cert,
                     ssl_keyfile=settings.redis_key)

    return given


def link(settings, scheme, host, port, db):
    given = options(settings, scheme, settings.redis_user, settings.password)
    given['db'] = db
    where = '%s://%s' % (scheme, host if port is None
                         else '%s:%d' % (host, port))

    if scheme == 'unix':
        where = 'unix:' + host
        kind = redis.UnixDomainSocketConnection
        given['path'] = host
    else:
        kind = redis.SSLConnection if scheme == 'rediss' else redis.Connection
        given.update(host=host, port=port)

    connection = kind(**given)
    connection.tb_options = given

    return Link(connection, where)


def connect(settings):
    """A Single or a Cluster."""
    if redis is None:
        raise Failure('redis-py is not installed: the package python3-redis')

    urls = [parse(url) for url in settings.redis]

    for scheme, _, _, db in urls:
        if scheme != urls[0][0]:
            raise Usage('--redis: all of them with TLS, or none')
        if scheme == 'unix' and (settings.redis_cluster
                                 or settings.redis_sentinel):
            raise Usage('--redis unix: is one server')
        if db and settings.redis_cluster:
            raise Usage('--redis: a cluster has database 0 only')

    if settings.redis_cluster:
        return Cluster(settings, urls)
    if settings.redis_sentinel:
        return Single(link(settings, *master(settings, urls)))
    if len(urls) > 1:
        raise Usage('several --redis need --redis-cluster or'
                    ' --redis-sentinel NAME')
    return Single(link(settings, *urls[0]))


def master(settings, urls):
    """What the Sentinels say: (scheme, host, port, database)"""
    scheme, name = urls[0][0], settings.redis_sentinel
    given = options(settings, scheme, settings.redis_sentinel_user,
                    settings.sentinel_password)
    del given['retry']

    if scheme == 'rediss':
        given['ssl'] = True

    given['socket_timeout'] = CONNECT
    sentinels = redis.sentinel.Sentinel(
        [(host, port) for _, host, port, _ in urls], sentinel_kwargs=given)

    try:
        host, port = sentinels.discover_master(name)
    except redis.RedisError as e:
        raise Failure('Sentinel: %s' % (words(e) if isinstance(
            e, redis.ResponseError) else e))

    return scheme, host, int(port), urls[0][3]


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

    def used(self):
        return [self.link]

    def of(self, key):
        return self.link

    def refresh(self):
        pass


class Cluster:
    """Many; redis-py knows which one has a key."""

    is_cluster = True

    def __init__(self, settings, urls):
        self.settings, self.links, self.scheme = settings, {}, urls[0][0]
        given = options(settings, self.scheme, settings.redis_user,
                        settings.password)
        del given['retry']

        if self.scheme == 'rediss':
            given['ssl'] = True

        nodes = [redis.cluster.ClusterNode(host, port)
                 for _, host, port, _ in urls]

        try:
            self.cluster = redis.cluster.RedisCluster(
                startup_nodes=nodes, require_full_coverage=False, **given)
        except (redis.RedisError, OSError) as e:
            raise Failure('%s: %s' % (' '.join(settings.redis), e))

    def link_of(self, node):
        address = node.host, int(node.port)

        if address not in self.links:
            self.links[address] = link(self.settings, self.scheme, *address,
                                       0)
        return self.links[address]

    def of(self, key):
        node = self.cluster.get_node_from_key(key or '')

        if node is None:
            raise Failure('CLUSTERDOWN: no node has the slot of %s' % key)

        return self.link_of(node)

    def masters(self):
        return [self.link_of(node) for node in self.cluster.get_primaries()]

    def used(self):
        """Those that commands went to, masters or not by now."""
        return list(self.links.values())

    def refresh(self):
        try:
            self.cluster.nodes_manager.initialize()
        except (redis.RedisError, OSError) as e:
            raise Failure('the cluster does not answer: %s' % e)

    def many(self, keyed):
        replies, parts = [None] * len(keyed), {}

        for i, (key, _) in enumerate(keyed):
            parts.setdefault(self.of(key), []).append(i)

        for one, places in parts.items():
            for i, reply in zip(places, one.many([keyed[i][1]
                                                  for i in places])):
                replies[i] = reply

        return replies
