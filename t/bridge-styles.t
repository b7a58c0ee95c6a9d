#!/usr/bin/perl

# tb-rpc-mqtt-bridge with devices that know nothing of ThingsBoard: names in
# topics, plain payloads, answers without a request id; and MQTT 5.
#
# runs: side by side, 10 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scratch file_in wait_for);
use TB::Mqtt qw(spawn reap output text_of counter);

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($rpc, $id, $word, $pid);

$mqtt->broker();


# --- Tasmota ----------------------------------------------------------------

my @tasmota = ('--tenant', $TB::Mqtt::TENANT,
               '--request-topic', 'cmnd/{name}/{method}',
               '--response-topic', 'stat/{name}/RESULT',
               '--presence-topic', 'tele/{name}/LWT',
               '--payload', 'value', '--online', 'Online',
               '--offline', 'Offline');

my $d1 = $mqtt->device(name => 'plug 1');
my $d2 = $mqtt->device(name => 'plug2');
$mqtt->name('plug 1', $d1);
$mqtt->name('plug2', $d2);
$mqtt->publish('tele/plug 1/LWT', 'Online', '-r');
$pid = $mqtt->bridge('tas', @tasmota);
$mqtt->subscribe('tas.sub', 'cmnd/#');

ok($mqtt->attached($d1, 'tas'), 'presence by name, retained');
$mqtt->publish('tele/plug2/LWT', 'Online', '-r');
ok($mqtt->attached($d2, 'tas'), 'and live');

# an answer's state comes also when nobody has asked
$mqtt->publish('stat/plug 1/RESULT', '{"POWER":"OFF"}');
my $seen = wait_for { counter('tas', $pid, 'answers_late') == 1 };
ok($seen, 'a state that is no answer');

($rpc, $id, $word) = $mqtt->call($d1, '"POWER"', '"ON"');
is($word, 'queued', 'online');
$seen = wait_for { text_of('tas.sub') =~ m{^cmnd/plug 1/POWER ON$}m };
ok($seen, 'a bare string');
$mqtt->publish('stat/plug2/RESULT', '{"POWER":"foreign"}');
$mqtt->publish('stat/plug 1/RESULT', '{"POWER":"ON"}');
is($mqtt->answer($d1, $rpc), 'A{"POWER":"ON"}', 'answered without an id');

# mosquitto_sub shows an empty payload as (null)

for (['"x"', '1.50', '1.50'], ['"x"', 'true', 'true'], ['"x"', 'null', '(null)'],
     ['"x"', '{}', '(null)'], ['"x"', '{"a": 1.10}', '{"a": 1.10}'],
     ['"x"', '"\u00e9 \"q\" \\\\"', "\xc3\xa9 \"q\" \\"],
     ['"x"', '[1, 2]', '[1, 2]'])
{
    my $before = () = text_of('tas.sub') =~ m{^cmnd/plug2/x}mg;
    $mqtt->call($d2, $_->[0], $_->[1], oneway => 1);
    wait_for {
        (() = text_of('tas.sub') =~ m{^cmnd/plug2/x}mg) > $before;
    };
    my @lines = text_of('tas.sub') =~ m{^cmnd/plug2/x ([^\n]*)$}mg;
    is($lines[-1], $_->[2], "value of $_->[1]");
}

# in the order of the calls; one-way calls do not count; ended ones do not

my @calls = map { [ $mqtt->call($d1, '"seq"', $_) ] } 1 .. 5;
$mqtt->call($d1, '"seq"', 6, oneway => 1);
wait_for { text_of('tas.sub') =~ m{/seq 6$}m };
$redis->fcall('tb_rpc_cancel', $redis->device_key($d1), $calls[1][0],
              $calls[1][1]);
$mqtt->publish('stat/plug 1/RESULT', "\"answer $_\"") for 1, 3, 4, 5;
is_deeply([ map { $mqtt->answer($d1, $calls[$_ - 1][0]) } 1, 3, 4, 5 ],
          [ map { "A\"answer $_\"" } 1, 3, 4, 5 ],
          'each answer to the oldest call that is open');

# two answers to a call that has ended, the second while Redis is asked about
# the first: both are nobody's, and the next call is answered

