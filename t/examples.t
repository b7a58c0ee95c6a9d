#!/usr/bin/perl

# The bridges in examples/, against a real Redis, as docs/bridge-protocol.md
# wants them to be.  The Python one needs redis-py (Debian: python3-redis), the
# other one node and ioredis, found as usual, in $NODE_PATH or in
# build/node_modules.
#
# runs: side by side, 40 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Bridge;
use TB::Env qw(root build file_in wait_for);
use TB::Mqtt qw(spawn reap output text_of);
use TB::Proxy;
use TB::RedisServer;

# calls as in the tests of the MQTT bridge; without its broker
my $redis = TB::RedisServer->start();
my $rpc = bless { redis => $redis }, 'TB::Mqtt';
my $proxy = TB::Proxy->start(to => $redis->{port});
my ($name, @command, @devices);

$ENV{REDIS_URL} = "redis://bridge:$TB::RedisServer::PASSWORD{bridge}"
                  . "\@127.0.0.1:$proxy->{port}";
$ENV{NODE_PATH} = join ':', grep { defined && length }
                  $ENV{NODE_PATH}, build() . '/node_modules';


sub shard { return TB::Bridge::shard($_[0]) }
sub key { return TB::Bridge::key(@_) }
sub queue { return sprintf 'tb:{s%03o}:queue:%s', shard($_[0]), $_[1] || $name }
sub log_has {
    my ($re) = @_;
    return wait_for { text_of("$name.log") =~ $re } 40;
}


# the settings of a Redis that is new: a short acknowledgement timeout, events

sub settings {
    $redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
    $redis->fcall('tb_rpc_config', TB::Bridge::prefix($_) . 'config', 1,
                  'ack_timeout', 300, 'events', 1) for 0 .. 127;
}


# what nginx does all the time

sub ticking {
    my ($condition) = @_;

    return wait_for {
        $redis->fcall('tb_rpc_tick', TB::Bridge::prefix($_) . 'due', 100)
            for 0 .. 127;
        $condition->();
    } 40;
}


sub start {
    my $before = () = text_of("$name.log") =~ /^ready$/mg;
    my $pid = spawn("$name.log", @command, $name, @devices);

    wait_for {
        my $now = () = text_of("$name.log") =~ /^ready$/mg;
        $now > $before;
    } 60 or diag("$name does not start:\n" . text_of("$name.log"));

    return $pid;
}


# Three devices: two of a shard, whose calls are taken together, and one of a
# shard behind it.

sub some_devices {
    my (%of, $d);

    do {
        $d = $rpc->device();
        push @{ $of{shard($d)} }, $d;
    } while @{ $of{shard($d)} } < 2 || shard($d) > 120;

    my @two = @{ $of{shard($d)} }[-2, -1];

    do { $d = $rpc->device() } while shard($d) <= shard($two[0]);

    return (@two, $d);
}


sub answered {
    my ($device, $call, $params, $text) = @_;

    is($rpc->answer($device, $call), "A$params", "$name: $text")
        or diag(text_of("$name.log"));
}


sub is_answered {
    my ($device, $params, $text) = @_;

    answered($device, ($rpc->call($device, '"echo"', $params))[0], $params,
             $text);
}


# its lines; no arguments

sub test_file {
    open my $fh, '<', $command[-1] or die;
    my @lines = <$fh>;

    cmp_ok(scalar @lines, '<', 100, "$name: under 100 lines");
    is((grep { length > 101 } @lines), 0, "$name: of at most 100 columns");

    my ($status, $text) = output(@command);
    isnt($status, 0, "$name: without a name it does not start");
    like($text, qr/usage/, "$name: and says so");
}


