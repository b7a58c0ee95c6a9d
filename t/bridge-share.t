#!/usr/bin/perl

# tb-rpc-mqtt-bridge: what the broker refuses, and how processes of one name
# share the answers.
#
# runs: side by side, 20 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for);
use TB::FakeBroker;
use TB::Mqtt qw(spawn reap text_of counter);
use TB::MqttDevices;

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen, $broker, $rpc, $id);


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), $mqtt->options($name),
                    '--broker', "mqtt://127.0.0.1:$broker->{port}", @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ };

    return $pid;
}


# --- what is subscribed to ---------------------------------------------------

# one by one, those that are shared first

sub filters {
    my ($what, $wanted, @more) = @_;

    my $before = $broker->subscriptions();
    my $pid = start('filters', '--tenant', $TB::Mqtt::TENANT, @more);

    wait_for { $broker->subscriptions() - $before >= @$wanted };

    my @new = $broker->subscriptions();

    splice @new, 0, $before;
    is_deeply(\@new, $wanted, $what) or diag("@new");
    is(reap($pid, 'TERM'), 0, 'exit 0');
}

my $answers = 'v1/devices/+/rpc/response/+';
my $presence = 'v1/devices/+/status';

$broker = TB::FakeBroker->start(ack => 0.01);
filters('each gets all answers', [$answers, $presence]);
filters('--share: answers are shared, presence is for all',
        ["\$share/filters/$answers", $presence], '--share');
filters('with a session of its own, too',
        ["\$share/filters/$answers", $presence], '--share', '--client-id',
        'c1');
filters('MQTT 3.1.1 has no such thing', [$answers, $presence], '--share',
        '--mqtt-version', '3.1.1');
filters('answers without a request id are for who has asked',
        ['a/+', $presence], '--share', '--response-topic', 'a/{deviceId}');
filters('gateways: their answers are shared',
        ["\$share/filters/$answers", $presence,
         '$share/filters/gw/+/rpc', 'gw/+/connect', 'gw/+/disconnect',
         'gw/+/status'], '--share', '--gateway', '--gateway-topic',
        'gw/{gateway}');
filters('nobody takes the last will of gateways that share their topics',
        ["\$share/filters/$answers", $presence,
         '$share/filters/v1/gateway/rpc', 'v1/gateway/connect',
         'v1/gateway/disconnect'], '--share', '--gateway');

# a broker that has none of them says so, or refuses them

$broker->stop();
$broker = TB::FakeBroker->start(connack => "\x2a\0", ack => 0.01);
filters('a broker without shared subscriptions', [$answers, $presence],
        '--share');
$broker->stop();
$broker = TB::FakeBroker->start(refuse => qr/^\$share/, ack => 0.01);
filters('one that refuses them',
        ["\$share/filters/$answers", $presence, $answers], '--share');
$broker->stop();


# --- a subscription that is refused ------------------------------------------

# who cannot hear has no use for calls

$broker = TB::FakeBroker->start(refuse => qr/response/, ack => 0.01);
my $d1 = $mqtt->device(bridge => 'deaf');

$pid = start('deaf', '--static', '--drain', 0);
$seen = wait_for { text_of('deaf.log') =~ /\[error\] .*/ ? $& : undef };
like($seen, qr/refused the subscription to \Q$answers\E: allow/,
     'a subscription that is refused is named');
$mqtt->call($d1, '"m"', 1, oneway => 1);
$seen = wait_for { $broker->connects() >= 3 } 40;
ok($seen, 'it is tried again');
is(counter('deaf', $pid, 'taken'), 0, 'and no call is taken meanwhile');
is(() = text_of('deaf.log') =~ /\[error\]/g, 1, 'it is said once');
$broker->tell('refuse', '');
$seen = wait_for { counter('deaf', $pid, 'delivered') == 1 } 40;
ok($seen, 'until it may listen');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- a message that is refused -----------------------------------------------

# for good: not authorized, topic name, payload format

my $n = 0;

$pid = start('no', '--static', '--response-topic', 'a/{deviceId}');

