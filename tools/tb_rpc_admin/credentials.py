# Copyright (C) tb-rpc contributors.

"""What devices log in to nginx with over MQTT, beside access tokens."""

import base64
import binascii
import hashlib
import re

from .errors import Failure, Usage
from .values import first_line

MAX = 65535                             # bytes of a part, as in MQTT
MAX_FILE = 1024 * 1024
PEM = re.compile(rb'-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----',
                 re.S)
FINGERPRINT = re.compile(r'[0-9a-f]{64}\Z')


def register(own):
    own.add_argument('--basic', action='store_true',
                     help='MQTT Basic, of the next three: what is not given'
                          ' does not count')
    own.add_argument('--client-id', metavar='ID')
    own.add_argument('--username', metavar='NAME')
    own.add_argument('--password-file', metavar='FILE', help='its first line')
    own.add_argument('--certificate', metavar='FILE',
                     help='PEM (the first one in it) or DER')
    own.add_argument('--fingerprint', metavar='SHA256',
                     help='of a certificate, colons or not')


def entry_of(o):
    """basic:SHA256, cert:SHA256, or None: it is about a token."""
    parts = (o.client_id, o.username, o.password_file)

    if any(part is not None for part in parts) and not o.basic:
        raise Usage('--client-id, --username and --password-file are for'
                    ' --basic')
    if sum((o.basic, o.certificate is not None,
            o.fingerprint is not None)) > 1:
        raise Usage('--basic, --certificate or --fingerprint?')

    if o.basic:
        return 'basic:' + basic(*parts)
    if o.certificate is not None:
        return 'cert:' + hashlib.sha256(der(o.certificate)).hexdigest()
    if o.fingerprint is not None:
        return 'cert:' + fingerprint(o.fingerprint)

    return None


def basic(client_id, username, password_file):
    """As nginx makes it: docs/redis-schema.md."""
    if client_id is None and username is None:
        raise Usage('--basic needs --client-id, --username, or both')
    if username is None and password_file is not None:
        raise Usage('--password-file needs --username: MQTT has no password'
                    ' without one')

    text = b''

    for what, part in (('--client-id', client_id), ('--username', username),
                       ('--password-file', None if password_file is None
                        else first_line(password_file))):
        if part is None:
            text += b'-,'
            continue

        part = part.encode('utf-8', 'surrogateescape')

        if not part or len(part) > MAX:
            raise Usage('%s: 1 to %d bytes' % (what, MAX))

        text += b'%d:%s,' % (len(part), part)

    return hashlib.sha256(text).hexdigest()


def der(path):
    try:
        with open(path, 'rb') as file:
            data = file.read(MAX_FILE)
    except OSError as e:
        raise Failure('%s: %s' % (path, e.strerror))

    found = PEM.search(data)

    if found:
        try:
            data = base64.b64decode(found.group(1))
        except binascii.Error:
            data = b''

    # a SEQUENCE with a length of two bytes, as any certificate is

    if data[:2] != b'\x30\x82' \
            or len(data) != 4 + int.from_bytes(data[2:4], 'big'):
        raise Failure('%s: no certificate in PEM or DER' % path)

    return data


def fingerprint(text):
    text = text.replace(':', '').lower()

    if not FINGERPRINT.match(text):
        raise Usage('--fingerprint: 64 hexadecimal digits, as "openssl x509'
                    ' -fingerprint -sha256" prints them')

    return text
