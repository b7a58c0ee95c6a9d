# Copyright (C) tb-rpc contributors.

"""Users of tb_rpc_login.  Redis has a hash of their passwords only.

A user is in the list before he can log in, and leaves it afterwards: see
docs/redis-schema.md.
"""

import base64
import getpass
import hashlib
import os
import re
import sys

from . import listing
from .errors import Failure, Usage
from .store import fields
from .terminal import count, moment, shown
from .values import (NO_CUSTOMER, authority, first_line, is_uuid, label, name,
                     random_uuid, secret, uuid)

SHORTEST, LONGEST = 8, 512              # bytes of a password
MAX_NAME = 255
SCRYPT = 'ln=14,r=8,p=5'                # as tb_rpc_login_scrypt has it
MEMORY = 256 << 20                      # of nginx's limit


def register(commands):
    own = commands.add(
        'user add', add, 'a user of tb_rpc_login; the password is asked for',
        'tb-rpc-admin user add ann@example.com --tenant 7e000000-0000-11ee-8000'
        '-00000000000a')
    own.add_argument('name', metavar='NAME', nargs='?',
                     help='the same in any letter case')
    own.add_argument('--tenant', metavar='UUID')
    own.add_argument('--customer', metavar='UUID')
    own.add_argument('--authority', metavar='A',
                     help='TENANT_ADMIN, CUSTOMER_USER (with --customer) or'
                          ' SYS_ADMIN')
    own.add_argument('--user', metavar='UUID', help='a random one')
    own.add_argument('--first-name', metavar='TEXT', default='')
    own.add_argument('--last-name', metavar='TEXT', default='')
    own.add_argument('--disabled', action='store_true',
                     help='until user enable')
    own.add_argument('--public', action='store_true',
                     help='a public customer instead, who has no NAME and no'
                          ' password')
    password_options(own)

    own = commands.add(
        'user passwd', passwd, 'another password, which ends all sessions',
        'tb-rpc-admin user passwd ann@example.com')
    own.add_argument('name', metavar='NAME')
    password_options(own)

    own = commands.add('user list', show_list, 'all, or those of a tenant',
                       'tb-rpc-admin user list --tenant 7e000000-0000-11ee'
                       '-8000-00000000000a')
    own.add_argument('--tenant', metavar='UUID')

    for word, run, summary in (
            ('show', show, 'who it is'),
            ('enable', enable, 'lets a user in again, at once'),
            ('disable', disable, 'lets a user in no more; access tokens are'
                                 ' good until they expire'),
            ('del', delete, 'takes a user away, and all sessions')):
        own = commands.add('user ' + word, run, summary,
                           'tb-rpc-admin user %s ann@example.com' % word)
        own.add_argument('name', metavar='NAME')

    own = commands.add('user sessions', sessions, 'where a user is logged in',
                       'tb-rpc-admin user sessions ann@example.com --end all')
    own.add_argument('name', metavar='NAME')
    own.add_argument('--end', metavar='ID|all', help='this session is over')


def password_options(own):
    own.add_argument('--password-file', metavar='FILE',
                     help='its first line, - is the standard input; without it'
                          ' the terminal is asked')
    own.add_argument('--scrypt', metavar='TEXT', default=SCRYPT,
                     help='what the hash costs (%s)' % SCRYPT)


# --- names and keys ---------------------------------------------------------

def lower(text):
    """As nginx and the functions do it: letters of ASCII."""
    return re.sub('[A-Z]+', lambda m: m.group().lower(), text)


def named(text):
    name('the name', text)

    if not 1 <= len(text.encode()) <= MAX_NAME or '{' in text or '}' in text:
        raise Usage('a name has 1 to %d bytes and no braces: %s'
                    % (MAX_NAME, shown(text)))

    return lower(text)


def index(store):
    return store.prefix + 'users'


def key_of(store, user):
    return '%suser:%s' % (store.prefix, user)


def sessions_of(store, user):
    return '{%s}:sessions' % key_of(store, user)


