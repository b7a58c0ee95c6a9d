#!/usr/bin/perl

# tb-rpc-mqtt-bridge: configuration file, PUBACK timeout, counters, metrics.
#
# runs: side by side, 8 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(root scratch file_in free_port scaled wait_for);
use TB::FakeBroker;
use TB::FakeRedis;
use TB::Mqtt qw(spawn reap child output text_of counter);

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my $bin = TB::Mqtt::program();
my ($status, $text);


# --- help and mistakes ------------------------------------------------------

($status, $text) = output($bin, '--help');
is($status, 0, '--help');
my @long = grep { length > 80 } split /\n/, $text;
is_deeply(\@long, [], 'in 80 columns');

for my $option ($text =~ /^  --([a-z-]+)/mg) {
    next if $option eq 'help';
    ok(do {
           open my $fh, '<', root() . '/docs/mqtt-bridge.md';
           local $/;
           <$fh> =~ /`--\Q$option\E[ `]/;
       }, "--$option is in docs/mqtt-bridge.md");
}

for (["nosuch 1\n", qr/:1: nosuch is not an option/],
     ["# x\n\nqos 2\n", qr/:3: qos must be a number from 0 to 1/],
     ["name\n", qr/:1: name needs a value/],
     ["config /x\n", qr/:1: config cannot be in a configuration file/],
     ["static perhaps\n", qr/:1: static must be on or off/],
     ["payload xml\n", qr/:1: payload must be one of json\|params\|value/],
     ["mqtt-version 4\n", qr/:1: mqtt-version must be 3\.1\.1 or 5/],
     ["tenant x\n", qr/:1: tenant must be a UUID/],
     ['x' x 3000 . "\n", qr/:1: the line is too long/],
     ["name x\ngateway\n", qr/--gateway needs --tenant or --devices/],
     ["name x\npresence-topic tele/{name}/LWT\n", qr/needs --tenant/],
     ["name x\ncafile /x\n", qr/need an mqtts/],
     ["name x\nbroker mqtts://h\ncert /x\n", qr/need each other/],
     ["name x\nbroker mqtt://h:0\n", qr/has a port that is no number/],
     ["name x\nresponse-topic a/{requestId}\n", qr/must have \{deviceId\} or/],
     ["name x\ngateway-topic a/{name}\n", qr/--gateway-topic has a variable/])
{
    ($status, $text) = output($bin, '--config',
                                        file_in('wrong.conf', $_->[0]));
    is($status, 2, 'refused: ' . substr $_->[0], 0, 40);
    like($text, $_->[1], 'with the reason');
}

for (['--config', '/nonexistent'], ['--name'], ['--static=1', '--name', 'x'],
     ['--name', 'x', '--devices', '/nonexistent', '--drain', 0])
{
    ($status) = output($bin, @$_);
    isnt($status, 0, "refused: @$_");
}


# --- a broker that takes messages and acknowledges none ----------------------

my $mute_port = TB::FakeBroker->start()->{port};

my $file = file_in('bridge.conf', <<END);
# all of it in one file
name           c1
redis          redis://127.0.0.1:$redis->{port}
redis-user     bridge
redis-password-file  $mqtt->{password}
broker         mqtt://127.0.0.1:$mute_port
  static
ack-timeout    300
qos            1
log-level      warn
END
my $metrics = scratch() . '/bridge.prom';
my $umask = umask 077;

my $pid = spawn('c1.log', $bin, '--log-level', 'debug', '--config',
                          $file, '--metrics-file', $metrics,
                          '--stats-interval=1');
ok(wait_for { text_of('c1.log') =~ /mqtt: connected/ },
   'started by a configuration file, with a flag that overrides');

my $d1 = $mqtt->device(bridge => 'c1');
my ($rpc) = $mqtt->call($d1, '"m"', '1', persistent => 1, retries => 2,
                        oneway => 1);
ok(wait_for { $mqtt->status($d1, $rpc) eq 'FAILED' },
   'without a PUBACK the retries are used up');
