#!/usr/bin/perl

# A bridge that starts on a cluster where not all is well: seeds that are mute,
# and a user that may not ask for CLUSTER INFO.
#
# runs: side by side, 15 s

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
                 or die "listen: $!\n" } 1 .. 3;
my $start = time();
my $pid = start('seeds', '--static', map { ('--redis', $_) }
                (map { 'redis://127.0.0.1:' . $_->sockport() } @mute),
                $cluster->url(1));

cmp_ok(time() - $start, '<', scaled(3), 'three seeds accept and say nothing:'
                                        . ' the fourth is asked soon');
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

done_testing();