sub test_calls {
    my @calls = map {
        my $d = $devices[$_ % 3];
        [ $d, ($rpc->call($d, '"echo"', "[$_]"))[0], "A[$_]" ]
    } 1 .. 100;

    is((grep { ($rpc->answer(@$_[0, 1]) || '') eq $_->[2] } @calls), 100,
       "$name: 100 calls, each with its own answer");

    # no parser in between changes them

    is_answered($devices[0], $_, "bytes: $_")
        for '{"x":1.10,"n":12345678901234567890,"n":1e2}', '[ 1 , "a\\",\"}]" ]',
            '"}],\"oneway\":true,\\\\"', '{"params":{"oneway":false},"a":[[]]}',
            "\"\xc3\xa9\\u00e9\"", '""', '{}', '0', 'null';

    my ($one) = $rpc->call($devices[0], '"m"', '{}', persistent => 1,
                           oneway => 1);
    my ($two) = $rpc->call($devices[0], '"m"', '{"a":"\u00e9"}',
                           persistent => 1);
    my ($mute) = $rpc->call($devices[0], '"mute"', '{}', persistent => 1);

    ok((wait_for { $rpc->status($devices[0], $mute) eq 'DELIVERED' }),
       "$name: a persistent call is delivered");
    is($rpc->status($devices[0], $one), 'DELIVERED', "$name: a one-way one");
    is($rpc->status($devices[0], $two), 'SUCCESSFUL',
       "$name: a two-way one is answered");
}


# the changes of these calls, in order: "SENT <rpcId>", and the last one's time

sub events {
    my ($device, @calls) = @_;

    my %mine = map { $_ => 1 } @calls;
    my $all = $redis->call('XRANGE', TB::Bridge::prefix(shard($device))
                                     . 'events', '-', '+');
    my @mine = grep { $mine{$_->{rpcId}} && $_->{event} ne 'QUEUED' }
               map { my %f = @{ $_->[1] }; \%f } @$all;

    return ([ map { "$_->{event} $_->{rpcId}" } @mine ],
            @mine ? $mine[-1]{time} : 0);
}


# Many calls of two devices in the same queue: of each one after another.  A
# call in another queue comes between them.

sub test_order {
    my ($pid) = @_;
    my (%calls, $last);

    kill 'STOP', $pid;

    for my $n (1 .. 64 * 20) {
        my $d = $devices[$n % 2];
        push @{ $calls{$d} },
             ($rpc->call($d, '"echo"', "[$n]", persistent => 1,
                         timeout => 300_000))[0];
    }

    my ($other) = $rpc->call($devices[2], '"echo"', '1', persistent => 1);
    kill 'CONT', $pid;

    for my $d (@devices[0, 1]) {
        my @want = map { ("DELIVERED $_", "SUCCESSFUL $_") } @{ $calls{$d} };

        wait_for { $rpc->status($d, $calls{$d}[-1]) eq 'SUCCESSFUL' } 60;
        (my $seen, $last) = events($d, @{ $calls{$d} });

        my $sent = join ' ', grep { /^SENT/ } @$seen;
        my $done = join ' ', grep { !/^SENT/ } @$seen;

        ok($sent eq join(' ', map { "SENT $_" } @{ $calls{$d} }),
           "$name: taken in order, each once");
        ok($done eq "@want", "$name: none before the one before it is"
                             . ' answered');
    }

    my ($seen, $time) = events($devices[2], $other);
    is(scalar @$seen, 3, "$name: another device's call");
    cmp_ok($time, '<', $last, "$name: does not wait for all of them");
}


# what is no call, and calls that are not open

sub test_nonsense {
    my $d = $devices[1];
    my @nonsense = (
        '', 'x', '{', 'null', '7', '[]', '"text"', '{}', "\xff\xfe", "\0",
        '[' x 100000, '{"requestId":7}', "{\"deviceId\":\"$d\"}",
        map { "{\"requestId\":$_->[0],\"deviceId\":$_->[1],\"attempt\":"
              . "$_->[2],\"method\":\"echo\",\"params\":1,\"oneway\":false}" }
            [7, "\"$d\"", 1], [7, '"de000000-0000-11ee-8000-ffffffffffff"', 1],
            [7, 7, 1], [7, '{}', 1], [7, '["a"]', 1], [7, '"\ud800"', 1],
            [7, '"__proto__"', 1], ['{}', "\"$d\"", 1], ['[1]', "\"$d\"", 1],
            ['null', "\"$d\"", 1], ['-1', "\"$d\"", 1],
            ['9' x 5000, "\"$d\"", 1], [7, "\"$d\"", '"\r\nDEL x"']);

    # and what is in the place of references

    my $queue = queue($d);

    push @nonsense, "7 1 00000000 $d", "7 1 zz $d", '1 1 ' . 'x' x 5000,
                    "0 0 00000000 $d", "$d 1 00000000 7";
    $redis->call('RPUSH', $queue, @nonsense);
    $redis->call('SPUBLISH', $queue =~ s/:queue:/:bell:/r, 1);
    ok((wait_for { !$redis->call('LLEN', $queue) }),
       "$name: nonsense is taken from the queue");
    is_answered($_, '"sane"', 'and does no harm') for @devices;
}