def asked(program):
    """The name that was given, and its key."""
    user = named(program.options.name)

    return user, key_of(program.store, user)


def unknown(user):
    return Failure('there is no user %s' % shown(user))


# --- passwords --------------------------------------------------------------

def password(path, user):
    if path is not None:
        text = secret('-') if path == '-' else first_line(path)
    elif not sys.stdin.isatty():
        raise Usage('there is no terminal to ask for the password:'
                    ' --password-file FILE (- is the standard input)')
    else:
        text = getpass.getpass('Password of %s: ' % user)
        if getpass.getpass('Once more: ') != text:
            raise Failure('these are two passwords')

    data = text.encode('utf-8', 'surrogateescape')

    if not SHORTEST <= len(data) <= LONGEST or b'\0' in data:
        raise Failure('a password has %d to %d bytes, and none of them is zero'
                      % (SHORTEST, LONGEST))

    return data


def hashed(data, parameters):
    m = re.match(r'ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\Z', parameters)
    ln, r, p = map(int, m.groups()) if m else (0, 0, 0)

    if not (10 <= ln <= 20 and 1 <= r <= 32 and 1 <= p <= 16
            and 128 * r << ln <= MEMORY):
        raise Usage('--scrypt must be such as %s, ln 10 to 20, r 1 to 32, p 1'
                    ' to 16, and at most 256 MB: %s'
                    % (SCRYPT, shown(parameters)))

    salt = os.urandom(16)
    key = hashlib.scrypt(data, salt=salt, n=1 << ln, r=r, p=p,
                         maxmem=2 * MEMORY, dklen=32)

    return '$scrypt$ln=%d,r=%d,p=%d$%s$%s' % (ln, r, p, text_of(salt),
                                             text_of(key))


def text_of(data):
    return base64.b64encode(data).rstrip(b'=').decode()


# --- commands ---------------------------------------------------------------

def add(program):
    o, store = program.options, program.store
    tenant = program.settings.tenant
    customer = uuid('--customer', o.customer) if o.customer else ''
    role = authority('--authority', o.authority or (
        'CUSTOMER_USER' if customer else 'TENANT_ADMIN'))
    first = label('--first-name', o.first_name)
    last = label('--last-name', o.last_name)

    if role == 'SYS_ADMIN':
        tenant = tenant or NO_CUSTOMER
    if tenant is None:
        raise Usage('user add: --tenant is missing')
    if role == 'CUSTOMER_USER' and not customer:
        raise Usage('user add: CUSTOMER_USER needs --customer')

    if o.public:
        if o.name is not None or role != 'CUSTOMER_USER':
            raise Usage('user add --public --tenant UUID --customer UUID')
        user, typed, id, text = customer, customer, NO_CUSTOMER, ''
    else:
        if o.name is None:
            raise Usage('user add: whom?')
        user, typed = named(o.name), o.name
        id = uuid('--user', o.user) if o.user else random_uuid()
        text = None

    store.check_schema()

    if store.run('EXISTS', key_of(store, user)):
        raise Failure('there is a user %s already' % shown(user))
    if text is None:
        text = hashed(password(o.password_file, user), o.scrypt)

    # listed before he can log in
    store.run('ZADD', index(store), 0, user)

    if not store.fcall('tb_rpc_user_put', key_of(store, user), id, tenant,
                       customer, role, 0 if o.disabled else 1, typed, text,
                       first, last):
        raise Failure('there is a user %s already' % shown(user))

    store.confirm()
    program.terminal.done('user %s added' % user, name=typed, id=id,
                          tenantId=tenant, customerId=customer or None,
                          authority=role, done='added')


def passwd(program):
    store, (user, key) = program.store, asked(program)
    record = store.run('HGET', key, 'hash')

    if record is None:
        raise unknown(user)
    if record == '':
        raise Failure('%s is a public customer, who has no password' % user)

    text = hashed(password(program.options.password_file, user),
                  program.options.scrypt)

    if not store.fcall('tb_rpc_user_password', key, text):
        raise unknown(user)

    store.confirm()
    program.terminal.done('user %s has another password, all sessions are over'
                          % user, name=user, done='changed')


