# A bridge that is slow for a minute: 20,000 calls wait for it, the
# acknowledgement timeout is 1 s, and tick looks at each of them again and
# again.  Its queue never grows beyond what was created and not popped yet,
# and each call is claimed once.
#
# The minute is one on the library's clock, which is moved (lib/TB/Clock.pm).
#
#   TB_LONG=1      another minute, on the real clock
#
# runs: side by side, 40 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Clock;
use TB::Functions;

my $DEVICES = 200;
my $BRIDGE = 'slow';
my $ACK = 1000;
my $TENANT = $TB::Functions::TENANT;

my %settings = (ack_timeout => $ACK, max_pending => 1000, max_retries => 0,
                max_queue => 50_000);


# the two clocks --------------------------------------------------------------

# moved: one shard, so that one queue has the whole backlog

sub moved_clock {
    my $clock = TB::Clock->start;

    $clock->config(%settings);

    return {
        what => 'moved clock', redis => $clock->{redis}, server => $clock,
        prefix => sub { return $TB::Clock::PREFIX },
        now => sub { return $clock->{now} },
        pass => sub { $clock->pass($_[0]) },
        tick => sub {
            my $reply = $clock->tick(512);
            die "tick: $reply\n" if ref $reply ne 'ARRAY';
        }
    };
}


# real: each shard is ticked as a worker does it, 64 calls at a time, 20 ms
# from one to the next

sub real_clock {
    my $f = TB::Functions->new;
    my %next;

    $f->config(%settings);

    return {
        what => 'real clock', redis => $f->root, server => $f,
        prefix => sub { return $f->prefix($_[0]) },
        now => sub { return time * 1000 },
        pass => sub { sleep 0.002 },
        tick => sub {
            for my $n (grep { ($next{$_} // 0) <= time } 0 .. 127) {
                my $reply = $f->{nginx}->fcall('tick', TB::Bridge::prefix($n) . "due", 64);

                die "tick: $reply\n" if ref $reply ne 'ARRAY';
                $next{$n} = time + ($reply->[1] > 20 ? $reply->[1] : 20)
                                   / 1000;
            }
        }
    };
}


# the calls -------------------------------------------------------------------

sub put_devices {
    my ($w) = @_;

    my @devices = map { sprintf 'ba5e0000-d000-1000-8000-%012d', $_ }
                  1 .. $DEVICES;
    my %queues;

    for my $device (@devices) {
        my $prefix = $w->{prefix}->($device);

        $w->{key}{$device} = "${prefix}device:$device";
        $queues{"${prefix}queue:$BRIDGE"} = "${prefix}stats";
    }

    $w->{queues} = [ sort keys %queues ];
    $w->{stats} = [ values %queues ];

    my @bad = grep { $_ ne '1' } $w->{redis}->pipeline(map {
        ['FCALL', 'tb_rpc_device_put', 1, $w->{key}{$_}, $TENANT, '',
         'bridge', $BRIDGE]
    } @devices);

    die "device_put: @bad\n" if @bad;

    return @devices;
}


# Persistent ones, and every fourth lightweight, a hundred at a time; how many
# are in the queue by that.

sub create {
    my ($w, $calls) = @_;

    my @devices = put_devices($w);
    my $queued = 0;

    for (my $n = 0; $n < $calls; $n += 100) {
        $queued += grep { ref $_ eq 'ARRAY' && $_->[0] eq 'queued' }
            $w->{redis}->pipeline(map {
                my $light = $_ % 4 == 3;

                ['FCALL', 'tb_rpc_create', 1,
                 $w->{key}{ $devices[$_ % $DEVICES] },
                 sprintf('ca110000-0000-1000-8000-%012d', $_),
                 $light ? 'w1' : '', 0, $light ? 0 : 1, $TENANT, '*', '"m"',
                 "{\"n\":$_}", '', '', 600_000, '', '', 'wait', '', '', '']
            } $n .. $n + 99);

        $w->{pass}->(7);
    }

    return $queued;
}


sub sum {
    my $n = 0;
    $n += $_ // 0 for @_;
    return $n;
}


sub queued {
    my ($w) = @_;

    return sum($w->{redis}->pipeline(map { ['LLEN', $_] }
                                     @{ $w->{queues} }));
}


sub counted {
    my ($w, $name) = @_;

    return sum($w->{redis}->pipeline(map { ['HGET', $_, $name] }
                                     @{ $w->{stats} }));
}


# another shard first each time

sub take {
    my ($w, $n) = @_;

    my @items;

    for (1 .. @{ $w->{queues} }) {
        my $queue = shift @{ $w->{queues} };

        push @{ $w->{queues} }, $queue;
        push @items, @{ $w->{redis}->cmd('LPOP', $queue, $n - @items) || [] };
        last if @items >= $n;
    }

    $w->{popped} += @items;

    return map {
        my ($rid, $id, $device) = /^\{"requestId":(\d+),"rpcId":"([^"]+)",
                                    "deviceId":"([^"]+)"/x or die "item $_\n";
        my ($attempt) = /"attempt":(\d+),"queuedTime":\d+\}$/;

        { id => $id, rid => $rid, attempt => $attempt,
          key => $w->{key}{$device} };
    } @items;
}


