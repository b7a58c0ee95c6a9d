#!/usr/bin/perl

# tb-rpc-mqtt-bridge and a Redis Cluster of which one master is away, and stays
# so: those of the others get their calls and their heartbeats in time; and
# what it makes of what nodes say of each other, by TLS and otherwise.
#
# runs: side by side, 60 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(max);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Certs;
use TB::Cluster;
use TB::ClusterKeys;
use TB::Env qw(file_in free_port scaled scratch wait_for);
use TB::FakeRedis;
use TB::Mqtt qw(spawn reap output text_of counter);
use TB::RedisServer;

my $mqtt = TB::Mqtt->new();
my $alone = $mqtt->{redis};
my $cluster = TB::Cluster->new(masters => 3);
my @shard = map { $cluster->master_of_shard($_) } 0 .. 127;
my ($pid, $seen);


my $redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);

$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
$mqtt->broker();
$mqtt->subscribe('calls', 'v1/devices/+/rpc/request/+');


sub options {
    my ($name, @more) = @_;

    return ('--name', $name, '--redis-user', 'bridge',
            '--redis-password-file', $mqtt->{password}, '--broker',
            "mqtt://127.0.0.1:$mqtt->{port}", '--log-level', 'debug', @more);
}


sub start {
    my ($name, @more) = @_;

    my $pid = spawn("$name.log", TB::Mqtt::program(), options($name, @more));

    wait_for { text_of("$name.log") =~ /mqtt: connected/ } 20
        or diag(text_of("$name.log"));

    return $pid;
}


# n devices of different shards of a node

my $serial = 0;

sub devices_at {
    my ($node, $n, @fields) = @_;

    my (@devices, %taken);

    while (@devices < $n) {
        my $id = sprintf 'dd000000-0000-11ee-8000-%012x', ++$serial;
        my $shard = TB::Bridge::shard($id);

        next if $shard[$shard] != $node || $taken{$shard}++;

        $redis->fcall('tb_rpc_device_put', TB::RedisServer->device_key($id),
                      $TB::Mqtt::TENANT, '', @fields);
        push @devices, $id;
    }

    return @devices;
}


sub got {
    my ($device, $id) = @_;

    return wait_for {
        text_of('calls') =~ m{\Q$device\E/rpc/request/$id }
    } 20;
}


# --- one hangs --------------------------------------------------------------

my @redis = ('--redis', $cluster->url(1), '--redis-cluster');

$pid = start('hangs', '--static', @redis);

my @victims = devices_at(0, 14, 'bridge', 'hangs');
my @others = map { devices_at($_, 2, 'bridge', 'hangs') } 1, 2;

for (@victims, @others) {
    my (undef, $id) = $mqtt->call($_, '"m"', 1);

    got($_, $id) or diag(substr text_of('hangs.log'), -2000);
}

# more takes than there may be are on their way to one that does not answer

kill 'STOP', $pid;
my @calls = map { [$_, ($mqtt->call($_, '"m"', 1))[1]] } @victims;
$cluster->stop(0);
kill 'CONT', $pid;
sleep 0.1;

# before its connection ends, which is after 5 s

my $longest = 0;

for (@others, @others) {
    my $start = time();
    my (undef, $id) = $mqtt->call($_, '"m"', 1);

    ok(got($_, $id), 'a node hangs: the others get their calls');
    $longest = max($longest, time() - $start);
}

cmp_ok($longest, '<', scaled(4), 'soon');
$cluster->cont(0);
is(scalar(grep { got(@$_) } @calls), @calls, 'it goes on: and so do its own');
is(counter('hangs', $pid, 'repeated'), 0, 'each came once');
is(reap($pid, 'TERM'), 0, 'it ends');


# --- one refuses ------------------------------------------------------------

# a report and a presence of a shard that can't just now; minutes until a
# heartbeat would do it

$pid = start('held', @redis, '--session-ttl', 600_000, '--presence-grace', 500);

my ($first, $second) = devices_at(1, 1);
my $shard = TB::Bridge::shard($first);

for (;;) {
    ($second) = devices_at(1, 1);
    last if TB::Bridge::shard($second) == $shard;
}

$cluster->call(1, 'CONFIG', 'SET', 'min-replicas-to-write', 1);
$mqtt->publish("v1/devices/$first/status", 'online', '-r');
ok(wait_for { text_of('held.log') =~ /NOREPLICAS.*; trying again/ },
   'one refuses: the log says so');
