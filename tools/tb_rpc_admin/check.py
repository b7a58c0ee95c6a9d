# Copyright (C) tb-rpc contributors.

"""Is all as it must be?"""

from . import keys, repair, rights, selftest, status
from .errors import Failure, Usage
from .terminal import age, count

SHOWN = 10                              # differences that are named


def register(commands):
    own = commands.add(
        'check', check, 'tries a call from end to end, and looks at settings,'
        ' rights, keys and lists',
        'tb-rpc-admin check --key /etc/nginx/tb-jwt.key --url'
        ' http://127.0.0.1:8080/api/rpc\ntb-rpc-admin check --repair',
        'The call is one of a device of its own, which is gone afterwards.'
        ' Exit code 1 if\nanything failed; warnings are none. --lists and'
        ' --repair look at every key.')
    own.add_argument('--key', metavar='FILE', help='of tb_rpc_jwt_key')
    own.add_argument('--alg', metavar='A', help='of tb_rpc_jwt_alg (HS512)')
    own.add_argument('--issuer', metavar='TEXT', help='of tb_rpc_jwt_issuer')
    own.add_argument('--url', metavar='URL', help='of the location with'
                     ' tb_rpc: the call goes through nginx, too')
    own.add_argument('--token-file', metavar='FILE',
                     help='a JWT for --url, instead of --key')
    own.add_argument('--lists', action='store_true',
                     help='do the lists of devices, tokens, API keys and users'
                          ' agree with what there is?')
    own.add_argument('--repair', action='store_true', help='make them agree')

    for role in rights.MAY:
        own.add_argument('--%s-user' % role, metavar='NAME',
                         default='tb-' + role,
                         help='ACL user of %s (tb-%s)' % (role, role))


class Check:
    def __init__(self, program):
        self.program, self.rows = program, []

    def tell(self, name, state, text):
        row = {'check': name, 'state': state, 'text': text}
        self.rows.append(row)

        if self.program.terminal.as_json:
            self.program.terminal.json(row)
        else:
            self.program.terminal.line('%-8s %-9s %s' % (state, name, text))

    def one(self, name, run):
        """run() gives a text, or (state, text)."""
        try:
            text = run()
        except Usage:
            raise
        except Failure as e:
            self.tell(name, 'failed', str(e))
            return False

        self.tell(name, *(text if isinstance(text, tuple) else ('ok', text)))
        return True


def key_file(settings):
    alg = (settings.alg or 'HS512').upper()
    key = keys.load(settings.key)
    keys.check(key, alg)

    if key.secret is not None and key.mode & 0o077:
        return 'warning', '%s can be read by others than its owner: chmod' \
            ' 600' % settings.key

    return '%s is good for %s' % (settings.key, alg)


def lists(store, is_repair):
    found = repair.find(store, is_repair)

    if not found:
        return 'they agree with what there is'

    text = '%s: %s%s' % (count(len(found), 'difference'),
                         '; '.join(found[:SHOWN]),
                         '; ...' if len(found) > SHOWN else '')

    return ('repaired' if is_repair else 'failed', text)


def check(program):
    s, c = program.settings, Check(program)

    if s.url is not None and s.token_file is None and s.key is None:
        raise Usage('check --url needs --key or --token-file')
    if s.key is not None:
        c.one('key', lambda: key_file(s))

    if c.one('redis', lambda: ', '.join(link.where for link in
                                        program.store.server.masters())
             + ' answers, %d shards' % program.store.shards):
        redis(program, c)

    return 1 if any(row['state'] == 'failed' for row in c.rows) else 0


def redis(program, c):
    o, s, store = program.options, program.settings, program.store

    try:
        value = status.gather(program)
    except Failure as e:
        c.tell('status', 'failed', str(e))
        return

    for text in value['warnings']:
        c.tell('status', 'warning', text)

    if None in value['library']:
        c.tell('library', 'failed', 'it is not there: start nginx, or'
               ' tb-rpc-admin functions load')
        return

    c.tell('library', 'ok', 'version %s' % max(value['library']))

    for role in rights.MAY:
        user = getattr(o, role + '_user')
        c.one('rights', lambda: rights.check(store, role, user))

    c.one('call', lambda: 'a call through the functions took '
          + age(selftest.functions(store)))

    if s.url is not None:
        c.one('nginx', lambda: 'a call through %s took %s' % (
            s.url, age(selftest.through_nginx(store, s))))
    if o.lists or o.repair:
        c.one('lists', lambda: lists(store, o.repair))
