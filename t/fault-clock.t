# The clock of nginx, of the bridge or of Redis steps an hour ahead, back again, an
# hour back, and forth again: what callers are told, what is kept, counted and
# logged is what docs/faults.md says.
#
# runs: side by side, 40 s
# not with --redis-tls, --redis-cluster: it is the clock of one server

use strict;
use warnings;

use Test::More;
use Time::Local qw(timegm);

use TB::Env qw(file_in scratch wait_for);
use TB::FaultCalls;
use TB::FaultRow;
use TB::Fixture;
use TB::Mqtt;
use TB::MqttDevices;
use TB::Nginx;
use TB::RedisServer;
use TB::Token qw(jwt);

my ($lib) = glob '/usr/lib/*/faketime/libfaketime.so.1';
my ($libc) = map { m{ (/\S+/libc\.so\.6)\b} ? $1 : () } `ldd $^X`;

plan skip_all => 'there is no libfaketime (script/bootstrap)'
    if !$lib || !$libc;
plan skip_all => 'libfaketime and AddressSanitizer do not go together'
    if $ENV{TB_MODE};


# What is started by $start has a clock of its own.  The C library's malloc() comes
# first: jemalloc asks for the time before libfaketime can tell it.

sub with_clock {
    my ($name, $start) = @_;

    local $ENV{LD_PRELOAD} = "$lib $libc";
    local $ENV{FAKETIME_TIMESTAMP_FILE} = file_in("clock.$name", "+0\n");
    local $ENV{FAKETIME_NO_CACHE} = 1;
    local $ENV{FAKETIME_DONT_FAKE_MONOTONIC} = 1;
    local $ENV{DONT_FAKE_MONOTONIC} = 1;

    return $start->();
}


sub step {
    my ($name, $seconds) = @_;

    rename file_in("clock.$name.new", sprintf "%+d\n", $seconds),
           scratch() . "/clock.$name";
}


# a server with a malloc() of its own in it hangs then, or crashes

my (undef, $said) = with_clock(redis => sub {
    TB::Mqtt::output('timeout', 10, TB::RedisServer::server_binary(),
                     '--port', 0, '--save', '', '--dir', scratch())
});

plan skip_all => 'libfaketime and this server do not go together'
    if $said !~ /Configured to not listen anywhere/;

with_clock(redis => sub { redis() });

my $mqtt = TB::Mqtt->new(redis => redis());
my $nginx = with_clock(nginx => sub {
    TB::Nginx->start(
        main => join('', map { "env $_;\n" } grep { /FAKE|PRELOAD/ } keys %ENV),
        http => 'tb_rpc_ack_timeout 2s;',
        config => 'location /api/rpc/ { tb_rpc v2; }'
                  . ' location = /metrics { tb_rpc_status prometheus; }');
});

$mqtt->broker();
device('away', bridge => 'nobody');

my $devices = TB::MqttDevices->start(port => $mqtt->{port}, delay => [0, 0],
                                     ids => [device('d1')]);
my $pid = with_clock(bridge => sub {
    $mqtt->bridge('clock', '--client-id', 'clock', '--session-ttl', 6000);
});

my $calls = TB::FaultCalls->new(nginx => $nginx, works => 'd1');

ok($devices->online(20), 'the device is online');
ok($mqtt->attached(macro('d1'), 'clock'), 'and attached');


# "Sun, 29 Nov 2026 12:00:00 GMT", or as the bridge has it

sub seconds_of {
    my ($text) = @_;

    return timegm($6, $5, $4, $3, $2 - 1, $1)
        if $text =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)/;

    my ($day, $name, $year, $h, $m, $s) =
        $text =~ /(\d+) (\w{3}) (\d{4}) (\d+):(\d+):(\d+)/;

    return timegm($s, $m, $h, $day,
                  index('JanFebMarAprMayJunJulAugSepOctNovDec', $name) / 3,
                  $year);
}


# how far a clock is from ours, to the hour

sub hours_of {
    my ($who) = @_;

    my $time = $who eq 'Redis' ? redis()->call('TIME')->[0]
        : $who eq 'nginx'
        ? seconds_of($nginx->get('/none')->{headers}{date})
        : do {
            TB::Mqtt::counter('clock', $pid, 'taken');
            seconds_of((TB::Mqtt::text_of('clock.log')
                      =~ /^(\S+) .*counters:/mg)[-1]);
        };

    return sprintf '%.0f', ($time - time()) / 3600;
}


my $n = 0;


# a two-way and a persistent call are done, once, and a third ends in its time

sub works {
    my ($row, $how) = @_;

    my @params = map { '[' . ++$n . ']' } 1 .. 2;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $row->told("$how, two-way", $nginx->call('d1', 'run', $params[0]));

    my $answer = $calls->persistent('d1', $params[1]);

    $row->told("$how, persistent", $answer);
    soon { $calls->status($answer) eq 'SUCCESSFUL' }
         "$row->{name}, $how: it is done", 30;
    is(join(' ', map { got($devices, $_) } @params), '1 1',
       "$row->{name}, $how: each once");
}


for my $who (qw(nginx bridge Redis)) {
    for my $seconds (3600, -3600) {
        my $where = $who eq 'bridge' ? 'the bridge' : $who;
        my $way = $seconds > 0 ? 'ahead' : 'back';
        my $row = TB::FaultRow->begin("the clock of $where is an hour $way",
                                      nginx => $nginx,
                                      bridge => ['clock', $pid]);
        my $held = $nginx->open('away', 'run', '[0]', timeout => 1500);
        my $waits = $calls->persistent('away', '[0]');
        my $start = time();
        my $token = $nginx->{token};

        step(lc $who, $seconds);
        is(hours_of($who), $seconds / 3600, "$row->{name}: it is");
        $row->told('held', $held->answer(60));
        cmp_ok(time() - $start, '<', 40, "$row->{name}: it ends in its time");
        works($row, 'stepped');

        if ($who eq 'nginx') {
            local $nginx->{token} = jwt(exp => time() + 600, nbf => time() - 60);

            $row->told('a token of now', $nginx->call('d1', 'run', '[0]'));
        }

        if ($who eq 'Redis') {
            my $till = $calls->persistent('d1', '[' . ++$n . ']', expires => 60);

            $row->told('with an expirationTime of now', $till);
            soon { $calls->status($till)
                   eq ($seconds > 0 ? 'EXPIRED' : 'SUCCESSFUL') }
                 "$row->{name}: it is over by that clock only", 30;
        }

        # before it is early again

        if ($who eq 'Redis' && $seconds > 0) {
            soon { $calls->status($waits) eq 'EXPIRED' }
                 "$row->{name}: so is what waits", 30;
        }

        step(lc $who, 0);
        works($row, 'back again');
        $row->kept('what waits', $calls->status($waits),
                   $who eq 'Redis' && $seconds > 0 ? 'EXPIRED' : 'QUEUED');
        $row->end();
    }
}

is(TB::Mqtt::reap($pid, 'TERM', 20), 0, 'the bridge ends');
$devices->stop();
$nginx->clean();

done_testing();
