# Copyright (C) tb-rpc contributors.

"""device import: many devices at once, from CSV or from the JSON of a
ThingsBoard server's device list.  500 rows at a time are looked up, checked
and written; what Redis has already is not written again."""

import os
import stat
import time

from . import values
from .errors import Failure
from .replies import redis_error, words
from .row import BadRow, ME, Row, checked, say
from .rows_csv import rows_of_csv
from .rows_json import device_of_json, rows_of_json
from .terminal import Gone, Progress

BATCH = 500


def register(commands):
    own = commands.add(
        'device import', run, 'many devices (also: import FILE)',
        'tb-rpc-admin device import devices.csv --tenant 7e000000-0000-11ee-'
        '8000-00000000000a',
        'FILE is CSV, with a heading or in the order id, tenant, customer,'
        ' name, token,\nstrategy, bridge; or the JSON that a ThingsBoard'
        " server's device list gives, several\npages one after another, too."
        '  What the file does not say of a device stays as it is.')
    own.add_argument('file', metavar='FILE', help='- is the standard input')
    own.add_argument('--tenant', metavar='UUID', help='of rows that have none')
    own.add_argument('--strategy', metavar='S', help='of rows that have none:'
                     ' burst, sequential_on_ack or sequential_on_response')
    own.add_argument('--bridge', metavar='NAME', help='static route of rows'
                                                      ' that have none')
    own.add_argument('--move', action='store_true',
                     help='also devices that are another tenant\'s')


