package TB::Model;

# Part of TB::Model: devices and sessions, tick, and what is to be seen.

use strict;
use warnings;

our ($LOOK, @STATUS);


sub attach {
    my ($m, $device, $bridge, $session, $ttl) = @_;

    my $d = $m->{device}{$device} or return 'ERR';
    my $now = $d->{session} // '';

    if ($session ne $now && grep { $_ eq $session } @{ $d->{before} }) {
        $m->{count}{superseded}++;
        return -1;
    }

    delete $d->{held};

    if ($session ne $now || $bridge ne $d->{bridge}) {
        my $last = $d->{session} // delete $d->{ended} // $session;

        unshift @{ $d->{before} }, $last if $session ne $last;
        splice @{ $d->{before} }, 4 if @{ $d->{before} } > 4;
        $m->move_out($d);
        @$d{qw(bridge session)} = ($bridge, $session);
    }

    $d->{till} = $m->{now} + $ttl;
    $m->wake($d, $d->{till});

    return $m->release($d);
}


# those that are not fine

sub heartbeat {
    my ($m, $ttl, @pairs) = @_;

    my @bad;

    while (my ($device, $session) = splice @pairs, 0, 2) {
        my $d = $m->{device}{$device};

        if (!$d || !defined $d->{session} || $d->{session} ne $session) {
            push @bad, $device, $d && defined $d->{session} ? -1 : 0;
            next;
        }

        my $left = $d->{till} - $m->{now};

        $d->{till} = $m->{now} + $ttl if $left * 2 < $ttl;
        $m->{due}{"\@$device"} = $m->{now} if $left <= 0;
    }

    return join ' ', @bad;
}


