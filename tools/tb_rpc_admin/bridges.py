# Copyright (C) tb-rpc contributors.

"""Bridges, as far as Redis knows of them: by devices and by queues."""

from . import listing
from .replies import redis_error, words
from .terminal import Progress, age, say

COUNT = 1000                            # of a ZSCAN


def register(commands):
    commands.add(
        'bridge list', show, 'their devices, what waits, how long, and who'
        ' listens',
        'tb-rpc-admin bridge list',
        'Looks at every device. A queue is dead when calls wait in it and'
        ' nobody listens\nto its bell.')


class Bridge:
    def __init__(self, name):
        self.name = name
        self.online = self.attached = self.routed = 0
        self.waiting, self.oldest, self.listeners = 0, None, None


def found(program):
    """{name: Bridge}"""
    store, bridges = program.store, {}
    now, told, n = store.now(), Progress('devices'), 0

    def of(name):
        return bridges.setdefault(name, Bridge(name))

    for _, device in listing.devices(store, '-', '+'):
        n += 1
        told.at(n)

        if device.get('bridge'):
            bridge = of(device['bridge'])
            bridge.attached += 1
            bridge.online += listing.is_online(device, now)
        if device.get('route'):
            of(device['route']).routed += 1

    # queues of bridges that have no device any more
    for name in with_queues(store):
        of(name)

    for bridge in bridges.values():
        look(store, bridge, now)

    return bridges


def with_queues(store):
    """What due says of queues: each that has something is there."""
    names = set()

    for key in store.each_shard('due'):
        cursor = '0'

        while True:
            cursor, items = store.run('ZSCAN', key, cursor, 'MATCH', '#*',
                                      'COUNT', COUNT)
            names.update(item[1:] for item in items[::2])
            if cursor in ('0', 0):
                break

    return names


def look(store, bridge, now):
    queues = store.each_shard('queue', bridge.name)
    lengths = store.many([('LLEN', key) for key in queues])
    bridge.waiting = sum(lengths)
    heads = [(n, reply) for n, reply in enumerate(store.many(
        [('LINDEX', key, 0) for key in queues])) if reply]
    calls = store.many([('HGET', store.in_shard(n, 'inflight',
                                                head.split(' ')[-1]),
                         head.split(' ')[0]) for n, head in heads])
    times = [int(call.split(' ')[3]) for call in calls
             if call and len(call.split(' ')) > 3]

    if times:
        bridge.oldest = now - min(times)

    bell = store.in_shard(0, 'bell', bridge.name)
    reply = store.ask([(bell, ('PUBSUB', 'SHARDNUMSUB', bell))])[0]

    if redis_error(reply):
        say('who listens is not known: %s' % words(reply))
    else:
        bridge.listeners = int(reply[1])


def described(bridge):
    state = 'unknown' if bridge.listeners is None else 'listens' \
        if bridge.listeners else 'dead queue' if bridge.waiting else 'away'

    return {'name': bridge.name, 'state': state,
            'listeners': bridge.listeners, 'online': bridge.online,
            'attached': bridge.attached, 'routed': bridge.routed,
            'waiting': bridge.waiting, 'oldest': bridge.oldest}


def show(program):
    bridges = found(program)

    program.terminal.table(
        ['NAME', 'STATE', 'ONLINE', 'ATTACHED', 'ROUTED', 'WAITING',
         'OLDEST'],
        [described(bridges[name]) for name in sorted(bridges)],
        lambda row: [row['name'], row['state'], row['online'],
                     row['attached'], row['routed'], row['waiting'],
                     age(row['oldest'])])
