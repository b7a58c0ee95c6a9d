package TB::RedisCluster;

# A TB::RedisServer that is a cluster of so many masters, for tests that know
# nothing of it: TB::Fixture takes it with TB_REDIS_CLUSTER, and nginx' one
# server becomes all of these.
#
#     my $redis = TB::RedisCluster->start(masters => 3, args => [...]);
#
# {port} is that of the first one; {cluster} is the TB::Cluster.

use strict;
use warnings;

use File::Path qw(remove_tree);

use TB::Cluster;
use TB::RedisServer;
use TB::Resp;

our @ISA = ('TB::RedisServer');

my %by_port;


sub start {
    my ($class, %opt) = @_;

    my $self = bless { library => 1, %opt }, $class;

    $self->{cluster} = TB::Cluster->new(masters => $opt{masters},
                                        library => $self->{library},
                                        args => $opt{args} || []);
    @$self{qw(port path dir)} = @{ $self->{cluster}->node(0) }{qw(port path
                                                                  dir)};
    $by_port{$self->{port}} = $self;

    return $self;
}


sub masters { return $_[0]{masters} }
sub nodes { return @{ $_[0]{cluster}{nodes} } }


# what nginx is to write into its block instead of the server of this port;
# nothing if it is not a cluster

sub server_lines {
    my ($port) = @_;

    my $self = $by_port{$port} or return;

    return join "\n", (map { "server $_;" } $self->{cluster}->urls()),
                      'cluster on;';
}


sub go {
    my ($self) = @_;

    $_->go() for grep { !$_->{pid} } $self->nodes();
    undef $self->{client};
    $self->{cluster}->wait_ok(60);
    $self->load_library() if $self->{library};
}


sub stop {
    my ($self) = @_;

    $_->stop() for $self->nodes();
    undef $self->{client};
}


sub wipe { $_->wipe() for $_[0]->nodes() }
sub pause { $_->pause() for $_[0]->nodes() }
sub resume { $_->resume() for $_[0]->nodes() }
sub log { return join '', map { $_->log() } $_[0]->nodes() }


sub access {
    my ($self, $user) = @_;

    my %access = $self->SUPER::access($user);

    $access{ports} = [ map { $_->{port} } $self->nodes() ];
    delete $access{port};

    return %access;
}


1;
