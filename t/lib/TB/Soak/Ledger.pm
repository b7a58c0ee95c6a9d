package TB::Soak::Ledger;

# Compares what callers were told with what Redis has and what devices got, in a
# process of its own, while a TB::Soak goes on.
#
#     my $ledger = TB::Soak::Ledger->start(nginx => $nginx, redis => $redis,
#         devices => [{ name, id, kind, shard }], calls => $path,
#         faults => $path, logs => { mqtt => [...], http => [...],
#                                    scripted => [...] }, expires => 30);
#     $ledger->tell('whole');         nothing happens any more
#     $ledger->totals();      { calls, answers => {...}, kept => {...},
#                               losses, doubles, wrong, open, problems => [...] }
#
# What is told and what must be true then:
#
#   200, persistent     it is there until it was deleted, and ends: SUCCESSFUL
#                       with the device's answer (DELIVERED, if it wants none)
#                       after the device got it; or as EXPIRED or FAILED, which
#                       "kept" counts.  Otherwise it is a loss
#   200, two-way        with the device's answer, and the device got it
#   200, one-way        the device got it, if no fault of its bridge explains
#                       that not ("unheard" in "kept"); one that polls has got it
#   503                 no device gets it
#   504                 it may be either way
#   no answer           only where a worker was killed, or nginx reloaded
#
# A double is a call that a device got more often than Redis gave out attempts of
# it: of a scripted bridge by the attempts themselves, of others by the events
# SENT.  MQTT is told once more what the broker did not acknowledge before its
# connection broke: that is counted ("repeated" in "kept").  So is a lightweight
# call that was handed to a poll whose worker or Redis died.

use strict;
use warnings;

use base 'TB::Child';

use IO::Select;
use JSON::PP ();
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Client;
use TB::Fixture;
use TB::Load;
use TB::Soak::Callers;

my $json = JSON::PP->new->utf8->allow_nonref->canonical;

# Seconds until a call has ended when all is whole again.  Before, Redis may be away
# nearly all the time, and ends are as late as it is.
my $LATE = 30;

# faults that explain something, by what they happen to
my %EXPLAINS = (
    closed => qr/^(?:worker-kill|reload)$/,
    mqtt => qr/^(?:broker|net-broker|bridge|redis|net-bridge)/,
    scripted => qr/^(?:redis|scripted)/,
    http => qr/^(?:worker|reload|redis|net-nginx)/,
    broker => qr/^(?:broker|net-broker)/,
    killed => qr/^broker-kill/,
);


sub start {
    my ($class, %opt) = @_;

    my $self = bless { %opt }, $class;

    return $self->spawn(sub { $self->loop(@_) });
}


sub totals { return $json->decode($_[0]->tell('totals')) }


sub loop {
    my ($self, $control) = @_;

    my $select = IO::Select->new($control);

    @$self{qw(call ran events deleted closed faults fh read_at)}
        = ({}, {}, {}, {}, {}, [], {}, 0);
    $self->{t} = { calls => 0, answers => {}, kept => {}, problems => [],
                   map { $_ => 0 } qw(losses doubles wrong) };

    for (my $next = 0; ; ) {
        if (time() >= $next) {
            $self->look();
            $next = time() + 0.5;
        }

        next if !$select->can_read(0.1);
        return if !sysread $control, my $lines, 4096;

        if ($lines =~ /whole/) {
            $self->{whole} = time();
            syswrite $control, "ok\n";
            next;
        }

        $self->{t}{open} = keys %{ $self->{call} };
        syswrite $control, $json->encode($self->{t}) . "\n";
        $self->{t}{problems} = [];
    }
}


sub look {
    my ($self) = @_;

    $self->read_all();
    $self->ask();
    $self->read_all();

    my $now = time();

    for my $call (values %{ $self->{call} }) {
        $self->judge($call) if $call->{due} && $now > $call->{due}
                               && $self->{read_at} > $call->{due};
    }
}


