# Copyright (C) tb-rpc contributors.

"""Lists that differ from what they list: found, and put right.

What was put by older versions, or by other means than this program, is in no
list.  This is the one place that looks at all keys.
"""

import time

from . import listing
from .store import fields
from .terminal import Progress, shown
from .tokens import short
from .values import is_uuid

COUNT = 1000                            # of a SCAN
YOUNG = 60000                           # ms in which somebody may be adding it
SECOND = 1                              # s until a key is looked at again


class Differences:
    def __init__(self, store, is_repair):
        self.store, self.is_repair = store, is_repair
        self.found = {}                 # texts; a SCAN may name a key twice
        self.now = store.now()

    def say(self, text):
        self.found[text] = True

    def write(self, *command):
        if self.is_repair:
            self.store.run(*command)

    # what is listed, and is not there ---------------------------------------

    def devices_listed(self):
        told, n = Progress('listed devices'), 0

        for batch in listing.batches(listing.members(self.store, '-', '+')):
            n += len(batch)
            told.at(n)
            ids = [listing.parts(member)[2] for member in batch]
            replies = self.store.many(
                [('HMGET', self.store.key('device', id), 'tenantId', 'name')
                 for id in ids])

            for member, id, (tenant, name) in zip(batch, ids, replies):
                if member != '%s/%s/%s' % (tenant, name or '', id):
                    self.say('%s is listed as %s, which it is not'
                             % (id, member))
                    self.write('ZREM', self.list_of(id), member)
                    self.list_again(id)

    def list_of(self, id):
        return self.store.in_shard(self.store.shard(id), 'devices')

    def list_again(self, id):
        """By the function that lists, in one step with what is there."""
        device = listing.read(self.store, id)

        if device and self.is_repair:
            self.store.fcall('tb_rpc_device_put', self.store.key('device', id),
                             device['tenantId'],
                             device.get('customerId', ''))

    def api_keys_listed(self):
        index = self.store.prefix + 'apikeys'
        shas = self.store.run('ZRANGE', index, 0, -1)
        missing = self.without('apikey:', shas)

        if missing:
            time.sleep(SECOND)          # it may just be being made

        for sha in self.without('apikey:', missing):
            self.say('API key %s is listed and not there' % sha[:16])
            self.write('ZREM', index, sha)

    def users_listed(self):
        index = self.store.prefix + 'users'
        users = self.store.run('ZRANGE', index, 0, -1)
        missing = self.without('user:', users)

        if missing:
            time.sleep(SECOND)

        for user in self.without('user:', missing):
            self.say('user %s is listed and not there' % shown(user))
            self.write('ZREM', index, user)

    def without(self, kind, names):
        there = self.store.many([('EXISTS', self.store.prefix + kind + one)
                                 for one in names])
        return [one for one, exists in zip(names, there) if not exists]

    # what is there, and not listed ------------------------------------------

    def all_keys(self):
        told, n = Progress('keys'), 0

        for link in self.store.server.masters():
            cursor = '0'

            while True:
                cursor, keys = link.many([
                    ('SCAN', cursor, 'MATCH', self.store.prefix + '*',
                     'COUNT', COUNT)])[0]
                n += len(keys)
                told.at(n)
                self.look(keys)
                if cursor in ('0', 0):
                    break

    def look(self, keys):
        """The few kinds of keys that something is said of."""
        kinds = {'device': [], 'tokens': [], 'token': [], 'basic': [],
                 'cert': [], 'apikey': [], 'user': []}

        for key in keys:
            name = key[len(self.store.prefix):]
            if name.startswith('{'):
                name = name.partition('}:')[2]
            kind, _, id = name.partition(':')
            if kind in kinds and id:
                kinds[kind].append(id)

        self.devices(filter(is_uuid, kinds['device']))
        self.token_lists(filter(is_uuid, kinds['tokens']))
        self.tokens(kinds['token'] + [kind + ':' + sha
                                      for kind in ('basic', 'cert')
                                      for sha in kinds[kind]])
        self.indexed('apikeys', kinds['apikey'],
                     lambda sha: 'API key ' + sha[:16])
        self.indexed('users', kinds['user'],
                     lambda user: 'user ' + shown(user))

    def devices(self, ids):
        ids = list(ids)
        hashes = self.store.many(
            [('HMGET', self.store.key('device', id), 'tenantId', 'name')
             for id in ids])
        there = [(id, tenant, name or '') for id, (tenant, name)
                 in zip(ids, hashes) if tenant]
        scores = self.store.many(
            [('ZSCORE', self.list_of(id), '%s/%s/%s' % (tenant, name, id))
             for id, tenant, name in there])

        for (id, _, _), score in zip(there, scores):
            if score is None:
                self.say('device %s is not listed' % id)
                self.list_again(id)

        named = [one for one in there if one[2]]
        owners = self.store.many(
            [('HGET', self.store.key('names', tenant), name)
             for _, tenant, name in named])

        for (id, tenant, name), owner in zip(named, owners):
            if owner is None:
                self.say('device %s is not found by its name' % id)
                self.write('HSETNX', self.store.key('names', tenant), name,
                           id)

    def token_lists(self, ids):
        ids = list(ids)
        hashes = self.store.many([('HGETALL', self.store.key('tokens', id))
                                  for id in ids])
        listed = [(id, sha, text.partition(' ')[0])
                  for id, reply in zip(ids, hashes)
                  for sha, text in fields(reply).items()]
        owners = self.store.many([('GET', self.store.token(sha))
                                  for _, sha, _ in listed])

        for (id, sha, created), owner in zip(listed, owners):
            if owner == id or created.isdigit() \
                    and self.now - int(created) < YOUNG:
                continue
            self.say('token %s of device %s is listed and not there'
                     % (short(sha), id))
            self.write('HDEL', self.store.key('tokens', id), sha)

    def tokens(self, shas):
        owners = self.store.many([('GET', self.store.token(sha))
                                  for sha in shas])
        owned = [pair for pair in zip(shas, owners)
                 if pair[1] and is_uuid(pair[1])]
        there = self.store.many([('HEXISTS', self.store.key('tokens', id), sha)
                                 for sha, id in owned])

        for (sha, id), is_listed in zip(owned, there):
            if not is_listed:
                self.say('token %s of device %s is not listed'
                         % (short(sha), id))
                self.write('HSETNX', self.store.key('tokens', id), sha,
                           '%d ' % self.now)

    def indexed(self, name, ids, called):
        index = self.store.prefix + name
        scores = self.store.many([('ZSCORE', index, id) for id in ids])

        for id, score in zip(ids, scores):
            if score is None:
                self.say('%s is not listed' % called(id))
                self.write('ZADD', index, 0, id)


def find(store, is_repair):
    """Texts of what differs, or differed."""
    d = Differences(store, is_repair)
    d.devices_listed()
    d.api_keys_listed()
    d.users_listed()
    d.all_keys()

    return list(d.found)
