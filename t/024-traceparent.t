# The trace of a caller (W3C's header "traceparent"), from its request to a
# device behind the MQTT bridge or one that polls, and to the log; what is not
# valid goes nowhere.
#
# runs: side by side, 2 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::Bridge;
use TB::Env qw(file_in free_port wait_for);
use TB::Fixture;
use TB::Mqtt qw(spawn text_of);
use TB::Nginx;

if ($ENV{TB_REDIS_CLUSTER}) {
    plan skip_all => 'the bridge has one Redis here';
}

plan skip_all => 'no mosquitto' if !TB::Mqtt::mosquitto();
plan skip_all => 'no ' . TB::Mqtt::program() if !-x TB::Mqtt::program();

redis();
device('five', bridge => 'five');
device('old', bridge => 'old');
device('http');
redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('http'));

my $mqtt = bless { port => free_port(), redis => redis(), connects => {},
                   password => file_in('bridge.password',
                       "$TB::RedisServer::PASSWORD{bridge}\n") }, 'TB::Mqtt';
my $nginx = TB::Nginx->start(
    http => "log_format  trace  '\$request_method \$tb_rpc_method"
            . " trace=\$tb_rpc_traceparent';",
    config => <<'_EOC_');
    access_log  traces.log  trace;
    location /api/rpc/ { tb_rpc  v2; }
    location /api/v1/ { tb_rpc_device_api; }
    location = /other { return  200 "[$tb_rpc_traceparent]"; }
    location /page/rpc/ {
        tb_rpc                   v2;
        tb_rpc_intercept_errors  on;
        error_page               401 = @refused;
    }
    location @refused { return  200 "[$tb_rpc_traceparent]"; }
_EOC_

my $bearer = 'Bearer ' . macro('token:tenant');
my $trace = '0af7651916cd43dd8448eb211c80319c';
my $parent = 'b7ad6b7169203331';
my $valid = "00-$trace-$parent-01";

# lines of a header, and what is passed on

my @rows = (
    ['nothing', '', ''],
    ['valid', "traceparent: $valid", $valid],
    ['not sampled', "traceparent: 00-$trace-$parent-00",
     "00-$trace-$parent-00"],
    ['flags of a later level', "traceparent: 00-$trace-$parent-ff",
     "00-$trace-$parent-ff"],
    ['the name in capitals', "TRACEPARENT: $valid", $valid],
    ['blanks around it', "traceparent:   $valid  ", $valid],
    ['with tracestate', "tracestate: a=1\ntraceparent: $valid", $valid],
    ['a later version', "traceparent: cc-$trace-$parent-03",
     "00-$trace-$parent-01"],
    ['a later version, not sampled', "traceparent: 01-$trace-$parent-fe",
     "00-$trace-$parent-00"],
    ['a later version that goes on', "traceparent: 01-$trace-$parent-0d-x\"y",
     "00-$trace-$parent-01"],
    ['a later version that goes on without a dash',
     "traceparent: 01-$trace-$parent-01.x", ''],
    ['version ff', "traceparent: ff-$trace-$parent-01", ''],
    ['version 00 that goes on', "traceparent: $valid-x", ''],
    ['twice', "traceparent: $valid\ntraceparent: $valid", ''],
    ['empty', 'traceparent:', ''],
    ['too short', 'traceparent: ' . substr($valid, 0, 54), ''],
    ['one digit more', "traceparent: ${valid}0", ''],
    ['capitals', 'traceparent: ' . uc $valid, ''],
    ['no hex digit', "traceparent: 00-${\ ('g' x 32)}-$parent-01", ''],
    ['no hex digit in its version', "traceparent: 0x-$trace-$parent-01", ''],
    ['no hex digit in its flags', "traceparent: 00-$trace-$parent-0x", ''],
    ['a trace of zeros', "traceparent: 00-${\ (0 x 32)}-$parent-01", ''],
    ['a parent of zeros', "traceparent: 00-$trace-${\ (0 x 16)}-01", ''],
    ['other dashes', "traceparent: 00-$trace" . "0-${\ substr $parent, 1}-01",
     ''],
    ['no dashes', "traceparent: 00_${trace}_${parent}_01", ''],
    ['dashes alone', 'traceparent: ' . '-' x 55, ''],
    ['quotes', "traceparent: 00-${\ substr $trace, 2}\"\"-$parent-01", ''],
    ['controls', "traceparent: 00-${\ substr $trace, 1}\x01-$parent-01", ''],
    ['no ASCII', "traceparent: 00-${\ substr $trace, 2}\xc3\xa9-$parent-01",
     ''],
    ['a long one', 'traceparent: ' . '00-' x 1000, ''],
    ['a name that goes on', "traceparent2: $valid", ''],
);


sub ask {
    my ($method, $path, $body, $more) = @_;

    $more =~ s/\n|(?<=.)\z/\r\n/g;

    my $text = "$method $path HTTP/1.1\r\nHost: localhost\r\n"
               . "X-Authorization: $bearer\r\n$more"
               . 'Content-Length: ' . length($body) . "\r\n\r\n$body";

    return TB::Client->new($nginx->{port}, $text)->answer(60);
}


