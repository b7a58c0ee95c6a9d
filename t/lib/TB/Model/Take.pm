package TB::Model;

# Part of TB::Model: what bridges take, and give back.
#
# A batch is kept for the ticket that it was taken with, until the same claimer
# has taken another one that was not empty.

use strict;
use warnings;

use List::Util qw(max min);

our $HOLD = 1000;           # ms a device is left alone at first
our $HOLD_MAX = 30000;
our $AHEAD = 16;            # references looked at, at least


# is it still what the reference was made for?

sub good {
    my ($m, $item, $state) = @_;

    my $c = $item->{call};

    return !$c->{over} && $c->{state} eq $state
           && $c->{attempt} == $item->{attempt} && $c->{expiry} > $m->{now};
}


# what is seen of the batch: "<left> <requestId> <rpcId> <attempt> ..."

sub batch {
    my ($m, $bridge, @items) = @_;

    return join ' ', @{ $m->{queue}{$bridge} || [] } ? 1 : 0,
                     map { $m->item_text($_->{call}) } @items;
}


sub claim {
    my ($m, $c) = @_;

    my $d = $m->{device}{ $c->{device} };

    $m->set_status($c->{id}, SENT()) if !$c->{light};
    $m->tell($c, 'S') if $c->{light} && $c->{oneway} && !$c->{answered};
    $m->enter($d, $c, 's');
}


sub take {
    my ($m, $bridge, $claimer, $ticket, $max) = @_;

    my $last = $m->{taken}{$claimer};

    return 'ERR' if $last && $ticket < $last->{ticket};

    if ($last && $ticket == $last->{ticket}) {
        my @items = grep { $m->good($_, 's') } @{ $last->{items} };

        $m->enter($m->{device}{ $_->{call}{device} }, $_->{call}, 's')
            for @items;

        return $m->batch($bridge, @items);
    }

    my $queue = $m->{queue}{$bridge} //= [];
    my @items;

    for (1 .. max($max, $AHEAD)) {
        last if !@$queue || @items == $max;

        my $item = shift @$queue;

        push @items, $item if $m->good($item, 'q');
    }

    $m->claim($_->{call}) for @items;
    $m->{taken}{$claimer} = { ticket => $ticket, items => \@items } if @items;

    return $m->batch($bridge, @items);
}


# Given back without a session: what comes back again soon after the hold makes
# the next one longer.

sub hold {
    my ($m, $d) = @_;

    return if $m->held($d);

    my $h = $d->{held};
    my $step = $h && $m->{now} - $h->{till} < $h->{step}
               ? min($h->{step} * 2, $HOLD_MAX) : $HOLD;

    $d->{held} = { till => $m->{now} + $step, step => $step };
    $m->wake($d, $d->{held}{till});
}


sub give_back {
    my ($m, $device, $rid, $attempt, $session) = @_;

    my ($d, $c) = $m->reported('return', $device, $rid, $attempt)
        or return 0;
    my $state = $c->{state};

    return $m->ignore('return') if $state !~ /[sh]/;

    $m->come_back($d, $c);

    # from a poll

    if ($state eq 'h') {
        $m->release($d);
        return 1;
    }

    if ($session ne '' && $session eq ($d->{session} // '')) {
        $m->leave($d);
        return 1;
    }

    # nothing overtakes it

    $m->move($d, grep { $_->{state} eq 'q' } values %{ $d->{open} });
    $m->hold($d) if $session eq '' || !defined $d->{session};
    $m->release($d);

    return 1;
}


1;
