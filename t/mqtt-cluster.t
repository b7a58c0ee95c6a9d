#!/usr/bin/perl

# Devices of an nginx on a Redis Cluster when a master is away: those of other
# masters log in, are attached and detached as ever, however many come to it at
# once; these are told to come again, and who is connected stays, and is told of
# when the master is back.
#
# runs: side by side, 60 s
# not with --redis-tls, --redis-cluster: it has a cluster of its own

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use List::Util qw(max);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Cluster;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

$ENV{TB_REDIS_CLUSTER} = 3;

my $cluster = redis()->{cluster};
my @master = map { $cluster->master_of_shard($_) } 0 .. 127;
my $AWAY = 2;

# Seconds that one waits for a master that is away.  Half of them are enough for
# what does not, on a busy machine as well.
my $TIMEOUT = scaled(10);
my $broker = TB::MqttPeer->listen();

# nothing lapses while it is waited for

my $front = TB::MqttFront->start(broker_port => $broker->{port},
                                 ttl => scaled(300) . 's',
                                 redis_more => "command_timeout ${TIMEOUT}s;");
my $CROWD = $ENV{TB_MODE} ? 1200 : 1600;
my $serial = 0;


# a device of that master whose token is at that one

sub device_at {
    my ($node, $token_at) = @_;

    for (;;) {
        my $name = 'of cluster ' . ++$serial;
        my $id = TB::Fixture::uuid_of("device $name");
        my $token = "token of $name";
        my $key = 'tb:token:' . sha256_hex($token);

        next if $master[TB::Bridge::shard($id)] != $node
                || $cluster->master_of($key) != ($token_at // $node);

        return $front->device($name);
    }
}


# what a device gets for its CONNECT, both ends, and how long that took

sub come {
    my ($token, $version) = @_;

    my $begun = time();
    my $client = TB::MqttPeer->new(port => $front->{port},
                                   version => $version || 4);

    $client->put(connect_packet(version => $version || 4, user => $token));

    my $peer;

    wait_for {
        $peer ||= $broker->accept(0.1);
        $peer || $client->more(0) || length $client->{in};
    } or return ('none', $client, undef, time() - $begun);

    if ($peer) {
        $peer->packet();
        $peer->put(connack_packet(version => $version || 4, present => 1));
    }

    my $packet = $client->packet();

    return ($packet ? $packet->{code} : 'none', $client, $peer,
            time() - $begun);
}


sub attached {
    my ($id, $is) = @_;

    return wait_for { !$front->session($id) == !$is } 60;
}


# Both ends, once it is let in.  If it is not, the hundreds that follow are not
# waited for, one by one.

sub let_in {
    my ($token, $name) = @_;

    my $got = wait_for {
        my @got = come($token);

        return $got[0] eq '0' ? \@got : undef;
    };

    ok($got, $name) or die "nobody is let in any more\n";

    return @$got[1, 2];
}


# of each master one that is connected

my %at = map { my ($id, $token) = device_at($_);
               my ($client, $peer) = let_in($token, "a device of master $_"
                                                    . ' is let in');
               ok(attached($id, 1), 'and attached');
               ($_ => { id => $id, token => $token, client => $client,
                        peer => $peer }) } 0 .. 2;
my @stays = device_at($AWAY);
my ($stays, $stays_peer) = let_in($stays[1], 'one more');
my @new = map { [device_at($AWAY, $_)] } $AWAY, 0;
my @others = map { my $node = $_; map { [device_at($node)] } 1 .. 3 } 0, 1;
my @half = device_at(0, $AWAY);

attached($stays[0], 1);

# so many that all that a worker does at a time could be for one master

my @crowd = $half[1];

for (my $n = 0; @crowd < $CROWD / 4; $n++) {
    push @crowd, "nobody's $n"
        if $cluster->master_of('tb:token:' . sha256_hex("nobody's $n"))
           == $AWAY;
}


# all of them, of whom some are devices whose token is at another master

sub crowd {
    my ($n) = @_;

    return map {
        my $client = TB::MqttPeer->new(port => $front->{port});

        $client->put(connect_packet(user => $crowd[$_ % 4 ? $_ % @crowd : 0]));
        $client;
    } 1 .. $n;
}


# the master hangs, then it is dead

for my $how ('hangs', 'is dead') {
    my @many = map { [come($stays[1])] } 1 .. 300;

    $how eq 'hangs' ? $cluster->stop($AWAY) : $cluster->kill($AWAY);

    # those that leave now are to be told of, when it can be

    $_->close() for $stays, $stays_peer, map { @$_[1, 2] } @many;

    # and some who don't wait for their answer

    $_->close() for crowd(600);

    my @waiting = crowd($CROWD);
    my ($in, $on) = (0, 0);

    for (@others) {
        my ($id, $token) = @$_;
        my ($code, $client, $peer, $took) = come($token);

        $in = $took if $took > $in;
        is($code, 0, "a master $how: a device of another one is let in");

        my $begun = time();

        ok(attached($id, 1), 'attached');
        $_->close() for grep { $_ } $client, $peer;
        ok(attached($id, 0), 'and detached');
        $took = time() - $begun;
        $on = $took if $took > $on;
    }

    diag(sprintf 'a master %s: others let in after %.2f s, heard of after'
                 . ' %.2f s', $how, $in, $on);
    cmp_ok($in, '<', $TIMEOUT / 2, 'without waiting for it to let others in');
    cmp_ok($on, '<', $TIMEOUT / 2, 'nor to hear of others');

    my %codes;
    my $till = time() + 3 * $TIMEOUT;

    for (@waiting) {
        my $packet = $_->packet(max(0.001, $till - time()));

        $codes{ $packet ? $packet->{code} : 'none' }++;
    }

    is(join(' ', map { "$_: $codes{$_}" } sort keys %codes), "3: $CROWD",
       'each that has come to it is told to come again');
    $_->close() for @waiting;

    soon { (come($new[0][1]))[3] < $TIMEOUT / 2 } 'at once, when that is known',
         60;

    for my $v (4, 5) {
        for (@new, \@half) {
            my ($code, $client, $peer, $took) = come($_->[1], $v);

            is($code, $v == 5 ? 0x88 : 3,
               "MQTT $v, a master $how: its own are told to come again");
            cmp_ok($took, '<', 2 * $TIMEOUT, 'in time');
            ok($client->closed(), 'and sent away');
            ok(!$peer, 'the broker does not hear of them');
        }
    }

    $at{$AWAY}{client}->put(publish_packet(topic => 'v1/devices/me/telemetry',
                                           payload => $how));
    is($at{$AWAY}{peer}->packet()->{payload}, $how,
       'who is connected stays, and is heard');

    last if $how eq 'is dead';

    $cluster->cont($AWAY);
    ok(attached($stays[0], 0), 'it goes on: who has left meanwhile is detached');
    ok($front->session($at{$AWAY}{id}), 'who has not is still attached');

    for (@new, \@half) {
        my ($client, $peer) = let_in($_->[1], 'its own are let in');

        ok(attached($_->[0], 1), 'and attached');
        $_->close() for grep { $_ } $client, $peer;
        attached($_->[0], 0);
    }

    ($stays, $stays_peer) = let_in($stays[1], 'and one that was here before');
    attached($stays[0], 1);
}

# the dead one comes back with what it had

$cluster->start($AWAY);
$cluster->wait_ok();
undef redis()->{client};
ok(attached($stays[0], 0), 'it is back: who has left meanwhile is detached');
ok($front->session($at{$AWAY}{id}), 'who has not is attached');

my @ends = let_in($new[0][1], 'its own are let in');

ok(attached($new[0][0], 1), 'and attached');

# the end of nginx, while it is away

attached($at{$_}{id}, 1) for 0 .. 2;
$cluster->kill($AWAY);
$front->stop('TERM');
ok(attached($at{$_}{id}, 0), "SIGTERM detaches those of master $_") for 0, 1;

$front->clean();

done_testing();