for my $reason (0x87, 0x90, 0x99) {
    my $device = $mqtt->device(bridge => 'no');

    $broker->tell('reason', $reason);
    ($rpc) = $mqtt->call($device, '"m"', 1);
    like($mqtt->answer($device, $rpc) || '', qr/^F/,
         sprintf('reason 0x%02x: the call fails', $reason));
    is(counter('no', $pid, 'failed'), ++$n, 'at once');
}

# others may be over when it is tried again

for my $reason (0x80, 0x83, 0x97) {
    my $device = $mqtt->device(bridge => 'no');

    $broker->tell('reason', $reason);
    ($rpc, $id) = $mqtt->call($device, '"m"', 1, persistent => 1);

    my $topic = "v1/devices/$device/rpc/request/$id";
    my $start = time();

    $seen = wait_for { $mqtt->status($device, $rpc) eq 'QUEUED'
                       && grep { $_ eq $topic } $broker->topics() };
    ok($seen, sprintf('reason 0x%02x: the call waits again', $reason));
    $broker->tell('reason', '');
    $seen = wait_for {
        $mqtt->tick($device);
        $mqtt->status($device, $rpc) eq 'DELIVERED';
    } 40;
    ok($seen, 'and is delivered');
    cmp_ok(scalar(grep { $_ eq $topic } $broker->topics()), '<=',
           4 + int(time() - $start), 'without haste');
}

is(counter('no', $pid, 'failed'), $n, 'none of those has failed');
is($redis->counter('retries'), 0, 'nor used a retry');
is(reap($pid, 'TERM'), 0, 'exit 0');
$broker->stop();


# --- two processes of one name -----------------------------------------------

$mqtt->broker();

my @ids = map { $mqtt->device() } 1 .. 20;
my @two = ('--name', 'two', '--share');
my %pid = map { $_ => $mqtt->bridge($_, @two) } qw(one other);
my $devices = TB::MqttDevices->start(port => $mqtt->{port}, ids => \@ids);

ok($devices->online(20), 'devices are online');
$mqtt->attached($_, 'two') for @ids;

# both know them: neither returns a call
wait_for {
    counter('one', $pid{one}, 'devices') == 20
    && counter('other', $pid{other}, 'devices') == 20
} 40;

sub total {
    my ($what) = @_;

    my $sum = 0;

    $sum += counter($_, $pid{$_}, $what) for keys %pid;

    return $sum;
}

my @calls = map { [ $mqtt->call($ids[$_ % 20], '"m"', $_), $_ ] } 1 .. 400;
my $right = grep {
    my ($rpc, undef, undef, $n) = @$_;

    ($mqtt->answer($ids[$n % 20], $rpc) || '')
        eq 'A' . TB::MqttDevices::answer_to($ids[$n % 20], $n);
} @calls;

is($right, 400, 'each call has its answer');
wait_for { total('waiting') == 0 && total('answers') >= 400 };
is(total('answers'), 400, 'each answer is handled by one of two processes');
is(total('answers_late'), 0, 'and by no other');
cmp_ok(counter($_, $pid{$_}, 'answers'), '>=', 150, "process $_ has its part")
    for sort keys %pid;
is($redis->counter('ignored_respond'), 0, 'Redis is told once');
unlike(text_of($_), qr/ was late/, 'the log says nothing')
    for map { "$_.log" } keys %pid;

# one of them goes: the other gets all, from then on and what is on its way

sub all_answered {
    my ($what, @calls) = @_;

    my @open = grep { !$mqtt->answer($ids[$_->[3] % 20], $_->[0]) } @calls;

    is(scalar @open, 0, $what);
}

@calls = map { [ $mqtt->call($ids[$_ % 20], '"m"', $_), $_ ] } 401 .. 500;
is(reap(delete $pid{other}, 'TERM'), 0, 'one is stopped');
push @calls, map { [ $mqtt->call($ids[$_ % 20], '"m"', $_), $_ ] } 501 .. 600;
all_answered('the other goes on, and nothing is lost', @calls);

$pid{other} = $mqtt->bridge('other', @two);
is(reap(delete $pid{other}, 'KILL'), 'signal 9', 'one is killed');
@calls = map { [ $mqtt->call($ids[$_ % 20], '"m"', $_), $_ ] } 601 .. 700;
all_answered('the broker sees that at once', @calls);
is(reap(delete $pid{one}, 'TERM'), 0, 'exit 0');
$devices->stop();

done_testing();
