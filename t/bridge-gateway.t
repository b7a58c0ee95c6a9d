#!/usr/bin/perl

# Devices behind ThingsBoard gateways.
#
# runs: side by side, 25 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Cpu qw(cpu_us);
use TB::Env qw(scaled scratch file_in wait_for);
use TB::Mqtt qw(spawn reap output text_of counter);
use TB::MqttDevices;

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my @gateway = ('--gateway', '--tenant', $TB::Mqtt::TENANT,
               '--session-ttl', 5000);
my ($rpc, $id, $word, $seen);

$mqtt->broker();

my $d1 = $mqtt->device();
my $d2 = $mqtt->device();
my $name2 = "Device \"B\" \xc3\xa9";
$mqtt->name('Device A', $d1);
$mqtt->name($name2, $d2);

# from before our start: nobody knows how old it is
$mqtt->publish('v1/gateway/connect', '{"device":"Device A"}', '-r');
my $pid = $mqtt->bridge('gw', @gateway);
$seen = wait_for { counter('gw', $pid, 'gateway_bad') == 1 };
ok($seen, 'a connect that the broker remembers is refused');
is(counter('gw', $pid, 'devices'), 0, 'and connects nothing');
$mqtt->publish('v1/gateway/connect', '', '-r');
$seen = wait_for { counter('gw', $pid, 'gateway_bad') == 2 };
$mqtt->subscribe('gw.sub', 'v1/gateway/rpc');

sub requests {
    return map { m{^v1/gateway/rpc (.*"method".*)$} ? $1 : () }
           split /\n/, text_of('gw.sub');
}

$mqtt->publish('v1/gateway/connect', '{"device":"Device A","type":"default"}');
ok($mqtt->attached($d1, 'gw'), 'connect attaches');
$mqtt->publish('v1/gateway/connect', '{"device":"Device \"B\" \u00e9"}');
ok($mqtt->attached($d2, 'gw'), 'a name with quotes and UTF-8');

($rpc, $id, $word) = $mqtt->call($d1, '"get\u0041"', '{"v": 1.10}');
is($word, 'queued', 'online');
$seen = wait_for { (requests())[0] };
is($seen, '{"device":"Device A","data":{"id":' . $id
          . ',"method":"get\u0041","params":{"v": 1.10}}}',
   'the request, byte for byte');
$mqtt->publish('v1/gateway/rpc', "{\"device\":\"Device A\",\"id\":$id,"
               . '"data": { "t" : 1.10, "n":123456789012345678901234567890 }'
               . "\n}");
is($mqtt->answer($d1, $rpc),
   'A{ "t" : 1.10, "n":123456789012345678901234567890 }',
   'the answer, byte for byte');

