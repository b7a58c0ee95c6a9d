# Copyright (C) tb-rpc contributors.

"""The lists of devices, tb:{s}:devices, and what is found by them; those of API
keys and users."""

import heapq
import itertools

from .errors import Failure, Usage
from .store import fields
from .terminal import shown
from .values import is_uuid

PAGE = 256                              # members of a shard at a time
BATCH = 500                             # devices looked at together
UUID_LEN = 36


def between(tenant, prefix=''):
    """The range of members of a tenant whose name begins so; of all."""
    if tenant is None:
        return '-', '+'

    text = ('%s/%s' % (tenant, prefix)).encode('utf-8', 'surrogateescape')
    return b'[' + text, b'(' + text + b'\xff'


def of_list(store, key, first, high):
    """Members of one list from a page on."""
    page = first

    while True:
        yield from page

        if len(page) < PAGE:
            return

        page = store.run('ZRANGE', key, '(' + page[-1], high, 'BYLEX',
                         'LIMIT', 0, PAGE)


def known(program, key, read):
    """Rows of the list of all API keys, or users; of those of --tenant, if there
    is one.  read(names) makes theirs, many at a time."""
    store, tenant = program.store, program.settings.tenant
    first = store.run('ZRANGE', key, '-', '+', 'BYLEX', 'LIMIT', 0, PAGE)

    for batch in batches(of_list(store, key, first, '+')):
        yield from (row for row in read(batch)
                    if tenant in (None, row['tenantId']))


def members(store, low, high):
    """Of all shards, in the order of tenants and names."""
    lists = store.each_shard('devices')
    pages = store.many([('ZRANGE', key, low, high, 'BYLEX', 'LIMIT', 0, PAGE)
                        for key in lists])

    return heapq.merge(*[of_list(store, key, page, high)
                         for key, page in zip(lists, pages)])


def parts(member):
    """(tenant, name, device id); a name may have a "/"."""
    return (member[:UUID_LEN], member[UUID_LEN + 1:-UUID_LEN - 1],
            member[-UUID_LEN:])


def batches(things, size=BATCH):
    things = iter(things)

    while True:
        batch = list(itertools.islice(things, size))
        if not batch:
            return
        yield batch


def devices(store, low, high):
    """(id, hash) of listed devices; one that is not there has no hash."""
    for batch in batches(members(store, low, high)):
        ids = [parts(member)[2] for member in batch]
        replies = store.many([('HGETALL', store.key('device', id))
                              for id in ids])
        yield from ((id, fields(reply)) for id, reply in zip(ids, replies))


def by_name(store, tenant, name):
    """The id of a tenant's device: by the names that bridges use, or by the
    list."""
    id = store.run('HGET', store.key('names', tenant), name)

    if id is not None and is_uuid(id):
        return id

    for member in members(store, *between(tenant, name + '/')):
        if parts(member)[:2] == (tenant, name):
            return parts(member)[2]


def device_of(program, text):
    """The id of a device that was given by id or name."""
    if is_uuid(text):
        return text.lower()

    tenant = program.settings.tenant

    if tenant is None:
        raise Usage('the device must be a UUID, or a name with --tenant: %s'
                    % shown(text))

    id = by_name(program.store, tenant, text)

    if id is None:
        raise Failure('there is no device named %s of tenant %s'
                      % (shown(text), tenant))

    return id


def read(store, id):
    """Its hash, or nothing."""
    device = fields(store.run('HGETALL', store.key('device', id)))
    return device if device.get('tenantId') else None


def needed(store, id):
    device = read(store, id)

    if device is None:
        raise Failure('there is no device %s (another --prefix?)' % id)

    return device


def is_online(device, now):
    until = device.get('until', '')

    return bool(device.get('bridge')) and (
        until == '-1' or until.isdigit() and int(until) > now)
