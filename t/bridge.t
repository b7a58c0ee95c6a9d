#!/usr/bin/perl

# tb-rpc-mqtt-bridge and tb-rpc-admin against a real mosquitto and a real
# redis-server.  Calls are made and read with the functions nginx uses; the
# devices are mosquitto_sub/mosquitto_pub and tb-rpc-demo-device.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);

use TB::Bridge;
use TB::Env qw(root build scratch file_in free_port wait_for scaled library);
use TB::Mqtt ();
use TB::RedisServer;

my $TENANT = '7e000000-0000-11ee-8000-00000000000a';
my $bin = $ENV{TB_BRIDGE} || build() . '/tb-rpc-mqtt-bridge';
my $demo = $ENV{TB_DEVICE} || build() . '/tb-rpc-demo-device';
my $admin = root() . '/tools/tb-rpc-admin';
my @valgrind = ($ENV{TB_MODE} || '') eq 'valgrind'
    ? qw(valgrind -q --error-exitcode=99 --leak-check=full
         --errors-for-leak-kinds=definite) : ();

my ($mosquitto) = grep { -x } map { "$_/mosquitto" }
                  split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';

plan skip_all => 'no mosquitto' if !$mosquitto;
plan skip_all => "no $bin" if !-x $bin;

my %children;


sub spawn {
    my ($log, @command) = @_;

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', scratch() . "/$log";
        open STDERR, '>&', \*STDOUT;
        setpgrp;
        { exec @command }
        POSIX::_exit(127);
    }

    $children{$pid} = 1;

    return $pid;
}


# the exit status, or "signal N"; undef if it would not go

sub reap {
    my ($pid, $signal, $seconds) = @_;

    kill $signal, $pid if $signal;

    my $status;
    my $gone = wait_for {
        my $got = waitpid $pid, POSIX::WNOHANG();
        $status = $?;
        $got == $pid;
    } $seconds;

    return undef if !$gone;

    delete $children{$pid};

    return $status & 127 ? 'signal ' . ($status & 127) : $status >> 8;
}


END {
    my $status = $?;

    for (keys %children) {
        kill 'KILL', $_;
        waitpid $_, 0;
    }

    $? = $status;
}


sub text_of {
    open my $fh, '<', scratch() . "/$_[0]" or return '';
    local $/;

    my $text = <$fh>;

    return defined $text ? $text : '';
}


# --- broker -----------------------------------------------------------------

my $mqtt_port = free_port();
my $broker;


sub broker_start {
    my ($more) = @_;

    file_in('mosquitto.conf', "listener $mqtt_port 127.0.0.1\n"
            . "allow_anonymous true\npersistence false\n"
            . "max_queued_messages 10000\n" . ($more || ''));

    $broker = spawn('mosquitto.log', $mosquitto, '-c',
                    scratch() . '/mosquitto.conf');

    wait_for {
        IO::Socket::INET->new(PeerAddr => "127.0.0.1:$mqtt_port")
    } or die "mosquitto did not start\n" . text_of('mosquitto.log');
}


sub publish {
    my ($topic, $payload, @more) = @_;

    my @command = ('mosquitto_pub', '-h', '127.0.0.1', '-p', $mqtt_port,
                   '-q', 1, '-t', $topic, @more,
                   '-f', file_in('payload', $payload));

    return system(@command) == 0;
}


# --- calls ------------------------------------------------------------------

my $redis = TB::RedisServer->start();
my $serial = 0;

$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);


sub device_put {
    my ($id, @fields) = @_;

    $redis->fcall('tb_rpc_device_put', TB::RedisServer->device_key($id),
                  $TENANT, '', @fields);

    return $id;
}


sub new_id { return sprintf 'de000000-0000-11ee-8000-%012x', ++$serial }


# an rpcId of that shard; (rpcId, requestId, word)

