package TB::ClusterBridge;

# A bridge on a Redis Cluster, in a process of its own: every call is answered
# with its params at once.  It follows the slots, and says each thing to Redis
# until that has heard it.
#
#     my $bridge = TB::ClusterBridge->start(cluster => $cluster,
#                                           shards => [3, 17]);
#     $bridge->stop();
#
# shards: those that it takes from.  log: a file that gets a line for each call
# that it took: "<rpcId> <attempt>".

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time sleep);

use TB::Bridge;
use TB::Cluster;
use TB::FastBridge;
use TB::Resp;

our @ISA = ('TB::FastBridge');

my %running;


sub start {
    my ($class, %opt) = @_;

    my $cluster = delete $opt{cluster};
    my @seeds = map { { $cluster->node($_)->access('bridge') } }
                $cluster->running();
    my $pid = fork() // die "fork: $!\n";

    if ($pid) {
        return $running{$pid} = bless { pid => $pid, owner => $$ }, $class;
    }

    $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD);
    $SIG{PIPE} = 'IGNORE';
    $0 = 'cluster bridge';

    my $self = bless { name => 'b1', shards => [], %opt, seeds => \@seeds,
                       claimer => sprintf('b1:%d:%08x', $$, rand 2 ** 32),
                       ticket => int(time() * 1000) * 1000, say => [],
                       conns => {}, ports => {} }, $class;
    my $parent = getppid();

    $self->turn() while getppid() == $parent;

    POSIX::_exit(0);
}


sub turn {
    my ($self) = @_;

    my @argv = map {
        ['FCALL', 'tb_rpc_take', 1, TB::Bridge::prefix($_)
         . "queue:$self->{name}", $self->{claimer}, ++$self->{ticket}, 256]
    } @{ $self->{shards} };
    my @calls;

    for my $reply ($self->ask(@argv)) {
        next if !ref $reply || TB::Resp::is_error($reply);

        my (undef, @envelopes) = @$reply;

        push @calls, map { $self->parse($_) } @envelopes;
    }

    for my $call (@calls) {
        push @{ $self->{say} },
            ['FCALL', $call->{oneway} ? 'tb_rpc_delivered' : 'tb_rpc_respond',
             1, TB::Bridge::key('device', $call->{deviceId}, 128),
             $call->{requestId},
             $call->{oneway} ? $call->{attempt} : $call->{params}];
        $self->note($call);
    }

    my @say = @{ $self->{say} };
    my @replies = $self->ask(@say);

    # an error of the call itself is final

    $self->{say} = [ map { $say[$_] } grep {
        !defined $replies[$_]
        || TB::Resp::is_error($replies[$_])
           && $replies[$_] =~ /^(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN|LOADING
                                 |READONLY|NOREPLICAS|MASTERDOWN
                                 |ERR[ ]Function[ ]not[ ]found)/x
    } 0 .. $#say ];

    sleep(@calls ? 0.001 : 0.01);
}


sub note {
    my ($self, $call) = @_;

    return if !defined $self->{log};

    open my $fh, '>>', $self->{log} or die "$self->{log}: $!\n";
    syswrite $fh, "$call->{rpcId} $call->{attempt}\n";
    close $fh;
}


# the replies, or undef where there is none

sub ask {
    my ($self, @argv) = @_;

    my (%of, @replies);

    for my $i (0 .. $#argv) {
        my $port = $self->{ports}{TB::Cluster::slot($argv[$i][3])};

        push @{ $of{$port} }, $i if $port;
    }

    my $lost = grep { !$self->{ports}{TB::Cluster::slot($_->[3])} } @argv;

    for my $port (sort keys %of) {
        my @i = @{ $of{$port} };
        my $conn = $self->{conns}{$port} ||= $self->conn($port);
        my @got = $conn ? eval {
            local $SIG{ALRM} = sub { die "no reply\n" };
            alarm 1;
            my @all = $conn->pipeline(map { $argv[$_] } @i);
            alarm 0;
            @all;
        } : ();

        alarm 0;

        if (@got != @i) {
            delete $self->{conns}{$port};
            $lost++;
            next;
        }

        @replies[@i] = @got;
        $lost += grep { TB::Resp::is_error($_) && /^(?:MOVED|CLUSTERDOWN)/ }
                 @got;
    }

    $self->look() if $lost;

    return @replies[0 .. $#argv];
}


sub conn {
    my ($self, $port) = @_;

    return eval {
        TB::Resp->connect(%{ $self->{seeds}[0] }, port => $port);
    };
}


# who has which slot

sub look {
    my ($self) = @_;

    my @ports = (keys %{ $self->{conns} }, map { $_->{port} }
                 @{ $self->{seeds} });

    push @ports, splice @ports, 0, int rand @ports;

    for my $port (@ports) {
        my $slots = eval {
            local $SIG{ALRM} = sub { die "no reply\n" };
            alarm 1;
            my $all = $self->conn($port)->call('CLUSTER', 'SLOTS');
            alarm 0;
            $all;
        };

        alarm 0;
        next if !$slots || !@$slots;

        my %ports;

        for my $range (@$slots) {
            @ports{$range->[0] .. $range->[1]}
                = ($range->[2][1]) x ($range->[1] - $range->[0] + 1);
        }

        $self->{ports} = \%ports;
        return;
    }
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
