package TB::Model;

# Part of TB::Model: create, cancel, delete, and the reports of bridges.
#
# A new call's requestId is what the library has chosen, $o{rid}: bad_id()
# says whether it may be that.

use strict;
use warnings;

use List::Util qw(min);

our $RETRY;


# the answer to a create of what is there already

sub known {
    my ($m, $d, $x) = @_;

    my ($c) = grep { $_->{id} eq $x->{id} } values %{ $d->{open} };
    my $left = $x->{expiry} - $m->{now};

    return "expired $x->{id} 0 0 $x->{created}"
        if !$c && !$x->{light} && $x->{status} == EXPIRED;

    return join ' ', $c && $c->{state} eq 'p' ? $m->place($d, $c) : 'queued',
                     $x->{id}, $x->{rid}, $left > 0 ? $left : 0,
                     $x->{created};
}


sub repeated {
    my ($m, $d, %o) = @_;

    if ($o{light}) {
        my ($c) = grep { $_->{light} && $_->{id} eq $o{id} }
                  values %{ $d->{open} };
        return $c && $m->known($d, $c);
    }

    my $r = $m->{record}{ $o{id} };

    return $m->known($d, $r) if $r;

    my $u = $o{uuid} && $m->{uuid}{ $o{uuid} } or return;

    return 'conflict' if $u->{device} ne $d->{id} || $u->{hash} ne $o{hash};

    return $m->known($d, $m->{record}{ $u->{id} });
}


# what is wrong with the requestId of a new call, on a clock that starts again
# after 24 days

sub bad_id {
    my ($m, $d, $rid) = @_;

    my $ids = 2 ** 31;
    my $past = ($rid - $m->{now}) % $ids;

    return 'is not in its range' if $rid !~ /^\d+$/ || $rid < 1
                                    || $rid >= $ids;
    return 'is that of an open call' if $d->{open}{$rid};
    return "is not after $d->{last}"
        if defined $d->{last}
           && (($rid - $d->{last}) % $ids || $ids) > $ids / 2;
    return 'is not of this time' if $past > 2 ** 20;

    return;
}


sub add_record {
    my ($m, $d, $c, %o) = @_;

    my $r = $m->{record}{ $c->{id} } = {
        id => $c->{id}, rid => $c->{rid}, device => $d->{id},
        created => $m->{now}, expiry => $c->{expiry}, status => QUEUED,
        retries => $o{retries}, used => 0, uuid => $o{uuid}
    };

    $m->{uuid}{ $o{uuid} }
        = { id => $c->{id}, device => $d->{id}, hash => $o{hash} }
        if $o{uuid};

    return $r;
}


sub create {
    my ($m, $device, %o) = @_;

    my ($d, $set, $now) = ($m->{device}{$device}, @$m{qw(set now)});

    return 'unknown' if !$d;
    return 'unknown tenant' if $o{foreign};
    return 'customer' if $o{customer} ne '*'
                         && ($o{customer} eq ''
                             || $o{customer} ne $d->{customer});

    my $known = $m->repeated($d, %o);

    return $known if $known;
    return 'records' if !$o{light} && (() = $m->ids($device)) >= $set->{max_records};

    my $c = {
        id => $o{id}, device => $device, light => $o{light},
        oneway => $o{oneway}, expiry => $now + $o{timeout}, attempt => 0,
        created => $now, rid => 0, big => $o{big}
    };

    $c->{expiry} = min($c->{expiry}, $now + $o{hold})
        if $o{light} && $o{hold};

    if ($c->{expiry} <= $now) {
        if (!$o{light}) {
            $m->add_record($d, $c, %o);
            $m->set_status($c->{id}, EXPIRED);
            $m->keep($c->{id});
        }
        return "expired $c->{id} 0 0 $now";
    }

    return 'pending' if keys %{ $d->{open} } >= $set->{max_pending};

    my $polled = $m->polled($d);
    my $word = $polled ? 'turn' : !$m->online($d) ? 'offline'
             : @{ $d->{waiting} } || $m->allowed($d) <= 0 ? 'turn'
             : 'queued';
    my $full = $word eq 'queued' && $m->room($d) <= 0;

    $word = 'offline' if $full;

    return 'rejected' if $word eq 'offline' && $o{light} && $o{reject};

    my $last = $d->{last};

    $c->{bad_id} = $m->bad_id($d, $o{rid});
    $c->{rid} = $d->{last} = $o{rid};
    $c->{serial} = ++$m->{serial};
    $d->{open}{ $c->{rid} } = $c;

    if (!$o{light}) {
        $m->note($m->add_record($d, $c, %o), 'QUEUED');
    }

    if ($word eq 'queued') {
        $m->send_out($d, $c);
        $d->{turn} = $c->{rid} if $m->how($d);

    } else {
        $m->wait_again($d, $c);
    }

    $m->wake($d, $now + $RETRY) if $full;

    if ($polled) {
        $m->release($d);
        $word = $c->{state} ne 'p' ? 'queued'
              : $m->polled($d) || $m->online($d) ? 'turn' : 'offline';

        # its worker was gone, and so is the call

        if ($word eq 'offline' && $o{light} && $o{reject}) {
            @{ $d->{waiting} } = grep { $_ != $c } @{ $d->{waiting} };
            delete $d->{open}{ $c->{rid} };
            delete $m->{due}{ member($c) };
            $d->{last} = $last;

            return 'rejected';
        }
    }

    return join ' ', $word, $c->{id}, $c->{rid}, $c->{expiry} - $now, $now;
}


