#!/usr/bin/perl

# How many calls and answers a bridge has in hand, in which order, and what is
# left of them when it ends.
#
# runs: side by side, 20 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(max);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Env qw(scaled wait_for);
use TB::FakeBroker;
use TB::Mqtt qw(spawn reap text_of counter ignored);
use TB::MqttDevices;

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($broker, $pid, $seen);


# a bridge of its own broker, for devices that are always there

sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), $mqtt->options($name),
                    '--static', '--broker',
                    "mqtt://127.0.0.1:$broker->{port}", @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ };

    return $pid;
}


sub calls {
    my ($device, $n, @more) = @_;

    return map { [ $mqtt->call($device, '"m"', $_, oneway => 1, @more) ] }
               1 .. $n;
}


# calls of the device that nobody has taken

sub queued {
    my ($name, $device) = @_;

    my $prefix = TB::Bridge::prefix(TB::Bridge::shard($device));

    return $redis->call('LLEN', $prefix . "queue:$name")
           + $redis->call('ZCARD', $prefix . "pending:$device");
}


# --- one after a connect, then more and more ---------------------------------

$broker = TB::FakeBroker->start(ack => 0.1);
my $d1 = $mqtt->device(bridge => 'window');
calls($d1, 30);
$pid = start('window');
$seen = wait_for { counter('window', $pid, 'delivered') == 30 } 40;
ok($seen, '30 calls that waited for the bridge');

my @flight = $broker->in_flight();

is_deeply([ @flight[0, 1] ], [1, 1], 'the first is sent alone');
cmp_ok(max(@flight), '>=', 4, 'and then twice as many each time');
is(ignored($redis), '', 'each report was of use');
is($redis->mishaps(), '', 'nothing had to be put right');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- no more than --concurrency ----------------------------------------------

$broker->tell('ack', 0.01);
my $d2 = $mqtt->device(bridge => 'room');
$pid = start('room', '--concurrency', 3, '--drain', 300);
calls($d2, 5);
wait_for { counter('room', $pid, 'delivered') == 5 };
$broker->tell('ack', '');
calls($d2, 20);
wait_for { counter('room', $pid, 'taken') >= 8 };
sleep(0.3);
is(counter('room', $pid, 'taken'), 8, '--concurrency: no more are taken');
is(counter('room', $pid, 'open'), 3, 'than can be written');
is(queued('room', $d2), 17, 'the others wait in Redis');
is(reap($pid, 'TERM'), 0, 'exit 0');
like(text_of('room.log'), qr/stopped with 3 calls open/,
     'and it says what it leaves');
$broker->stop();


# --- a queue that is never empty ---------------------------------------------

# single calls of other shards, on both sides, are not behind all those of one

my @turn = (sort {
    TB::Bridge::shard($a) <=> TB::Bridge::shard($b)
} map { $mqtt->device(bridge => 'turn') } 1 .. 40)[0, 20, -1];

$broker = TB::FakeBroker->start(ack => 0.01);
calls($turn[1], 60);
calls($_, 1) for @turn[0, 2];
$pid = start('turn', '--concurrency', 1);
$seen = wait_for { counter('turn', $pid, 'delivered') == 62 } 40;
ok($seen, 'queues of three shards');

my @topics = $broker->topics();

for my $device (@turn[0, 2]) {
    my ($place) = grep { $topics[$_] =~ /\Q$device/ } 0 .. $#topics;

    cmp_ok($place, '<', 40, "each shard has its turn (call $place of 62)");
}

is(reap($pid, 'TERM'), 0, 'exit 0');


# --- SIGTERM -----------------------------------------------------------------

$broker->tell('ack', 0.1);
my $d3 = $mqtt->device(bridge => 'stop');
my @calls = calls($d3, 300, persistent => 1);
$pid = start('stop', '--concurrency', 2, '--drain', 20000);
wait_for { counter('stop', $pid, 'published') >= 3 };
is(reap($pid, 'TERM'), 0, 'SIGTERM: exit 0');

my $left = queued('stop', $d3);
my $published = grep { /\Q$d3/ } $broker->topics();

cmp_ok($left, '>', 100, "nothing is taken any more ($left are left)");
is($published + $left, 300, 'what was taken was published');
is(scalar(grep { $mqtt->status($d3, $_->[0]) eq 'DELIVERED' } @calls),
   $published, 'and reported');
$broker->stop();


# --- acknowledgements that come too late, or never ---------------------------

