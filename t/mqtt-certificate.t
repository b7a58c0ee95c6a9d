#!/usr/bin/perl

# Devices log in over TLS: by a certificate that nginx has verified, or by a
# token all the same.
#
# runs: side by side, 8 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::Certs;
use TB::Env qw(free_port scratch wait_for);
use TB::Fixture qw(redis);
use TB::Mqtt qw(spawn reap output text_of);
use TB::MqttFront;
use TB::MqttPeer;

plan skip_all => 'no openssl' if !TB::Certs::available();
plan skip_all => 'no mosquitto' if !TB::Mqtt::mosquitto();

my $certs = TB::Certs->new(scratch());

$certs->authority($_) for 'ca', 'devices', 'others';
$certs->certificate('server', 'ca', 'localhost', 'DNS:localhost', 30);
$certs->certificate($_, 'devices', $_, "DNS:$_", 30) for 'door', 'window';
$certs->certificate('thief', 'others', 'door', 'DNS:door', 30);

my $listen = TB::MqttPeer->listen();
my $strict = free_port();
my $tls = 'ssl_certificate ' . $certs->path('server.pem') . ';'
          . 'ssl_certificate_key ' . $certs->path('server.key') . ';'
          . 'ssl_client_certificate ' . $certs->path('devices.pem') . ';';
my $front = TB::MqttFront->start(
    broker_port => $listen->{port}, mqtt_listen => 'ssl',
    mqtt_more => 'tb_mqtt_login certificate token;',
    mqtt_server => "$tls ssl_verify_client optional_no_ca;",
    servers => "server { listen 127.0.0.1:$strict ssl; $tls tb_mqtt b2;"
               . 'ssl_verify_client on; proxy_pass broker; }');
my ($id, $token) = $front->device('door');
my ($other, $others) = $front->device('by token');

# Redis knows this one, and one that nginx has not verified

sub der {
    my ($name) = @_;

    return `openssl x509 -in @{[$certs->path("$name.pem")]} -outform DER`
           || die "no certificate $name\n";
}

my $der = der('door');

redis()->call('SET', 'tb:cert:' . sha256_hex($_), $id) for $der, der('thief');


# a client's CONNECT as the broker gets it, or what the client says

sub client {
    my ($port, @options) = @_;

    my $pid = spawn('client.log', 'mosquitto_pub', '-h', 'localhost', '-p',
                    $port, '--cafile', $certs->path('ca.pem'), '-d', '-q', 1,
                    '-t', 'v1/devices/me/telemetry', '-m', '{}', @options);
    my ($broker, $status);

    # nobody comes behind the client's end

    for (1 .. 30) {
        last if $broker = $listen->accept(1) or defined $status;
        $status = reap($pid, undef, 0.01);
    }

    my $connect = $broker ? $broker->packet() : undef;

    if ($connect) {
        $broker->put(connack_packet());
        my $publish = $broker->packet();
        $broker->put(ack_packet('PUBACK', $publish->{id})) if $publish;
        $connect->{topic} = $publish->{topic} if $publish;
    }

    reap($pid) if !defined $status;

    return $connect;
}


sub files { return map { ("--$_->[0]", $certs->path("$_[0].$_->[1]")) }
                   [cert => 'pem'], [key => 'key'] }


my $c = client($front->{port}, files('door'));
is($c->{id}, $id, 'a certificate logs its device in');
is($c->{topic}, "v1/devices/$id/telemetry", 'with its topics');
$c = client($front->{port}, files('door'), '-u', $others);
is($c->{id}, $id, 'it counts before a token');
$c = client($front->{port}, '-u', $others);
is($c->{id}, $other, 'without one the token does');
$c = client($front->{port}, files('window'), '-u', $others);
is($c->{id}, $other, 'with one that Redis does not know, too');
is(client($front->{port}, files('window')), undef, 'such a one alone: no');
is(client($front->{port}, files('thief')), undef,
   'the same name from another authority: no');

# the fingerprint is public: it must be nobody's token
redis()->call('SET', 'tb:token:' . sha256_hex('x'), $id);
is(client($front->{port}, '-u', sha256_hex($der)), undef,
   'the fingerprint is no token');

$c = client($strict, files('door'));
is($c->{id}, $id, 'ssl_verify_client on');
is(client($strict, '-u', $others), undef, 'there a token alone does not do');

# nginx closes who has no certificate while he sends already
$front->clean(qr/SSL_shutdown\(\) failed .* while SSL handshaking/);

done_testing();
