#!/usr/bin/python3

"""A device as ThingsBoard's SDK for Python makes it, on Debian's paho: the
access token as user name, MQTT 5 or 3.1.1, an empty client id, one topic for
calls.  Answers each with its own text; writes a line of each to the standard
output, with "again" behind it where the broker says so (DUP).

    paho-device.py PORT VERSION TOKEN
    paho-device.py PORT VERSION TOKEN gateway NAME ...

A gateway connects the devices of these names and answers for them.  The
version 4s is 3.1.1 with a session in the broker.
"""

import json
import sys

import paho.mqtt.client as mqtt

PORT, TOKEN = int(sys.argv[1]), sys.argv[3]
VERSION, KEEPS = int(sys.argv[2][0]), sys.argv[2][1:] == 's'
NAMES = sys.argv[5:] if len(sys.argv) > 4 else []


def say(*words):
    print(*words, flush=True)


def connected(client, _data, _flags, code, *_props):
    say('connected', code)

    if int(getattr(code, 'value', code)):
        return

    if NAMES:
        client.subscribe('v1/gateway/rpc', 1)
    else:
        client.subscribe([('v1/devices/me/attributes', 1),
                          ('v1/devices/me/attributes/response/+', 1),
                          ('v1/devices/me/rpc/request/+', 1),
                          ('v1/devices/me/rpc/response/+', 1)])


def subscribed(client, *_rest):
    for name in NAMES:
        client.publish('v1/gateway/connect', json.dumps({'device': name}), 1)

    say('subscribed')


def message(client, _data, msg):
    call = json.loads(msg.payload)
    say(msg.topic, msg.payload.decode(), *(['again'] if msg.dup else []))

    if NAMES:
        data = call['data']

        # a broker gives it its own answers back, too

        if 'method' not in data:
            return

        client.publish('v1/gateway/rpc',
                       json.dumps({'device': call['device'], 'id': data['id'],
                                   'data': {'by': call['device'],
                                            'params': data['params']}}), 1)
    elif msg.topic.startswith('v1/devices/me/rpc/request/'):
        client.publish('v1/devices/me/rpc/response/'
                       + msg.topic.rsplit('/', 1)[1],
                       json.dumps({'by': TOKEN, 'params': call['params']}), 1)


def main():
    options = {} if VERSION == 5 else {'clean_session': not KEEPS}
    client = mqtt.Client(client_id='keeps' if KEEPS else '', protocol=VERSION,
                         **options)

    client.username_pw_set(TOKEN)
    client.max_inflight_messages_set(1000)
    client.reconnect_delay_set(1, 1)
    client.on_connect = connected
    client.on_subscribe = subscribed
    client.on_message = message
    client.connect('127.0.0.1', PORT, 120)
    client.loop_forever()


main()