($rpc, $id) = $mqtt->call($d1, '"ended"', '1');
wait_for { text_of('tas.sub') =~ m{/ended 1$}m };
$redis->fcall('tb_rpc_cancel', $redis->device_key($d1), $rpc, $id);
my $late = counter('tas', $pid, 'answers_late');
$redis->pause();
$mqtt->publish('stat/plug 1/RESULT', "\"twice $_\"") for 1, 2;
$redis->resume();
$seen = wait_for { counter('tas', $pid, 'answers_late') == $late + 2 };
ok($seen, 'two answers to a call that has ended');
($rpc) = $mqtt->call($d1, '"next"', '1');
wait_for { text_of('tas.sub') =~ m{/next 1$}m };
$mqtt->publish('stat/plug 1/RESULT', '"once"');
is($mqtt->answer($d1, $rpc), 'A"once"', 'and then an answer to an open one');

# a call that cannot be sent waits for no answer

($rpc) = $mqtt->call($d1, '"a/b"', '1');
like($mqtt->answer($d1, $rpc), qr/^F.*MQTT topic/, 'a method of two levels');
($rpc) = $mqtt->call($d1, '"right"', '1');
wait_for { text_of('tas.sub') =~ m{/right 1$}m };
$mqtt->publish('stat/plug 1/RESULT', '"to it"');
is($mqtt->answer($d1, $rpc), 'A"to it"', 'the answer is not for that one');
is($redis->counter('ignored_respond'), 2,
   'Redis is asked in vain only of calls that were withdrawn');

# an entry of a name that is as long as a UUID, and none

$mqtt->name('broken', substr($d1, 0, 35) . 'x');
my $broken = counter('tas', $pid, 'names_unknown');
$mqtt->publish('tele/broken/LWT', 'Online');
$seen = wait_for { counter('tas', $pid, 'names_unknown') == $broken + 1 };
ok($seen, 'a device id that is none is no device');

# names that are none

my $unknown = counter('tas', $pid, 'names_unknown');
$mqtt->publish("stat/$_/RESULT", '1') for 'nobody', 'x' x 300, 'a:b';
$seen = wait_for { counter('tas', $pid, 'names_unknown') == $unknown + 3 };
ok($seen, 'unknown names are counted');
$mqtt->publish('tele/plug2/LWT', 'Offline', '-r');
ok($mqtt->attached($d2, ''), 'Offline');

# Redis away: names wait, the order is kept

($rpc) = $mqtt->call($d1, '"late"', '1');
wait_for { text_of('tas.sub') =~ m{/late 1$}m };
$redis->stop();
$mqtt->publish('stat/plug 1/RESULT', '"kept"');
$redis->go();
is($mqtt->answer($d1, $rpc), 'A"kept"', 'an answer over a restart of Redis');
is(reap($pid, 'TERM'), 0, 'exit 0');

# what waits for its name when the bridge ends: nobody has said it is unknown

$pid = $mqtt->bridge('end', @tasmota, '--drain', 0);
$redis->pause();
$mqtt->publish('stat/not yet/RESULT', '1');
$seen = wait_for { counter('end', $pid, 'waiting') == 1 };
ok($seen, 'a message waits for its name');
is(reap($pid, 'TERM'), 0, 'exit 0');
$redis->resume();
unlike(text_of('end.log'), qr/not yet/, 'and is not judged at the end');


# --- zigbee2mqtt ------------------------------------------------------------

my $d3 = $mqtt->device();
my $file = file_in('devices.csv', "name,deviceId\n# comment\nbulb,$d3\n"
                   . "bad line\n\"x\"\"y,z\"," . uc($d1) . "\nbulb,$d1\n"
                   . "w,not-a-uuid\n,$d1\n\"open,$d1\n");
my @zigbee = ('--devices', $file,
              '--request-topic', 'zigbee2mqtt/{name}/set',
              '--response-topic', 'zigbee2mqtt/{name}',
              '--presence-topic', 'zigbee2mqtt/{name}/availability',
              '--payload', 'params');

