#!/usr/bin/perl

# tb-rpc-mqtt-bridge with many devices: one process that has them all, then
# three that share the name, of which one is killed.  A real mosquitto, with
# a queue that is shorter than the list of devices, and a real redis-server;
# all devices are behind one MQTT connection.  The figures are diagnostics.
#
# runs: alone, 45 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Errno qw(EAGAIN EINTR);
use IO::Socket::INET;
use List::Util qw(sum0);
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC IPPROTO_TCP TCP_NODELAY
              TCP_QUICKACK);
use Test::More;
use Time::HiRes qw(time sleep);

use TB::Bridge;
use TB::Env qw(scratch file_in wait_for);
use TB::Mqtt qw(child counter ignored output reap text_of);
use TB::MqttDevices;
use TB::Resp;

my $mode = $ENV{TB_MODE} || '';
my $slow = $mode eq 'valgrind' ? 40 : $mode eq 'asan' ? 8 : 1;
my $DEVICES = 20_000 / $slow;
my $TTL = 24_000;
my $ACK_TIMEOUT = $slow > 1 ? 9000 : 3000;
my $SUCCESSFUL = 3;

plan skip_all => 'no python3' if system('python3 -c 0 2> /dev/null');

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my @ids = map { sprintf 'de000000-0000-11ee-8000-%012x', $_ }
              1 .. $DEVICES;
my @keys = map { TB::RedisServer->device_key($_) } @ids;


sub figure { diag(sprintf shift, @_) }


# --- processes --------------------------------------------------------------

# seconds of CPU

sub cpu {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my ($fields) = <$fh> =~ /\) (.*)/;
    my (@f) = split ' ', $fields;

    return ($f[11] + $f[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}


# stopped, and nothing is on its way out any more: a process that waits for a
# processor inside a system call finishes that call first

sub pause {
    my ($pid) = @_;

    kill 'STOP', $pid;

    wait_for {
        open my $fh, '<', "/proc/$pid/stat" or return 0;
        <$fh> =~ /\) T /;
    } 10;
}


# KB of memory

sub rss {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/status" or return 0;

    return join('', <$fh>) =~ /VmRSS:\s*(\d+)/ ? $1 : 0;
}


# --- Redis ------------------------------------------------------------------

# many commands, some hundreds on their way at once

sub many {
    my (@commands) = @_;

    my @replies;

    while (my @some = splice @commands, 0, 500) {
        push @replies, $redis->client()->pipeline(@some);
    }

    for (grep { TB::Resp::is_error($_) } @replies) {
        die "Redis: $_\n";
    }

    return @replies;
}


sub shards { return map { TB::Bridge::prefix($_) . "$_[0]" } 0 .. 127 }


sub stats {
    my ($name) = @_;

    return sum0(map { $_ || 0 } many(map { ['HGET', $_, $name] }
                                         shards('stats')));
}


# without calls, an attached device is one entry of "due"

sub attached {
    return sum0(many(map { ['ZCARD', $_] } shards('due')));
}


sub all_are {
    my ($number, $name) = @_;

    my $start = time();

    wait_for { attached() == $number } 30;
    is(attached(), $number, $name);

    return time() - $start;
}


# those with a session that goes on for so many seconds

sub alive {
    my ($seconds) = @_;

    my ($now) = @{ $redis->call('TIME') };
    my $until = ($now + ($seconds || 0)) * 1000;

    return scalar grep { $_->[0] && ($_->[1] || 0) > $until }
                  many(map { ['HMGET', $_, 'session', 'until'] } @keys);
}


sub sessions { return many(map { ['HGET', $_, 'session'] } @keys) }


# what nginx does for its Redis all the time

sub ticker {
    child(sub {
        my $parent = getppid();
        my $client = $redis->connect('nginx');

        while (getppid() == $parent) {
            $client->pipeline(map { ['FCALL', 'tb_rpc_tick', 1, $_, 1000] }
                                  shards('due'));
            sleep 0.05;
        }
    });
}


# --- devices ----------------------------------------------------------------

# They log the number of each call before they acknowledge and answer it.

