#!/usr/bin/perl

# A bridge that starts on a cluster where not all is well: seeds that are mute,
# a user that may not ask for CLUSTER INFO, and a master that hangs with the
# hash of the devices that are behind gateways.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use IO::Socket::INET;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Cluster;
use TB::ClusterKeys;
use TB::Env qw(scaled wait_for);
use TB::Mqtt qw(spawn reap text_of counter);
use TB::RedisServer;

my $cluster = TB::Cluster->new(masters => 4);
my @master = map { $cluster->master_of_shard($_) } 0 .. 127;
my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);

$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
$mqtt->broker();


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), '--name', $name,
                    '--redis-user', 'bridge', '--redis-password-file',
                    $mqtt->{password}, '--broker',
                    "mqtt://127.0.0.1:$mqtt->{port}", '--log-level', 'debug',
                    '--redis-cluster', @more);

    wait_for { text_of("$name.log") =~ /mqtt: connected/ } 20
        or diag(text_of("$name.log"));

    return $pid;
}


# --- seeds ------------------------------------------------------------------

my @mute = map { IO::Socket::INET->new(Listen => 8, LocalAddr => '127.0.0.1')
                 or die "listen: $!\n" } 1 .. 5;
my $start = time();
my $pid = start('seeds', '--static', map { ('--redis', $_) }
                (map { 'redis://127.0.0.1:' . $_->sockport() } @mute),
                $cluster->url(1));

# each for 200 ms, and not until its connection ends, which is after 5 s

cmp_ok(time() - $start, '<', scaled(12), 'five seeds accept and say nothing:'
                                         . ' the sixth is asked soon');
is(reap($pid, 'TERM'), 0, 'it ends');


# --- rights -----------------------------------------------------------------

$cluster->call($_, qw(ACL SETUSER bridge -cluster|info)) for 0 .. 3;
$pid = start('rights', '--static', '--redis', $cluster->url(1));

my $line = qr{\[warn\] redis \S+: CLUSTER INFO refused, so a node that was cut}
           . qr{ off is believed: allow \+cluster\|info on every node: };

ok(wait_for { text_of('rights.log') =~ $line }, 'no CLUSTER INFO: a line');
sleep 2;
is(() = text_of('rights.log') =~ /CLUSTER INFO refused/g, 1, 'one');
is(reap($pid, 'TERM'), 0, 'it ends');
$cluster->call($_, qw(ACL SETUSER bridge +cluster|info)) for 0 .. 3;


# --- gateways ---------------------------------------------------------------

my $n = 0;
my @device;

# all elsewhere than the hash

while (@device < 4) {
    my $id = sprintf 'dd000000-0000-11ee-8000-%012x', ++$n;

    next if $master[TB::Bridge::shard($id)] == $master[0];

    $redis->fcall('tb_rpc_device_put', TB::RedisServer->device_key($id),
                  $TB::Mqtt::TENANT, '');
    push @device, $id;
}

my $names = TB::Env::file_in('names.csv', join '', map { "D$_,$device[$_]\n" }
                                          0 .. 3);
my @gateway = ('--gateway', '--gateway-topic', 'gateways/{gateway}/v1',
               '--devices', $names, '--session-ttl', 60000, '--redis',
               $cluster->url(($master[0] + 1) % 4));

sub says {
    my ($gateway, $what, $device) = @_;

    $mqtt->publish("gateways/$gateway/v1/$what", "{\"device\":\"$device\"}");
}

$pid = start('gw', @gateway);
says('g1', 'connect', 'D0');
says('g1', 'connect', 'D1');
says('g2', 'connect', 'D2');
ok($mqtt->attached($_, 'gw'), 'a device behind a gateway') for @device[0 .. 2];
is(reap($pid, 'TERM'), 0, 'the bridge ends');

# the library: a connection to any other node knows of the masters

$cluster->stop($master[0]);
$pid = start('gw', @gateway);
wait_for { (() = text_of('gw.log') =~ /mqtt: connected/g) == 2 };
says('g1', 'disconnect', 'D0');
says('g2', 'disconnect', 'D1');
says('g2', 'connect', 'D3');

# the broker goes and comes while nobody knows who is behind which gateway

wait_for { counter('gw', $pid, 'waiting') >= 3 };
reap($mqtt->{broker}, 'KILL');
$mqtt->broker();
wait_for { (() = text_of('gw.log') =~ /mqtt: connected/g) == 3 };
$cluster->cont($master[0]);
ok($mqtt->attached($device[0], ''),
   'one that disconnects before the hash is read is not restored');
ok($mqtt->attached($_, 'gw'), 'the others are') for @device[1 .. 3];
is(counter('gw', $pid, 'devices'), 3, 'so many');

my %hash = @{ $redis->call('HGETALL', 'tb:{s000}:gateway:gw') };

is(join(' ', sort keys %hash), join(' ', sort @device[1 .. 3]),
   'and so does the hash say');
is(reap($pid, 'TERM'), 0, 'it ends');

done_testing();