sub call {
    my ($device, $method, $params, %opt) = @_;

    my $shard = TB::Bridge::shard($device);
    my $rpc = sprintf '%08x-0000-11ee-%04x-010000000000', ++$serial,
                      0x8000 | $shard;
    my $key = $redis->device_key($device);
    my $reply = $redis->fcall('tb_rpc_create', $key, $rpc, 'w1',
                              $opt{oneway} ? 1 : 0, $opt{persistent} ? 1 : 0,
                              $TENANT, '*', $method, $params, '', '',
                              $opt{timeout} || 30000, '', '60000', 'wait',
                              '', '', '');

    return ($rpc, $reply->[2], $reply->[0]);
}


# kind and payload of the answer to a lightweight call

sub answer {
    my ($device, $rpc, $seconds) = @_;

    my $key = sprintf 'tb:{s%03o}:answer:%s', TB::Bridge::shard($device),
                      $rpc;

    return wait_for { $redis->call('GET', $key) } $seconds;
}


sub attached {
    my ($device, $bridge) = @_;

    return wait_for {
        my $now = $redis->call('HGET', $redis->device_key($device), 'bridge');
        ($now || '') eq ($bridge || '');
    } 30;
}


# so many heartbeats for a device

sub heartbeats {
    my ($device, $number) = @_;

    my $until = sub { $redis->call('HGET', $redis->device_key($device),
                                   'until') || 0 };

    for (1 .. $number) {
        my $before = $until->();

        wait_for { $until->() > $before } or return 0;
    }

    return 1;
}


# --- the bridge -------------------------------------------------------------

my $password = file_in('bridge.password',
                       "$TB::RedisServer::PASSWORD{bridge}\n");


sub bridge_start {
    my ($name, @more) = @_;

    return spawn("$name.log", @valgrind, $bin, '--name', $name, '--redis',
                 "redis://127.0.0.1:$redis->{port}", '--redis-user', 'bridge',
                 '--redis-password-file', $password, '--broker',
                 "mqtt://127.0.0.1:$mqtt_port", '--log-level', 'debug',
                 @more);
}


sub connected {
    my ($name, $times) = @_;

    return wait_for {
        my @seen = text_of("$name.log") =~ /mqtt: connected/g;
        @seen >= ($times || 1);
    } 30;
}


sub counter {
    my ($name, $pid, $counter) = @_;

    my $before = () = text_of("$name.log") =~ /counters:/g;

    kill 'USR1', $pid;

    my $all = wait_for {
        my @lines = text_of("$name.log") =~ /(counters: .*)\n/g;
        @lines > $before ? $lines[-1] : undef;
    };

    return ($all || '') =~ /\b$counter=(\d+)/ ? $1 : -1;
}


# --- command line -----------------------------------------------------------

sub output {
    my (@command) = @_;

    my $pid = open my $out, '-|';
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        { exec @command }
        POSIX::_exit(127);
    }

    local $/;
    my $text = <$out>;
    close $out;

    return ($? >> 8, $text);
}

my ($status, $text) = output($bin, '--help');
is($status, 0, '--help');
like($text, qr/--request-topic TEMPLATE/, '--help names the options');
($status, $text) = output($bin, '--version');
like($text, qr/^tb-rpc-mqtt-bridge \d/, '--version');

for (['--name', 'a b'], ['--name', 'x', '--qos', 2], [],
     ['--name', 'x', '--redis', 'redis://:secret@h/'],
     ['--name', 'x', '--redis', 'rediss://h/x'],
     ['--name', 'x', '--broker', 'tcp://h'],
     ['--name', 'x', '--request-topic', 'a/+/{deviceId}'],
     ['--name', 'x', '--request-topic', 'a/{nosuch}'],
     ['--name', 'x', '--request-topic', 'a/{deviceId'],
     ['--name', 'x', '--response-topic', 'a/{requestId}'],
     ['--name', 'x', '--presence-topic', 'a/{requestId}'],
     ['--name', 'x', '--redis-password-file', '/nonexistent'],
     ['--name', 'x', 'more'], ['--nosuch'])
{
    ($status) = output($bin, @$_);
    is($status, 2, "refused: @$_");
}