my $ctl;
my $packet_id = 0;


sub publish {
    my ($topic, $payload, $retain) = @_;

    $packet_id = $packet_id % 65535 + 1;

    return TB::MqttDevices::publish_packet($packet_id, $topic, $payload,
                                           $retain);
}


sub answer_to { return "{\"device\":\"$_[0]\",\"n\":$_[1]}" }


sub request {
    my ($d, $topic, $payload) = @_;

    my ($device, $id) = $topic =~ m{^v1/devices/([^/]+)/rpc/request/(\d+)$};
    my ($n) = $payload =~ /^\{"method":"get","params":\{"n":(\d+)\}\}$/;

    $d->{log} .= defined $n ? "$device $n\n" : "$topic: $payload\n";

    return '' if !defined $n;

    return publish("v1/devices/$device/rpc/response/$id",
                   answer_to($device, $n), 0);
}


sub received {
    my ($d) = @_;

    while (my ($type, $body) = TB::MqttDevices::take(\$d->{in})) {
        if ($type >> 4 == 3) {
            my ($topic, $id, $payload) = unpack 'n/a* a2 a*', $body;

            $d->{out} .= "\x40\x02$id" . request($d, $topic, $payload);

        } elsif ($type >> 4 == 4) {
            $d->{unheard}--;
            syswrite $d->{ctl}, "done\n" if $d->{unheard} == 0;

        } elsif ($type >> 4 == 9) {
            syswrite $d->{ctl}, "subscribed\n";
        }
    }

    if (length $d->{log}) {
        syswrite $d->{file}, $d->{log};
        $d->{log} = '';
    }
}


# acknowledgements of answers count too: nobody is called meanwhile

sub said {
    my ($d, $what) = @_;

    $d->{unheard} = @ids;
    $d->{out} .= publish("v1/devices/$_/status", $what, 1) for @ids;
}


sub devices_run {
    my ($d, $parent) = @_;

    my ($sock, $from) = @$d{qw(sock ctl)};

    $d->{out} = TB::MqttDevices::connect_packet('devices', clean => 1)
                . TB::MqttDevices::packet(0x82, pack('n n/a* C', 1,
                      'v1/devices/+/rpc/request/+', 1));

    while (getppid() == $parent) {
        my ($r, $w) = ('', '');

        vec($r, fileno $_, 1) = 1 for $sock, $from;
        vec($w, fileno $sock, 1) = 1 if length $d->{out};

        next if select($r, $w, undef, 0.5) < 1;

        if (vec $r, fileno $sock, 1) {
            my $n = sysread $sock, $d->{in}, 65536, length $d->{in};

            die "the broker has gone\n"
                if defined $n ? $n == 0 : !$!{EAGAIN} && !$!{EINTR};
            received($d);

            # real devices do not share a connection, where each call would
            # wait until what was sent for another one is acknowledged
            setsockopt $sock, IPPROTO_TCP, TCP_QUICKACK, 1;
        }

        if (vec $r, fileno $from, 1) {
            sysread $from, my $line, 64 or return;
            chomp $line;
            said($d, $line);
        }

        if (length $d->{out}) {
            my $n = syswrite $sock, $d->{out}, 262144;

            substr $d->{out}, 0, $n, '' if $n;
        }
    }
}


sub devices {
    socketpair $ctl, my $peer, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!\n";

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $mqtt->{port})
        or die "no broker\n";
    my $parent = $$;

    child(sub {
        close $ctl;
        binmode $sock;
        $sock->blocking(0);
        setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
        open my $file, '>>', scratch() . '/deliveries' or die $!;
        devices_run({ sock => $sock, ctl => $peer, file => $file, in => '',
                      log => '', unheard => 0 }, $parent);
    });

    close $peer;

    is(scalar <$ctl>, "subscribed\n", 'the devices listen');
}


# all devices say so, and the broker has heard it

sub all_say {
    my ($what) = @_;

    my $start = time();

    syswrite $ctl, "$what\n";
    is(scalar <$ctl>, "done\n", "$DEVICES devices have said \"$what\"");

    return time() - $start;
}


