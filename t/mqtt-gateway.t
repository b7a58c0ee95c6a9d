#!/usr/bin/perl

# ThingsBoard gateways behind nginx: one of paho with 50 devices, and that
# a gateway touches nobody else's.
#
# runs: side by side, 40 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use TB::Env qw(scaled wait_for);
use TB::Fixture qw(redis);
use TB::Load;
use TB::Mqtt qw(spawn counter text_of);
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;
use TB::Token qw($TENANT);

my $N = 50;
my $mqtt = TB::Mqtt->new(redis => redis());
my $front = TB::MqttFront->start(broker_port => $mqtt->{port}, ttl => '2s');

$mqtt->broker("max_inflight_messages 0\nset_tcp_nodelay true\n");

my $pid = $mqtt->bridge('b1', '--attached', '--gateway', '--gateway-topic',
                        'v1/gateways/{gateway}', '--tenant', $TENANT,
                        '--client-id', 'bridge', '--session-ttl', 2000);
my %device;


# devices behind a gateway are found by their names

sub named {
    my ($name) = @_;

    $device{$name} = TB::Fixture::device($name);
    $mqtt->name($name, $device{$name}, $TENANT);

    return $device{$name};
}


sub bridge_of {
    return redis()->call('HGET', redis()->device_key($_[0]), 'bridge') || '';
}


# a gateway, packet by packet

sub gateway {
    my ($token) = @_;

    my $c = TB::MqttPeer->new(port => $front->{port});

    $c->put(connect_packet(user => $token));
    $c->packet();
    $c->put(subscribe_packet(filters => [['v1/gateway/rpc', 1]]));
    $c->packet();

    return $c;
}


sub say_to {
    my ($c, $what, $json) = @_;

    $c->put(publish_packet(topic => "v1/gateway/$what", payload => $json,
                           qos => 1));

    my $packet;

    do { $packet = $c->packet() or return } while $packet->{type} ne 'PUBACK';
}


# --- 50 devices -------------------------------------------------------------------

SKIP: {
    skip 'no paho (python3-paho-mqtt)', 4
        if system("/usr/bin/python3 -c 'import paho.mqtt.client'"
                  . ' 2> /dev/null');

    my @names = map { sprintf 'behind %02d', $_ } 1 .. $N;
    my ($gw, $token) = $front->device('gateway');

    named($_) for @names;
    spawn('gw.log', '/usr/bin/python3', '-W', 'ignore::DeprecationWarning',
          "$FindBin::Bin/lib/paho-device.py", $front->{port}, 5, $token, 'gateway', @names);

    soon {
        return $N == grep { bridge_of($device{$_}) eq q(b1) } @names
    } 'all devices of the gateway are online', 60;
    ok($front->session($gw), 'and it is, too');

    my @answers = TB::Load::run(port => $front->{http_port}, parallel => 16,
        timeout => scaled(60),
        requests => [map { $front->text($names[$_ % $N], 'set', "{\"n\":$_}",
                                        timeout => 30000) } 0 .. 999]);

    is(scalar(grep {
           my $got = ($answers[$_]{status} || 0) == 200
                     ? eval { decode_json($answers[$_]{body}) } : undef;
           $got && $got->{by} eq $names[$_ % $N] && $got->{params}{n} == $_;
       } 0 .. 999), 1000, '1,000 two-way calls, each answered for its device');

    TB::Load::run(port => $front->{http_port}, parallel => 16,
        timeout => scaled(60),
        requests => [map { $front->text($names[$_ % $N], 'set', "{\"n\":$_}",
                                        persistent => 1, timeout => 30000) }
                     0 .. 999]);

    my $successful = sub {
        my $sum = 0;

        for (@names) {
            my ($got) = $front->get("/api/rpc/persistent/device/$device{$_}"
                                    . '?pageSize=1&page=0&rpcStatus=SUCCESSFUL');
            my $page = eval { decode_json($got->{body}) } || {};

            $sum += $page->{totalElements} || 0;
        }

        return $sum;
    };

    soon { return $successful->() == 1000 } '1,000 persistent calls end SUCCESSFUL', 60;
}

# --- two gateways ----------------------------------------------------------------

my ($a, $a_token) = $front->device('gateway a');
my ($b, $b_token) = $front->device('gateway b');
my $id = named('shared');
my $one = gateway($a_token);
my $two = gateway($b_token);

