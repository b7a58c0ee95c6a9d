#!/usr/bin/perl

# Real MQTT clients behind the filter, in all versions that they speak: paho of
# Python, MQTT.js, mosquitto_pub and mosquitto_sub, with a real mosquitto.  Each
# of the first two is a device that answers calls: it has a token, and the
# topics of ThingsBoard.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(build file_in wait_for);
use TB::Fixture;
use TB::Mqtt qw(output reap spawn text_of);
use TB::MqttFront;
use TB::MqttPeer;

$ENV{NODE_PATH} = join ':', grep { defined && length }
                  $ENV{NODE_PATH}, build() . '/node_modules';

my ($python) = grep { (output($_, '-c', 'import paho.mqtt.client'))[0] == 0 }
               qw(/usr/bin/python3 python3);
my $node = (output('node', '-e', 'require("mqtt")'))[0] == 0;
my $mqtt = TB::Mqtt->new(redis => redis());

$mqtt->broker();

my $front = TB::MqttFront->start(broker_port => $mqtt->{port});

# whoever uses the broker

my $all = TB::MqttPeer->new(port => $mqtt->{port}, version => 5);

$all->put(connect_packet(version => 5, id => 'all')
          . subscribe_packet(version => 5, filters => [['v1/#', 2]]));
$all->packet(60) for 1, 2;


# the next message that the pattern matches, acknowledged; others are kept

my @kept;

sub heard {
    my ($pattern) = @_;

    for my $i (0 .. $#kept) {
        return splice @kept, $i, 1 if $kept[$i]{topic} =~ $pattern;
    }

    # an interpreter may be long in starting

    while (my $p = $all->packet(60)) {
        next if $p->{type} ne 'PUBLISH';

        $all->put(ack_packet($p->{qos} == 1 ? 'PUBACK' : 'PUBREC', $p->{id}))
            if $p->{qos};
        $all->put(ack_packet('PUBCOMP', $p->{id})) if $p->{qos} == 2;

        return $p if $p->{topic} =~ $pattern;

        push @kept, $p;
    }

    return { topic => 'nothing', qos => '', payload => '', props => '' };
}

sub say_to {
    my ($topic, $payload, @more) = @_;

    $all->put(publish_packet(version => 5, topic => $topic,
                             payload => $payload, @more));
}


# --- devices --------------------------------------------------------------------

# Arguments: port, token, version (3, 4, 5).  It answers a call with its params,
# tells what it does, and goes without DISCONNECT when it is told to.

my $paho = file_in('device.py', <<'END');
import json, os, sys
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, token, version = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
base = 'v1/devices/me/'

def subscribed(client, *args):
    for qos in 0, 1, 2:
        client.publish(base + 'telemetry', '{"qos":%d}' % qos, qos, qos == 1)
    if version == 5:
        props = Properties(PacketTypes.PUBLISH)
        props.ResponseTopic = base + 'answers'
        props.CorrelationData = b'7'
        client.publish(base + 'ask', 'what', 1, properties=props)

def message(client, data, m):
    print(m.topic, m.payload.decode(), flush=True)
    if m.topic.startswith(base + 'rpc/request/'):
        call = json.loads(m.payload)
        if call['method'] == 'die':
            os._exit(0)
        client.publish(base + 'rpc/response/' + m.topic.split('/')[-1],
                       json.dumps(call['params']), 1)

more = {'clean_session': True} if version != 5 else {}
if hasattr(mqtt, 'CallbackAPIVersion'):
    more['callback_api_version'] = mqtt.CallbackAPIVersion.VERSION1
client = mqtt.Client(protocol=version, **more)
client.username_pw_set(token)
client.will_set(base + 'gone', 'with a will', 1)
client.on_subscribe = subscribed
client.on_message = message
client.on_connect = lambda *args: client.subscribe(
    [(base + 'rpc/request/+', 1), (base + 'answers', 1), ('#', 0)])
client.connect('127.0.0.1', port, 60)
client.loop_forever()
END

my $mqtt_js = file_in('device.js', <<'END');
const mqtt = require('mqtt');
const [port, token, version] = process.argv.slice(2);
const base = 'v1/devices/me/';
const five = version === '5';
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
    username: token, protocolVersion: Number(version),
    protocolId: version === '3' ? 'MQIsdp' : 'MQTT',
    will: { topic: base + 'gone', payload: 'with a will', qos: 1 },
    properties: five ? { topicAliasMaximum: 10 } : undefined
});

