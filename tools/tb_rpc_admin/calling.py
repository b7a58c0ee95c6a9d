# Copyright (C) tb-rpc contributors.

"""One call: straight into Redis, as nginx makes it, or through nginx."""

import json
import os
import sys
import time

from . import listing, records
from .errors import Failure, Usage
from .replies import redis_error
from .terminal import age, plain, say, shown
from .values import first_line, number, rpc_id, seconds

ENDED = {'offline': 'the device is offline (NO_ACTIVE_CONNECTION)',
         'turn': 'its turn has not come: others are before it',
         'queued': 'its bridge did not take it (NOT_CLAIMED)',
         'sent': 'it was sent, and the device did not answer (TIMEOUT)',
         'gone': 'it has ended without an answer'}
REFUSED = {'rejected': 'the device is offline',
           'unknown': 'there is no such device',
           'pending': 'the device has too many open calls'
                      ' (tb_rpc_max_pending)',
           'records': 'the device has too many records (tb_rpc_max_records)'}
MAX_ANSWER = 1 << 24


def register(commands):
    own = commands.add(
        'call', run, 'sends one call and prints the answer',
        'tb-rpc-admin call "pump 1" getTemperature --tenant'
        ' 7e000000-0000-11ee-8000-00000000000a\n'
        "tb-rpc-admin call de000000-0000-11ee-8000-000000000001 setGpio"
        " '{\"pin\":7}' --oneway",
        'Without --url it goes straight into Redis, as a call of the'
        " device's own tenant:\nthat tries the functions, the bridge and the"
        ' device. With --url it goes through\nnginx, which is tried, too.')
    own.add_argument('device', metavar='DEVICE', help='id, or name with'
                                                      ' --tenant')
    own.add_argument('method', metavar='METHOD')
    own.add_argument('params', metavar='PARAMS', nargs='?', default='{}',
                     help='JSON, or - for the standard input ({})')
    own.add_argument('--tenant', metavar='UUID', help='of a name')
    own.add_argument('--oneway', action='store_true',
                     help='no answer is expected')
    own.add_argument('--persistent', action='store_true',
                     help='keep a record, and print its id')
    own.add_argument('--wait', action='store_true',
                     help='with --persistent: until it has ended')
    own.add_argument('--retries', metavar='N', help='with --persistent')
    own.add_argument('--timeout', metavar='TIME', default='10',
                     help='how long it lives: seconds, or 5m (10)')
    own.add_argument('--now', action='store_true',
                     help='only if the device is online')
    own.add_argument('--url', metavar='URL', help='of the location with'
                     ' tb_rpc, such as https://example/api/rpc')
    own.add_argument('--token-file', metavar='FILE', help='a JWT, for --url')
    own.add_argument('--api-key-file', metavar='FILE', help='or an API key')


def params_of(text):
    if text == '-':
        text = sys.stdin.buffer.read(MAX_ANSWER).decode('utf-8',
                                                        'surrogateescape')
    try:
        json.loads(text)
    except ValueError as e:
        raise Usage('PARAMS must be JSON: %s: %s' % (e, shown(text)))

    return text


def run(program):
    o = program.options
    params, timeout = params_of(o.params), seconds('--timeout', o.timeout)

    if not timeout:
        raise Usage('--timeout must not be 0')
    if o.retries is not None:
        number('--retries', o.retries, 0, 2 ** 31 - 1)
    if (o.retries is not None or o.wait) and not o.persistent:
        raise Usage('--retries and --wait need --persistent')

    if program.settings.url is not None:
        return through_nginx(program, params, timeout)

    call = Call(program, o.device)

    return call.persistent(params, timeout) if o.persistent \
        else call.held(params, timeout)


# --- straight into Redis ----------------------------------------------------

