# Copyright (C) tb-rpc contributors.

"""Changes of persistent calls as they come."""

import time

from . import listing
from .records import described, whole
from .replies import redis_error
from .store import fields
from .terminal import age, moment, plain, say

PAUSE = 0.25                            # s between two looks
COUNT = 100                             # of a shard at a time


def register(commands):
    own = commands.add(
        'watch', watch, 'changes of persistent calls as they come, until'
        ' Ctrl-C',
        'tb-rpc-admin watch --device "pump 1" --tenant 7e000000-0000-11ee-8000'
        '-00000000000a',
        'nginx must have "tb_rpc_events on".')
    own.add_argument('--device', metavar='DEVICE', help='of one device')
    own.add_argument('--tenant', metavar='UUID', help='of one tenant')
    own.add_argument('--from', metavar='start|now', dest='since',
                     choices=['start', 'now'], default='now',
                     help='start: what is still there, too (now)')
    own.add_argument('--seconds', metavar='N', type=int,
                     help='end after so long')


def is_on(store):
    text = store.run('HGET', store.in_shard(0, 'config'), 'settings') or ''
    return ' events=1' in ' ' + text


def watch(program):
    o, store = program.options, program.store
    id = listing.device_of(program, o.device) if o.device else None
    shards = [store.shard(id)] if id else range(store.shards)
    last = {store.in_shard(n, 'events'): '0' for n in shards}
    end = time.time() + o.seconds if o.seconds else None

    if not is_on(store):
        say('nginx has "tb_rpc_events off" (the default): nothing new comes')
    if o.since == 'now':
        latest(store, last)

    while end is None or time.time() < end:
        keys, events = list(last), []
        replies = store.ask([(key, ('XREAD', 'COUNT', COUNT, 'STREAMS', key,
                                    last[key])) for key in keys])

        for key, reply in zip(keys, replies):
            if redis_error(reply):
                raise store.failed(reply, 'XREAD: ')
            for entry, values in reply[0][1] if reply else ():
                last[key] = entry
                events.append(fields(values))

        # each shard has an order of its own
        for event in sorted(events, key=lambda e: whole(e.get('time'))):
            tell(program, event, id)

        time.sleep(PAUSE)


def latest(store, last):
    """From what is the last one of each by now."""
    for key, reply in zip(last, store.many(
            [('XREVRANGE', key, '+', '-', 'COUNT', 1) for key in last])):
        if reply:
            last[key] = reply[0][0]


def tell(program, event, device):
    value = described(event.get('rpcId'), event)
    tenant = program.settings.tenant

    if device not in (None, value['deviceId']) \
            or tenant not in (None, value['tenantId']):
        return

    at = whole(event.get('time'))
    value.update(event=event.get('event'), time=at)

    if program.terminal.as_json:
        program.terminal.json(value)
    else:
        program.terminal.line('  '.join(
            [moment(at), '%-10s' % plain(value['event']),
             plain(value['rpcId']),
             value['deviceId'] or '-', plain(value['method']),
             age(at - value['createdTime'])]))
