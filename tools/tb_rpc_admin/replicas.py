# Copyright (C) tb-rpc contributors.

"""Do replicas have what was written?  What --redis-wait asks for.

A master that is lost takes with it what its replicas do not have yet: a user
who was disabled there would be let in again.
"""

from .connect import Lost
from .errors import Unconfirmed
from .replies import redis_error, words


def confirm(links, n, ms):
    """Unconfirmed, unless n replicas of each server that was written to have
    all of it within so many ms.  WAIT is about what came by its own connection,
    so these are the ones that commands went by."""
    written = [link for link in links if link.wrote]
    replies = []

    try:
        for link in written:
            link.send([('WAIT', n, ms)])
        for link in written:
            replies.append(link.reply())

    except Lost as e:
        raise Unconfirmed('it is done, but not known whether replicas have it:'
                          ' %s' % e)

    for link, reply in zip(written, replies):
        if redis_error(reply):
            raise Unconfirmed('it is done, but not known whether replicas have'
                              ' it: %s: %s' % (link.where, words(reply)))
        if reply < n:
            raise Unconfirmed(
                'it is done, but %d of the %d replicas of %s that --redis-wait'
                ' asks for had it after %d ms: with its master it may be lost'
                % (reply, n, link.where, ms))
