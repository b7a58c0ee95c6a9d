package TB::Callers;

# Callers in a process of its own, while something happens: for each device one
# that makes persistent calls and one that makes two-way calls, one after the
# other, each on a connection that is kept.
#
#     my $callers = TB::Callers->start(nginx => $nginx, devices => ['c0', ...],
#                                      timeout => 10000, pause => 0.03);
#     my @calls = $callers->stop();
#
# timeout: of two-way calls, ms; nobody may wait longer, by 3 s for a busy
# machine.  pause: between an answer and the next call, seconds.
#
# A call: { device => its index, persistent, start, end (times), status (what
# HTTP said, or "another answer", "hangs", "closed", ...), result
# (X-RPC-Result), id (rpcId) }.  times() and gap() look at them.

use strict;
use warnings;

use Errno qw(EAGAIN EINTR);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use List::Util qw(max min);
use POSIX ();
use Time::HiRes qw(time);

use TB::Env qw(file_in scaled scratch wait_for);
use TB::Load;

my $started = 0;


sub start {
    my ($class, %opt) = @_;

    my $self = bless { timeout => 10000, pause => 0.03,
                       %opt, owner => $$, dir => 'callers' . $started++ },
                     $class;

    file_in("$self->{dir}/x", '');

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD);
        $SIG{PIPE} = 'IGNORE';
        eval { $self->go(getppid()) };
        print STDERR "callers: $@" if $@;
        POSIX::_exit(0);
    }

    $self->{pid} = $pid;
    wait_for { -e scratch() . "/$self->{dir}/begun" } 20
        or die "the callers did not begin\n";

    return $self;
}


sub stop {
    my ($self) = @_;

    file_in("$self->{dir}/stop", '');
    waitpid delete $self->{pid}, 0;

    open my $fh, '<', scratch() . "/$self->{dir}/calls"
        or die "the callers have no result\n";

    return @{ JSON::PP::decode_json(do { local $/; <$fh> }) };
}


sub go {
    my ($self, $parent) = @_;

    my $stop = scratch() . "/$self->{dir}/stop";
    my $select = IO::Select->new();
    my %of;
    my @callers = map {
        my $device = $_;
        map { { device => $device, persistent => $_, next => 0 } } 0, 1;
    } 0 .. $#{ $self->{devices} };

    $self->{calls} = [];
    $self->{n} = 0;

    for (my ($busy, $stopped) = (1, 0); $busy; ) {
        my $now = time();

        $stopped ||= -e $stop || getppid() != $parent;
        $busy = 0;

        for my $c (@callers) {
            $self->call($c, $select, \%of)
                if !$c->{call} && !$stopped && $c->{next} <= $now;
            next if !$c->{call};

            $busy = 1;
            $self->over($c, $select, \%of, 'hangs')
                if $now - $c->{call}{start}
                   > $self->{timeout} / 1000 + scaled(3);
        }

        $busy = 1 if !$stopped;

        for my $sock ($select->can_read(0.01)) {
            my $c = $of{fileno $sock};
            my $n = sysread $sock, $c->{in}, 65536, length $c->{in};

            next if !defined $n && ($! == EAGAIN || $! == EINTR);

            if (my $answer = TB::Load::parse($c->{in}, !$n)) {
                $self->answered($c, $select, \%of, $answer);

            } elsif (!$n) {
                $self->over($c, $select, \%of, 'closed after '
                            . length($c->{in}) . ' bytes') if $c->{call};
                shut($c, $select, \%of) if $c->{sock};
            }
        }
    }

    file_in("$self->{dir}/calls", JSON::PP::encode_json($self->{calls}));
}


sub call {
    my ($self, $c, $select, $of) = @_;

    $c->{params} = '[' . ++$self->{n} . ']';
    $c->{in} = '';
    $c->{call} = { device => $c->{device}, persistent => $c->{persistent},
                   start => time() };

    if (!$c->{sock}) {
        $c->{sock} = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                           PeerPort => $self->{nginx}{port});
        return $self->over($c, $select, $of, "connect: $!") if !$c->{sock};

        $select->add($c->{sock});
        $of->{fileno $c->{sock}} = $c;
    }

    my $text = $self->{nginx}->text(
        $self->{devices}[$c->{device}], 'echo', $c->{params},
        $c->{persistent} ? (persistent => 1, expires => 600)
                         : (timeout => $self->{timeout}));

    $self->over($c, $select, $of, "write: $!")
        if (syswrite($c->{sock}, $text) // 0) != length $text;
}


sub answered {
    my ($self, $c, $select, $of, $answer) = @_;

    my $call = $c->{call};
    my $status = $answer->{status};

    $call->{result} = $answer->{headers}{'x-rpc-result'} // '';

    if ($status == 200 && $call->{persistent}) {
        ($call->{id}) = $answer->{body} =~ /^\{"rpcId":"([^"]+)"\}\z/
            or $status = 'another answer';

    } elsif ($status == 200 && $answer->{body} ne $c->{params}) {
        $status = 'another answer';
    }

    $self->end($c, $status);
    shut($c, $select, $of) if $answer->{close};

    file_in("$self->{dir}/begun", '') if !$self->{begun}++;
}


sub end {
    my ($self, $c, $status) = @_;

    my $call = delete $c->{call};

    $call->{status} = "$status";
    $call->{end} = time();
    push @{ $self->{calls} }, $call;
    $c->{next} = $call->{end} + $self->{pause};
}


sub over {
    my ($self, $c, $select, $of, $why) = @_;

    $self->end($c, $why);
    shut($c, $select, $of) if $c->{sock};
}


sub shut {
    my ($c, $select, $of) = @_;

    my $sock = delete $c->{sock};

    delete $of->{fileno $sock};
    $select->remove($sock);
    close $sock;
}


# when those to the devices were answered 200

sub times {
    my ($calls, $persistent, @devices) = @_;

    my %of = map { $_ => 1 } @devices;

    return [ sort { $a <=> $b } map { $_->{end} }
             grep { $_->{status} eq '200' && $of{$_->{device}}
                    && $_->{persistent} == $persistent } @$calls ];
}


# the longest time without one of them, in what is given: a list for each
# device or slot; the end is where there is nothing more to come

sub gap {
    my ($from, $to, @lists) = @_;

    return max(0, map {
        my @times = ($from, (grep { $_ > $from && $_ < $to } @$_), $to);

        map { $times[$_] - $times[$_ - 1] } 1 .. $#times;
    } @lists);
}


1;