sub detach {
    my ($m, $device, $session) = @_;

    my $d = $m->{device}{$device};

    return $m->ignore('detach') if !$d || ($d->{session} // '') ne $session;

    $m->leave($d);

    return 1;
}


sub device_put {
    my ($m, $device, $customer, %field) = @_;

    my $d = $m->{device}{$device}
        //= { id => $device, open => {}, waiting => [], before => [] };

    $d->{customer} = $customer;

    $d->{name} = $field{name} if defined $field{name};

    if (defined $field{strategy}) {
        $d->{strategy} = $field{strategy};
        delete $d->{strategy} if $field{strategy} eq '';
    }

    if (defined $field{bridge} && $field{bridge} ne ($d->{route} // '')) {
        my $attached = defined $d->{session};

        $m->move_out($d) if !$attached;
        delete @$d{qw(bridge till)} if !$attached;
        $d->{route} = $field{bridge};
        delete $d->{route} if $field{bridge} eq '';
        $m->use_route($d) if !$attached;
    }

    $m->release($d);

    return 1;
}


sub device_del {
    my ($m, $device) = @_;

    my $d = delete $m->{device}{$device} or return 0;

    for my $c (values %{ $d->{open} }) {
        my $answered = released($c);

        $c->{over} = 1;

        if ($c->{light}) {
            $m->tell($c, 'D') if !$answered;
            delete $m->{due}{ member($c) };

        } else {
            $m->set_status($c->{id}, FAILED,
                           '{"error":"The device was deleted."}');
            $m->keep($c->{id});
        }
    }

    $m->tell_poll($d, 'E') if $m->polled($d);
    delete $m->{due}{"\@$device"};
    $m->sweep($d->{bridge}) if defined $d->{bridge};

    return 1;
}


# tick ----------------------------------------------------------------------

sub tick_device {
    my ($m, $d) = @_;

    delete $m->{due}{"\@$d->{id}"};

    $m->look_at_poll($d);

    if (defined $d->{session} && !$m->online($d)) {
        $m->{count}{lapsed}++;
        $m->leave($d);
        return;
    }

    $m->wake($d, $d->{till}) if defined $d->{session};
    $m->wake($d, $d->{held}{till}) if $m->held($d);
    $m->release($d);
}


# what is left in a queue when nobody takes

sub tick_queue {
    my ($m, $bridge) = @_;

    my (undef, $good) = $m->sweep($bridge);

    if (@{ $m->{queue}{$bridge} || [] }) {
        $m->{due}{"#$bridge"} = $m->{now} + ($good ? $LOOK : 1);

    } else {
        delete $m->{due}{"#$bridge"};
        delete $m->{looked}{$bridge};
    }
}


sub tick_expired {
    my ($m, $d, $c) = @_;

    if ($c->{light}) {
        $m->tell($c, 'X' . $m->place($d, $c)) if !released($c);
        $m->over($d, $c);

    } else {
        $m->finish($d, $c, EXPIRED);
    }
}


sub tick_call {
    my ($m, $d, $c) = @_;

    my ($set, $now, $s) = (@$m{qw(set now)}, $c->{state});
    my $how = $m->how($d);
    my $turn = defined $d->{turn} && $d->{turn} == $c->{rid};
    my $no_ack = $s eq 's' && $now >= $c->{time} + $set->{ack_timeout};

    if ($c->{light} && $c->{oneway} && $s eq 's') {
        return $m->over($d, $c) if $no_ack;

    } elsif ($now >= last_moment($c)) {
        return $m->tick_expired($d, $c);

    } elsif ($s eq 'h' && $now < $c->{expiry}
             && $now >= $c->{time} + $m->confirm_within($d))
    {
        return $m->unconfirmed($d, $c);

    } elsif ($no_ack && (!$c->{light} || ($how eq 'ack' && $turn))) {
        return $m->no_ack($d, $c);

    } elsif ($no_ack && $turn) {
        $m->release($d);

    } elsif ($s eq 'd' && $now >= $c->{time} + $set->{response_timeout}) {
        return $m->tick_no_response($d, $c, $how, $turn);
    }

    $m->watch($d, $c);
}


sub tick_no_response {
    my ($m, $d, $c, $how, $turn) = @_;

    if ($how eq 'response' && !$c->{light}) {
        return $m->finish($d, $c, FAILED, '{"error":"There was a timeout'
                          . ' awaiting for RPC response from device."}');
    }

    drop_turn($d, $c);
    $m->enter($d, $c, 'x') if $how eq 'response' && $turn;
    $m->watch($d, $c);
    $m->release($d) if $turn;
}


sub next_of {
    my ($m, $kind, $max) = @_;

    my $due = $m->{$kind};
    my @list = grep { $due->{$_} <= $m->{now} }
               sort { $due->{$a} <=> $due->{$b} || $a cmp $b } keys %$due;

    $#list = $max - 1 if @list > $max;

    return @list;
}


# all that must happen by now, in parts of $max; old records come last

sub tick {
    my ($m, $max) = @_;

    for (;;) {
        my @list = $m->next_of('due', $max);

        $m->tick_one($_) for @list;

        my @old = @list < $max ? $m->next_of('old', $max - @list) : ();

        $m->purge($_) for @old;

        last if !@list && !@old;
    }
}


sub tick_one {
    my ($m, $name) = @_;

    return $m->tick_queue($1) if $name =~ /^#(.*)/;

    my $r = $m->{record}{$name};
    my ($device) = $name =~ m{^\@?([^/]+)};
    my $d = $m->{device}{ $r ? $r->{device} : $device };

    if ($name =~ /^\@/) {
        $m->tick_device($d) if $d;
        return;
    }

    my ($c) = grep { member($_) eq $name } values %{ $d->{open} || {} };

    $m->tick_call($d, $c) if $c;
}


# what can be seen ----------------------------------------------------------

sub ids {
    my ($m, $device, $status) = @_;

    return sort { $m->{record}{$a}{created} <=> $m->{record}{$b}{created}
                  || $a cmp $b }
           grep { $m->{record}{$_}{device} eq $device
                  && (!defined $status
                      || $m->{record}{$_}{status} == $status) }
           keys %{ $m->{record} };
}


sub list {
    my ($m, $device, $status, $desc, $offset, $count, $by) = @_;

    return 'unknown' if !$m->{device}{$device};

    my @ids = $m->ids($device, $status);
    my $total = @ids;
    my (%value, %place);

    for my $i (0 .. $#ids) {
        my $r = $m->{record}{ $ids[$i] };

        $place{ $ids[$i] } = $i;
        $value{ $ids[$i] } = $by eq 'status' ? $STATUS[$r->{status}]
                                             : sprintf '%016d', $r->{created};
    }

    # what is equal is in the order of createdTime and rpcId both ways
    @ids = sort { ($desc ? $value{$b} cmp $value{$a}
                         : $value{$a} cmp $value{$b})
                  || $place{$a} <=> $place{$b} } @ids;
    @ids = splice @ids, $offset, $count if $offset < @ids;
    @ids = () if $offset >= $total;

    return join ' ', 'ok', $total, scalar @ids, @ids;
}


# a reference has 8 digits of the rpcId

sub reference {
    my ($item) = @_;

    my $c = $item->{call};

    return join '/', $c->{rid}, $item->{attempt}, substr($c->{id}, 0, 8),
                     $c->{device};
}


sub shown {
    my ($text) = @_;

    return length($text) . ':' . substr $text, 0, 100;
}


sub text {
    my ($m) = @_;

    my @lines;

    for my $id (keys %{ $m->{device} }) {
        my $d = $m->{device}{$id};
        my @before = @{ $d->{before} };

        push @lines, "device $id " . join ' ', map { $_ // '-' }
            @$d{qw(bridge till session)}, @before[0 .. 3],
            @$d{qw(route strategy)};
        push @lines, 'listed ' . ($d->{name} // '') . "/$id";
        push @lines, "ended $id $d->{ended}" if defined $d->{ended};
        push @lines, "held $id $d->{held}{till} $d->{held}{step}"
            if $d->{held};
        push @lines, "poll $id " . join ' ', @{ $d->{poll} }{
            qw(worker session till)} if $d->{poll};
        push @lines, "wait $id " . join ' ', map { $_->{rid} }
            @{ $d->{waiting} } if @{ $d->{waiting} };
        push @lines, map {
            "open $id $_->{rid} " . ($_->{light} ? 'L' : 'P') . $_->{state}
            . ($_->{oneway} ? 1 : 0) . " $_->{id} $_->{attempt}"
        } values %{ $d->{open} };
    }

    for my $bridge (keys %{ $m->{queue} }) {
        my @items = @{ $m->{queue}{$bridge} } or next;

        push @lines, "queue $bridge " . join ' ', map { reference($_) } @items;
    }

    for my $r (values %{ $m->{record} }) {
        push @lines, "record $r->{id} $r->{device} $r->{status} $r->{used} "
                     . shown($r->{response} // '');
    }

    push @lines, map { "answer $_ " . shown($m->{answer}{$_}) }
                 keys %{ $m->{answer} };
    push @lines, map { "uuid $_ $m->{uuid}{$_}{id}" } keys %{ $m->{uuid} };
    push @lines, map { "count $_ $m->{count}{$_}" } keys %{ $m->{count} };

    return join "\n", sort @lines;
}


1;
