# Many devices poll one worker: what a poll costs, and what becomes of all of
# them when Redis restarts, when nginx reloads, and when they vanish at once.
#
#     TB_POLLS=100000 script/test --no-build t/082-device-scale.t
#
# does and measures the same with another number of devices.  Where a process
# may not open as many files (ulimit -Hn), TB_STREAMS=500 makes 500 of them
# share a connection, over HTTP/2.
#
# runs: side by side, 45 s
# not with --redis-cluster: it reaches the one server by its socket

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use List::Util qw(max);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time clock_gettime CLOCK_MONOTONIC);

use TB::Child;
use TB::Env qw(root free_port file_in scaled wait_for);
use TB::Fixture;
use TB::Nginx;

plan skip_all => 'no python3' if system('python3 -c 0 2> /dev/null');

my $mode = $ENV{TB_MODE} || '';
my $n = $ENV{TB_POLLS} || ($mode eq 'valgrind' ? 300
                           : $mode eq 'asan' ? 2000 : 10000);
my $streams = $ENV{TB_STREAMS} || 0;
my $few = 100;
my $long = 300000;
my $connections = $streams ? POSIX::ceil($n / $streams) : $n;
my ($limit) = `bash -c 'ulimit -Hn'` =~ /^(\d+)/;

plan skip_all => "at most $limit open files"
    if $limit && $limit < $connections + 1000;


# More connections than other tests need; and a unix socket, whose buffers do
# not swallow ten thousand commands: most of them wait in nginx.

{
    package Nginx;

    our @ISA = 'TB::Nginx';

    sub conf_text {
        my $text = shift()->SUPER::conf_text(@_);

        $text =~ s/worker_connections \K.*?;/($n + 2000) . ';'/e;
        $text =~ s/redis:[\w.:\/]+;/'unix:' . main::redis()->{path} . ';'/e;

        return $text;
    }
}


# bench/polls and what it is told

{
    package Devices;

    our @ISA = 'TB::Child';

    sub start {
        my ($class, @args) = @_;

        return bless({}, $class)->spawn(sub {
            my ($sock) = @_;

            open STDIN, '<&', $sock;
            open STDOUT, '>&', $sock;
            # for vanish()
            setpgrp;
            { exec TB::Env::root() . '/bench/polls', @args }
            POSIX::_exit(127);
        });
    }

    sub tell {
        my ($self, @words) = @_;

        print { $self->{control} } "@words\n";

        my $line = readline $self->{control};

        die "bench/polls is gone\n" if !defined $line;

        return JSON::PP::decode_json($line);
    }

    sub vanish {
        my ($self) = @_;

        kill 'KILL', -$self->{pid};
        $self->stop();
    }
}


sub say_it { diag sprintf shift, @_ }
sub now { return clock_gettime(CLOCK_MONOTONIC) }


# --- provisioning -----------------------------------------------------------

sub token { return sprintf 'token_%06d', $_[0] }

redis();
set_macro("d$_" => uuid_of("device $_")) for 0 .. $n - 1;

my $tenant = macro('tenant');
my $start = time;
my $imported = import_devices("id,tenant,token\n", map {
                   macro("d$_") . ",$tenant," . token($_) . "\n"
               } 0 .. $n - 1);

like($imported, qr/^$n rows .* 0 bad\b/m, "$n devices are imported");
say_it('import: %.1f s', time - $start);


sub import_devices {
    my $file = file_in('devices.csv', join '', @_);
    my $password = file_in('password',
                           "$TB::RedisServer::PASSWORD{operator}\n");
    my @command = (root() . '/tools/tb-rpc-admin', '--redis',
                   "redis://127.0.0.1:" . redis()->{port}, '--redis-user',
                   'operator', '--redis-password-file', $password, 'import',
                   $file);

    return qx(@command 2>&1);
}


