package TB::Sequence;

# Part of TB::Sequence: what bridges take, give back, and say of their devices.
#
# A batch of which the reply is lost is one that nobody reports about: the same
# ticket asks for it once more.

use strict;
use warnings;


# the steps -------------------------------------------------------------------

sub envelope_text {
    my ($item) = @_;

    return $item =~ /^{"requestId":(\d+),"rpcId":"([^"]+)",.*
                     "attempt":(\d+),"queuedTime":(\d+),"takenTime":(\d+)}$/x
           ? "$1 $2 $3 $4 $5" : "no envelope: $item";
}


sub do_take {
    my ($self, $bridge, $claimer, $ticket, $max) = @_;

    my $m = $self->{model};
    my %open = map { $_->{id} => $_ } map { values %{ $_->{open} } }
               values %{ $m->{device} };
    my $want = $m->take($bridge, $claimer, $ticket, $max);
    my $got = $self->fcall('take', $self->{clock}->key('queue', $bridge),
                           $claimer, $ticket, $max);

    return ($want, $got) if ref $got ne 'ARRAY';

    my ($left, @items) = @$got;

    return ('', "$max asked for, got " . @items) if @items > $max
                                                    && @items > 256;

    for my $item (@items) {
        my (undef, $id, $attempt) = split / /, $item = envelope_text($item);
        my $before = \$self->{admitted}{"$id $attempt"};
        my $mine = "$claimer $ticket";

        return ('', "$id is taken after its end") if !$open{$id};
        return ('', "$id is taken after it expired")
            if $open{$id}{expiry} <= $m->{now};
        return ('', "$id $attempt is taken twice")
            if defined $$before && $$before ne $mine;
        $$before = $mine;
    }

    return ($want, join ' ', $left, @items);
}


sub do_return {
    my ($self, $no, $off, $session) = @_;

    my $call = $self->{calls}[$no] or return;
    my $attempt = attempt($call, $off) // 1;

    return ($self->{model}->give_back($call->{device}, $call->{rid},
                                      $attempt, $session),
            $self->fcall('return', $self->device_key($call->{device}),
                         $call->{rid}, $attempt, $session));
}


sub do_beat {
    my ($self, $ttl, @pairs) = @_;

    return ($self->{model}->heartbeat($ttl, @pairs),
            $self->fcall('heartbeat', $self->{clock}->key('due'), $ttl,
                         @pairs));
}


# random ones ----------------------------------------------------------------

# mostly the next batch of a queue that is not empty; the same again; now and
# then by a bridge that was started anew, or is late

sub some_take {
    my ($self) = @_;

    my $queue = $self->{model}{queue};
    my @full = grep { @{ $queue->{$_} || [] } } @{ $self->{bridges} };
    my $bridge = one(@full && often(0.95) ? @full : @{ $self->{bridges} });
    my $by = \$self->{claimer}{$bridge};
    my $last = \$self->{ticket}{$bridge};

    if (!$$by || often(0.05)) {
        $$by = $bridge . ':' . ++$self->{claimers};
        $$last = undef;
    }

    my $ticket = $$last && often(0.15) ? $$last + one(0, 0, 0, 0, -1)
                                       : ++$self->{tickets};

    $$last = $ticket if $ticket > ($$last // 0);

    return ['take', $bridge, $$by, $ticket, one(1, 1, 2, 3, 16, 64, 256)];
}


# mostly one that a bridge has taken, or a poll

sub some_return {
    my ($self) = @_;

    my $no = $self->some_call(sub { $_[0]{state} =~ /[hs]/ || often(0.05) });

    return if !defined $no;

    my $call = $self->{calls}[$no];
    my $d = $self->{model}{device}{ $call->{device} } || {};
    my $session = one($d->{session} // '', $d->{session} // '',
                      $d->{before}[0] // '', '', '', 's0');

    return ['return', $no, some_attempt(), $session];
}


sub some_beat {
    my ($self) = @_;

    my @pairs = map {
        my $d = $self->{model}{device}{$_} || {};
        my $session = often(0.9) ? $d->{session} : $d->{before}[0];

        ($_, $session // 's0');
    } grep { often(0.7) } @{ $self->{devices} }, 'ffffffff-d000-1000-8000-0'
                                                 . '00000000009';

    return @pairs ? ['beat', one(1000, 5000, 30000, 600_000), @pairs] : undef;
}


1;
