# Copyright (C) tb-rpc contributors.

"""A Redis Cluster: which server has a key."""

import binascii

from .errors import Failure
from .replies import redis_error, words

SLOTS = 16384


def slot_of(key):
    """Of what is in the first braces of a key, if that is anything."""
    if not isinstance(key, bytes):
        key = key.encode('utf-8', 'surrogateescape')

    begin = key.find(b'{') + 1
    end = key.find(b'}', begin) if begin else -1

    if end > begin:
        key = key[begin:end]

    return binascii.crc_hqx(key, 0) % SLOTS


class Cluster:
    """Many servers; make(host, port) is a connection to one of them."""

    is_cluster = True

    def __init__(self, seeds, make):
        self.seeds, self.make = seeds, make
        self.links, self.slots = {}, [None] * SLOTS

        self.refresh()

    def link_of(self, host, port):
        if (host, port) not in self.links:
            self.links[host, port] = self.make(host, port)
        return self.links[host, port]

    def refresh(self):
        """By the first that answers, of those that are known by now."""
        known = {address: None for address in self.slots if address}
        known.update(dict.fromkeys(self.seeds))
        failed = []

        for host, port in known:
            link = self.link_of(host, port)

            try:
                reply = link.many([('CLUSTER', 'SLOTS')])[0]
                if not redis_error(reply):
                    self.slots = slots_in(reply, host)
                    return
                failed.append('%s: %s' % (link.where, words(reply)))
            except Failure as e:
                failed.append(str(e))
            except (IndexError, TypeError, ValueError):
                failed.append('%s: that is no reply of a Redis' % link.where)

        raise Failure('the cluster does not answer: ' + '; '.join(failed))

    def of(self, key):
        address = self.slots[slot_of(key or '')]

        if address is None:
            raise Failure('CLUSTERDOWN: no node has the slot of %s' % key)

        return self.link_of(*address)

    def masters(self):
        return [self.link_of(*address)
                for address in sorted({a for a in self.slots if a})]

    def many(self, keyed):
        """Replies of (key, command) pairs; the key names the server."""
        replies, parts = [None] * len(keyed), {}

        for i, (key, _) in enumerate(keyed):
            parts.setdefault(self.of(key), []).append(i)

        for one, places in parts.items():
            for i, reply in zip(places, one.many([keyed[i][1]
                                                  for i in places])):
                replies[i] = reply

        return replies


def slots_in(reply, asked):
    """A list of (host, port) or None, by the reply to CLUSTER SLOTS."""
    slots = [None] * SLOTS

    for first, last, (host, port, *_), *_ in reply:
        # a node that does not know its own address has the one it is asked at
        node = (host or asked, int(port))

        if not 0 <= first <= last < SLOTS:
            raise ValueError
        slots[first:last + 1] = [node] * (last + 1 - first)

    return slots
