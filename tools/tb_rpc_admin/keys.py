# Copyright (C) tb-rpc contributors.

"""Keys for JWTs: made, read and judged as nginx judges them."""

import base64
import binascii
import os
import re
import stat
import subprocess

from .errors import Failure

SECRETS = {'HS256': ('sha256', 32), 'HS384': ('sha384', 48),
           'HS512': ('sha512', 64)}
PUBLIC = ['RS256', 'ES256']
DEFAULT = b'thingsboardDefaultSigningKey'
MAX_FILE = 65536
RSA_BITS = 2048


def register(commands):
    commands.add('keygen', keygen, 'a new HS512 key, for tb_rpc_jwt_key',
                 '(umask 077; tb-rpc-admin keygen > /etc/nginx/tb-jwt.key)')


def keygen(program):
    key = base64.b64encode(os.urandom(64)).decode()
    program.terminal.done(key, key=key)


class Key:
    """secret (bytes), or pem (text) of a public key."""

    def __init__(self, path, secret, pem, mode):
        self.path, self.secret, self.pem, self.mode = path, secret, pem, mode


def load(path):
    """Of a file; Failure if nginx would not take it."""
    try:
        with open(path, 'rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_FILE + 1)
    except OSError as e:
        raise Failure('cannot read the key %s: %s' % (path, e.strerror))

    if not text or len(text) > MAX_FILE or not stat.S_ISREG(mode) \
            and not stat.S_ISFIFO(mode):
        raise Failure('%s is empty, above 64k or no file' % path)

    if b'-----BEGIN' in text:
        return Key(path, None, pem_of(path, text), mode)

    return Key(path, secret_of(path, text), None, mode)


def secret_of(path, text):
    """Base64, in lines or not."""
    text = re.sub(rb'[\r\n]', b'', text)

    if text == DEFAULT:
        secret = DEFAULT
    else:
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            secret = b''

    if secret == DEFAULT:
        raise Failure("%s holds ThingsBoard's default key, which everybody"
                      ' knows (tb-rpc-admin keygen makes one)' % path)
    if not secret:
        raise Failure('%s is neither standard Base64 text nor a PEM public'
                      ' key' % path)

    return secret


def pem_of(path, text):
    if b'PRIVATE KEY-----' in text:
        raise Failure('%s holds a private key, which must stay with the'
                      ' issuer; use what "openssl pkey -pubout" makes of it'
                      % path)
    if text.count(b'-----BEGIN') > 1:
        raise Failure('%s holds several PEM blocks; give each key a file'
                      % path)

    return text.decode('ascii', 'replace')


def check(key, alg):
    """Is it one for this algorithm?"""
    if alg in SECRETS:
        least = SECRETS[alg][1]

        if key.secret is None:
            raise Failure('%s is a public key, but %s needs a secret as'
                          ' Base64 text' % (key.path, alg))
        if len(key.secret) < least:
            raise Failure('%s must be the Base64 text of at least %d bytes for'
                          ' %s, not %d (tb-rpc-admin keygen makes one)'
                          % (key.path, least, alg, len(key.secret)))
        return

    if key.pem is None:
        raise Failure('%s is no PEM public key, which %s needs'
                      % (key.path, alg))

    text = openssl(['pkey', '-pubin', '-noout', '-text'], key.pem.encode())
    bits = re.search(rb'\((\d+) bit', text or b'')
    kind = b'prime256v1' in (text or b'')

    if alg == 'RS256' and (text is None or b'Modulus' not in text
                           or not bits or int(bits.group(1)) < RSA_BITS):
        raise Failure('%s is not the public key of an RSA key of at least 2048'
                      ' bits' % key.path)
    if alg == 'ES256' and not kind:
        raise Failure('%s is not the public key of an EC key on the curve'
                      ' P-256 (prime256v1)' % key.path)


def openssl(arguments, data):
    """Its output, or nothing if it says no; no secret goes there."""
    try:
        done = subprocess.run(['openssl'] + arguments, input=data,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Failure('openssl is not installed, which keys of %s need'
                      % ' and '.join(PUBLIC))

    return done.stdout if done.returncode == 0 else None