# a device of the same bridge name that another process has: what was taken is
# given back

sub test_not_here {
    my $d = $rpc->device();

    $redis->fcall('tb_rpc_attach', key('device', $d), $name, 'there', 60000);
    my @calls = map { ($rpc->call($d, '"echo"', $_, persistent => 1))[0] }
                1 .. 3;

    ok((wait_for { $redis->call('ZCARD', key('pending', $d)) == 3 }),
       "$name: calls of a device that is not here wait again");
    is_answered($devices[0], '1', 'others go on');
    is(join(' ', map { $rpc->status($d, $_) } @calls), 'QUEUED QUEUED QUEUED',
       "$name: they are as if they had not been taken");
    is($redis->call('HEXISTS', key('device', $d), 'held'), 1,
       "$name: the device is left alone for a while");

    $redis->fcall('tb_rpc_attach', key('device', $d), 'other', 'new', 60000);

    my $reply = $redis->fcall('tb_rpc_take', queue($d, 'other'), 'c', 1, 9);

    is(join(' ', map { /"params":(\d),/ } @$reply), '1 2 3',
       "$name: left for the next bridge, in order");
    is((grep { defined $redis->call('HGET', TB::Bridge::prefix(shard($d))
                                            . "rpc:$_", 'u') } @calls), 0,
       "$name: no retry was used");
    $redis->fcall('tb_rpc_respond', key('device', $d), /"requestId":(\d+)/, 1)
        for @$reply[1 .. 3];
}


# replies that do not come back, commands that do not arrive

sub test_lost_replies {
    my ($pid) = @_;

    for my $how ('eat', 'stop') {
        my $why = $how eq 'eat' ? 'its reply was lost' : 'it did not arrive';

        for (qw(delivered respond)) {
            $proxy->tell($how, "tb_rpc_$_");
            is_answered($devices[2], "\"$how $_\"", "$_ is said again: $why");
        }

        # the batch is taken once more by its ticket

        kill 'STOP', $pid;
        $proxy->tell($how, queue($devices[2]));

        my ($call) = $rpc->call($devices[2], '"echo"', '"batch"',
                                persistent => 1);

        kill 'CONT', $pid;
        ok((wait_for { $rpc->status($devices[2], $call) eq 'SUCCESSFUL' }),
           "$name: a batch is taken again: $why");
        is($redis->call('HGET', TB::Bridge::prefix(shard($devices[2]))
                                . "rpc:$call", 'u'), undef,
           "$name: with no retry");
    }

    for (1 .. 3) {
        my @calls = map { ($rpc->call($_, '"echo"', '"cut"'))[0] } @devices;

        $proxy->tell('cut', 'all');
        ticking(sub {
            2 < grep { ($redis->call('GET',
                           TB::Bridge::prefix(shard($devices[$_]))
                           . "answer:$calls[$_]") || '') eq 'A"cut"' } 0 .. 2
        }) or fail("$name: all connections cut");
    }
}


# what was taken by a process that is gone comes again, as the second attempt

sub test_lost_take {
    my ($pid) = @_;
    my $d = $devices[0];

    kill 'STOP', $pid;
    my ($call) = $rpc->call($d, '"echo"', '"lost"', persistent => 1);
    my $reply = $redis->fcall('tb_rpc_take', queue($d), 'gone', 1, 1);

    is(@$reply, 2, "$name: another process has it");
    ok(ticking(sub { $redis->call('LLEN', queue($d)) }),
       "$name: pushed again");
    kill 'CONT', $pid;
    ok((wait_for { $rpc->status($d, $call) eq 'SUCCESSFUL' }),
       "$name: the second attempt is answered");
}


# connected elsewhere: told at the next heartbeat, which a new connection brings

sub test_superseded {
    my $d = $devices[1];

    $redis->fcall('tb_rpc_attach', key('device', $d), 'other', 'new', 60000);
    $proxy->tell('cut', 'all');
    ok(log_has(qr/^$d is connected elsewhere/m),
       "$name: a device that is connected elsewhere is let go");
    is($redis->call('HGET', key('device', $d), 'bridge'), 'other',
       "$name: stays there");

    $proxy->tell('cut', 'all');
    is_answered($devices[0], '1', 'the others stay');
    is($redis->call('HGET', key('device', $d), 'session'), 'new',
       "$name: after the next connection, too");
    is((() = text_of("$name.log") =~ /^$d is connected elsewhere/mg), 1,
       "$name: it was told once");
}


