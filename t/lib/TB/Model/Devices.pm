package TB::Model;

# Part of TB::Model: devices and sessions, tick, and what is to be seen.

use strict;
use warnings;

our ($ATTACH, $NEXT, @STATUS);


sub attach {
    my ($m, $device, $bridge, $session, $ttl) = @_;

    my $d = $m->{device}{$device} or return 'ERR';
    my $now = $d->{session} // '';

    if ($session eq ($d->{prev} // '') && $session ne $now) {
        $m->{count}{superseded}++;
        return -1;
    }

    if ($session ne $now || $bridge ne $d->{bridge}) {
        $d->{prev} = $now if $now ne '' && $session ne $now;
        $m->move_out($d);
        @$d{qw(bridge session)} = ($bridge, $session);
    }

    $d->{till} = $m->{now} + $ttl;
    $m->wake($d, $d->{till});

    return $m->release($d, $ATTACH);
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
        //= { id => $device, open => {}, waiting => [] };

    $d->{customer} = $customer;

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

    $m->release($d, $ATTACH);

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

# popped, and never claimed: its queue has nothing as old as it

sub lost {
    my ($m, $d, $c) = @_;

    my $queue = $m->{queue}{ $d->{bridge} } || [];

    return !@$queue || $queue->[0]{time} > $c->{time};
}


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
    $m->release($d, $ATTACH);
}


sub tick_expired {
    my ($m, $d, $c) = @_;

    if ($c->{light}) {
        $m->tell($c, 'X' . $m->place($d, $c));
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

    if ($c->{light} && released($c)) {
        return $m->over($d, $c) if $no_ack;

    } elsif ($now >= last_moment($c)) {
        return $m->tick_expired($d, $c);

    } elsif ($s eq 'q' && $now < $c->{expiry} && $m->lost($d, $c)) {
        $m->{count}{lost_claims}++;
        return $m->again($d, $c);

    } elsif ($s eq 'h' && $now < $c->{expiry}
             && $now >= $c->{time} + $m->confirm_within($d))
    {
        return $m->unconfirmed($d, $c);

    } elsif ($no_ack && (!$c->{light} || ($how eq 'ack' && $turn))) {
        return $m->no_ack($d, $c);

    } elsif ($no_ack && $turn) {
        $m->release($d, $NEXT);

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
    $m->release($d, $NEXT) if $turn;
}


sub next_due {
    my ($m) = @_;

    return grep { $m->{due}{$_} <= $m->{now} }
           sort { $m->{due}{$a} <=> $m->{due}{$b} || $a cmp $b }
           keys %{ $m->{due} };
}


# all that must happen by now, in parts of $max

sub tick {
    my ($m, $max) = @_;

    while (my @list = $m->next_due) {
        $#list = $max - 1 if @list > $max;

        for my $name (@list) {
            my $r = $m->{record}{$name};
            my ($device) = $name =~ m{^\@?([^/]+)};
            my $d = $m->{device}{ $r ? $r->{device} : $device };

            if ($name =~ /^\@/) {
                $m->tick_device($d) if $d;
                next;
            }

            my ($c) = grep { member($_) eq $name } values %{ $d->{open} || {} };

            if ($c) {
                $m->tick_call($d, $c);

            } elsif ($r) {
                $m->purge($name);
            }
        }
    }
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


sub shown {
    my ($text) = @_;

    return length($text) . ':' . substr $text, 0, 100;
}


sub text {
    my ($m) = @_;

    my @lines;

    for my $id (keys %{ $m->{device} }) {
        my $d = $m->{device}{$id};

        push @lines, "device $id " . join ' ', map { $_ // '-' }
            @$d{qw(bridge till session prev route strategy)};
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

        push @lines, "queue $bridge " . join ' ', map {
            "$_->{call}{id}/$_->{attempt}" } @items;
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
