#!/usr/bin/perl

# From HTTP to MQTT and back with a Redis Cluster between them, while slots move
# and masters change: nginx and the bridge see that at moments of their own.
#
# runs: side by side, 40 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Cluster;
use TB::Env qw(scaled scratch wait_for);
use TB::Fixture;
use TB::Load;
use TB::Mqtt qw(spawn reap text_of counter);
use TB::MqttDevices;
use TB::Nginx;

my $mqtt = TB::Mqtt->new();

# nobody but us makes a replica a master

my $cluster = TB::Cluster->new(masters => 3, replicas => 1, library => 0,
                               node_timeout => 60000);

my @ids = map { sprintf 'de000000-0000-11ee-8000-0000000003%02x', $_ } 0 .. 23;

set_macro("m$_" => $ids[$_]) for 0 .. $#ids;
$mqtt->broker();

# there is nothing in it yet: nginx makes that

my $pid = spawn('http.log', TB::Mqtt::program(), '--name', 'http',
                '--redis-cluster', '--redis', $cluster->url(2),
                '--redis-user', 'bridge', '--redis-password-file',
                $mqtt->{password}, '--broker',
                "mqtt://127.0.0.1:$mqtt->{port}", '--log-level', 'debug');

ok(wait_for { text_of('http.log') =~ /tb:meta is not there yet/ },
   'the bridge waits for nginx');

my $nginx = TB::Nginx->start(redis_server => $cluster->url(0),
                             redis => 'server ' . $cluster->url(1) . ';'
                                      . ' cluster on; command_timeout 30s;');

ok(wait_for { text_of('http.log') =~ /mqtt: connected/ }, 'and goes on');


sub at_master {
    my ($key, @argv) = @_;

    return $cluster->call($cluster->master_of($key), @argv);
}


for my $id (@ids) {
    my $key = TB::Bridge::key('device', $id);

    wait_for { eval { at_master($key, 'FCALL', 'tb_rpc_device_put', 1, $key,
                                macro('tenant'), '') } };
}

my $devices = TB::MqttDevices->start(port => $mqtt->{port}, ids => \@ids);

ok($devices->online(60), 'devices are online');
ok(wait_for { my $id = $_;
              (at_master(TB::Bridge::key('device', $id), 'HGET',
                         TB::Bridge::key('device', $id), 'bridge') // '')
              eq 'http' } 60) for @ids;

# callers, of which each has its own answer, or is told that there is none

my $caller = fork() // die "fork: $!\n";

if ($caller == 0) {
    my @of = map { $_ % @ids } 1 .. 1200;
    my @results = TB::Load::run(
        port => $nginx->{port}, parallel => 24, timeout => scaled(300),
        requests => [map { $nginx->text("m$of[$_]", 'echo', "{\"n\":$_}",
                                        timeout => 30000) } 0 .. $#of]);
    my %seen;

    for (0 .. $#results) {
        my $r = $results[$_];
        my $status = $r->{status} // 0;

        $status = 'wrong' if $status == 200 && $r->{body} ne
            TB::MqttDevices::answer_to($ids[$of[$_]], "{\"n\":$_}");
        $seen{$status}++;
    }

    open my $fh, '>', scratch() . '/seen';
    print $fh join ' ', map { "$_:$seen{$_}" } sort keys %seen;
    close $fh;
    POSIX::_exit(0);
}

my @shards = map { TB::Bridge::shard($_) } @ids;
my $moved = 0;

while (waitpid($caller, POSIX::WNOHANG()) == 0) {
    if (++$moved % 4) {
        my $shard = $shards[rand @shards];
        my $from = $cluster->master_of_shard($shard);
        my ($to) = grep { $_ != $from && $cluster->is_master($_) }
                   $cluster->running();

        $cluster->reshard($from, $to, shards => [$shard]);

    } else {
        my ($master) = grep { $cluster->is_master($_) } $cluster->running();
        my ($replica) = $cluster->replicas_of($master);

        $cluster->failover($replica) if defined $replica;
        $cluster->wait_ok();
    }

    sleep 0.3;
}

my %seen = map { split /:/ } split / /, text_of('seen');

cmp_ok($moved, '>', 3, 'slots and masters have moved meanwhile');
is($seen{wrong} // 0, 0, 'no answer is another one\'s');
is(($seen{200} // 0) + ($seen{503} // 0) + ($seen{504} // 0), 1200,
   'each call has its answer, or a 503 or 504') or diag text_of('seen');
cmp_ok($seen{200} // 0, '>=', 1180, 'nearly all have theirs')
    or diag text_of('seen');
is(counter('http', $pid, $_), 0, "nothing was lost: $_")
    for qw(answers_lost repeated);
cmp_ok(counter('http', $pid, 'answers_late'), '<=', $seen{504} // 0,
       'none came late but to those who were told that there is none');

# what is left of them, now that all is quiet

is($nginx->call("m$_", 'echo', '1', timeout => 20000)->{body},
   TB::MqttDevices::answer_to($ids[$_], 1), 'afterwards') for 0 .. $#ids;
is(reap($pid, 'TERM', 60), 0, 'the bridge ends');
ok($nginx->stop('QUIT', 60), 'and so does nginx');
done_testing();
