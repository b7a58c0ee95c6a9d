#!/usr/bin/perl

# Two bridges on two brokers: a device that has gone from one to the other stays
# there, whatever the first one remembers.
#
# runs: side by side, 12 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for free_port);
use TB::Mqtt qw(reap text_of counter);
use TB::Proxy;

my $one = TB::Mqtt->new();
my $two = bless { %$one, port => free_port() }, 'TB::Mqtt';
my $redis = $one->{redis};
my $proxy = TB::Proxy->start(to => $redis->{port});
my $ttl = scaled(900);
my ($device, $stays) = map { $one->device() } 1 .. 2;


sub field {
    return $redis->call('HGET', $redis->device_key($_[0]), $_[1]) || '';
}


sub says {
    my ($mqtt, $id, $what) = @_;

    $mqtt->publish("v1/devices/$id/status", $what, '-r');
}


# the device has left bridge "a", and then had many connections at "b"

sub moves {
    $redis->call('HSET', $redis->device_key($device), 'until', 1);
    wait_for { $one->tick($device); field($device, 'session') eq '' };
    is(field($device, 'bridge'), '', 'its session has lapsed');

    for my $n (1 .. 6) {
        says($two, $device, "online:c$n");
        wait_for { field($device, 'session') eq "c$n" };
    }

    is(field($device, 'bridge'), 'b', 'it is at the other bridge');
}


# for as long as a session lives, and nobody is told that it is not

sub stays_there {
    my ($what) = @_;

    my $end = time() + $ttl / 1000;
    my %seen;

    while (time() < $end) {
        $seen{field($device, 'bridge') . ' ' . field($device, 'session')}++;
        sleep(0.02);
    }

    is(join(', ', keys %seen), 'b c6', $what);
    is($redis->counter('superseded'), 0, 'nor did anyone try');
}


sub nowhere {
    my ($what) = @_;

    my $end = time() + $ttl / 1000;
    my $seen = '';

    while (time() < $end) {
        $seen ||= field($device, 'bridge');
        sleep(0.02);
    }

    is($seen, '', $what);
}


sub lines { return scalar(() = text_of("$_[0].log") =~ /$_[1]/g) }


# the first broker ends, and its bridge knows

sub leave {
    my $n = lines('a', 'mqtt: connection to .* trying again');

    reap($one->{broker}, 'TERM');
    wait_for { lines('a', 'mqtt: connection to .* trying again') > $n };
}


# Redis is away from the first bridge, and comes back

sub cut {
    my $n = lines('a', 'commands\): connected');

    $proxy->tell('cut', 'all');

    my $back = wait_for { lines('a', 'commands\): connected') > $n };
    ok($back, 'Redis comes back');
}


$one->broker();
$two->broker();

my $first = $one->bridge('a', '--session-ttl', $ttl, '--presence-grace',
                         scaled(500), '--redis',
                         "redis://127.0.0.1:$proxy->{port}");
my $second = $two->bridge('b', '--session-ttl', $ttl);

says($one, $_, 'online') for $device, $stays;
ok($one->attached($_, 'a'), 'attached') for $device, $stays;

# --- Redis comes back to a bridge ---------------------------------------------

my $session = field($stays, 'session');
my $attached = $proxy->tell('count', 'tb_rpc_attach');
my $beats = $proxy->tell('count', 'tb_rpc_heartbeat');

cut();
wait_for { $proxy->tell('count', 'tb_rpc_heartbeat') >= $beats + 2 };
is($proxy->tell('count', 'tb_rpc_attach'), $attached,
   'Redis is told by heartbeats who is there');
is(field($stays, 'session'), $session, 'sessions go on');

# --- whose broker is away -----------------------------------------------------

leave();
moves();
$beats = $proxy->tell('count', 'tb_rpc_heartbeat');
cut();
stays_there('which takes no device from another one');
is($proxy->tell('count', 'tb_rpc_heartbeat'), $beats, 'nor sends heartbeats');

# --- its broker comes back, and remembers -------------------------------------

kill 'STOP', $first;
$one->broker();
says($one, $_, 'online') for $device, $stays;
kill 'CONT', $first;
my $up = wait_for { lines('a', "device $device is online") >= 2 } 20;
ok($up, 'its broker is back, and says that the device is there');
stays_there('which is old: it is not taken from another bridge');
ok($one->attached($stays, 'a'), 'a device of its own is there again');
is(field($stays, 'session'), $session, 'with the session that it had');

# --- the other one lets go, while the broker is away --------------------------

leave();
says($two, $device, 'offline:c6');
ok($one->attached($device, ''), 'the other one lets go');
cut();
nowhere('who waited for that is not known to be there');

# the broker is empty

$up = lines('a', 'mqtt: connected');
$one->broker();
wait_for { lines('a', 'mqtt: connected') > $up } 20;
$up = wait_for { lines('a', "device $device: the broker no longer knows") };
ok($up, 'the broker does not know it');
is(field($device, 'bridge'), '', 'it was not attached');
is(lines('a', "device $device is online"), 2, 'and did not say anything');
is($redis->counter('superseded'), 0, 'nobody tried');
says($one, $device, 'online');
ok($one->attached($device, 'a'), 'then it does');
is(reap($_, 'TERM'), 0, 'exit 0') for $first, $second;

done_testing();
