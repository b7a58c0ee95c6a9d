package TB::Sequence;

# Part of TB::Sequence: random settings and steps.  What is chosen depends on
# the seed and on the model alone.

use strict;
use warnings;

my @STRATEGY = qw(burst sequential_on_ack sequential_on_response);

# how often each step is chosen, in several kinds of weather

my %COMMON = (create => 22, take => 24, delivered => 6, respond => 6,
              timeout => 3, failed => 2, time => 12, tick => 8, attach => 6,
              beat => 2, detach => 2, cancel => 3, delete => 2, put => 2,
              del => 1, config => 1, list => 1, poll => 4, unpoll => 1,
              return => 2, uuid => 1, move => 0.3);

my @WEATHER = (
    {},
    { attach => 15, detach => 8, beat => 8 },               # restless
    { create => 40, attach => 2, take => 10 },              # mostly offline
    { take => 40, time => 20, tick => 16, poll => 0 },      # losses
    { put => 10, config => 4 },                             # provisioning
    { take => 30, delivered => 14, respond => 3, time => 16, tick => 12 },
    { delivered => 12, respond => 12, failed => 6, timeout => 8 },
    { time => 25, tick => 20, beat => 6 },
    { return => 12, take => 30, poll => 0, tick => 14 },    # given back
    { return => 10, take => 30, attach => 10, detach => 4, put => 6 },
    { create => 50, take => 20, poll => 0, attach => 4, return => 6 },
    { poll => 30, unpoll => 4, return => 8, delivered => 12, attach => 1 },
    { poll => 25, unpoll => 3, return => 6, delivered => 10, attach => 8,
      time => 20, tick => 14 },
    { poll => 20, unpoll => 8, return => 6, put => 12, config => 5,
      attach => 10, detach => 3, del => 2 },
    { poll => 0, unpoll => 0, return => 0 }
);


sub one { return $_[int rand @_] }


sub often { return rand() < $_[0] }


sub some_settings {
    my ($self) = @_;

    $self->{weather} = { %COMMON, %{ one(@WEATHER) } };

    return {
        max_retries => int rand 4, ack_timeout => one(1000, 5000, 10000),
        response_timeout => one(2000, 30000), strategy => one(@STRATEGY),
        record_ttl => often(0.9) ? 600_000 : 0, events => often(0.3) ? 1 : 0,
        max_pending => often(0.9) ? 1000 : 4,
        max_records => often(0.9) ? 200000 : 6,
        max_queue => often(0.85) ? 10000 : one(1, 2, 3),
        max_response => often(0.7) ? 65536 : 64, shards => 0
    };
}


sub some_step {
    my ($self) = @_;

    my $missing = grep { !$self->{model}{device}{$_} }
                  @{ $self->{devices} };

    return $self->some_put if $missing && often(0.4);

    my $sum = 0;
    $sum += $_ for values %{ $self->{weather} };
    my $n = rand $sum;

    for my $name (sort keys %{ $self->{weather} }) {
        next if ($n -= $self->{weather}{$name}) >= 0;

        my $make = $self->can("some_$name");
        my $step = $make->($self);

        return $step || $self->some_create;
    }

    return ['tick', 1000];
}


# mostly a call that is open, or has just ended

sub some_call {
    my ($self, $good) = @_;

    my @all = grep { $_ } @{ $self->{calls} } or return;
    my @open = grep { $_->{call} && !$_->{call}{over}
                      && (!$good || $good->($_->{call})) } @all;

    return one(@open)->{no} if @open && often(0.9);
    return one(@all)->{no};
}


sub some_device { return one(@{ $_[0]{devices} }) }


sub some_attempt { return often(0.85) ? 0 : one(-1, -1, 1, undef) }


sub some_create {
    my ($self) = @_;

    my $no = @{ $self->{calls} };
    my @calls = grep { $_ } @{ $self->{calls} };
    my $light = often(0.4) || 0;

    my %o = (
        light => $light, oneway => often(0.3) || 0,
        timeout => one(5000, 20000, 60000, 60000, 300_000, 3_600_000),
        customer => often(0.9) ? '*' : one('', 1, 2)
    );

    $o{timeout} = one(-1000, 0, 1) if often(0.02);
    $o{retries} = int rand 5 if !$light && often(0.3);
    $o{hold} = one(0, 3000, 10000) if $light && often(0.3);
    $o{reject} = 1 if $light && often(0.3);
    $o{foreign} = 1 if often(0.02);
    $o{again} = one(@calls)->{no} if @calls && often(0.04);
    $o{big} = 1 if often(0.02);

    if (often($light ? 0.02 : 0.1)) {
        $o{uuid} = 1 + int rand 3;
        $o{hash} = one('ab', 'ab', 'cd');
    }

    $self->{calls}[$no] = undef;

    return ['create', $no, $self->some_device, map { $_ => $o{$_} }
                                               sort keys %o];
}