# --- calls to a real device program -----------------------------------------

broker_start();

my $pid = bridge_start('b1', '--session-ttl', 3000);
ok(connected('b1'), 'the bridge connects') or diag(text_of('b1.log'));

my $d1 = device_put(new_id());
my ($rpc, $id, $word) = call($d1, '"getTemperature"', '{}');
is($word, 'offline', 'a device without presence is offline');

my $device = spawn('d1.log', $demo, '-d', $d1, '-p', $mqtt_port);
ok(attached($d1, 'b1'), 'presence attaches the device');

is(answer($d1, $rpc), 'A{"temperature":21.5}',
   'the call that waited is released and answered');

($rpc, $id, $word) = call($d1, '"echo"', '{"a":[1,"x"]}');
is($word, 'queued', 'online');
is(answer($d1, $rpc), 'A{"a":[1,"x"]}', 'echo');

($rpc) = call($d1, '"text"', '{}');
is(answer($d1, $rpc), 'Athis is not JSON', 'an answer as it came');

ok(heartbeats($d1, 2), 'heartbeats');
is($redis->call('HGET', $redis->device_key($d1), 'bridge'), 'b1',
   'still attached after them');
my $session = $redis->call('HGET', $redis->device_key($d1), 'session');
like($session, qr/^mqtt-[0-9a-f]{16}$/, 'a session of its own');


# --- a device by hand: raw bytes, PUBACK, binary ----------------------------

my $d2 = device_put(new_id());
publish("v1/devices/$d2/status", 'online:boot-1', '-r');
ok(attached($d2, 'b1'), 'online:SESSION attaches');
is($redis->call('HGET', $redis->device_key($d2), 'session'), 'boot-1',
   'under the session it names');

my $sub = spawn('d2.log', 'mosquitto_sub', '-h', '127.0.0.1', '-p',
                $mqtt_port, '-q', 1, '-v', '-t',
                "v1/devices/$d2/rpc/request/+");
my $probe = wait_for {
    publish("v1/devices/$d2/rpc/request/0", 'probe');
    text_of('d2.log') =~ /probe/;
};
ok($probe, 'a subscriber');

my $params = '{ "v" : 1.10, "n":123456789012345678901234567890,'
             . ' "e":"\u00e9\u0000", "d":1e-7 }';
($rpc, $id) = call($d2, '"raw\u0041"', $params);
ok(wait_for { text_of('d2.log') =~ /request\/\Q$id\E / }, 'published');
cmp_ok(index(text_of('d2.log'), "request/$id {\"method\":\"raw\\u0041\","
             . "\"params\":$params}\n"), '>', 0,
       'method and params byte for byte');

ok(wait_for {
       counter('b1', $pid, 'delivered') >= 4
   }, 'PUBACK is reported as delivered');

my $binary = join '', map { chr } 0 .. 255;
publish("v1/devices/$d2/rpc/response/$id", $binary);
is(answer($d2, $rpc), "A$binary", 'a binary answer as it is');

($rpc, $id) = call($d2, '"empty"', '{}');
wait_for { text_of('d2.log') =~ /"empty"/ };
publish("v1/devices/$d2/rpc/response/$id", '');
is(answer($d2, $rpc), 'A', 'an empty answer');

# answers that are nobody's

my $late = counter('b1', $pid, 'answers_late');
publish("v1/devices/$d2/rpc/response/$id", '"again"');
publish("v1/devices/$d2/rpc/response/2147483647", '"unknown"');
publish("v1/devices/$d1/rpc/response/$id", '"foreign"');
publish('v1/devices/' . new_id() . '/rpc/response/5', '"no device"');
ok(wait_for { counter('b1', $pid, 'answers_late') == $late + 4 },
   'repeated, unknown and foreign answers are counted');

