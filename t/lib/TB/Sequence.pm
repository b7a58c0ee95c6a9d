package TB::Sequence;

# One sequence of steps, done by the library and by TB::Model at once.
#
#   my $s = TB::Sequence->new($clock, $subscriber, $seed);
#   my $error = $s->play(@steps)        or
#   my $error = $s->invent($n)          random steps; then $s->{steps}
#
# A step is [name, argument ...]; calls are named by the number of their
# create, so that a step means the same when others are left out.

use strict;
use warnings;

use TB::Clock;
use TB::Model;
use TB::Sequence::Invent;
use TB::Sequence::Look;
use TB::Sequence::Polls;
use TB::Sequence::Take;

our $TENANT = '11111111-2222-3333-4444-555555555555';
our $OTHER  = '99999999-2222-3333-4444-555555555555';

my @CUSTOMER = ('cccccccc-0000-1000-8000-000000000001',
                'cccccccc-0000-1000-8000-000000000002');


sub new {
    my ($class, $clock, $subscriber, $seed) = @_;

    srand($seed);

    my $self = bless {
        clock => $clock, redis => $clock->{redis}, sub => $subscriber,
        seed => $seed, steps => [], calls => [], sessions => 0, polls => 0,
        tickets => 1
    }, $class;

    # ids before and after "@", in the order of their making and not

    $self->{devices} = [map { sprintf '%08x-d000-1000-8000-00000000000%d',
                              int rand 2 ** 32, $_ } 1 .. 3];
    $self->{salt} = int rand 2 ** 32;

    # also where requestIds start again

    $self->{begin} = 2 ** 31 * 800 + one(1, 2 ** 30, 2 ** 31 - 5000);
    $self->{bridges} = [qw(b1 b2 b3)];
    $self->{settings} = $self->some_settings;
    $self->{window} = one(1, 2, 3, 16);
    $self->start;

    return $self;
}


# the same once more, from nothing

sub start {
    my ($self) = @_;

    # its memory of bells is older than this sequence, its window may be smaller

    $self->{clock}->load(window => $self->{window});
    $TB::Model::WINDOW = $self->{window};

    $self->{model} = TB::Model->new(%{ $self->{settings} });
    $self->{model}{now} = $self->{begin};
    $self->{clock}->clear($self->{begin});
    $self->published;
    $self->{clock}->config(%{ $self->{settings} });
    $self->{calls} = [];
    $self->{admitted} = {};
    $self->{asked} = {};
    $self->{loose} = 0;
    $self->{mixed} = {};
    $self->{serial} = {};
    $self->{before} = {};
    $self->{look} //= $self->{redis}->cmd('SCRIPT', 'LOAD', $TB::Sequence::Look::SCRIPT);
}


sub play {
    my ($self, @steps) = @_;

    $self->start;

    for my $step (@steps) {
        my $error = $self->step(@$step);
        return $error if $error;
    }

    return $self->end;
}


sub invent {
    my ($self, $n) = @_;

    for (1 .. $n) {
        my $step = $self->some_step;

        push @{ $self->{steps} }, $step;

        my $error = $self->step(@$step);
        return $error if $error;
    }

    return $self->end;
}


# one step by both, and the comparison ---------------------------------------

