# Copyright (C) tb-rpc contributors.

"""Open calls of a device: which there are, and an end of them."""

import re

from . import listing
from .errors import Failure
from .records import loads, whole
from .store import fields
from .terminal import age, count
from .values import is_uuid

OPEN = re.compile(r'([PL])([pqshdx])([01])([0-9a-f-]{36}) (\d+) (\d+) (\d+)'
                  r' (\d+)(?: (\d+) (\S+))?')
STATES = {'p': 'waiting', 'q': 'queued', 's': 'sent', 'h': 'polled',
          'd': 'delivered', 'x': 'passed over'}
WHY = '{"error":"The call was cancelled by an operator."}'


def register(commands):
    own = commands.add(
        'calls list', show, 'the open calls of a device (also: calls DEVICE)',
        'tb-rpc-admin calls "pump 1" --tenant 7e000000-0000-11ee-8000-'
        '00000000000a',
        'States: waiting (for the device, or its turn), queued (for its'
        ' bridge), sent (the\nbridge has taken it), polled (handed to an open'
        ' poll), delivered (acknowledged,\nthe answer is waited for), passed'
        ' over (others go on without its answer).')
    device(own)

    own = commands.add(
        'calls cancel', cancel, 'ends open calls of a device',
        'tb-rpc-admin calls cancel "pump 1" 1185043217 --tenant 7e000000-0000-'
        '11ee-8000-00000000000a',
        'A call that was sent or queued is FAILED, and its caller is told at'
        ' once. One that\nnever left is removed, a persistent one with its'
        ' record; the caller of a lightweight\none gets the error of its'
        ' timeout then.')
    device(own)
    own.add_argument('ids', metavar='REQUESTID|RPCID', nargs='+')

    own = commands.add('calls purge', purge, 'ends all open calls of a device',
                       'tb-rpc-admin calls purge de000000-0000-11ee-8000-'
                       '000000000001')
    device(own)


def device(own):
    own.add_argument('device', metavar='DEVICE', help='id, or name with'
                                                      ' --tenant')
    own.add_argument('--tenant', metavar='UUID')


def opened(store, id):
    """Open calls in the order in which the device gets them."""
    calls = []

    for request, text in fields(store.run('HGETALL', store.key(
            'inflight', id))).items():
        m = OPEN.match(text)

        if m:
            kind, state, oneway, rpc, attempt, wrap, time, _, expiry, _ = \
                m.groups()
            calls.append({
                'requestId': int(request), 'rpcId': rpc,
                'persistent': kind == 'P', 'state': STATES[state],
                'oneway': oneway == '1', 'attempt': int(attempt),
                'since': int(time), 'wrap': int(wrap),
                'expirationTime': int(expiry) if expiry else None})

    calls.sort(key=lambda call: (call.pop('wrap'), call['requestId']))
    describe(store, id, calls)

    return calls


def describe(store, id, calls):
    """Method and params: of the record, or of what is to be sent."""
    body = store.key('body', id)
    replies = store.many(
        [('HMGET', store.in_shard(store.shard(id), 'rpc', call['rpcId']),
          'm', 'p', 'c', 'e') if call['persistent']
         else ('HGET', body, call['requestId']) for call in calls])

    for call, reply in zip(calls, replies):
        method = params = created = None

        if call['persistent']:
            method, params, created, expiry = reply
            call['expirationTime'] = whole(expiry) or None
            created = whole(created)
            method = loads(method) if method else None
            params = loads(params) if params else None

        elif reply:
            envelope = loads(reply.rstrip(',') + '}')
            if isinstance(envelope, dict):
                method, params = envelope.get('method'), envelope.get('params')
                created = envelope.get('createdTime')

        call.update(method=method, params=params, createdTime=created or None)


def show(program):
    store = program.store
    id = listing.device_of(program, program.options.device)
    listing.needed(store, id)
    now = store.now()

    def left(call):
        expiry = call['expirationTime']
        return age(expiry - now) if expiry else ''

    program.terminal.table(
        ['REQUEST', 'STATE', 'FOR', 'AGE', 'LEFT', 'KIND', 'TRY', 'METHOD',
         'RPCID'], opened(store, id),
        lambda call: [
            call['requestId'], call['state'], age(now - call['since']),
            age(now - call['createdTime']) if call['createdTime'] else '',
            left(call),
            ('persistent' if call['persistent'] else 'held')
            + (', one-way' if call['oneway'] else ''),
            call['attempt'], call['method'], call['rpcId']])


def end(store, id, call, tenant):
    """Was there something to end?"""
    key, request = store.key('device', id), call['requestId']

    if call['attempt'] and store.fcall('tb_rpc_failed', key, request, WHY,
                                       call['attempt']):
        return True

    if call['persistent']:
        return store.fcall('tb_rpc_delete', store.in_shard(
            store.shard(id), 'rpc', call['rpcId']), tenant)[0] == 'ok'

    return store.fcall('tb_rpc_cancel', key, call['rpcId'],
                       request)[0] != 'gone'


def cancel(program):
    o, store = program.options, program.store
    id = listing.device_of(program, o.device)
    device, calls, chosen = listing.needed(store, id), opened(store, id), []

    for text in o.ids:
        found = [call for call in calls if text.lower() == call['rpcId']
                 or not is_uuid(text) and text == str(call['requestId'])]
        if not found:
            raise Failure('device %s has no open call %s' % (id, text))
        chosen += found

    finish(program, id, device, chosen)


def purge(program):
    store = program.store
    id = listing.device_of(program, program.options.device)
    finish(program, id, listing.needed(store, id), opened(store, id))


def finish(program, id, device, calls):
    n = sum(end(program.store, id, call, device['tenantId'])
            for call in calls)
    program.store.confirm()
    program.terminal.done('%s ended' % count(n, 'call'), device=id, ended=n)
