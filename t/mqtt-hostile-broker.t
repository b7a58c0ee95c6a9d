#!/usr/bin/perl

# Devices behind nginx and a broker that sends what is legal, but large or
# unusual, or what it must not.
#
# runs: side by side, 20 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

my @V5 = (version => 5);
my $broker = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $broker->{port},
                                 username => 'nginx-at-broker',
                                 mqtt_server => 'tb_mqtt_map "" off;'
                                     . 'tb_mqtt_map v1/devices/me/ '
                                     . 'v1/devices/$tb_mqtt_device_id/;');
my ($id, $token) = $front->device('a');


# both ends, after CONNACK, and the client's CONNACK

sub both {
    my (%o) = @_;

    my $connack = delete $o{connack} || {};
    my $client = TB::MqttPeer->new(port => $front->{port},
                                   version => $o{version});

    $client->put(connect_packet(user => $token, %o));

    my $peer = $broker->accept() or die "nobody came to the broker\n";

    $peer->packet();
    $peer->put(connack_packet(version => $o{version}, %$connack));

    return ($client, $peer, $client->packet());
}


# --- large heads --------------------------------------------------------------

my ($client, $peer) = both(@V5, props => property(0x22, 10));
my $large = property(0x09, 'c' x 20000);
my @large = (@V5, topic => "v1/devices/$id/x", payload => 'hi');

$peer->put(publish_packet(@large, props => $large));

my $packet = $client->packet();
is($packet && $packet->{payload}, 'hi', 'a message with 20 kB of properties');
is($packet && $packet->{props}, $large, 'has them all');

$peer->put(publish_packet(@large, topic => "v1/devices/$id/aliased",
                          props => property(0x23, 3)));
is($client->packet()->{topic}, 'v1/devices/me/aliased', 'an alias');

my $huge = property(0x26, 'name', 'v' x 60000) x 20;

$peer->put(publish_packet(@large, qos => 1, id => 7, props => $huge));
$packet = $peer->packet();
is($packet && "$packet->{type} $packet->{id} $packet->{reason}",
   'PUBACK 7 ' . 0x87, 'one with 1.2 MB is answered');

$peer->put(publish_packet(@large, qos => 2, id => 8, props => $huge));
$packet = $peer->packet();
is($packet && "$packet->{type} $packet->{id} $packet->{reason}",
   'PUBREC 8 ' . 0x87, 'one of QoS 2, too');

$peer->put(publish_packet(@V5, topic => '', props => property(0x23, 3),
                          payload => 'who knows'));
$peer->put(publish_packet(@large, payload => 'next'));
is($client->packet()->{payload}, 'next',
   'it is left out, and what has an alias only, and all goes on');

$peer->put(publish_packet(@large, topic => "v1/devices/$id/aliased",
                          props => property(0x23, 3)));
$client->packet();
$peer->put(publish_packet(@V5, topic => '', props => property(0x23, 3),
                          payload => 'again'));
is($client->packet()->{payload}, 'again', 'an alias that was told again');
like($front->error_log(), qr/message for device $id is left out/, 'is logged');
$_->close() for $client, $peer;

# --- a broker that answers no SUBSCRIBE ---------------------------------------------

# what is left out of each comes back in its answer: so it has to be remembered

for ([65, ['#'], 'of two filters'], [5, [('#') x 4000], 'of 4,000 filters']) {
    my ($n, $off, $name) = @$_;

    ($client, $peer) = both(@V5);

    my $before = $front->rss();

    $client->put(join '', map {
        subscribe_packet(@V5, id => $_, filters => ['v1/devices/me/a', @$off])
    } 1 .. 2 * $n);

    $packet = $client->packet();
    is($packet && "$packet->{type} " . ord $packet->{body}, 'DISCONNECT ' . 0x97,
       "many SUBSCRIBEs $name: a quota");
    ok($client->closed(), 'and the end');

    my $got = 0;

    $got++ while $peer->packet();
    is($got, $n - 1, 'the broker has had those before');
    cmp_ok($front->rss() - $before, '<', 500, 'no more are remembered');
    ok($front->wait_log(qr/device $id sent too many subscriptions at once/),
       'which is logged');
    $peer->close();
}

$front->clean();

done_testing();
