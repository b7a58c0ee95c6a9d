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
# that it took: "<rpcId> <attempt>".  Instead of cluster: sentinels, a list of
# TB::Sentinel, which are asked all the time, since who was the master does not
# say that it is none.

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time sleep);

use TB::Bridge;
use TB::Cluster;
use TB::FastBridge;
use TB::Resp;

our @ISA = ('TB::FastBridge');


sub start {
    my ($class, %opt) = @_;

    my $cluster = delete $opt{cluster};
    my @seeds = map { { $_->access('bridge') } }
                $cluster ? map { $cluster->node($_) } $cluster->running()
                         : $opt{redis};
    my $pid = fork() // die "fork: $!\n";

    return $class->started($pid) if $pid;

    $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD);
    $SIG{PIPE} = 'IGNORE';
    $0 = 'cluster bridge';

    my $self = bless { name => 'b1', shards => [], %opt, seeds => \@seeds,
                       claimer => sprintf('b1:%d:%08x', $$, rand 2 ** 32),
                       ticket => int(time() * 1000) * 1000, say => [],
                       conns => {}, addrs => {} }, $class;
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

    $self->look() if $self->{sentinels}
                     && time() - ($self->{looked} // 0) > 0.2;

    my (%of, @replies);

    for my $i (0 .. $#argv) {
        my $addr = $self->{addrs}{TB::Cluster::slot($argv[$i][3])};

        push @{ $of{$addr} }, $i if $addr;
    }

    my $lost = grep { !$self->{addrs}{TB::Cluster::slot($_->[3])} } @argv;

    for my $addr (sort keys %of) {
        my @i = @{ $of{$addr} };
        my $conn = $self->{conns}{$addr} ||= $self->conn($addr);
        my @got = $conn ? eval {
            local $SIG{ALRM} = sub { die "no reply\n" };
            alarm 1;
            my @all = $conn->pipeline(map { $argv[$_] } @i);
            alarm 0;
            @all;
        } : ();

        alarm 0;

        if (@got != @i) {
            delete $self->{conns}{$addr};
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
    my ($self, $addr) = @_;

    my ($host, $port) = split /:/, $addr;
    my $conn = eval {
        local $SIG{ALRM} = sub { die "no connection\n" };
        alarm 1;
        my $new = TB::Resp->connect(%{ $self->{seeds}[0] }, host => $host,
                                    port => $port);
        alarm 0;
        $new;
    };

    alarm 0;

    return $conn;
}


# who has which slot

sub look {
    my ($self) = @_;

    return $self->look_at_sentinels() if $self->{sentinels};

    my @addrs = (keys %{ $self->{conns} },
                 map { ($_->{host} || '127.0.0.1') . ":$_->{port}" }
                 @{ $self->{seeds} });

    push @addrs, splice @addrs, 0, int rand @addrs;

    for my $addr (@addrs) {
        my $conn = $self->conn($addr) or next;
        my $slots = eval {
            local $SIG{ALRM} = sub { die "no reply\n" };
            alarm 1;
            my $all = $conn->call('CLUSTER', 'SLOTS');
            alarm 0;
            $all;
        };

        alarm 0;
        next if !$slots || !@$slots;

        my %of;

        for my $range (@$slots) {
            my ($first, $last, $master) = @$range;

            @of{$first .. $last} = ("$master->[0]:$master->[1]")
                                   x ($last - $first + 1);
        }

        $self->{addrs} = \%of;
        return;
    }
}


sub look_at_sentinels {
    my ($self) = @_;

    $self->{looked} = time();

    for my $sentinel (@{ $self->{sentinels} }) {
        my $addr = eval {
            my $conn = TB::Resp->connect(port => $sentinel->{port},
                                         password => $sentinel->{password});

            $conn->call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME',
                        $sentinel->{name});
        } or next;

        $self->{addrs} = { map { $_ => "$addr->[0]:$addr->[1]" }
                           map { TB::Cluster::slot_of_shard($_) }
                           @{ $self->{shards} } };
        return;
    }
}


1;
