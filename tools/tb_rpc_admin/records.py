# Copyright (C) tb-rpc contributors.

"""Records of persistent calls."""

import json

from . import listing
from .errors import Failure
from .store import fields
from .terminal import count, moment
from .values import is_uuid, number, rpc_shard, uuid

STATUS = ['QUEUED', 'SENT', 'DELIVERED', 'SUCCESSFUL', 'TIMEOUT', 'EXPIRED',
          'FAILED']
FINAL = ['SUCCESSFUL', 'EXPIRED', 'FAILED']
PAGE = 100


def register(commands):
    own = commands.add('record show', show, 'one record',
                       'tb-rpc-admin record show 1f0c9a4e-0000-11ee-8044-'
                       '01f892bcf7de')
    own.add_argument('id', metavar='RPCID', help='or the requestUUID')

    own = commands.add('record list', show_list, "a device's, the newest"
                                                 ' first',
                       'tb-rpc-admin record list "pump 1" --tenant 7e000000-'
                       '0000-11ee-8000-00000000000a --status FAILED')
    own.add_argument('device', metavar='DEVICE', help='id, or name with'
                                                      ' --tenant')
    own.add_argument('--tenant', metavar='UUID')
    own.add_argument('--status', metavar='S', type=str.upper, choices=STATUS,
                     help=', '.join(STATUS))
    own.add_argument('--limit', metavar='N', default='20',
                     help='at most so many, 0 is all (20)')

    own = commands.add('record delete', delete, 'and ends their calls, if'
                                                ' these are open',
                       'tb-rpc-admin record delete 1f0c9a4e-0000-11ee-8044-'
                       '01f892bcf7de')
    own.add_argument('ids', metavar='RPCID', nargs='+')


def find(store, text):
    """The key of a record, by rpcId or requestUUID."""
    id = uuid('the record', text)
    shard = rpc_shard(id, store.shards)

    if shard is not None:
        return store.in_shard(shard, 'rpc', id)

    for n, reply in enumerate(store.many(
            [('FCALL', 'tb_rpc_uuid', 1, key)
             for key in store.each_shard('uuid', id)])):
        if reply[0] == 'ok':
            return store.in_shard(n, 'rpc', reply[1])

    raise Failure('there is no record %s' % id)


def loads(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def whole(text):
    return int(text) if text and text.isdigit() else 0


def described(id, r):
    """As nginx names it."""
    code = r.get('s', '')
    status = STATUS[int(code)] if code.isdigit() and int(code) < len(STATUS) \
        else code
    value = {'rpcId': id, 'deviceId': r.get('d'), 'tenantId': r.get('t'),
             'status': status, 'createdTime': whole(r.get('c')),
             'expirationTime': whole(r.get('e')),
             'oneway': r.get('o') == '1', 'requestId': whole(r.get('i')),
             'method': loads(r.get('m', '')), 'params': loads(r.get('p', '')),
             'retriesUsed': whole(r.get('u'))}

    for field, name in ('n', 'retries'), ('a', 'additionalInfo'), \
            ('R', 'response'), ('q', 'requestUUID'), ('T', 'traceparent'):
        if field in r:
            value[name] = loads(r[field]) if field in 'aR' else r[field]

    return value


def is_final(value):
    return value['status'] in FINAL \
        or value['status'] == 'DELIVERED' and value['oneway']


def read(store, text):
    key = find(store, text)
    tenant = store.run('HGET', key, 't')
    reply = store.fcall('tb_rpc_get', key, tenant or '', '*')

    if reply[0] != 'ok':
        raise Failure('there is no record %s' % text)

    return described(key[-36:], fields(reply[1:]))


def show_one(terminal, value):
    rows = dict(value, createdTime=moment(value['createdTime']),
                expirationTime=moment(value['expirationTime']))

    for name in 'params', 'response', 'additionalInfo':
        if name in rows:
            rows[name] = json.dumps(rows[name], ensure_ascii=False)

    terminal.one(value, list(rows.items()))


def show(program):
    show_one(program.terminal, read(program.store, program.options.id))


def pages(store, id, tenant, status, most):
    """Records, the newest first."""
    offset = 0

    while most == 0 or offset < most:
        reply = store.fcall('tb_rpc_list', store.key('device', id), tenant,
                            '*', status, 'createdTime', 'desc', offset,
                            min(PAGE, most - offset) if most else PAGE)

        if reply[0] != 'ok':
            raise Failure('the records can\'t be listed: %s' % reply[0])

        i = 3
        while i < len(reply):
            n = int(reply[i])
            yield described(reply[i + 1],
                            fields(reply[i + 2:i + 2 + n]))
            i += 2 + n

        offset += int(reply[2])

        if not int(reply[2]) or offset >= int(reply[1]):
            return


def show_list(program):
    o, store = program.options, program.store
    id = listing.device_of(program, o.device)
    device = listing.needed(store, id)
    most = number('--limit', o.limit)

    program.terminal.table(
        ['RPCID', 'CREATED', 'STATUS', 'METHOD', 'RESPONSE'],
        pages(store, id, device['tenantId'], o.status or '', most),
        lambda row: [row['rpcId'], moment(row['createdTime']), row['status'],
                     row['method'],
                     json.dumps(row['response'])[:40]
                     if 'response' in row else ''])


def delete(program):
    store, n = program.store, 0

    for text in program.options.ids:
        if not is_uuid(text):
            uuid('the record', text)

    for text in program.options.ids:
        key = find(store, text)
        tenant = store.run('HGET', key, 't')
        n += store.fcall('tb_rpc_delete', key, tenant or '')[0] == 'ok'

    store.confirm()

    if n < len(program.options.ids):
        raise Failure('%s deleted; there is no record of the other ids'
                      % count(n, 'record'))

    program.terminal.done('%s deleted' % count(n, 'record'), deleted=n)
