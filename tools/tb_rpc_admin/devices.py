# Copyright (C) tb-rpc contributors.

"""Devices: added, changed, moved, deleted, found."""

import csv
import io

from . import listing, tokens, values
from .errors import Failure, Usage
from .store import shard_of
from .terminal import Progress, age, count, say
from .values import secret_of, uuid


def register(commands):
    own = commands.add(
        'device add', add, 'a device, or changes of it',
        'tb-rpc-admin device add de000000-0000-11ee-8000-000000000001'
        ' --tenant 7e000000-0000-11ee-8000-00000000000a --name "pump 1"')
    own.add_argument('device', metavar='UUID')
    own.add_argument('--tenant', metavar='UUID')
    own.add_argument('--customer', metavar='UUID')
    own.add_argument('--name', metavar='TEXT', help='unique in the tenant; an'
                                                    ' empty one is none')
    own.add_argument('--strategy', metavar='S', help='burst,'
                     ' sequential_on_ack or sequential_on_response')
    own.add_argument('--bridge', metavar='NAME', help='a static route')
    own.add_argument('--token', metavar='TOKEN',
                     help='- is the standard input')
    own.add_argument('--token-file', metavar='FILE', help='its first line')
    own.add_argument('--move', action='store_true',
                     help='also if it is another tenant\'s')

    own = commands.add(
        'device del', delete, 'ends its open calls and takes its tokens away;'
        ' records stay until their time is over',
        'tb-rpc-admin device del de000000-0000-11ee-8000-000000000001')
    one_device(own)

    own = commands.add(
        'device show', show, 'what Redis knows of it',
        'tb-rpc-admin device show "pump 1" --tenant'
        ' 7e000000-0000-11ee-8000-00000000000a')
    one_device(own)

    own = commands.add(
        'device list', show_list, 'in the order of names',
        'tb-rpc-admin device list --tenant 7e000000-0000-11ee-8000-'
        '00000000000a --name "pump*" --online')
    some_devices(own)
    own.add_argument('--online', action='store_true', help='that are there')
    own.add_argument('--limit', metavar='N', help='at most so many')

    own = commands.add(
        'device export', export, 'as CSV that "device import" reads; without'
        ' tokens, which nobody knows',
        'tb-rpc-admin device export > devices.csv')
    some_devices(own)

    own = commands.add('shard', shard, 'the shard of a device',
                       'tb-rpc-admin shard de000000-0000-11ee-8000-'
                       '000000000001')
    own.add_argument('device', metavar='UUID')


def one_device(own):
    own.add_argument('device', metavar='DEVICE', help='id, or name with'
                                                      ' --tenant')
    own.add_argument('--tenant', metavar='UUID')


def some_devices(own):
    own.add_argument('--tenant', metavar='UUID', help='of one tenant')
    own.add_argument('--name', metavar='NAME|PREFIX*', help='with --tenant')
    own.add_argument('--customer', metavar='UUID')
    own.add_argument('--bridge', metavar='NAME', help='that are there now, or'
                                                      ' routed there')


# --- add and del ------------------------------------------------------------

def put_name(store, tenant, name, id):
    store.run('HSET', store.key('names', tenant), name, id)


def forget_name(store, tenant, name, id):
    """It has no longer, unless another device has it by now."""
    if tenant and name:
        names = store.key('names', tenant)
        if store.run('HGET', names, name) == id:
            store.run('HDEL', names, name)


def add(program):
    o, store = program.options, program.store
    id = uuid('the device id', o.device)
    tenant = program.settings.tenant
    customer = uuid('--customer', o.customer) if o.customer else ''
    token = None
    fields = []

    if tenant is None:
        raise Usage('device add: --tenant is missing')
    if o.token is not None or o.token_file is not None:
        token = secret_of(o.token, o.token_file, ('--token', '--token'))
    if o.strategy is not None:
        fields += ['strategy', o.strategy
                   and values.strategy('--strategy', o.strategy)]
    if o.bridge is not None:
        fields += ['bridge', values.bridge('--bridge', o.bridge)]
    if o.name is not None:
        fields += ['name', values.name('--name', o.name)]

    store.new()
    old = listing.read(store, id) or {}
    had = old.get('tenantId'), old.get('name', '')

    if had[0] not in (None, tenant) and not o.move:
        raise Failure('device %s is of tenant %s; --move makes it one of %s'
                      % (id, had[0], tenant))

    if token is not None:
        tokens.free(store, id, token)

    store.fcall('tb_rpc_device_put', store.key('device', id), tenant,
                customer, *fields)
    name = had[1] if o.name is None else o.name

    # the new name first: there is no moment without one
    if o.name is not None or tenant != had[0]:
        if name:
            put_name(store, tenant, name, id)
        if (tenant, name) != had:
            forget_name(store, *had, id)

    if token is not None:
        tokens.put(store, id, token)

    store.confirm()
    word = 'changed' if old else 'added'
    program.terminal.done('device %s %s' % (id, word), device=id, done=word)


