#!/usr/bin/perl

# Calls to devices as they were made for ThingsBoard: Debian's paho with nothing
# but a token, through nginx, its filter, mosquitto and the bridge.  Then broker,
# Redis, worker and bridge are killed, and no call runs twice within an attempt.
#
# runs: side by side, 90 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;

use TB::Bridge;
use TB::Env qw(scaled wait_for);
use TB::Fixture qw(redis set_macro);
use TB::Load;
use TB::Mqtt qw(spawn reap text_of);
use TB::MqttFront;
use TB::Nginx;

plan(skip_all => 'no paho (python3-paho-mqtt)')
    if system("/usr/bin/python3 -c 'import paho.mqtt.client' 2> /dev/null");

my $mqtt = TB::Mqtt->new(redis => redis());
my $broker = "max_inflight_messages 0\nset_tcp_nodelay true\n";
my $front = TB::MqttFront->start(broker_port => $mqtt->{port}, ttl => '2s',
                                 http => 'tb_rpc_ack_timeout 4s;'
                                         . ' tb_rpc_events on;');
my %device;

$mqtt->broker($broker);

my @bridge = ('--static', '--client-id', 'bridge');
my $bridge = $mqtt->bridge('b1', @bridge);


sub device {
    my ($name, $version) = @_;

    my ($id, $token) = $front->device($name);

    spawn("$name.log", '/usr/bin/python3', '-W', 'ignore::DeprecationWarning',
          "$FindBin::Bin/lib/paho-device.py", $front->{port}, $version, $token);
    $device{$name} = $token;

    return $id;
}


sub attached {
    my ($id, $but) = @_;

    return wait_for { my $now = $front->session($id);
                      $now && $now ne ($but || '') ? $now : undef } 120;
}


# the answers of n calls at once, whose params are numbers behind "from"

sub calls {
    my ($n, $name, $parallel, %opt) = @_;

    my $from = delete $opt{from} || 0;

    return TB::Load::run(port => $front->{http_port}, parallel => $parallel,
        timeout => scaled(300),
        requests => [map { $front->text($name, 'set', "{\"n\":$_}",
                                        timeout => $opt{persistent} ? 600_000
                                                                    : 60_000,
                                        %opt) }
                     $from + 1 .. $from + $n]);
}


# how many have got the answer to their own call

sub right {
    my ($name, @answers) = @_;

    return scalar grep {
        my $got = $_ > @answers ? {} : $answers[$_ - 1];
        my $json = ($got->{status} || 0) == 200
                   ? eval { decode_json($got->{body}) } : undef;

        $json && $json->{by} eq $device{$name} && $json->{params}{n} == $_;
    } 1 .. @answers;
}


sub records {
    my ($id, $status) = @_;

    my ($got) = $front->get("/api/rpc/persistent/device/$id?pageSize=1&page=0"
                            . ($status ? "&rpcStatus=$status" : ''));

    my $page = eval { decode_json($got->{body}) };

    return $page ? $page->{totalElements} : -1;
}


# --- both versions ------------------------------------------------------------------

for ([a => 5], [b => 4]) {
    my ($name, $version) = @$_;
    my $id = device($name, $version);

    ok(attached($id), "MQTT $version: the device is online");
    is(right($name, calls(1000, $name, 16)), 1000,
       '1,000 two-way calls, each with its answer');

    my @made = calls(1000, $name, 16, persistent => 1);

    is(scalar(grep { $_->{status} == 200 } @made), 1000,
       '1,000 persistent calls');
    soon { records($id, 'SUCCESSFUL') == 1000 } 'all of them end SUCCESSFUL',
                                                180
        or diag(join ' ', map { "$_ " . records($id, $_) }
                qw(QUEUED SENT DELIVERED SUCCESSFUL FAILED TIMEOUT));

    my @seen = text_of("$name.log") =~ m{^(v1/devices/me/rpc/request/\d+) }mg;
    my %seen = map { $_ => 1 } @seen;

    is(scalar @seen, 2000, 'none of them came twice');
    is(scalar keys %seen, 2000, 'each under a topic of its own');
}

# --- a device that nobody else hears ---------------------------------------------------

my @lines = grep { !m{^(connected|subscribed|v1/devices/me/)} }
            split /\n/, text_of('a.log') . text_of('b.log');
is("@lines", '', 'devices see their own topics only');