($rpc, $id) = $mqtt->call($d2, '"m"', '1');
wait_for { requests() == 2 };
like((requests())[1], qr/^\{"device":"Device \\"B\\" \xc3\xa9","data"/,
     'the name in JSON');
$mqtt->publish('v1/gateway/rpc', "{\"id\":$id,\"data\":null,"
               . '"device":"Device \"B\" \u00e9"}');
is($mqtt->answer($d2, $rpc), 'Anull', 'members in any order');

($rpc, $id) = $mqtt->call($d1, '"m"', '2');
wait_for { requests() == 3 };
$mqtt->publish('v1/gateway/rpc', "{\"device\":\"Device A\",\"id\":$id,"
               . '"error":"no such method"}');
is($mqtt->answer($d1, $rpc), 'A{"error":"no such method"}',
   'an error of the gateway');

# what nginx allows is not ours to judge: duplicates, numbers beyond a double

($rpc, $id) = $mqtt->call($d1, '"m"', '{"a":1,"a":[1e400,-1e-400]}');
$seen = wait_for { (requests())[3] };
is($seen, '{"device":"Device A","data":{"id":' . $id
          . ',"method":"m","params":{"a":1,"a":[1e400,-1e-400]}}}',
   'a call with duplicates, and numbers that no double holds');
$mqtt->publish('v1/gateway/rpc', "{\"device\":\"Device A\",\"id\":$id,"
               . '"data":{"b":-1e999,"b":{"c":1,"c":2}}}');
is($mqtt->answer($d1, $rpc), 'A{"b":-1e999,"b":{"c":1,"c":2}}',
   'and such an answer');

# what is refused

my $bad = counter('gw', $pid, 'gateway_bad');
my @wrong = (['rpc', '{'], ['rpc', '[]'], ['rpc', ''], ['rpc', 'x' x 2000],
    ['rpc', '{"id":1,"data":1}'], ['rpc', '{"device":"Device A","id":0,'
    . '"data":1}'], ['rpc', '{"device":"Device A","id":2147483648,"data":1}'],
    ['rpc', '{"device":"Device A","id":"1","data":1}'],
    ['rpc', '{"device":7,"id":1,"data":1}'],
    ['rpc', '{"device":"Device A","id":1}'], ['rpc', "\0\xff"],
    ['rpc', '{"device":"a\u0000b","id":1,"data":1}'],
    ['connect', '{"device":""}'], ['connect', '{}'], ['disconnect', 'x'],
    ['connect', '{"device":"' . 'x' x 300 . '"}'],
    ['rpc', '{"device":"Device A","id":1,"data":1} x'],
    ['rpc', '[' x 50000]);
$mqtt->publish("v1/gateway/$_->[0]", $_->[1]) for @wrong;
$seen = wait_for { counter('gw', $pid, 'gateway_bad') == $bad + @wrong };
ok($seen, 'broken messages are refused')
    or diag(counter('gw', $pid, 'gateway_bad') - $bad . ' of ' . @wrong);

my $late = counter('gw', $pid, 'answers_late');
my $unknown = counter('gw', $pid, 'names_unknown');
$mqtt->publish('v1/gateway/rpc', '{"device":"Device A","id":77,"data":1}');
$mqtt->publish('v1/gateway/rpc', "{\"device\":\"Device A\",\"id\":$id,"
               . '"data":1}');
$mqtt->publish('v1/gateway/rpc', '{"device":"Nobody","id":77,"data":1}');
$mqtt->publish('v1/gateway/connect', '{"device":"Nobody"}');
$seen = wait_for {
    counter('gw', $pid, 'answers_late') == $late + 2
    && counter('gw', $pid, 'names_unknown') == $unknown + 2;
};
ok($seen, 'late answers and unknown names are counted');

# a name that becomes known

my $d3 = $mqtt->device();
$mqtt->name('Nobody', $d3);
sleep(5.1);
$mqtt->publish('v1/gateway/connect', '{"device":"Nobody"}');
ok($mqtt->attached($d3, 'gw'), 'a device that is added later');
is($redis->call('HGET', $redis->device_key($d1), 'bridge'), 'gw',
   'heartbeats go on');

# the gateway itself is a device like any other

my $d4 = $mqtt->device();
$mqtt->publish("v1/devices/$d4/status", 'online', '-r');
ok($mqtt->attached($d4, 'gw'), 'an ordinary device beside it');
$mqtt->subscribe('d4.sub', "v1/devices/$d4/rpc/request/+");
($rpc, $id) = $mqtt->call($d4, '"m"', '3');
$seen = wait_for { text_of('d4.sub') =~ m{request/$id \{"method":"m"} };
ok($seen, 'has its own topics');

# the bridge is killed: the gateway does not connect its devices again

is(reap($pid, 'KILL'), 'signal 9', 'killed');
$redis->fcall('tb_rpc_attach', $redis->device_key($d3), 'other', 's9', 60000);
$seen = wait_for {
    $redis->call('HGET', $redis->device_key($d1), 'until') < 1000 * time
};
ok($seen, 'its sessions have lapsed');
$pid = $mqtt->bridge('gw', @gateway);
$mqtt->call($d1, '"after"', '1');
$seen = wait_for { grep { /Device A.*"after"/ } requests() };
ok($seen, 'after a restart the devices behind gateways are remembered');
$seen = wait_for { counter('gw', $pid, 'devices') == 4 };
ok($seen, 'all of them');
sleep(1.2);
is($redis->call('HGET', $redis->device_key($d3), 'bridge'), 'other',
   'which does not take one back from another bridge');

# the broker restarts

reap($mqtt->{broker}, 'TERM');
# newer ones have a limit by themselves
$mqtt->broker("max_packet_size 268435455\n");
wait_for { 2 <= (() = text_of('gw.log') =~ /mqtt: connected/g) };
$mqtt->subscribe('gw.sub', 'v1/gateway/rpc');
$seen = wait_for {
    $mqtt->call($d2, '"again"', '1', oneway => 1);
    sleep(0.2);
    grep { /"again"/ } requests();
};
ok($seen, 'and after a restart of the broker');

$mqtt->publish('v1/gateway/disconnect', '{"device":"Device A"}');
ok($mqtt->attached($d1, ''), 'disconnect detaches');
is($redis->call('HEXISTS', 'tb:{s000}:gateway:gw', $d1), 0,
   'and is remembered');
is($redis->call('HEXISTS', 'tb:{s000}:gateway:gw', $d2), 1,
   'as are the others');

# one of several gateways that share the topics cannot speak for all

$mqtt->publish('v1/gateway/status', 'offline');
$mqtt->publish('v1/gateway/connect', '{"device":"Device A"}');
ok($mqtt->attached($d1, 'gw'), 'where gateways share their topics');
is($redis->call('HGET', $redis->device_key($d2), 'bridge'), 'gw',
   'the last will of one is not that of all');


# --- what is too large is not looked into ------------------------------------

# in a lot of small values, which take the longest to parse

sub nested {
    my ($size) = @_;

    return '{"device":"Device A","id":5,"data":['
           . '[],' x (($size - 40) / 3) . '0]}';
}


# ms of CPU that the bridge spends on a message, and on what comes behind it

sub cost {
    my ($pid, $name, $topic, $payload) = @_;

    my $bad = counter($name, $pid, 'gateway_bad');
    my $before = cpu_us($pid);

    $mqtt->publish($topic, $payload);
    $mqtt->publish('v1/gateway/rpc', '{');
    wait_for { counter($name, $pid, 'gateway_bad') > $bad } 60;
    wait_for { counter($name, $pid, 'open') == 0 };

    return (cpu_us($pid) - $before) / 1000;
}

$bad = counter('gw', $pid, 'gateway_bad');
cost($pid, 'gw', 'v1/gateway/rpc', nested(16e6));
is(counter('gw', $pid, 'gateway_bad'), $bad + 1,
   'with MQTT 5 the broker keeps 16 MB for itself');
is(reap($pid, 'TERM'), 0, 'exit 0');

$pid = $mqtt->bridge('big', @gateway, '--mqtt-version', '3.1.1', '--session-ttl',
                     60_000);
my $ms = cost($pid, 'big', 'v1/gateway/rpc', nested(16e6));
cmp_ok($ms, '<', scaled(400), "16 MB with 3.1.1: $ms ms");
$seen = wait_for { text_of('big.log') =~ /rpc is refused: .*max-response/ };
ok($seen, 'are refused');
$ms = cost($pid, 'big', 'v1/gateway/connect', nested(1e6));
cmp_ok($ms, '<', scaled(60), "1 MB that connects: $ms ms");

# what waits for a name is not kept beyond what is passed on

my $hwm = sub {
    open my $fh, '<', "/proc/$pid/status" or return 0;
    return join('', <$fh>) =~ /VmHWM:\s*(\d+)/ ? $1 / 1024 : 0;
};

is(reap($pid, 'TERM'), 0, 'exit 0');
$pid = $mqtt->bridge('big', '--tenant', $TB::Mqtt::TENANT, '--mqtt-version',
                     '3.1.1', '--response-topic', 'big/{name}/{requestId}',
                     '--static', '--max-response', 1000);

my $d6 = $mqtt->device(bridge => 'big');

$mqtt->name('large', $d6);
$mqtt->subscribe('big.sub', "v1/devices/$d6/rpc/request/+");
($rpc, $id) = $mqtt->call($d6, '"m"', 1);
wait_for { text_of('big.sub') =~ m{/$id } };
$redis->pause();
$mqtt->publish("big/large/$id", 'x' x 30e6);
wait_for { counter('big', $pid, 'waiting') == 1 } 60;
$redis->resume();
is($mqtt->answer($d6, $rpc), 'L', 'an answer of 30 MB is too large');

SKIP: {
    skip 'not its own memory', 1 if $ENV{TB_MODE};

    # two are the library's
    cmp_ok($hwm->(), '<', 80, 'and not kept: ' . int($hwm->()) . ' MB at most');
}

is(reap($pid, 'TERM'), 0, 'exit 0');


# --- Redis is away -----------------------------------------------------------

$pid = $mqtt->bridge('away', @gateway, '--max-answers', 20,
                     '--keepalive', 5);
$mqtt->publish('v1/gateway/connect', '{"device":"Device A"}');
ok($mqtt->attached($d1, 'away'), 'a name that is known');
$redis->pause();
TB::MqttDevices::publish($mqtt->{port}, map {
    ['v1/gateway/' . ($_ % 2 ? 'dis' : '') . 'connect',
     '{"device":"Device A"}']
} 1 .. 1000);
$seen = wait_for { counter('away', $pid, 'waiting') >= 20 };
ok($seen, 'what a gateway says waits for Redis');
sleep(0.3);
cmp_ok(counter('away', $pid, 'waiting'), '<', 300,
       'up to --max-answers: the broker keeps the rest');
$redis->resume();
$mqtt->publish('v1/gateway/connect', '{"device":"' . $name2 =~ s/"/\\"/gr
                                     . '"}');
ok($mqtt->attached($d2, 'away'), 'which comes then');
ok($mqtt->attached($d1, 'away'), 'in its order');
$seen = wait_for { counter('away', $pid, 'waiting') == 0 };
ok($seen, 'and nothing waits any more');

# another connection to the broker, while nothing more is read of it

$redis->pause();
TB::MqttDevices::publish($mqtt->{port}, map {
    ['v1/gateway/disconnect', '{"device":"Device A"}']
} 1 .. 300);
wait_for { counter('away', $pid, 'waiting') >= 20 };
reap($mqtt->{broker}, 'TERM');
$mqtt->broker();
$seen = wait_for {
    2 <= (() = text_of('away.log') =~ /mqtt: connected/g)
} 60;
ok($seen, 'a broker that comes back is connected to without Redis');
$redis->resume();
$seen = wait_for { counter('away', $pid, 'waiting') == 0 };
ok($seen, 'which takes what waited');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- gateways with topics of their own --------------------------------------

my $d5 = $mqtt->device();
$mqtt->name('Device E', $d5);
$pid = $mqtt->bridge('own', @gateway, '--gateway-topic',
                     'gateways/{gateway}/v1');
$mqtt->subscribe('own.sub', 'gateways/+/v1/rpc');
$mqtt->publish('gateways/g1/v1/connect', '{"device":"Device E"}');
ok($mqtt->attached($d5, 'own'), 'connect by a gateway of its own topic');
($rpc, $id) = $mqtt->call($d5, '"m"', '1');
$seen = wait_for { text_of('own.sub') =~ m{^gateways/g1/v1/rpc .*"id":$id}m };
ok($seen, 'the call goes to that gateway');

$bad = counter('own', $pid, 'gateway_bad');
$mqtt->publish('gateways/g2/v1/rpc', "{\"device\":\"Device E\",\"id\":$id,"
               . '"data":"foreign"}');
$seen = wait_for { counter('own', $pid, 'gateway_bad') == $bad + 1 };
ok($seen, 'another gateway cannot answer');
$mqtt->publish('gateways/g2/v1/disconnect', '{"device":"Device E"}');
$mqtt->publish('gateways/g2/v1/status', 'offline');
$mqtt->publish('gateways/g1/v1/rpc', "{\"device\":\"Device E\",\"id\":$id,"
               . '"data":"mine"}');
is($mqtt->answer($d5, $rpc), 'A"mine"', 'its own can');
is($redis->call('HGET', $redis->device_key($d5), 'bridge'), 'own',
   'nor disconnect it');

$mqtt->publish('gateways/g2/v1/connect', '{"device":"Device E"}');
$mqtt->call($d5, '"moved"', '1');
$seen = wait_for { text_of('own.sub') =~ m{^gateways/g2/v1/rpc .*"moved"}m };
ok($seen, 'a device that moves to another gateway');

# a last will that the broker remembers is of another time

is(reap($pid, 'TERM'), 0, 'exit 0');
$mqtt->publish('gateways/g2/v1/status', 'offline', '-r');
$pid = $mqtt->bridge('own', @gateway, '--gateway-topic',
                     'gateways/{gateway}/v1');
$seen = wait_for { counter('own', $pid, 'gateway_bad') == 1 };
ok($seen, 'a retained last will is refused');
is($redis->call('HEXISTS', 'tb:{s000}:gateway:own', $d5), 1,
   'and disconnects nothing');
$mqtt->publish('gateways/g2/v1/status', 'offline', '-r');
ok($mqtt->attached($d5, ''), 'the last will of the gateway');
is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
