#!/usr/bin/perl

# What devices and the log are told when a device is not let in, or a broker
# refuses it; and what "nginx -t" does not take.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(file_in free_port scratch wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Mqtt;
use TB::Nginx;

my @V5 = (version => 5);
my $broker = TB::MqttPeer->listen();
my $port = free_port();
my $nowhere = free_port();
my $front = TB::MqttFront->start(broker_port => $broker->{port}, ttl => '300ms',
    servers => "map \$tb_mqtt_client_id \$name {\n"
        . "empty  '';\nbytes  \"\xff\";\ndefault  nginx;\n}\n"
        . "server {\nlisten 127.0.0.1:$port;\ntb_mqtt b1;\n"
        . "tb_mqtt_username \$name;\nproxy_pass broker;\n}\n"
        . "server {\nlisten 127.0.0.1:$nowhere;\ntb_mqtt b1;\n"
        . "return 'no broker';\n}\n");
my ($id, $token) = $front->device('a');
my $logged = 0;


sub client {
    my (%o) = (version => 4, @_);

    my $client = TB::MqttPeer->new(port => $o{port} || $front->{port},
                                   version => $o{version});

    $client->put(connect_packet(user => $token, %o));

    return $client;
}


sub both {
    my $client = client(@_);
    my $peer = $broker->accept() or die "nobody came to the broker\n";

    return ($client, $peer, $peer->packet());
}


# what the next connection to end is logged as

sub refused {
    $logged++;

    return wait_for {
        my @lines = split /\n/, $front->stream_log();

        @lines >= $logged && $lines[$logged - 1] =~ /\[([^]]*)\]$/ ? $1 : '';
    };
}


# --- authentication by a method ----------------------------------------------------

my $client = client(@V5, props => property(0x15, 'SCRAM-SHA-1')
                                  . property(0x16, 'data'));
my $packet = $client->packet();
is($packet && $packet->{code}, 0x8c, 'an authentication method is refused');
is(refused(), 'malformed', 'and logged');
ok(!$broker->accept(0.2), 'the broker does not hear of it');

# --- a broker that refuses -----------------------------------------------------------

my $peer;

($client, $peer) = both(@V5);
$peer->put(connack_packet(@V5, code => 0x87, props =>
    property(0x1f, 'user nginx is not known') . property(0x26, 'user', 'nginx')
    . property(0x21, 9)));
$packet = $client->packet();
is($packet->{code}, 0x88, 'a broker that refuses nginx is not available');
is($packet->{props}, property(0x21, 9), 'and does not say why');
$_->close() for $client, $peer;
is(refused(), 'broker', 'which is logged');

($client, $peer) = both(@V5);
$peer->put(connack_packet(@V5, code => 0x9f, props => property(0x1f, 'slower')));
is($client->packet()->{props}, property(0x1f, 'slower'),
   'what is the device\'s own matter is told');
$_->close() for $client, $peer;
is(refused(), 'broker', 'and logged as that of the broker');

($client, $peer) = both(@V5);
$peer->put(connack_packet(@V5, props => property(0x1a, 'responses/')
                                        . property(0x1c, 'other.example')));
is($client->packet()->{props}, property(0x12, $id) . property(0x27, 65536),
   'neither topics of the broker nor other brokers are told');
$_->close() for $client, $peer;
is(refused(), '-', 'nobody was refused');

# --- a broker that sends it elsewhere --------------------------------------------------

for my $code (0x9c, 0x9d) {
    ($client, $peer) = both(@V5);
    $peer->put(connack_packet(@V5, code => $code,
        props => property(0x1c, 'other.example') . property(0x1f, 'go there')
                 . property(0x21, 9)));
    $packet = $client->packet();
    is($packet->{code}, 0x88, sprintf 'CONNACK 0x%02x: not available', $code);
    is($packet->{props}, property(0x21, 9), 'and not where it would be');
    $_->close() for $client, $peer;
    is(refused(), 'broker', 'which is logged');
}


# what a DISCONNECT of the broker with that body has at the device, in hex