$mqtt->publish("v1/devices/$second/status", 'online', '-r');
ok(wait_for { text_of('held.log') =~ /device \Q$second\E is online/ },
   'another device of that shard');

my $since = time();
my @refused = text_of('held.log') =~ /NOREPLICAS/g;

sleep 1;

my @again = text_of('held.log') =~ /NOREPLICAS/g;

cmp_ok(@again - @refused, '<', 60 * (time() - $since),
       'one command at a time, in its time');
$cluster->call(1, 'CONFIG', 'SET', 'min-replicas-to-write', 0);
ok($mqtt->attached($_, 'held'), 'it is there as soon as it can be')
    for $first, $second;
is(reap($pid, 'TERM'), 0, 'it ends');


# --- one is away ------------------------------------------------------------

$pid = start('away', @redis, '--session-ttl', 3000, '--presence-grace', 500);

my @present = map { devices_at($_, 3) } 0 .. 2;

$mqtt->publish("v1/devices/$_/status", 'online', '-r') for @present;
ok($mqtt->attached($_, 'away'), 'a device is there') for @present;

my %session = map { $_ => $redis->call('HGET', TB::RedisServer
                                                ->device_key($_), 'session') }
              @present;

$cluster->kill(0);

# what was said of others meanwhile is heard, too

my ($new) = devices_at(1, 1);

$mqtt->publish("v1/devices/$new/status", 'online', '-r');
ok($mqtt->attached($new, 'away'), 'one is away: devices of others come');

my $end = time() + scaled(7);

while (time() < $end) {
    $mqtt->tick($_) for @present[3 .. 8], $new;
    sleep 0.2;
}

is($redis->call('HGET', TB::RedisServer->device_key($_), 'session'),
   $session{$_}, 'and those that are there stay') for @present[3 .. 8];

# what has happened to its own is known when it is back

$mqtt->publish("v1/devices/$present[0]/status", 'offline', '-r');
$cluster->start(0);
$cluster->wait_ok();
$mqtt->tick($_) for @present[0 .. 2];
ok($mqtt->attached($present[0], ''), 'it is back: one has gone meanwhile');
ok($mqtt->attached($_, 'away'), 'the others are there')
    for @present[1, 2];
is(reap($pid, 'TERM'), 0, 'it ends');
unlike(text_of('away.log'), qr/refused, trying again/, 'and nothing failed');


# --- of another kind --------------------------------------------------------

my $runs = 0;

sub says {
    my ($what, $line, @more) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $name = 'no' . ++$runs;
    my $pid = spawn("$name.log", TB::Mqtt::program(), options($name, @more));

    ok(wait_for { text_of("$name.log") =~ $line }, $what)
        or diag(text_of("$name.log"));

    my @errors = text_of("$name.log") =~ /\[error\].*\(commands\).*again/g;

    cmp_ok(scalar @errors, '<', 3, "$what: not all the time")
        or diag(text_of("$name.log"));
    is(reap($pid, 'TERM'), 0, "$what: it ends");
}

says('a Redis of its own',
     qr/\(commands\): it is no node of a cluster, which --redis-cluster is/,
     '--redis', "redis://127.0.0.1:$alone->{port}", '--redis-cluster');
says('a cluster that is not said to be one',
     qr/\(commands\): it is a node of a cluster, which needs --redis-cluster/,
     '--redis', $cluster->url(0));
says('nobody', qr/\(commands\): cannot connect: /, '--redis-cluster',
     '--redis', 'redis://127.0.0.1:1', '--redis', 'redis://127.0.0.1:2');

for (['a database', qr/--redis has a database, a cluster has 0 only/,
      '--redis', 'redis://a/1', '--redis-cluster'],
     ['a socket', qr/--redis unix: is one server, no Sentinel and no cluster/,
      '--redis', 'unix:/a', '--redis-cluster'],
     ['both', qr/--redis-cluster and --redis-sentinel exclude each other/,
      '--redis', 'redis://a', '--redis-cluster', '--redis-sentinel', 'main'])
{
    my ($what, $line, @more) = @$_;
    my ($status, $text) = output(TB::Mqtt::program(), '--name', 'x', @more);

    is($status, 2, "$what: refused");
    like($text, $line, "$what: and says why");
}

