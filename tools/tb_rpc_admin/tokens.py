# Copyright (C) tb-rpc contributors.

"""Access tokens of devices, and what else they log in with.  Redis has their
SHA-256 only.

A token is in its device's list before it admits anyone, and admits nobody
when it leaves the list: see docs/redis-schema.md.  An entry of the list is a
token's SHA-256, basic:SHA256 or cert:SHA256.
"""

from . import credentials, listing
from .errors import Failure, Usage
from .store import fields
from .terminal import count, moment
from .values import HEX, first_line, fresh, label, secret, sha256

TAKEN = 'the %s is that of device %s: token del it first'
SIZE = 24                               # bytes of a token that is made


def register(commands):
    own = commands.add(
        'token add', add, 'an access token of a device; without TOKEN a new'
        ' one is made and printed. Over MQTT, also a user name with a password'
        ' (--basic) or a certificate',
        'tb-rpc-admin token add de000000-0000-11ee-8000-000000000001'
        ' --label "second boot"')
    own.add_argument('device', metavar='DEVICE', help='id, or name with'
                                                      ' --tenant')
    own.add_argument('token', metavar='TOKEN', nargs='?',
                     help='- is the standard input: others see what is on a'
                          ' command line')
    own.add_argument('--token-file', metavar='FILE', help='its first line')
    credentials.register(own)
    own.add_argument('--label', metavar='TEXT', help='for people')
    own.add_argument('--tenant', metavar='UUID')

    own = commands.add(
        'token del', delete, 'takes tokens away; nginx may remember one for'
        ' tb_rpc_api_key_cache',
        'tb-rpc-admin token del --device de000000-0000-11ee-8000-000000000001')
    own.add_argument('token', metavar='TOKEN|SHA256', nargs='?',
                     help='- is the standard input; with --device the first'
                          ' 16 digits of the SHA-256 do, as $tb_rpc_key_id'
                          ' has them')
    own.add_argument('--token-file', metavar='FILE', help='its first line')
    own.add_argument('--device', metavar='DEVICE', help='all of this device')
    own.add_argument('--tenant', metavar='UUID')

    own = commands.add(
        'token list', show, "a device's tokens, by their SHA-256",
        'tb-rpc-admin token list de000000-0000-11ee-8000-000000000001')
    own.add_argument('device', metavar='DEVICE', nargs='?')
    own.add_argument('--device', metavar='DEVICE', dest='of')
    own.add_argument('--tenant', metavar='UUID')


def listed(store, id):
    """{sha256: (created ms, label)}"""
    out = {}

    for sha, text in fields(store.run('HGETALL',
                                      store.key('tokens', id))).items():
        created, _, name = text.partition(' ')
        out[sha] = int(created) if created.isdigit() else 0, name

    return out


# --- adding -----------------------------------------------------------------

def put(store, id, token, name=None):
    return put_entry(store, id, sha256(token), name)


def put_entry(store, id, entry, name=None):
    """True if it is new; Failure if it is another device's."""
    tokens = store.key('tokens', id)
    before = store.run('HGET', tokens, entry)

    if before is None or name is not None:
        created = (before or str(store.now())).partition(' ')[0]
        store.run('HSET', tokens, entry, '%s %s' % (created, name or ''))

    for _ in range(3):
        if store.run('SET', store.token(entry), id, 'NX') is not None:
            return True

        owner = store.run('GET', store.token(entry))

        if owner == id:
            return False

        # of a device that is gone it is nobody's
        if owner is not None and store.run('EXISTS', store.key(
                'device', owner)):
            break

        if owner is not None:
            drop(store, owner, [entry])

    if before is None:
        store.run('HDEL', tokens, entry)

    raise Failure(TAKEN % (called(entry), owner))


def called(entry):
    return {'basic': 'user name', 'cert': 'certificate'}.get(
        entry.partition(':')[0], 'token')


def short(entry):
    """As much of it as is told of a credential."""
    kind, colon, sha = entry.rpartition(':')
    return kind + colon + sha[:16]


