package TB::Model;

# The rules of the function library in plain Perl: what each function has to
# return and to leave behind.  It keeps calls as Perl values and knows nothing
# of how the library writes them down; text() says what must be seen in Redis.
#
# The functions themselves are in Model/Calls.pm, Model/Take.pm,
# Model/Devices.pm and Model/Polls.pm.
#
# One shard, one tenant, and a clock that the test sets: $model->{now}.

use strict;
use warnings;

use List::Util qw(min);

use constant {
    QUEUED => 0, SENT => 1, DELIVERED => 2, SUCCESSFUL => 3, TIMEOUT => 4,
    EXPIRED => 5, FAILED => 6
};

our @STATUS = qw(QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED FAILED);
my %HOW = (burst => '', sequential_on_ack => 'ack',
           sequential_on_response => 'response');

our $GRACE = 3000;          # a lightweight call ends so much later
our $STALE = 16;            # stale references dropped from a queue at once
our $NEXT = 16;             # calls released at once
our $WINDOW = 16;           # calls of a device queued or taken, under burst
our $RETRY = 1000;          # until a full queue is looked at again
our $MORE = 50;             # until the rest of a backlog is released
our $PUBLISH = 16384;
our $RING = 1000;           # a bell rings again
our $LOOK = 60000;          # a queue is looked at


sub new {
    my ($class, %settings) = @_;

    return bless {
        now => 0, serial => 0,
        set => {
            max_retries => 5, ack_timeout => 10000, response_timeout => 30000,
            record_ttl => 2592000000, strategy => 'burst', events => 0,
            max_pending => 1000, max_records => 200000, max_queue => 10000,
            max_response => 65536, %settings
        },
        device => {}, queue => {}, record => {}, uuid => {}, answer => {},
        due => {}, old => {}, count => {}, said => [], events => [],
        taken => {}, rung => {}, looked => {}
    }, $class;
}


# small questions -----------------------------------------------------------

sub online {
    my ($m, $d) = @_;

    return defined $d->{bridge}
           && ($d->{till} == -1 || $d->{till} > $m->{now});
}


