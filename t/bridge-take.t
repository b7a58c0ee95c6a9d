#!/usr/bin/perl

# How tb-rpc-mqtt-bridge takes calls: a reply that is lost, a bell that is not
# heard, tickets; whom it does not bring them to; and what it still has when
# the broker is back.
#
# runs: side by side, 40 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(max);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Env qw(file_in scaled scratch wait_for);
use TB::FakeBroker;
use TB::FakeRedis;
use TB::FastBridge;
use TB::Mqtt qw(spawn reap text_of counter);
use TB::MqttDevices;
use TB::Proxy;
use TB::Resp;

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen, $rpc, $id);


# a bridge of its own broker, for devices that are always there

sub start {
    my ($name, $broker, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), $mqtt->options($name),
                    '--static', '--broker',
                    "mqtt://127.0.0.1:$broker->{port}", @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ };
    wait_for { text_of("$name.log") =~ /\(bells\): connected/ };

    return $pid;
}


# how often the device has been sent something

sub sent {
    my ($broker, $device) = @_;

    return scalar grep { m{/\Q$device\E/} } $broker->topics();
}


sub prefix { return TB::Bridge::prefix(TB::Bridge::shard($_[0])) }


# --- the reply of a take is lost ---------------------------------------------

my $broker = TB::FakeBroker->start(ack => 0.01);
my $proxy = TB::Proxy->start(to => $redis->{port});
my $d1 = $mqtt->device(bridge => 'lost');

TB::MqttDevices::settings($redis, ack_timeout => 60_000);
$pid = start('lost', $broker, '--redis', "redis://127.0.0.1:$proxy->{port}");

# more than one call at a time are taken
for (1 .. 8) {
    $mqtt->call($d1, '"m"', 1, oneway => 1);
}

wait_for { counter('lost', $pid, 'delivered') == 8 };

# all of them in one take
kill 'STOP', $pid;
$proxy->tell('mute', 'cmd');
my @calls = map { [ $mqtt->call($d1, '"m"', $_, persistent => 1,
                                oneway => 1) ] } 1 .. 5;
my ($light) = $mqtt->call($d1, '"m"', 6, oneway => 1);
kill 'CONT', $pid;
$seen = $mqtt->answer($d1, $light);
is($seen, 'S', 'a take has claimed them');
is(sent($broker, $d1), 8, 'and its reply is on the way');
$proxy->tell('cut', 'cmd');
$proxy->tell('mute', 'none');
$seen = wait_for { counter('lost', $pid, 'delivered') == 14 } 40;
ok($seen, 'it is asked for again');
is(join(' ', map { $mqtt->status($d1, $_->[0]) } @calls),
   'DELIVERED ' x 4 . 'DELIVERED', 'the same calls');
is(sent($broker, $d1), 14, 'each is sent once');
is($redis->mishaps(), '', 'and no retry was used');


# --- a bell that is not heard ------------------------------------------------

# seconds until a call is sent

sub takes {
    my ($device) = @_;

    my $start = time();

    my $before = sent($broker, $device);
    $mqtt->call($device, '"m"', '1', oneway => 1);
    wait_for { sent($broker, $device) > $before } 40;

    return time() - $start;
}

cmp_ok(max(map { takes($d1) } 1 .. 6), '<', scaled(3), 'a ring is heard');
$proxy->tell('mute', 'sub');
cmp_ok(max(map { takes($d1) } 1 .. 2), '<', scaled(10),
       'where none is, what it was for is found within 5 s');

# What was pushed before a subscription.  All shards were looked into just now,
# which is done again in 5 s; if the bells are not back in half of that, there
# is no telling what has found it.

my ($start, $looked, $again);

for (1 .. 10) {
    takes($d1);
    $looked = time();
    $again = () = text_of('lost.log') =~ /bells\): works again/g;
    $proxy->tell('refuse', 'sub');
    # the rings that were kept back go with the connection
    $proxy->tell('cut', 'sub');
    $proxy->tell('mute', 'none');
    $mqtt->call($d1, '"m"', '1', oneway => 1) for 1 .. 3;
    $proxy->tell('refuse', 'none');
    $seen = wait_for {
        $again < (() = text_of('lost.log') =~ /bells\): works again/g)
    };
    $start = time();
    wait_for { $redis->call('LLEN', prefix($d1) . 'queue:lost') == 0 };
    last if $start - $looked < 2.5;
    $proxy->tell('mute', 'sub');
}

ok($seen, 'the bells are subscribed to again');
cmp_ok(time() - $start, '<', scaled(2), 'which is like a ring');


# --- tickets -----------------------------------------------------------------

my ($slot) = @{ $redis->call('KEYS', prefix($d1) . 'taken:lost:*') };

like($slot, qr/taken:lost:[0-9a-f]{16}$/, 'a name for this start');
like($redis->call('GET', $slot), qr/^1\d{15}\n/, 'a ticket of the clock');
$redis->call('SET', $slot, '9007199254740000');
takes($d1);
like(text_of('lost.log'), qr/ticket \d+ .* is older .*under another name/,
     'somebody else has that name: another one is used');