wait_for { return $front->session($a) && $front->session($b) };

say_to($one, connect => '{"device":"shared"}');
soon { return bridge_of($id) eq 'b1' } 'a device of gateway a';

my $bad = counter('b1', $pid, 'gateway_bad');

say_to($two, disconnect => '{"device":"shared"}');
say_to($two, connect => '{"device":"shared"}');
soon { return counter('b1', $pid, 'gateway_bad') > $bad }
     'gateway b can\'t connect it while a is online';
is(bridge_of($id), 'b1', 'nor disconnect it');

my $call = $front->open('shared', 'get', '{}', timeout => 20000);
my $request = $one->packet();
is($request && $request->{topic}, 'v1/gateway/rpc', 'its calls go to a');
my ($n) = $request->{payload} =~ /"id":(\d+)/;
$one->put(ack_packet('PUBACK', $request->{id}));

say_to($two, rpc => "{\"device\":\"shared\",\"id\":$n,\"data\":\"b\"}");
$two->put(publish_packet(topic => "v1/gateways/$a/rpc", qos => 1,
    payload => "{\"device\":\"shared\",\"id\":$n,\"data\":\"b\"}"));
$two->packet();
say_to($one, rpc => "{\"device\":\"shared\",\"id\":$n,\"data\":\"a\"}");
is($call->answer(20)->{body}, '"a"', 'and only a answers them');
ok($two->silent(1), 'b hears nothing');

# a gateway that has left holds nothing
$one->close();
wait_for { return !$front->session($a) };
say_to($two, connect => '{"device":"shared"}');
$call = $front->open('shared', 'get', '{}', timeout => 20000);
$request = $two->packet();
is($request && $request->{topic}, 'v1/gateway/rpc',
   'when a has left, b can connect it');
($n) = $request->{payload} =~ /"id":(\d+)/;
say_to($two, rpc => "{\"device\":\"shared\",\"id\":$n,\"data\":\"b\"}");
is($call->answer(20)->{body}, '"b"', 'and answers for it');

# --- No Local ----------------------------------------------------------------------

# what a gateway has published itself comes back to it, unless it says (MQTT 5)
# that it should not

for my $no_local (0, 1) {
    my ($gw, $gw_token) = $front->device("gateway with No Local $no_local");
    my @v = (version => 5);
    my $c = TB::MqttPeer->new(port => $front->{port}, @v);

    $c->put(connect_packet(@v, user => $gw_token));
    $c->packet();

    for my $filter ('v1/gateway/rpc', 'v1/devices/me/+') {
        $c->put(subscribe_packet(@v, filters => [[$filter, $no_local << 2]]));
        is_deeply($c->packet()->{codes}, [0],
                  "$filter, No Local $no_local: granted");
    }

    for my $topic ('v1/gateway/rpc', 'v1/devices/me/telemetry') {
        $c->put(publish_packet(@v, topic => $topic, payload => '{}')
                . simple_packet('PINGREQ'));

        my @got = $c->packet();

        push @got, $c->packet() if $got[0]{type} ne 'PINGRESP';
        is(join(' ', map { $_->{topic} // $_->{type} } @got),
           $no_local ? 'PINGRESP' : "$topic PINGRESP",
           "its own on $topic " . ($no_local ? 'stays away' : 'comes back'));
    }

    $mqtt->publish("v1/gateways/$gw/rpc", 'of others');
    is($c->packet()->{payload}, 'of others', 'that of others comes');
    $c->close();
}

# --- one that is none ----------------------------------------------------------------

# a device of its own, which the bridge has never heard of
my ($plain, $plain_token) = $front->device('plain');
my $c = TB::MqttPeer->new(port => $front->{port});
$c->put(connect_packet(user => $plain_token));
$c->packet();
$c->put(subscribe_packet(filters => [['v1/devices/me/rpc/request/+', 1]]));
$c->packet();
wait_for { return $front->session($plain) };
$call = $front->open('plain', 'get', '{}', timeout => 20000);
$request = $c->packet();
my ($topic) = $request->{topic} =~ m{^v1/devices/me/rpc/request/(\d+)$};
$c->put(publish_packet(topic => "v1/devices/me/rpc/response/$topic",
                       payload => '1'));
is($call->answer(20)->{body}, '1', '--attached: devices are called as they are');

$front->clean();

done_testing();
