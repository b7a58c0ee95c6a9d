#!/usr/bin/perl

# Who is there and who is not: devices that only send what is left out, brokers
# that close while nobody reads, Redis that takes no attach or does not answer,
# and a worker whose time is up.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF pack_sockaddr_in inet_aton
              AF_INET SOCK_STREAM);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

my $broker = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $broker->{port}, ttl => '3s',
    main => 'worker_shutdown_timeout 1s;', mqtt_listen => 'sndbuf=4k',
    redis_more => 'command_timeout 1s;',
    mqtt_server => 'tb_mqtt_map "" off;'
        . 'tb_mqtt_map v1/devices/me/ v1/devices/$tb_mqtt_device_id/;');


# both ends; the broker has kept the session, so it is attached at once

sub both {
    my ($token, %o) = @_;

    my $client = $o{client} || TB::MqttPeer->new(port => $front->{port});

    $client->put(connect_packet(user => $token, %o));

    my $peer = $broker->accept() or die "nobody came to the broker\n";

    $peer->packet();
    $o{before}->() if $o{before};
    $peer->put(connack_packet(present => 1));
    $client->packet();

    return ($client, $peer);
}


sub attached {
    my ($id, $is) = @_;

    return wait_for { !$front->session($id) == !$is };
}


# --- keep alive -----------------------------------------------------------------

my ($id, $token) = $front->device('a');
my ($client, $peer) = both($token, keepalive => 1);

ok(attached($id, 1), 'attached');

my $n = 0;


# a packet that is left out, and answered

sub left_out {
    $client->put(publish_packet(topic => 'v2/t', qos => 1, id => ++$n));

    return ($client->packet() || {})->{type} || '';
}


my $ping = wait_for { left_out(); $peer->packet(0.1) };
is($ping && $ping->{type}, 'PINGREQ',
   'a broker hears of who only sends what is left out');

my $until = time() + scaled(1);
my %types;

while (time() < $until) {
    $types{ left_out() }++;
}

is(join(' ', keys %types), 'PUBACK', 'which is answered');
ok($peer->silent(), 'one PINGREQ at a time');

$peer->put(simple_packet('PINGRESP'));
$ping = wait_for { $types{ left_out() }++; $peer->packet(0.1) };
is($ping && $ping->{type}, 'PINGREQ', 'the next one');
$peer->put(simple_packet('PINGRESP'));
$types{ left_out() }++;
is(join(' ', keys %types), 'PUBACK', 'their answers are ours');

$client->put(simple_packet('PINGREQ'));
is($peer->packet()->{type}, 'PINGREQ', 'a PINGREQ of the client');
$peer->put(simple_packet('PINGRESP'));
is($client->packet()->{type}, 'PINGRESP', 'and its answer go on');
$_->close() for $client, $peer;

# --- the broker closes, the client does not read -------------------------------------


sub deaf {
    socket my $sock, AF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    setsockopt $sock, SOL_SOCKET, SO_RCVBUF, 2048;
    connect $sock, pack_sockaddr_in($front->{port}, inet_aton('127.0.0.1'))
        or die "connect: $!\n";
    bless $sock, 'IO::Socket::INET';

    return TB::MqttPeer->over($sock);
}


for ([14000, 'and all of it was read'], [60000, 'and nobody reads it']) {
    my ($size, $name) = @$_;

    ok(attached($id, 0), 'detached');
    ($client, $peer) = both($token, client => deaf());
    ok(attached($id, 1), 'attached');

    $peer->put(publish_packet(topic => "v1/devices/$id/x",
                              payload => 'x' x $size));
    sleep scaled(0.5);
    $peer->close();

    ok(attached($id, 0), "the broker has closed: detached, $name");
    $client->close();
}

# --- a client that reads nothing, each of whose packets is answered by nginx ----------------

# one at a time: each answer is some bytes, and more memory

($client, $peer) = both($token, client => deaf());

my ($before, $most, $sent) = ($front->rss(), 0, 0);

while ($sent < 20000 && $client->put(publish_packet(topic => 'v2/t', qos => 1),
                                     30))
{
    sleep 0.0002;
    next if ++$sent % 100;

    my $more = $front->rss() - $before;

    $most = $more if $more > $most;
}

cmp_ok($sent, '<', 20000, 'who takes no answers is sent away');
ok($front->wait_log(qr/device $id sent more packets than it takes answers to/),
   'which is logged');

SKIP: {
    skip 'memory is not as usual', 1 if $ENV{TB_MODE};
    cmp_ok($most, '<', 400, 'and takes little memory until then');
}

$_->close() for $client, $peer;
ok(attached($id, 0), 'detached');

# --- one that can't be attached ---------------------------------------------------------

my ($bad, $bad_token) = $front->device('bad');
my $key = redis()->device_key($bad);

($client, $peer) = both($bad_token, before => sub {
    redis()->call('DEL', $key);
    redis()->call('SET', $key, 'x');
});

ok($front->wait_log(qr/devices that are connected can't be attached/),
   'a device that can\'t be attached');

my $begun = time();

for my $i (1 .. 5) {
    my ($other, $other_token) = $front->device("other$i");
    my ($c, $p) = both($other_token);

    attached($other, 1) or last;
    $_->close() for $c, $p;
}

cmp_ok(time() - $begun, '<', scaled(10), 'stops no others');
sleep scaled(1.2);
is($front->count_log(qr/can't be attached/), 1, 'and is told of once');

redis()->call('DEL', $key);
$front->device('bad');
ok(attached($bad, 1), 'it is tried again');
$_->close() for $client, $peer;
ok(attached($bad, 0), 'detached');

# --- an answer that is lost ----------------------------------------------------------------

$front->configure(ttl => '60s');
$front->reload();

$client = TB::MqttPeer->new(port => $front->{port});
$client->put(connect_packet(user => $token));
$peer = $broker->accept();
$peer->packet();
redis()->pause();
$peer->put(connack_packet(present => 1));
$client->packet();
sleep 0.3;
$_->close() for $client, $peer;
sleep scaled(1.5);
redis()->resume();

# it is done now, long after its time

sleep scaled(1);
ok(attached($id, 0), 'an attach whose answer was lost is taken back');

# --- the end of nginx ------------------------------------------------------------------------

# the attach is on its way, and nobody waits for what becomes of it

my $last = TB::MqttFront->start(broker_port => $broker->{port}, ttl => '60s');

$client = TB::MqttPeer->new(port => $last->{port});
$client->put(connect_packet(user => $token));
$peer = $broker->accept();
$peer->packet();
redis()->pause();
$peer->put(connack_packet(present => 1));
$client->packet();
sleep 0.3;
$last->stop('TERM');
redis()->resume();
redis()->call('PING');
sleep scaled(0.5);
ok(attached($id, 0), 'SIGTERM amid an attach: it is taken back');
$_->close() for $client, $peer;
$last->clean();

# --- a worker whose time is up --------------------------------------------------------------

($client, $peer) = both($token);
ok(attached($id, 1), 'attached');

my ($old) = $front->reload();

ok($client->closed(), 'worker_shutdown_timeout ends it');
ok(attached($id, 0), 'and it is detached');
ok($front->gone($old), 'then the worker exits');

$front->clean();

done_testing();
