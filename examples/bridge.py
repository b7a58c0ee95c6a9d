#!/usr/bin/env python3
# A bridge in Python, with redis-py (4.3 or newer), written from docs/bridge-protocol.md.
# Its devices are in this process: they answer a call with its params.  For real ones call
# connect() and disconnect() from your transport, and put it into write_to_device().
#
#     REDIS_URL=redis://user:password@127.0.0.1:6379 bridge.py NAME DEVICE-ID ...

import itertools, json, os, random, re, signal, sys, threading, time, zlib
from redis import Redis, exceptions as errors

PREFIX, TTL, SWEEP = 'tb:', 60000, 5            # ms a session lives; s between looks at a queue
name, *devices = sys.argv[1:] or sys.exit('usage: bridge.py NAME DEVICE-ID ...')
commands, bells = (Redis.from_url(os.environ.get('REDIS_URL', 'redis://127.0.0.1:6379'),
                                  socket_timeout=s, socket_keepalive=True) for s in (10, None))
claimer, tickets = f'{name}:{os.urandom(8).hex()}', itertools.count(time.time_ns() // 1000)
sessions, rung, sweep = {}, {}, {}              # device -> its connection; shards; when to look
lock, stop, again, wake = threading.Lock(), *(threading.Event() for _ in range(3))

def patiently(command, *args):                  # what a bridge says may be repeated; None: refused
    for n in range(sys.maxsize):
        try:
            return command(*args)
        except errors.RedisError as e:
            print('Redis:', e, flush=True)      # redis-py leaves "ERR" out, which does not pass
            if type(e) is errors.ResponseError and not re.match('[A-Z]+ |Function not', str(e)):
                return None
        time.sleep(min(0.1 * 2 ** min(n, 6), 5) * random.uniform(0.5, 1))

def shard_of(device): return zlib.crc32(device.encode()) % shards
def key(shard, rest): return f'{PREFIX}{{s{shard:03o}}}:{rest}'
def fcall(name, *args): return patiently(commands.fcall, 'tb_rpc_' + name, 1, *args)
def call(name, device, *args): return fcall(name, key(shard_of(device), 'device:' + device), *args)

def connect(device, session=None):
    with lock:
        if session is None or sessions.get(device) == session:      # else it has just left
            sessions[device] = session or os.urandom(8).hex()       # new for each connection
            call('attach', device, name, sessions[device], TTL)     # unknown: at a heartbeat

def disconnect(device):
    with lock: call('detach', device, sessions.pop(device))

def heartbeats():                               # up to 256 devices of a shard may go at once
    while not again.wait(TTL / 3000) or not again.clear():
        for device, session in list(sessions.items()):
            reply = fcall('heartbeat', key(shard_of(device), 'due'), TTL, device, session)
            if reply and reply[1] == 0:         # Redis has come back empty, or it was unknown
                connect(device, session)
            elif reply and sessions.get(device) == session:
                print(device, 'is connected elsewhere', flush=True)
                del sessions[device]

def write_to_device(c, params):                 # here it answers at once, or not at all (None)
    return None if c['oneway'] or c['method'] == 'mute' else params

def deliver(text, start, away):
    c, at = json.loads(text), text.index(',"params":') + 10
    params = text[at:json.JSONDecoder().raw_decode(text, at)[1]]    # its bytes, as they came
    device, *ids = c['deviceId'], c['requestId'], c['attempt']
    if device in away or device not in sessions:
        away.add(device)                        # its later ones too: nothing overtakes
        call('return', device, *ids)
    elif time.monotonic() < start + (c['expirationTime'] - c['takenTime']) / 1000:
        answer = write_to_device(c, params)
        call('delivered', device, *ids)
        answer is None or call('respond', device, ids[0], answer)

def take(shard):
    left, *batch = fcall('take', key(shard, 'queue:' + name), claimer, next(tickets), 64) or [0]
    start, away = time.monotonic(), set()
    rung.update({shard: 1} if left else {})
    sweep[shard] = start + SWEEP * random.uniform(0.8, 1)
    for envelope in batch:
        deliver(envelope.decode(), start, away)

def listen():                                   # what confirms that we hear a bell rings it, too
    bell = bells.connection_pool.make_connection()
    bell.send_command('SSUBSCRIBE', *(key(n, 'bell:' + name) for n in range(shards)))
    again.set()                                 # heartbeats: Redis may be empty
    while True:
        rung[int(bell.read_response()[1].decode()[len(PREFIX) + 2:][:3], 8)] = 1
        wake.set()

for number in signal.SIGTERM, signal.SIGINT:    # the alarm ends it when Redis is away
    signal.signal(number, lambda *_: (stop.set(), signal.alarm(10)))
while not (shards := int(patiently(commands.hget, PREFIX + 'meta', 'shards') or 0)):
    time.sleep(1)
for d in devices:
    connect(d.lower())
for job in heartbeats, lambda: patiently(listen):
    threading.Thread(target=job, daemon=True).start()
print('ready', flush=True)
while not stop.is_set():
    wake.wait(0 if rung else 0.2) and wake.clear()
    for n in {**rung, **{n: 1 for n in range(shards) if time.monotonic() > sweep.get(n, 0)}}:
        rung.pop(n, None)
        take(n)
for d in list(sessions):
    disconnect(d)
