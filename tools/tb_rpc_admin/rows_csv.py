# Copyright (C) tb-rpc contributors.

"""Rows of a CSV file, read piece by piece."""

import collections
import csv
import io
import re

from .errors import Failure
from .row import COLUMNS, BadRow, say
from .terminal import shown
from .values import UUID

MAX_LINE = 1 << 20


def plain(name):
    return re.sub('[^a-z0-9]', '', name.lower())


class Lines:
    """Lines of a text, of which some can be given back."""

    def __init__(self, text, skipped):
        self.text, self.number = text, skipped
        self.row, self.again = [], collections.deque()

    def __iter__(self):
        return self

    def __next__(self):
        if self.again:
            line = self.again.popleft()
        else:
            line = part = self.text.readline(MAX_LINE)
            while part and part[-1] not in '\r\n':
                part = self.text.readline(MAX_LINE)

        if not line:
            raise StopIteration

        self.number += 1
        self.row.append(line)

        if len(line) == MAX_LINE:
            raise csv.Error('longer than %d characters' % MAX_LINE)

        return line

    def give_back(self, but):
        """All of the row, but for so many lines."""
        self.again.extendleft(reversed(self.row[but:]))
        self.number -= len(self.row[but:])
        self.row = []


def heading(row, where):
    """Where each column is.  Without a heading they come in our order."""
    names = [plain(cell) for cell in row]
    columns = {}

    if UUID.match(row[0].strip().lower()):
        return {column: i for i, column in enumerate(COLUMNS)}, False

    for column, aliases in COLUMNS.items():
        known = [name for name in aliases if name in names]
        if known and names.count(known[0]) > 1:
            raise Failure('%s: two columns "%s"' % (where, known[0]))
        if known:
            columns[column] = names.index(known[0])

    if 'id' not in columns:
        raise Failure('%s: neither a device id nor a heading with "id"'
                      % where)

    unused = [row[i].strip() for i in range(len(row))
              if i not in columns.values() and row[i].strip()]
    if unused:
        say('columns that are not used: ' + ', '.join(map(shown, unused)))

    return columns, True


def rows_of_csv(file, skipped):
    """(where, dict) of each row, or (where, BadRow)."""
    text = io.TextIOWrapper(file, 'utf-8', 'surrogateescape', newline='')
    lines = Lines(text, skipped)
    separator = re.search('[,;\t]', next(lines, ''))
    lines.give_back(0)
    reader = csv.reader(lines, strict=True,
                        delimiter=separator.group() if separator else ',')
    columns = None

    while True:
        lines.row = []
        where = 'line %d' % (lines.number + 1)

        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            # a quote that was not meant as one must not take other rows along
            lines.give_back(1)
            yield where, BadRow('not CSV: %s' % e)
            continue

        if not ''.join(row).strip():
            continue

        if columns is None:
            columns, is_heading = heading(row, where)
            width = len(row) if is_heading else len(COLUMNS)
            if is_heading:
                continue

        if ''.join(row[width:]).strip():
            yield where, BadRow('more columns than headings')
            continue

        yield where, {column: row[i].strip() for column, i in columns.items()
                      if i < len(row)}
