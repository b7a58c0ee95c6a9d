#!/usr/bin/perl

# Very many MQTT devices in one worker: each of them logs in, has subscribed,
# is called once and answers; what one costs in memory; all of them at once
# after every connection was cut.
#
#     TB_MQTT_DEVICES=9000 prove -It/lib t/mqtt-scale.t
#
# runs: alone, 75 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Poll qw(POLLIN);
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;

my $mode = $ENV{TB_MODE} || '';

# two files for each here, three in nginx
my $files = `sh -c 'ulimit -n'`;
my $DEVICES = $ENV{TB_MQTT_DEVICES} || ($mode ? 300 : 3000);

$DEVICES = int(($files - 500) / 2) if $files =~ /^\d+$/
                                      && $DEVICES > ($files - 500) / 2;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $listen->{port},
                                 connections => 2 * $DEVICES + 500,
                                 cache => '10s');
my @devices = map { [$front->device("device $_")] } 1 .. $DEVICES;
my %id = map { $devices[$_][0] => $_ } 0 .. $#devices;


# All connections at once, on both sides, in one loop: who is there at the end.
# It goes on when all have what they are waited for, or in so many seconds.

sub all_of_them {
    my ($seconds) = @_;

    my $poll = IO::Poll->new();
    my (%peer, @clients, %broker, %done);

    my $add = sub {
        my ($peer, $side) = @_;

        $peer->{side} = $side;
        $peer{fileno $peer->{sock}} = $peer;
        $poll->mask($peer->{sock} => POLLIN);
    };

    $listen->{sock}->blocking(0);
    $poll->mask($listen->{sock} => POLLIN);

    my $started = 0;
    my $end = time() + scaled($seconds);

    while (keys %done < @devices && time() < $end) {

        # as many as the queue of the listening socket takes

        while ($started < @devices && $started - keys(%broker) < 200) {
            my $client = TB::MqttPeer->new(port => $front->{port});

            $client->{n} = $started;
            $client->put(connect_packet(id => "c$started",
                                        user => $devices[$started++][1]));
            push @clients, $client;
            $add->($client, 'client');
        }

        $poll->poll(0.1);

        for my $sock ($poll->handles(POLLIN)) {
            if ($sock == $listen->{sock}) {
                while (my $new = $sock->accept()) {
                    $add->(TB::MqttPeer->over($new), 'broker');
                }

                next;
            }

            my $peer = $peer{fileno $sock};

            if (!$peer->more(0)) {
                $poll->remove($sock);
                next;
            }

            while (my $p = $peer->whole()) {
                $peer->{side} eq 'client'
                    ? client($peer, $p, \%done) : broker($peer, $p, \%broker);
            }
        }
    }

    return (\@clients, \%broker, scalar keys %done);
}


# subscribes, and answers a call

sub client {
    my ($peer, $p, $done) = @_;

    if ($p->{type} eq 'CONNACK') {
        $peer->put(subscribe_packet(
            filters => [['v1/devices/me/rpc/request/+', 1]]));

    } elsif ($p->{type} eq 'PUBLISH') {
        $peer->put(ack_packet('PUBACK', $p->{id}));
        $peer->put(publish_packet(topic => 'v1/devices/me/rpc/response/7',
                                  qos => 1, id => 2,
                                  payload => "$p->{topic} $p->{payload}"));

    } elsif ($p->{type} eq 'PUBACK') {
        $done->{ $peer->{n} } = 1;
    }
}


# calls whoever has subscribed

my @wrong;

sub broker {
    my ($peer, $p, $broker) = @_;

    if ($p->{type} eq 'CONNECT') {
        $peer->{id} = $p->{id};
        $broker->{ $p->{id} } = $peer;
        $peer->put(connack_packet());

    } elsif ($p->{type} eq 'SUBSCRIBE') {
        $peer->put(suback_packet(codes => [1]));
        $peer->put(publish_packet(
            topic => "v1/devices/$peer->{id}/rpc/request/7", qos => 1,
            payload => "for $peer->{id}"));

    } elsif ($p->{type} eq 'PUBLISH') {
        push @wrong, "$peer->{id}: $p->{topic} $p->{payload}"
            if $p->{topic} ne "v1/devices/$peer->{id}/rpc/response/7"
               || $p->{payload} ne "v1/devices/me/rpc/request/7"
                                   . " for $peer->{id}";
        $peer->put(ack_packet('PUBACK', $p->{id}));
    }
}


my $before = $front->rss();
my $start = time();
my ($clients, $brokers, $n) = all_of_them(120);

is($n, $DEVICES, sprintf '%d devices in one worker, each called and answered,'
                         . ' in %.1f s', $DEVICES, time() - $start);
is(join(', ', @wrong), '', 'each its own call');
is(scalar(grep { exists $id{$_} } keys %$brokers), $DEVICES,
   'each under its own id at the broker');

my $each = ($front->rss() - $before) * 1024 / $DEVICES;

# nginx alone has some 10 KB: two connections, their pools and two buffers of
# which the first page was used

cmp_ok($each, '<', 16_000, sprintf 'memory of each: %d bytes', $each)
    if !$mode;


# --- the storm ------------------------------------------------------------------

my $used = 0;

for my $storm (1 .. 3) {
    close $_->{sock} for values %$brokers;
    is(scalar(grep { $_->closed(60) } @$clients), $DEVICES,
       'the broker is gone: so is each connection');
    close $_->{sock} for @$clients;

    @wrong = ();
    $start = time();
    ($clients, $brokers, $n) = all_of_them(120);

    is($n, $DEVICES, sprintf 'all of them come back at once, in %.1f s',
                             time() - $start);
    is(join(', ', @wrong), '', 'each is itself again');

    # of those that go and those that come there are more at once

    my $now = $front->rss();

    cmp_ok($now, '<', 1.3 * $used, "in about the same memory ($now KB)")
        if $storm == 3;
    $used = $now;
}

close $_->{sock} for @$clients;
is(scalar(grep { $_->closed(60) } values %$brokers), $DEVICES,
   'who goes is gone at the broker, too');

$front->clean();
is($front->stop('QUIT', 20), 1, 'nothing is left open');

done_testing();
