#!/usr/bin/perl

# Devices behind nginx whose configuration is changed: one that fails leaves
# everything as it was, for workers that are made later, too.  And a worker that
# exits while Redis is away.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;

use TB::Env qw(free_port scaled wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

my $broker = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $broker->{port},
                                 redis_more => 'command_timeout '
                                               . scaled(40) . 's;');
my ($id, $token) = $front->device('a');


# what the broker is told of a device that logs in

sub seen {
    my $client = TB::MqttPeer->new(port => $front->{port});

    $client->put(connect_packet(user => $token, id => 'evil-client'));

    my $peer = $broker->accept() or return {};
    my $connect = $peer->packet() || {};

    $peer->put(connack_packet());
    $client->packet();
    $client->put(publish_packet(topic => 'v1/devices/OTHER/x'));
    $connect->{topic} = ($peer->packet() || {})->{topic};

    return $connect;
}


sub is_filtered {
    my ($when) = @_;

    my $connect = seen();

    is($connect->{id}, $id, "$when: the broker sees the device's id");
    is($connect->{user}, undef, "$when: and no token");
    is($connect->{topic}, "v1/others/$id/v1/devices/OTHER/x",
       "$when: its topics are its own");
}


is_filtered('before');

# a configuration without tb_mqtt that can't be taken: its port is in use

my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0,
                                  Listen => 1) or die "listen: $!\n";
my $port = $taken->sockport();
my $stream = $front->{stream};

$front->configure(stream => sub {
    return "server {\nlisten 127.0.0.1:$port;\n"
           . "proxy_pass 127.0.0.1:$broker->{port};\n}\n";
});

kill 'HUP', $front->{pid};
ok($front->wait_log(qr/still could not bind/, 20), 'a reload fails');

is_filtered('the worker of before');

my $worker = $front->worker();
kill 'KILL', $worker;
ok($front->gone($worker), 'the worker is killed');
ok(wait_for { $front->worker() } && $front->worker() != $worker,
   'and another one begins');

is_filtered('the worker that was made after it');

# and one that can be taken

$front->configure(stream => $stream);
$front->reload();

is_filtered('a reload');

# a worker that is to exit has no time to wait for a Redis that is away

my ($other, $others) = $front->device('b');
my $client = TB::MqttPeer->new(port => $front->{port});

$client->put(connect_packet(user => $others));
my $peer = $broker->accept();
$peer->put(connack_packet(present => 1));
$client->packet();
ok(wait_for { $front->session($other) }, 'a device is attached');
redis()->stop();
ok($front->wait_log(qr/connection to \S+ failed/),
   'Redis is away, and nginx knows');

$worker = $front->worker();
kill 'QUIT', $worker;
$client->close();
ok($front->gone($worker), 'the device leaves, and its worker exits');

$front->clean(qr/exited on signal 9|bind\(\)/);

done_testing();
