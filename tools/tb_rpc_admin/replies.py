# Copyright (C) tb-rpc contributors.

"""Error replies of Redis: told apart, and in words.  redis-py is not needed
here, which takes longer to load than most commands run."""

import re


def redis_error(reply):
    return isinstance(reply, Exception)


# redis-py leaves out the word that an error begins with

FIRST = {'BusyLoadingError': 'LOADING', 'ReadOnlyError': 'READONLY',
         'NoPermissionError': 'NOPERM', 'AuthenticationError': 'WRONGPASS',
         'MovedError': 'MOVED', 'AskError': 'ASK', 'TryAgainError': 'TRYAGAIN',
         'ClusterDownError': 'CLUSTERDOWN', 'MasterDownError': 'MASTERDOWN',
         'ClusterCrossSlotError': 'CROSSSLOT', 'OutOfMemoryError': 'OOM',
         'NoScriptError': 'NOSCRIPT', 'ExecAbortError': 'EXECABORT'}


def words(e):
    """What an error reply says, and what to do about it."""
    first = FIRST.get(type(e).__name__, '')
    text = str(e)

    if first and not text.startswith(first):
        text = '%s %s' % (first, text)

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