$broker = TB::FakeBroker->start(ack => 0.3);
my $d4 = $mqtt->device(bridge => 'late');
calls($d4, 20);
$pid = start('late', '--concurrency', 8, '--ack-timeout', 100);
$seen = wait_for { counter('late', $pid, 'timeouts') >= 15 } 40;
ok($seen, 'a broker that acknowledges too late');
$seen = wait_for { counter('late', $pid, 'open') == 0 };
ok($seen, 'is none to wait for');
is($broker->connects(), 1, 'but not one to leave');

$broker->tell('ack', '');
calls($d4, 20);
$seen = wait_for { $broker->connects() > 1 } 40;
ok($seen, 'one that never does is left');
like(text_of('late.log'), qr/messages are not acknowledged/, 'as it is said');
is(reap($pid, 'KILL'), 'signal 9', 'killed');
$broker->stop();


# --- a message that breaks the connection ------------------------------------

# and with it the acknowledgements of those before it

$broker = TB::FakeBroker->start(ack => 0.02, serial => 1,
                                poison => '/poison/');
my $d6 = $mqtt->device(bridge => 'poison');
$mqtt->call($d6, $_ == 12 ? '"poison"' : '"m"', $_, oneway => 1) for 1 .. 24;
$pid = start('poison', '--request-topic', 'p/{deviceId}/{method}/{requestId}');
$seen = wait_for { counter('poison', $pid, 'delivered') == 23 } 40;
ok($seen, 'all others are delivered');
is(counter('poison', $pid, 'given_up'), 1, 'it is given up');
is(scalar(grep { m{/poison/} } $broker->topics()), 3, 'after three attempts');
is($broker->connects(), 4, 'each of which breaks a connection');
is(reap($pid, 'TERM'), 0, 'exit 0');
$broker->stop();


# --- answers -----------------------------------------------------------------

$mqtt->broker();
my $d5 = $mqtt->device(bridge => 'answers');
my @held = ('--static', '--max-answers', 5, '--ack-timeout', 3000);
$pid = $mqtt->bridge('answers', @held);
$mqtt->subscribe('answers.sub', "v1/devices/$d5/rpc/request/+");


# so many two-way calls that have come to the device

sub asked {
    my ($n) = @_;

    my @asked = map { [ $mqtt->call($d5, '"m"', $_) ] } 1 .. $n;

    wait_for {
        my $text = text_of('answers.sub');
        !grep { $text !~ m{/$_->[1] } } @asked;
    };
    wait_for { counter('answers', $pid, 'open') == 0 };

    return @asked;
}


sub answer_all {
    TB::MqttDevices::publish($mqtt->{port}, map {
        ["v1/devices/$d5/rpc/response/$_->[1]", "\"to $_->[1]\""]
    } @_);
}


sub right {
    return scalar grep {
        ($mqtt->answer($d5, $_->[0]) || '') eq "A\"to $_->[1]\""
    } @_;
}

# held back for half of --ack-timeout, then up to --max-answers

@calls = asked(200);
$redis->pause();
answer_all(@calls);
$seen = wait_for { counter('answers', $pid, 'waiting') >= 5 };
ok($seen, '--max-answers: so many wait in the bridge');
sleep(2);
cmp_ok(counter('answers', $pid, 'waiting'), '<', 120,
       'and what was read with them, the broker keeps the others');
$redis->resume();
is(right(@calls), 200, 'all are passed on');
is(counter('answers', $pid, 'answers_lost'), 0, 'none is lost');
is(counter('answers', $pid, 'answers'), 200, 'and each once');

# a master that has become a replica refuses what it would later take

@calls = asked(3);
$redis->call('REPLICAOF', '127.0.0.1', 1);
my $errors = counter('answers', $pid, 'redis_errors');
answer_all(@calls);
wait_for { counter('answers', $pid, 'redis_errors') > $errors + 1 };
$redis->call('REPLICAOF', 'NO', 'ONE');
is(right(@calls), 3, 'answers wait for a master');

# SIGTERM while Redis is away

@calls = asked(3);
$redis->stop();
answer_all(@calls);
wait_for { counter('answers', $pid, 'waiting') == 3 };
kill 'TERM', $pid;
wait_for { text_of('answers.log') =~ /stopping/ };
$redis->go();
is(reap($pid), 0, 'SIGTERM: exit 0');
is(right(@calls), 3, 'what was read is passed on before');

done_testing();
