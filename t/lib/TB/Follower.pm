package TB::Follower;

# Plain clients of Redis that do nothing but write, each to a slot of its own,
# and follow its master as fast as one can: what nginx is compared with.
#
#     my $follower = TB::Follower->start(
#         keys => ['tb:{s001}:x', ...],       a process for each
#         seeds => [{ host, port }, ...],     nodes of a cluster, or Sentinels
#         password => ..., sentinel => 'main', sentinel_password => ...,
#         wait => 1);                         a write counts when so many replicas have it
#     my %times = $follower->stop();          key => [ times of writes that did ]
#
# A write that has no reply within 200 ms is given up with its connection; then,
# and at any error, all seeds are asked until one knows better.

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

use TB::Cluster;
use TB::Env qw(file_in scratch);
use TB::Resp;

my $PATIENCE = 0.2;
my $PAUSE = 0.02;
my $ASK = 0.2;          # a Sentinel is asked as often, the old master says nothing

my $started = 0;


sub start {
    my ($class, %opt) = @_;

    my $self = bless { %opt, owner => $$, pids => [],
                       dir => 'follower' . $started++ }, $class;

    file_in("$self->{dir}/x", '');

    for my $n (0 .. $#{ $self->{keys} }) {
        my $pid = fork() // die "fork: $!\n";

        if ($pid == 0) {
            $SIG{$_} = 'DEFAULT' for qw(TERM INT CHLD);
            $SIG{PIPE} = 'IGNORE';
            $self->follow($n, getppid());
            POSIX::_exit(0);
        }

        push @{ $self->{pids} }, $pid;
    }

    return $self;
}


sub stop {
    my ($self) = @_;

    my %times;

    file_in("$self->{dir}/stop", '');

    for my $n (0 .. $#{ $self->{keys} }) {
        waitpid $self->{pids}[$n], 0;
        open my $fh, '<', scratch() . "/$self->{dir}/$n" or next;
        $times{$self->{keys}[$n]} = JSON::PP::decode_json(<$fh>);
    }

    $self->{pids} = [];

    return %times;
}


sub follow {
    my ($self, $n, $parent) = @_;

    my $stop = scratch() . "/$self->{dir}/stop";
    my @times;

    $self->{key} = $self->{keys}[$n];
    $self->{slot} = TB::Cluster::slot($self->{key});
    $self->{conns} = {};

    while (!-e $stop && getppid() == $parent) {
        if ($self->put()) {
            push @times, time();
            sleep $PAUSE;

        } else {
            sleep 0.01;
        }
    }

    file_in("$self->{dir}/$n", JSON::PP::encode_json(\@times));
}


# its reply, or nothing and the connection has gone

sub patiently {
    my ($self, $addr, @commands) = @_;

    my @replies = eval {
        local $SIG{ALRM} = sub { die "no reply\n" };

        Time::HiRes::alarm($PATIENCE + ($self->{wait} ? 1 : 0));

        my ($host, $port) = split /:/, $addr;
        my $sentinel = $commands[0][0] eq 'SENTINEL';
        my $conn = $self->{conns}{$addr} ||= TB::Resp->connect(
            host => $host, port => $port,
            password => $sentinel ? $self->{sentinel_password}
                                  : $self->{password}) || die "refused\n";
        my @got = $conn->pipeline(@commands);

        Time::HiRes::alarm(0);
        @got;
    };

    Time::HiRes::alarm(0);
    delete $self->{conns}{$addr} if !@replies;

    return @replies;
}


sub put {
    my ($self) = @_;

    $self->look() if !$self->{addr}
                     || $self->{sentinel} && time() - $self->{asked} > $ASK;

    my $addr = $self->{addr} or return 0;
    my @write = ['SET', $self->{key}, ++$self->{n}];

    push @write, ['WAIT', $self->{wait}, 1000] if $self->{wait};

    for (1 .. 3) {
        my @replies = $self->patiently($addr, @write);
        my $reply = $write[0][0] eq 'ASKING' ? $replies[1] : $replies[0];

        if (!defined $reply) {
            delete $self->{addr};
            return 0;
        }

        return !$self->{wait} || $replies[-1] >= $self->{wait}
            if $reply eq 'OK';

        if ($reply =~ /^(MOVED|ASK) \d+ (\S+)/) {
            $addr = $2;
            $self->{addr} = $addr if $1 eq 'MOVED';
            @write = (['ASKING'], @write) if $1 eq 'ASK';
            next;
        }

        delete $self->{addr};
        return 0;
    }

    return 0;
}


# who has it

sub look {
    my ($self) = @_;

    my @seeds = map { "$_->{host}:$_->{port}" } @{ $self->{seeds} };

    push @seeds, splice @seeds, 0, int rand @seeds;

    $self->{asked} = time();

    for my $seed (@seeds) {
        local $self->{wait} = 0;

        if ($self->{sentinel}) {
            my ($reply) = $self->patiently($seed, [
                'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', $self->{sentinel} ]);

            next if ref $reply ne 'ARRAY';
            $self->{addr} = join ':', @$reply;
            return;
        }

        my ($reply) = $self->patiently($seed, ['CLUSTER', 'SLOTS']);

        for (ref $reply eq 'ARRAY' ? @$reply : ()) {
            my ($first, $last, $master) = @$_;

            next if $self->{slot} < $first || $self->{slot} > $last;
            $self->{addr} = "$master->[0]:$master->[1]";
            return;
        }
    }
}


1;
