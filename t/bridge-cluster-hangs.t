#!/usr/bin/perl

# A master that hangs, and a bridge that has answers, reports and presence for
# it: those of other masters never wait for that, what it has to take is
# bounded, and it gets that when it goes on.
#
# runs: side by side, 40 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Cluster;
use TB::ClusterKeys;
use TB::Env qw(scaled wait_for);
use TB::Mqtt qw(spawn reap text_of counter);
use TB::MqttDevices;
use TB::RedisServer;

my $cluster = TB::Cluster->new(masters => 3);
my @master = map { $cluster->master_of_shard($_) } 0 .. 127;
my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);

$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
$mqtt->broker();
$mqtt->subscribe('calls', 'v1/devices/+/rpc/request/+');


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), '--name', $name,
                    '--redis-user', 'bridge', '--redis-password-file',
                    $mqtt->{password}, '--broker',
                    "mqtt://127.0.0.1:$mqtt->{port}", '--log-level', 'debug',
                    '--redis-cluster', '--redis', $cluster->url(1), @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ } 20
        or diag(text_of("$name.log"));

    return $pid;
}


my $serial = 0;

sub devices_at {
    my ($node, $n, @fields) = @_;

    my @devices;

    while (@devices < $n) {
        my $id = sprintf 'dd000000-0000-11ee-8000-%012x', ++$serial;

        next if $master[TB::Bridge::shard($id)] != $node;

        $redis->fcall('tb_rpc_device_put', TB::RedisServer->device_key($id),
                      $TB::Mqtt::TENANT, '', @fields);
        push @devices, $id;
    }

    return @devices;
}


sub got {
    my ($device, $id) = @_;

    return text_of('calls') =~ m{\Q$device\E/rpc/request/$id };
}


sub response {
    my ($device, $id) = @_;

    return ["v1/devices/$device/rpc/response/$id", "\"to $id\""];
}


# one that does not end before we have looked at it

sub call { return $mqtt->call($_[0], '"m"', 1, timeout => 300_000) }


# calls to these devices that have come to them: [device, rpcId, requestId]

sub called {
    my @calls = map { [$_, (call($_))[0, 1]] } @_;

    wait_for { !grep { !got(@$_[0, 2]) } @calls }
        or diag('calls that did not come');

    return @calls;
}


# seconds from a call to its answer

sub trip {
    my ($device) = @_;

    my $start = time();
    my ($rpc, $id) = call($device);

    wait_for { got($device, $id) } 20;
    TB::MqttDevices::publish($mqtt->{port}, response($device, $id));
    $mqtt->answer($device, $rpc, 20);

    return time() - $start;
}


sub worst {
    my ($seconds, @devices) = @_;

    my $worst = 0;
    my $end = time() + $seconds;

    while (time() < $end) {
        for (@devices) {
            my $took = trip($_);

            $worst = $took if $took > $worst;
        }
    }

    return $worst;
}


# --- answers ----------------------------------------------------------------

my $pid = start('answers', '--static', '--max-answers', 8, '--client-id',
                'answers');
my @others = map { devices_at($_, 1, 'bridge', 'answers') } 1, 2;
my @calls = called(devices_at(0, 20, 'bridge', 'answers'));

trip($_) for @others;

# as long as it takes to see that its connection is of no use, and longer

$cluster->stop(0);
TB::MqttDevices::publish($mqtt->{port},
                         map { response(@$_[0, 2]) } (@calls) x 15);

my $worst = worst(8, @others);

cmp_ok($worst, '<', scaled(4), 'a master hangs with more answers than'
                               . ' --max-answers: the others have theirs')
    or diag(substr text_of('answers.log'), -3000);
is(counter('answers', $pid, 'waiting'), 272, 'so many wait for it');
is(counter('answers', $pid, 'answers_lost'), 28, 'the others are lost');
is(() = text_of('answers.log')
        =~ /\[error\] no room for an answer of device .* while Redis is/g, 28,
   'which the log says');

$cluster->cont(0);

ok(wait_for { counter('answers', $pid, 'waiting') == 0 }, 'it goes on');

is($mqtt->answer(@$_[0, 1]), "A\"to $_->[2]\"",
   'it has what waited for it') for @calls;

# with none that is there nobody is served: the broker keeps what is too much

@calls = called(devices_at(0, 20, 'bridge', 'answers'),
                devices_at(1, 20, 'bridge', 'answers'));

my $silent = () = text_of('answers.log') =~ /: silent for /g;

$cluster->stop($_) for 0 .. 2;
TB::MqttDevices::publish($mqtt->{port}, map { response(@$_[0, 2]) } @calls);
ok(wait_for { (() = text_of('answers.log') =~ /: silent for /g)
              >= $silent + 3 }, 'all of them hang');
TB::MqttDevices::publish($mqtt->{port},
                         map { response(@$_[0, 2]) } (@calls) x 5);
sleep 6;                        # until nothing is held back any more
cmp_ok(counter('answers', $pid, 'waiting'), '<', 60,
       'the broker keeps what is too much');
$cluster->cont($_) for 0 .. 2;
is(scalar(grep { $mqtt->answer(@$_[0, 1], 20) } @calls), 40,
   'and none is lost');
is(counter('answers', $pid, 'answers_lost'), 28, 'none');
is(reap($pid, 'TERM'), 0, 'it ends');


# --- reports ----------------------------------------------------------------

# all calls that may be in hand are reported to one that hangs

$pid = start('reports', '--static', '--concurrency', 8);

my @victims = devices_at(0, 8, 'bridge', 'reports');

@others = map { devices_at($_, 1, 'bridge', 'reports') } 1, 2;
called($_) for @others, @others, @others;
kill 'STOP', $mqtt->{broker};

my $published = () = text_of('reports.log') =~ /request \d+ to /g;

@calls = map { [$_, (call($_))[0, 1]] } @victims;
ok(wait_for { (() = text_of('reports.log') =~ /request \d+ to /g)
              >= $published + 8 }, 'as many as may be in hand');
$cluster->stop(0);
kill 'CONT', $mqtt->{broker};
wait_for { !grep { !got(@$_[0, 2]) } @calls };
$worst = worst(3, @others);
cmp_ok($worst, '<', scaled(4), 'their master hangs with all the reports: the'
                               . ' others get their calls');
$cluster->cont(0);
ok(wait_for { counter('reports', $pid, 'open') == 0 }, 'it goes on');
is(counter('reports', $pid, 'repeated'), 0, 'each came once');
is(reap($pid, 'TERM'), 0, 'it ends');


# --- presence ---------------------------------------------------------------

# minutes until a heartbeat would do it
$pid = start('here', '--session-ttl', 600_000);

@victims = devices_at(0, 300);
@others = devices_at(1, 3);
$cluster->stop(0);
TB::MqttDevices::publish($mqtt->{port},
                         map { ["v1/devices/$_/status", 'online'] } @victims);

for my $device (@others) {
    my $start = time();

    TB::MqttDevices::publish($mqtt->{port},
                             ["v1/devices/$device/status", 'online']);
    ok($mqtt->attached($device, 'here'), 'a device of another one comes');
    cmp_ok(time() - $start, '<', scaled(4), 'soon');
}

$cluster->cont(0);
is(scalar(grep { $mqtt->attached($_, 'here') } @victims), 300,
   'it goes on: and so do its own, before their next heartbeat');
is(reap($pid, 'TERM'), 0, 'it ends');

done_testing();