def delete(program):
    store = program.store
    id = listing.device_of(program, program.options.device)
    old = listing.read(store, id) or {}
    listed = list(tokens.listed(store, id))

    # nobody logs in as a device that is to go
    tokens.drop(store, id, listed)
    known = store.fcall('tb_rpc_device_del', store.key('device', id))
    forget_name(store, old.get('tenantId'), old.get('name'), id)

    if not known and not listed:
        raise Failure('there is no device %s (another --prefix?)' % id)

    store.confirm()
    program.terminal.done(
        'device %s deleted%s' % (id, ', and %s' % count(len(listed), 'token')
                                 if listed else ''),
        device=id, done='deleted', tokens=len(listed))


# --- looking ----------------------------------------------------------------

def described(id, device, now):
    until = device.get('until', '')

    return {'id': id, 'tenantId': device.get('tenantId'),
            'customerId': device.get('customerId') or None,
            'name': device.get('name'), 'strategy': device.get('strategy'),
            'route': device.get('route'), 'bridge': device.get('bridge'),
            'online': listing.is_online(device, now),
            'until': int(until) if until.lstrip('-').isdigit() else None}


def show(program):
    store = program.store
    id = listing.device_of(program, program.options.device)
    device, now = listing.needed(store, id), store.now()
    names = ['inflight', 'pending', 'index', 'tokens']
    counts = store.many([(command, store.key(name, id))
                         for command, name in zip(
                             ['HLEN', 'ZCARD', 'ZCARD', 'HLEN'], names)])
    value = described(id, device, now)
    value.update(shard=store.shard(id), session=device.get('session'),
                 poll=(device.get('poll') or '').split(' ')[0] or None,
                 held=device.get('held'), open=counts[0], waiting=counts[1],
                 records=counts[2], tokens=counts[3])
    until = value['until']
    rows = dict(value)
    rows['until'] = 'always' if until == -1 else until and (
        'for %s' % age(until - now) if until > now
        else '%s ago' % age(now - until))

    program.terminal.one(value, list(rows.items()))


def chosen(program):
    """(id, hash) of the devices that the options mean."""
    o, tenant = program.options, program.settings.tenant
    name = o.name or ''

    if name and tenant is None:
        raise Usage('--name needs --tenant')

    customer = o.customer and uuid('--customer', o.customer)
    low, high = listing.between(
        tenant, name[:-1] if name.endswith('*') else name and name + '/')

    for id, device in listing.devices(program.store, low, high):
        if not device.get('tenantId'):
            continue
        if name and not name.endswith('*') and device.get('name') != name:
            continue
        if customer and device.get('customerId') != customer:
            continue
        if o.bridge and o.bridge not in (device.get('bridge'),
                                         device.get('route')):
            continue
        yield id, device


def show_list(program):
    o, now = program.options, program.store.now()
    limit = values.number('--limit', o.limit, 1) if o.limit else None
    n = [0]

    def rows():
        for id, device in chosen(program):
            row = described(id, device, now)
            if o.online and not row['online']:
                continue
            yield row
            n[0] += 1
            if n[0] == limit:
                return

    program.terminal.table(
        ['ID', 'TENANT', 'ONLINE', 'BRIDGE', 'NAME'], rows(),
        lambda row: [row['id'], row['tenantId'], row['online'],
                     row['bridge'] or row['route'], row['name']])

    if not program.terminal.as_json:
        say(count(n[0], 'device'))


def export(program):
    terminal, told = program.terminal, Progress('devices')
    columns = ['id', 'tenant', 'customer', 'name', 'strategy', 'bridge']
    n = 0

    if not terminal.as_json:
        terminal.line(','.join(columns))

    for batch in listing.batches(chosen(program)):
        text = io.StringIO()
        out = csv.writer(text, lineterminator='\n')

        for id, device in batch:
            row = [id] + [device.get(name) or '' for name in
                          ('tenantId', 'customerId', 'name', 'strategy',
                           'route')]
            if terminal.as_json:
                terminal.json(dict(zip(columns, row)))
            else:
                out.writerow(row)

        n += len(batch)
        told.at(n)
        terminal.bytes(text.getvalue().encode('utf-8', 'surrogateescape'))

    say(count(n, 'device'))


def shard(program):
    """Without a Redis, if --shards says how many there are."""
    id = uuid('the device id', program.options.device)
    shards = program.settings.shards

    if shards is None:
        shards = program.store.shards

    n = shard_of(id, shards)
    program.terminal.done(str(n), device=id, shard=n, tag='s%03o' % n)
