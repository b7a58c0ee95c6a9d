#!/usr/bin/perl

# tb-rpc-mqtt-bridge and a Redis Cluster: calls, answers, bells and heartbeats
# of each shard go where its slot is, while slots move and masters go; what was
# refused or not answered is said again to whom has the shard then.
#
# runs: side by side, 120 s

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
use TB::MqttDevices;
use TB::RedisServer;


# At the node that has the key now, which may change meanwhile.

package Keyed;

use Time::HiRes qw(sleep time);


our @ISA = ('TB::ClusterKeys');


sub call {
    my ($self, @argv) = @_;

    my $key = $self->key(@argv);
    my $slot = TB::Cluster::slot($key);
    my $end = time() + TB::Env::scaled(30);
    my $reply;

    while (time() < $end) {
        my $i = $self->{at}{$slot} //= $self->{cluster}->master_of($slot);

        $reply = defined $i ? eval { $self->{cluster}->node($i)
                                            ->command(@argv) } : undef;

        return $reply if defined $reply && !TB::Resp::is_error($reply);
        die "$argv[0]: $reply\n"
            if defined $reply && $reply !~ /MOVED|ASK|TRYAGAIN|CLUSTERDOWN
                                            |READONLY|LOADING/x;
        return undef if !defined $reply && !$@ && defined $i;

        delete $self->{at}{$slot};
        undef $self->{cluster}->node($i)->{client} if defined $i;
        sleep 0.05;
    }

    die "$argv[0] $key: " . ($reply // $@) . "\n";
}


package main;

my $mqtt = TB::Mqtt->new();
my $alone = $mqtt->{redis};
my $cluster = TB::Cluster->new(masters => 3, replicas => 1,
                               node_timeout => 1000);
my $redis = $mqtt->{redis} = Keyed->new($cluster);

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


# a device of a shard that this node has now; it answers by itself if it has
# another bridge than "c1"

my $serial = 0;

sub device_at {
    my ($node, @fields) = @_;

    for (;;) {
        my $id = sprintf 'dc000000-0000-11ee-8000-%012x', ++$serial;
        my $shard = TB::Bridge::shard($id);

        next if $cluster->master_of_shard($shard) != $node;

        $redis->fcall('tb_rpc_device_put', TB::RedisServer->device_key($id),
                      $TB::Mqtt::TENANT, '', @fields);

        return $id;
    }
}


sub connections {
    my ($i) = @_;

    my $list = eval { $cluster->node($i)->connect('admin')
                              ->call('CLIENT', 'LIST') } // '';

    return scalar grep { / user=bridge / } split /\n/, $list;
}


# two at each that is a master, none elsewhere

sub connected {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $seen;
    my $ok = wait_for {
        $seen = join ' ', map { connections($_)
                                . ($cluster->is_master($_) ? 'm' : 'r') }
                          $cluster->running();
        $seen !~ /(?:^| )(?:[013-9]m|[^0]r)/;
    } 60;

    ok($ok, "$what: two connections to each master, none to others")
        or diag($seen, substr text_of('c1.log'), -2500);
}


# a call that its device has got, and does not answer: (device, rpc, request)

sub called {
    my ($device) = @_;

    my ($rpc, $id) = $mqtt->call($device, '"m"', '1', timeout => 60000);

    wait_for { text_of('calls') =~ m{\Q$device\E/rpc/request/$id } } 20
        or diag(substr text_of('c1.log'), -3000);

    return ($device, $rpc, $id);
}


sub say {
    my ($text, $device, $rpc, $id) = @_;

    $mqtt->publish("v1/devices/$device/rpc/response/$id", "\"$text\"");
}


sub answered {
    my ($text, $what, $device, $rpc, $id) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($mqtt->answer($device, $rpc, 20), "A\"$text\"", $what)
        or diag(substr text_of('c1.log'), -4000);
}


# How long a call takes to come to its device: the second of two, as the first
# may come with what is looked for every 5 s.

sub rings {
    my ($what, @devices) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @times = map {
        called($_);

        my $start = time();

        called($_);
        time() - $start;
    } @devices;

    cmp_ok(max(@times), '<', scaled(4), "$what: bells are heard")
        or diag("@times", substr text_of('c1.log'), -4000);
}


# its replica has all that it has now

sub replicated {
    my ($i) = @_;

    my $wanted;

    wait_for {
        my $info = $cluster->info($i, 'replication');

        $wanted //= $info->{master_repl_offset};
        ($info->{slave0} // '') =~ /offset=(\d+)/ && $1 >= $wanted;
    } or diag('no replica in step');
}


# another one is the master of this device

sub succeeded {
    my ($victim, $device) = @_;

    my $shard = TB::Bridge::shard($device);

    # the victim may be one that is stopped: it is not to be asked

    $redis->{at} = {};

    return wait_for {
        my $i = $cluster->master_of_shard($shard);

        defined $i && $i != $victim;
    } 60;
}


# --- each shard where it is -------------------------------------------------

my ($replica) = $cluster->replicas_of(0);
my $pid = start('c1', '--static', '--redis', 'redis://127.0.0.1:1',
                '--redis', $cluster->url($replica), '--redis-cluster');
my @device = map { device_at($_, 'bridge', 'c1') } 0 .. 2;

connected('a replica is all it was told of');

for my $i (0 .. 2) {
    my @call = called($device[$i]);

    say("node $i", @call);
    answered("node $i", "a call by node $i, and its answer", @call);
}

# what was pushed before has rung for nobody; each shard is swept

rings('at first', @device);


# --- a slot moves -----------------------------------------------------------

my @moving = called($device[0]);
my $moving = TB::Bridge::shard($device[0]);
my $before = () = text_of('c1.log') =~ /: connected/g;
my %stage;

$cluster->reshard(0, 1, shards => [$moving], keys => 1, hook => sub {
    my ($stage) = @_;

    # a report that is refused while the slot moves

    if ($stage eq 'migrating' && !$stage{migrating}++) {
        say('on the move', @moving);
        sleep 0.5;
    }
});
answered('on the move', 'an answer while its slot moves is not lost',
         @moving);
is($cluster->master_of_shard($moving), 1, 'it has moved');
rings('moved', $device[0]);
connected('moved');
is(scalar(() = text_of('c1.log') =~ /: connected/g), $before,
   'and no connection was ended by that');

# to one that has no library yet: it is waited for

my $new = $cluster->add_node();
my $late = device_at(2, 'bridge', 'c1');
my @late = called($late);

$cluster->reshard(2, $new, shards => [TB::Bridge::shard($late)]);
say('late', @late);
ok(wait_for { text_of('c1.log') =~ /Function not found; trying again/ },
   'a node without functions: the log says so');
$cluster->load_library($new);
answered('late', 'and what it had for it is kept', @late);
connected('a new node');
rings('a new node', $late);

# it has none any more: it is left, and its last calls come elsewhere

@late = called($late);
$cluster->reshard($new, 2);
ok(wait_for { text_of('c1.log')
                  =~ /it has no slot of the cluster any more/ },
   'a node without slots is left');
say('back', @late);
answered('back', 'and what it had is elsewhere', @late);
connected('without the new node');


# --- masters go -------------------------------------------------------------

# by hand: nothing is lost

my @open = map { [called($_)] } @device;
($replica) = $cluster->replicas_of(1);
$cluster->failover($replica);
say('by hand', @$_) for @open;
answered('by hand', 'failover by hand: an answer', @$_) for @open;
rings('failover by hand', @device);
connected('failover by hand');
$cluster->wait_ok();

# one is killed: the others go on meanwhile, and what it had waits

my $victim = $cluster->master_of_shard(TB::Bridge::shard($device[2]));
my ($other) = grep { $cluster->is_master($_) && $_ != $victim }
              $cluster->running();
my $beside = device_at($other, 'bridge', 'c1');

@open = called($device[2]);
replicated($victim);
$cluster->kill($victim);
say('killed', @open);

my @call = called($beside);

say('beside', @call);
answered('beside', 'a master is killed: another one goes on', @call);
ok(succeeded($victim, $device[2]), 'it has a successor');
answered('killed', 'and that one gets what was for it', @open);
rings('killed', @device, $beside);
connected('killed');
$cluster->start($victim);
$cluster->wait_ok(60);
connected('it is back, as a replica');

# one that is stopped closes nothing

$victim = $cluster->master_of_shard(TB::Bridge::shard($device[2]));
@open = called($device[2]);
replicated($victim);
$cluster->stop($victim);

my $stopped_at = length text_of('c1.log');
my $port = $cluster->port($victim);

# whether its connection has ended, which it does after 5 s

sub has_ended {
    return substr(text_of('c1.log'), $stopped_at)
           =~ /:$port \(commands\): no reply in time/;
}


say('stopped', @open);
@call = called($beside) if $cluster->master_of_shard(
                               TB::Bridge::shard($beside)) != $victim;
ok(succeeded($victim, $device[2]), 'a master is stopped');

# unless it takes as long to make another one

my $ended = has_ended();

answered('stopped', 'what it had gets an answer', @open);
ok($ended || !has_ended(), 'before its connection has ended');
$cluster->cont($victim);
$cluster->wait_ok(60);
connected('it goes on, as a replica');
rings('stopped', @device);
is(reap($pid, 'TERM'), 0, 'it ends');
unlike(text_of('c1.log'), qr/ASKING|refused:|giving up/,
       'nothing was dropped');
unlike(text_of('c1.log'), qr/bridge-secret/, 'no secret in the log');

done_testing();