is(counter('c1', $pid, 'timeouts'), 3, 'three timeouts');
is(counter('c1', $pid, 'published'), 3, 'three messages');
is(counter('c1', $pid, 'delivered'), 0, 'none delivered');
like($redis->call('HGET', sprintf('tb:{s%03o}:rpc:%s',
                  TB::Bridge::shard($d1), $rpc), 'R'),
     qr/Retry attempts set: 2/, 'it says why');

my @rpc = map { ($mqtt->call($d1, '"m"', $_))[0] } 1 .. 5;
ok(wait_for { counter('c1', $pid, 'timeouts') == 8 },
   'lightweight calls without a PUBACK do not block the others');

my $seen = wait_for {
    my @lines = text_of('c1.log') =~ /counters:/g;
    @lines > 6;
} 30;
ok($seen, '--stats-interval');
ok(wait_for { counter('c1', $pid, 'open') == 0 }, 'nothing is left in hand');

wait_for { -s $metrics };

my $prom = do { local (@ARGV, $/) = $metrics; <> };
like($prom, qr/^tb_rpc_bridge_taken_total\{bridge="c1"\} \d+$/m,
     '--metrics-file');
like($prom, qr/^# TYPE tb_rpc_bridge_devices gauge$/m, 'with types');
is(scalar(() = $prom =~ /^# HELP /mg), scalar(() = $prom =~ /^tb_rpc/mg),
   'help for each');
is((stat $metrics)[2] & 0777, 0644, 'for all to read, whatever the umask');
is(reap($pid, 'TERM'), 0, 'exit 0');
umask $umask;


# --- QoS 0: the broker does not read ----------------------------------------

my $deaf = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5,
                                 LocalPort => free_port(), ReuseAddr => 1);
my $deaf_port = $deaf->sockport();
child(sub {
    while (my $sock = $deaf->accept()) {
        sysread $sock, my $in, 65536;
        syswrite $sock, "\x20\x03\0\0\0";
        sleep(60);
    }
});

$pid = spawn('c2.log', $bin, $mqtt->options('c2'), '--broker',
                       "mqtt://127.0.0.1:$deaf_port", qw(--static --qos 0
                       --ack-timeout 300 --drain 0));
ok(wait_for { text_of('c2.log') =~ /mqtt: connected/ },
   'a broker that does not read');
my $d2 = $mqtt->device(bridge => 'c2');
my $big = '"' . 'x' x 60000 . '"';
$mqtt->call($d2, '"m"', $big) for 1 .. 200;
$seen = wait_for { counter('c2', $pid, 'timeouts') > 0 } 60;
ok($seen, 'QoS 0: what cannot be written in time is a timeout');
cmp_ok(counter('c2', $pid, 'delivered'), '>', 0,
       'what was written is delivered');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- a Redis that cannot be used ----------------------------------------------

sub errors {
    return grep { /\[error\]/ } split /\n/, text_of($_[0]);
}

# seconds of CPU

sub busy {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my @stat = split ' ', (split /\) /, <$fh>)[-1];

    return ($stat[11] + $stat[12]) / 100;
}

my $end = '"rpcId":"c0000000-0000-11ee-8000-00000000000%d",'
          . '"expirationTime":1700000060000,"attempt":1,'
          . '"queuedTime":1700000000000,"takenTime":1700000000001}';
my $envelope = '{"requestId":5,"deviceId":"' . $d1 . '","method":"m",'
               . '"params":1,"oneway":true,' . sprintf $end, 1;

# what is no envelope, and two that are good

