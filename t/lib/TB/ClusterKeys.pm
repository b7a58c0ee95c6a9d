package TB::ClusterKeys;

# What tests of a bridge do with a Redis, for a TB::Cluster: a command goes to
# the node that has its key, and had it the first time.
#
#     my $redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);
#
#     $redis->call('HGET', $key, 'field');  $redis->fcall('tb_rpc_...', $key);
#     $redis->{at}{$slot}             the number of its node, once it was asked

use strict;
use warnings;

use TB::Cluster;


sub new { return bless { cluster => $_[1], at => {} }, $_[0] }


sub key {
    my ($self, @argv) = @_;

    return $argv[0] eq 'FCALL' ? $argv[3] : $argv[1];
}


sub call {
    my ($self, @argv) = @_;

    my $key = $self->key(@argv);
    my $node = $self->{at}{TB::Cluster::slot($key)}
               //= $self->{cluster}->master_of($key);

    return $self->{cluster}->node($node)->call(@argv);
}


sub fcall {
    my ($self, $function, $key, @args) = @_;

    return $self->call('FCALL', $function, 1, $key, @args);
}


1;