isnt((grep { $_ ne $slot } @{ $redis->call('KEYS',
                                 prefix($d1) . 'taken:lost:*') })[0], undef,
     'with tickets of its own');
is(reap($pid, 'TERM'), 0, 'exit 0');

my $log = scratch() . '/takes';
my $tries = 0;
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, $command, @argv) = @_;

    return undef if !defined $command;
    return "*2\r\n" . TB::FakeRedis::bulk('1') . TB::FakeRedis::bulk('2')
        if $command eq 'HMGET';
    return undef if $command ne 'FCALL';

    open my $fh, '>>', $log or die;
    print $fh "@argv[3 .. 5]\n";

    return ++$tries <= 3 ? "-TRYAGAIN tb_rpc: the shard is not all here\r\n"
                         : "*1\r\n:0\r\n";
});

$pid = start('moving', $broker, '--redis', "redis://127.0.0.1:$fake->{port}");

my @takes;
wait_for { @takes = split /\n/, text_of('takes'); @takes >= 4 };
is($takes[$_], $takes[0], 'TRYAGAIN: the same once more') for 1 .. 3;
is(() = text_of('moving.log') =~ /commands\): connected/g, 1,
   'over the same connection');
is(reap($pid, 'TERM'), 0, 'exit 0');
$fake->stop();


# --- who may ring, and listen ------------------------------------------------

my $ears = $redis->connect('admin');

for my $user (qw(nginx bridge operator)) {
    my $device = $mqtt->device();

    $mqtt->call($device, '"m"', '1', oneway => 1);
    $ears->command('SSUBSCRIBE', prefix($device) . "bell:$user");
    $redis->connect($user)->call('FCALL', 'tb_rpc_attach', 1,
                                 TB::Bridge::key('device', $device), $user,
                                 's1', 60_000);
    ok($ears->readable(30), "what $user has pushed rings");
    is($ears->reply()->[1], prefix($device) . "bell:$user", 'where it is');
}

my %rules = TB::RedisServer::documented();
my @deaf = grep { !/^&.*bell/ } split ' ', $rules{bridge};

$redis->call('ACL', 'SETUSER', 'deaf', 'on', '>deaf-secret', @deaf);

my $d2 = $mqtt->device(bridge => 'deaf');

$pid = spawn('deaf.log', TB::Mqtt::program(), $mqtt->options('deaf'),
             '--static', '--broker', "mqtt://127.0.0.1:$broker->{port}",
             '--redis-user', 'deaf', '--redis-password-file',
             file_in('deaf.password', "deaf-secret\n"));
$seen = wait_for { text_of('deaf.log') =~ /error.*/ && $& };
like($seen, qr/\(bells\): the user has not all rights of docs\S+: SSUBSCRIBE/,
     'who may not listen is told so');
cmp_ok(takes($d2), '<', scaled(10), 'and is slow');
is(() = text_of('deaf.log') =~ /\[error\]/g, 1, 'once');
is(reap($pid, 'TERM'), 0, 'exit 0');
$broker->stop();


# --- devices that are not here -----------------------------------------------

$mqtt->broker();
$pid = $mqtt->bridge('home', '--session-ttl', scaled(3000));

my $far = TB::FastBridge->new(connect => { $redis->access('bridge') },
                              name => 'far');
my $d3 = $mqtt->device();


sub attach {
    my ($device, $bridge, $session) = @_;

    return $redis->fcall('tb_rpc_attach', TB::Bridge::key('device', $device),
                         $bridge, $session, 60_000);
}

sub numbers { return join ' ', map { $_->{params} } @_ }


# one that it has never heard of

attach($d3, 'home', 's1');
@calls = map { [ $mqtt->call($d3, '"m"', $_, persistent => $_ % 2) ] }
             1 .. 5;
is($calls[0][2], 'queued', 'a device that the bridge does not know');
$seen = wait_for {
    $redis->call('ZCARD', TB::Bridge::key('pending', $d3)) == 5
};
ok($seen, 'its calls wait again');
is($mqtt->status($d3, $calls[0][0]), 'QUEUED', 'as if nothing had been');
is(counter('home', $pid, 'published'), 0, 'nothing was sent');
is($redis->call('HGET', TB::Bridge::key('device', $d3), 'session'), 's1',
   'its session goes on');

$start = time();

my $returned = counter('home', $pid, 'returned');
cmp_ok($returned, '>=', 1, 'they were returned');

for (1 .. 5) {
    $mqtt->tick($d3);
    sleep(0.1);
}

cmp_ok(counter('home', $pid, 'returned'), '<=',
       $returned + 5 * (1 + int(time() - $start)),
       'and are not tried again at once');

attach($d3, 'far', 's2');
my @taken = $far->take(5);
is(numbers(@taken), '1 2 3 4 5',
   'they go to the bridge where the device is, in their order');