# --- kill -9 -----------------------------------------------------------------------------

# This device has a session in the broker, so what the broker has for it is not
# lost with a connection.  What a killed broker had is: such calls stay
# DELIVERED until they expire, and nothing else does.

my $id = device('k', '4s');
my $lost = 0;
my $made = 0;
my %rebroken;

attached($id);


# how many attempts of each call Redis has given out, by its number

sub attempts {
    my $prefix = TB::Bridge::prefix(TB::Bridge::shard($id));
    my (%sent, %attempts);

    for my $event (@{ redis()->call('XRANGE', $prefix . 'events', '-', '+') })
    {
        my %e = @{ $event->[1] };

        $sent{$e{rpcId}}++ if $e{event} eq 'SENT';
    }

    for my $rpc (keys %sent) {
        my $params = redis()->call('HGET', "${prefix}rpc:$rpc", 'p') // '';

        $attempts{$1} = $sent{$rpc} if $params =~ /^\{"n":(\d+)\}$/;
    }

    return \%attempts;
}


# The calls that the device ran more often than that.  MQTT brings once more
# what was not acknowledged before its connection broke: the broker marks that
# (DUP), unless it is a new one, which gets it from the bridge (%rebroken).

sub doubles {
    my (%runs, %again, %now);

    for (split /\n/, text_of('k.log')) {
        %now = () if /^connected/;

        m{^v1/devices/me/rpc/request/\d+ .*"params":\{"n":(\d+)\}\}( again)?$}
            or next;

        my $early = exists $runs{$1} && !$now{$1};

        $now{$1}++;
        $again{$1}++ if $early && ($2 || $rebroken{$1});
        $runs{$1}++;
    }

    my $attempts = attempts();

    return join ', ', map { my $max = $attempts->{$_} // 0;
                            my $n = $runs{$_} - ($again{$_} // 0);
                            $n > $max ? "$_ ran $n times in $max" : () }
                      sort { $a <=> $b } keys %runs;
}


sub survives {
    my ($what, $kill) = @_;

    my $from = $made;

    $made += 170;
    %rebroken = map { $_ => 1 } $from + 1 .. $made if $what eq 'the broker';
    calls(50, 'k', 8, persistent => 1, from => $from);

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        calls(100, 'k', 4, persistent => 1, from => $from + 50);
        POSIX::_exit(0);
    }

    # some of them are over, others on their way

    my $some = $from + 60;

    wait_for { text_of('k.log') =~ /"n":$some\}/ } 60;
    $kill->();
    waitpid $pid, 0;

    ok(attached($id), "$what killed: the device comes back");
    calls(20, 'k', 4, persistent => 1, from => $from + 150);

    my $before = -1;

    soon {
        my $done = records($id, 'SUCCESSFUL');
        my $same = $done == $before;

        $before = $done;
        sleep scaled(1);

        $same && records($id, 'QUEUED') == 0 && records($id, 'SENT') == 0
            && ($what eq 'the broker' || records($id, 'DELIVERED') == $lost)
    } 'no persistent call stays open', 180
        or diag(join ' ', map { "$_ " . records($id, $_) }
                qw(QUEUED SENT DELIVERED SUCCESSFUL FAILED TIMEOUT EXPIRED));

    $lost = records($id, 'DELIVERED') if $what eq 'the broker';

    is(records($id, 'SUCCESSFUL'), records($id) - $lost,
       'they have ended SUCCESSFUL');
    is(doubles(), '', 'and none ran twice within an attempt');
}

survives('the worker', sub { kill 'KILL', $front->worker() });
survives('the bridge', sub {
    reap($bridge, 'KILL');
    $bridge = $mqtt->bridge('b1', @bridge);
});
survives('the broker', sub {
    reap($mqtt->{broker}, 'KILL');
    $mqtt->broker($broker);
});
survives('Redis', sub {
    kill 'KILL', redis()->{pid};
    redis()->stop();
    redis()->go();
});

# one that does is seen

my ($topic, $payload) = text_of('k.log')
    =~ m{^v1/devices/me/(rpc/request/\d+) (.*\})$}m;
my ($n) = $payload =~ /"n":(\d+)/;

$mqtt->publish("v1/devices/$id/$topic", $payload);
soon { doubles() eq "$n ran 2 times in 1" } 'a call that does is seen';

$front->clean(qr/exited on signal 9/);

done_testing();
