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
#     my @calls = $bridge->take(1000, 5);         popped, within 5 seconds
#     my @mine = $bridge->claim(@calls);          those that may be sent
#     $bridge->answer(@mine);                     with their params; what
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

    my $self = bless { name => 'b1', shards => 16, %opt }, $class;

    $self->{queues} = [ map { "tb:{s$_}:queue:$self->{name}" }
                        0 .. $self->{shards} - 1 ];
    $self->reconnect();

    return $self;
}


sub reconnect {
    my ($self) = @_;

    $self->{redis} = TB::Resp->connect(%{ $self->{connect} })
        or die "no Redis\n";
}


sub pop {
    my ($self, $seconds) = @_;

    my $queues = $self->{queues};
    my $reply = $self->{redis}->command('BLMPOP', $seconds, scalar @$queues,
                                        @$queues, 'LEFT', 'COUNT', 256);

    push @$queues, shift @$queues;

    die "BLMPOP: $reply\n" if TB::Resp::is_error($reply);

    return $reply ? map { $self->parse($_) } @{ $reply->[1] } : ();
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


sub claim {
    my ($self, @calls) = @_;

    my @claims = $self->{redis}->pipeline(map {
        ['FCALL', 'tb_rpc_sent', 1, $_->{key}, $_->{requestId}, $_->{attempt},
         "$self->{name}/$$"]
    } @calls);

    for (grep { TB::Resp::is_error($_) } @claims) {
        die "tb_rpc_sent: $_\n";
    }

    return map { $claims[$_] == 1 ? $calls[$_] : () } 0 .. $#calls;
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

                @calls = $self->claim(@calls);
                $self->answer(@calls) if @calls;
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
