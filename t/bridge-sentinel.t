#!/usr/bin/perl

# tb-rpc-mqtt-bridge and Redis by Sentinels: it asks them where the master is,
# goes with it when it moves, takes along what was not answered, and leaves one
# that is none any more.
#
# runs: side by side, 90 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(file_in scratch wait_for);
use TB::FakeRedis;
use TB::Mqtt qw(spawn reap output text_of counter);
use TB::RedisServer;
use TB::Sentinel;

my $admin = $TB::RedisServer::PASSWORD{admin};
my $mqtt = TB::Mqtt->new();
my @redis = ($mqtt->{redis}, TB::RedisServer->start());

for (@redis) {
    $_->{args} = ['--masterauth', $admin];
    $_->call('CONFIG', 'SET', 'masterauth', $admin);
}

$redis[1]->call('REPLICAOF', '127.0.0.1', $redis[0]{port});

my @sentinel = map { TB::Sentinel->start(master => $redis[0],
                                         password => 'sentinel-secret') }
               1 .. 2;
my $password = file_in('sentinel.password', "sentinel-secret\n");
my @by = ('--redis', "redis://127.0.0.1:$sentinel[0]{port}", '--redis',
          "redis://127.0.0.1:$sentinel[1]{port}", '--redis-sentinel', 'main',
          '--redis-sentinel-password-file', $password);
my ($pid, $seen);

$mqtt->broker();
$mqtt->subscribe('calls', 'v1/devices/+/rpc/request/+');


# options without a Redis of their own: it is that of the Sentinels

sub options {
    my ($name) = @_;

    return ('--name', $name, '--redis-user', 'bridge',
            '--redis-password-file', $mqtt->{password}, '--broker',
            "mqtt://127.0.0.1:$mqtt->{port}", '--log-level', 'debug');
}


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), options($name),
                    '--static', @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ } 20;

    return $pid;
}


# (device, request) of a call that a device has got

sub called {
    my ($bridge) = @_;

    my $device = $mqtt->device(bridge => $bridge);
    my ($rpc, $id) = $mqtt->call($device, '"m"', '1', timeout => 60000);

    wait_for { text_of('calls') =~ m{\Q$device\E/rpc/request/$id } } 20
        or diag(substr text_of("$bridge.log"), -3000);

    return ($device, $rpc, $id);
}


sub answers {
    my ($bridge, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($device, $rpc, $id) = called($bridge);

    $mqtt->publish("v1/devices/$device/rpc/response/$id", '"yes"');
    is($mqtt->answer($device, $rpc, 20), 'A"yes"', $what)
        or diag(substr text_of("$bridge.log"), -3000);
}


sub on {
    my ($redis) = @_;

    my $list = eval { $redis->connect('admin')->call('CLIENT', 'LIST') } // '';

    return scalar grep { / user=bridge / } split /\n/, $list;
}


sub master_is {
    my ($n, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $mqtt->{redis} = $redis[$n];
    undef $_->{client} for @redis;
    ok(wait_for { on($redis[$n]) == 2 }, "$what: both connections are there");
    ok(wait_for { on($redis[1 - $n]) == 0 }, "$what: and none elsewhere")
        if $redis[1 - $n]{pid};
}


sub settled { return TB::Sentinel::settled($redis[$_[0]], @sentinel) }


sub named {
    my ($n, $sentinel) = @_;

    my $named = wait_for {
        $sentinel->call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')->[1]
        == $redis[$n]{port}
    } 60;

    # a server whose role changes closes all connections

    undef $_->{client} for @redis;

    return $named;
}


ok(settled(0), 'two Sentinels, a master and its replica');
$pid = start('b1', @by);
answers('b1', 'calls go by the master');
master_is(0, 'first');

# by hand

$sentinel[0]->call('SENTINEL', 'FAILOVER', 'main');
ok(named(1, $sentinel[0]), 'failover by hand');
master_is(1, 'by hand');
like(text_of('b1.log'),
     qr/that the master "main" is 127\.0\.0\.1:$redis[1]{port}/,
     'the log says so');
answers('b1', 'calls go by the new one');

# one Sentinel is gone, then the master is killed: the other one knows

ok(settled(1), 'the first one is the replica now');
$sentinel[0]->stop();
answers('b1', 'without the first Sentinel');

my $new = start('b2', @by);

answers('b2', 'without the first Sentinel: one that starts');
is(reap($new, 'TERM'), 0, 'it ends');
$sentinel[0]->go();
ok(settled(1), 'it is back');

# an answer that comes meanwhile is not lost

my ($device, $rpc, $id) = called('b1');

kill 'KILL', $redis[1]{pid};
$redis[1]->stop();
$mqtt->publish("v1/devices/$device/rpc/response/$id", '"meanwhile"');
ok(named(0, $sentinel[1]), 'killed: the Sentinels have made another');
master_is(0, 'killed');
is($mqtt->answer($device, $rpc), 'A"meanwhile"',
   'an answer that came meanwhile is there');
answers('b1', 'killed: on it goes');

# one that is stopped closes nothing, and goes on when it is let: it is left

$redis[1]{library} = 0;
$redis[1]->go();

# Sentinels do that, too, but may take minutes for it

$redis[1]->call('REPLICAOF', '127.0.0.1', $redis[0]{port});
ok(settled(0), 'the one that was killed is a replica now');
($device, $rpc, $id) = called('b1');

my $before = length text_of('b1.log');

$redis[0]->pause();
$mqtt->publish("v1/devices/$device/rpc/response/$id", '"stopped"');
ok(named(1, $sentinel[1]), 'stopped: the Sentinels have made another');

$mqtt->{redis} = $redis[1];
is($mqtt->answer($device, $rpc), 'A"stopped"',
   'stopped: what had no reply goes to the new one');
like(substr(text_of('b1.log'), $before),
     qr/:$redis[0]{port} \(commands\): it is the master no more/,
     'since the Sentinels have said so, not when its connection has ended');
answers('b1', 'stopped: on it goes');
$redis[0]->resume();
ok(settled(1), 'the one that was stopped is a replica now');
master_is(1, 'stopped');
is(reap($pid, 'TERM'), 0, 'it ends');
unlike(text_of('b1.log'), qr/sentinel-secret|bridge-secret/,
       'no secret in the log');


# --- what does not work -----------------------------------------------------

my $runs = 0;

sub says {
    my ($what, $line, @more) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $name = 'no' . ++$runs;
    my $pid = spawn("$name.log", TB::Mqtt::program(), options($name),
                    '--shards', 128, @more);

    ok(wait_for { text_of("$name.log") =~ $line }, "$what: the log says so")
        or diag(text_of("$name.log"));
    is(reap($pid, 'TERM'), 0, "$what: it ends");
}

my @one = ('--redis', "redis://127.0.0.1:$sentinel[0]{port}");
my @secret = ('--redis-sentinel-password-file', $password);

says('another name', qr/\(sentinel\): it does not know the master "other"/,
     @one, '--redis-sentinel', 'other', @secret);
says('no password', qr/\(sentinel\): .*--redis-sentinel-password-file.*NOAUTH/,
     @one, '--redis-sentinel', 'main');
says('no Sentinel', qr/\(sentinel\): it is no Sentinel/, '--redis',
     "redis://127.0.0.1:$redis[1]{port}", '--redis-sentinel', 'main',
     '--redis-sentinel-user', 'bridge', '--redis-sentinel-password-file',
     $mqtt->{password});

my $open = TB::Sentinel->start(master => $redis[1]);

says('a Sentinel that is not said to be one',
     qr/\(commands\): it is a Sentinel, which needs --redis-sentinel/,
     '--redis', "redis://127.0.0.1:$open->{port}", '--redis-user', 'default',
     '--redis-password-file', file_in('none', "x\n"));

# the fake ones have neither users nor keys

my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if !@argv || uc $argv[0] ne 'SENTINEL';
    return $mode =~ /^\d+$/
           ? "*2\r\n\$9\r\n127.0.0.1\r\n\$" . length($mode) . "\r\n$mode\r\n"
           : $mode;
});
my @fake = ('--redis', "redis://127.0.0.1:$fake->{port}",
            '--redis-sentinel', 'main');