$mqtt->publish('zigbee2mqtt/bulb', '{"state":"OLD"}', '-r');
$pid = $mqtt->bridge('zig', @zigbee);
$mqtt->subscribe('zig.sub', 'zigbee2mqtt/+/set');
like(text_of('zig.log'), qr/devices\.csv: 2 names/, 'names of a file');
my @wrong = text_of('zig.log') =~ /devices\.csv:(\d+): ignored/g;
is_deeply(\@wrong, [4, 6, 7, 8, 9], 'wrong lines are named');

$mqtt->publish('zigbee2mqtt/bulb/availability', '{"state":"online"}', '-r');
ok($mqtt->attached($d3, 'zig'), '{"state":"online"}');
is(counter('zig', $pid, 'answers_late'), 0,
   'the state that the broker remembers is no answer');
($rpc) = $mqtt->call($d3, '"set"', '{ "brightness" : 1.0 }');
$seen = wait_for {
    text_of('zig.sub') =~ m{^zigbee2mqtt/bulb/set \{ "brightness" : 1\.0 \}$}m
};
ok($seen, 'params as they are');
$mqtt->publish('zigbee2mqtt/bulb', '{"state":"ON"}');
is($mqtt->answer($d3, $rpc), 'A{"state":"ON"}',
   'the next state is the answer, the retained one is not');

file_in('devices.csv', "bulb,$d3\nlamp,$d2\n");
kill 'HUP', $pid;
$seen = wait_for { text_of('zig.log') =~ /2 names.*2 names/s };
$mqtt->publish('zigbee2mqtt/lamp/availability', 'online');
ok($mqtt->attached($d2, 'zig'), 'SIGHUP reads the file again');
unlink $file;
kill 'HUP', $pid;
$seen = wait_for { text_of('zig.log') =~ /cannot be read/ };
ok($seen, 'a file that is gone is said');
($rpc) = $mqtt->call($d2, '"set"', '7');
$seen = wait_for { text_of('zig.sub') =~ m{^zigbee2mqtt/lamp/set 7$}m };
ok($seen, 'and the names stay');
$mqtt->publish('zigbee2mqtt/lamp/availability', '{"state":"offline"}');
ok($mqtt->attached($d2, ''), '{"state":"offline"}');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- tenants in topics ------------------------------------------------------

# the same name in two tenants

my $other = '7e000000-0000-11ee-8000-00000000000b';
my ($d8, $d9) = map { $mqtt->device() } 1, 2;

$mqtt->name('same', $d8);
$mqtt->name('same', $d9, $other);
$redis->fcall('tb_rpc_device_put', $redis->device_key($d9), $other, '');
$pid = $mqtt->bridge('ten', '--tenant', $TB::Mqtt::TENANT,
                     '--presence-topic', '{tenantId}/{name}/status');
$mqtt->publish("$other/same/status", 'online');
ok($mqtt->attached($d9, 'ten'), 'a name is one of the tenant in the topic');
is($redis->call('HGET', $redis->device_key($d8), 'bridge') || '', '',
   'and of no other');
my $refused = counter('ten', $pid, 'presence_bad');
$mqtt->publish('tenant/same/status', 'online');
$seen = wait_for { counter('ten', $pid, 'presence_bad') == $refused + 1 };
ok($seen, 'what is no tenant is refused');
is(reap($pid, 'TERM'), 0, 'exit 0');


# A device id says all, but a broker may let a tenant use any id below its own
# topic: the device must be one of that tenant.

my $d10 = $mqtt->device();

$pid = $mqtt->bridge('own', '--presence-topic', '{tenantId}/{deviceId}/status',
                     '--response-topic', '{tenantId}/{deviceId}/r/{requestId}');
$mqtt->subscribe('own.sub', "v1/devices/$d10/rpc/request/+");


sub foreign {
    my ($what, $topic, $payload) = @_;

    my $before = counter('own', $pid, 'foreign');

    $mqtt->publish("$other/$topic", $payload);
    $seen = wait_for { counter('own', $pid, 'foreign') == $before + 1 };
    ok($seen, "refused: $what of a device of another tenant");
}

foreign('presence', "$d10/status", 'online:forged');
is($redis->call('HGET', $redis->device_key($d10), 'bridge') || '', '',
   'it is not attached');
