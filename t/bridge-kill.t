#!/usr/bin/perl

# tb-rpc-mqtt-bridge killed every second while persistent calls are under
# way: none is lost, none is sent again once its answer was taken.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Env qw(wait_for);
use TB::Mqtt qw(reap child counter);
use TB::MqttDevices;
use TB::Proxy;

my $DEVICES = 100;
my $CALLS = 1000;
my $ROUNDS = 8;

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};

$mqtt->broker();
TB::MqttDevices::settings($redis, ack_timeout => 500, max_retries => 100,
                          events => 1);

my @ids = map { $mqtt->device() } 1 .. $DEVICES;
my $devices = TB::MqttDevices->start(port => $mqtt->{port}, ids => \@ids,
                                     delay => [0.02, 0.6]);

# what nginx does for its Redis
child(sub {
    for (;;) {
        eval {
            my $nginx = $redis->connect('nginx');

            for (;;) {
                $nginx->pipeline(map { ['FCALL', 'tb_rpc_tick', 1,
                                        TB::Bridge::prefix($_) . "due", 1000] } 0 .. 127);
                sleep(0.02);
            }
        };

        sleep(0.1);
    }
});


my $proxy = TB::Proxy->start(to => $redis->{port});


# a client id, so that the broker keeps the answers that come meanwhile

sub bridge {
    return $mqtt->bridge('kill', '--client-id', 'kill', '--redis',
                         "redis://127.0.0.1:$proxy->{port}");
}


# What a kill is to meet, in turns: whatever there is; calls that were taken by
# a take whose reply has not come; calls that the broker has not acknowledged.

sub before_kill {
    my ($round) = @_;

    $proxy->tell('mute', 'cmd') if $round % 3 == 1;
    kill 'STOP', $mqtt->{broker} if $round % 3 == 2;
}


sub after_kill {
    $proxy->tell('mute', 'none');
    kill 'CONT', $mqtt->{broker};
}


# { state => number of calls in it }

sub open_calls {
    my %open;

    for my $calls ($redis->client()->pipeline(map {
                       ['HVALS', TB::Bridge::key('inflight', $_)] } @ids))
    {
        $open{substr $_, 1, 1}++ for @$calls;
    }

    return \%open;
}


sub total {
    my ($open) = @_;

    my $n = 0;

    $n += $_ for values %$open;

    return $n;
}


my $pid = bridge();

ok($devices->online(60), "$DEVICES devices are online");
$mqtt->attached($_, 'kill') for @ids;

my $creator = $redis->connect('nginx');
my $monitor = $redis->connect('admin');
my (@calls, @refused);

$monitor->command('MONITOR');


# the commands of the next calls

sub commands {
    return map {
        my $n = @calls;
        my %call = (n => $n, device => $ids[$n % $DEVICES],
                    params => "{\"n\":$n}");
        my ($rpc, $command) = TB::MqttDevices::create(@call{qw(device
                                                               params)});

        push @calls, { %call, rpc => $rpc };
        $command;
    } 1 .. $_[0];
}


# what was said to the first call that waits for it

sub created {
    my ($reply) = @_;

    my ($call) = grep { !defined $_->{id} } @calls;

    $call->{id} = ref $reply ? $reply->[2] : '';
    push @refused, $reply if !ref $reply || $reply->[0] ne 'queued';
}


# What waited in the queues at the kill before this one waits there again,
# once, as after a failover that has lost the pops.

my @before;
my %known;
my $stale = 0;


sub come_back {
    my @queues = map { TB::Bridge::prefix($_) . "queue:kill" } 0 .. 127;
    my @now = $redis->client()->pipeline(map { ['LRANGE', $_, 0, -1] }
                                             @queues);

    for my $i (0 .. 127) {
        my @items = @{ $before[$i] || [] };

        $redis->call('RPUSH', $queues[$i], @items) if @items;
        $stale += @items;
        $before[$i] = [ grep { !$known{$_}++ } @{ $now[$i] } ];
    }
}


# Half of the calls come little by little, half of them at once just before
# a kill, so that it meets calls in every state.

my $kills = 0;
my $each = $CALLS / $ROUNDS;
my $left = $CALLS;
my %met;

