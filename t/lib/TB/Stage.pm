package TB::Stage;

# What TB::Faults happen to: Redis, an nginx on it, devices, and bridges that
# answer at once.
#
#     my $stage = TB::Stage::Cluster->new(net => $net, masters => 3,
#                                         replicas => 2);     a TB::Cluster's
#     my $stage = TB::Stage::Sentinel->new();     a master, two replicas, three
#                                                 Sentinels
#     $stage->mode('wait');       starts nginx: "wait 1"; wait2: "wait 2"; min:
#                                 Redis has min-replicas-to-write 1
#     $stage->{nginx}
#     $stage->{devices}           their names
#     $stage->masters();          these by the master that they are on
#     $stage->{logs}              what the bridges took
#     $stage->follower();         a TB::Follower: a key in each device's slot
#     $stage->settled();          all of Redis agrees
#
# As many devices as PER_MASTER are on each master of a cluster, four with
# Sentinels.

use strict;
use warnings;

use TB::Bridge;
use TB::Cluster;
use TB::ClusterBridge;
use TB::Env qw(scratch wait_for);
use TB::Fixture;
use TB::Follower;
use TB::Nginx;
use TB::RedisServer;
use TB::Sentinel;

my $admin = $TB::RedisServer::PASSWORD{admin};

# longer than a failover takes; the rest is there to find out
my %redis = (wait => 'wait 1 1s; command_timeout 10s;',
             wait2 => 'wait 2 1s; command_timeout 10s;',
             min => 'command_timeout 10s;');


# devices of both must not have the same names

sub name { return join '', @_ }


sub uuid { return sprintf 'de000000-0000-11ee-8000-%012x', $_[0] }


sub nginx {
    my ($mode, $server, @lines) = @_;

    return TB::Nginx->start(workers => 2, redis_server => $server,
                            redis => join "\n", $redis{$mode}, @lines);
}


# for how many replicas

sub waits {
    my ($self) = @_;

    my %waits = (wait => 1, wait2 => 2);

    return $waits{$self->{mode}} || 0;
}


sub ready {
    my ($self) = @_;

    for my $name (@{ $self->{devices} }) {
        my $answer;

        wait_for {
            $answer = $self->{nginx}->call($name, 'echo', '[1]',
                                           timeout => 2000);
            $answer->{body} eq '[1]';
        } 30 or die "no answer of $name: $answer->{what}\n"
                    . substr $self->{nginx}->error_log(), -3000;
    }
}


sub mode {
    my ($self, $mode) = @_;

    $self->{nginx}->stop() if $self->{nginx};
    $self->{mode} = $mode;
    $_->call('CONFIG', 'SET', 'min-replicas-to-write', $mode eq 'min' ? 1 : 0)
        for $self->servers();
    $self->{nginx} = nginx($mode, $self->{first}, @{ $self->{lines} });
    $self->ready();
}


# --- a cluster --------------------------------------------------------------

package TB::Stage::Cluster;

our @ISA = ('TB::Stage');

use constant PER_MASTER => 3;


sub new {
    my ($class, %opt) = @_;

    my $cluster = TB::Cluster->new(masters => 3, replicas => 2, %opt);
    my $masters = $cluster->{masters};
    my $self = bless { cluster => $cluster, net => $opt{net},
                       first => $cluster->url(0), devices => [],
                       logs => [], keys => {} }, $class;
    my @shards;

    $self->{lines} = [ (map { 'server ' . $cluster->url($_) . ';' } 1, 2),
                       'cluster on;' ];

    for (my $n = 1; @{ $self->{devices} } < $masters * PER_MASTER; $n++) {
        my $id = TB::Stage::uuid($n);
        my $shard = TB::Bridge::shard($id, 128);
        my $master = $cluster->master_of_shard($shard);

        next if grep { $_ == $shard } @{ $shards[$master] || [] }
                or @{ $shards[$master] || [] } == PER_MASTER;

        my $name = TB::Stage::name('c', scalar @{ $self->{devices} });

        TB::Fixture::set_macro($name => $id);
        push @{ $shards[$master] }, $shard;
        push @{ $self->{devices} }, $name;
        $self->{shard}{$name} = $shard;
        $self->{keys}{$name} = TB::Bridge::prefix($shard) . 'plain';
        $cluster->call($master, 'FCALL', 'tb_rpc_device_put', 1,
                       TB::Bridge::key('device', $id),
                       TB::Fixture::macro('tenant'), '', 'name', $name,
                       'bridge', 'b1');
    }

    for my $master (0 .. $masters - 1) {
        my $log = TB::Env::scratch() . "/taken.$master";

        push @{ $self->{logs} }, $log;
        push @{ $self->{bridges} }, TB::ClusterBridge->start(
            cluster => $cluster, shards => $shards[$master], log => $log);
    }

    return $self;
}