# a one-way call that is kept; its answer does not wait for the device

sub call {
    my ($device, $params, $more) = @_;

    return ask('POST', '/api/rpc/oneway/' . macro($device),
               "{\"method\":\"m\",\"params\":$params,\"persistent\":true}",
               $more);
}


sub headers {
    my ($what) = @_;

    return $what eq '' ? '' : "traceparent: $what";
}


# --- by MQTT ----------------------------------------------------------------

$mqtt->broker();
$mqtt->bridge('five', '--static');
$mqtt->bridge('old', '--static', '--mqtt-version', '3.1.1');
spawn('sub', 'mosquitto_sub', '-h', '127.0.0.1', '-p', $mqtt->{port}, '-V', 5,
      '-F', '%t|%P|%p', '-t', 'v1/#', '-t', 'probe', '-q', 1);
wait_for { $mqtt->publish('probe', 'probe'); text_of('sub') =~ /^probe/m };


# "<properties>|" of the message with these params

sub told {
    my ($device, $params) = @_;

    my $id = macro($device);
    my $seen = wait_for {
        text_of('sub') =~ m{^v1/devices/$id/[^|]*\|([^|]*)
                            \|\{"method":"m","params":\Q$params\E\}$}mx
            ? [$1] : undef;
    };

    return $seen ? $seen->[0] : 'it is not told';
}


for my $i (0 .. $#rows) {
    is(call('five', $i, $rows[$i][1])->{status}, 200, "$rows[$i][0]: a call");
}

for my $i (0 .. $#rows) {
    my ($name, undef, $want) = @{ $rows[$i] };

    is(told('five', $i), $want eq '' ? '' : "traceparent:$want",
       "$name: to a device by MQTT 5");
}

call('old', 1, headers($valid));
is(told('old', 1), '', 'by MQTT 3.1.1 it has no place');

# what another nginx, or somebody else, has put into Redis

for my $text ('00-ab-cd-01', "00-$trace-$parent-zz" =~ tr/z/-/r) {
    my $device = macro('five');
    my $rpc = sprintf 'a0000000-0000-11ee-%04x-%012d',
                      0x8000 | TB::Bridge::shard($device), length $text;

    redis()->fcall('tb_rpc_create', redis()->device_key($device), $rpc, 'w1',
                   1, 1, macro('tenant'), '*', '"m"', "\"$text\"", '', '',
                   60000, '', '', '', '', '', $text);
    is(told('five', "\"$text\""), '', "$text: the bridge looks, too");
}

# answers and the end of a two-way call are as always

my $client = $nginx->open('five', 'm', '"two"');

is(told('five', '"two"'), '', 'a two-way call of somebody who does not trace');
$client->leave();


# --- by HTTP ----------------------------------------------------------------

sub poll {
    return ask('GET', '/api/v1/T1/rpc?timeout=5000', '',
               'traceparent: 00-' . 'a' x 32 . '-' . 'b' x 16 . '-01');
}

# its record stands between params and the trace

sub poll_after {
    my ($more, $info) = @_;

    ask('POST', '/api/rpc/oneway/' . macro('http'),
        "{\"method\":\"m\",\"params\":[1],\"persistent\":true$info}", $more);

    return poll();
}

my $answer = poll_after(headers($valid), ',"additionalInfo":{"traceparent":'
                        . '"x","a":["}",{}]}');

is($answer->{headers}{traceparent}, $valid, 'a device that polls');
like($answer->{body}, qr/\A\{"id":\d+,"method":"m","params":\[1\]\}\z/,
     'has the call that it always had');
$answer = poll_after('', '');
is($answer->{headers}{traceparent}, undef, 'and nothing, if there is nothing');
like($answer->{body}, qr/"params":\[1\]\}\z/, 'but the call');


# --- in the log -------------------------------------------------------------

# a request may be logged after its answer is there
wait_for { 2 == (() = text_of("$nginx->{name}/traces.log") =~ /^GET /mg) };

my @lines = text_of("$nginx->{name}/traces.log") =~ /^POST m trace=(.*)$/mg;

is_deeply([@lines[0 .. $#rows]], [map { $_->[2] eq '' ? '-' : $_->[2] } @rows],
          'in the log of callers');
is_deeply([text_of("$nginx->{name}/traces.log") =~ /^GET - trace=(.*)$/mg],
          [$valid, '00-' . 'a' x 32 . '-' . 'b' x 16 . '-01'],
          'a poll: that of its call, else its own');
is(ask('GET', '/other', '', headers($valid))->{body}, '[]',
   'not in a location that is not ours');

$bearer = 'Bearer x';
is(ask('GET', '/page/rpc/persistent/' . macro('five'), '',
       headers($valid))->{body},
   "[$valid]", 'behind error_page');

$nginx->clean();

done_testing();
