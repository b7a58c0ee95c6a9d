#!/usr/bin/perl

# The ways to nginx and from it to the broker that are nginx's own: the PROXY
# protocol on either, and the address that it brings in limits and logs; TLS to
# the broker.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Socket qw(inet_aton);
use Test::More;

use TB::Certs;
use TB::Env qw(free_port scratch wait_for);
use TB::Fixture qw(redis);
use TB::Mqtt;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

plan skip_all => 'no openssl' if !TB::Certs::available();
plan skip_all => 'no mosquitto' if !TB::Mqtt::mosquitto();
plan skip_all => 'no nginx with stream_realip'
    if `@{[TB::Nginx::command()]} -V 2>&1` !~ /stream_realip/;

my $broker = TB::MqttPeer->listen();
my $onwards = free_port();
my $front = TB::MqttFront->start(
    broker_port => $broker->{port}, mqtt_listen => 'proxy_protocol',
    delay => '60s',
    mqtt_more => 'limit_conn_zone $binary_remote_addr zone=devices:1m;'
        . "log_format real '\$remote_addr \$status [\$tb_mqtt_refused]';"
        . 'set_real_ip_from 127.0.0.1;',
    mqtt_server => 'limit_conn devices 1; access_log real.log real;',
    servers => "server { listen 127.0.0.1:$onwards proxy_protocol;"
        . 'proxy_protocol on; tb_mqtt b1; proxy_pass broker; }');
my ($id, $token) = $front->device('a');


# a device behind a balancer, with what the balancer says first