sub some_delivered {
    my ($self) = @_;

    my $no = $self->some_call(sub { $_[0]{state} =~ /[shx]/ || often(0.1) });

    return defined $no ? ['delivered', $no, some_attempt()] : undef;
}


sub some_timeout {
    my ($self) = @_;

    my $no = $self->some_call(sub { $_[0]{state} eq 's' || often(0.1) });

    return defined $no ? ['timeout', $no, some_attempt()] : undef;
}


sub some_failed {
    my ($self) = @_;

    my $no = $self->some_call(sub { $_[0]{state} =~ /[sd]/ || often(0.1) });

    return defined $no
        ? ['failed', $no, one('', '{"error":"x"}', 'f' x 100), some_attempt()]
        : undef;
}


sub some_respond {
    my ($self) = @_;

    my $no = $self->some_call(sub { $_[0]{state} =~ /[shdx]/ || often(0.1) });

    return defined $no
        ? ['respond', $no, often(0.98) ? one(0, 8, 64, 65, 100)
                                       : one(17000, 70000)] : undef;
}


# just before, at, or after the next moment at which something is due

sub some_time {
    my ($self) = @_;

    my $m = $self->{model};
    my ($next) = sort { $a <=> $b } grep { $_ > $m->{now} }
                 values %{ $m->{due} }, values %{ $m->{old} };

    if ($next && often(0.6)) {
        my $ms = $next - $m->{now} + one(-1, 0, 0, 0, 1, 50);
        return ['time', $ms > 0 ? $ms : 0];
    }

    return ['time', one(0, 1, 1, 7, 100, 1000, 1000, 3000, 5000, 10000,
                        30000, 61000)];
}


sub some_tick { return ['tick', often(0.6) ? 1000 : 1] }


sub some_attach {
    my ($self) = @_;

    my $device = $self->some_device;
    my $d = $self->{model}{device}{$device} || {};
    my $session = $d->{session};
    my $bridge = $d->{bridge};

    if (!defined $session || often(0.3)) {
        $session = 's' . ++$self->{sessions};
        $session = $d->{ended} if defined $d->{ended} && often(0.3);
        $bridge = undef if often(0.7);

    } elsif (often(0.15)) {
        $session = one(@{ $d->{before} || [] }, 's0');

    } elsif (often(0.15)) {
        $bridge = undef;
    }

    $bridge //= one(@{ $self->{bridges} });

    return ['attach', $device, $bridge, $session,
            one(1000, 5000, 30000, 30000, 600_000)];
}


sub some_detach {
    my ($self) = @_;

    my $device = $self->some_device;
    my $d = $self->{model}{device}{$device} || {};

    return ['detach', $device, often(0.9) ? $d->{session} // 's0'
                                          : $d->{before}[0] // 's0'];
}


sub some_cancel {
    my ($self) = @_;

    my $no = $self->some_call(sub { $_[0]{light} });

    return defined $no ? ['cancel', $no, often(0.2) || 0] : undef;
}


sub some_delete {
    my ($self) = @_;

    my $no = $self->some_call(sub { !$_[0]{light} });

    return defined $no ? ['delete', $no, often(0.1) || 0] : undef;
}


sub some_put {
    my ($self) = @_;

    my @missing = grep { !$self->{model}{device}{$_} } @{ $self->{devices} };
    my $device = @missing ? one(@missing) : $self->some_device;
    my @field;

    push @field, strategy => one(@STRATEGY, '') if often(@missing ? 0.6 : 0.7);
    push @field, bridge => one(@{ $self->{bridges} }, '')
        if often(@missing ? 0.5 : 0.4);
    push @field, name => one('n1', 'n 2', '') if often(0.2);

    return ['put', $device, one(0, 0, 1, 2), @field];
}


sub some_del { return ['del', $_[0]->some_device] }


sub some_config {
    my ($self) = @_;

    return ['config', @{ one([strategy => one(@STRATEGY)],
                             [max_queue => one(1, 3, 10000)],
                             [max_pending => one(3, 1000)],
                             [max_retries => int rand 4],
                             [ack_timeout => one(1000, 10000)]) }];
}


sub some_uuid { return ['uuid', 1 + int rand 3, often(0.1) || 0] }


sub some_move { return ['move', $_[0]->some_device] }


sub some_list {
    my ($self) = @_;

    return ['list', $self->some_device, often(0.5) ? '' : int rand 7,
            often(0.5) || 0, int rand 4, one(1, 2, 5, 100),
            one('createdTime', 'createdTime', 'status')];
}


1;
