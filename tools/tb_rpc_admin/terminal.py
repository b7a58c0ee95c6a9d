# Copyright (C) tb-rpc contributors.

"""What is printed: results on the standard output, all else on the standard
error."""

import datetime
import json
import os
import sys
import time

from .errors import Failure

NAME = 'tb-rpc-admin'
PAGE = 500                              # rows that are laid out together
TELL = 2                                # seconds between two reports
CUT = 60                                # characters of what is quoted


def nobody_reads(fd):
    """What is still to be written there goes nowhere, at the exit too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def say(text, name=NAME):
    """A line on the standard error."""
    if sys.stderr is None:
        return                          # closed from the start

    try:
        print('%s: %s' % (name, text), file=sys.stderr, flush=True)
    except OSError:
        nobody_reads(2)                 # the work goes on


def shown(text):
    """Quoted, and harmless on a terminal."""
    return json.dumps(text if len(text) <= CUT else text[:CUT] + '...')


def plain(value):
    """A cell: no control characters, '-' for what is not there."""
    if value is None or value == '':
        return '-'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return '%.1f' % value

    text = str(value)

    if text.isprintable():
        return text

    return ''.join(c if c.isprintable() else '\\x%02x' % (ord(c) & 0xff)
                   for c in text)


def moment(ms):
    """Epoch ms as people read it, UTC."""
    if not ms:
        return ''

    try:
        at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    except (OverflowError, OSError, ValueError):
        return str(ms)

    return at.strftime('%Y-%m-%d %H:%M:%S')


def age(ms):
    """A span of time: 3m12s."""
    if ms is None:
        return ''

    s = max(0, ms) / 1000

    if s < 1:
        return '%d ms' % ms
    if s < 10:
        return '%.1fs' % s

    s = int(s)
    parts = (('d', s // 86400), ('h', s // 3600 % 24), ('m', s // 60 % 60),
             ('s', s % 60))

    while parts and not parts[0][1]:
        parts = parts[1:]

    return ''.join('%d%s' % (n, unit) for unit, n in parts[:2])


def count(n, one, many=None):
    return '%d %s' % (n, one if n == 1 else many or one + 's')


class Terminal:
    """Tables for people, or one JSON object a line for programs."""

    def __init__(self, as_json):
        self.as_json = as_json

    def write(self, text):
        self.out(lambda: sys.stdout.write(text))

    def bytes(self, data):
        self.out(lambda: sys.stdout.buffer.write(data))

    @staticmethod
    def out(write):
        if sys.stdout is None:
            raise Gone()                # closed from the start

        try:
            write()
            sys.stdout.flush()
        except BrokenPipeError:
            nobody_reads(1)
            raise Gone()
        except OSError as e:
            nobody_reads(1)
            raise Failure('the standard output: %s' % e.strerror)

    def answer(self, text):
        """What a device said, byte for byte; harmless on a terminal."""
        if sys.stdout is not None and sys.stdout.isatty():
            self.line('\n'.join(map(plain, text.split('\n'))))
        else:
            self.bytes((text + '\n').encode('utf-8', 'surrogateescape'))

    def line(self, text=''):
        self.write(text + '\n')

    def json(self, value):
        self.line(json.dumps(value, ensure_ascii=True))

    def done(self, text, **value):
        """What was done: the text, or as an object."""
        if self.as_json:
            self.json(value)
        else:
            self.line(text)

    def one(self, value, rows=None):
        """One thing; rows are (heading, cell) as people see it."""
        if self.as_json:
            self.json(value)
            return

        rows = rows if rows is not None else list(value.items())
        width = max([len(name) for name, _ in rows] or [0])

        for name, cell in rows:
            self.line('%-*s  %s' % (width, name, plain(cell)))

    def table(self, headings, things, cells):
        """Each thing of an iterable, a row; cells(thing) are its texts.  The
        number of rows."""
        n, page = 0, []

        for thing in things:
            n += 1

            if self.as_json:
                self.json(thing)
                continue

            page.append([plain(cell) for cell in cells(thing)])

            if len(page) == PAGE:
                self.page(headings if n == PAGE else None, page)
                page = []

        if page:
            self.page(headings if n <= PAGE else None, page)

        return n

    def page(self, headings, rows):
        if headings:
            rows = [headings] + rows
            self.widths = [max(len(row[i]) for row in rows)
                           for i in range(len(headings))]

        self.write(''.join(
            '  '.join('%-*s' % pair for pair in zip(self.widths, row)).rstrip()
            + '\n' for row in rows))


class Gone(Exception):
    """Nobody reads the standard output any more."""


class Progress:
    """Tells every two seconds how far long work is."""

    def __init__(self, what, name=NAME):
        self.what, self.name, self.told = what, name, time.time()

    def at(self, n, more=''):
        if time.time() - self.told >= TELL:
            self.told = time.time()
            say('%d %s%s' % (n, self.what, more), self.name)