def enable(program, on=1):
    store, (user, key) = program.store, asked(program)

    if not store.fcall('tb_rpc_user_enable', key, on):
        raise unknown(user)

    store.confirm()
    word = 'enabled' if on else 'disabled'
    program.terminal.done('user %s %s' % (user, word), name=user, done=word)


def disable(program):
    enable(program, 0)


def delete(program):
    store, (user, key) = program.store, asked(program)
    known = store.fcall('tb_rpc_user_del', key)
    store.run('ZREM', index(store), user)

    if not known:
        raise unknown(user)

    store.confirm()
    program.terminal.done('user %s deleted' % user, name=user, done='deleted')


def described(user, record, tries, now):
    locked = int(tries.get('until') or 0)
    state = 'enabled'

    if not record:
        state = 'missing'
    elif record.get('enabled') != '1':
        state = 'disabled'
    elif locked > now:
        state = 'locked'

    text = record.get('hash') or ''

    return {'name': record.get('name') or user, 'state': state,
            'id': record.get('id'), 'authority': record.get('authority'),
            'tenantId': record.get('tenantId'),
            'customerId': record.get('customerId') or None,
            'firstName': record.get('firstName') or None,
            'lastName': record.get('lastName') or None,
            'public': bool(record) and not text,
            'scrypt': text.split('$')[2] if text.count('$') == 4 else None,
            'createdTime': int(record.get('createdTime') or 0) or None,
            'failures': int(tries.get('n') or 0),
            'lockedUntil': locked if locked > now else None}


def read(store, users, now):
    """As described."""
    replies = store.many([('HGETALL', key) for user in users
                          for key in (key_of(store, user),
                                      '{%s}:tries' % key_of(store, user))])

    return [described(user, fields(record), fields(tries), now)
            for user, record, tries in zip(users, replies[::2],
                                           replies[1::2])]


def show(program):
    store, (user, _) = program.store, asked(program)
    value = read(store, [user], store.now())[0]

    if value['state'] == 'missing':
        raise unknown(user)

    rows = dict(value, createdTime=moment(value['createdTime']),
                lockedUntil=moment(value['lockedUntil']))
    program.terminal.one(value, list(rows.items()))


def show_list(program):
    store = program.store
    now = store.now()

    program.terminal.table(
        ['NAME', 'STATE', 'AUTHORITY', 'TENANT', 'CUSTOMER'],
        listing.known(program, index(store),
                      lambda users: read(store, users, now)),
        lambda row: [row['name'], row['state'], row['authority'],
                     row['tenantId'], row['customerId']])


def sessions(program):
    o, store, (user, key) = program.options, program.store, asked(program)

    if not store.run('EXISTS', key):
        raise unknown(user)

    if o.end is not None:
        if o.end != 'all' and not is_uuid(o.end):
            raise Usage('--end ID, or --end all: %s' % shown(o.end))

        n = store.fcall('tb_rpc_login_logout', key,
                        *([] if o.end == 'all' else [o.end.lower()]))

        if o.end != 'all' and not n:
            raise Failure('there is no such session')

        store.confirm()
        program.terminal.done('%s of user %s ended'
                              % (count(n, 'session'), user), name=user,
                              ended=n)
        return

    now, rows = store.now(), []

    for id, text in fields(store.run('HGETALL',
                                     sessions_of(store, user))).items():
        times = [int(word) for word in text.split()[1:] if word.isdigit()]
        if len(times) == 3 and times[2] > now:
            rows.append(dict(zip(('createdTime', 'refreshedTime',
                                  'expirationTime'), times), id=id))

    rows.sort(key=lambda row: row['refreshedTime'])
    program.terminal.table(
        ['ID', 'CREATED', 'REFRESHED', 'EXPIRES'], rows,
        lambda row: [row['id']] + [moment(row[word]) for word in (
            'createdTime', 'refreshedTime', 'expirationTime')])