class Import:
    def __init__(self, store, options):
        self.store, self.options = store, options
        self.new = self.changed = self.unchanged = self.bad = 0
        self.names = self.tokens = 0
        self.seen, self.named, self.owned = {}, {}, {}
        self.n, self.batch, self.refused = 0, [], []
        self.started = time.time()
        store.new()
        self.created = '%d ' % store.now()

    def key(self, kind, row):
        return self.store.key(kind, row.id)

    def names_key(self, tenant):
        return self.store.key('names', tenant)

    def refuse(self, n, where, why):
        self.bad += 1
        self.refused.append((n, '%s: %s' % (where, why)))

    def tell(self):
        for _, text in sorted(self.refused):
            say(text)
        self.refused = []

    def add(self, where, item):
        self.n += 1

        try:
            if not isinstance(item, BadRow) and self.is_json:
                item = device_of_json(item)
            device = checked(item, self.options)
            before = self.seen.setdefault(
                device['id'], (where, hash(tuple(device.values()))))

            if before[0] != where:
                if before[1] != hash(tuple(device.values())):
                    raise BadRow('the device is in %s already, and not the'
                                 ' same' % before[0])
                self.unchanged += 1
                return

            self.batch.append(Row(self.n, where, device))

        except BadRow as e:
            self.refuse(self.n, where, e)

        if len(self.batch) + len(self.refused) >= BATCH:
            self.flush()

    def flush(self):
        rows, self.batch = self.batch, []

        self.find(rows)
        self.check_tenants(rows)
        self.check_tokens(rows)
        self.check_names(rows)
        rows = [row for row in rows if not row.is_bad]
        self.find_unlisted(rows)
        self.put([row for row in rows if row.differs()])
        self.put_names([row for row in rows if not row.is_bad])
        self.put_tokens([row for row in rows if row.token and not row.is_bad])
        self.count([row for row in rows if not row.is_bad])
        self.tell()

    def leave_out(self, row, why):
        row.is_bad = True
        self.refuse(row.n, row.where, why)

    # looking ----------------------------------------------------------------

    def find(self, rows):
        with_token = [row for row in rows if row.token]
        replies = self.store.many(
            [('HMGET', self.key('device', row), 'tenantId', 'customerId',
              'name', 'strategy', 'route') for row in rows]
            + [command for row in with_token for command in (
                ('GET', self.store.token(row.sha)),
                ('HEXISTS', self.key('tokens', row), row.sha))],
            'WRONGTYPE')
        tokens = dict(zip(with_token, zip(replies[len(rows)::2],
                                          replies[len(rows) + 1::2])))

        for row, fields in zip(rows, replies):
            owner, is_listed = tokens.get(row, (None, 0))

            if any(map(redis_error, (fields, owner, is_listed))):
                self.leave_out(row, 'its key in Redis is of another type')
                continue

            row.found(fields, owner, is_listed)

            if not row.tenant:
                self.leave_out(row, 'the tenant is missing, and there is no'
                                    ' --tenant')

    def check_tenants(self, rows):
        for row in rows:
            if not row.is_bad and row.old_tenant not in (None, row.tenant) \
                    and not self.options.move:
                self.leave_out(row, 'the device is of tenant %s, and there is'
                                    ' no --move' % row.old_tenant)

    def check_tokens(self, rows):
        """A token is nobody else's, or only that of a device that is gone."""
        taken = [row for row in rows
                 if not row.is_bad and row.owner not in (None, row.id)]
        there = self.store.many([('EXISTS', self.store.key(
            'device', row.owner)) for row in taken])
        taken = {row for row, exists in zip(taken, there) if exists}

        for row in rows:
            if row.is_bad or not row.token:
                continue

            sha = bytes.fromhex(row.sha)

            if sha in self.owned:
                self.leave_out(row, 'the token is that of %s, too'
                                    % self.owned[sha])
            elif row in taken:
                self.leave_out(row, 'the token is that of device %s'
                                    % row.owner)
            else:
                self.owned[sha] = row.where

    def check_names(self, rows):
        for row in rows:
            if row.is_bad or not row.name:
                continue

            where = self.named.setdefault((row.tenant, row.name), row.where)

            if where != row.where:
                self.leave_out(row, 'the name is that of %s, too' % where)

    def find_unlisted(self, rows):
        """Devices of older versions are in no list."""
        same = [row for row in rows if not row.differs()]
        scores = self.store.many(
            [('ZSCORE', self.store.in_shard(self.store.shard(row.id),
                                            'devices'),
              '%s/%s/%s' % (row.tenant, row.old_name or '', row.id))
             for row in same])

        for row, score in zip(same, scores):
            row.is_unlisted = score is None

    # writing ----------------------------------------------------------------

    def put(self, rows):
        commands = []

        for row in rows:
            fields = [('name', row.name), ('strategy', row.strategy),
                      ('bridge', row.bridge)]
            commands.append(['FCALL', 'tb_rpc_device_put', 1,
                             self.key('device', row), row.tenant,
                             row.customer]
                            + [x for field in fields if field[1]
                               for x in field])

        for row, reply in zip(rows, self.store.many(commands, 'tb_rpc: ')):
            if redis_error(reply):
                self.leave_out(row, words(reply).split('tb_rpc: ', 1)[1])

    def put_names(self, rows):
        named = [row for row in rows if row.now_named()
                 and (row.name or row.tenant != row.old_tenant)]
        has = self.store.many([('HGET', self.names_key(row.tenant),
                                row.now_named()) for row in named])
        stale = [row for row in named if row.old_name
                 and (row.old_tenant, row.old_name)
                 != (row.tenant, row.now_named())]

        for row, uuid in zip(named, has):
            row.is_changed = row.is_changed or uuid != row.id

        self.store.many([('HSET', self.names_key(row.tenant), row.now_named(),
                          row.id)
                         for row, uuid in zip(named, has) if uuid != row.id])

        # a former name, unless another device has it by now

        has = self.store.many([('HGET', self.names_key(row.old_tenant),
                                row.old_name) for row in stale])
        self.store.many([('HDEL', self.names_key(row.old_tenant), row.old_name)
                         for row, uuid in zip(stale, has) if uuid == row.id])

    def put_tokens(self, rows):
        """In its device's list before it admits anyone."""
        unlisted = [row for row in rows if not row.is_listed]
        self.store.many([('HSETNX', self.key('tokens', row), row.sha,
                          self.created) for row in unlisted])

        free = [row for row in rows if row.owner is None]
        left = [row for row in rows if row.owner not in (None, row.id)]
        done = self.store.many([('SET', self.store.token(row.sha), row.id,
                                 'NX') for row in free])

        for row in left:
            self.store.many([
                ('SET', self.store.token(row.sha), row.id),
                ('HDEL', self.store.key('tokens', row.owner), row.sha)])

        for row in unlisted + free + left:
            row.is_changed = True

        for row, ok in zip(free, done):
            if ok is None and self.store.run(
                    'GET', self.store.token(row.sha)) != row.id:
                self.store.run('HDEL', self.key('tokens', row), row.sha)
                self.leave_out(row, 'the token is that of another device'
                                    ' since a moment ago')

    def count(self, rows):
        for row in rows:
            self.names += bool(row.name)
            self.tokens += bool(row.token)
            if row.old_tenant is None:
                self.new += 1
            elif row.differs() or row.is_changed:
                self.changed += 1
            else:
                self.unchanged += 1

    def run(self, rows, is_json, percent):
        self.is_json = is_json
        told = Progress('rows', ME)

        try:
            for where, item in rows:
                self.add(where, item)
                told.at(self.rows(), percent())

            self.flush()

        finally:
            self.tell()

    def rows(self):
        return self.new + self.changed + self.unchanged + self.bad

    def summary(self):
        return {'rows': self.rows(),
                'seconds': round(time.time() - self.started, 1),
                'new': self.new, 'changed': self.changed,
                'unchanged': self.unchanged, 'bad': self.bad,
                'names': self.names, 'tokens': self.tokens}


