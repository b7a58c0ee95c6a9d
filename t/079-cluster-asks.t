# A cluster: whom nginx asks for its slots when a node says nothing any more,
# and how often the log says why commands have to wait.
#
# runs: side by side, 20 s
# not with --redis-tls, --redis-cluster: it has a cluster of its own

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Cluster;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Nginx;

my $cluster = TB::Cluster->new(masters => 3, node_timeout => 60000);
my (@devices, @shards);

# five devices on the first master, each with a shard of its own

for (my $n = 1; @devices < 5; $n++) {
    my $id = sprintf 'de000000-0000-11ee-8000-%012x', $n;
    my $shard = TB::Bridge::shard($id, 128);

    next if $cluster->master_of_shard($shard) != 0
            || grep { $_ == $shard } @shards;

    set_macro('a' . @devices => $id);
    $cluster->call(0, 'FCALL', 'tb_rpc_device_put', 1,
                   TB::Bridge::key('device', $id), macro('tenant'), '',
                   'bridge', 'b1');
    push @devices, 'a' . @devices;
    push @shards, $shard;
}

my $nginx = TB::Nginx->start(redis_server => $cluster->url(0),
                             redis => 'cluster on; command_timeout 20s;');

for my $device (@devices) {
    soon { $nginx->call($device, 'x', '1', persistent => 1)->{status} == 200 }
         "$device is there";
}


# --- who owes a reply -------------------------------------------------------

sub asked {
    my ($i) = @_;

    return $cluster->call($i, 'INFO', 'commandstats')
           =~ /^cmdstat_cluster\|slots:calls=(\d+)/m ? $1 : 0;
}

$cluster->stop(2);

my @before = (asked(0), asked(1));
my $start = time();

soon { asked(0) - $before[0] + asked(1) - $before[1] >= 40 }
     'one is stopped: the others are asked', 60;

my $took = time() - $start;

cmp_ok($took, '<', scaled(16), 'ten times a second, not twice');
diag(sprintf '40 times in %.1f s', $took);
is($nginx->call($_, 'x', '1', persistent => 1)->{status}, 200,
   "one is stopped: $_") for @devices;
$cluster->cont(2);


# --- why they wait ----------------------------------------------------------

sub refused {
    my ($i, $word) = @_;

    return $cluster->call($i, 'INFO', 'errorstats')
           =~ /^errorstat_$word:count=(\d+)/m ? $1 : 0;
}

sub refusal {
    my ($word, $seconds) = @_;

    my $before = refused(0, $word);

    return wait_for { refused(0, $word) > $before } $seconds;
}


# whether the first master has the device's key still

sub is_there {
    my ($device, $shard) = @_;

    my $key = TB::Bridge::key('device', macro($device));

    return grep { $_ eq $key }
                @{ $cluster->call(0, 'CLUSTER', 'GETKEYSINSLOT',
                                  TB::Cluster::slot_of_shard($shard), 1000) };
}


my $refused = 0;

$start = time();

for my $n (0 .. $#devices) {
    my $open;

    $cluster->reshard(0, 1, shards => [$shards[$n]], keys => 1, hook => sub {
        my ($stage) = @_;

        # until it is refused for each reason, ASK once the device's key is away

        if ($stage eq 'migrating') {
            $open = $nginx->open($devices[$n], 'x', '1', persistent => 1);
            $refused++ if refusal('TRYAGAIN', 10);

        } elsif ($stage eq 'moved' && !$open->{asked}
                 && !is_there($devices[$n], $shards[$n]))
        {
            $open->{asked} = refusal('ASK', 10);
            $refused++ if $open->{asked};
        }
    });

    is($open->answer()->{status}, 200, "$devices[$n] moves: 200");
}

$took = time() - $start;
cmp_ok($refused, '>=', 8, 'both reasons, in several slots');

for my $word ('ASK', 'TRYAGAIN') {
    my $lines = $nginx->count_log(qr/can't take a command just now: "$word /);

    cmp_ok($lines, '>', 0, "$word: the log says so");
    cmp_ok($lines, '<=', 1 + int $took / 10, "$word: once in 10 s")
        or diag(sprintf '%d lines in %.1f s', $lines, $took);
}

$nginx->clean();

done_testing();