my $h2 = free_port();
my $nginx = Nginx->start(
    # all that others on this machine may hold up 10,000 of them for
    redis => 'command_timeout 5s;',
    # valgrind keeps some for itself
    main => $mode eq 'valgrind' ? '' : 'worker_rlimit_nofile '
                                       . ($connections + 1000) . ';',
    server => "listen 127.0.0.1:$h2 http2; http2_max_concurrent_streams 500;",
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api; }'
              . ' location /cached/ { tb_rpc_device_api;'
              . ' tb_rpc_api_key_cache 1h; }');
my $worker = $nginx->worker();
my $tokens = file_in('tokens', join '', map { token($_) . "\n" } 0 .. $n - 1);
my @args = ('--streams', $streams, '--url', 'http://127.0.0.1:'
            . ($streams ? $h2 : $nginx->{port}) . '/api/v1/', $tokens);
my $devices = Devices->start(@args);


# --- looking at things ------------------------------------------------------

my $open = <<'_EOC_';
local n = 0
for _, key in ipairs(redis.call('KEYS', 'tb:*:device:*')) do
    local till = (redis.call('HGET', key, 'poll') or ''):match(' (%d+)$')
    if till and tonumber(till) > tonumber(ARGV[1]) then
        n = n + 1
    end
end
return n
_EOC_

my $due = <<'_EOC_';
local n = 0
for i = 0, 127 do
    n = n + redis.call('ZCARD', ('tb:{s%03o}:due'):format(i))
end
return n
_EOC_

my $strip = <<'_EOC_';
for _, key in ipairs(redis.call('KEYS', 'tb:*:device:*')) do
    redis.call('HDEL', key, 'poll')
end
for i = 0, 127 do
    redis.call('DEL', ('tb:{s%03o}:due'):format(i))
end
_EOC_


# open polls that Redis knows, which end after so many ms from now

sub known {
    my ($ms) = @_;

    return redis()->call('EVAL', $open, 0, 1000 * time + ($ms || 0));
}


# Redis knows of $wanted polls; looks at all devices, and not too often

sub knows {
    my ($wanted, $seconds, $ms) = @_;

    return wait_for {
        my $start = time;

        return 1 if known($ms) == $wanted;
        sleep 3 * (time - $start);
        return 0;
    } $seconds || 120;
}


# waits for $wanted open polls; the time of that

sub all_open {
    my ($wanted, $seconds) = @_;

    my $ok = wait_for {
        $devices->tell('stats')->{state}{open} == $wanted
    } $seconds || 120;

    return $ok ? now() : 0;
}


# as above, and that Redis has noted each one since there was none

sub all_due {
    my ($wanted, $seconds) = @_;

    my $ok = wait_for {
        redis()->call('EVAL', $due, 0) == $wanted
    } $seconds || 120;

    return $ok ? all_open($wanted, $seconds) : 0;
}


# seconds of CPU that a process has used

sub cpu {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my @fields = split ' ', <$fh> =~ s/.*\)//r;

    return ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}