$mqtt->publish("$TB::Mqtt::TENANT/$d10/status", 'online:real');
ok($mqtt->attached($d10, 'own'), 'presence of its own tenant attaches it');
foreign('the end', "$d10/status", 'offline:real');
foreign('a session', "$d10/status", 'online:forged');
is($redis->call('HGET', $redis->device_key($d10), 'session'), 'real',
   'its session goes on');
($rpc, $id) = $mqtt->call($d10, '"m"', '1');
wait_for { text_of('own.sub') =~ m{/request/$id } };
foreign('an answer', "$d10/r/$id", '"forged"');
$mqtt->publish("$TB::Mqtt::TENANT/$d10/r/$id", '"true"');
is($mqtt->answer($d10, $rpc), 'A"true"', 'its own answer is taken');
foreign('presence', 'de000000-0000-11ee-8000-00000000ffff/status', 'online');
$refused = counter('own', $pid, 'presence_bad');
$mqtt->publish("tenant/$d10/status", 'offline');
$seen = wait_for { counter('own', $pid, 'presence_bad') == $refused + 1 };
ok($seen, 'what is no tenant is refused');
$mqtt->publish(uc($TB::Mqtt::TENANT) . "/$d10/status", 'offline:real');
ok($mqtt->attached($d10, ''), 'capitals are the same tenant');
is(reap($pid, 'TERM'), 0, 'exit 0');

# nor does a file of names say whose the devices are

$pid = $mqtt->bridge('own', '--devices', file_in('own.csv', "lamp,$d10\n"),
                     '--presence-topic', '{tenantId}/{name}/status',
                     '--response-topic', '{tenantId}/{name}/r/{requestId}');
foreign('presence by name', 'lamp/status', 'online:forged');
$mqtt->publish("$TB::Mqtt::TENANT/lamp/status", 'online:real');
ok($mqtt->attached($d10, 'own'), 'a name of the file, by its own tenant');
is($redis->call('HGET', $redis->device_key($d10), 'session'), 'real',
   'its session is its own');
foreign('the end by name', 'lamp/status', 'offline:real');
($rpc, $id) = $mqtt->call($d10, '"m"', '2');
$seen = wait_for { text_of('own.sub') =~ m{/request/$id } };
foreign('an answer by name', "lamp/r/$id", '"forged"');
$mqtt->publish("$TB::Mqtt::TENANT/lamp/r/$id", '"true"');
is($mqtt->answer($d10, $rpc), 'A"true"', 'its own answer is taken');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- MQTT 5 -----------------------------------------------------------------

my @five = ('-V', 5);
$pid = $mqtt->bridge('five', '--mqtt-version', 5, '--client-id', 'five',
                     '--response-topic', 'answers/{deviceId}');
my $d5 = $mqtt->device();
spawn('five.sub', 'mosquitto_sub', '-h', '127.0.0.1', '-p', $mqtt->{port},
      '-V', 5, '-F', '%t|%R|%D|%p', '-t', "v1/devices/$d5/rpc/request/+",
      '-t', 'probe', '-q', 1);
wait_for { $mqtt->publish('probe', 'probe'); text_of('five.sub') =~ /probe/ };
$mqtt->publish("v1/devices/$d5/status", 'online', '-r');
ok($mqtt->attached($d5, 'five'), 'MQTT 5');

@calls = map { [ $mqtt->call($d5, '"m"', $_) ] } 1 .. 3;
$seen = wait_for {
    my @got = text_of('five.sub') =~ m{/request/(\d+)\|}g;
    @got == 3;
};
ok($seen, 'three calls');
like(text_of('five.sub'), qr/request\/$calls[0][1]\|answers\/\Q$d5\E\|/,
     'with a response topic');
like(text_of('five.sub'), qr/\|\Q$d5\/$calls[0][1]\E\|/,
     'and correlation data');

# a one-way call has none