# claimed by two processes and, if that was admitted, answered

sub claim {
    my ($w, @items) = @_;

    my @claims = $w->{redis}->pipeline(map {
        my $item = $_;

        map { ['FCALL', 'tb_rpc_sent', 1, $item->{key}, $item->{rid},
               $item->{attempt}, "$BRIDGE:$_"] } 1, 2
    } @items);
    my @mine = map { $claims[$_] eq '1' ? $items[$_ / 2] : () } 0 .. $#claims;

    $w->{admitted}{ $_->{id} }++ for @mine;
    $w->{redis}->pipeline(map {
        ['FCALL', 'tb_rpc_respond', 1, $_->{key}, $_->{rid}, '1']
    } @mine);
}


# the bridge ------------------------------------------------------------------

# Pops nine tenths of the calls, evenly, in $o{ms}.  Forgets one in
# $o{forgets} of those it sees for the first time; claims at once, or, with
# $o{late}, only when tick has been there once more.
#
# What tick has pushed again is in the queue as well: $worst says by how much
# the queue was ever longer, or shorter, than by that.

sub slow {
    my ($w, $created, %o) = @_;

    my ($steps, $worst, $forgotten, @hand) = (0, 0, 0);
    my $start = $w->{now}->();

    while ((my $past = $w->{now}->() - $start) < $o{ms}) {
        $w->{pass}->(100);
        $w->{tick}->();
        $steps++;

        my $off = queued($w) - ($created - $w->{popped}
                                + counted($w, 'lost_claims'));

        $worst = $off if abs $off > abs $worst;
        last if abs $off > 1000;

        claim($w, splice @hand);

        my $n = int($past / $o{ms} * 0.9 * $created) - $w->{popped};

        for my $item ($n > 0 ? take($w, $n) : ()) {
            my $forgets = $o{forgets} && $item->{attempt} == 1
                          && $w->{seen}++ % $o{forgets} == 0;

            $forgets ? $forgotten++ : push @hand, $item;
        }

        claim($w, splice @hand) if !$o{late};
    }

    return ($steps, $worst, $forgotten, @hand);
}


# what is left, as fast as can be

sub drain {
    my ($w, $created) = @_;

    my $end = time + 60;

    while (keys %{ $w->{admitted} } < $created && time < $end) {
        my @items = take($w, 1000);

        claim($w, @items);
        $w->{pass}->($ACK), $w->{tick}->() if !@items;
    }
}


sub backlog {
    my ($w, %o) = @_;

    my $what = "$w->{what}, $o{calls} calls";
    $what .= ', some forgotten' if $o{forgets};

    @$w{qw(popped seen admitted)} = (0, 0, {});

    my $created = create($w, $o{calls});

    is($created, $o{calls}, "$what: all are in the queue");

    my ($steps, $worst, $forgotten, @hand) = slow($w, $created, %o);
    my $meanwhile = counted($w, 'lost_claims');
    my $left = $created - $w->{popped};

    is($worst, 0, "$what: the queue has what was created, not popped, in each"
       . " of $steps steps");
    cmp_ok($steps, '>', $o{ms} / 200, "$what: enough of them");
    cmp_ok($left, '>', $created / 20, "$what: $left are left after that time");

    claim($w, @hand);
    drain($w, $created);

    my $again = counted($w, 'lost_claims');

    is(scalar(keys %{ $w->{admitted} }), $created, "$what: each was claimed");
    is(scalar(grep { $_ > 1 } values %{ $w->{admitted} }), 0,
       "$what: none twice");
    is($w->{popped} + queued($w), $created + $again,
       "$what: nothing else was in the queue");
    is(counted($w, 'retries'), 0, "$what: no retry was used");

    if ($o{forgets}) {
        cmp_ok($forgotten, '>', 0, "$what: $forgotten of them");
        cmp_ok($again, '>=', $forgotten, "$what: those came again, $again in"
               . ' all');
        cmp_ok($meanwhile, '>', 0.8 * $forgotten, "$what: $meanwhile of them"
               . ' while there was a backlog');

    } else {
        is($again, 0, "$what: none was pushed again");
    }
}


backlog(moved_clock(), calls => 20_000, ms => 60_000);
backlog(moved_clock(), calls => 4_000, ms => 15_000, forgets => 20,
        late => 1);

backlog(real_clock(), calls => 20_000, ms => 60_000) if $ENV{TB_LONG};

done_testing();