sub sockets {
    my ($pid) = @_;

    opendir my $dh, "/proc/$pid/fd" or return 0;

    return scalar grep { (readlink "/proc/$pid/fd/$_" // '') =~ /^socket:/ }
                  readdir $dh;
}


# a request sent again and again meanwhile: one that goes to Redis and back, as
# calls do, or one that nginx answers by itself

sub probe {
    my ($redis) = @_;

    my $text = $redis
        ? TB::Client::text('GET', '/api/rpc/persistent/' . uuid_of('none'),
                           undef, 'X-Authorization' => 'Bearer '
                                                       . macro('token:tenant'))
        : TB::Client::text('GET', '/api/v1/x');

    $devices->tell('probe', 5, $nginx->{port}, unpack 'H*', $text);
}


# how long that took at most, in seconds

sub probed {
    my ($name) = @_;

    my $probe = $devices->tell('stats')->{probe};

    $devices->tell('probe', 0);
    say_it('%s, meanwhile, ms: median %.2f, 99%% %.2f, at most %.2f', $name,
           map { 1000 * $probe->{$_} } qw(p50 p99 max));

    return $probe->{max};
}


# two-way calls to devices chosen at random, one after the other: how long
# they took, sorted

sub calls {
    my ($name, $number, $among) = @_;

    my (@took, @wrong);

    for (1 .. $number) {
        my $i = int rand $among;
        my $start = time;
        my $answer = $nginx->call("d$i", 'echo', "{\"n\":$_}",
                                  timeout => 10000);

        push @took, 1000 * (time - $start);
        push @wrong, "$i: $answer->{what} $answer->{body}"
            if $answer->{body} ne '{"device":"' . token($i)
                                  . "\",\"params\":{\"n\":$_}}";
    }

    is(join("\n", @wrong), '', "$name: $number calls, each with the answer"
                               . ' of its device');
    # they poll again
    all_open($among);
    @took = sort { $a <=> $b } @took;
    say_it('%s: two-way call, ms: median %.2f, 99%% %.2f', $name,
           @took[$number / 2, $number * 0.99]);

    # others use the processors, too, but not all the time
    return $took[$number / 10];
}


# --- a hundred, then all ----------------------------------------------------

my $base = $nginx->rss();
my $idle_sockets = sockets($worker);

$devices->tell('timeout', $long);
$devices->tell('open', $few);
ok(all_due($few), "$few devices poll");

my $before = calls("$few open", 300, $few);

$devices->tell('reset');
probe('Redis');
$start = now();
$devices->tell('open', $n);

my $end = all_due($n, 240);
my $stats = $devices->tell('stats');

ok($end, "$n devices poll");
is(known(), $n, 'Redis knows each one');
is_deeply([$stats->{polls}, $stats->{errors}], [{}, {}], 'with one try each');
my $opening = $end - $start;

say_it('%d polls opened in %.2f s', $n, $opening);
probed('a request to Redis');

my $full = $nginx->rss();
my $each = ($full - $base) / ($n - $few);

say_it('RSS %d KB without, %d KB with %d polls: %.2f KB a poll', $base, $full,
       $n, $each);

SKIP: {
    skip "memory means nothing under $mode", 1 if $mode;
    cmp_ok($each, '<', 16, 'KB a poll');
}

my @cpu = map { cpu($_) } $worker, redis()->{pid};
my $idle = $n > 20000 ? 10 : 2;

sleep $idle;
@cpu = (cpu($worker) - $cpu[0], cpu(redis()->{pid}) - $cpu[1]);
say_it('idle for %d s: CPU %.2f s nginx, %.2f s Redis', $idle, @cpu);
cmp_ok($cpu[0], '<', $idle * scaled(0.1), 'an idle worker is idle');

my $after = calls("$n open", 300, $n);

say_it('ratio of the fastest tenths: %.2f', $after / $before);
cmp_ok($after, '<', 10 * $before + scaled(10),
       "a call takes no longer with $n open polls");

is(redis()->mishaps(), '', 'nothing had to be put right');


# --- Redis restarts ---------------------------------------------------------

redis()->call('EVAL', $strip, 0);
redis()->stop();
redis()->{library} = 0;
$devices->tell('reset');
probe();
redis()->go();
$start = now();
$end = all_due($n, 240);
ok($end, "Redis restarts: $n polls are known again");
is(known(), $n, 'each one');
$stats = $devices->tell('stats');
is_deeply([$stats->{polls}, $stats->{errors}], [{}, {}], 'no poll has ended');
say_it('Redis restarts: %.2f s until all are known', $end - $start);
cmp_ok(probed('the event loop'), '<', scaled(2), 'the loop goes on');
calls('after the restart', 100, $n);


# --- reload -----------------------------------------------------------------

# longer than it takes until all poll again, or they never do all at once
my $renew = max($n > 20000 ? 60000 : 1000 * ($mode ? scaled(4) : 20),
                int 5000 * $opening);

$devices->tell('reset');
$devices->tell('timeout', $renew);
probe('Redis');
$start = now();
kill 'HUP', $nginx->{pid};
soon { ($devices->tell('stats')->{polls}{408} || 0) == $n }
     'reload: all have 408', 120;
ok($nginx->gone($worker, 120), 'the old worker has gone');
say_it('the old worker has gone after %.2f s', now() - $start);
$worker = $nginx->worker();
$end = all_open($n, 240);
ok($end, "$n polls at the new worker");
$stats = $devices->tell('stats');
is_deeply([$stats->{polls}, $stats->{errors}], [{ 408 => $n }, {}],
          'nothing else has happened to them');
say_it('reload: 408 for all from %.2f to %.2f s, all poll after %.2f s',
       (map { $_ - $start } @{ $stats->{times}{408} }), $end - $start);
ok(knows($n), 'Redis knows each one');
say_it('Redis knows all polls after %.2f s', now() - $start);
probed('a request to Redis');


# --- their time is over -----------------------------------------------------

$devices->tell('timeout', $long);
@cpu = map { cpu($_) } $worker, redis()->{pid};
calls('while all are renewed', 100, $n);
soon { $devices->tell('stats')->{polls}{408} >= 2 * $n - 100 }
     'the others have 408 again', 2 * $renew / 1000;
@cpu = (cpu($worker) - $cpu[0], cpu(redis()->{pid}) - $cpu[1]);
say_it('%d renewals: CPU %.2f s nginx, %.2f s Redis', $n, @cpu);
ok(knows($n, 2 * $renew / 1000, $renew + 3000), 'each polls once more');


# --- all vanish, and come back at once ---------------------------------------

my $full_again = $nginx->rss();

vanish('all vanish');

# some leave while Redis is being told of their polls; their tokens are known

$devices = Devices->start('--url', "http://127.0.0.1:$nginx->{port}/cached/",
                          $tokens);
$devices->tell('timeout', 100);
$devices->tell('open', $few);
all_open($few);
redis()->pause();
$devices->tell('timeout', $long);
soon {
    $stats = $devices->tell('stats');
    $stats->{state}{open} == $few && ($stats->{polls}{408} || 0) >= $few
        && now() - $stats->{times}{408}[1] > 0.3;
} 'they poll once more';
vanish('and leave', sub { redis()->resume() });

# with hundreds of requests by one event, to a Redis that does not keep up

redis()->pause();
$devices = Devices->start('--streams', 500, '--url',
                          "http://127.0.0.1:$h2/api/v1/", $tokens);
$devices->tell('timeout', $long);
$devices->tell('open', $n);
sleep 0.3;
redis()->resume();
ok(all_open($n, 240), "all come back: $n polls");
ok(knows($n), 'Redis knows each one');
$stats = $devices->tell('stats');
is_deeply([$stats->{polls}, $stats->{errors}], [{}, {}], 'none was refused');

my $back = $nginx->rss();

say_it('RSS, KB: %d, all back %d', $full_again, $back);

SKIP: {
    skip "memory means nothing under $mode", 1 if $mode;
    cmp_ok($back, '<=', $full_again * 1.1, 'they take no more than before');
}

# Redis is silent for longer than a command may take

$start = now();
redis()->pause();
vanish('all vanish while Redis is silent', sub {
    sleep 5.4 - (now() - $start) if now() - $start < 5.4;
    redis()->resume();
});

is(scalar @{ redis()->call('KEYS', '*:inflight:*') }, 0, 'no open call');
is(scalar @{ redis()->call('KEYS', '*:pending:*') }, 0, 'none that waits');
is($nginx->worker(), $worker, 'the same worker');


# none of the polls would lapse by itself so soon

sub vanish {
    my ($name, $then) = @_;

    my $start = now();

    $devices->vanish();

    # the two to Redis may have been under way when the idle ones were counted

    soon { sockets($worker) <= $idle_sockets + 2 }
         "$name: connections are closed", 120;
    say_it('%s: connections closed after %.2f s', $name, now() - $start);
    $then->() if $then;
    ok(knows(0), "$name: Redis has no poll open");
    say_it('%s: Redis knows that after %.2f s', $name, now() - $start);
}


$nginx->stop('QUIT', 10);
$nginx->clean();

done_testing();
