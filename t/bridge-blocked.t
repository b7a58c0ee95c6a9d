#!/usr/bin/perl

# tb-rpc-mqtt-bridge where a server does not answer, a connect comes to
# nothing, or a host name is looked up for long: it hears signals all the same,
# and goes on with all that can be gone on with.
#
# runs: side by side, 25 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Socket;
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Cpu qw(cpu_us);
use TB::Env qw(file_in free_port scaled scratch wait_for);
use TB::FakeBroker;
use TB::Mqtt qw(spawn reap text_of counter);

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen);


# milliseconds from a SIGUSR1 to its line, the best of three; what these tests
# would find takes five seconds, or for ever

sub heard {
    my ($name, $pid) = @_;

    my $best = 1e6;

    for (1 .. 3) {
        my $before = () = text_of("$name.log") =~ /counters:/g;
        my $start = time();

        kill 'USR1', $pid;

        my $seen = wait_for {
            $before < (() = text_of("$name.log") =~ /counters:/g)
        };
        my $ms = (time() - $start) * 1000;

        $best = $ms if $seen && $ms < $best;
    }

    return $best;
}


sub serves_signals {
    my ($name, $pid, $what) = @_;

    cmp_ok(heard($name, $pid), '<', scaled(2000), "$what: SIGUSR1 is heard");

    my $start = time();
    my $status = reap($pid, 'TERM');

    is($status, 0, "$what: SIGTERM ends it");
    cmp_ok(time() - $start, '<', scaled(3), 'at once');
}


# the share of a processor that it uses, in percent

sub busy {
    my ($pid, $seconds) = @_;

    my $start = time();
    my $before = cpu_us($pid);

    sleep($seconds);

    return (cpu_us($pid) - $before) / (time() - $start) / 1e4;
}


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), $mqtt->options($name),
                    '--drain', 0, @more);

    # from then on it hears signals

    wait_for { text_of("$name.log") =~ /" started/ };

    return $pid;
}


# --- a server that never says a word, one that has no room for a connect -----

# the connects that are waiting to be accepted fill it: the next SYN is dropped

my (@full, $full);

sub full_port {
    $full = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1,
                                  LocalPort => free_port(), ReuseAddr => 1)
        or die "listen: $!\n";

    listen $full, 0;

    my $to = sockaddr_in($full->sockport(), INADDR_LOOPBACK);

    for (1 .. 10) {
        socket my $sock, PF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
        $sock->blocking(0);
        connect $sock, $to;
        push @full, $sock;
    }

    return $full->sockport();
}

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100,
                                   LocalPort => free_port(), ReuseAddr => 1);
my %port = (silent => $silent->sockport(), full => full_port());

for my $kind (qw(silent full)) {
    my @broker = ('--broker', "mqtt://127.0.0.1:$port{$kind}");

    for my $scheme (qw(mqtt mqtts)) {
        my $name = "$kind.$scheme";

        $pid = start($name, '--broker', "$scheme://127.0.0.1:$port{$kind}",
                     '--mqtt-version', 5, '--client-id', $name);
        $seen = wait_for { text_of("$name.log") =~ /bells\): connected/ };
        ok($seen, "a $kind broker ($scheme): Redis is used meanwhile");
        serves_signals($name, $pid, "a $kind broker ($scheme)");
    }

    $pid = start("$kind.redis", @broker, '--redis',
                 "redis://127.0.0.1:$port{$kind}");
    sleep(0.5);
    serves_signals("$kind.redis", $pid, "a $kind Redis");
}

# it is left after 5 s, and tried again

$pid = start('left', '--broker', "mqtt://127.0.0.1:$port{full}");
$seen = wait_for {
    text_of('left.log') =~ /127\.0\.0\.1:\d+: no answer in time; trying again/
} 40;
ok($seen, 'a connect that comes to nothing is given up');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- a host name that is looked up for long ----------------------------------