my @envelopes = ('', '{', '[]', 'null', "\0\xff", '{}', '{"requestId":1}',
    '[' x 100000,
    (map { (my $text = $envelope) =~ s/$_->[0]/$_->[1]/; $text }
        ['"requestId":5', '"requestId":0'],
        ['"requestId":5', '"requestId":1.5'],
        ['"requestId":5,', ''], ['"deviceId":"[^"]*"', '"deviceId":"x"'],
        ['"method":"m"', '"method":7'], ['"params":1,', ''],
        ['"rpcId":"[^"]*"', '"rpcId":"x"'], ['"rpcId":"[^"]*",', ''],
        ['"attempt":1,', ''], ['"attempt":1', '"attempt":-1'],
        [',"takenTime":\\d+', ''], ['"takenTime":\\d+', '"takenTime":"x"'],
        ['"expirationTime":\\d+,', ''],
        ['"expirationTime":\\d+', '"expirationTime":1e30'],
        ['}$', ''], ['}$', '} x']));
my $bad = @envelopes;

# a sum of these times is beyond 63 bits
push @envelopes, map {
    (my $text = sprintf '{"requestId":5,"deviceId":"' . $d1 . '",'
        . '"method":"m","params":1,"oneway":true,%s', sprintf $end, $_)
        =~ s/("expirationTime":)\d+/$1 . '999999999999999'/e;
    $text;
} 2, 3;

my $taken;
my $old = TB::FakeRedis->start(mode => '6', on => sub {
    my ($mode, $conn, $command, @argv) = @_;

    return undef if !defined $command;
    return "*2\r\n" . TB::FakeRedis::bulk('128') . TB::FakeRedis::bulk('2')
        if $command eq 'HMGET';

    return "*2000000000\r\n" if $mode eq 'huge' && $command eq 'HELLO';

    if ($mode eq '6' && $command eq 'HELLO') {
        return join '', "*6\r\n", map { TB::FakeRedis::bulk($_) }
                        qw(server redis version 6.0.16 mode standalone);
    }

    return "-ERR unknown command `$command`, with args beginning with:\r\n"
        if $mode eq '5' && $command =~ /^(?:HELLO|FCALL|SSUBSCRIBE)$/;

    if ($command eq 'FCALL' && $argv[0] eq 'tb_rpc_take') {
        my @give = $mode eq 'bad' ? @envelopes : $envelope;

        @give = () if $taken && $taken eq $mode;
        $taken = $mode;
        return '*' . (1 + @give) . "\r\n:0\r\n"
               . join '', map { TB::FakeRedis::bulk($_) } @give;
    }

    return ":1\r\n" if $command eq 'FCALL';
    return undef if $command eq 'SSUBSCRIBE';

    return "+OK\r\n";
});

my @fake = ('--name', 'c3', '--redis', "redis://127.0.0.1:$old->{port}",
            '--broker', "mqtt://127.0.0.1:$mute_port", '--static',
            '--ack-timeout', 300, '--drain', 0);