# a schema, no meta

$redis->call('HSET', 'tb:meta', 'schema', 1);
says('a cluster of another version', qr/tb:meta says schema 1: /, @redis);
$redis->call('DEL', 'tb:meta');
says('a new one', qr/tb:meta is not there yet/, @redis);
$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
says('other shards', qr/tb:meta says 128 shards, --shards 64/, @redis,
     '--shards', 64);
unlike(text_of("no$runs.log"), qr/mqtt: connected/, 'and nothing is done');
$cluster->cleanup();


# --- one group only ---------------------------------------------------------

# its master hangs with an answer that it was sent; a replica tells of another
# one, which is connected to only then

$cluster = TB::Cluster->new(masters => 1, replicas => 2);
$redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);
@shard = (0) x 128;
$redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
$pid = start('group', '--static', '--redis-cluster', '--redis',
             $cluster->url(0), '--redis', $cluster->url(2));

my ($device) = devices_at(0, 1, 'bridge', 'group');
my ($rpc, $id) = $mqtt->call($device, '"m"', 1, timeout => 60000);

ok(got($device, $id), 'one group: a call');

# its replicas have that, too

my $offset = $cluster->info(0, 'replication')->{master_repl_offset};

ok(wait_for {
       2 == grep { $cluster->info($_, 'replication')->{slave_repl_offset}
                   >= $offset } 1, 2
   }, 'one group: in its replicas, too');
$cluster->stop(0);
$mqtt->publish("v1/devices/$device/rpc/response/$id", '"silent"');
wait_for { text_of('group.log') =~ /answers request $id/ };
$cluster->call(1, 'CLUSTER', 'FAILOVER', 'TAKEOVER');
$redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);
$redis->{at}{TB::Cluster::slot(TB::Bridge::key('device', $device))} = 1;
is($mqtt->answer($device, $rpc, 20), 'A"silent"',
   'one group: what its master never answered goes to the next one')
    or diag(substr text_of('group.log'), -3000);
$cluster->cont(0);
is(reap($pid, 'TERM'), 0, 'it ends');
$cluster->cleanup();


# --- what nodes say ---------------------------------------------------------

# fakes, that say what they are told: "EPOCH HOST PORT", or all of a reply to
# CLUSTER SLOTS; and to a take, what is behind a bar

sub bulk { return '$' . length($_[0]) . "\r\n$_[0]\r\n" }