sub step {
    my ($self, $name, @args) = @_;

    my $do = $self->can("do_$name") or die "no step $name\n";
    my ($want, $got) = $do->($self, @args) or return;

    if (ref $got eq 'TB::Redis::Error') {
        $got = $want eq 'ERR' && $got =~ /^ERR tb_rpc/ ? 'ERR' : "$got";
    }

    $got = join ' ', map { $_ // '(nil)' } @$got if ref $got;

    return "$name returned '$got', not '$want'" if $got ne $want;

    return $self->compare || $self->rules;
}


# What became due for several devices during one long step may enter a queue
# in any order among the devices, but not within one: the model follows.

sub same_order {
    my ($self, $got) = @_;

    my $m = $self->{model};

    for my $line ($got =~ /^queue (.*)$/mg) {
        my ($bridge, @names) = split / /, $line;
        my $items = $m->{queue}{$bridge} or next;
        my (%named, %order);

        push @{ $named{ TB::Model::reference($_) } }, $_ for @$items;

        my @new = grep { $_ } map { shift @{ $named{$_} || [] } } @names;

        next if @new != @$items || @names != @$items;

        for (['was', $items], ['is', \@new]) {
            my ($when, $list) = @$_;

            push @{ $order{ $_->{call}{device} }{$when} },
                 TB::Model::reference($_) for @$list;
        }

        next if grep { "@{ $_->{was} }" ne "@{ $_->{is} }" } values %order;

        $m->{queue}{$bridge} = \@new;
    }
}


sub compare {
    my ($self) = @_;

    my $want = $self->{model}->text;
    my $got = $self->{redis}->cmd('EVALSHA', $self->{look}, 0,
                                  $self->{settings}{record_ttl});

    return if !ref $got && $got eq $want;

    if (!ref $got) {
        $self->same_order($got);
        $want = $self->{model}->text;

        return if $got eq $want;
    }

    my %want = map { $_ => 1 } split /\n/, $want;
    my %got = map { $_ => 1 } split /\n/, "$got";

    my @lines = ((map { "    library only: $_" } grep { !$want{$_} } keys %got),
                 (map { "    model only:   $_" } grep { !$got{$_} } keys %want));

    return if !@lines;
    return join "\n", 'the states differ', sort { substr($a, 18)
                                                  cmp substr $b, 18 } @lines;
}


# What must hold whatever the model thinks: calls leave in the order in which
# they were made, and a sequential device has one at a time.

sub rules {
    my ($self) = @_;

    my $m = $self->{model};

    # an open poll comes before a bridge

    my @left = ((grep { $_->{state} eq 'h' && $_->{attempt} == 1 }
                 map { values %{ $_->{open} } } values %{ $m->{device} }),
                (map { $_->{call} } grep { $_->{attempt} == 1 }
                 map { @$_ } values %{ $m->{queue} }));

    for my $c (@left) {
        next if $c->{left}++;

        my $last = \$self->{serial}{ $c->{device} };

        return "call $c->{serial} of $c->{device} left after $$last"
            if $c->{serial} < ($$last // 0);
        $$last = $c->{serial};
    }

    for my $d (values %{ $m->{device} }) {
        my $how = $m->how($d);
        my $under = $how eq 'response' ? qr/[qshd]/ : qr/[qsh]/;
        my $before = $self->{before}{ $d->{id} } //= {};
        my $n = 0;

        for my $c (values %{ $d->{open} }) {
            my $was = $c->{was} // '';

            # acknowledged after it gave its turn away, or when it had been
            # taken back and another one has the turn

            $before->{ $c->{rid} } = 1
                if "$was$c->{state}" eq 'xd'
                   || ("$was$c->{state}" eq 'pd'
                       && ($d->{turn} // $c->{rid}) != $c->{rid});
            delete $before->{ $c->{rid} } if $c->{state} eq 'p';
            $c->{was} = $c->{state};
            $n++ if $c->{state} =~ $under && !$before->{ $c->{rid} }
                    && $c->{expiry} > $m->{now};
        }

        return "$n calls at a time with $d->{id}" if $how && $n > 1;

        my $error = $self->window($d) // $self->stuck($d);

        return $error if $error;
    }

    return;
}


sub window {
    my ($self, $d) = @_;

    my $n = TB::Model::outside($d);

    return "$n calls of $d->{id} are with its bridge"
        if $n > $self->{window} && !$self->{mixed}{ $d->{id} };

    return;
}


# what may leave has left, or will soon

sub stuck {
    my ($self, $d) = @_;

    my $m = $self->{model};

    return if $self->{loose} || !@{ $d->{waiting} } || !$m->online($d);

    my $due = $m->{due}{"\@$d->{id}"};

    return if $m->held($d) ? defined $due && $due <= $d->{held}{till}
              : $m->allowed($d) <= 0 || $m->polled($d)
                || (defined $due && $due <= $m->{now} + $TB::Model::RETRY);

    return "calls of $d->{id} may leave, and nobody looks";
}


# What has left under another strategy may still be on its way: it is not
# counted until it waits again.

sub another_strategy {
    my ($self, $change) = @_;

    my $m = $self->{model};
    my %how = map { $_ => $m->how($m->{device}{$_}) } keys %{ $m->{device} };
    my @result = $change->();

    for my $d (grep { defined $how{ $_->{id} } } values %{ $m->{device} }) {
        next if $how{ $d->{id} } eq $m->how($d);

        $self->{mixed}{ $d->{id} } = 1;

        $self->{before}{ $d->{id} }
            = { map { $_->{rid} => 1 } grep { $_->{state} ne 'p' }
                values %{ $d->{open} } };
    }

    return @result;
}


# the steps -------------------------------------------------------------------

sub device_key { return $_[0]{clock}->key('device', $_[1]) }


sub fcall {
    my ($self, @args) = @_;

    return $self->{redis}->fcall(@args);
}


sub do_time {
    my ($self, $ms) = @_;

    $self->{clock}->pass($ms);
    $self->{model}{now} = $self->{clock}{now};

    return;
}


sub do_tick {
    my ($self, $max) = @_;

    $self->{model}->tick($max);

    my $reply = $self->{clock}->tick($max);

    return ('done', ref $reply eq 'ARRAY' ? 'done' : $reply);
}


sub do_config {
    my ($self, $name, $value) = @_;

    # it frees calls that nobody looks at

    $self->{loose} = 1;
    $self->another_strategy(sub { $self->{model}{set}{$name} = $value });
    $self->{clock}->config(%{ $self->{model}{set} });

    return ('', '');
}


sub do_put {
    my ($self, $device, $customer, %field) = @_;

    $customer = $customer ? $CUSTOMER[$customer - 1] : '';

    my ($want) = $self->another_strategy(sub {
        return $self->{model}->device_put($device, $customer, %field);
    });

    return ($want, $self->fcall('device_put', $self->device_key($device),
                                $TENANT, $customer, %field));
}


# to another tenant: not while there is anything of this one

sub do_move {
    my ($self, $device) = @_;

    my $d = $self->{model}{device}{$device};

    return if !($d && %{ $d->{open} }) && !$self->{model}->ids($device);

    return ('ERR', $self->fcall('device_put', $self->device_key($device),
                                $OTHER, ''));
}


sub do_del {
    my ($self, $device) = @_;

    my $d = $self->{model}{device}{$device};

    # more of them end in slices

    return if $d && keys %{ $d->{open} } >= 16;

    my @replies = ($self->{model}->device_del($device),
                   $self->fcall('device_del', $self->device_key($device)));

    # its last requestId is forgotten, and a millisecond gives many

    $self->do_time(100);

    return @replies;
}


sub rpc_id {
    my ($self, $no) = @_;

    # neither in the order of creation, nor against it
    my $mixed = (($no + 1) * 2654435761 + $self->{salt}) % 2 ** 32;

    return sprintf '%08x-0000-1000-8000-%012x', $mixed, $no;
}


sub do_create {
    my ($self, $no, $device, %o) = @_;

    my $id = $self->rpc_id($o{again} // $no);
    my $uuid = $o{uuid} ? uuid($o{uuid}) : '';
    my $customer = $o{customer} eq '*' || !$o{customer}
                   ? $o{customer} : $CUSTOMER[$o{customer} - 1];
    my $m = $self->{model};

    if (defined $o{again}) {
        my $call = $self->{calls}[ $o{again} ] or return;

        # without its envelope a lightweight call's createdTime is a guess,
        # and among many open calls it is not looked for

        return if $call->{light} ? !$call->{call} || $call->{call}{over}
                                   || $call->{call}{state} =~ /[dx]/
                                   || keys %{ $m->{device}{ $call->{device} }
                                              {open} } > 4
                                 : !$m->{record}{$id};

        $o{light} = $call->{light};
        $device = $call->{device};
    }

    my @args = (
        $id, $o{light} ? 'w1' : '', $o{oneway}, $o{light} ? 0 : 1,
        $o{foreign} ? $OTHER : $TENANT, $customer, '"m"',
        "{\"n\":$no,\"attempt\":7" . ($o{big} ? ',"big":"' . 'x' x 17000
        . '"}' : '}'), '', $o{retries} // '', $o{timeout} > 0
        ? ($o{timeout}, '') : ('', $m->{now} + $o{timeout}), $o{hold} || '',
        $o{reject} ? 'reject' : 'wait', $uuid, $uuid && ($o{hash} || 'ab'), ''
    );

    # nginx leaves out what is empty at the end

    pop @args while $no % 3 && @args > 11 && $args[-1] =~ /^(wait)?$/;

    my $got = $self->fcall('create', $self->device_key($device), @args);

    my $rid = ref $got eq 'ARRAY' ? $got->[2] || 0 : 0;
    my $want = $m->create($device, %o, id => $id, rid => $rid, uuid => $uuid,
                          customer => $customer, hash => $o{hash} || 'ab');

    if (!defined $o{again} && $want =~ /^\w+ (\S+) (\d+)/ && $1 eq $id) {
        $self->{calls}[$no] = {
            no => $no, id => $id, rid => $2, device => $device,
            light => $o{light}
        };

        my $d = $m->{device}{$device};

        $self->{calls}[$no]{call} = $d->{open}{$2} if $d;
    }

    my $c = $rid && $m->{device}{$device} && $m->{device}{$device}{open}{$rid};

    return ('', "requestId $rid $c->{bad_id}") if $c && $c->{bad_id};

    return ($want, $got);
}


sub attempt {
    my ($call, $off) = @_;

    return if !defined $off || $off eq '';

    my $attempt = ($call->{call} ? $call->{call}{attempt} : 1) + $off;

    return $attempt > 0 ? $attempt : 0;
}


sub report {
    my ($self, $name, $no, @args) = @_;

    my $call = $self->{calls}[$no] or return;

    return ($self->{model}->$name($call->{device}, $call->{rid}, @args),
            $self->fcall($name, $self->device_key($call->{device}),
                         $call->{rid}, map { $_ // '' } @args));
}


sub do_delivered {
    my ($self, $no, $off) = @_;

    return $self->report('delivered', $no,
                         attempt($self->{calls}[$no], $off));
}


sub do_timeout {
    my ($self, $no, $off) = @_;

    return $self->report('timeout', $no, attempt($self->{calls}[$no], $off));
}


sub do_failed {
    my ($self, $no, $text, $off) = @_;

    return $self->report('failed', $no, $text,
                         attempt($self->{calls}[$no], $off));
}


sub do_respond {
    my ($self, $no, $length) = @_;

    return $self->report('respond', $no, 'r' x $length);
}


sub do_attach {
    my ($self, $device, $bridge, $session, $ttl) = @_;

    return ($self->{model}->attach($device, $bridge, $session, $ttl),
            $self->fcall('attach', $self->device_key($device), $bridge,
                         $session, $ttl));
}


sub do_detach {
    my ($self, $device, $session) = @_;

    return ($self->{model}->detach($device, $session),
            $self->fcall('detach', $self->device_key($device), $session));
}


sub do_cancel {
    my ($self, $no, $blind) = @_;

    my $call = $self->{calls}[$no] or return;

    return ($self->{model}->cancel($call->{device}, $call->{id}),
            $self->fcall('cancel', $self->device_key($call->{device}),
                         $call->{id}, $blind ? '' : $call->{rid}));
}


sub do_delete {
    my ($self, $no, $foreign) = @_;

    my $id = $self->rpc_id($no);

    return ($self->{model}->withdraw($id, $foreign),
            $self->fcall('delete', $self->{clock}->key('rpc', $id),
                         $foreign ? $OTHER : $TENANT));
}


sub uuid {
    my ($n) = @_;

    return sprintf 'aaaaaaaa-0000-1000-8000-%012d', $n;
}


sub do_uuid {
    my ($self, $n, $foreign) = @_;

    my $known = $self->{model}{uuid}{ uuid($n) };

    return ($known && !$foreign ? "ok $known->{id}" : 'unknown',
            $self->fcall('uuid', $self->{clock}->key('uuid', uuid($n)),
                         $foreign ? $OTHER : $TENANT));
}


sub do_list {
    my ($self, $device, $status, $desc, $offset, $count, $by) = @_;

    my $got = $self->fcall('list', $self->device_key($device), $TENANT, '*',
                           $status, $by, $desc ? 'desc' : 'asc', $offset,
                           $count);

    if (ref $got eq 'ARRAY' && $got->[0] eq 'ok') {
        my @list = @$got;
        my @ids = splice @list, 0, 3;

        while (@list) {
            my ($n, $id) = splice @list, 0, 2;
            splice @list, 0, $n;
            push @ids, $id;
        }

        $got = \@ids;
    }

    return ($self->{model}->list($device, $status eq '' ? undef : $status,
                                 $desc, $offset, $count, $by), $got);
}


# the end -------------------------------------------------------------------

# Time passes until all is over and forgotten.

sub end {
    my ($self) = @_;

    my $m = $self->{model};
    my $ttl = $m->{set}{record_ttl};

    for my $ms (1000, 30000, 600_000, 3_700_000, 1000, $ttl, $ttl, 1000) {
        $self->do_time($ms);

        my $error = $self->step('tick', 1000);
        return "at the end: $error" if $error;
    }

    return 'calls are left at the end'
        if grep { %{ $_->{open} } } values %{ $m->{device} };

    if ($ttl == 0) {
        for my $r (values %{ $m->{record} }) {
            $m->withdraw($r->{id});
            $self->fcall('delete', $self->{clock}->key('rpc', $r->{id}),
                         $TENANT);
        }
    }

    return $self->all_refused || $self->nothing_left || $self->all_said;
}


# Nobody takes anything any more: neither what is left in the queues, nor what
# was taken last.

sub all_refused {
    my ($self) = @_;

    my $m = $self->{model};

    for my $claimer (sort keys %{ $m->{taken} }) {
        my $error = $self->step('take', $self->{bridges}[0], $claimer,
                                $m->{taken}{$claimer}{ticket}, 1);
        return $error if $error;
    }

    for my $bridge (@{ $self->{bridges} }) {
        while (@{ $m->{queue}{$bridge} || [] }) {
            my $error = $self->step('take', $bridge, 'end', 9_000_000_000, 256);
            return $error if $error;
        }
    }

    return 'a call is taken at the end' if $m->{taken}{end};

    # a queue that is empty is not looked at any more

    $self->do_time($TB::Model::LOOK);

    return $self->step('tick', 1000);
}


sub nothing_left {
    my ($self) = @_;

    my $r = $self->{redis};

    for my $key (@{ $r->cmd('KEYS', '*') }) {
        my ($name) = $key =~ /^\Q$TB::Clock::PREFIX\E([^:]+)/;

        next if $name =~ /^(config|stats|devices|events|queues|clock-test)$/;

        if ($name eq 'answer' || $name eq 'taken') {
            my $ttl = $r->cmd('PTTL', $key);

            next if $ttl > 0 && $ttl <= ($name eq 'taken' ? 60000 : 30000);
        }

        if ($name eq 'device') {
            my %d = @{ $r->cmd('HGETALL', $key) };

            next if !exists $d{turn} && !exists $d{wait}
                    && !exists $d{poll} && !exists $d{gone};
            return "turn, wait, poll or gone is left in $key";
        }

        return "$key is left at the end";
    }

    return;
}


sub published {
    my ($self) = @_;

    my $sub = $self->{sub};
    my @got;

    $sub->send_cmd('PING');

    while (my $reply = $sub->read) {
        last if ref $reply ne 'ARRAY' || $reply->[0] eq 'pong';
        next if $reply->[0] ne 'smessage';
        push @got, $reply->[1] =~ /:bell:(.*)$/ ? "bell $1" : $reply->[2];
    }

    return @got;
}


# answers published, messages to polls, bells, and events, each exactly once

sub all_said {
    my ($self) = @_;

    my $m = $self->{model};
    my @got = map { poll_message($_) } $self->published;
    my $twice = $self->handed_twice(@got);

    return $twice if $twice;

    my $got = join "\n", sort @got;
    my $want = join "\n", sort @{ $m->{said} };

    return "published:\n$got\nnot:\n$want" if $got ne $want;

    my $events = $self->{redis}->cmd('XRANGE', $self->{clock}->key('events'),
                                     '-', '+');

    @got = map { my %e = @{ $_->[1] }; "$e{rpcId} $e{event}" } @$events;
    $got = join "\n", sort @got;
    $want = join "\n", sort @{ $m->{events} };

    return "events:\n$got\nnot:\n$want" if $got ne $want;

    return;
}


sub shown {
    my ($self, @steps) = @_;

    return join '', map {
        my ($name, @args) = @$_;
        '    [' . join(', ', "'$name'", map { defined $_ ? "'$_'" : 'undef' }
                       @args) . "],\n";
    } @steps;
}


1;