class Call:
    def __init__(self, program, device):
        self.program, self.store = program, program.store
        self.id = listing.device_of(program, device)
        self.device = listing.needed(self.store, self.id)
        self.key = self.store.key('device', self.id)
        self.shard = self.store.shard(self.id)
        self.rpc = rpc_id(self.shard)
        self.worker = 'admin-' + os.urandom(6).hex()
        self.began = time.time()

    def create(self, params, timeout):
        """(word, rpcId, requestId, ...)"""
        o = self.program.options
        ms = timeout * 1000
        reply = self.store.fcall(
            'tb_rpc_create', self.key, self.rpc, self.worker,
            int(o.oneway), int(o.persistent), self.device['tenantId'], '*',
            json.dumps(o.method, ensure_ascii=False), params, '',
            o.retries or '', ms, '', ms, 'reject' if o.now else 'wait', '',
            '', '')

        if reply[0] in REFUSED:
            raise Failure('refused: %s' % REFUSED[reply[0]])

        return reply

    def held(self, params, timeout):
        channel = self.store.in_shard(self.shard, 'reply', self.worker)
        link = self.store.server.of(self.key).another()
        link.send([('SSUBSCRIBE', channel)])
        reply = link.reply()

        if redis_error(reply):
            raise self.store.failed(reply, 'SSUBSCRIBE: ')

        created = self.create(params, timeout)

        try:
            text = self.listen(link, timeout)
        except BaseException:
            self.cancel(created[2])
            raise

        if text is None:
            word, *more = self.cancel(created[2])
            text = more[0] if word == 'answered' else 'X' + word

        return self.ended(created, text)

    def listen(self, link, timeout):
        """Kind and payload of the answer, or nothing when the time is up."""
        end = time.time() + timeout

        while True:
            left = end - time.time()

            if left <= 0 or not link.waits(left):
                return None

            message = link.reply()

            if isinstance(message, list) and message[0] == 'smessage' \
                    and message[2].startswith(self.rpc):
                return self.whole(message[2][len(self.rpc):])

    def whole(self, text):
        """A large answer is not in the message."""
        if text != 'G':
            return text

        return self.store.run('GET', self.store.in_shard(
            self.shard, 'answer', self.rpc)) or 'Xgone'

    def cancel(self, request):
        return self.store.fcall('tb_rpc_cancel', self.key, self.rpc, request)

    def ended(self, created, text):
        ms = round((time.time() - self.began) * 1000, 1)
        value = {'rpcId': self.rpc, 'requestId': created[2], 'ms': ms}
        kind, payload = text[:1], text[1:]
        why = {'L': 'the answer is larger than tb_rpc_max_response',
               'F': payload, 'D': 'the device was deleted',
               'X': ENDED.get(payload, payload)}.get(kind)

        if why is not None:
            say('no answer after %s: %s' % (age(ms), plain(why)))
            if self.program.terminal.as_json:
                self.program.terminal.json(dict(
                    value, result=payload if kind == 'X' else 'failed',
                    why=why))
            return 1

        if self.program.terminal.as_json:
            self.program.terminal.json(dict(value, result='answered',
                                            answer=parsed(payload)))
        elif kind == 'A':
            self.program.terminal.answer(payload)

        return 0

    def persistent(self, params, timeout):
        terminal = self.program.terminal
        created = self.create(params, timeout)

        if not self.program.options.wait:
            terminal.done(self.rpc, rpcId=self.rpc, requestId=created[2])
            return 0

        while True:
            value = records.read(self.store, self.rpc)

            if records.is_final(value):
                break

            time.sleep(0.1)

        records.show_one(terminal, value)

        return 0 if value['status'] in ('SUCCESSFUL', 'DELIVERED') else 1


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- through nginx ----------------------------------------------------------

def credential(program):
    s = program.settings

    if (s.token_file is None) == (s.api_key_file is None):
        raise Usage('--url needs --token-file or --api-key-file')

    return 'Bearer ' + first_line(s.token_file) if s.token_file \
        else 'ApiKey ' + first_line(s.api_key_file)


def post(url, authorization, body, timeout):
    """(status, headers, body) of a request that has an answer."""
    import urllib.error                 # slow to load, and seldom needed
    import urllib.request

    request = urllib.request.Request(url, body.encode(
        'utf-8', 'surrogateescape'), {'Content-Type': 'application/json',
                                      'X-Authorization': authorization})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read(MAX_ANSWER)
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read(MAX_ANSWER)
    except (OSError, ValueError) as e:
        raise Failure('%s: %s' % (url, getattr(e, 'reason', e)))


def through_nginx(program, params, timeout):
    o = program.options
    id = listing.device_of(program, o.device)
    more = {'timeout': timeout * 1000}

    if o.persistent:
        more['persistent'] = True
    if o.retries is not None:
        more['retries'] = int(o.retries)
    if o.wait or o.now:
        raise Usage('--wait and --now are for calls without --url')

    # params as they came: only what is ours is made here
    body = '{"method":%s,"params":%s,%s' % (
        json.dumps(o.method), params, json.dumps(more)[1:])
    url = '%s/%s/%s' % (program.settings.url.rstrip('/'),
                        'oneway' if o.oneway else 'twoway', id)
    began = time.time()
    status, headers, answer = post(url, credential(program), body,
                                   timeout + 10)
    ms = round((time.time() - began) * 1000, 1)
    text = answer.decode('utf-8', 'surrogateescape')
    result = headers.get('X-RPC-Result')

    if program.terminal.as_json:
        program.terminal.json({'status': status, 'result': result, 'ms': ms,
                               'answer': parsed(text) if text else None})
    elif text:
        program.terminal.answer(text)

    if status != 200:
        say('HTTP status %d%s after %s' % (
            status, ', ' + plain(result) if result else '', age(ms)))
        return 1

    return 0
