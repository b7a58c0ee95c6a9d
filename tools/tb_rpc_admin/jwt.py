# Copyright (C) tb-rpc contributors.

"""JSON Web Tokens: made, and judged as nginx judges them."""

import base64
import binascii
import hmac
import json
import os
import re
import tempfile
import time

from . import keys
from .errors import Usage
from .terminal import moment, shown
from .values import (AUTHORITIES, NO_CUSTOMER, authority, base64url, is_uuid,
                     random_uuid, seconds, secret_of, uuid)

MAX_TOKEN = 16384
MAX_HEADER = 2048
MAX_USER = 255
ALGS = list(keys.SECRETS) + keys.PUBLIC


def register(commands):
    own = commands.add(
        'jwt make', make, 'a JSON Web Token (also: jwt --key ...)',
        'tb-rpc-admin jwt --key /etc/nginx/tb-jwt.key --tenant'
        ' 7e000000-0000-11ee-8000-00000000000a')
    own.add_argument('--key', metavar='FILE', help='Base64 text, as keygen'
                                                   ' makes it')
    own.add_argument('--tenant', metavar='UUID')
    own.add_argument('--customer', metavar='UUID')
    own.add_argument('--user', metavar='UUID', help='a random one')
    own.add_argument('--authority', metavar='A', default='TENANT_ADMIN',
                     help='TENANT_ADMIN, CUSTOMER_USER or SYS_ADMIN')
    own.add_argument('--ttl', metavar='TIME', default='9000',
                     help='seconds, or 30m, 12h, 7d (9000)')
    own.add_argument('--alg', metavar='A', help='HS512, HS384 or HS256')
    own.add_argument('--sub', metavar='TEXT')
    own.add_argument('--issuer', metavar='TEXT', help='thingsboard.io')

    own = commands.add(
        'jwt verify', verify, 'why nginx refuses a token, or what it says',
        'tb-rpc-admin jwt verify --key /etc/nginx/tb-jwt.key --token-file'
        ' /tmp/token')
    own.add_argument('token', metavar='TOKEN', nargs='?',
                     help='- is the standard input: others see what is on a'
                          ' command line')
    own.add_argument('--token-file', metavar='FILE', help='its first line')
    own.add_argument('--key', metavar='FILE', action='append',
                     help='one, or all that tb_rpc_jwt_key names')
    own.add_argument('--alg', metavar='A', help=', '.join(ALGS) + ' (HS512)')
    own.add_argument('--issuer', metavar='TEXT',
                     help='as in tb_rpc_jwt_issuer (any)')
    own.add_argument('--leeway', metavar='TIME', default='0',
                     help='as in tb_rpc_jwt_leeway (0)')


# --- making -----------------------------------------------------------------

def make(program):
    o, s = program.options, program.settings

    if s.key is None:
        raise Usage('jwt: --key is missing')
    if s.tenant is None:
        raise Usage('jwt: --tenant is missing')

    alg = (s.alg or 'HS512').upper()

    if alg not in keys.SECRETS:
        raise Usage('jwt: --alg must be HS512, HS384 or HS256')

    ttl = seconds('--ttl', o.ttl)
    role = authority('--authority', o.authority)
    user = uuid('--user', o.user) if o.user else random_uuid()
    customer = uuid('--customer', o.customer) if o.customer else NO_CUSTOMER
    key = keys.load(s.key)
    keys.check(key, alg)
    now = int(time.time())
    claims = {'sub': o.sub or user, 'userId': user, 'scopes': [role],
              'sessionId': random_uuid(), 'exp': now + ttl,
              'iss': s.issuer or 'thingsboard.io', 'iat': now,
              'enabled': True, 'isPublic': False, 'tenantId': s.tenant,
              'customerId': customer}
    token = sign(alg, key.secret, claims)

    program.terminal.done(token, token=token, claims=claims)


def sign(alg, secret, claims):
    text = '.'.join(base64url(json.dumps(part, separators=(',', ':')).encode())
                    for part in ({'alg': alg}, claims))

    return text + '.' + base64url(hmac.new(secret, text.encode(),
                                           keys.SECRETS[alg][0]).digest())


# --- judging ----------------------------------------------------------------

class Refused(Exception):
    """(reason, why): signature, alg, expired and so on, and in words."""


def verify(program):
    o, s = program.options, program.settings
    alg = (s.alg or 'HS512').upper()

    if alg not in ALGS:
        raise Usage('jwt verify: --alg must be one of ' + ', '.join(ALGS))

    files = s.key if isinstance(s.key, list) else [s.key]

    if files == [None]:
        raise Usage('jwt verify: --key is missing')

    known = [keys.load(path) for path in files]
    for key in known:
        keys.check(key, alg)

    leeway = seconds('--leeway', o.leeway)
    token = secret_of(o.token, o.token_file, ('TOKEN', '--token'))
    header = claims = None

    try:
        header, claims = opened(token, alg, known)
        judge(claims, s.issuer, leeway)
    except Refused as e:
        reason, why = e.args
        program.terminal.one(
            {'valid': False, 'reason': reason, 'why': why,
             'header': header, 'claims': claims},
            [('refused', reason), ('why', why)] + rows(claims))
        return 1

    program.terminal.one({'valid': True, 'header': header, 'claims': claims},
                         [('valid', 'for %d s' % (claims['exp'] + leeway
                                                  - time.time()))]
                         + rows(claims))


