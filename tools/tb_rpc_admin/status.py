# Copyright (C) tb-rpc contributors.

"""What Redis is, what it has of ours, and what waits."""

import re
import time

from .errors import Failure
from .functions import ours, version_in, version_of
from .replies import redis_error
from .store import fields
from .terminal import age

PATIENCE = 13                           # looks at who ticks
OLDEST = 7                              # of Redis; Valkey says 7.2.4


def register(commands):
    commands.add('status', show, 'Redis, library, settings, counters, backlog;'
                 ' exit code 1 with warnings',
                 'tb-rpc-admin status --json')


def info(link, store):
    """{field: text}"""
    reply = link.many([('INFO',)])[0]

    if redis_error(reply):
        raise store.failed(reply, 'INFO: ')

    return dict(re.findall(r'^([^#:\r\n]+):([^\r\n]*)', reply, re.M))


def server(link, store):
    """(what it is, warnings)"""
    i = info(link, store)
    warnings = []

    def number(name):
        return int(i[name]) if i.get(name, '').isdigit() else 0

    if i.get('maxmemory_policy') != 'noeviction':
        warnings.append('maxmemory-policy is %s: calls that were accepted may'
                        ' be thrown away; noeviction'
                        % i.get('maxmemory_policy'))
    if i.get('aof_enabled') != '1':
        warnings.append('appendonly is off: calls that were accepted are lost'
                        ' when Redis restarts')
    if i.get('aof_last_write_status', 'ok') != 'ok':
        warnings.append('the append-only file can\'t be written')
    if i.get('role') != 'master':
        warnings.append('it is a replica')
    if number('maxmemory') and number('used_memory') * 10 \
            > number('maxmemory') * 9:
        warnings.append('over 90 % of maxmemory is used')
    if not re.match(r'\d+', i.get('redis_version', '')) \
            or int(re.match(r'\d+', i['redis_version']).group()) < OLDEST:
        warnings.append('Redis 7.0 or newer is needed, this is %s'
                        % i.get('redis_version'))

    kind = 'Valkey ' + i['valkey_version'] if i.get('valkey_version') \
        else 'Redis ' + i.get('redis_version', '?')

    return {'where': link.where, 'server': kind, 'role': i.get('role'),
            'mode': i.get('redis_mode'), 'uptime': number(
                'uptime_in_seconds'), 'memory': number('used_memory'),
            'maxmemory': number('maxmemory'),
            'clients': number('connected_clients'),
            'replicas': number('connected_slaves')}, warnings


def parts(text):
    return dict(pair.split('=', 1) for pair in (text or '').split(' ')
                if '=' in pair)


def library(store):
    """([version of each master], warnings)"""
    versions, warnings = [], []

    for link in store.server.masters():
        version = version_of(link.many([('FCALL', 'tb_rpc_version', 0)])[0],
                             store)
        versions.append(version)

        if version is None:
            warnings.append('%s: the function library is not there; start'
                            ' nginx, or tb-rpc-admin functions load'
                            % link.where)

    try:
        newest = version_in(*ours())
    except Failure:
        newest = None

    if newest and any(v is not None and v < newest for v in versions):
        warnings.append('the function library is version %s, ours %d:'
                        ' tb-rpc-admin functions load' % (
                            min(v for v in versions if v is not None),
                            newest))

    return versions, warnings


def settings(store):
    """(settings, warnings)"""
    replies = store.many([('HGET', key, 'settings')
                          for key in store.each_shard('config')])
    texts = {text for text in replies if text}
    warnings = []

    if not texts:
        warnings.append('no settings: no nginx was started with this Redis and'
                        ' prefix')
    if len(texts) > 1 or texts and None in replies:
        warnings.append('shards have different settings: nginx is sending'
                        ' them, or reload it')

    return parts(max(texts, default='')), warnings


def who_ticks(store):
    """One worker hands it to the next in up to two seconds."""
    for _ in range(PATIENCE):
        ticker = store.run('GET', store.in_shard(0, 'ticker'))
        if ticker is not None:
            return ticker
        time.sleep(0.2)


def gather(program):
    store = program.store
    servers, warnings = [], []

    for link in store.server.masters():
        value, more = server(link, store)
        servers.append(value)
        warnings += ['%s: %s' % (link.where, text) for text in more]

    versions, more = library(store)
    warnings += more
    set_, more = settings(store)
    warnings += more
    ticker = who_ticks(store)

    if ticker is None:
        warnings.append('nobody ticks: no nginx is connected, nothing expires')

    due = store.many([('ZCARD', key) for key in store.each_shard('due')])
    late = store.many([('ZCOUNT', key, '-inf', store.now() - 5000)
                       for key in store.each_shard('due')])
    devices = store.many([('ZCARD', k) for k in store.each_shard('devices')])
    old = store.many([('ZCARD', key) for key in store.each_shard('old')])
    counters = {}

    for stats in store.many([('HGETALL', key)
                             for key in store.each_shard('stats')]):
        for name, n in fields(stats).items():
            counters[name] = counters.get(name, 0) + int(n)

    if sum(late):
        warnings.append('more than 5 s overdue: %d' % sum(late))

    return {'servers': servers, 'prefix': store.prefix,
            'shards': store.shards, 'library': versions, 'ticker': ticker,
            'devices': sum(devices), 'apiKeys': store.run(
                'ZCARD', store.prefix + 'apikeys'),
            'due': sum(due), 'overdue': sum(late), 'ended': sum(old),
            'settings': set_, 'counters': dict(sorted(counters.items())),
            'warnings': warnings}


def size(n):
    for unit in 'B', 'KB', 'MB':
        if n < 1024:
            return '%.1f %s' % (n, unit)
        n /= 1024
    return '%.1f GB' % n


def show(program):
    value, rows = gather(program), []

    for s in value['servers']:
        rows.append(('redis', '%s, %s, %s, up %s, %s%s, %d clients, %d'
                     ' replicas' % (
                         s['where'], s['server'], s['role'],
                         age(s['uptime'] * 1000), size(s['memory']),
                         ' of ' + size(s['maxmemory']) if s['maxmemory']
                         else '', s['clients'], s['replicas'])))

    rows += [('prefix', value['prefix']), ('shards', value['shards']),
             ('library', ', '.join('none' if v is None else str(v)
                                   for v in value['library'])),
             ('ticker', value['ticker']), ('devices', value['devices']),
             ('API keys', value['apiKeys']),
             ('due', '%d, overdue %d' % (value['due'], value['overdue'])),
             ('records ended', value['ended'])]
    rows += [('settings' if not i else '', '%s %s' % pair)
             for i, pair in enumerate(value['settings'].items())]
    rows += [('counters' if not i else '', '%s %d' % pair)
             for i, pair in enumerate(value['counters'].items())]
    rows += [('WARNING', text) for text in value['warnings']]
    program.terminal.one(value, rows)

    return 1 if value['warnings'] else 0