sub cancel {
    my ($m, $device, $id) = @_;

    my $text = delete $m->{answer}{$id};

    return "answered $text" if defined $text;

    my $d = $m->{device}{$device} or return 'gone';
    my ($c) = grep { $_->{id} eq $id } values %{ $d->{open} };

    return 'gone' if !$c || !$c->{light} || released($c);

    my $word = $m->place($d, $c);

    $m->over($d, $c);

    return $word;
}


sub purge {
    my ($m, $id) = @_;

    my $r = delete $m->{record}{$id};

    delete $m->{due}{$id};
    delete $m->{old}{$id};
    delete $m->{uuid}{ $r->{uuid} }
        if $r->{uuid} && $m->{uuid}{ $r->{uuid} }
           && $m->{uuid}{ $r->{uuid} }{id} eq $id;

    return $r;
}


sub withdraw {
    my ($m, $id, $foreign) = @_;

    my $r = $m->{record}{$id} or return 'unknown';

    return 'tenant' if $foreign;

    my $d = $m->{device}{ $r->{device} };
    my ($c) = $d ? grep { $_->{id} eq $id } values %{ $d->{open} } : ();

    $m->note($r, 'DELETED');
    $m->purge($id);
    $m->over($d, $c) if $c;

    return 'ok';
}


# reports of bridges --------------------------------------------------------

# the call that a report is about, if it can be believed

sub reported {
    my ($m, $name, $device, $rid, $attempt) = @_;

    my $d = $m->{device}{$device};
    my $c = $d && $d->{open}{$rid};

    if (!$c || !$c->{attempt}
        || (defined $attempt && $attempt != $c->{attempt}))
    {
        $m->ignore($name);
        return;
    }

    return ($d, $c);
}


sub delivered {
    my ($m, $device, $rid, $attempt) = @_;

    my ($d, $c) = $m->reported('delivered', $device, $rid, $attempt)
        or return 0;

    delete $d->{held};

    return $m->ignore('delivered') if $c->{state} eq 'd';

    if ($c->{oneway}) {
        $m->tell($c, 'S') if $c->{light} && !released($c);
        $c->{light} ? $m->over($d, $c) : $m->finish($d, $c, DELIVERED);
        return 1;
    }

    my $queued = $c->{state} eq 'q';
    my $waited = $c->{state} eq 'p';

    @{ $d->{waiting} } = grep { $_ != $c } @{ $d->{waiting} };
    $m->enter($d, $c, 'd');
    $m->leave_queue($d, $c) if $queued;
    $m->set_status($c->{id}, DELIVERED) if !$c->{light};

    # the answer is what the next one waits for, also when the call had been
    # taken back, and its turn with it

    if ($m->how($d) eq 'response') {
        $d->{turn} = $c->{rid} if $waited && !$m->blocked($d);
        $m->watch($d, $c);
        return 1;
    }

    drop_turn($d, $c);
    $m->release($d);

    return 1;
}


sub timeout {
    my ($m, $device, $rid, $attempt) = @_;

    my ($d, $c) = $m->reported('timeout', $device, $rid, $attempt)
        or return 0;

    return $m->ignore('timeout') if $c->{state} ne 's';

    $m->no_ack($d, $c);

    return 1;
}


sub failed {
    my ($m, $device, $rid, $text, $attempt) = @_;

    my ($d, $c) = $m->reported('failed', $device, $rid, $attempt)
        or return 0;

    delete $d->{held};

    $text = '{"error":"failed"}' if $text eq '';
    $text = substr $text, 0, $m->{set}{max_response};

    if ($c->{light}) {
        $m->tell($c, "F$text") if !released($c);
        $m->over($d, $c);

    } else {
        $m->finish($d, $c, FAILED, $text);
    }

    return 1;
}


sub respond {
    my ($m, $device, $rid, $payload) = @_;

    my ($d, $c) = $m->reported('respond', $device, $rid) or return 0;

    delete $d->{held};

    my $max = $m->{set}{max_response};
    my $large = length $payload > $max;

    if (!$c->{light}) {
        $m->finish($d, $c, $large ? FAILED : SUCCESSFUL, $large
            ? "{\"error\":\"The response exceeds the limit of $max bytes\"}"
            : $payload);
        return 1;
    }

    if (!$c->{oneway}) {
        $m->tell($c, $large ? 'L' : "A$payload");

    } elsif (!released($c)) {
        $m->tell($c, 'S');
    }

    $m->over($d, $c);

    return 1;
}


1;