for ("$d2/rpc/response/0", "$d2/rpc/response/2147483648",
     "$d2/rpc/response/x1", "$d2/rpc/response/99999999999999",
     'not-a-uuid/rpc/response/1')
{
    my $bad = counter('b1', $pid, 'answers_bad');
    publish("v1/devices/$_", '1');
    ok(wait_for { counter('b1', $pid, 'answers_bad') == $bad + 1 },
       "refused: $_");
}

my $bad = counter('b1', $pid, 'presence_bad');
publish("v1/devices/$d2/status", $_)
    for 'perhaps', '{"online":1}', '{"online":true', 'online:a b', 'x' x 5000,
        'online:' . 'x' x 65, "\0\xff";
publish('v1/devices/me/status', 'online');
ok(wait_for { counter('b1', $pid, 'presence_bad') == $bad + 8 },
   'broken presence is refused');

# what is no reference to a call, or to one that has ended

my $queue = sprintf 'tb:{s%03o}:queue:b1', TB::Bridge::shard($d2);
my $taken = counter('b1', $pid, 'taken');
$redis->call('RPUSH', $queue, '', '{', "\0\xff", '1 1', 'x' x 100000,
             "77 1 00000000 $d2", "$id 1 00000000 $d2", "1 1 00000000 me");
($rpc, $id) = call($d2, '"behind"', '{}');
ok(wait_for { text_of('d2.log') =~ /request\/\Q$id\E \{"method":"behind"/ },
   'what is no call does not hold up those behind it');
is(counter('b1', $pid, 'taken'), $taken + 1, 'nor is it taken');

# sessions

publish("v1/devices/$d2/status", 'offline:boot-0', '-r');
publish("v1/devices/$d2/status", '{"online":true,"session":"boot-2"}', '-r');
ok(wait_for {
       $redis->call('HGET', $redis->device_key($d2), 'session') eq 'boot-2'
   }, 'a new session replaces the old one');

$redis->fcall('tb_rpc_attach', $redis->device_key($d2), 'other', 's9', 60000);
ok(wait_for { text_of('b1.log') =~ /session "boot-2" is superseded/ },
   'a superseded session is not kept up');
ok(heartbeats($d1, 2), 'other sessions are');
is($redis->call('HGET', $redis->device_key($d2), 'bridge'), 'other',
   'and stays with the other bridge');

publish("v1/devices/$d2/status", 'online:boot-3', '-r');
ok(attached($d2, 'b1'), 'until the device comes back');
publish("v1/devices/$d2/status", 'offline:boot-3', '-r');
ok(attached($d2, ''), 'offline detaches');

$redis->fcall('tb_rpc_attach', $redis->device_key($d1), 'other', 's9', 60000);
sleep(1.5);
is($redis->call('HGET', $redis->device_key($d1), 'bridge'), 'other',
   'without sessions: the other bridge keeps the device');
$redis->fcall('tb_rpc_detach', $redis->device_key($d1), 's9');
ok(attached($d1, 'b1'), 'and when it lets go we take it again');


# --- the broker goes and comes ----------------------------------------------

reap($broker, 'TERM');
ok(wait_for { text_of('b1.log') =~ /mqtt: connection to .*trying again/ },
   'the broker has gone');
($rpc) = call($d1, '"echo"', '"after the broker"');
ok(!answer($d1, $rpc, 1), 'no broker, no answer');
broker_start();
ok(connected('b1', 2), 'reconnected to the broker');
is(answer($d1, $rpc, 20), 'A"after the broker"',
   'the call is delivered when the broker is back');


# --- Redis goes and comes ---------------------------------------------------

$redis->stop();
sleep(1);
$redis->go();
($rpc) = call($d1, '"echo"', '"after redis"');
is(answer($d1, $rpc, 20), 'A"after redis"', 'Redis restarted');

# answers that come while Redis is away are kept

$sub = reap($sub, 'KILL');
my $d3 = device_put(new_id());
publish("v1/devices/$d3/status", 'online', '-r');
ok(attached($d3, 'b1'), 'another device');
my @calls = map { [ call($d3, '"mute"', $_) ] } 1 .. 20;
ok(wait_for { $redis->call('LLEN', sprintf('tb:{s%03o}:queue:b1',
                           TB::Bridge::shard($d3))) == 0 }, 'taken');
sleep(0.3);
$redis->stop();
publish("v1/devices/$d3/rpc/response/$_->[1]", "\"kept $_->[1]\"")
    for @calls;
$redis->go();
my @kept = grep {
    (answer($d3, $_->[0]) || '') eq "A\"kept $_->[1]\""
} @calls;
is(scalar @kept, 20, 'answers wait for Redis');

# an empty Redis: sessions come back, the library is waited for

$redis->stop();
$redis->wipe();
$redis->{library} = 0;
$redis->go();
sleep(0.5);
$redis->load_library();
$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
device_put($d1);
ok(attached($d1, 'b1'), 'attached again in an empty Redis');
($rpc) = call($d1, '"echo"', '"empty redis"');
is(answer($d1, $rpc), 'A"empty redis"', 'and served');


# --- many, in order ---------------------------------------------------------

my $ignored = TB::Mqtt::ignored($redis);
@calls = map { [ call($d1, '"echo"', $_), $_ ] } 1 .. 500;
my $right = grep { (answer($d1, $_->[0]) || '') eq "A$_->[3]" } @calls;
is($right, 500, '500 calls, each with its own answer');
wait_for { counter('b1', $pid, 'open') == 0 };
is(TB::Mqtt::ignored($redis), $ignored, 'each report was of use');
is($redis->mishaps(), '', 'nothing had to be put right');

my @order = text_of('d1.log') =~ /"params":(\d+)\}/g;
is_deeply([ @order[-500 .. -1] ], [ 1 .. 500 ], 'in the order of creation');