my $replica = TB::RedisServer->start(args => ['--masterauth', $admin]);

$replica->call('REPLICAOF', '127.0.0.1', $redis[1]{port});
$fake->tell('mode', $replica->{port});
says('a Sentinel that names a replica', qr/it is a replica, and not the master/,
     @fake);

for my $answer (['a port that is none', "*2\r\n\$1\r\nx\r\n\$5\r\n70000\r\n"],
                ['half an address', "*1\r\n\$9\r\n127.0.0.1\r\n"],
                ['a number', ":1\r\n"],
                ['no host', "*2\r\n\$0\r\n\r\n\$4\r\n6379\r\n"],
                ['two lines', "*2\r\n\$3\r\na\nb\r\n\$4\r\n6379\r\n"])
{
    $fake->tell('mode', $answer->[1]);
    says("$answer->[0] for an answer",
         qr/\(sentinel\): its answer is no address/, @fake);
}

# the master by a name; a Sentinel by one

my $port = $redis[1]{port};

$fake->tell('mode', "*2\r\n\$9\r\nlocalHOST\r\n\$" . length($port)
                    . "\r\n$port\r\n");
$pid = start('b3', '--redis', "redis://localhost:$fake->{port}",
             '--redis-sentinel', 'main');
answers('b3', 'the master by its name');
is(reap($pid, 'TERM'), 0, 'it ends');

for (['several without', qr/--redis is given several times, which needs/,
      '--redis', 'redis://a', '--redis', 'redis://b'],
     ['several in one', qr/--redis is given several times, which needs/,
      '--redis', 'redis://a redis://b'],
     ['some with TLS', qr/--redis must have TLS each time, or never/,
      '--redis', 'redis://a', '--redis', 'rediss://b', '--redis-sentinel',
      'main'],
     ['a socket', qr/--redis unix: is one server, no Sentinel/,
      '--redis', 'unix:/a', '--redis-sentinel', 'main'],
     ['two databases', qr/--redis must have the same database each time/,
      '--redis', 'redis://a/1', '--redis', 'redis://b/2', '--redis-sentinel',
      'main'],
     ['a password for nobody', qr/need --redis-sentinel/, '--redis',
      'redis://a', @secret],
     ['a user without', qr/needs --redis-sentinel-password-file/, '--redis',
      'redis://a', '--redis-sentinel', 'main', '--redis-sentinel-user', 'u'])
{
    my ($what, $line, @more) = @$_;
    my ($status, $text) = output(TB::Mqtt::program(), '--name', 'x', @more);

    is($status, 2, "$what: refused");
    like($text, $line, "$what: and says why");
}

done_testing();
