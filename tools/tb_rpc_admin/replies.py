# Copyright (C) tb-rpc contributors.

"""Error replies of Redis: told apart, and in words."""

import re


class ErrorReply(Exception):
    """One of them, as it came."""


def redis_error(reply):
    return isinstance(reply, ErrorReply)


def words(e):
    """What an error reply says, and what to do about it."""
    text = str(e)

    if re.match('MOVED|ASK|CROSSSLOT|CLUSTERDOWN', text):
        return text + ': it is a node of a cluster: --redis-cluster'
    if 'unction not found' in text:
        return (text + ': the library is not there; start nginx, or'
                ' tb-rpc-admin functions load')
    if text.startswith('NOPERM'):
        return text + ': see the ACL lines of docs/redis-schema.md'
    if text.startswith('NOAUTH'):
        return text + ': --redis-user, --redis-password-file'
    return text
