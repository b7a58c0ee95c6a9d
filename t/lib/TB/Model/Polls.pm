package TB::Model;

# Part of TB::Model: the polls of devices that have no bridge.
#
# A message to a poll is said as "<device> P<session> <requestId> <attempt>",
# and what is seen of the envelope.  Nobody hears the worker "dead".

use strict;
use warnings;

use List::Util qw(min);

our $PUBLISH;
our $CONFIRM = 1000;        # a call that was handed out is left alone so long


sub polled {
    my ($m, $d) = @_;

    return $d->{poll} && $d->{poll}{till} > $m->{now};
}


sub look_at_poll {
    my ($m, $d) = @_;

    if ($m->polled($d)) {
        $m->wake($d, $d->{poll}{till});

    } elsif (delete $d->{poll}) {
        $m->{count}{lapsed_polls}++;
    }
}


sub tell_poll {
    my ($m, $d, $kind, $text) = @_;

    my ($worker, $session) = @{ $d->{poll} }{qw(worker session)};

    return 0 if $worker eq 'dead';

    push @{ $m->{said} }, "$d->{id} $kind$session" . ($text // '');

    return 1;
}


# what is seen of an envelope

sub item_text {
    my ($m, $c) = @_;

    return "$c->{rid} $c->{id} $c->{attempt} $c->{queued} $m->{now}";
}


# a poll that asks has nothing else to bring to the device, so it can't be
# told from one whose confirmation was lost: that is waited for a moment only

sub confirm_within {
    my ($m, $d) = @_;

    my $ms = $m->{set}{ack_timeout};

    return $m->polled($d) ? min($ms, $CONFIRM) : $ms;
}


sub hand_out {
    my ($m, $d, $c) = @_;

    @{ $d->{handed} } = ((grep { $_ != $c } @{ $d->{handed} }), $c);
    $m->enter($d, $c, 'h');
    $d->{turn} = $c->{rid} if $m->how($d) && !$m->blocked($d);
    $m->set_status($c->{id}, SENT) if !$c->{light};
}


# the first one that may leave, if it is not over already

sub next_waiting {
    my ($m, $d) = @_;

    my $list = $d->{waiting};

    return if $m->blocked($d);

    shift @$list while @$list && $list->[0]{expiry} <= $m->{now};

    return $list->[0];
}


# what waits goes to the poll that is open, if somebody is still there

sub offer {
    my ($m, $d) = @_;

    return 0 if !$m->polled($d);

    my $c = $m->next_waiting($d) or return 0;
    my $queued = $c->{queued};

    $c->{attempt}++;
    $c->{queued} = $m->{now};

    my $heard = $m->tell_poll($d, 'P', " $c->{rid} $c->{attempt}"
                              . ($c->{big} ? '' : ' ' . $m->item_text($c)));

    delete $d->{poll};

    if (!$heard) {
        $c->{attempt}--;
        $c->{queued} = $queued;
        $m->{count}{lost_polls}++;
        return 0;
    }

    shift @{ $d->{waiting} };
    $m->hand_out($d, $c);

    return 1;
}


# The one that an earlier poll may not have brought to the device.  The very
# same poll knows that it has got nothing; others wait a moment.

sub not_confirmed {
    my ($m, $d, $again) = @_;

    my @handed = grep { $_->{state} eq 'h' && !$_->{over} }
                 @{ $d->{handed} || [] };

    for my $c (@handed) {
        my $moment = $c->{time} + $CONFIRM;

        if (!$again && $m->{now} < $moment) {
            $m->{due}{ member($c) } = min($moment, last_moment($c));
            next;
        }

        next if $c->{expiry} <= $m->{now};

        $c->{attempt}++ if !$again;

        return $c;
    }

    return;
}


sub poll {
    my ($m, $device, $worker, $session, $ttl, $again) = @_;

    my $d = $m->{device}{$device} or return 'unknown';
    my $old = $d->{poll};

    $m->tell_poll($d, 'E')
        if $m->polled($d) && "$old->{worker} $old->{session}"
                             ne "$worker $session";

    my $c = $m->not_confirmed($d, $again);

    if (!$c && ($c = $m->next_waiting($d))) {
        shift @{ $d->{waiting} };
        $c->{attempt}++;
    }

    if ($c) {
        delete $d->{poll};
        $c->{queued} = $m->{now};
        $m->hand_out($d, $c);

        return "call $c->{rid} $c->{attempt} " . $m->item_text($c);
    }

    $d->{poll} = { worker => $worker, session => $session,
                   till => $m->{now} + $ttl };
    $m->wake($d, $d->{poll}{till});

    return 'wait';
}


sub unpoll {
    my ($m, $device, $worker, $session) = @_;

    my $d = $m->{device}{$device};

    return 0 if !$d || !$m->polled($d)
                || "$d->{poll}{worker} $d->{poll}{session}"
                   ne "$worker $session";

    delete $d->{poll};
    $m->release($d);

    return 1;
}


sub unconfirmed {
    my ($m, $d, $c) = @_;

    $m->{count}{unconfirmed}++;
    $m->come_back($d, $c);
    $m->release($d);
}


1;
