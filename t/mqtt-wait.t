#!/usr/bin/perl

# Connections that wait at nginx for Redis: who leaves meanwhile, who sends more,
# a thousand at once, one that is refused late.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for);
use TB::Fixture qw(redis);
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $listen->{port},
    delay => '6s', cache => 0, redis_more => 'command_timeout 20s;',
    mqtt_server => 'preread_timeout 10s;');
my ($id, $token) = $front->device('a');

my $client = sub {
    my $c = TB::MqttPeer->new(port => $front->{port});
    $c->put($_) for @_;
    return $c;
};
my $connect = connect_packet(user => $token);
my $packet;

# --- while Redis says nothing

redis()->pause();

my $left = $client->($connect);
sleep scaled(0.2);
$left->close();
my $more = $client->($connect, publish_packet(
    topic => 'v1/devices/me/telemetry', payload => '{"a":1}'));
my $all = $client->($connect . publish_packet(
    topic => 'v1/devices/me/telemetry', payload => '{"b":2}')
    . simple_packet('DISCONNECT'));
sleep scaled(0.2);
$all->close();
soon { return $front->stream_log() =~ /^200 \[-\]/m }
     'who leaves while it is looked up is let go';

redis()->resume();

my %seen;

for (1 .. 2) {
    my $broker = $listen->accept() or last;

    $broker->packet();
    $broker->put(connack_packet());
    $packet = $broker->packet();
    $seen{$packet->{payload}} = 1 if $packet;
}

is(join(' ', sort keys %seen), '{"a":1} {"b":2}',
   'what was sent behind CONNECT arrives, with its end too');
$more->close();

# --- split at each byte

my $slow = TB::MqttPeer->new(port => $front->{port});
for (split //, $connect) { $slow->put($_); sleep 0.001 }
my $broker = $listen->accept();
is($broker && $broker->packet()->{id}, $id, 'byte by byte');
$slow->close();

# --- too slow

my $silent = $client->(substr $connect, 0, 10);
ok($silent->closed(40), 'preread_timeout');

# --- refused late

my $begun = time();
my $bad = $client->(connect_packet(user => 'nobody'));
$bad->put(simple_packet('PINGREQ')) for 1 .. 3;
$packet = $bad->packet(40);
is($packet && $packet->{code}, 5, 'a wrong token is refused');
cmp_ok(time() - $begun, '>', 5.8, 'late');
ok($bad->closed(), 'and closed');

my $gone = $client->(connect_packet(user => 'nobody'));
sleep scaled(0.2);
my $logged = () = $front->stream_log() =~ /\n/g;
$gone->close();
soon { return $logged < (() = $front->stream_log() =~ /\n/g) }
     'who does not wait for that is let go at once', 4;

# --- many

my @many = map { $client->($connect) } 1 .. 1000;
my $n = 0;

for (@many) {
    my $broker = $listen->accept(40) or last;
    $n++ if ($broker->packet(40) || { id => '' })->{id} eq $id;
}

is($n, 1000, '1,000 at once');
$_->close() for @many;

$front->clean();

done_testing();
