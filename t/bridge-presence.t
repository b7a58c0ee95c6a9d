#!/usr/bin/perl

# Who is online, after the broker or Redis has forgotten it.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(wait_for);
use TB::Mqtt qw(reap text_of counter);

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen);

$mqtt->broker();


sub online {
    my ($name, $device, @more) = @_;

    $mqtt->publish("v1/devices/$device/status", 'online', '-r', @more);
    ok($mqtt->attached($device, $name), "$device is online");
}


# what a caller is told

sub word {
    my ($device) = @_;

    my $word = ($mqtt->call($device, '"m"', '1', oneway => 1,
                            timeout => 100))[2];

    return $word;
}


sub connects {
    my ($name, $times) = @_;

    return wait_for {
        $times <= (() = text_of("$name.log") =~ /mqtt: connected/g)
    } 15;
}


# --- the broker restarts and has forgotten what was retained -----------------

my ($stays, $away, $behind) = map { $mqtt->device() } 1 .. 3;

$mqtt->name('behind', $behind);
$pid = $mqtt->bridge('grace', '--session-ttl', 900, '--presence-grace', 500,
                     '--gateway', '--tenant', $TB::Mqtt::TENANT);
online('grace', $_) for $stays, $away;
$mqtt->publish('v1/gateway/connect', '{"device":"behind"}');
ok($mqtt->attached($behind, 'grace'), 'one is behind a gateway');

reap($mqtt->{broker}, 'TERM');
$mqtt->broker();
connects('grace', 2);
$mqtt->publish("v1/devices/$stays/status", 'online', '-r');
$seen = wait_for { word($away) eq 'offline' } 10;
ok($seen, 'a device that stays away is offline when its session has lapsed');
$seen = wait_for { counter('grace', $pid, 'devices') == 2 };
ok($seen, 'it is forgotten');
is(word($stays), 'queued', 'one that has come again is not');
is(word($behind), 'queued', 'nor is one behind a gateway');
online('grace', $away);
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- Redis restarts and is empty --------------------------------------------

my $device = $mqtt->device();

$pid = $mqtt->bridge('empty');
online('empty', $device);

# a heartbeat is too far away to help, and the bridge does not look before all
# that nginx and an operator put is there

kill 'STOP', $pid;
$redis->stop();
$redis->wipe();
$redis->go();
$redis->call('HSET', 'tb:meta', 'shards', 16, 'schema', 1);
$redis->fcall('tb_rpc_device_put', $redis->device_key($device),
              $TB::Mqtt::TENANT, '');
kill 'CONT', $pid;
$seen = wait_for {
    my $bridge = $redis->call('HGET', $redis->device_key($device), 'bridge');
    ($bridge || '') eq 'empty';
} 3;
ok($seen, 'Redis is told at once who is online');
is(word($device), 'queued', 'and the device can be called');
is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