my $source = file_in('slow.c', <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
    struct addrinfo **list)
{
    int  (*real)(const char *, const char *, const struct addrinfo *,
                 struct addrinfo **);

    real = (int (*)(const char *, const char *, const struct addrinfo *,
                    struct addrinfo **)) dlsym(RTLD_NEXT, "getaddrinfo");

    if (strncmp(host, "slow.", 5) == 0) {
        while (access(FLAG, F_OK) == 0) {
            usleep(20000);
        }

        host = "127.0.0.1";
    }

    return real(host, port, hints, list);
}
END

my $flag = file_in('slow', '');
my $slow = scratch() . '/slow.so';

SKIP: {
    skip 'no compiler', 1
        if system(($ENV{CC} || 'cc') . " -shared -fPIC -O1"
                  . " -DFLAG='\"$flag\"' -o $slow $source -ldl 2> /dev/null");

    # beside AddressSanitizer, which wants to be first

    my $program = TB::Mqtt::program();
    my ($asan) = `ldd $program` =~ m{=> (\S*/libasan\S*)};

    local $ENV{LD_PRELOAD} = join ' ', grep { defined } $asan, $slow;

    my $broker = TB::FakeBroker->start(ack => 0.01);

    # the broker's name: all that concerns Redis goes on

    $pid = start('dns', '--static', '--broker', "mqtt://slow.test:$broker->{port}");
    $seen = wait_for { text_of('dns.log') =~ /bells\): connected/ };
    ok($seen, 'a slow name of the broker: Redis is used meanwhile');
    cmp_ok(heard('dns', $pid), '<', scaled(2000), 'SIGUSR1 is heard');
    $seen = wait_for { text_of('dns.log') =~ /slow\.test.* looked up/ } 40;
    ok($seen, 'it is said that it takes long');
    cmp_ok(busy($pid, 1), '<', 5, 'there is nothing to do');
    unlink $flag;
    $seen = wait_for { text_of('dns.log') =~ /mqtt: connected/ };
    ok($seen, 'it connects when the name is known');
    is(reap($pid, 'TERM'), 0, 'exit 0');

    # that of Redis: what was connected before goes on

    file_in('slow', '');
    $pid = start('dns.redis', '--redis', "redis://slow.test:$redis->{port}",
                 '--broker', "mqtt://127.0.0.1:$broker->{port}");
    sleep(0.5);
    serves_signals('dns.redis', $pid, 'a slow name of Redis');

    $pid = start('dns.stop', '--redis', "redis://slow.test:$redis->{port}",
                 '--broker', "mqtts://slow.test:$broker->{port}");
    sleep(0.5);
    serves_signals('dns.stop', $pid, 'slow names of both');
    unlink $flag;
}


# --- nothing to do is no work ------------------------------------------------

sub idle {
    my ($name, $pid, $what) = @_;

    cmp_ok(busy($pid, 1.5), '<', 5, "$what: the loop rests");
    is(reap($pid, 'TERM'), 0, 'exit 0');
}

my $broker = TB::FakeBroker->start(ack => 0.01);
my @broker = ('--broker', "mqtt://127.0.0.1:$broker->{port}");

$pid = start('idle1', @broker, '--redis', 'redis://127.0.0.1:1');
$seen = wait_for { text_of('idle1.log') =~ /Connection refused/ };
idle('idle1', $pid, 'no Redis at the start');

$redis->call('DEL', 'tb:meta');
$pid = start('idle2', @broker);
$seen = wait_for { text_of('idle2.log') =~ /tb:meta is not there yet/ };
ok($seen, 'no tb:meta');
idle('idle2', $pid, 'no tb:meta');
$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);

$pid = start('idle3', '--broker', 'mqtt://127.0.0.1:1');
$seen = wait_for { text_of('idle3.log') =~ /mqtt: connection to/ };
idle('idle3', $pid, 'no broker');

done_testing();
