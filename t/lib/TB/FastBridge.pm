package TB::FastBridge;

# A bridge that takes calls many at a time and looks into no JSON: for load,
# and for tests that play the bridge step by step.
#
#     my $bridge = TB::FastBridge->start(connect => { ... });
#                                     a process that answers every call with
#                                     its params at once; comes back by itself
#                                     after Redis went away; $bridge->stop()
#
#     my $bridge = TB::FastBridge->new(connect => { ... });
#     my @calls = $bridge->take(1000, 5);         taken, within 5 seconds
#     $bridge->answer(@calls);                    with their params; what
#                                                 tb_rpc_respond returned

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Env qw(scaled);
use TB::Resp;

my %running;


sub new {
    my ($class, %opt) = @_;

    my $self = bless { name => 'b1', shards => 128, %opt }, $class;

    $self->{bells} = [ map { TB::Bridge::prefix($_) . "bell:$self->{name}" }
                       0 .. $self->{shards} - 1 ];
    $self->reconnect();

    return $self;
}


# a claimer of its own for each connection: what was taken by the one before is
# not asked for again

sub reconnect {
    my ($self) = @_;

    $self->{redis} = TB::Resp->connect(%{ $self->{connect} })
        or die "no Redis\n";
    $self->{bell} = TB::Resp->connect(%{ $self->{connect} })
        or die "no Redis\n";
    $self->{claimer} = sprintf '%s:%d:%08x', $self->{name}, $$, rand 2 ** 32;
    $self->{ticket} = int(time() * 1000) * 1000;
    $self->{again} = {};

    $self->{bell}->send(map { ['SSUBSCRIBE', $_] } @{ $self->{bells} });
}


# the shards to take from: where a bell rang or something was left, all when
# nothing was said for so long

sub rung {
    my ($self, $seconds) = @_;

    my $end = time() + $seconds;

    for (;;) {
        while ($self->{bell}->readable(0)) {
            my $push = $self->{bell}->reply();

            die "SSUBSCRIBE: $push\n" if TB::Resp::is_error($push);

            $self->{again}{$1} = 1 if $push->[1] =~ /^(.*:)bell:/;
        }

        my @shards = sort keys %{ $self->{again} };

        return @shards if @shards;
        return if time() >= $end;

        $self->{bell}->readable($end - time());
    }
}


sub pop {
    my ($self, $seconds) = @_;

    my @shards = $self->rung($seconds) or return;
    my @replies = $self->{redis}->pipeline(map {
        ['FCALL', 'tb_rpc_take', 1, $_ . "queue:$self->{name}",
         $self->{claimer}, ++$self->{ticket}, 256]
    } @shards);
    my @calls;

    for my $shard (@shards) {
        my ($left, @envelopes) = @{ $self->taken(shift @replies) };

        delete $self->{again}{$shard} if !$left;
        push @calls, map { $self->parse($_) } @envelopes;
    }

    return @calls;
}


sub taken {
    my ($self, $reply) = @_;

    die "tb_rpc_take: $reply\n" if TB::Resp::is_error($reply);

    return $reply;
}


sub parse {
    my ($self, $envelope) = @_;

    my ($id, $rpc, $device) = $envelope =~
        /^\{"requestId":(\d+),"rpcId":"([^"]+)","deviceId":"([^"]+)"/
        or die "what an envelope: $envelope\n";
    my ($params) = $envelope =~ /"params":(.*),"oneway":/s;
    my ($oneway) = $envelope =~ /,"oneway":(true|false),/;
    my ($attempt) = $envelope =~ /"attempt":(\d+)/;
    my ($method) = $envelope =~ /"method":"([^"]*)"/;

    return { requestId => $id, rpcId => $rpc, params => $params,
             oneway => $oneway eq 'true', attempt => $attempt,
             method => $method, deviceId => $device,
             key => TB::Bridge::key('device', $device, $self->{shards}) };
}


sub take {
    my ($self, $n, $seconds) = @_;

    my $end = time() + scaled($seconds || 5);
    my @calls;

    push @calls, $self->pop('0.1') while @calls < $n && time() < $end;

    return @calls;
}


sub answer {
    my ($self, @calls) = @_;

    return $self->{redis}->pipeline(map {
        ['FCALL', $_->{oneway} ? 'tb_rpc_delivered' : 'tb_rpc_respond', 1,
         $_->{key}, $_->{requestId},
         $_->{oneway} ? $_->{attempt} : $_->{params}]
    } @calls);
}


sub start {
    my ($class, %opt) = @_;

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid) {
        my $self = bless { pid => $pid, owner => $$ }, $class;

        $running{$pid} = $self;
        return $self;
    }

    $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD);
    $SIG{PIPE} = 'IGNORE';
    $0 = 'fast bridge';

    my $parent = getppid();

    while (getppid() == $parent) {
        eval {
            my $self = $class->new(%opt);

            while (getppid() == $parent) {
                my @calls = $self->pop('0.5') or next;

                $self->answer(@calls);
            }
        };

        print STDERR "fast bridge: $@" if $@ && $ENV{TB_VERBOSE};
        select undef, undef, undef, 0.02;
    }

    POSIX::_exit(0);
}


sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid};

    return if !$pid || $self->{owner} != $$;

    delete $running{$pid};
    kill 'KILL', $pid;
    waitpid $pid, 0;
}


END {
    local $?;

    $_->stop() for values %running;
}


1;