sub behind {
    my ($from, @more) = @_;
    my %o = (version => 4, user => $token, @more);

    my $head = $o{v2}
        ? "\r\n\r\n\0\r\nQUIT\n" . pack('C C n', 0x21, 0x11, 12)
          . inet_aton($from) . inet_aton('192.0.2.99') . pack 'n n', 1111, 1883
        : "PROXY TCP4 $from 192.0.2.99 1111 1883\r\n";
    my $connect = connect_packet(%o);
    my $client = TB::MqttPeer->new(port => $o{port} || $front->{port},
                                   version => $o{version});

    # nginx wants its header in one piece

    $client->put($_) for $o{slow} ? ($head, split //, $connect)
                                  : $head . $connect;

    return $client;
}


# the CONNECT that the broker gets, and its end of the connection

sub connected {
    my $peer = $broker->accept() or return;

    return ($peer->packet(), $peer);
}


sub logged {
    my ($pattern) = @_;

    return wait_for { $front->file_text('real.log') =~ $pattern };
}

# --- the PROXY protocol -------------------------------------------------------------

my $from = 9;

for (['version 1'], ['version 1, slowly', slow => 1], ['version 2', v2 => 1],
     ['version 2, slowly', v2 => 1, slow => 1])
{
    my ($name, @how) = @$_;
    my $client = behind('192.0.2.' . ++$from, @how);
    my ($connect, $peer) = connected();

    is($connect && $connect->{id}, $id, "behind a balancer: $name");
    $peer->put(connack_packet());
    is($client->packet()->{code}, 0, 'and all goes on');
    $_->close() for $client, $peer;
}

ok(logged(qr/^192\.0\.2\.13 200 \[-\]/m), 'the log has its own address');

# guessing: each address has a connection of its own, and is let wait

my $guess = behind('192.0.2.1', user => 'guess');
ok($front->wait_log(qr/sent credentials of no device.*client: 192\.0\.2\.1[,:]/),
   'a wrong login is logged with the address of its sender');

my $again = behind('192.0.2.1', user => 'guess again');
ok($again->closed(), 'one address, one attempt at a time');
ok(logged(qr/^192\.0\.2\.1 503 /m), 'which the log says of that address');

my $client = behind('192.0.2.2');
my ($connect, $peer) = connected();
is($connect && $connect->{id}, $id, 'others come in');
$_->close() for $client, $peer, $guess;
ok(logged(qr/^192\.0\.2\.1 \d+ \[unknown\]/m), 'who guesses is logged as unknown');

# and onwards

$client = behind('192.0.2.3', port => $onwards);
$peer = $broker->accept();
my $line = wait_for { $peer->more(0.1);
                      $peer->{in} =~ s/^(PROXY [^\r]*\r\n)// ? $1 : undef };
like($line, qr/^PROXY TCP4 192\.0\.2\.3 /, 'a broker gets it, too');
$connect = $peer->packet();
is($connect && "$connect->{type} $connect->{id}", "CONNECT $id",
   'before the CONNECT');
$peer->put(connack_packet());
is($client->packet()->{code}, 0, 'and its answer comes');
$_->close() for $client, $peer;
$front->clean();

# --- TLS to the broker ------------------------------------------------------------------

my $certs = TB::Certs->new(scratch());

$certs->authority($_) for 'ca', 'others';
$certs->certificate('broker', 'ca', 'broker', 'DNS:broker', 30);

my $mqtt = TB::Mqtt->new(redis => redis());
my $wrong = free_port();
my $tls = 'proxy_ssl on; proxy_ssl_verify on; proxy_ssl_name broker;'
          . 'proxy_ssl_trusted_certificate ' . $certs->path('');

$mqtt->broker('certfile ' . $certs->path("broker.pem\n")
              . 'keyfile ' . $certs->path("broker.key\n")
              . "max_inflight_messages 0\n");
$front = TB::MqttFront->start(
    broker_port => $mqtt->{port}, mqtt_server => "${tls}ca.pem;"
        . 'tb_mqtt_max_packet 0;',
    servers => "server { listen 127.0.0.1:$wrong; tb_mqtt b1;"
        # a session of TLS that is used again is not verified again
        . "${tls}others.pem; proxy_pass 127.0.0.1:$mqtt->{port}; }");

my $packet;

for my $v (3, 4, 5) {
    my @v = (version => $v);
    my $payload = join '', map { chr(($_ * 7 + $v) % 251) } 1 .. 1_000_000;

    $client = TB::MqttPeer->new(port => $front->{port}, version => $v);
    $client->put(connect_packet(@v, user => $token));
    $packet = $client->packet();
    is($packet && "$packet->{type} $packet->{code}", 'CONNACK 0',
       "MQTT $v, a broker by TLS: a device is let in");
    $client->put(subscribe_packet(@v, filters => [['v1/devices/me/x', 1]]));
    is_deeply($client->packet()->{codes}, [1], 'has subscribed');

    for my $size (0, 100, 1_000_000) {
        my $part = substr $payload, 0, $size;

        $client->put(publish_packet(@v, topic => 'v1/devices/me/x', qos => 1,
                                    payload => $part));

        my %got = map { my $p = $client->packet() || { type => 'none' };
                        ($p->{type} => $p) } 1, 2;

        ok($got{PUBACK} && $got{PUBLISH}{topic} eq 'v1/devices/me/x'
           && $got{PUBLISH}{payload} eq $part, "and gets $size bytes back");
        $client->put(ack_packet('PUBACK', $got{PUBLISH}{id}));
    }

    ok(wait_for { $front->session($id) }, 'it is online');
    $client->close();
    ok(wait_for { !$front->session($id) }, 'and offline');
}

for my $v (4, 5) {
    $client = TB::MqttPeer->new(port => $wrong, version => $v);
    $client->put(connect_packet(version => $v, user => $token));
    $packet = $client->packet();
    is($packet && "$packet->{type} $packet->{code}",
       $v == 5 ? 'CONNACK 136' : 'CONNACK 3',
       "MQTT $v, a broker with a certificate of somebody else: not available");
    ok($client->closed(), 'and it ends');
}

like($front->error_log(), qr/certificate verify error/, 'and why is logged');
$front->clean();

done_testing();
