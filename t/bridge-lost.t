#!/usr/bin/perl

# Presence that the broker has and did not bring: mosquitto drops retained
# messages that a client does not read fast enough.  The bridge asks for the
# topic of a device before it forgets it, and when there is a call for one that
# it has never heard of.
#
# runs: side by side, 20 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Env qw(scaled wait_for);
use TB::Mqtt qw(reap text_of counter);
use TB::MqttDevices;

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen);


# Between bridge and broker: of topics that match "lose" it loses a retained
# message, each once; "lost" tells of how many.  "cut" closes the connections,
# "seen" tells how many subscriptions to one topic went through.

package Lossy;

use base 'TB::Child';

use IO::Select;
use IO::Socket::INET;

sub start {
    my ($class, $to) = @_;

    my $self = bless { port => TB::Env::free_port(), lose => '', seen => 0 },
                     $class;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5,
                                       LocalPort => $self->{port},
                                       ReuseAddr => 1) or die "proxy: $!\n";

    $self->spawn(sub {
        my ($control) = @_;
        my $select = IO::Select->new($listen, $control);
        my (%peer, %in, %broker);

        my $shut = sub {
            for (grep { $_ } @_) {
                $select->remove($_);
                delete $peer{$_};
                delete $in{$_};
                close $_;
            }
        };

        for (;;) {
            for my $sock ($select->can_read()) {
                if ($sock == $control) {
                    return if !sysread $control, my $line, 4096;

                    chomp $line;
                    my ($word, $what) = split /\t/, $line;

                    @$self{qw(lose lost)} = ($what, {}) if $word eq 'lose';
                    $shut->(grep { ref } map { @$_ } values %peer)
                        if $word eq 'cut';
                    %peer = () if $word eq 'cut';
                    syswrite $control, ($word eq 'lost'
                                        ? scalar keys %{ $self->{lost} }
                                        : $self->{seen}) . "\n";

                } elsif ($sock == $listen) {
                    my $client = $listen->accept();
                    my $server = IO::Socket::INET->new(
                        PeerAddr => "127.0.0.1:$to") or die "broker: $!\n";

                    $peer{$client} = [$client, $server];
                    $peer{$server} = [$client, $server];
                    $broker{$server} = 1;
                    $select->add($client, $server);

                } elsif (my $pair = $peer{$sock}) {
                    my ($client, $server) = @$pair;
                    my $n = sysread $sock, $in{$sock}, 65536,
                                    length($in{$sock} // '');

                    if (!$n) {
                        $shut->($client, $server);
                        next;
                    }

                    $self->pass($sock == $server ? $client : $server,
                                \$in{$sock}, $sock == $server);
                }
            }
        }
    });

    close $listen;

    return $self;
}


sub pass {
    my ($self, $to, $in, $from_broker) = @_;

    my $out = '';

    while (my ($head, $body) = TB::MqttDevices::take($in)) {
        my ($topic) = $head >> 4 == 3 ? unpack 'n/a*', $body : '';

        next if $from_broker && $head >> 4 == 3 && $head & 1
                && length $self->{lose} && $topic =~ $self->{lose}
                && !$self->{lost}{$topic}++;

        $self->{seen} += () = $body =~ m{v1/devices/[0-9a-f-]{36}/status}g
            if !$from_broker && $head >> 4 == 8;
        $out .= TB::MqttDevices::packet($head, $body);
    }

    while (length $out) {
        my $n = syswrite $to, $out or return;

        substr $out, 0, $n, '';
    }
}


package main;

$mqtt->broker();

my $lossy = Lossy->start($mqtt->{port});
my @lossy = ('--broker', "mqtt://127.0.0.1:$lossy->{port}");


sub word {
    my ($device) = @_;

    return ($mqtt->call($device, '"m"', '1', oneway => 1,
                        timeout => 100))[2];
}


# --- a reconnect that loses some ---------------------------------------------

my @ids = map { $mqtt->device() } 1 .. 300;
my ($gone, $upper) = splice @ids, 0, 2;
my $ttl = scaled(3000);

TB::MqttDevices::publish($mqtt->{port},
    map({ ["v1/devices/$_/status", 'online', 1] } @ids, $gone),
    ['v1/devices/' . uc($upper) . '/status', 'online', 1]);
$pid = $mqtt->bridge('lost', @lossy, '--session-ttl', $ttl,
                     '--presence-grace', 500);
$seen = wait_for { counter('lost', $pid, 'devices') == 300 };
ok($seen, 'devices are online');
$mqtt->attached($_, 'lost') for $gone, $upper, @ids;

