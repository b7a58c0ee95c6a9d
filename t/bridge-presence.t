#!/usr/bin/perl

# Who is online: heartbeats, what changes meanwhile, what is old, and what the
# broker or Redis has forgotten.
#
# runs: side by side, 38 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for);
use TB::Mqtt qw(reap text_of counter);
use TB::Proxy;

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
    } 30;
}


sub session {
    return $redis->call('HGET', $redis->device_key($_[0]), 'session');
}


# the bridge has got that message

sub heard {
    my ($name, $device, $what) = @_;

    return wait_for { text_of("$name.log") =~ /device $device is $what/ };
}


# --- one bridge -------------------------------------------------------------

my $ttl = scaled(2400);
my ($d1, $d2, $d3) = map { $mqtt->device() } 1 .. 3;

$pid = $mqtt->bridge('one', '--session-ttl', $ttl);
online('one', $d1);

# longer than the session lives

my $end = time() + 1.7 * $ttl / 1000;
my %words;

while (time() < $end) {
    $words{word($d1)}++;
    sleep(0.05);
}

is(join(' ', keys %words), 'queued', 'heartbeats keep a session');
is($redis->counter('lapsed'), 0, 'it never lapsed');

my $long = 'x' x 64;

$mqtt->publish('v1/devices/' . uc($d2) . '/status', "online:$long");
ok($mqtt->attached($d2, 'one'), 'a device id in capitals is the same');
is(session($d2), $long, 'a session of 64 characters');

# the will of the connection before this one, after which it is the same

$mqtt->publish("v1/devices/$d2/status", 'online:second', '-r');
$seen = wait_for { session($d2) eq 'second' };
ok($seen, 'a new connection');
$mqtt->publish("v1/devices/$d2/status", "offline:$long");
heard('one', $d2, 'offline');
is(counter('one', $pid, 'devices'), 2, 'an old will is not heeded');
is($redis->counter('ignored_detach'), 0, 'and Redis not told of it');

# two changes while Redis is busy with the first

for (['offline', 'online', 'one'], ['online', 'offline', '']) {
    my ($first, $second, $bridge) = @$_;

    $mqtt->publish("v1/devices/$d3/status", $second);
    ok($mqtt->attached($d3, $bridge), "$second");
    $redis->pause();
    my $log = text_of('one.log');
    $mqtt->publish("v1/devices/$d3/status", $first);
    wait_for {
        substr(text_of('one.log'), length $log) =~ /device $d3 is $first/
    };
    $mqtt->publish("v1/devices/$d3/status", $second);
    wait_for {
        substr(text_of('one.log'), length $log)
            =~ /device $d3 is $first.*device $d3 is $second/s
    };
    $redis->resume();
    $seen = wait_for {
        my $devices = counter('one', $pid, 'devices');

        $devices == ($bridge ? 3 : 2)
        && ($bridge ? word($d3) eq 'queued' : word($d3) eq 'offline');
    };
    ok($seen, "$first and $second again while Redis does not answer");
}

# what another bridge has is not ours to end

$redis->fcall('tb_rpc_attach', $redis->device_key($d3), 'other', 's9', 60000);
$mqtt->publish("v1/devices/$d3/status", 'offline', '-r');
$seen = wait_for { counter('one', $pid, 'devices') == 2 };
ok($seen, 'offline, and nothing to do');
is(session($d3), 's9', 'the session of another bridge is not detached');
is(reap($pid, 'TERM'), 0, 'exit 0');

$mqtt->publish("v1/devices/$d3/status", 'online', '-r');
$pid = $mqtt->bridge('one', '--session-ttl', $ttl);
$seen = wait_for { counter('one', $pid, 'devices') == 3 };
ok($seen, 'what the broker remembers');
sleep($ttl / 1000);
is(session($d3), 's9', 'does not take a device from another bridge');
$redis->fcall('tb_rpc_detach', $redis->device_key($d3), 's9');
ok($mqtt->attached($d3, 'one'), 'until that one lets go');
is($redis->mishaps(), '', 'nothing had to be put right');
is(reap($pid, 'TERM'), 0, 'exit 0');

$mqtt->publish("v1/devices/$_/status", '', '-r') for $d1, $d2, $d3;


# --- devices that are none ---------------------------------------------------

# whoever may say that any device is online can't keep out those that there are

$pid = $mqtt->bridge('room', '--max-devices', 20, '--session-ttl', $ttl);

my @known = map { $mqtt->device() } 1 .. 15;

for my $n (1 .. 60) {
    $mqtt->publish(sprintf('v1/devices/de000000-0000-11ee-9000-%012x/status',
                           $n), 'online');
    $mqtt->publish("v1/devices/$known[$n / 4 - 1]/status", 'online')
        if $n % 4 == 0;
}

