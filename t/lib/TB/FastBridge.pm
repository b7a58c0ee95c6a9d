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
#     my @calls = $bridge->hold(1000, 5);         and acknowledged: of a device
#                                                 no more than 16 go without
#     $bridge->answer(@calls);                    with their params; what
#                                                 tb_rpc_respond returned

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Env qw(scaled);
use TB::Resp;
use TB::Started;
use TB::Taker;

our @ISA = ('TB::Taker', 'TB::Started');


sub new {
    my ($class, %opt) = @_;

    my $self = bless { name => 'b1', shards => 128, %opt }, $class;

    $self->listen();

    return $self;
}


sub reconnect { $_[0]->listen() }


sub pop {
    my ($self, $seconds) = @_;

    my @shards = $self->rung($seconds) or return;

    return map { $self->parse($_) } $self->envelopes_of(@shards);
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

    my $end = time() + scaled($seconds || 20);
    my @calls;

    push @calls, $self->pop('0.1') while @calls < $n && time() < $end;

    return @calls;
}


sub hold {
    my ($self, $n, $seconds) = @_;

    my $end = time() + scaled($seconds || 20);
    my @calls;

    while (@calls < $n && time() < $end) {
        my @more = $self->pop('0.1');

        push @calls, @more;
        $self->{redis}->pipeline(map {
            ['FCALL', 'tb_rpc_delivered', 1, $_->{key}, $_->{requestId},
             $_->{attempt}]
        } @more) if @more;
    }

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

    return $class->started($pid) if $pid;

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


1;
