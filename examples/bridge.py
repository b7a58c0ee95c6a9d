#!/usr/bin/env python3
#
# A bridge in Python, with redis-py (4.3 or newer), written from docs/bridge-protocol.md.
# Its devices are in this process: they answer a call with its params.  For real ones call
# connect() and disconnect() from your transport, and put it into write_to_device().
#
#     REDIS_URL=redis://user:password@127.0.0.1:6379 bridge.py NAME DEVICE-ID ...

import json
import os
import random
import signal
import sys
import threading
import time
import zlib

from redis import Redis, exceptions as errors

PREFIX, TTL = 'tb:', 60000                      # ms until a device without heartbeat is offline
# what passes by itself: some has a class in redis-py, some begins with its name
TRANSIENT = (errors.ConnectionError, errors.TimeoutError, errors.ReadOnlyError,
             errors.ClusterDownError, errors.TryAgainError)
TRANSIENT_TEXT = ('BUSY', 'MISCONF', 'MASTERDOWN', 'NOREPLICAS', 'CLUSTERDOWN', 'TRYAGAIN',
                  'Function not found')

name, *devices = sys.argv[1:] or sys.exit('usage: bridge.py NAME DEVICE-ID ...')
url = os.environ.get('REDIS_URL', 'redis://127.0.0.1:6379')
commands, pops = (Redis.from_url(url, socket_timeout=10) for _ in range(2))     # pops block
claimer = f'{name}:{os.urandom(8).hex()}'       # this process, this start
sessions = {}                                   # device -> its connection
lock, stop, again = threading.Lock(), threading.Event(), threading.Event()


def patiently(command, *args, **options):
    """Again until Redis takes it: all that a bridge says may be repeated.  None: refused."""
    for n in range(sys.maxsize):
        try:
            reply = command(*args, **options)
            if n:
                again.set()                     # Redis may have come back empty: attach
            return reply
        except errors.RedisError as e:
            print('Redis:', e, flush=True)
            if not isinstance(e, TRANSIENT) and not str(e).startswith(TRANSIENT_TEXT):
                time.sleep(0.02)                # a wrong call, or a full Redis
                return None
        time.sleep(min(0.1 * 2 ** min(n, 6), 5) * random.uniform(0.5, 1))


def call(function, device, *args):
    key = f'{PREFIX}{{s{zlib.crc32(device.encode()) % shards}}}:device:{device}'
    return patiently(commands.fcall, function, 1, key, *args)


def attach(device, session):
    with lock:                                  # no heartbeat comes after a disconnect()
        if sessions.get(device) == session and call(
                'tb_rpc_attach', device, name, session, TTL) == -1:
            print(device, 'is connected elsewhere', flush=True)
            del sessions[device]


def heartbeats():
    while True:
        again.wait(TTL / 3000)
        again.clear()
        for device, session in list(sessions.items()):
            attach(device, session)


def connect(device):
    sessions[device] = os.urandom(8).hex()      # new for each connection
    attach(device, sessions[device])


def disconnect(device):
    with lock:
        if device in sessions:
            call('tb_rpc_detach', device, sessions.pop(device))


def write_to_device(c):
    """The transport.  Here the device answers at once, or not at all (None)."""
    return None if c['oneway'] or c['method'] == 'mute' else json.dumps(c['params'])


def deliver(envelope):
    c = json.loads(envelope)
    device, request_id, attempt = c['deviceId'], c['requestId'], c['attempt']
    if device not in sessions:
        return                                  # not claimed, so it is pushed again
    if call('tb_rpc_sent', device, request_id, attempt, claimer) == 1:
        answer = write_to_device(c)
        call('tb_rpc_delivered', device, request_id, attempt)
        if answer is not None:
            call('tb_rpc_respond', device, request_id, answer)


for number in signal.SIGTERM, signal.SIGINT:    # the alarm ends it when Redis is away
    signal.signal(number, lambda *_: (stop.set(), signal.alarm(10)))
while not (shards := int(patiently(commands.hget, PREFIX + 'meta', 'shards') or 0)):
    time.sleep(1)
queues = [f'{PREFIX}{{s{n}}}:queue:{name}' for n in range(shards)]
for d in devices:
    connect(d.lower())
threading.Thread(target=heartbeats, daemon=True).start()
print('ready', flush=True)

while not stop.is_set():
    queues.append(queues.pop(0))                # another shard first
    popped = patiently(pops.blmpop, 1, shards, *queues, direction='LEFT', count=64)
    for item in popped[1] if popped else []:
        try:
            deliver(item)
        except Exception as e:                  # no envelope stops the others
            print('bad envelope:', repr(e), flush=True)
for d in list(sessions):
    disconnect(d)