# two of three are lost at the reconnect; one is really gone

# before it is back
kill 'STOP', $pid;
$lossy->tell('lose', '[0-9a-e]/status');
$lossy->tell('cut');
$mqtt->publish("v1/devices/$gone/status", '', '-r');
kill 'CONT', $pid;
$seen = wait_for { 2 <= (() = text_of('lost.log') =~ /mqtt: connected/g) };
ok($seen, 'connected again');
$seen = wait_for { $lossy->tell('lost') >= 250 };
ok($seen, 'and most are lost');
$seen = wait_for { text_of('lost.log') =~ /device $gone: the broker no longer/ }
                 60;
ok($seen, 'a device that is gone is forgotten');
cmp_ok($lossy->tell('seen'), '>=', 200,
       'those that the broker did not speak of were asked for');
sleep(1.2 * $ttl / 1000);
is(() = text_of('lost.log') =~ /the broker no longer knows/g, 1,
   'and all others stay');
is(counter('lost', $pid, 'devices'), 299, 'all of them');
is((grep { word($_) eq 'queued' } @ids[0 .. 49]) + 0, 50,
   'with their sessions');
is(word($upper), 'queued', 'whatever its topic looks like');
is(reap($pid, 'TERM'), 0, 'exit 0');
$mqtt->publish("v1/devices/$_/status", '', '-r') for @ids, uc $upper;


# --- a start that loses some -------------------------------------------------

my $device = $mqtt->device();

$mqtt->subscribe('sub', "v1/devices/$device/rpc/request/+");
$mqtt->publish("v1/devices/$device/status", 'online:s1', '-r');
$redis->fcall('tb_rpc_attach', TB::Bridge::key('device', $device), 'start',
              's1', 60_000);
$lossy->tell('lose', 'status');
$pid = $mqtt->bridge('start', @lossy);
$seen = wait_for { $lossy->tell('lost') == 1 };
ok($seen, 'presence that is lost');
is(counter('start', $pid, 'devices'), 0, 'a device that was not heard of');

my ($rpc, $id) = $mqtt->call($device, '"m"', '"found"');

$seen = wait_for {
    $mqtt->tick($device);
    text_of('sub') =~ m{request/$id .*"found"};
} 30;
ok($seen, 'is found when it is called');
is(reap($pid, 'TERM'), 0, 'exit 0');

$mqtt->publish("v1/devices/$device/status", '', '-r');

# one that is not there is no reason to ask for ever

my $away = $mqtt->device();

$redis->fcall('tb_rpc_attach', TB::Bridge::key('device', $away), 'away', 's1',
              60_000);
$pid = $mqtt->bridge('away', '--session-ttl', 900, '--presence-grace', 100);
($rpc) = $mqtt->call($away, '"m"', '1', persistent => 1);
$seen = wait_for { counter('away', $pid, 'returned') >= 1 };
ok($seen, 'a call for one that is away is returned');
$seen = wait_for { counter('away', $pid, 'devices') == 0 } 60;
ok($seen, 'and nothing is remembered of it');
is($mqtt->status($away, $rpc), 'QUEUED', 'the call waits');
is(reap($pid, 'TERM'), 0, 'exit 0');


# --- many --------------------------------------------------------------------

# TB_MANY=200000 prove t/bridge-lost.t: retained, and a broker that keeps all

SKIP: {
    my $many = $ENV{TB_MANY} or skip 'TB_MANY is not set', 2;

    reap($mqtt->{broker}, 'TERM');
    $mqtt->broker("max_queued_messages 0\n");

    my @many = map { sprintf 'de000000-0000-11ee-a000-%012x', $_ } 1 .. $many;

    while (my @some = splice @many, 0, 5000) {
        $redis->client()->pipeline(map {
            ['FCALL', 'tb_rpc_device_put', 1, TB::Bridge::key('device', $_),
             $TB::Mqtt::TENANT, ''] } @some);
        TB::MqttDevices::publish($mqtt->{port}, map {
            ["v1/devices/$_/status", 'online', 1] } @some);
    }

    my $start = time();

    $pid = $mqtt->bridge('many', '--log-level', 'info');
    $seen = wait_for { counter('many', $pid, 'devices') >= $many } 60;
    ok($seen, "$many devices after a start");
    diag(sprintf '%.1f s', time() - $start);
    is(reap($pid, 'TERM', 20), 0, 'exit 0');
}

done_testing();