sub problem {
    my ($self, $kind, $call, $text) = @_;

    $self->{t}{$kind}++;
    push @{ $self->{t}{problems} }, "$kind: $text: "
        . $json->encode({ %$call, ran => $self->{ran}{ $call->{n} // '' },
                          events => $self->{events}{ $call->{id} // '' } })
        if @{ $self->{t}{problems} } < 20;
}


# --- what there is to read --------------------------------------------------

# the whole lines that a file has got since

sub lines {
    my ($self, $path) = @_;

    my $f = $self->{fh}{$path} ||= do {
        open my $fh, '<:raw', $path or return;
        { fh => $fh, rest => '' };
    };

    1 while sysread $f->{fh}, $f->{rest}, 1 << 20, length $f->{rest};

    my $end = rindex($f->{rest}, "\n") + 1;

    return split /\n/, substr $f->{rest}, 0, $end, '';
}


# devices first: what is answered was got before; then faults, which explain it

sub read_all {
    my ($self) = @_;

    for my $kind (sort keys %{ $self->{logs} }) {
        for my $line (map { $self->lines($_) } @{ $self->{logs}{$kind} }) {
            $kind eq 'scripted' ? $self->taken($line) : $self->got($line);
        }
    }

    push @{ $self->{faults} }, map { [ split / / ] }
                               $self->lines($self->{faults_log});
    shift @{ $self->{faults} } while @{ $self->{faults} }
                                     && $self->{faults}[0][0] < time() - 300;

    $self->called($_) for $self->lines($self->{calls});
    $self->read_events();
}


sub taken {
    my ($self, $line) = @_;

    my ($rpc, $device) = $line =~ /"rpcId":"([^"]+)","deviceId":"([^"]+)"/;
    my ($params) = $line =~ /"params":(.*),"oneway":/;
    my ($attempt) = $line =~ /"attempt":(\d+)/;

    $self->ran($params, { time => time(), device => $device, dup => 0,
                          attempt => "$rpc $attempt" });
}


sub got {
    my ($self, $line) = @_;

    my ($ms, $device, undef, $dup, $params) = split /\t/, $line;

    $self->ran($params, { time => $ms / 1000, device => $device,
                          dup => $dup });
}


sub ran {
    my ($self, $n, $run) = @_;

    if ($self->{closed}{$n}) {
        $self->problem('doubles', { n => $n, %$run }, 'after its end');
        return;
    }

    push @{ $self->{ran}{$n} }, $run;
}


sub called {
    my ($self, $line) = @_;

    my %call;

    @call{@TB::Soak::Callers::FIELDS} = split /\t/, $line, -1;

    my $what = $call{status} eq '200' ? 200
               : join ' ', grep { length } @call{qw(status result)};

    $self->{t}{calls}++;
    $self->{t}{answers}{$what}++;

    $self->problem('wrong', \%call, 'what an answer')
        if $call{status} !~ /^(?:200|503|504)$/
           && !($call{status} eq 'closed'
                && $self->explained('closed', $call{start}, $call{end}));

    if ($call{what} eq 'del') {
        $self->{deleted}{$call{id}} = $call{status};
    }

    return if $call{what} =~ /^(?:get|list|del)$/;

    $self->{call}{$call{n}} = \%call;

    if ($call{what} =~ /^p/ && $call{status} eq '200') {
        $call{ask} = $call{end} + 1;

    } else {
        $call{due} = $call{end} + ($call{what} =~ /^p/
                                   ? 1.5 * $self->{expires} + 15 : 20);
    }
}


# of the shards that there are devices in, since the last time

sub read_events {
    my ($self) = @_;

    my $now = time();

    return if $now < $self->{read_at} + 1;

    my %shards = map { $_->{shard} => 1 } @{ $self->{devices} };
    my @shards = sort { $a <=> $b } keys %shards;

    eval {
        $self->{conn} ||= $self->{redis}->connect('admin') or die "no Redis\n";

        my @replies = $self->{conn}->pipeline(map {
            ['XRANGE', TB::Bridge::prefix($_) . 'events',
             '(' . ($self->{last}{$_} // '0-0'), '+']
        } @shards);

        for my $i (grep { TB::Resp::is_error($replies[$_]) } 0 .. $#shards) {
            die "$replies[$i]\n";
        }

        for my $i (0 .. $#shards) {
            for my $entry (@{ $replies[$i] }) {
                my %e = @{ $entry->[1] };

                push @{ $self->{events}{$e{rpcId}} }, $e{event};
                $self->{last}{$shards[$i]} = $entry->[0];
            }
        }

        $self->{read_at} = $now;
        1;
    } or undef $self->{conn};
}


# --- what has become of it ---------------------------------------------------

sub explained {
    my ($self, $what, $from, $to) = @_;

    return scalar grep { $_->[0] >= $from - 4 && $_->[0] <= $to + 1
                         && $_->[1] =~ $EXPLAINS{$what} }
                  @{ $self->{faults} };
}


# the persistent calls that are to be looked at now

sub ask {
    my ($self) = @_;

    my $now = time();
    my @calls = grep { $_->{ask} && $_->{ask} <= $now }
                values %{ $self->{call} };

    splice @calls, 200 if @calls > 200;

    return if !@calls;

    my $token = $self->{token} ||= macro('token:tenant');
    my @answers = TB::Load::run(
        port => $self->{nginx}{port}, parallel => 4, timeout => 10,
        requests => [ map {
            TB::Client::text('GET', "/api/rpc/persistent/$_->{id}", undef,
                             'X-Authorization' => "Bearer $token")
        } @calls ]);

    $self->seen($calls[$_], $answers[$_]) for 0 .. $#calls;
}


sub seen {
    my ($self, $call, $answer) = @_;

    my $status = $answer->{status} || 0;
    my $now = time();

    $call->{ask} = $now + 3;

    if ($status == 404) {
        # who deletes it may not have been answered yet
        if (defined $self->{deleted}{$call->{id}}) {
            $self->ended($call, 'deleted');

        } elsif (++$call->{missed} > 3) {
            $self->problem('losses', $call, 'it is not there');
            $self->ended($call, 'lost');
        }

        return;
    }

    return if $status != 200;

    my ($state) = $answer->{body} =~ /"status":"(\w+)"/;

    if ($state =~ /^(?:SUCCESSFUL|FAILED|EXPIRED)$/
        || $call->{what} eq 'pone' && $state eq 'DELIVERED')
    {
        $call->{body} = $answer->{body};
        $self->ended($call, $state);

    } elsif ($self->{whole} && $now > $self->{whole} + $LATE
             && $now > $call->{end} + 1.5 * $self->{expires} + $LATE)
    {
        $self->problem('losses', $call, "it is $state for ever");
        $self->ended($call, 'stuck');
    }
}


sub ended {
    my ($self, $call, $state) = @_;

    delete $call->{ask};
    @$call{qw(state due)} = ($state, time() + 5);
}


# everything about it is known

sub judge {
    my ($self, $call) = @_;

    my $device = $self->{devices}[$call->{device}];
    my $ran = $self->{ran}{$call->{n}} || [];
    my @runs = grep { !$_->{dup} } @$ran;
    my $state = $call->{state} // '';

    $self->problem('wrong', $call, 'another device has got it')
        if grep { $_->{device} ne $device->{id} } @$ran;
    $self->problem('wrong', $call, 'refused, and a device has got it')
        if $call->{status} eq '503' && @$ran;

    if ($state eq 'SUCCESSFUL') {
        my $answer = TB::Soak::Callers::answer_of($device, $call->{n});

        $self->problem('wrong', $call, "another answer: $call->{body}")
            if $call->{what} eq 'ptwo'
               && index($call->{body}, "\"response\":$answer") < 0;
    }

    $self->unheard($call, $device) if !@$ran && $call->{status} eq '200';
    $self->doubles($call, $device, @runs) if @runs > 1;
    $self->{t}{kept}{$state}++ if $state ne '';

    my $events = join ' ', @{ $self->{events}{$call->{id}} || [] };

    $self->problem('doubles', $call, 'sent after its answer')
        if $events =~ /SUCCESSFUL.* SENT/;

    $self->{closed}{$call->{n}} = 1;
    delete $self->{call}{$call->{n}};
    delete $self->{ran}{$call->{n}};
    delete $_->{$call->{id}} for @$self{qw(events deleted)};
}


# Answered 200, and no device has got it.  A bridge that takes a one-way call
# answers it, and may be killed then; a broker that has acknowledged one, too.

sub unheard {
    my ($self, $call, $device) = @_;

    my $state = $call->{state} // '';

    return if $call->{what} =~ /^p/
              && $state !~ /^(?:SUCCESSFUL|DELIVERED)$/;

    my $because = $state eq 'DELIVERED'
        ? { mqtt => 'killed' }->{$device->{kind}}
        : { mqtt => 'mqtt', scripted => 'scripted' }->{$device->{kind}};

    if ($call->{what} =~ /one/ && $because
        && $self->explained($because, $call->{start},
                            $call->{end} + ($state ne '' ? $self->{expires}
                                                         : 10)))
    {
        $self->{t}{kept}{"unheard, $device->{kind}"}++;
        return;
    }

    $self->problem('losses', $call, 'done, and no device has got it');
}


sub doubles {
    my ($self, $call, $device, @runs) = @_;

    my %attempts = map { ($_->{attempt} // '') => 1 } @runs;
    my $sent = $call->{what} =~ /^p/
        ? grep { $_ eq 'SENT' } @{ $self->{events}{$call->{id}} || [] } : 1;
    my $kind = $device->{kind};

    if ($kind eq 'scripted') {
        $self->problem('doubles', $call, 'the same attempt twice')
            if keys %attempts < @runs;

    } elsif (@runs > $sent) {
        my @when = sort { $a <=> $b } map { $_->{time} } @runs;
        my $because = $kind eq 'mqtt' ? 'broker' : $call->{what} =~ /^p/
                      ? undef : 'http';

        if (!$because || !$self->explained($because, @when[0, -1])) {
            $self->problem('doubles', $call, "$sent attempts, and it was got "
                           . @runs . ' times');
            return;
        }

        $self->{t}{kept}{"repeated, $kind"}++;
    }

    $self->{t}{kept}{'another attempt'}++ if @runs > 1;
}


1;