cmp_ok($taken[0]{attempt}, '>', 1, 'as another attempt');
is($redis->counter('retries'), 0, 'which is no retry');
$far->answer(@taken);

# one that goes while a call is on its way to it

my $d4 = $mqtt->device();
my $published = counter('home', $pid, 'published');

$mqtt->publish("v1/devices/$d4/status", 'online:s1', '-r');
$mqtt->attached($d4, 'home');
kill 'STOP', $pid;
($rpc) = $mqtt->call($d4, '"m"', '"there"', persistent => 1);
$mqtt->publish("v1/devices/$d4/status", 'offline:s1', '-r');
kill 'CONT', $pid;
ok($mqtt->attached($d4, ''), 'a device that goes while it is called');
is($mqtt->status($d4, $rpc), 'QUEUED', 'the call waits');
is(counter('home', $pid, 'published'), $published, 'and was not sent');
attach($d4, 'far', 's2');
@taken = $far->take(1);
is(numbers(@taken), '"there"', 'for where it is next');
$far->answer(@taken);

# a stale view of one that is with another process of the name

$mqtt->publish("v1/devices/$d4/status", 'online:s1', '-r');
$mqtt->attached($d4, 'home');
attach($d4, 'home', 's3');
$seen = wait_for { text_of('home.log') =~ /session "s1" is superseded/ };
ok($seen, 'a session that is not current');
$returned = counter('home', $pid, 'returned');
($rpc) = $mqtt->call($d4, '"m"', '"mine"', persistent => 1);
wait_for { counter('home', $pid, 'returned') >= $returned + 2 };
$start = time();
sleep(0.5);
cmp_ok(counter('home', $pid, 'returned'), '<=',
       $returned + 3 + int(time() - $start),
       'what comes back to us at once is left alone');
is($redis->call('HGET', TB::Bridge::key('device', $d4), 'session'), 's3',
   'and the session goes on');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- the broker is back ------------------------------------------------------

$broker = TB::FakeBroker->start(ack => 0.01);
my $port = $broker->{port};

# those of a device that the broker has, and does not acknowledge

my %device = map { $_ => $mqtt->device(bridge => 'back') }
             qw(first keep ended late);

$pid = start('back', $broker, '--ack-timeout', 60_000);
$mqtt->call($device{first}, '"m"', 1, oneway => 1) for 1 .. 8;
wait_for { counter('back', $pid, 'delivered') == 8 };
$broker->tell('ack', '');

my $late = 8000;
my $called = time();
my %call = map {
    my @call = $mqtt->call($device{$_}, '"m"', 1, persistent => 1,
                           timeout => $_ eq 'late' ? $late : 60_000);
    ($_ => \@call);
} qw(keep ended late);

$seen = wait_for { counter('back', $pid, 'published') == 11 };
ok($seen, 'three calls are with the broker');
$broker->stop();
$redis->fcall('tb_rpc_respond', TB::Bridge::key('device', $device{ended}),
              $call{ended}[1], '1');
wait_for { time() > $called + $late / 1000 + 1 };
$broker = TB::FakeBroker->start(ack => 0.01, port => $port);
$seen = wait_for { sent($broker, $device{keep}) } 40;
ok($seen, 'what was not acknowledged is sent again');
$seen = wait_for { counter('back', $pid, 'given_up') == 2 };
ok($seen, 'the others are given up');
is(sent($broker, $device{ended}), 0, 'one that has its answer is not');
is(sent($broker, $device{late}), 0, 'nor one that has expired');
$seen = wait_for { $mqtt->status($device{keep}, $call{keep}[0])
                   eq 'DELIVERED' };
ok($seen, 'and is delivered');
is($redis->counter('retries'), 0, 'without a retry');

# longer away than Redis waits

TB::MqttDevices::settings($redis, ack_timeout => 300, max_retries => 1);
$broker->tell('ack', '');
@calls = ($mqtt->call($device{keep}, '"m"', 2, persistent => 1));
my ($alive) = $mqtt->call($device{keep}, '"m"', 3);
wait_for { counter('back', $pid, 'published') == 14 };
my $given_up = counter('back', $pid, 'given_up');
$broker->stop();
sleep(0.5);
$mqtt->tick($device{keep});
is($mqtt->status($device{keep}, $calls[0]), 'TIMEOUT',
   'Redis has queued it again');
$broker = TB::FakeBroker->start(ack => 0.01, port => $port);
$seen = wait_for { $mqtt->status($device{keep}, $calls[0]) eq 'DELIVERED' }
                 40;
ok($seen, 'its next attempt is delivered');
is(counter('back', $pid, 'given_up'), $given_up + 1, 'the first was dropped');
is(() = grep({ m{request/$calls[1]$} } $broker->topics()), 1, 'so it is sent once');
$seen = wait_for { sent($broker, $device{keep}) == 2 };
ok($seen, 'a lightweight call, which has no other attempt, is sent again');
is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
