# Copyright (C) tb-rpc contributors.

"""A row of what is imported: what it may have, and whether it is sound."""

from . import terminal
from .terminal import shown
from .values import BRIDGE, CONTROL, NO_CUSTOMER, STRATEGIES, UUID, sha256

ME = 'tb-rpc-admin import'

# a column, and what it may be called; the first one that is there counts
COLUMNS = {'id': ['deviceid', 'id'], 'tenant': ['tenantid', 'tenant'],
           'customer': ['customerid', 'customer'], 'name': ['name'],
           'token': ['accesstoken', 'token'], 'strategy': ['strategy'],
           'bridge': ['bridge']}


class BadRow(Exception):
    """What leaves out one row."""


def say(text):
    terminal.say(text, ME)


def checked(item, options):
    """All columns; '' is what the file does not say."""
    if isinstance(item, BadRow):
        raise item

    device = {column: item.get(column) or getattr(options, column, None) or ''
              for column in COLUMNS}

    for column in 'id', 'tenant', 'customer':
        device[column] = device[column].lower()
        if not UUID.match(device[column]) and (device[column]
                                               or column == 'id'):
            raise BadRow('the %s is not a UUID: %s'
                         % (column, shown(device[column])))

    for column in 'name', 'token':
        if CONTROL.search(device[column]):
            raise BadRow('control characters in the %s' % column)
        try:
            length = len(device[column].encode())
        except UnicodeError:
            raise BadRow('the %s is not UTF-8' % column)
        if length > 255:
            raise BadRow('the %s is longer than 255 bytes' % column)

    if device['strategy'] not in STRATEGIES + ['']:
        raise BadRow('the strategy is not %s or %s: %s'
                     % (', '.join(STRATEGIES[:-1]), STRATEGIES[-1],
                        shown(device['strategy'])))
    if device['bridge'] and not BRIDGE.match(device['bridge']):
        raise BadRow('the bridge is not 1 to 64 of A-Z a-z 0-9 . _ : @ -: %s'
                     % shown(device['bridge']))

    return device


class Row:
    """A device of the file, and what Redis has of it."""

    def __init__(self, n, where, device):
        self.n, self.where, self.is_bad = n, where, False
        self.is_unlisted = self.is_changed = False
        self.__dict__.update(device)
        self.sha = sha256(self.token) if self.token else None

    def found(self, old, owner, is_listed):
        (self.old_tenant, self.old_customer, self.old_name, self.old_strategy,
         self.old_bridge) = old
        self.owner, self.is_listed = owner, is_listed       # of the token
        self.tenant = self.tenant or self.old_tenant

        if self.customer == NO_CUSTOMER:
            self.customer = ''
        elif not self.customer and self.tenant == self.old_tenant:
            self.customer = self.old_customer or ''

    def differs(self):
        return (self.is_unlisted or self.tenant != self.old_tenant
                or self.customer != (self.old_customer or '')
                or self.name not in ('', self.old_name)
                or self.strategy not in ('', self.old_strategy)
                or self.bridge not in ('', self.old_bridge))

    def now_named(self):
        return self.name or self.old_name