def free(store, id, token):
    """Failure if it is another device's; before anything is written."""
    owner = store.run('GET', store.token(sha256(token)))

    if owner not in (None, id) and store.run('EXISTS', store.key(
            'device', owner)):
        raise Failure(TAKEN % ('token', owner))


def add(program):
    o, store, made = program.options, program.store, None
    name = label('--label', o.label) if o.label is not None else None
    entry = credentials.entry_of(o)

    if sum(what is not None for what in (o.token, o.token_file, entry)) > 1:
        raise Usage('token add DEVICE [TOKEN | --token-file FILE | --basic ...'
                    ' | --certificate FILE | --fingerprint SHA256]')
    if entry is None:
        if o.token is not None:
            token = secret(o.token)
        elif o.token_file is not None:
            token = first_line(o.token_file)
        else:
            token = made = fresh(SIZE)
        entry = sha256(token)

    id = listing.device_of(program, o.device)
    listing.needed(store, id)
    put_entry(store, id, entry, name)
    done = {'device': id, 'sha256': entry}

    if made:
        program.terminal.done(made, token=made, **done)
    elif program.terminal.as_json:
        program.terminal.json(done)

    store.confirm()                     # a new one is told once, before that


# --- taking away ------------------------------------------------------------

def drop(store, id, shas):
    """Those of a device that are its, and what the list says of all."""
    owners = store.many([('GET', store.token(sha)) for sha in shas])
    store.many([('DEL', store.token(sha))
                for sha, owner in zip(shas, owners) if owner == id])

    if shas:
        store.run('HDEL', store.key('tokens', id), *shas)

    return sum(owner == id for owner in owners)


def delete(program):
    o, store = program.options, program.store

    if o.token is not None and o.token_file is not None \
            or (o.token, o.token_file, o.device) == (None, None, None):
        raise Usage('token del TOKEN|SHA256 | --token-file FILE | --device'
                    ' DEVICE')

    text = o.token if o.token_file is None else first_line(o.token_file)

    if text is not None and o.token_file is None:
        text = secret(text)

    if o.device is not None:
        id = listing.device_of(program, o.device)
        tokens = listed(store, id)
        shas = [sha for sha in tokens if text is None or sha == sha256(text)
                or is_sha(text) and sha.startswith(text)]

        if not shas:
            raise Failure('device %s has no %stoken in its list'
                          % (id, 'such ' if text else ''))
    else:
        id, shas = found(store, text)

    n = drop(store, id, shas)
    store.confirm()
    program.terminal.done('%s of device %s taken away'
                          % (count(len(shas), 'token'), id), device=id,
                          deleted=len(shas), admitted=n)


def is_sha(text):
    """Enough digits of an entry."""
    kind, _, sha = text.rpartition(':')
    return kind in ('', 'basic', 'cert') and len(sha) >= 8 and HEX.match(sha)


def found(store, text):
    """(device, [sha]) of a token, or of its SHA-256."""
    shas = [sha256(text)]

    if is_sha(text) and len(text.rpartition(':')[2]) == 64:
        shas.append(text)

    for sha, owner in zip(shas, store.many([('GET', store.token(sha))
                                            for sha in shas])):
        if owner is not None:
            return owner, [sha]

    raise Failure('no such token')


def show(program):
    o, store = program.options, program.store

    if (o.device is None) == (o.of is None):
        raise Usage('token list DEVICE')

    id = listing.device_of(program, o.device or o.of)
    tokens = listed(store, id)

    if not tokens:
        listing.needed(store, id)

    owners = store.many([('GET', store.token(sha)) for sha in tokens])
    rows = [{'sha256': sha, 'createdTime': created, 'label': name,
             'admits': owner == id}
            for (sha, (created, name)), owner in zip(tokens.items(), owners)]
    rows.sort(key=lambda row: row['createdTime'])

    program.terminal.table(
        ['SHA256', 'CREATED', 'ADMITS', 'LABEL'], rows,
        lambda row: [row['sha256'], moment(row['createdTime']),
                     row['admits'], row['label']])