for (my $round = 1; ; $round++) {
    my $end = time() + 1;

    while (time() < $end) {
        created($creator->pipeline(commands(1)))
            if @calls < ($round - 0.5) * $each && @calls < $CALLS
               && rand() < 0.6;
        sleep(0.005);
    }

    # On a busy machine a second may be too short for anything to be done.  What
    # does not end by itself is found below.

    last if @calls == $CALLS
            && !wait_for {
                total(open_calls()) <= ($left > 50 ? $left - 50 : 0)
            } 60;

    my @batch = @calls < $CALLS ? commands($round * $each - @calls) : ();

    before_kill($round);
    $creator->send(@batch);
    sleep(0.01 + rand 0.03);
    kill 'KILL', $pid;
    created($creator->reply()) for @batch;
    reap($pid);

    my $open = open_calls();

    $left = total($open) if @calls == $CALLS;
    after_kill();
    come_back();
    $pid = bridge();

    last if total($open) == 0 || $round == 60;

    $kills++;
    $met{$_} += $open->{$_} for keys %$open;
}

is("@refused", '', 'all were accepted');
is(scalar @calls, $CALLS, "$CALLS calls were made");
cmp_ok($kills, '>=', 5, "$kills kills while calls were open");
cmp_ok($met{s} || 0, '>', 0, 'some were taken and not acknowledged');
cmp_ok($stale, '>', 0, "$stale calls were queued again");
diag("calls met by kills: " . join ', ', map { "$met{$_} in $_" }
                                         sort keys %met);

# nothing is left that could still be sent

my $idle = wait_for {
    counter('kill', $pid, 'open') == 0
    && !grep { $redis->call('LLEN', TB::Bridge::prefix($_) . "queue:kill") } 0 .. 127;
} 60;
ok($idle, 'the queues are empty');

my %seen;
my $history = TB::MqttDevices::history($redis);
my $claims = TB::MqttDevices::claims($redis, $monitor, \@calls);
undef $monitor;

push @{ $seen{$_->{params}} }, $_ for $devices->deliveries();

my (%status, @wrong, @unseen, @late, @more, @foreign);
my $twice = 0;

for my $call (@calls) {
    my $record = { @{ $redis->call('HGETALL',
                                   TB::Bridge::key('rpc', $call->{device})
                                   =~ s/[^:]+$/$call->{rpc}/r) } };
    my $params = "{\"n\":$call->{n}}";
    my $seen = $seen{$params} || [];

    $call->{status} = $mqtt->status($call->{device}, $call->{rpc});
    $status{$call->{status}}++;
    push @wrong, $call
        if ($record->{R} || '') ne TB::MqttDevices::answer_to($call->{device},
                                                              $params);
    push @unseen, $call if !@$seen;
    push @foreign, $call if grep { $_->{device} ne $call->{device} } @$seen;
    push @late, $call if $history->{$call->{rpc}}{late};
    push @more, $call if @$seen > ($claims->{$call->{rpc}} || 0);
    $twice++ if @$seen > 1;
}


sub none {
    my ($name, @list) = @_;

    is(join(' ', map { "$_->{n}:$_->{rpc}" } @list), '', $name);
}

is_deeply(\%status, { SUCCESSFUL => $CALLS }, 'all are SUCCESSFUL');
none('each with its own answer', @wrong);
none('every device has seen each of its calls', @unseen);
none('and no call of another one', @foreign);

# Redis tells the order: a call is sent once for each claim, and no claim is
# admitted after its answer was taken

none('no call is claimed after its answer was taken', @late);
none('no call is sent without a claim', @more);
diag("duplicates: $twice of $CALLS calls");



# What a bridge has read from the broker and could not give to Redis yet is
# not gone with it.

my $device = $ids[0];
my @kept = map { TB::MqttDevices::create($device, $_) } 1 .. 20;

$creator->pipeline(grep { ref } @kept);
@kept = grep { !ref } @kept;

my @open;
wait_for {
    my %now;

    push @{ $now{$mqtt->status($device, $_)} }, $_ for @kept;
    @open = @{ $now{DELIVERED} || [] };
    !$now{QUEUED} && !$now{SENT};
};
$redis->stop();
wait_for { $devices->count('waiting') == 0 };
is(reap($pid, 'KILL'), 'signal 9', 'killed with answers and without Redis');
$redis->go();
$pid = bridge();

my $taken = wait_for {
    !grep { $mqtt->status($device, $_) ne 'SUCCESSFUL' } @kept
} 40;
ok($taken, 'the next one gets them again')
    or diag(join ' ', map { $mqtt->status($device, $_) } @kept);
cmp_ok(scalar @open, '>', 0, scalar(@open) . ' such answers');

is(reap($pid, 'TERM'), 0, 'the last bridge ends');
$devices->stop();

done_testing();
