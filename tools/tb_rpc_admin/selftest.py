# Copyright (C) tb-rpc contributors.

"""A device of our own, a bridge of our own, a call, its answer: through the
functions, the bell and the reply channel; through nginx, too, with --url."""

import json
import os
import threading
import time

from . import calling, jwt, keys
from .errors import Failure, Usage
from .replies import redis_error
from .values import first_line, is_uuid, random_uuid

ANSWER = '{"check":1.10}'
WAIT = 10                               # s for nginx
HEARD = 2                               # s for what is published
TTL = 60000                             # ms of the session


class Bench:
    """The device and its bridge; it is gone afterwards."""

    def __init__(self, store, tenant):
        self.store, self.tenant = store, tenant
        self.id = random_uuid()
        self.key = store.key('device', self.id)
        self.shard = store.shard(self.id)
        self.bridge = 'check-' + os.urandom(4).hex()
        self.ticket = int(time.time() * 1e6)

    def __enter__(self):
        self.store.fcall('tb_rpc_device_put', self.key, self.tenant, '',
                         'name', self.bridge)
        try:
            self.store.fcall('tb_rpc_attach', self.key, self.bridge, 's1',
                             TTL)
        except BaseException:
            self.__exit__()
            raise

        return self

    def __exit__(self, *_):
        self.store.fcall('tb_rpc_device_del', self.key)

    def listen(self, *name):
        link = self.store.server.of(self.key).another()
        link.send([('SSUBSCRIBE', self.store.in_shard(self.shard, *name))])
        reply = link.reply()

        if redis_error(reply):
            raise self.store.failed(reply, 'SSUBSCRIBE: ')

        return link

    def take(self, seconds):
        """A call that waits, as its envelope."""
        end = time.time() + seconds

        while time.time() < end:
            self.ticket += 1
            reply = self.store.fcall(
                'tb_rpc_take', self.store.in_shard(
                    self.shard, 'queue', self.bridge),
                self.bridge, self.ticket, 1)
            if len(reply) > 1:
                return json.loads(reply[1])
            time.sleep(0.02)

        raise Failure('the call does not come to its bridge')

    def answer(self, call):
        rid = call['requestId']

        if self.store.fcall('tb_rpc_delivered', self.key, rid,
                            call['attempt']) != 1 \
                or self.store.fcall('tb_rpc_respond', self.key, rid,
                                    ANSWER) != 1:
            raise Failure('the call was taken, but its answer came too late')


def heard(link, what):
    if not link.waits(HEARD) or link.reply()[0] != 'smessage':
        raise Failure('%s is not heard: is the right to its channel missing'
                      ' (&)?' % what)


def functions(store):
    """ms of a call that only Redis sees."""
    with Bench(store, random_uuid()) as bench:
        bell = bench.listen('bell', bench.bridge)
        worker = 'check-' + os.urandom(6).hex()
        reply = bench.listen('reply', worker)
        began = time.time()
        rpc = calling.rpc_id(bench.shard)
        created = store.fcall(
            'tb_rpc_create', bench.key, rpc, worker, 0, 0, bench.tenant, '*',
            '"check"', '{}', '', '', 10000)

        if created[0] != 'queued':
            raise Failure('the call is not queued: %s' % created[0])

        heard(bell, 'the bell')
        bench.answer(bench.take(HEARD))
        heard_answer(reply, rpc)

        return (time.time() - began) * 1000


def heard_answer(link, rpc):
    message = link.reply() if link.waits(HEARD) else None

    if not message or message[2] != rpc + 'A' + ANSWER:
        raise Failure('the answer is not heard: is the right to the reply'
                      ' channel missing (&)?')


def tenant_and_token(settings):
    """Of the JWT that is given, or one that is made by the key."""
    if settings.token_file is not None:
        token = first_line(settings.token_file)
        try:
            tenant = jwt.parsed(jwt.decoded(token.split('.')[1], 'payload'),
                                'payload').get('tenantId')
        except (IndexError, jwt.Refused):
            tenant = None
        if not isinstance(tenant, str) or not is_uuid(tenant):
            raise Failure('%s has no JWT with a tenantId'
                          % settings.token_file)
        return tenant.lower(), token

    if settings.key is None:
        raise Usage('check --url needs --key or --token-file')

    alg = (settings.alg or 'HS512').upper()
    key = keys.load(settings.key)
    keys.check(key, alg)

    if alg not in keys.SECRETS:
        raise Usage('check --url: keys of %s need --token-file' % alg)

    tenant, now = random_uuid(), int(time.time())

    return tenant, jwt.sign(alg, key.secret, {
        'sub': 'check', 'userId': random_uuid(), 'scopes': ['TENANT_ADMIN'],
        'exp': now + 60, 'iat': now, 'enabled': True, 'isPublic': False,
        'iss': settings.issuer or 'thingsboard.io', 'tenantId': tenant,
        'customerId': jwt.NO_CUSTOMER})


def through_nginx(store, settings):
    """ms of a call through nginx and the functions."""
    tenant, token = tenant_and_token(settings)
    result = []

    with Bench(store, tenant) as bench:
        url = '%s/twoway/%s' % (settings.url.rstrip('/'), bench.id)

        def ask():
            try:
                result.append(calling.post(
                    url, 'Bearer ' + token,
                    '{"method":"check","params":{}}', WAIT + 5))
            except Failure as e:
                result.append(e)

        began = time.time()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()

        try:
            while not result:
                try:
                    bench.answer(bench.take(0.2))
                    break
                except Failure:
                    if time.time() - began > WAIT:
                        raise
        finally:
            thread.join(WAIT)

        ms = (time.time() - began) * 1000

    if not result:
        raise Failure('%s does not answer' % url)
    if isinstance(result[0], Failure):
        raise result[0]

    status, headers, body = result[0]

    if status != 200 or body.decode('utf-8', 'replace') != ANSWER:
        raise Failure('%s: HTTP status %d, %s, instead of the answer'
                      % (url, status, headers.get('X-RPC-Result')
                         or body[:100].decode('utf-8', 'replace')))

    return ms
