# A bridge on a cluster: a published call without an acknowledgement is asked
# for when the broker is back; while its master is away, it holds up no call of
# another one.
#
# runs: side by side, 20 s

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Cluster;
use TB::ClusterKeys;
use TB::Env qw(scaled wait_for);
use TB::Mqtt qw(spawn reap text_of);
use TB::RedisServer;

my $cluster = TB::Cluster->new(masters => 3);
my @master = map { $cluster->master_of_shard($_) } 0 .. 127;
my $mqtt = TB::Mqtt->new();
my @device;


my $redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);

$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
$mqtt->broker();

my $n = 0;

for my $node (0, 1) {
    my $id;

    do { $id = sprintf 'dd000000-0000-11ee-8000-%012x', ++$n }
        until $master[TB::Bridge::shard($id)] == $node;

    push @device, $id;
    $redis->fcall('tb_rpc_device_put', TB::RedisServer->device_key($id),
                  $TB::Mqtt::TENANT, '', 'bridge', 'b');
}

my $pid = spawn('b.log', TB::Mqtt::program(), '--name', 'b',
                '--redis-user', 'bridge',
                '--redis-password-file', $mqtt->{password},
                '--broker', "mqtt://127.0.0.1:$mqtt->{port}",
                '--log-level', 'debug', '--static', '--redis-cluster',
                '--redis', $cluster->url(1));

sub soon_in {
    my ($file, $pattern, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok(&wait_for(sub { text_of($file) =~ $pattern }, 60), $what)
        or diag substr text_of('b.log'), -1500;
}

soon_in('b.log', qr/mqtt: connected/, 'the bridge is there');
kill 'STOP', $mqtt->{broker};

my (undef, $first) = $mqtt->call($device[0], '"m"', 1);

soon_in('b.log', qr/request $first to/, 'a call is published');
$cluster->kill(0);
reap($mqtt->{broker}, 'KILL');
$mqtt->broker();
$mqtt->subscribe('calls', 'v1/devices/+/rpc/request/+');
soon_in('b.log', qr/mqtt: connected.*mqtt: connected/s,
        'the broker is another one, and the master away');

my $start = time();
my (undef, $other) = $mqtt->call($device[1], '"m"', 1);

soon_in('calls', qr{\Q$device[1]\E/rpc/request/$other},
        'a call by another master comes');
cmp_ok(time() - $start, '<', scaled(5), 'at once');
$cluster->start(0);
soon_in('calls', qr{\Q$device[0]\E/rpc/request/$first},
        'and the first one when its master is back');
reap($pid, 'TERM', 8);

done_testing();