client.on('message', (topic, payload) => {
    console.log(topic, payload.toString());
    if (topic.startsWith(base + 'rpc/request/')) {
        const call = JSON.parse(payload);
        if (call.method === 'die') process.exit(0);
        client.publish(base + 'rpc/response/' + topic.split('/').pop(),
                       JSON.stringify(call.params), { qos: 1 });
    }
});

client.on('connect', () => client.subscribe(
    { [base + 'rpc/request/+']: { qos: 1 }, [base + 'answers']: { qos: 1 },
      '#': { qos: 0 } }, () => {
    for (const qos of [0, 1, 2])
        client.publish(base + 'telemetry', `{"qos":${qos}}`,
                       { qos, retain: qos === 1 });
    if (five)
        client.publish(base + 'ask', 'what', { qos: 1, properties: {
            responseTopic: base + 'answers', correlationData: '7' } });
}));
END


sub lives {
    my ($name, $version, @command) = @_;

    my ($id, $token) = $front->device("$name $version");
    my $log = "$name.$version";
    my $pid = spawn($log, @command, $front->{port}, $token, $version);
    my $there = "v1/devices/$id";

    for my $qos (0 .. 2) {
        my $p = heard(qr{^\Q$there\E/telemetry$});

        is("$p->{qos} $p->{payload}", "$qos {\"qos\":$qos}",
           "$log: telemetry with QoS $qos");
    }

    if ($version == 5) {
        my $p = heard(qr{^\Q$there\E/ask$});

        is($p->{props}, property(8, "$there/answers") . property(9, '7'),
           "$log: a request with a response topic");
        say_to("$there/answers", 'that', props => property(9, '7'));
        ok(wait_for { text_of($log) =~ m{^v1/devices/me/answers that$}m },
           'is answered');
    }

    for my $n (1 .. 20) {
        say_to("$there/rpc/request/$n",
               "{\"method\":\"echo\",\"params\":{\"n\":$n}}", qos => $n % 2,
               id => $n);
    }

    my %got = map { my $p = heard(qr{^\Q$there\E/rpc/response/});
                    ($p->{topic} =~ /(\d+)$/ ? $1 : 0) => $p->{payload} }
              1 .. 20;

    is(join(' ', map { ($got{$_} // '') =~ s/\s//gr } 1 .. 20),
       join(' ', map { "{\"n\":$_}" } 1 .. 20), "$log: calls are answered");

    # what it has subscribed to with "#" is its own

    say_to("v1/others/$id/some/thing", 'of others');
    ok(wait_for { text_of($log) =~ m{^some/thing of others$}m },
       "$log: topics that are not mapped");
    say_to("$there/rpc/request/21", '{"method":"die","params":{}}');

    my $p = heard(qr{^\Q$there\E/gone$});

    is($p->{payload}, 'with a will', "$log: its will");
    is(reap($pid), 0, "it is gone") or diag(text_of($log));
}

for my $version (3, 4, 5) {
    SKIP: {
        skip 'no paho (python3-paho-mqtt)', 8 if !$python;
        lives('paho', $version, $python, $paho);
    }
}

for my $version (3, 4, 5) {
    SKIP: {
        skip 'no node, or no MQTT.js (npm install --prefix build mqtt)', 8
            if !$node;
        lives('mqtt.js', $version, 'node', $mqtt_js);
    }
}


# --- mosquitto's own ------------------------------------------------------------

for my $version (qw(mqttv31 mqttv311 mqttv5)) {
    my ($id, $token) = $front->device($version);
    my @common = ('-h', '127.0.0.1', '-p', $front->{port}, '-V', $version);
    my $pid = spawn($version, 'mosquitto_sub', @common, '-u', $token, '-v',
                    '-q', 2, '-i', 'sub',
                    '-t', 'v1/devices/me/#', '-t', 'probe');

    wait_for {
        say_to("v1/others/$id/probe", '');
        text_of($version) =~ /probe/;
    };

    say_to("v1/devices/$id/attributes", '{"a":1}', qos => 1, id => 9);
    ok(wait_for { text_of($version) =~ m{^v1/devices/me/attributes \{"a":1\}$}m },
       "mosquitto_sub, $version");
    kill 'TERM', $pid;
    reap($pid);

    my $big = join '', map { chr(32 + $_ % 90) } 1 .. 50_000;

    for my $qos (0 .. 2) {
        is(system('mosquitto_pub', @common, '-u', $token, '-q', $qos, '-t',
                  'v1/devices/me/file', '-f', file_in('big', $big)), 0,
           "mosquitto_pub, $version, QoS $qos");

        my $p = heard(qr{^v1/devices/\Q$id\E/file$});

        ok($p->{payload} eq $big, 'all of it is there');
    }
}

$front->clean();
done_testing();
