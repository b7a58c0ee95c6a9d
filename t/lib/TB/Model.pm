package TB::Model;

# The rules of the function library in plain Perl: what each function has to
# return and to leave behind.  It keeps calls as Perl values and knows nothing
# of how the library writes them down; text() says what must be seen in Redis.
#
# The functions themselves are in Model/Calls.pm, Model/Devices.pm and
# Model/Polls.pm.
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
our $STALE = 16;            # stale items dropped from a queue at once
our $ATTACH = 100;          # calls released by attach, put, detach and tick
our $NEXT = 16;             # calls released by the end of another
our $RETRY = 1000;          # until a full queue is looked at again
our $MORE = 50;             # until the rest of a backlog is released
our $PUBLISH = 16384;


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
        due => {}, count => {}, said => [], events => []
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


sub place {
    my ($m, $d, $c) = @_;

    return $c->{state} eq 'q' ? 'queued' : 'sent' if $c->{state} ne 'p';
    return 'turn' if $m->polled($d);
    return $m->online($d) && $m->room($d) > 0 ? 'turn' : 'offline';
}


# the caller of a one-way call has its answer as soon as a bridge has claimed
# it, but from a poll it may come back until that is confirmed

sub released {
    my ($c) = @_;

    return $c->{oneway} && $c->{state} !~ /[pqh]/;
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

    if ($c->{light} && released($c)) {
        $moment = $c->{time} + $set->{ack_timeout};

    } elsif ($s eq 'q') {
        # once it has expired nothing is left to be done but to end it
        $moment = min($moment, $m->{now} + $set->{ack_timeout})
            if $m->{now} < $c->{expiry};

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

    return 0 if $c->{expiry} <= $m->{now};

    $c->{attempt}++;
    push @{ $m->{queue}{ $d->{bridge} } },
        { call => $c, attempt => $c->{attempt}, time => $m->{now} };
    $m->enter($d, $c, 'q');

    return 1;
}


sub current {
    my ($item) = @_;

    my $c = $item->{call};

    return !$c->{over} && $c->{state} eq 'q'
           && $c->{attempt} == $item->{attempt};
}


# a call left this queue otherwise than through its bridge

sub sweep {
    my ($m, $bridge) = @_;

    my $queue = $m->{queue}{$bridge} || [];

    for (1 .. $STALE) {
        last if !@$queue || current($queue->[0]);
        shift @$queue;
    }
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

    return if $m->online($d) && $m->room($d) > 0 && $m->send_out($d, $c);

    $m->wait_again($d, $c);
    $m->wake($d, $m->{now} + $RETRY) if $m->online($d);
}


sub release {
    my ($m, $d, $max) = @_;

    return 0 if !@{ $d->{waiting} };

    my $n = $m->offer($d);

    return $n if !$m->online($d);

    until ($m->blocked($d)) {

        if ($n >= $max) {
            $m->wake($d, $m->{now} + $MORE) if @{ $d->{waiting} };
            last;
        }

        if ($m->room($d) <= 0) {
            $m->wake($d, $m->{now} + $RETRY);
            last;
        }

        my $c = shift @{ $d->{waiting} } or last;

        next unless $m->send_out($d, $c);

        $n++;
        $d->{turn} = $c->{rid} if $m->how($d);
    }

    return $n;
}


# what its old bridge has not claimed, and what may never have reached the
# device, waits for the next bridge

sub move_out {
    my ($m, $d) = @_;

    my @moved = grep { $_->{state} eq 'q'
                       || ($_->{state} eq 's' && !$_->{light}) }
                values %{ $d->{open} };
    my $queued = grep { $_->{state} eq 'q' } @moved;

    $m->wait_again($d, @moved);
    $m->sweep($d->{bridge}) if $queued && defined $d->{bridge};
}


sub leave {
    my ($m, $d) = @_;

    $m->move_out($d);
    delete @$d{qw(session bridge till)};
    delete $m->{due}{"\@$d->{id}"};

    $m->look_at_poll($d);
    $m->use_route($d);
    $m->release($d, $ATTACH);
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

    if ($m->{set}{record_ttl}) {
        $m->{due}{$id} = $m->{now} + $m->{set}{record_ttl};
    } else {
        delete $m->{due}{$id};
    }
}


sub over {
    my ($m, $d, $c) = @_;

    my $queued = $c->{state} eq 'q';

    $c->{over} = 1;
    delete $d->{open}{ $c->{rid} };
    delete $m->{due}{ member($c) } if $c->{light};
    @{ $d->{waiting} } = grep { $_ != $c } @{ $d->{waiting} };
    drop_turn($d, $c);
    $m->sweep($d->{bridge}) if $queued && defined $d->{bridge};
    $m->release($d, $NEXT);
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
        $m->release($d, $NEXT);
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


1;
