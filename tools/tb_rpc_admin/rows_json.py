# Copyright (C) tb-rpc contributors.

"""Devices of JSON texts as a ThingsBoard server gives them, read piece by
piece."""

import io
import json
import re

from .errors import Failure
from .row import COLUMNS, BadRow, say
from .rows_csv import plain
from .terminal import shown

MAX_ITEM = 1 << 24


class Json:
    """JSON texts one after another, of which little is in memory."""

    BLANK = re.compile(r'[ \t\r\n]*')
    # Python does not take integers of any length
    DECODER = json.JSONDecoder(parse_int=float)

    def __init__(self, file, skipped):
        self.file = io.TextIOWrapper(file, 'utf-8', 'surrogateescape',
                                     newline='')
        self.text, self.pos, self.line = '', 0, skipped + 1

    def forget(self):
        self.line += self.text.count('\n', 0, self.pos)
        self.text, self.pos = self.text[self.pos:], 0

    def more(self):
        """As much again, so that a large value is not parsed too often."""
        self.forget()
        text = self.file.read(max(1 << 16, len(self.text)))
        self.text += text
        return text != ''

    def fail(self, text):
        self.forget()
        raise Failure('line %d: %s' % (self.line, text))

    def peek(self):
        """The next character that is not blank; '' at the end."""
        while True:
            self.pos = self.BLANK.match(self.text, self.pos).end()
            if self.pos < len(self.text):
                return self.text[self.pos]
            if not self.more():
                return ''

    def take(self, wanted):
        if self.peek() not in wanted or not self.peek():
            self.fail('not JSON: "%s" is missing' % '" or "'.join(wanted))
        self.pos += 1
        return self.text[self.pos - 1]

    def value(self):
        if not self.peek():
            self.fail('not JSON: it ends too early')

        self.forget()

        while True:
            try:
                value, end = self.DECODER.raw_decode(self.text)
                if end < len(self.text) or not self.more():
                    self.pos = end
                    return value
            except (ValueError, RecursionError) as e:
                if len(self.text) > MAX_ITEM or not self.more():
                    self.line += getattr(e, 'lineno', 1) - 1
                    self.fail('not JSON: %s' % getattr(e, 'msg', e))

    def items(self, open_, close):
        """Before each item between two brackets."""
        self.take(open_)
        while self.peek() != close:
            yield
            if self.peek() != close:
                self.take(',' + close)
                if self.peek() == close:
                    self.fail('not JSON: "," before "%s"' % close)
        self.take(close)


def rows_of_json(file, skipped):
    """The same for {"data":[...]}, [...] or {...}, as often as they come."""
    source = Json(file, skipped)
    n = total = 0
    more = False

    while source.peek():
        item, is_page = {}, source.peek() == '['
        source.forget()
        line = source.line

        if is_page:
            arrays = iter([None])
        else:
            arrays = members(source, item)

        for _ in arrays:
            is_page = True
            for _ in source.items('[', ']'):
                n += 1
                source.peek()
                source.forget()
                yield 'line %d, device %d' % (source.line, n), source.value()

        if is_page:
            more, total = item.get('hasNext'), item.get('totalElements')
        elif 'id' in item or 'deviceId' in item or 'device' in item:
            n += 1
            yield 'line %d, device %d' % (line, n), item
        else:
            text = item.get('message')
            raise Failure('line %d: neither a list of devices nor a device%s'
                          % (line, ': ' + shown(text)
                             if isinstance(text, str) else ''))

    if more is True:
        say('the last page says that there are more%s: get them with page=1,'
            ' page=2 and so on' % (', %d in all' % total
                                   if isinstance(total, float) else ''))


def members(source, item):
    """Puts the members of an object into item, and stops before its data."""
    for _ in source.items('{', '}'):
        if source.peek() != '"':
            source.fail('not JSON: a name is missing')
        name = source.value()
        source.take(':')
        if name == 'data' and source.peek() == '[':
            yield
        else:
            item[name] = source.value()


def device_of_json(item):
    """What CSV would say of it."""
    if not isinstance(item, dict):
        raise BadRow('not an object')

    credentials = item.get('credentials', item)

    if isinstance(item.get('device'), dict):
        item = item['device']

    members_ = {plain(name): value for name, value in item.items()}
    device = {}

    for column, aliases in COLUMNS.items():
        for alias in aliases:
            value = members_.get(alias)

            # {"entityType": ..., "id": ...} is how ThingsBoard refers
            if isinstance(value, dict):
                if column == 'id' and value.get('entityType',
                                                'DEVICE') != 'DEVICE':
                    raise BadRow('not a device, but %s'
                                 % shown(str(value['entityType'])))
                value = value.get('id')
            if value is not None and not isinstance(value, str):
                raise BadRow('the %s is not a text' % column)
            if value:
                device[column] = value
                break

    # of another type it is no token
    if 'token' not in device and isinstance(credentials, dict) \
            and credentials.get('credentialsType') in (None, 'ACCESS_TOKEN') \
            and isinstance(credentials.get('credentialsId'), str):
        device['token'] = credentials['credentialsId']

    return device
