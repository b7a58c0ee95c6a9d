package TB::Sequence;

# Part of TB::Sequence: the polls of devices that have no bridge.

use strict;
use warnings;


# the steps -------------------------------------------------------------------

sub do_poll {
    my ($self, $device, $worker, $session, $ttl, $again) = @_;

    my $want = $self->{model}->poll($device, $worker, $session, $ttl, $again);
    my $got = $self->fcall('poll', $self->device_key($device), $worker,
                           $session, $ttl, $again);

    if (ref $got eq 'ARRAY' && $got->[0] eq 'call' && @$got == 4) {
        my $item = envelope_text($got->[3]);
        my ($id) = $item =~ /^\S+ (\S+)/;

        return ('', 'handed out twice')
            if !$again && $self->{admitted}{"$id $got->[2]"};
        $self->{admitted}{"$id $got->[2]"} = $again ? 'again' : 'poll';
        $got = "call $got->[1] $got->[2] $item";
    }

    $self->{asked}{$device} = [$worker, $session];

    return ($want, $got);
}


sub do_unpoll {
    my ($self, $device, $worker, $session) = @_;

    return ($self->{model}->unpoll($device, $worker, $session),
            $self->fcall('unpoll', $self->device_key($device), $worker,
                         $session));
}


# what was published, with what is seen of its envelope

sub poll_message {
    my ($text) = @_;

    return $text if $text !~ /^(\S{36})(E\d+|P\d+ \d+ \d+)(?: (\{.*))?\z/s;
    return defined $3 ? "$1 $2 " . envelope_text($3) : "$1 $2";
}


# an attempt is for one poll, or for one bridge

sub handed_twice {
    my ($self, @said) = @_;

    for (@said) {
        my ($attempt, $id) = /^\S{36} P\d+ \d+ (\d+) \d+ (\S+)/ or next;
        my $before = $self->{admitted}{"$id $attempt"} // 'again';

        return "handed out twice: $_" if $before ne 'again';
        $self->{admitted}{"$id $attempt"} = 'poll';
    }

    return;
}


# random ones ----------------------------------------------------------------

# mostly the next poll of a device; sometimes the last one asks again

sub some_poll {
    my ($self) = @_;

    my $device = $self->some_device;
    my $ttl = one(1000, 5000, 20000, 60000, 60000);
    my $last = $self->{asked}{$device};

    return ['poll', $device, @$last, $ttl, often(0.7) || 0]
        if $last && often(0.15);

    return ['poll', $device, often(0.08) ? 'dead' : one('w1', 'w2'),
            ++$self->{polls}, $ttl, 0];
}


sub some_unpoll {
    my ($self) = @_;

    my $device = $self->some_device;
    my $last = $self->{asked}{$device} or return;

    return ['unpoll', $device, often(0.9) ? @$last : ('w1', 99)];
}


1;
