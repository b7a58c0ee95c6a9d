# Copyright (C) tb-rpc contributors.

"""What Redis' users may do, as Redis itself says it (ACL DRYRUN)."""

from .replies import redis_error, words

INNER = [('time',), ('type', 'K'), ('exists', 'K'), ('get', 'K'),
         ('set', 'K', '1'), ('del', 'K'), ('xadd', 'K', '*', 'a', '1'),
         ('hget', 'K', 'a'), ('hmget', 'K', 'a'), ('hgetall', 'K'),
         ('hset', 'K', 'a', '1'), ('hsetnx', 'K', 'a', '1'),
         ('hdel', 'K', 'a'), ('hlen', 'K'), ('hexists', 'K', 'a'),
         ('hincrby', 'K', 'a', '1'), ('zadd', 'K', '1', 'a'),
         ('zrem', 'K', 'a'), ('zcard', 'K'), ('zcount', 'K', '0', '1'),
         ('zscore', 'K', 'a'), ('zpopmin', 'K'), ('zrange', 'K', '0', '1'),
         ('zrevrange', 'K', '0', '1'), ('zrangebyscore', 'K', '0', '1'),
         ('llen', 'K'), ('lindex', 'K', '0'), ('lrange', 'K', '0', '1'),
         ('ltrim', 'K', '0', '1'), ('lpop', 'K'), ('rpop', 'K'),
         ('rpush', 'K', 'a'), ('fcall', 'f', '1', 'K'),
         ('spublish', 'REPLY', '1'), ('spublish', 'BELL', '1'),
         ('ping',), ('info',), ('hget', 'META', 'shards')]

LISTEN = [('ssubscribe', 'REPLY'), ('ssubscribe', 'BELL'),
          ('sunsubscribe', 'BELL')]

MAY = {
    'nginx': INNER + LISTEN + [('hmget', 'APIKEY', 'a'), ('get', 'TOKEN'),
                               ('hset', 'USER', 'a', '1'),
                               ('pexpire', 'SESSIONS', '1'),
                               ('hincrby', 'ADDRESS', 'a', '1'),
                               ('hsetnx', 'META', 'a', '1'),
                               ('function', 'load', 'x')],
    'bridge': INNER + LISTEN,
    'admin': INNER + LISTEN + [
        ('hset', 'APIKEY', 'a', '1'), ('set', 'TOKEN', '1'),
        ('function', 'load', 'x'), ('scan', '0'), ('zscan', 'K', '0'),
        ('xread', 'STREAMS', 'K', '0'), ('xrevrange', 'K', '+', '-'),
        ('zadd', 'APIKEYS', '0', 'a'), ('hset', 'USER', 'a', '1'),
        ('hgetall', 'SESSIONS'), ('zadd', 'USERS', '0', 'a'), ('pubsub', 'shardnumsub', 'BELL')]
}

IN_CLUSTER = [('cluster', 'slots'), ('cluster', 'info'), ('wait', '0', '1')]
FOR_REPLICAS = [('wait', '0', '1')]     # with --redis-wait

# a bridge is trusted with calls, not with credentials
MAY_NOT = {
    'nginx': [('hset', 'APIKEY', 'a', '1'), ('set', 'TOKEN', '1'),
              ('flushall',), ('keys', '*')],
    'bridge': [('hgetall', 'APIKEY'), ('get', 'TOKEN'), ('hgetall', 'USER'),
               ('hgetall', 'SESSIONS'), ('flushall',),
               ('hset', 'META', 'a', '1'), ('keys', '*')],
    'admin': [('flushall',)]
}


def names(store):
    return {'K': store.in_shard(0, 'due'), 'META': store.meta,
            'REPLY': store.in_shard(0, 'reply', 'w1'),
            'BELL': store.in_shard(0, 'bell', 'b1'),
            'APIKEY': store.api_key('a' * 64), 'TOKEN': store.token('a' * 64),
            'APIKEYS': store.prefix + 'apikeys',
            'USER': store.prefix + 'user:a', 'USERS': store.prefix + 'users',
            'SESSIONS': '{%suser:a}:sessions' % store.prefix,
            'ADDRESS': store.prefix + 'login:7f000001'}


def check(store, role, user):
    """(state, text)"""
    # each node has users of its own
    found = [check_at(store, link, role, user)
             for link in store.server.masters()]
    unlike = [one for one in found if one[0] != found[0][0]]

    if 'skipped' in [state for state, _ in found] and unlike:
        return 'failed', 'some masters have no user %s, or do not tell' % user

    return next((one for one in found if one[0] != 'ok'), found[0])


def check_at(store, link, role, user):
    known = names(store)
    needed = MAY[role] + (IN_CLUSTER if store.server.is_cluster else [])

    if role == 'admin' and store.settings.redis_wait:
        needed = needed + FOR_REPLICAS

    def asked(commands):
        return link.many([('ACL', 'DRYRUN', user)
                          + tuple(known.get(word, word) for word in command)
                          for command in commands])

    replies = asked(needed)

    for reply in replies:
        if redis_error(reply):
            text = words(reply)
            if 'not found' in text:
                return 'skipped', 'there is no user %s' % user
            if 'DRYRUN' in text.upper() or 'NOPERM' in text:
                return 'skipped', ('rights are seen only by a user that has'
                                   ' +acl|dryrun')

    missing = [' '.join(command) for command, reply in zip(needed, replies)
               if reply != 'OK']
    # a name that stands for a key says more than the key
    too_many = [' '.join(command) for command, reply
                in zip(MAY_NOT[role], asked(MAY_NOT[role])) if reply == 'OK']

    if missing:
        return 'failed', '%s may not: %s (the ACL lines of' \
            ' docs/redis-schema.md)' % (user, ', '.join(missing))
    if too_many:
        return 'warning', '%s may: %s' % (user, ', '.join(too_many))

    return 'ok', '%s has what it needs' % user