def rows(claims):
    out = []

    for name, value in (claims or {}).items():
        if name in ('exp', 'nbf', 'iat') and isinstance(value, (int, float)) \
                and not isinstance(value, bool):
            value = '%s (%s UTC)' % (value, moment(value * 1000))
        out.append((name, value if isinstance(value, str)
                    else json.dumps(value)))

    return out


def decoded(text, what):
    try:
        if not re.match(r'[A-Za-z0-9_-]+={0,2}\Z', text):
            raise ValueError
        text = text.rstrip('=')
        return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Refused('malformed', 'its %s is not Base64url' % what)


def parsed(data, what):
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(data.decode('utf-8'), object_pairs_hook=once)
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError):
        pass

    raise Refused('malformed', 'its %s is no JSON object, or has a name twice'
                  % what)


def opened(token, alg, known):
    """(header, claims) of one that is signed by one of the keys."""
    parts = token.split('.')

    if len(parts) != 3 or len(token) > MAX_TOKEN \
            or len(parts[0]) > MAX_HEADER:
        raise Refused('malformed', 'it is not three parts with dots between'
                                   ' them, of 16 KB at most')

    header = parsed(decoded(parts[0], 'header'), 'header')

    if header.get('alg') != alg:
        raise Refused('alg', 'its algorithm is %s, and %s is the only one that'
                             ' is accepted' % (shown(str(header.get('alg'))),
                                               alg))
    if 'crit' in header:
        raise Refused('alg', 'its header has "crit", which nobody understands')

    signature = decoded(parts[2], 'signature')
    signed = (parts[0] + '.' + parts[1]).encode('utf-8', 'surrogateescape')

    if not any(is_signed(key, alg, signed, signature) for key in known):
        raise Refused('signature', 'none of the keys has signed it: another'
                                   ' key, or it was changed')

    return header, parsed(decoded(parts[1], 'payload'), 'payload')


def is_signed(key, alg, signed, signature):
    if alg in keys.SECRETS:
        return hmac.compare_digest(
            hmac.new(key.secret, signed, keys.SECRETS[alg][0]).digest(),
            signature)

    if alg == 'ES256':
        if len(signature) != 64:
            return False
        signature = der(signature)

    with tempfile.TemporaryDirectory(prefix='tb-rpc-admin.') as folder:
        paths = [os.path.join(folder, name) for name in ('key', 'signature')]

        for path, data in zip(paths, (key.pem.encode(), signature)):
            with open(path, 'wb') as file:
                file.write(data)

        return keys.openssl(['dgst', '-sha256', '-verify', paths[0],
                             '-signature', paths[1]], signed) is not None


def der(signature):
    """The two numbers of an ECDSA signature as openssl wants them."""
    out = b''

    for part in signature[:32], signature[32:]:
        part = part.lstrip(b'\0') or b'\0'
        part = b'\0' + part if part[0] & 0x80 else part
        out += b'\x02' + bytes([len(part)]) + part

    return b'\x30' + bytes([len(out)]) + out


def judge(claims, issuer, leeway):
    """As ngx_http_tb_rpc_jwt.c does, in its order."""
    judge_identity(claims)

    for name in 'exp', 'nbf':
        value = claims.get(name)
        if name == 'exp' and value is None:
            raise Refused('claims', 'it has no exp')
        if value is not None and (isinstance(value, bool)
                                  or not isinstance(value, (int, float))):
            raise Refused('claims', 'its %s is no number' % name)

    for name in 'enabled', 'isPublic':
        if not isinstance(claims.get(name, True), bool):
            raise Refused('claims', 'its %s is neither true nor false' % name)

    if claims.get('enabled') is False:
        raise Refused('disabled', 'its user is not enabled')
    if issuer and claims.get('iss') != issuer:
        raise Refused('issuer', 'its issuer is %s, not %s'
                      % (shown(str(claims.get('iss'))), shown(issuer)))

    now = time.time()

    if claims['exp'] + leeway <= now:
        raise Refused('expired', 'it has expired %d s ago'
                      % (now - claims['exp']))
    if claims.get('nbf', 0) - leeway > now:
        raise Refused('nbf', 'it is not valid before %s UTC'
                      % moment(claims['nbf'] * 1000))


def judge_identity(claims):
    scopes = claims.get('scopes')

    for name in 'sub', 'userId':
        if not isinstance(claims.get(name), str):
            raise Refused('claims', 'it has no %s' % name)

    if not isinstance(scopes, list) or not scopes \
            or not isinstance(scopes[0], str):
        raise Refused('authority', 'it has no scopes')
    if scopes[0].upper() not in AUTHORITIES:
        raise Refused('authority', 'its authority %s is none of %s'
                      % (shown(scopes[0]), ', '.join(AUTHORITIES)))

    for name in 'tenantId', 'customerId':
        value = claims.get(name)
        if value is not None and (not isinstance(value, str)
                                  or value and not is_uuid(value)):
            raise Refused('claims', 'its %s is no UUID' % name)

    if (claims.get('tenantId') or NO_CUSTOMER) == NO_CUSTOMER \
            and scopes[0].upper() != 'SYS_ADMIN':
        raise Refused('claims', 'it has no tenantId, which %s needs'
                      % scopes[0])
    if len(claims['userId'].encode('utf-8', 'surrogatepass')) > MAX_USER:
        raise Refused('claims', 'its userId is too long')
