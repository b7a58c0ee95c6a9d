# Copyright (C) tb-rpc contributors.

"""API keys.  Redis has their SHA-256 only; one is found by that, by the key
itself, or by the 16 digits that $tb_rpc_key_id puts into nginx's log."""

from . import listing
from .errors import Failure, Usage
from .store import fields
from .terminal import moment, shown
from .values import (HEX, authority, expires, first_line, fresh, label,
                     random_uuid, secret, sha256, uuid)

SIZE = 64                               # bytes: 86 characters
SHORTEST = 8                            # digits that name a key


def register(commands):
    own = commands.add(
        'api-key add', add, 'prints a new key, once',
        'tb-rpc-admin api-key add --tenant 7e000000-0000-11ee-8000-'
        '00000000000a --label billing --expires 90d')
    own.add_argument('--tenant', metavar='UUID')
    own.add_argument('--customer', metavar='UUID')
    own.add_argument('--user', metavar='UUID', help='a random one')
    own.add_argument('--authority', metavar='A', default='TENANT_ADMIN',
                     help='TENANT_ADMIN, CUSTOMER_USER or SYS_ADMIN')
    own.add_argument('--expires', metavar='TIME', default='0',
                     help='ISO 8601, epoch ms, or from now on such as 90d; 0'
                          ' is never')
    own.add_argument('--label', metavar='TEXT', help='for people')

    for word, run, summary in (
            ('del', delete, 'ends a key'),
            ('show', show, 'whose it is'),
            ('enable', enable, 'lets a key in again'),
            ('disable', disable, 'lets a key in no more; nginx may remember it'
                                 ' for tb_rpc_api_key_cache')):
        own = commands.add('api-key ' + word, run, summary,
                           'tb-rpc-admin api-key %s 1f3c9a0b44d2e871' % word)
        own.add_argument('key', metavar='KEY|SHA256|DIGITS', nargs='?',
                         help='- is the standard input')
        own.add_argument('--key-file', metavar='FILE', help='its first line')

    own = commands.add('api-key list', show_list, 'all, or those of a tenant',
                       'tb-rpc-admin api-key list --tenant 7e000000-0000-11ee'
                       '-8000-00000000000a')
    own.add_argument('--tenant', metavar='UUID')


def index(store):
    return store.prefix + 'apikeys'


def add(program):
    o, store = program.options, program.store
    tenant = program.settings.tenant

    if tenant is None:
        raise Usage('api-key add: --tenant is missing')

    customer = uuid('--customer', o.customer) if o.customer else ''
    role = authority('--authority', o.authority)
    until = expires('--expires', o.expires)
    name = label('--label', o.label) if o.label is not None else ''

    if role == 'CUSTOMER_USER' and not customer:
        raise Usage('api-key add: CUSTOMER_USER needs --customer')

    user = uuid('--user', o.user) if o.user else random_uuid()
    key = 'tb_' + fresh(SIZE)
    sha = sha256(key)

    # listed before it lets anyone in
    store.check_schema()
    store.run('ZADD', index(store), 0, sha)
    store.fcall('tb_rpc_api_key_put', store.api_key(sha), tenant, customer,
                user, role, 1, until, name)
    program.terminal.done(key, key=key, sha256=sha, tenantId=tenant,
                          expirationTime=until)
    store.confirm()                     # it is told once, whatever they say


def found(program):
    """The SHA-256 of the one that is meant."""
    o, store = program.options, program.store

    if (o.key is None) == (o.key_file is None):
        raise Usage('KEY|SHA256|DIGITS, or --key-file FILE?')

    text = secret(o.key) if o.key_file is None else first_line(o.key_file)

    if len(text) == 64 and HEX.match(text):
        return text

    if SHORTEST <= len(text) < 64 and HEX.match(text):
        shas = store.run('ZRANGE', index(store), '[' + text,
                         '(' + text + 'g', 'BYLEX', 'LIMIT', 0, 2)
        if len(shas) == 2:
            raise Failure('several API keys begin with %s' % text)
        if not shas:
            raise Failure('no API key begins with %s; check --repair lists'
                          ' those that older versions made' % text)
        return shas[0]

    return sha256(text)


def delete(program):
    store, sha = program.store, found(program)
    known = store.fcall('tb_rpc_api_key_del', store.api_key(sha))
    store.run('ZREM', index(store), sha)

    if not known:
        raise Failure('no such API key')

    store.confirm()
    program.terminal.done('API key %s deleted' % sha[:16], sha256=sha,
                          done='deleted')


def enable(program, on=1):
    store, sha = program.store, found(program)

    if not store.fcall('tb_rpc_api_key_enable', store.api_key(sha), on):
        raise Failure('no such API key')

    store.confirm()
    word = 'enabled' if on else 'disabled'
    program.terminal.done('API key %s %s' % (sha[:16], word), sha256=sha,
                          done=word)


def disable(program):
    enable(program, 0)


def described(sha, key, now):
    expiry = int(key.get('expirationTime') or 0)
    state = 'enabled'

    if not key:
        state = 'missing'
    elif key.get('enabled') != '1':
        state = 'disabled'
    elif expiry and expiry <= now:
        state = 'expired'

    return {'keyId': sha[:16], 'sha256': sha, 'state': state,
            'label': key.get('label') or None,
            'tenantId': key.get('tenantId'),
            'customerId': key.get('customerId') or None,
            'userId': key.get('userId'), 'authority': key.get('authority'),
            'createdTime': int(key.get('createdTime') or 0) or None,
            'expirationTime': expiry}


def show(program):
    store, sha = program.store, found(program)
    key = fields(store.run('HGETALL', store.api_key(sha)))

    if not key:
        raise Failure('no such API key: %s' % shown(sha))

    value = described(sha, key, store.now())
    rows = dict(value, createdTime=moment(value['createdTime']),
                expirationTime=moment(value['expirationTime']) or 'never')
    program.terminal.one(value, list(rows.items()))


def show_list(program):
    store = program.store
    now = store.now()

    def read(shas):
        keys = store.many([('HGETALL', store.api_key(sha)) for sha in shas])
        return [described(sha, fields(key), now)
                for sha, key in zip(shas, keys)]

    program.terminal.table(
        ['KEY-ID', 'STATE', 'AUTHORITY', 'TENANT', 'EXPIRES', 'LABEL'],
        listing.known(program, index(store), read),
        lambda row: [row['keyId'], row['state'], row['authority'],
                     row['tenantId'], moment(row['expirationTime']),
                     row['label']])