# --- two processes of one name ----------------------------------------------

my $second = bridge_start('b1', '--session-ttl', 3000);
ok(connected('b1', 3), 'a second process of the same name');
sleep(1);
$session = $redis->call('HGET', $redis->device_key($d1), 'session');
@calls = map { [ call($d1, '"echo"', $_), $_ ] } 1001 .. 1300;
$right = grep { (answer($d1, $_->[0]) || '') eq "A$_->[3]" } @calls;
is($right, 300, 'both serve');
@order = grep { $_ > 1000 } text_of('d1.log') =~ /"params":(\d+)\}/g;
is(scalar @order, 300, 'no call is delivered twice');
is($redis->call('HGET', $redis->device_key($d1), 'session'), $session,
   'they agree on the session');

is(reap($second, 'KILL'), 'signal 9', 'one is killed');
($rpc) = call($d1, '"echo"', '"survivor"');
is(answer($d1, $rpc), 'A"survivor"', 'the other goes on');


# --- the end ----------------------------------------------------------------

@calls = map { [ call($d1, '"echo"', $_), $_ ] } 2001 .. 2100;
is(reap($pid, 'TERM', 30), 0, 'SIGTERM: exit 0');

# whatever was taken was published: what is not answered waits

my $left = $redis->call('LLEN', sprintf('tb:{s%03o}:queue:b1',
                        TB::Bridge::shard($d1)))
           + $redis->call('ZCARD', TB::Bridge::key('pending', $d1));
wait_for {
    my @seen = grep { $_ > 2000 } text_of('d1.log') =~ /"params":(\d+)\}/g;
    @seen == 100 - $left;
};
@order = grep { $_ > 2000 } text_of('d1.log') =~ /"params":(\d+)\}/g;
is(@order + $left, 100, "nothing taken is lost ($left wait in Redis)");
unlike(text_of('b1.log'), qr/calls open, they are left/, 'a clean end');
unlike(text_of('b1.log'), qr/bridge-secret/, 'no secret in the log');