sub how {
    my ($m, $d) = @_;

    return $HOW{ $d->{strategy} // $m->{set}{strategy} };
}


# One unacknowledged, or unanswered, call at a time: does it keep the others
# from leaving?

sub blocked {
    my ($m, $d) = @_;

    my $how = $m->how($d) or return 0;
    my $c = defined $d->{turn} && $d->{open}{ $d->{turn} } or return 0;

    return $c->{state} ne 'd' || $how eq 'response';
}


sub room {
    my ($m, $d) = @_;

    return $m->{set}{max_queue} - @{ $m->{queue}{ $d->{bridge} } || [] };
}


# a call came back without a session: the device is left alone for a while

sub held {
    my ($m, $d) = @_;

    return $d->{held} && $d->{held}{till} > $m->{now};
}


# with its bridge, or on the way to it, and not acknowledged

sub outside {
    my ($d) = @_;

    return scalar grep { $_->{state} =~ /[qs]/ } values %{ $d->{open} };
}


# how many more calls may leave for the bridge

sub allowed {
    my ($m, $d) = @_;

    return 0 if !$m->online($d) || $m->held($d);
    return $m->blocked($d) ? 0 : 1 if $m->how($d);
    return $WINDOW - outside($d);
}


sub place {
    my ($m, $d, $c) = @_;

    return $c->{state} eq 'q' ? 'queued' : 'sent' if $c->{state} ne 'p';
    return 'turn' if $m->polled($d);
    return $m->online($d) && $m->room($d) > 0 ? 'turn' : 'offline';
}


# the caller of a one-way call has its answer as soon as a bridge has taken it,
# also when it comes back; from a poll, when that is confirmed

sub released {
    my ($c) = @_;

    return $c->{oneway} && ($c->{answered} || $c->{state} !~ /[pqh]/);
}


sub member {
    my ($c) = @_;

    return $c->{light} ? "$c->{device}/$c->{rid}" : $c->{id};
}


sub ignore {
    my ($m, $name) = @_;

    $m->{count}{"ignored_$name"}++;

    return 0;
}


# moments -------------------------------------------------------------------

sub last_moment {
    my ($c) = @_;

    return $c->{light} ? $c->{expiry} + $GRACE : $c->{expiry};
}


# the next moment at which something must happen to a call

sub watch {
    my ($m, $d, $c) = @_;

    my ($set, $s, $how) = ($m->{set}, $c->{state}, $m->how($d));
    my $turn = defined $d->{turn} && $d->{turn} == $c->{rid};
    my $moment = last_moment($c);

    if ($c->{light} && $c->{oneway} && $s eq 's') {
        $moment = $c->{time} + $set->{ack_timeout};

    } elsif ($s eq 'h') {
        $moment = min($moment, $c->{time} + $m->confirm_within($d))
            if $m->{now} < $c->{expiry};

    } elsif ($s eq 's' && (!$c->{light} || ($how eq 'ack' && $turn))) {
        $moment = min($moment, $c->{time} + $set->{ack_timeout});

    } elsif ($s eq 'd' && $how eq 'response' && (!$c->{light} || $turn)) {
        $moment = min($moment, $c->{time} + $set->{response_timeout});
    }

    $m->{due}{ member($c) } = $moment;
}


sub wake {
    my ($m, $d, $time) = @_;

    my $due = \$m->{due}{"\@$d->{id}"};

    $$due = $time if !defined $$due || $time < $$due;
}


# moves of a call -----------------------------------------------------------

sub enter {
    my ($m, $d, $c, $state) = @_;

    $c->{state} = $state;
    $c->{time} = $m->{now};
    $m->watch($d, $c);
}


sub drop_turn {
    my ($d, $c) = @_;

    delete $d->{turn} if defined $d->{turn} && $d->{turn} == $c->{rid};
}


sub send_out {
    my ($m, $d, $c) = @_;

    # take finds out whether a persistent one has expired

    return 0 if $c->{light} && $c->{expiry} <= $m->{now};

    my $queue = $m->{queue}{ $d->{bridge} } //= [];

    $c->{attempt}++;
    $c->{queued} = $m->{now};
    push @$queue, { call => $c, attempt => $c->{attempt} };
    $m->enter($d, $c, 'q');
    $m->ring($d->{bridge}, scalar @$queue);

    return 1;
}


# the first reference of a queue is said at once, others once a second

sub ring {
    my ($m, $bridge, $length) = @_;

    my $last = $m->{rung}{$bridge};

    return if $length > 1 && defined $last && $m->{now} - $last < $RING;

    $m->{rung}{$bridge} = $m->{now};
    push @{ $m->{said} }, "bell $bridge";

    my $looked = \$m->{looked}{$bridge};

    return if defined $$looked && $m->{now} - $$looked < $LOOK;

    $$looked = $m->{now};
    $m->{due}{"#$bridge"} //= $m->{now} + $LOOK;
}


sub current {
    my ($item) = @_;

    my $c = $item->{call};

    return !$c->{over} && $c->{state} eq 'q'
           && $c->{attempt} == $item->{attempt};
}


# A call left this queue otherwise than through its bridge; how many stale
# references were dropped, and whether a good one is the first now.

sub sweep {
    my ($m, $bridge) = @_;

    my $queue = $m->{queue}{$bridge} || [];

    for my $n (0 .. $STALE - 1) {
        return ($n, 0) if !@$queue;
        return ($n, 1) if current($queue->[0]);
        shift @$queue;
    }

    return ($STALE, 0);
}


# this call did: mostly it is the first one

sub leave_queue {
    my ($m, $d, $c) = @_;

    return if !defined $d->{bridge};

    my $first = ($m->{queue}{ $d->{bridge} } || [])->[0];

    if ($first && $first->{call} == $c && $first->{attempt} == $c->{attempt}) {
        shift @{ $m->{queue}{ $d->{bridge} } };
        return;
    }

    $m->sweep($d->{bridge});
}


sub wait_again {
    my ($m, $d, @calls) = @_;

    for my $c (@calls) {
        drop_turn($d, $c);
        $m->enter($d, $c, 'p');
        push @{ $d->{waiting} }, $c;
    }

    @{ $d->{waiting} }
        = sort { $a->{serial} <=> $b->{serial} } @{ $d->{waiting} };
}


# to the bridge once more, or back to its place among those that wait

sub again {
    my ($m, $d, $c) = @_;

    return if $m->online($d) && !$m->held($d) && $m->room($d) > 0
              && $m->send_out($d, $c);

    $m->wait_again($d, $c);
    $m->wake($d, $m->{now} + $RETRY) if $m->online($d);
}


# as many of those that wait as may leave; to the poll first

sub release {
    my ($m, $d) = @_;

    return 0 if !@{ $d->{waiting} };

    my $n = $m->offer($d);

    for (1 .. 2 * $NEXT) {
        my $may = min($NEXT - $n, $m->allowed($d));

        last if $may <= 0;

        # an end of room is looked at again, also when it would just do

        $m->wake($d, $m->{now} + $RETRY) if $m->room($d) < $may;
        last if $m->room($d) <= 0;

        my $c = shift @{ $d->{waiting} } or last;

        next unless $m->send_out($d, $c);

        $n++;
        $d->{turn} = $c->{rid} if $m->how($d);
    }

    $m->wake($d, $m->{now} + $MORE)
        if @{ $d->{waiting} } && $m->allowed($d) > 0 && $m->room($d) > 0;

    return $n;
}


# what its old bridge has not claimed, and what may never have reached the
# device, waits for the next bridge

sub move_out {
    my ($m, $d) = @_;

    my @moved = grep { $_->{state} eq 'q'
                       || ($_->{state} eq 's' && !$_->{light}) }
                values %{ $d->{open} };
    $m->move($d, @moved);
}


sub move {
    my ($m, $d, @calls) = @_;

    my @queued = grep { $_->{state} eq 'q' } @calls;

    $m->come_back($d, @calls);
    $m->sweep($d->{bridge}) if @queued && defined $d->{bridge};
}


# back to where it waited; what was taken is QUEUED again

sub come_back {
    my ($m, $d, @calls) = @_;

    my @taken = grep { !$_->{light} && $_->{state} =~ /[sh]/ } @calls;

    $_->{answered} = 1 for grep { $_->{light} && released($_) } @calls;
    $m->wait_again($d, @calls);
    $m->set_status($_->{id}, QUEUED) for @taken;
}


sub leave {
    my ($m, $d) = @_;

    $m->move_out($d);
    $d->{ended} = $d->{session} if defined $d->{session};
    delete @$d{qw(session bridge till held)};
    delete $m->{due}{"\@$d->{id}"};

    $m->look_at_poll($d);
    $m->use_route($d);
    $m->release($d);
}


sub use_route {
    my ($m, $d) = @_;

    return if !defined $d->{route};

    $d->{bridge} = $d->{route};
    $d->{till} = -1;
}


# ends ----------------------------------------------------------------------

sub note {
    my ($m, $r, $name) = @_;

    push @{ $m->{events} }, "$r->{id} $name" if $m->{set}{events};
}


sub set_status {
    my ($m, $id, $status, $response) = @_;

    my $r = $m->{record}{$id};

    $r->{status} = $status;
    $r->{response} = $response if defined $response && $response ne '';
    $m->note($r, $STATUS[$status]);
}


sub keep {
    my ($m, $id) = @_;

    delete $m->{due}{$id};
    $m->{old}{$id} = $m->{now} + $m->{set}{record_ttl}
        if $m->{set}{record_ttl};
}


sub over {
    my ($m, $d, $c) = @_;

    my $queued = $c->{state} eq 'q';

    $c->{over} = 1;
    delete $d->{open}{ $c->{rid} };
    delete $m->{due}{ member($c) } if $c->{light};
    @{ $d->{waiting} } = grep { $_ != $c } @{ $d->{waiting} };
    drop_turn($d, $c);
    $m->leave_queue($d, $c) if $queued;
    $m->release($d);
}


sub finish {
    my ($m, $d, $c, $status, $response) = @_;

    $m->set_status($c->{id}, $status, $response);
    $m->keep($c->{id});
    $m->over($d, $c);
}


sub tell {
    my ($m, $c, $text) = @_;

    $m->{answer}{ $c->{id} } = $text;
    push @{ $m->{said} },
        $c->{id} . (length $text > $PUBLISH ? 'G' : $text);
}


sub no_ack {
    my ($m, $d, $c) = @_;

    return $m->over($d, $c) if $c->{light} && $c->{oneway};

    if ($c->{light}) {
        drop_turn($d, $c);
        $m->enter($d, $c, 'x');
        $m->release($d);
        return;
    }

    my $r = $m->{record}{ $c->{id} };
    my $max = min($r->{retries} // $m->{set}{max_retries},
                  $m->{set}{max_retries});

    if ($r->{used} >= $max) {
        return $m->finish($d, $c, FAILED, '{"error":"There was a Timeout and'
            . ' all retry attempts have been exhausted. Retry attempts set:'
            . " $max\"}");
    }

    $r->{used}++;
    $m->{count}{retries}++;
    $m->set_status($c->{id}, TIMEOUT);
    $m->again($d, $c);
}


require TB::Model::Calls;
require TB::Model::Devices;
require TB::Model::Polls;
require TB::Model::Take;


1;