# how often each call was delivered to its device

sub deliveries {
    my ($calls) = @_;

    my %count;

    $count{$_}++ for split /\n/, text_of('deliveries');

    return map { $count{"$ids[$_->{i}] $_->{n}"} || 0 } @$calls;
}


# --- calls ------------------------------------------------------------------

my @calls;


# the next call and its command; every other one is persistent

sub new_call {
    my ($i, $persistent) = @_;

    my $shard = TB::Bridge::shard($ids[$i]);
    my $n = @calls;
    my $rpc = sprintf '%08x-0000-11ee-%04x-010000000000', $n,
                      0x8000 | $shard;
    my $call = { i => $i, n => $n, rpc => $rpc, persistent => $persistent,
                 record => TB::Bridge::prefix($shard) . "rpc:$rpc",
                 answer => TB::Bridge::prefix($shard) . "answer:$rpc" };

    push @calls, $call;

    return ($call, ['FCALL', 'tb_rpc_create', 1, $keys[$i], $rpc, 'w1', 0,
                    $persistent, $TB::Mqtt::TENANT, '*', '"get"',
                    "{\"n\":$n}", '', $persistent ? 3 : '', 30000, '',
                    '60000', 'wait', '', '', '']);
}


sub commands {
    my ($number, $calls) = @_;

    return map {
        my ($call, $command) = new_call(int rand $DEVICES, @calls % 2);
        push @$calls, $call;
        $command;
    } 1 .. $number;
}


# creates calls to devices at random

sub create {
    my ($number) = @_;

    my @made;
    my @refused = grep { $_->[0] ne 'queued' } many(commands($number,
                                                             \@made));

    is(scalar @refused, 0, "$number calls were accepted")
        or diag("@{ $refused[0] }");

    return \@made;
}


# what its caller has, or nothing

sub answers {
    my ($calls) = @_;

    my @replies = many(map {
        $_->{persistent} ? ['HMGET', $_->{record}, 's', 'R']
                         : ['GET', $_->{answer}]
    } @$calls);

    return map {
        my $reply = $replies[$_];

        !$calls->[$_]{persistent} ? $reply
        : ($reply->[0] || 0) == $SUCCESSFUL ? "A$reply->[1]" : undef;
    } 0 .. $#$calls;
}


sub right {
    my ($calls) = @_;

    my @answers = answers($calls);

    return scalar grep {
        my $call = $calls->[$_];

        ($answers[$_] || '') eq 'A' . answer_to($ids[$call->{i}], $call->{n});
    } 0 .. $#$calls;
}


# the oldest that is open is waited for, then the next ones are looked at

