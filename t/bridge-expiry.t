#!/usr/bin/perl

# tb-rpc-mqtt-bridge: no device gets a call that has expired, not even one that
# comes back to a session in which the broker has kept it.
#
# runs: side by side, 22 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for);
use TB::FakeBroker;
use TB::Mqtt qw(spawn reap text_of counter);

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen, $broker);


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), $mqtt->options($name),
                    '--static', '--broker',
                    "mqtt://127.0.0.1:$broker->{port}", @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ };

    return $pid;
}


# --- what the broker is told -------------------------------------------------

$broker = TB::FakeBroker->start(ack => 0.01);
$pid = start('life');

is($broker->told(0x21), 65535, 'the broker need not queue answers');
is($broker->told(0x27), 2 * 1048576 + 131072,
   'and drops what is much too large');
is($broker->told(0x11), undef, 'nor is it to keep a session');

# what of a timeout (ms) the broker gets: whole seconds, less one for those that
# count in whole seconds, and one at least; some of it has gone, no more than
# since $start

sub is_life {
    my ($life, $timeout, $start, $name) = @_;

    my ($least, $most) = map { $_ < 2000 ? 1 : int($_ / 1000) - 1 }
                         $timeout - 1000 * (time() - $start), $timeout;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok(defined $life && $life =~ /^\d+$/ && $life >= $least && $life <= $most,
       "$name: $least to $most s") or diag($life // 'none');
}


my $d1 = $mqtt->device(bridge => 'life');

for my $timeout (30_000, 10_000, 2900, 59_900) {
    my $start = time();
    my (undef, $id) = $mqtt->call($d1, '"m"', 1, timeout => $timeout);
    my $topic = "v1/devices/$d1/rpc/request/$id";

    wait_for { grep { $_ eq $topic } $broker->topics() };
    is_life({ $broker->lives() }->{$topic}, $timeout, $start,
            "a call of $timeout ms");
}

# a second cannot be told shorter: the broker may keep nothing of it

my (undef, $id) = $mqtt->call($d1, '"m"', 2, timeout => 1900, oneway => 1);
my $short = "v1/devices/$d1/rpc/request/$id";

$seen = wait_for { grep { $_ eq $short } $broker->topics() };
ok($seen, 'a call with less than two seconds');
is({ $broker->lives() }->{$short}, 1, 'has one');
is(scalar(grep { $_ eq "qos0 $short" } $broker->events()), 1,
   'and QoS 0, which is not kept for a device that is away');
$seen = wait_for { counter('life', $pid, 'delivered') == 5 };
ok($seen, 'it is delivered when it is written');
is(reap($pid, 'TERM'), 0, 'exit 0');

# calls in the protocol of gateways

$pid = start('gate', '--gateway', '--tenant', $TB::Mqtt::TENANT);

my $d2 = $mqtt->device(bridge => 'gate', name => 'behind');
my $start = time();

$mqtt->call($d2, '"m"', 1, timeout => 30_000);
$seen = wait_for { grep { $_ eq 'v1/gateway/rpc' } $broker->topics() };
ok($seen, 'a call to a device behind a gateway');
is_life({ $broker->lives() }->{'v1/gateway/rpc'}, 30_000, $start,
        'has its life');
is(reap($pid, 'TERM'), 0, 'exit 0');
$broker->stop();


# --- no more is given to the library than goes out at once -------------------

# Receive Maximum of the broker: what is beyond waits in Redis, and not here,
# where its life would end unseen

$broker = TB::FakeBroker->start(connack => "\x21\0\3", ack => 0.01);
$pid = start('three', '--ack-timeout', 2000);

my $d3 = $mqtt->device(bridge => 'three');

$mqtt->call($d3, '"m"', $_, oneway => 1) for 1 .. 20;
$seen = wait_for { counter('three', $pid, 'delivered') == 20 };
ok($seen, 'a broker that takes three messages at a time');
cmp_ok((sort { $b <=> $a } $broker->in_flight())[0], '<=', 3, 'gets three');
$broker->tell('ack', '');

my $before = counter('three', $pid, 'published');

$mqtt->call($d3, '"m"', $_, oneway => 1) for 1 .. 20;
wait_for { counter('three', $pid, 'timeouts') >= 3 };
sleep(0.3);
is(counter('three', $pid, 'published'), $before + 3,
   'as long as they are not acknowledged no more are published');
cmp_ok(counter('three', $pid, 'open'), '<=', 3, 'nor taken');
is(reap($pid, 'KILL'), 'signal 9', 'killed');
$broker->stop();


# --- a broker that has no MQTT 5 ---------------------------------------------

$broker = TB::FakeBroker->start(old => 1, ack => 0.01);
$pid = spawn('old.log', TB::Mqtt::program(), $mqtt->options('old'),
             '--static', '--broker', "mqtt://127.0.0.1:$broker->{port}");
$seen = wait_for { text_of('old.log') =~ /\[error\] mqtt: .*/ ? $& : undef };
like($seen, qr/does not speak MQTT 5, see --mqtt-version/,
     'a broker that has no MQTT 5 is named');
wait_for { $broker->connects() >= 3 };
is(() = text_of('old.log') =~ /\[error\]/g, 1, 'once');
is(reap($pid, 'TERM'), 0, 'exit 0');
$pid = start('old', '--mqtt-version', '3.1.1');
like(text_of('old.log'), qr/mqtt: connected/, '--mqtt-version 3.1.1');

my $d4 = $mqtt->device(bridge => 'old');

$mqtt->call($d4, '"m"', 1, oneway => 1);
$seen = wait_for { counter('old', $pid, 'delivered') == 1 };
ok($seen, 'delivers');
is(reap($pid, 'TERM'), 0, 'exit 0');
$broker->stop();


# --- devices with a session that come back -----------------------------------

$mqtt->broker();

my %device = map { $_ => $mqtt->device(bridge => 'kept') } qw(311 5);
my %more = (5 => ['-V', 5, '-x', 3600], 311 => ['-V', 'mqttv311']);


# the device, with its session, for as long as it lives

sub connect_device {
    my ($version) = @_;

    return spawn("kept.$version", 'mosquitto_sub', '-h', '127.0.0.1', '-p',
                 $mqtt->{port}, '-i', "device-$version", '-c', '-q', 1, '-t',
                 "v1/devices/$device{$version}/rpc/request/+",
                 '-t', "probe/$version", @{ $more{$version} });
}


sub comes {
    my ($version) = @_;

    my $pid = connect_device($version);
    my $before = () = text_of("kept.$version") =~ /probe/g;

    # what the broker has kept comes before this
    wait_for {
        $mqtt->publish("probe/$version", 'probe');
        (() = text_of("kept.$version") =~ /probe/g) > $before;
    } 20;

    return $pid;
}


reap(comes($_), 'KILL') for sort keys %device;
$pid = $mqtt->bridge('kept', '--static');

for my $timeout (1500, 2500, 3500) {
    my $end;

    for my $version (sort keys %device) {
        $mqtt->call($device{$version}, '"late"', $timeout, oneway => 1,
                    timeout => $timeout);
        $end = time() + $timeout / 1000;
    }

    my $sent = wait_for { counter('kept', $pid, 'open') == 0 };

    ok($sent, "calls of $timeout ms are with the broker");
    sleep($end - time() + 0.01) if $end > time();

    my %pid = map { $_ => comes($_) } sort keys %device;

    unlike(text_of("kept.$_"), qr/"params":$timeout\}/,
           "a device that comes back behind the end does not get it ($_)")
        for sort keys %device;
    reap($_, 'KILL') for values %pid;
}

# and what has not expired comes

$mqtt->call($device{$_}, '"kept"', 7, oneway => 1, timeout => scaled(120_000))
    for sort keys %device;
$seen = wait_for { counter('kept', $pid, 'open') == 0 };

for my $version (sort keys %device) {
    my $back = comes($version);

    like(text_of("kept.$version"), qr/"method":"kept","params":7\}/,
         "what lives is kept for it ($version)");
    reap($back, 'KILL');
}

is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