sub fake {
    return TB::FakeRedis->start(on => sub {
        my ($mode, $conn, @argv) = @_;

        return undef if !@argv;

        my $command = uc join ' ', @argv[0 .. $#argv && 1];
        my ($view, $error) = split /\|/, $mode;
        my ($epoch, $host, $port) = split / /, $view // '';

        return '*6' . "\r\n" . join '', map { bulk($_) }
               qw(version 7.0.15 mode cluster role master)
            if $argv[0] eq 'HELLO';
        return bulk("cluster_enabled:1\r\ncluster_current_epoch:$epoch\r\n")
            if $command eq 'CLUSTER INFO' && $mode !~ /\r/;
        return $mode if $command eq 'CLUSTER SLOTS' && $mode =~ /\r/;
        return "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n"
               . ($host eq 'nil' ? "\$-1\r\n" : bulk($host eq 'empty' ? ''
                                                     : $host))
               . ":$port\r\n" . bulk('id')
            if $command eq 'CLUSTER SLOTS';
        return "*2\r\n" . bulk(128) . bulk(2) if $argv[0] eq 'HMGET';
        return defined $error ? "-$error\r\n" : "*1\r\n:0\r\n"
            if ($argv[1] // '') eq 'tb_rpc_take';
        return undef;
    });
}

my @fake = (fake(), fake());
my @by = ('--redis-cluster', '--redis', "redis://127.0.0.1:$fake[0]{port}");

for my $answer (["*1\r\n:1\r\n", 'a number'],
                ["*1\r\n*2\r\n:0\r\n:1\r\n", 'a range of nobody'],
                ["*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n:1\r\n", 'half a node'],
                ["*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n\$1\r\na\r\n:70000\r\n",
                 'a port that is none'],
                ["*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n\$3\r\na\nb\r\n:1\r\n",
                 'a host of two lines'],
                ["+OK\r\n", 'nothing'])
{
    $fake[0]->tell('mode', $answer->[0]);
    says("CLUSTER SLOTS says $answer->[1]",
         qr/\(commands\): its CLUSTER SLOTS can't be used/, @by);
}

$fake[0]->tell('mode', "*0\r\n");
says('no slots', qr/its cluster has no slots yet/, @by);
$fake[0]->tell('mode', "-NOPERM no\r\n");
says('no right', qr/has not all rights of .*: CLUSTER SLOTS|CLUSTER SLOTS refu/,
     @by);

# who knows nobody's host is where it was found

for my $host (qw(nil empty ?)) {
    $fake[0]->tell('mode', "1 $host $fake[0]{port}");
    $pid = start("host$runs", @by, '--static');
    ok(wait_for { $fake[0]->tell('seen', 'tb_rpc_take') > 0 },
       "the host is $host: that of the connection");
    is(reap($pid, 'TERM'), 0, 'it ends');
    $runs++;
}

# what is no direction is none, and what is refused is said again

for my $error ('MOVED', 'MOVED 1', 'MOVED x a:1', 'MOVED 16384 a:1',
               'MOVED 1 a', 'MOVED 1 a:0', 'MOVED 1 a:x', 'MOVED 1 a b:1',
               'MOVED 1 ' . 'h' x 300 . ':1', 'ASK 1 127.0.0.1:1',
               'CLUSTERDOWN The cluster is down', 'READONLY', 'TRYAGAIN')
{
    my $name = 'error' . ++$runs;

    $fake[0]->tell('mode', "1 127.0.0.1 $fake[0]{port}|$error");

    my $seen = $fake[0]->tell('seen', 'tb_rpc_take');

    $pid = start($name, @by, '--static');
    ok(wait_for { $fake[0]->tell('seen', 'tb_rpc_take') > $seen + 130 },
       substr "said again: $error", 0, 60);
    $fake[0]->tell('mode', "1 127.0.0.1 $fake[0]{port}");
    is(counter($name, $pid, 'taken'), 0, 'it goes on');
    is(reap($pid, 'TERM'), 0, 'it ends');
}

# one of two knows less than the other

$_->tell('mode', "7 127.0.0.1 $fake[1]{port}") for @fake;
$pid = start('stale', @by, '--redis', "redis://127.0.0.1:$fake[1]{port}",
             '--static');
wait_for { $fake[1]->tell('seen', 'tb_rpc_take') > 0 };
$fake[1]->tell('mode', "6 127.0.0.1 $fake[0]{port}");
ok(wait_for { (() = text_of('stale.log')
                        =~ /knows the cluster only as it was before/g) >= 3 },
   'one that was cut off is not believed');
is(() = text_of('stale.log') =~ /it has no slot of the cluster any more/g, 0,
   'and the master is not left');
$fake[1]->tell('mode', "8 127.0.0.1 $fake[0]{port}");
ok(wait_for { text_of('stale.log') =~ /it has no slot of the cluster any/ },
   'what is newer is believed');
is(reap($pid, 'TERM'), 0, 'it ends');


# --- TLS, names -------------------------------------------------------------

SKIP: {
    skip 'no openssl', 3 if !TB::Certs::available();

    my $certs = TB::Certs->new(scratch());

    $certs->authority('ca');
    $certs->certificate('server', 'ca', 'redis', 'DNS:localhost');

    my $tls = eval { TB::Cluster->new(masters => 3, tls => $certs,
                                      endpoint => 'hostname') };

    skip 'a redis-server without TLS', 3 if !$tls;

    $cluster = $tls;
    $redis = $mqtt->{redis} = TB::ClusterKeys->new($cluster);
    @shard = map { $cluster->master_of_shard($_) } 0 .. 127;
    $redis->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);

    $pid = start('tls', '--static', '--redis-cluster', '--redis-ca',
                 $certs->path('ca.pem'), '--redis',
                 'rediss://localhost:' . $cluster->port(0));

    for my $device (map { devices_at($_, 1, 'bridge', 'tls') } 0 .. 2) {
        my (undef, $id) = $mqtt->call($device, '"m"', 1);

        ok(got($device, $id), 'by TLS, by the names that nodes give')
            or diag(substr text_of('tls.log'), -2000);
    }

    is(reap($pid, 'TERM'), 0, 'it ends');
}

done_testing();