# the library is not there for a while: nothing is dropped

sub test_library {
    my ($pid) = @_;

    kill 'STOP', $pid;
    my ($call) = $rpc->call($devices[2], '"echo"', '"library"');
    $redis->call('FUNCTION', 'DELETE', 'tb_rpc');
    kill 'CONT', $pid;
    ok(log_has(qr/unction not found/), "$name: the library is missing");
    $redis->load_library();
    answered($devices[2], $call, '"library"', 'it was waited for');
}


sub test_restarts {
    my ($pid) = @_;

    $redis->stop();
    select undef, undef, undef, 0.3;
    $redis->go();
    is_answered($devices[2], '"after"', 'goes on after a restart of Redis');

    # empty: attached sooner than by the next heartbeat

    kill 'STOP', $pid;
    $redis->stop();
    $redis->wipe();
    $redis->go();
    settings();
    $redis->fcall('tb_rpc_device_put', key('device', $_), $TB::Mqtt::TENANT,
                  '') for @devices;
    kill 'CONT', $pid;
    ok($rpc->attached($devices[$_], $name), "$name: device $_ is attached")
        for 0, 2;
    is_answered($devices[2], '"new"', 'and called again');
}


# a short time to live: it is kept up

sub test_heartbeats {
    open my $fh, '<', $command[-1] or die;
    my $text = do { local $/; <$fh> };

    is($text =~ s/\b60000\b/900/g, 1, "$name: one time to live");
    local $command[-1] = file_in("short-$name", $text);

    my $pid = start();
    my @until = map { $redis->call('HGET', key('device', $devices[0]),
                                   'until') + $_ * 900 } 0, 2;
    ok((wait_for {
            $redis->call('HGET', key('device', $devices[0]), 'until')
                > $until[1]
        } 20), "$name: heartbeats");
    is_answered($devices[0], '1', 'still there');
    is(reap($pid, 'INT', 40), 0, "$name: SIGINT ends it");
}


sub example {
    ($name, @command) = @_;

    settings();
    @devices = some_devices();
    test_file();

    my $pid = start();

    ok($rpc->attached($devices[$_], $name), "$name: device $_ is attached")
        for 0 .. 2;
    test_calls();
    test_order($pid);
    test_nonsense();
    test_not_here();
    test_lost_replies($pid);
    test_lost_take($pid);
    test_superseded();
    test_library($pid);
    test_restarts($pid);

    is(reap($pid, 'TERM', 15), 0, "$name: SIGTERM ends it");
    is($redis->call('HGET', key('device', $devices[$_]), 'session'), undef,
       "$name: device $_ is detached") for 0, 2;

    test_heartbeats();

    # killed: the calls that wait are served by the next process

    $pid = start();
    ok($rpc->attached($devices[0], $name), "$name: starts again");
    is(reap($pid, 'KILL'), 'signal 9', "$name: killed");
    my ($after) = $rpc->call($devices[0], '"echo"', '"waits"');
    $pid = start();
    answered($devices[0], $after, '"waits"',
             'what is queued is served by the next process');

    return $pid;
}


# found as users would start them

my ($python) = grep {
    (output($_, '-c', 'import redis; redis.Redis.fcall'))[0] == 0
} qw(/usr/bin/python3 python3);
my $node = (output('node', '-e', 'require("ioredis")'))[0] == 0;
my %running;

SKIP: {
    skip 'examples/bridge.py: no Python with redis-py (python3-redis)', 1
        if !$python;
    $running{py} = example('py', $python, root() . '/examples/bridge.py');
}

SKIP: {
    skip 'examples/bridge.js: no node, or no ioredis (npm install --prefix'
         . ' build ioredis)', 1 if !$node;
    $running{js} = example('js', 'node', root() . '/examples/bridge.js');
}

# Redis is away: nothing can be detached, which takes its time

$redis->stop();
kill 'TERM', values %running;
isnt(reap($running{$_}, 0, 20), undef, "$_: SIGTERM ends it without Redis")
    for sort keys %running;

done_testing();