sub all_answered {
    my ($calls, $seconds) = @_;

    my @open = @$calls;

    return wait_for {
        while (my @some = splice @open, 0, 200) {
            my @answers = answers(\@some);

            unshift @open, @some[grep { !defined $answers[$_] } 0 .. $#some];
            last if grep { !defined } @answers;
        }

        !@open;
    } $seconds;
}


sub called {
    my ($number, $what) = @_;

    my $start = time();
    my $calls = create($number);

    all_answered($calls, 30);
    figure('%s: %d calls created and answered, %.0f a second', $what, $number,
           $number / (time() - $start));

    is(right($calls), $number, "$what: all have their own answer");
    is(scalar(grep { $_ != 1 } deliveries($calls)), 0,
       "$what: each was delivered once");
}


# Open calls that were taken and not acknowledged.  Where the others have done
# theirs, it is what a process that is stopped has in hand.

sub in_hand {
    my ($calls) = @_;

    my %taken = map { $_ => 1 } map {
        map { /^[PL]s\d(\S+)/ ? $1 : () } @$_
    } many(map { ['HVALS', TB::Bridge::key('inflight', $ids[$_->{i}])] }
               @$calls);

    return grep { $taken{$_->{rpc}} } @$calls;
}


# --- one process ------------------------------------------------------------

my @one = ('--name', 'scale', '--log-level', 'info');

TB::MqttDevices::settings($redis, ack_timeout => 20_000);
$mqtt->broker();
devices();
ticker();

my $start = time();
my ($status, $text) = output(TB::Mqtt::admin(), '--redis',
    "redis://127.0.0.1:$redis->{port}", '--redis-user', 'operator',
    '--redis-password-file', file_in('operator.password',
                                     "$TB::RedisServer::PASSWORD{operator}\n"),
    'import', file_in('devices.csv', join '', "id,tenant\n",
                      map { "$_,$TB::Mqtt::TENANT\n" } @ids));

is($status, 0, "$DEVICES devices are provisioned") or diag($text);
figure('imported in %.1f s', time() - $start);

my $empty = $mqtt->bridge('empty', @one);
my $memory = rss($empty);
is(reap($empty, 'TERM'), 0, 'a bridge without devices');

figure('presence published in %.1f s', all_say('online'));

my $pid = $mqtt->bridge('one', @one, '--session-ttl', $TTL);
my $took = all_are($DEVICES, 'all devices are attached');

figure('attached in %.2f s, %.0f a second', $took, $DEVICES / $took);
is(counter('one', $pid, 'devices'), $DEVICES, 'the bridge has them');

# heartbeats

my $before = cpu($pid);
my @sessions = sessions();

$start = time();
sleep $TTL / 1000 * 1.25;
$took = time() - $start;

my $busy = (cpu($pid) - $before) / $took;
my $each = (rss($pid) - $memory) * 1024 / $DEVICES;

is(alive(), $DEVICES, 'after more than their time all sessions are alive');
is(stats('lapsed'), 0, 'none has lapsed in between');

SKIP: {
    skip 'not its own memory and time', 2 if $mode;

    figure('%d KB, and %.0f bytes a device', $memory, $each);
    figure('%.1f %% CPU for %.0f heartbeats a second', $busy * 100,
           $DEVICES / $TTL * 3000);
    cmp_ok($each, '<', 600, 'memory for a device');
    cmp_ok($busy, '<', 0.5, 'time for heartbeats');
}

# the next process goes on with the sessions

is(reap($pid, 'TERM'), 0, 'the process ends');

my %pid = (one => $mqtt->bridge('one', @one));

wait_for { alive(20) == $DEVICES } 30;
is(alive(20), $DEVICES, 'another one has all devices');
is_deeply([sessions()], \@sessions, 'with the same sessions');

# everybody goes and comes

for my $round (1, 2) {
    figure('published in %.2f s, detached %.2f s later',
           all_say('offline'), all_are(0, 'all devices are detached'));
    figure('published in %.2f s, attached %.2f s later',
           all_say('online'), all_are($DEVICES, 'and are back'));
}

is(alive(), $DEVICES, 'all have a session');
is(stats('lapsed'), 0, 'no session had to lapse');

# calls, many and one by one

called(2000 / $slow, 'one process');

my @times = sort { $a <=> $b } map {
    my $sent = time();
    my ($call, $command) = new_call(int rand $DEVICES, 0);

    many($command);
    sleep 0.001 until $redis->call('EXISTS', $call->{answer})
                      || time() > $sent + 10;
    time() - $sent;
} 1 .. 40;

is(ignored($redis), '', 'each report was of use');
is($redis->mishaps('lapsed'), '', 'nothing had to be put right');

figure('one call after another: %.1f ms each, at most %.1f',
       1000 * $times[20], 1000 * $times[-1]);

# A small packet that waits for the acknowledgement of the one before it does
# so for 40 ms; it could be one to the broker or one from it.
cmp_ok($times[20], '<', $mode eq '' ? 0.035 : 5,
       'a call that is alone does not wait');


# --- three processes --------------------------------------------------------

$pid{$_} = $mqtt->bridge($_, @one) for qw(two three);
is(scalar(grep { my $name = $_;
                 wait_for { counter($name, $pid{$name}, 'devices')
                            == $DEVICES } 30 } keys %pid), 3,
   'all three have all devices');
is(alive(), $DEVICES, 'and heartbeats of all are accepted');

my %taken = map { $_ => counter($_, $pid{$_}, 'taken') } keys %pid;

called(5000 / $slow, 'three processes');

for my $name (sort keys %pid) {
    my $share = counter($name, $pid{$name}, 'taken') - $taken{$name};

    figure('%s: %d calls', $name, $share);

    # a few calls may be taken by one that is fast
    cmp_ok($share, '>', $mode ? -1 : 100, "process $name took its share");
}


# --- one is killed ----------------------------------------------------------

# It is stopped while calls come in; and killed when it has taken some that
# their devices have not got, otherwise it goes on until the next portion.

TB::MqttDevices::settings($redis, ack_timeout => $ACK_TIMEOUT);

my $retries = stats('retries');
my $PORTION = $slow > 1 ? 50 : 200;
my $portions = 3000 / $slow / $PORTION;
my (@all, @hand, @lost, $killed);


# those of its takes that it has not published; the broker has read all of
# what it wrote when nothing changes while other calls go through

sub unpublished {
    my ($calls) = @_;

    my ($seen, @mine, @undelivered) = ('');

    for (1 .. 20) {
        my ($probe, $command) = new_call(int rand $DEVICES, 0);

        many($command);
        all_answered([$probe], 1);
        @mine = in_hand($calls);

        my @times = deliveries(\@mine);

        @undelivered = @mine[grep { !$times[$_] } 0 .. $#mine];

        my $now = join ' ', map { $_->{n} } @undelivered;

        last if $now eq $seen;
        $seen = $now;
    }

    return (\@mine, grep { $_->{persistent} } @undelivered);
}


for (my $i = 0; $i < $portions || !$killed && $i < 100; $i++) {
    my @portion;
    my @commands = commands($PORTION, \@portion);
    my $client = $redis->client();

    $client->send(@commands);

    if (!$killed && $i >= $portions / 3) {
        # somewhere in the portion
        $client->reply() for 1 .. $PORTION / 2;
        pause($pid{one});
        $client->reply() for 1 .. $PORTION / 2;

        # of all of them: what it takes may be older than a few portions
        my ($mine, @undelivered) = unpublished([@all, @portion]);

        if (@undelivered) {
            @hand = @$mine;
            @lost = @undelivered;
            $killed = reap($pid{one}, 'KILL');
        } else {
            kill 'CONT', $pid{one};
        }

    } else {
        $client->reply() for @portion;
    }

    push @all, @portion;
}

is($killed, 'signal 9', 'one of three processes is killed');
figure('it had taken %d calls, %d persistent ones were not delivered',
       scalar @hand, scalar @lost);

$start = time();

my %in_hand = map { $_->{n} => 1 } @hand;
my @others = grep { !$in_hand{$_->{n}} } @all;
my @persistent = grep { $_->{persistent} } @all;
my @light = grep { !$_->{persistent} } @all;
my @held = grep { $_->{persistent} } @hand;

all_answered([@persistent, @others], 30);
figure('all done %.1f s later', time() - $start);

is(right(\@persistent), @persistent, 'all persistent calls are SUCCESSFUL');
is(right(\@held), @held, 'those that it had taken too');
is(scalar(grep { $_ != 1 } deliveries(\@lost)), 0,
   'what it did not deliver was delivered by the others, once');
cmp_ok(stats('retries') - $retries, '>=', @lost, 'as retries');
is(right(\@others), @others, 'what it had not taken is answered');

my @times_each = deliveries(\@others);
my @wrong = grep { $times_each[$_] != 1 } 0 .. $#others;

is(scalar @wrong, 0, 'and delivered once')
    or diag(map { "call $others[$_]{n}, persistent $others[$_]{persistent}:"
                  . " $times_each[$_] times\n" } @wrong);

is(scalar(grep { $_ > 1 } deliveries(\@light)), 0,
   'no lightweight call was delivered twice');

is(alive(), $DEVICES, 'all devices still have their sessions');
is(stats('lapsed'), 0, 'none has lapsed');
is(reap($pid{$_}, 'TERM'), 0, "process $_ ends") for qw(two three);

done_testing();