sub servers {
    my ($self) = @_;

    return map { $self->{cluster}->node($_) } $self->{cluster}->running();
}


# devices by their masters, as these are now

sub masters {
    my ($self) = @_;

    my %of;

    for my $name (@{ $self->{devices} }) {
        my $master = $self->{cluster}->master_of_shard($self->{shard}{$name});

        push @{ $of{$master} }, $name;
    }

    return \%of;
}


sub follower {
    my ($self) = @_;

    my $cluster = $self->{cluster};

    return TB::Follower->start(
        wait => $self->waits(), password => $admin,
        keys => [ map { $self->{keys}{$_} } @{ $self->{devices} } ],
        seeds => [ map { { host => $cluster->addr($_),
                           port => $cluster->port($_) } }
                   $cluster->running() ]);
}


sub settled { $_[0]{cluster}->wait_ok(60) }


# --- Sentinels --------------------------------------------------------------

package TB::Stage::Sentinel;

our @ISA = ('TB::Stage');


sub new {
    my ($class) = @_;

    my @redis = map {
        TB::RedisServer->start(library => $_ == 0,
                               args => ['--masterauth', $admin])
    } 0 .. 2;
    my $self = bless { redis => \@redis, devices => [], logs => [],
                       keys => {} }, $class;

    for my $n (0 .. 3) {
        my ($name, $id) = (TB::Stage::name('s', $n), TB::Stage::uuid($n));

        TB::Fixture::set_macro($name => $id);
        push @{ $self->{devices} }, $name;
        $self->{keys}{$name} = "plain:$n";
        $redis[0]->fcall('tb_rpc_device_put', $redis[0]->device_key($id),
                         TB::Fixture::macro('tenant'), '', 'name', $name,
                         'bridge', 'b1');
    }

    $_->call('REPLICAOF', '127.0.0.1', $redis[0]{port}) for @redis[1, 2];

    $self->{sentinel} = [ map { TB::Sentinel->start(master => $redis[0],
                                                quorum => 2) } 0 .. 2 ];
    $self->{first} = "redis://127.0.0.1:$self->{sentinel}[0]{port}";
    $self->{lines} = [ (map { "server redis://127.0.0.1:$_->{port};" }
                        @{ $self->{sentinel} }[1, 2]), 'sentinel main;' ];

    my $log = TB::Env::scratch() . '/taken.s';

    $self->{logs} = [$log];
    $self->{bridge} = TB::ClusterBridge->start(
        sentinels => $self->{sentinel}, redis => $redis[0], log => $log,
        shards => [ map { TB::Bridge::shard(TB::Fixture::macro($_), 128) }
                    @{ $self->{devices} } ]);
    $self->settled();

    return $self;
}


# who gets another role closes our connections

sub servers {
    my ($self) = @_;

    my @servers = grep { $_->{pid} } @{ $self->{redis} };

    undef $_->{client} for @servers;

    return @servers;
}


sub masters { return { all => $_[0]{devices} } }


sub master {
    my ($self) = @_;

    my $port = $self->{sentinel}[0]->call('SENTINEL',
                                          'GET-MASTER-ADDR-BY-NAME',
                                          'main')->[1];

    return (grep { $_->{port} == $port } $self->servers())[0];
}


sub follower {
    my ($self) = @_;

    return TB::Follower->start(
        wait => $self->waits(), password => $admin, sentinel => 'main',
        keys => [ values %{ $self->{keys} } ],
        seeds => [ map { { host => '127.0.0.1', port => $_->{port} } }
                   @{ $self->{sentinel} } ]);
}


# the Sentinels agree, know each other and all replicas

sub settled {
    my ($self) = @_;

    TB::Env::wait_for {
        my $master = $self->master() or return 0;

        for my $s (@{ $self->{sentinel} }) {
            my $addr = $s->call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main');
            my %is = @{ $s->call('SENTINEL', 'MASTER', 'main') };

            return 0 if $addr->[1] != $master->{port}
                        || $is{flags} ne 'master' || $s->replicas() != 2
                        || $is{'num-other-sentinels'} != 2;
        }

        1;
    } 120 or die "the Sentinels don't agree\n";
}


1;