is(reap($device, 'TERM'), 0, 'the demo device ends');


# --- templates, static routes, QoS 0 ----------------------------------------

$pid = bridge_start('b2', '--static', '--qos', 0, '--request-topic',
                    'cmnd/{name}/{method}/{requestId}', '--response-topic',
                    'stat/x-{deviceId}/{requestId}-{method}');
ok(connected('b2'), 'a second bridge');

my $d4 = device_put(new_id(), name => 'lamp 4', bridge => 'b2');
my $d5 = device_put(new_id(), name => 'a/b', bridge => 'b2');
$sub = spawn('d4.log', 'mosquitto_sub', '-h', '127.0.0.1', '-p', $mqtt_port,
             '-v', '-t', 'cmnd/#');
wait_for { publish('cmnd/0', 'probe'); text_of('d4.log') =~ /probe/ };

($rpc, $id, $word) = call($d4, '"power"', 'true');
is($word, 'queued', 'a static route is always online');
ok(wait_for {
       text_of('d4.log') =~ m{^cmnd/lamp 4/power/\Q$id\E \{}m
   }, 'name and method in the topic');
publish("stat/x-$d4/$id-power", '{"POWER":"ON"}');
is(answer($d4, $rpc), 'A{"POWER":"ON"}', 'a response template');

for ([$d5, '"power"', 'a name that is two levels'],
     [$d4, '"a/b"', 'a method that is two levels'],
     [$d4, '"#"', 'a wildcard'], [$d4, '""', 'an empty method'],
     [$d4, '"a\u0000b"', 'a NUL'])
{
    ($rpc) = call($_->[0], $_->[1], '1');
    like(answer($_->[0], $rpc), qr/^F.*MQTT topic/, "failed: $_->[2]");
}

# topics of the broker itself

is(reap($pid, 'TERM'), 0, 'exit 0');
$pid = bridge_start('b2', '--static', '--request-topic',
                    '{method}/{deviceId}/{requestId}');
ok(connected('b2', 2), 'a method at the beginning of the topic');

for my $method ('$SYS', '$share', '$') {
    ($rpc) = call($d4, "\"$method\"", '1');
    like(answer($d4, $rpc), qr/^F.*MQTT topic/, "failed: $method");
}

# a larger answer than allowed

is(reap($pid, 'INT'), 0, 'SIGINT: exit 0');
$pid = bridge_start('b2', '--static', '--max-response', 100,
                    '--mqtt-version', '3.1.1');
ok(connected('b2', 3), 'and again');
($rpc, $id) = call($d4, '"big"', '1');
ok(wait_for { counter('b2', $pid, 'delivered') == 1 }, 'delivered');
publish("v1/devices/$d4/rpc/response/$id", 'x' x 101);
is(answer($d4, $rpc), 'L', 'an answer above --max-response is too large');
($rpc, $id) = call($d4, '"big"', '1');
ok(wait_for { counter('b2', $pid, 'delivered') == 2 }, 'delivered');
publish("v1/devices/$d4/rpc/response/$id", 'x' x 100);
is(answer($d4, $rpc), 'A' . 'x' x 100, 'one of just that size is not');
is(counter('b2', $pid, 'answers_bad'), 1, 'nor does it count as one');


# --- a message that makes the broker disconnect -----------------------------

reap($sub, 'KILL');
reap($broker, 'TERM');
broker_start("max_packet_size 2000\n");
ok(connected('b2', 4), 'a broker that takes small messages only');
$sub = spawn('d4.small.log', 'mosquitto_sub', '-h', '127.0.0.1', '-p',
             $mqtt_port, '-v', '-t', 'v1/#');
wait_for { publish('v1/0', 'probe'); text_of('d4.small.log') =~ /probe/ };

@calls = map {
    [ call($d4, '"m"', $_ == 8 ? '"' . 'x' x 5000 . '"' : $_) ]
} 1 .. 20;
$right = wait_for {
    my %seen = map { $_ => 1 }
               text_of('d4.small.log') =~ /rpc\/request\/(\d+) \{/g;
    keys %seen == 19 && counter('b2', $pid, 'given_up') == 1;
} 60;
ok($right, 'the others are delivered');
is(counter('b2', $pid, 'given_up'), 1, 'the bad one is given up');
connected('b2', 7);
is(scalar(() = text_of('b2.log') =~ /mqtt: connected/g), 7,
   'after three connections that it has broken');

# with MQTT 5 the broker says so before

$second = bridge_start('b5', '--static');
ok(connected('b5'), 'a bridge with MQTT 5');
my $d7 = device_put(new_id(), bridge => 'b5');
($rpc) = call($d7, '"m"', '"' . 'x' x 5000 . '"');
like(answer($d7, $rpc) || '', qr/^F.*cannot be sent/,
     'what the broker would not take fails at once');
($rpc, $id) = call($d7, '"m"', '"fits"');
ok(wait_for { text_of('d4.small.log') =~ /request\/\Q$id\E \{/ },
   'and breaks nothing');
is(scalar(() = text_of('b5.log') =~ /mqtt: connected/g), 1,
   'over the same connection');
is(reap($second, 'TERM'), 0, 'exit 0');


# --- servers that speak nonsense --------------------------------------------

sub nonsense {
    my ($text) = @_;

    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                       LocalPort => free_port(),
                                       Listen => 5, ReuseAddr => 1);
    my $port = $listen->sockport();
    my $server = fork();
    die "fork: $!\n" if !defined $server;

    if ($server == 0) {
        my @open;

        $SIG{PIPE} = 'IGNORE';

        while (my $sock = $listen->accept()) {
            push @open, $sock;
            syswrite $sock, $text if length $text;
        }

        POSIX::_exit(0);
    }

    $children{$server} = 1;

    return ($server, $port);
}


for my $text ("garbage\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"
                              . "*1\r\n*1\r\n*1\r\n",
              ":1\r\n" x 20, "*0\r\n" x 20, "\$-1\r\n" x 20,
              "-ERR no\r\n" x 20, "\x20\x02\x00\x00" . "\xff" x 100,
              "\x20\x02\x00\x05", '')
{
    my ($server, $port) = nonsense($text);
    my $log = "nonsense$port";
    my $lost = spawn("$log.log", @valgrind, $bin, qw(--name x --drain 100),
                     '--redis', "redis://127.0.0.1:$port", '--broker',
                     "mqtt://127.0.0.1:$port");

    my $seconds = $text eq '' ? 2 : 5;

    wait_for { return text_of("$log.log") =~ /trying again/ } $seconds;
    is(reap($lost, 'TERM'), 0, 'survives nonsense of both servers');
    reap($server, 'KILL');
}


# --- no meta, no broker, no Redis: waits, and ends when told -----------------

is(reap($pid, 'TERM'), 0, 'exit 0');
reap($broker, 'TERM');
$redis->stop();
$pid = bridge_start('b3', '--drain', 500);
sleep(scaled(1));
is(reap($pid, 'TERM'), 0, 'exit 0 where nothing could be reached');
$redis->go();


# --- tb-rpc-admin -----------------------------------------------------------

$ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};
my @admin = ($admin, '--redis', "redis://127.0.0.1:$redis->{port}");

for my $d (new_id(), 'DEADBEEF-0000-11EE-8000-00000000000A') {
    ($status, $text) = output(@admin, 'shard', $d);
    is($text, TB::Bridge::shard($d) . "\n", "shard of $d");
}

my $d6 = new_id();
($status, $text) = output(@admin, qw(device add), $d6, '--tenant', $TENANT,
                          '--name', 'a "name"', '--bridge', 'b9',
                          '--token', 'T6');
is($status, 0, 'device add') or diag($text);
is($redis->call('HGET', $redis->device_key($d6), 'name'), 'a "name"',
   'its name');
is($redis->call('GET', 'tb:token:' . sha256_hex('T6')), $d6, 'its token');
($status) = output(@admin, qw(token del T6));
is($status, 0, 'token del');
($status) = output(@admin, qw(token del T6));
is($status, 1, 'token del: no such token');
($status, $text) = output(@admin, qw(token add), $d6);
chomp $text;
is($redis->call('GET', 'tb:token:' . sha256_hex($text)), $d6, 'token add');
($status, $text) = output(@admin, qw(device del), $d6);
is($status, 0, 'device del') or diag($text);
is($redis->call('EXISTS', $redis->device_key($d6)), 0, 'gone');

($status, $text) = output(@admin, qw(api-key add --tenant), $TENANT,
                          '--expires', '2040-01-01T00:00:00Z');
is($status, 0, 'api-key add') or diag($text);
like($text, qr/^tb_[A-Za-z0-9_-]{86}\n\z/, 'an API key');
chomp $text;
my $key = 'tb:apikey:' . sha256_hex($text);
is($redis->call('HGET', $key, 'tenantId'), $TENANT, 'stored by its SHA-256');
is($redis->call('HGET', $key, 'expirationTime'), '2208988800000', 'expires');
($status) = output(@admin, qw(api-key del), $text);
is($status, 0, 'api-key del');
is($redis->call('EXISTS', $key), 0, 'gone');

for ([qw(device add x --tenant), $TENANT], [qw(device add), $d6],
     [qw(api-key add)], [qw(nosuch)], [qw(device)], [],
     [qw(api-key add --authority CUSTOMER_USER --tenant), $TENANT])
{
    ($status, $text) = output(@admin, @$_);
    is($status, 2, "refused: @$_");
}

($status, $text) = output($admin, qw(--redis redis://127.0.0.1:1 device add),
                          $d6, '--tenant', $TENANT);
is($status, 1, 'Redis cannot be reached');
like($text, qr/127\.0\.0\.1:1/, 'and it says where');

my $library = file_in('tb_rpc.lua', library());

($status, $text) = output(@admin, qw(functions load), $library);
like($text, qr/nothing to do|loaded/, 'functions load') or diag($text);
$redis->call('FUNCTION', 'FLUSH');
($status, $text) = output(@admin, qw(functions load), $library);
like($text, qr/^version \d+ loaded/, 'into an empty Redis');
cmp_ok($redis->call('FCALL', 'tb_rpc_version', 0), '>', 0, 'it is there');

# tokens

($status, my $jwt_key) = output($admin, 'keygen');
like($jwt_key, qr{^[A-Za-z0-9+/]{86}==\n\z}, 'keygen');
my $key_file = file_in('jwt.key', $jwt_key);

SKIP: {
    eval { require TB::Token; 1 } or skip 'no TB::Token', 3;

    for my $alg (qw(HS512 HS384 HS256)) {
        ($status, $text) = output($admin, 'jwt', '--key', $key_file,
                                  '--tenant', $TENANT, '--alg', $alg);
        my ($signed, $payload, $signature)
            = $text =~ /^((?:[\w-]+)\.([\w-]+))\.([\w-]+)\n\z/;
        my $bytes = MIME::Base64::decode_base64($jwt_key);
        my $hmac = Digest::SHA->can('hmac_sha' . substr $alg, 2);

        is(MIME::Base64::encode_base64url($hmac->($signed, $bytes)),
           $signature, "a $alg token");
    }
}

($status, $text) = output($admin, 'jwt', '--key', file_in('short', "AAAA\n"),
                          '--tenant', $TENANT);
is($status, 1, 'a short key is refused');

done_testing();