$mqtt->call($d5, '"m"', '"one-way"', oneway => 1);
wait_for { text_of('five.sub') =~ /"params":"one-way"/ };
like(text_of('five.sub'), qr/\/request\/\d+\|\|\|\{"method":"m","params":"one/,
     'a one-way call says nothing of an answer');

# the last first
my $ignored = $redis->counter('ignored_respond');
for my $call (reverse @calls) {
    $mqtt->publish("answers/$d5", "\"to $call->[1]\"", @five, '-D', 'PUBLISH',
                   'correlation-data', "$d5/$call->[1]");
}
is_deeply([ map { $mqtt->answer($d5, $_->[0]) } @calls ],
          [ map { "A\"to $_->[1]\"" } @calls ],
          'answers by their correlation data');

my $bad = counter('five', $pid, 'answers_bad');
$mqtt->publish("answers/$d5", '1', @five, '-D', 'PUBLISH',
               'correlation-data', $_)
    for 'x', "$d1/5", "$d5/0", "$d5/99999999999", "$d5/", "$d5/5x";
$seen = wait_for { counter('five', $pid, 'answers_bad') == $bad + 6 };
ok($seen, 'foreign or broken correlation data is refused');

($rpc) = $mqtt->call($d5, '"m"', '4');
wait_for { text_of('five.sub') =~ /"params":4/ };
$mqtt->publish("answers/$d5", '"plain"');
is($mqtt->answer($d5, $rpc), 'A"plain"', 'without it: the oldest call');
is($redis->counter('ignored_respond'), $ignored, 'which is known at once');

# nobody subscribes

my $d6 = $mqtt->device();
$mqtt->publish("v1/devices/$d6/status", 'online', '-r');
ok($mqtt->attached($d6, 'five'), 'a device that does not listen');
($rpc) = $mqtt->call($d6, '"m"', '5', persistent => 1, oneway => 1);
$seen = wait_for { counter('five', $pid, 'unheard') == 1 };
ok($seen, 'the broker says that nobody has subscribed');
$seen = wait_for { $mqtt->status($d6, $rpc) eq 'QUEUED' };
ok($seen, 'the call waits again');
is(counter('five', $pid, 'returned'), 1, 'since it was returned');
$mqtt->subscribe('six.sub', "v1/devices/$d6/rpc/request/+");
$seen = wait_for {
    $mqtt->tick($d6);
    $mqtt->status($d6, $rpc) eq 'DELIVERED';
} 30;
ok($seen, 'until somebody has');
is(() = text_of('six.sub') =~ /"params":5/g, 1, 'once');
is($redis->counter('retries'), 0, 'no retry was used');

# the session of a --client-id outlives its connection

($rpc, $id) = $mqtt->call($d5, '"m"', '6');
wait_for { text_of('five.sub') =~ /"params":6/ };
is(reap($pid, 'KILL'), 'signal 9', 'killed');
$mqtt->publish("answers/$d5", '"kept"', @five, '-D', 'PUBLISH',
               'correlation-data', "$d5/$id");
$pid = $mqtt->bridge('five', '--mqtt-version', 5, '--client-id', 'five',
                     '--response-topic', 'answers/{deviceId}');
is($mqtt->answer($d5, $rpc), 'A"kept"',
   'an answer while no bridge is there, by its correlation data');
is(reap($pid, 'TERM'), 0, 'exit 0');

# a broker that refuses

my $d7 = $mqtt->device(bridge => 'ref');
reap($mqtt->{broker}, 'TERM');
$mqtt->broker('acl_file ' . file_in('acl', "topic readwrite #\n"
                                    . "topic deny ref/+/no\n") . "\n");
$pid = $mqtt->bridge('ref', '--mqtt-version', 5, '--static',
                     '--request-topic', 'ref/{deviceId}/{method}',
                     '--response-topic', 'ref/{deviceId}');
$mqtt->subscribe('ref.sub', 'ref/+/yes');
$ignored = $redis->counter('ignored_respond');
($rpc) = $mqtt->call($d7, '"no"', '1');
like($mqtt->answer($d7, $rpc) || '', qr/^F.*[Nn]ot authorized/,
     'what the broker refuses is failed, with its reason');
($rpc) = $mqtt->call($d7, '"yes"', '1');
wait_for { text_of('ref.sub') =~ /"yes"/ };
$mqtt->publish("ref/$d7", '"sir"');
is($mqtt->answer($d7, $rpc), 'A"sir"', 'the next call is answered');
is($redis->counter('ignored_respond'), $ignored,
   'the answer is not tried on the one that failed');
is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