$pid = spawn('c3.log', $bin, @fake);
$seen = wait_for { $old->tell('seen', 'HELLO') >= 6 };
ok($seen, 'Redis 6: tried again');
is_deeply([ map { s/^\S+ //r } errors('c3.log') ],
          ["[error] redis 127.0.0.1:$old->{port} (commands): Redis 7.0 or"
           . ' newer is needed, this is redis 6.0.16; trying again'],
          'but said once, and where');
unlike(text_of('c3.log'), qr/commands\): connected|mqtt: connected/,
       'and nothing more is done');
cmp_ok(busy($pid), '<', scaled(0.1), 'nor does the loop turn all the time');
$old->tell('mode', '7');
$seen = wait_for { text_of('c3.log') =~ /mqtt: connected/ };
ok($seen, 'a newer one has come');
is(reap($pid, 'TERM'), 0, 'exit 0');

# an array is as large as what was sent of it, not as it says

$old->tell('mode', 'huge');
$pid = spawn('c3-huge.log', $bin, @fake);
$seen = wait_for { text_of('c3-huge.log') =~ /broken reply: .*\n/ };
ok($seen, 'a reply of 2000000000 elements: refused');
like(text_of('c3-huge.log'), qr/a reply of 2000000000 elements is refused/,
     'and said so');
is(reap($pid, 'TERM'), 0, 'exit 0');

# older than HELLO: functions and shard channels are missing when needed

$old->tell('mode', '5');
$pid = spawn('c4.log', $bin, @fake, '--name', 'c4');
$seen = wait_for {
    2 <= grep { /Redis 7\.0 or newer is needed: .*unknown command/ }
         errors('c4.log');
} 20;
ok($seen, 'Redis 5: said by what it lacks');
$old->tell('seen', 'FCALL');
wait_for { $old->tell('seen', 'FCALL') >= 3 };
is(scalar errors('c4.log'), 2, 'once for each connection');
$old->tell('mode', '8');
$seen = wait_for { counter('c4', $pid, 'published') >= 1 } 20;
ok($seen, 'it goes on when a newer one has come');

$old->tell('mode', 'bad');
$seen = wait_for { counter('c4', $pid, 'malformed') == $bad } 20;
ok($seen, "$bad malformed envelopes are dropped");
$seen = wait_for { counter('c4', $pid, 'published') >= 3 };
ok($seen, 'and those behind them are not');
is(reap($pid, 'TERM'), 0, 'exit 0');
$old->stop();

# one that is slow, but steady, is no reason for a new connection: the reply
# takes longer than the bridge would wait without a sign of life

my $slow = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, $command, @argv) = @_;

    return undef if !defined $command;
    return "*2\r\n" . TB::FakeRedis::bulk('128') . TB::FakeRedis::bulk('2')
        if $command eq 'HMGET';
    return "*1\r\n:0\r\n" if $command eq 'FCALL';
    return undef if $command eq 'SSUBSCRIBE';
    return "+OK\r\n" if $command ne 'HGETALL';

    my @devices = map { sprintf 'de000000-0000-11ee-9000-%012x', $_ } 1 .. 21;

    # 2 KB, 100 bytes at a time
    $conn->{pace} = 0.3;

    return '*' . 2 * @devices . "\r\n"
           . join '', map { TB::FakeRedis::bulk($_)
                            . TB::FakeRedis::bulk("g\nname of a device, "
                                                  . 'which is a long one') }
                      @devices;
});

$pid = spawn('c6.log', $bin, '--name', 'c6', '--redis',
             "redis://127.0.0.1:$slow->{port}", '--broker',
             "mqtt://127.0.0.1:$mute_port", '--gateway', '--tenant',
             $TB::Mqtt::TENANT, '--drain', 0);
$seen = wait_for { text_of('c6.log') =~ /21 devices were behind gateways/ } 60;
ok($seen, 'a slow Redis');
is($slow->tell('seen', 'HGETALL'), 1, 'is asked once');
is(scalar errors('c6.log'), 0, 'and waited for');
is(reap($pid, 'TERM'), 0, 'exit 0');
$slow->stop();

# one that does not know AUTH quotes it, as Redis does

my $strange = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, $command, @argv) = @_;

    return undef if ($command // '') ne 'AUTH';
    return "-ERR unknown command 'AUTH', with args beginning with: "
           . join('', map { "'$_' " } @argv) . "\r\n";
});

$pid = spawn('c7.log', $bin, '--name', 'c7', '--redis',
             "redis://127.0.0.1:$strange->{port}", '--broker',
             "mqtt://127.0.0.1:$mute_port", '--redis-password-file',
             file_in('quoted.password', "quoted-secret\n"));
$seen = wait_for { text_of('c7.log') =~ /(AUTH refused: .*)/ ? $1 : undef };
is($seen, "AUTH refused: ERR unknown command 'AUTH'; trying again",
   'a Redis that does not know AUTH');
is(reap($pid, 'TERM'), 0, 'exit 0');
unlike(text_of('c7.log'), qr/quoted-secret/, 'no secret in the log');
$strange->stop();

my @real = ('--name', 'c5', '--redis', "redis://127.0.0.1:$redis->{port}",
            '--broker', "mqtt://127.0.0.1:$mute_port", '--drain', 0);
my $wrong = file_in('wrong.password', "wrong\n");