SUMMARY = ('%(rows)d rows in %(seconds).1f s: %(new)d new, %(changed)d'
           ' changed, %(unchanged)d unchanged, %(bad)d bad (%(names)d names,'
           ' %(tokens)d tokens)')


# --- the file ---------------------------------------------------------------

def percent(file):
    """A function that says how much of a file has been read."""
    status = os.fstat(file.fileno())

    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return lambda: ''

    return lambda: ', %d %%' % min(100, file.raw.tell() * 100
                                   // status.st_size)


def begin(file):
    """Skips the byte order mark and blank lines.  (is it JSON, lines)"""
    lines = 0

    if file.peek(3).startswith(b'\xef\xbb\xbf'):
        file.read(3)
    elif file.peek(2)[:2] in (b'\xff\xfe', b'\xfe\xff'):
        raise Failure('the file is UTF-16, it must be UTF-8')

    # not tabs, which may be empty headings
    while file.peek(1)[:1] in (b'\r', b'\n', b' '):
        lines += file.read(1) == b'\n'

    return file.peek(1)[:1] in (b'{', b'['), lines


def work(program, file):
    """(the Import, exit code)"""
    status, imported = 1, None
    options = program.options

    try:
        imported = Import(program.store, options)
        is_json, skipped = begin(file)
        rows = rows_of_json if is_json else rows_of_csv
        imported.run(rows(file, skipped), is_json, percent(file))
        status = 1 if imported.bad else 0

    except Failure as e:
        say(e)
    except OSError as e:
        say('%s: %s' % (options.file, e.strerror or e))
    except KeyboardInterrupt:
        say('interrupted')
        status = 130
    else:
        return imported, status

    if imported and imported.rows():
        say('not all was done; it can be done again, that changes nothing of'
            ' what is done')

    return imported, status


def run(program):
    options = program.options
    options.tenant = program.settings.tenant

    if options.bridge is not None:
        values.bridge('--bridge', options.bridge)
    if options.strategy is not None:
        values.strategy('--strategy', options.strategy)

    try:
        file = open(0 if options.file == '-' else options.file, 'rb')
    except OSError as e:
        say('%s: %s' % (options.file, e.strerror))
        return 1

    imported, status = work(program, file)

    if imported and (imported.rows() or not status):
        summary = imported.summary()

        try:
            program.terminal.done(SUMMARY % summary, **summary)
        except Gone:
            pass

        program.store.confirm()

    return status
