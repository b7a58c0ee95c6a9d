# Copyright (C) tb-rpc contributors.

"""What was typed: is it what it must be?  And what is made up here."""

import base64
import datetime
import hashlib
import os
import re
import sys
import time
import uuid as uuids

from .errors import Failure, Usage
from .terminal import shown

UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z')
BRIDGE = re.compile(r'[A-Za-z0-9._:@-]{1,64}\Z')
CONTROL = re.compile(r'[\x00-\x1f\x7f]')
HEX = re.compile(r'[0-9a-f]+\Z')
STRATEGIES = ['burst', 'sequential_on_ack', 'sequential_on_response']
AUTHORITIES = ['TENANT_ADMIN', 'CUSTOMER_USER', 'SYS_ADMIN']
NO_CUSTOMER = '13814000-1dd2-11b2-8080-808080808080'
MAX_SECRET = 65536
MAX_LABEL = 64
UNITS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}
FIRST_MS = 10 ** 11                     # 1973; what is less are seconds
LAST_MS = 10 ** 14


def is_uuid(text):
    return bool(UUID.match(text.lower()))


def uuid(what, text):
    if not is_uuid(text):
        raise Usage('%s must be a UUID: %s' % (what, shown(text)))

    return text.lower()


def number(what, text, least=0, most=10 ** 15):
    if not re.match(r'[0-9]{1,16}\Z', text) \
            or not least <= int(text) <= most:
        raise Usage('%s must be a number%s: %s'
                    % (what, '' if (least, most) == (0, 10 ** 15)
                       else ' from %d to %d' % (least, most), shown(text)))

    return int(text)


def authority(what, text):
    if text.upper() not in AUTHORITIES:
        raise Usage('%s must be TENANT_ADMIN, CUSTOMER_USER or SYS_ADMIN: %s'
                    % (what, shown(text)))

    return text.upper()


def strategy(what, text):
    if text not in STRATEGIES:
        raise Usage('%s must be burst, sequential_on_ack or'
                    ' sequential_on_response: %s' % (what, shown(text)))

    return text


def bridge(what, text):
    if text and not BRIDGE.match(text):
        raise Usage('%s must be 1 to 64 of A-Z a-z 0-9 . _ : @ -: %s'
                    % (what, shown(text)))

    return text


def name(what, text):
    if CONTROL.search(text):
        raise Usage('control characters in %s' % what)

    try:
        text.encode()
    except UnicodeError:
        raise Usage('%s is not UTF-8' % what)

    return text


def label(what, text):
    if len(name(what, text).encode()) > MAX_LABEL:
        raise Usage('%s must be up to %d bytes' % (what, MAX_LABEL))

    return text


def seconds(what, text):
    """30, 30s, 5m, 12h, 90d or 2w."""
    m = re.match(r'(\d{1,10})([smhdw]?)\Z', text)

    if not m:
        raise Usage('%s must be a number of seconds, or such as 30s, 5m, 12h,'
                    ' 90d, 2w: %s' % (what, shown(text)))

    return int(m.group(1)) * UNITS[m.group(2) or 's']


def expires(what, text):
    """Epoch ms of ISO 8601, epoch ms or a span from now; 0 is never."""
    now = time.time() * 1000
    span = re.match(r'\+?(\d{1,6}[mhdw])\Z', text)

    if text == '0':
        return 0

    if span:
        ms = int(now + 1000 * seconds(what, span.group(1)))

    elif re.match(r'\d{1,15}\Z', text):
        ms = int(text)

        if ms < FIRST_MS:
            raise Usage('%s: %s looks like seconds; it is ms since 1970, or a'
                        ' date such as 2040-01-01' % (what, text))
    else:
        ms = iso_ms(what, text)

    if not now < ms < LAST_MS:
        raise Usage('%s: %s is %s' % (what, shown(text), 'in the past'
                    if ms <= now else 'after the year 5000'))

    return ms


def iso_ms(what, text):
    try:
        at = datetime.datetime.fromisoformat(re.sub('[zZ]$', '+00:00', text))
    except ValueError:
        raise Usage('%s must be ISO 8601, epoch ms, or such as 90d: %s'
                    % (what, shown(text)))

    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.timezone.utc)

    return int(at.timestamp() * 1000)


# --- secrets ----------------------------------------------------------------

def first_line(path):
    try:
        with open(path, 'rb') as file:
            line = file.readline(MAX_SECRET)
    except OSError as e:
        raise Failure('%s: %s' % (path, e.strerror))

    return secret_text(line, '%s is empty' % path)


def secret(text):
    """TEXT, or the first line of the standard input for -"""
    if text != '-':
        if not text:
            raise Usage('an empty secret')
        return text

    return secret_text(sys.stdin.buffer.readline(MAX_SECRET),
                       'nothing on the standard input')


def secret_text(line, otherwise):
    line = line.rstrip(b'\r\n')

    if not line:
        raise Failure(otherwise)

    return line.decode('utf-8', 'surrogateescape')


def secret_of(text, path, what):
    """Of TEXT or - and --...-file, of which one is needed."""
    if (text is None) == (path is None):
        raise Usage('%s, or %s-file FILE?' % (what[0], what[1]))

    return secret(text) if path is None else first_line(path)


def sha256(text):
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


# --- made up ----------------------------------------------------------------

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def fresh(size):
    return base64url(os.urandom(size))


def random_uuid():
    return str(uuids.uuid4())


def rpc_id(shard):
    """A version 1 UUID as nginx makes them: its shard is in it."""
    node = bytearray(os.urandom(6))
    node[0] |= 1
    now = time.time_ns() // 100 + 0x01b21dd213814000

    return '%08x-%04x-%04x-%04x-%s' % (
        now & 0xffffffff, now >> 32 & 0xffff, now >> 48 & 0xfff | 0x1000,
        shard | 0x8000, node.hex())


def rpc_shard(rpc, shards):
    """The shard of an rpcId, or nothing if it is none of ours."""
    seq = int(rpc[19:23], 16)

    if rpc[14] == '1' and int(rpc[25], 16) & 1 and seq & 0xc000 == 0x8000 \
            and seq & 0x3fff < shards:
        return seq & 0x3fff