for (['no password', 'it wants a password, see --redis-password-file and'
                      . ' --redis-user: HELLO refused: NOAUTH'],
     ['a wrong password', '--redis-user, or the password of'
                          . ' --redis-password-file, is wrong: AUTH refused',
      '--redis-user', 'bridge', '--redis-password-file', $wrong],
     ['a wrong port', 'redis 127.0.0.1:1 (commands): cannot connect:'
                      . ' Connection refused',
      '--redis', 'redis://127.0.0.1:1'])
{
    my ($what, $why, @more) = @$_;

    $pid = spawn("$what.log", $bin, @real, @more);
    $seen = wait_for { text_of("$what.log") =~ /trying again/ };
    like((errors("$what.log"))[0], qr/\Q$why/, "$what: the reason, and what to do");
    sleep(0.5);
    is(scalar errors("$what.log"), 1, 'said once');
    unlike(text_of("$what.log"), qr/: connected/, 'it is not connected');
    is(reap($pid, 'TERM'), 0, 'exit 0');
}

# a password that has changed: SIGHUP

$pid = spawn('changed.log', $bin, @real, '--redis-user', 'bridge',
             '--redis-password-file', $wrong);
$seen = wait_for { text_of('changed.log') =~ /AUTH refused/ };
file_in('wrong.password', "$TB::RedisServer::PASSWORD{bridge}\n");
sleep(0.5);
unlike(text_of('changed.log'), qr/works again/, 'the file is not looked at');
kill 'HUP', $pid;
$seen = wait_for { text_of('changed.log') =~ /commands\): works again/ };
ok($seen, 'until SIGHUP says that the password has changed');
unlink $wrong;
kill 'HUP', $pid;
$seen = wait_for { text_of('changed.log') =~ /redis-password-file cannot be/ };
ok($seen, 'a file that is gone is said');
is(reap($pid, 'TERM'), 0, 'and ends nothing');
unlike(text_of('changed.log'), qr/\Q$TB::RedisServer::PASSWORD{bridge}/,
       'nor is it in the log');

for my $shards (8, 256) {
    $pid = spawn("shards.$shards.log", $bin, $mqtt->options("s$shards"),
                 '--broker', "mqtt://127.0.0.1:$mute_port", '--shards',
                 $shards);
    $seen = wait_for {
        text_of("shards.$shards.log")
            =~ /tb:meta says 128 shards, --shards $shards/
    };
    ok($seen, "--shards $shards, where there are 128");
    is(reap($pid, 'TERM'), 0, 'exit 0');
}

# calls of another version are left alone

$redis->call('HSET', 'tb:meta', 'schema', 1);
$pid = spawn('schema.log', $bin, $mqtt->options('schema'));
$seen = wait_for { text_of('schema.log') =~ /trying again/ };
sleep(0.5);
like((errors('schema.log'))[0],
     qr/tb:meta says schema 1: .* use another --prefix or an empty Redis/,
     'schema 1 is refused');
is(scalar errors('schema.log'), 1, 'in one line');
unlike(text_of('schema.log'), qr/: connected/, 'and nothing is done');
$redis->call('HSET', 'tb:meta', 'schema', 2);
$seen = wait_for { text_of('schema.log') =~ /bells\): connected/ };
ok($seen, 'schema 2 is taken');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- systemd ----------------------------------------------------------------

SKIP: {
    my $unit = root() . '/bridge/tb-rpc-mqtt-bridge.service';

    ok(-e $unit, 'a systemd unit');

    my $lines = do { local (@ARGV, $/) = $unit; <> };

    like($lines, qr/^RestartPreventExitStatus=2$/m,
         'a wrong option is not tried again and again');
    like($lines, qr/^RuntimeDirectory=tb-rpc$/m, 'a folder for the metrics');
    skip 'no systemd-analyze', 1 if system('which systemd-analyze >/dev/null');

    ($status, $text) = output('systemd-analyze', 'verify', $unit);
    unlike($text, qr/Unknown|Invalid|Failed to parse/i, 'without mistakes');
}

done_testing();