sub ended_by {
    my ($body) = @_;

    ($client, $peer) = both(@V5);
    $peer->put(connack_packet(@V5));
    $client->packet();
    $peer->put(raw(0xe0, $body));
    $packet = $client->packet();
    $_->close() for $peer, $client;
    refused();

    return $packet && "$packet->{type} " . unpack 'H*', $packet->{body};
}


my $why = property(0x1f, 'go there') . property(0x26, 'a', 'b');
my $more = $why . property(0x1c, 'other.example');

for my $code (0x9c, 0x9d) {
    is(ended_by(chr($code) . varint(length $more) . $more), 'DISCONNECT 8b00',
       sprintf 'DISCONNECT 0x%02x: shutting down, and not where it would be',
               $code);
}

is(ended_by("\x89" . varint(length $more) . $more),
   'DISCONNECT ' . unpack('H*', "\x89" . varint(length $why) . $why),
   'DISCONNECT 0x89: why, and not where it would be');
is(ended_by("\x9c"), 'DISCONNECT 8b', 'DISCONNECT of one byte');
is(ended_by("\x8b\0"), 'DISCONNECT 8b00', 'without properties');
is(ended_by(''), 'DISCONNECT ', 'without anything');

# --- what is wrong before CONNACK ------------------------------------------------------

($client, $peer) = both(@V5);
$client->put(raw(0x36, 'QoS 3'));
$packet = $client->packet();
is($packet && $packet->{code}, 0x81, 'malformed before CONNACK: told so');
ok($client->closed(), 'and closed');
is(refused(), 'malformed', 'and logged');

# --- the user name at the broker -----------------------------------------------------------

my $connect;

($client, $peer, $connect) = both(port => $port, id => 'some');
is($connect->{user}, 'nginx', 'a user name from a variable');
$_->close() for $client, $peer;
refused();

for my $name (qw(empty bytes)) {
    $client = client(port => $port, id => $name);
    $packet = $client->packet();
    is($packet && $packet->{code}, 2, "a user name that is $name: refused");
    is(refused(), 'map', 'and logged');
}

like($front->error_log(), qr/"tb_mqtt_username" can't be used for device "$id"/,
     'with the reason');

# --- a server that has no broker ----------------------------------------------------------

for my $v (4, 5) {
    $client = client(version => $v, port => $nowhere);
    $packet = $client->packet();
    is($packet && "$packet->{type} $packet->{code}",
       $v == 5 ? 'CONNACK 136' : 'CONNACK 3',
       "MQTT $v: a server with \"return\" is not available");
    ok($client->closed(), 'and says no more');
    is(refused(), 'broker', 'it is logged as a broker that is away');
}

like($front->error_log(), qr/a server of devices needs "proxy_pass"/,
     'with the reason');

# --- heartbeats that fail -----------------------------------------------------------------------

($client, $peer) = both();
$peer->put(connack_packet(present => 1));
$client->packet();
ok(wait_for { $front->session($id) }, 'attached');

my $due = TB::Bridge::prefix(TB::Bridge::shard($id)) . 'due';
redis()->call('DEL', $due);
redis()->call('SET', $due, 'x');
ok($front->wait_log(qr/heartbeats of devices that are connected fail/),
   'heartbeats that fail are told of');
redis()->call('DEL', $due);
$_->close() for $client, $peer;

# --- nginx -t ----------------------------------------------------------------------------------------


sub check {
    my (%o) = @_;

    my $text = $front->conf_text();

    $text =~ s/tb_mqtt_cache/$o{more} tb_mqtt_cache/;

    my $conf = file_in('check.conf', $text);
    my (undef, $said) = TB::Mqtt::output(TB::Nginx::command(), '-t', '-p',
                                         "$front->{dir}/", '-e', 'stderr',
                                         '-c', $conf);

    return $said;
}


like(check(more => 'tb_mqtt_max_packet 10;'),
     qr/"tb_mqtt_max_packet" directive must be 0 or at least 512/,
     'a tb_mqtt_max_packet that lets nobody in');
like(check(more => 'tb_mqtt_map v1/ v1/$tb_mqtt_client_id/;'),
     qr/\[warn\].*add \$tb_mqtt_device_id/,
     'a map by what clients call themselves is warned of');

$front->clean(qr/"tb_mqtt_max_packet" directive/);

done_testing();