$seen = wait_for {
    15 == grep {
        ($redis->call('HGET', $redis->device_key($_), 'bridge') || '')
            eq 'room';
    } @known;
};
ok($seen, '60 unknown devices leave room for 15 that are known');
cmp_ok(counter('room', $pid, 'devices'), '<=', 20, 'within --max-devices');

my $later = sprintf 'de000000-0000-11ee-9000-%012x', 60;

$redis->fcall('tb_rpc_device_put', $redis->device_key($later),
              $TB::Mqtt::TENANT, '');
ok($mqtt->attached($later, 'room'), 'one that is added later is tried again');
$mqtt->publish("v1/devices/$_/status", 'online')
    for map { $mqtt->device() } 1 .. 5;
$seen = wait_for { text_of('room.log') =~ /beyond --max-devices 20, ignored/ };
ok($seen, 'more than there is room for are not');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- the end -----------------------------------------------------------------

# while a call is waited for nothing is said that the next process says

my $proxy = TB::Proxy->start(to => $redis->{port});
my $last = $mqtt->device();

$pid = $mqtt->bridge('end', '--session-ttl', 1500, '--drain', 4000, '--redis',
                     "redis://127.0.0.1:$proxy->{port}");
$mqtt->subscribe('end.sub', "v1/devices/$last/rpc/request/+");
online('end', $last);
$seen = wait_for { $proxy->tell('count', 'tb_rpc_heartbeat') >= 2 };
ok($seen, 'there are heartbeats');
kill 'STOP', $mqtt->{broker};
$mqtt->call($last, '"m"', '1', oneway => 1);
wait_for { counter('end', $pid, 'published') == 1 };
kill 'TERM', $pid;
wait_for { text_of('end.log') =~ /stopping: 1 calls/ };

my $beats = $proxy->tell('count', 'tb_rpc_heartbeat');

# it is awake often enough for them
for (1 .. 15) {
    kill 'USR1', $pid;
    sleep(0.2);
}

is(reap($pid), 0, 'SIGTERM: exit 0');
cmp_ok($proxy->tell('count', 'tb_rpc_heartbeat'), '<=', $beats + 1,
       'but not while it ends');
kill 'CONT', $mqtt->{broker};
$proxy->stop();
$mqtt->publish("v1/devices/$last/status", '', '-r');


# --- the broker restarts and has forgotten what was retained -----------------

my ($stays, $away, $behind) = map { $mqtt->device() } 1 .. 3;

$mqtt->name('behind', $behind);
# a session that outlives the restart of the broker
$pid = $mqtt->bridge('grace', '--session-ttl', scaled(5000),
                     '--presence-grace', scaled(3000), '--gateway',
                     '--tenant', $TB::Mqtt::TENANT);
online('grace', $_) for $stays, $away;
$mqtt->publish('v1/gateway/connect', '{"device":"behind"}');
ok($mqtt->attached($behind, 'grace'), 'one is behind a gateway');

reap($mqtt->{broker}, 'TERM');
$mqtt->broker();
connects('grace', 2);

# whose session goes on in Redis, and who is not there

my $sent = counter('grace', $pid, 'published');
my ($rpc) = $mqtt->call($away, '"m"', '1', persistent => 1);
$seen = wait_for { counter('grace', $pid, 'returned') >= 1 };
ok($seen, 'a call for a device of before is returned');
is($mqtt->status($away, $rpc), 'QUEUED', 'it waits');
is(counter('grace', $pid, 'published'), $sent, 'and was not sent');
sleep(scaled(0.5));
$mqtt->publish("v1/devices/$stays/status", 'online', '-r');
$seen = wait_for { word($away) eq 'offline' } 30;
ok($seen, 'a device that stays away is offline when its session has lapsed');
$seen = wait_for { counter('grace', $pid, 'devices') == 2 };
ok($seen, 'it is forgotten');
unlike(text_of('grace.log'),
       qr/device $stays: the broker no longer knows it/,
       'one that says so somewhat later is not');
is(word($stays), 'queued', 'it can be called');
is(word($behind), 'queued', 'nor is one behind a gateway');
online('grace', $away);
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- Redis restarts and is empty --------------------------------------------

my $device = $mqtt->device();

$pid = $mqtt->bridge('empty', '--session-ttl', 600_000);
online('empty', $device);

# a heartbeat is too far away to help, and the bridge does not look before all
# that nginx and an operator put is there

kill 'STOP', $pid;
$redis->stop();
$redis->wipe();
$redis->go();
$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
$redis->fcall('tb_rpc_device_put', $redis->device_key($device),
              $TB::Mqtt::TENANT, '');
kill 'CONT', $pid;
$seen = wait_for {
    my $bridge = $redis->call('HGET', $redis->device_key($device), 'bridge');
    ($bridge || '') eq 'empty';
};
ok($seen, 'Redis is told who is online before a heartbeat could');
is(word($device), 'queued', 'and the device can be called');
is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
