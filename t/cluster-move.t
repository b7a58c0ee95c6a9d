# From one Redis to a cluster, and one more master, as docs/scaling.md has it,
# while callers make persistent calls: what was accepted is there, and is
# delivered once.  A Valkey 9 moves its slots at once, under the rights that
# docs/redis-schema.md names for it.
#
# runs: side by side, 45 s

use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Cluster;
use TB::ClusterBridge;
use TB::Env qw(root scratch wait_for scaled);
use TB::Fixture;
use TB::Mqtt qw(output);
use TB::Nginx;
use TB::RedisServer;

my ($cli) = grep { -x } map { ("$_/redis-cli", "$_/valkey-cli") }
            split /:/, $ENV{PATH};

plan skip_all => 'no redis-cli' if !$cli;

$ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};

my $redis = redis();
my @devices = map { "d$_" } 1 .. 24;

device($_, bridge => 'b1') for @devices;

my $delivered = scratch() . '/delivered';
my $bridge = bridge(log => $delivered);
my $nginx = TB::Nginx->start();
my $token = macro('token:tenant');


# a child that makes persistent calls until the file is gone: lines of status
# and answer

my $going = scratch() . '/going';
my $answers = scratch() . '/answers';

sub caller_of {
    my ($n) = @_;

    my $pid = fork() // die "fork: $!\n";

    return $pid if $pid;

    open my $fh, '>', "$answers.$n" or POSIX::_exit(1);
    $fh->autoflush(1);

    for (my $i = $n; -e $going; $i += 4) {
        my $r = $nginx->call($devices[$i % @devices], 'echo', "{\"n\":$i}",
                             persistent => 1, oneway => 1, timeout => 600000);

        print $fh "$r->{status} $r->{body}\n";
        sleep 0.05;
    }

    POSIX::_exit(0);
}


sub lines {
    return map { open my $fh, '<', $_ or die "$_: $!\n"; <$fh> } glob "$answers.*";
}


# so many more were accepted since

sub goes_on {
    my ($what) = @_;

    my $before = grep { /^200 / } lines();

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { $before + 100 < grep { /^200 / } lines() } "$what: calls go on", 60;
}


open my $fh, '>', $going or die "$going: $!\n";
close $fh;

my @callers = map { caller_of($_) } 0 .. 3;
my $start = time();

goes_on('one Redis');

# callers that are held now have their answers before anything else happens

my $held = $nginx->open('d1', 'slow', '{"ms":3000}', timeout => 20000);

# 1. who has all slots, made beforehand in an empty folder

my $cluster = TB::Cluster->new(masters => 0);

$cluster->spawn();

my $owner = $cluster->node(0);

$owner->call('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
$owner->stop();
system('cp', "$owner->{dir}/nodes.conf", "$redis->{dir}/nodes.conf") == 0
    or die "cp failed\n";

# 2. nginx: new workers wait for a cluster, old ones answer what they hold

my $stopped = time();
$nginx->configure(redis => 'cluster on; command_timeout 60s; queue 8192;');
my @old = $nginx->reload();
ok($nginx->gone($_, 30), 'an old worker has gone') for @old;
is($held->answer()->{body}, '{"ms":3000}', 'after it has answered its callers');

# 3. the bridge, and Redis

$bridge->stop();
$redis->stop();
$redis->{args} = [ @{ $owner->{args} } ];
$redis->{library} = 0;
$redis->go();
$redis->{bus} = $owner->{bus};
$redis->{id} = $redis->call('CLUSTER', 'MYID');
$cluster->{nodes} = [$redis];
$cluster->wait_ok();
goes_on('a cluster of one');
diag sprintf 'from nginx on: calls waited %.1f s', time() - $stopped;
$bridge = TB::ClusterBridge->start(cluster => $cluster, shards => [0 .. 127],
                                   log => "$delivered.cluster");

# What moves all slots of a master at once, where server and client have that.
# One by one, each with nodes.conf written anew, they take Valkey minutes here.

sub at_once {
    my $option = '--cluster-use-atomic-slot-migration';
    my ($unknown) = output($cli, $option, '--version');

    return if $unknown || !$redis->call('COMMAND', 'INFO',
                                        'cluster|migrateslots')->[0];

    open my $doc, '<', root() . '/docs/redis-schema.md' or die "no users: $!\n";
    my $text = do { local $/; <$doc> };

    $text =~ s/\\\n\s*/ /g;

    my @rules = map { split } $text =~ /^ *ACL SETUSER tb-replica (.*)$/mg;

    s/^>.*/>replica-secret/ for @rules;

    for my $i (0 .. 2) {
        $cluster->call($i, 'ACL', 'SETUSER', 'tb-replica', @rules);
        $cluster->call($i, 'CONFIG', 'SET', 'masteruser', 'tb-replica',
                       'masterauth', 'replica-secret');
    }

    return $option;
}


# 4. more masters

for (1 .. 2) {
    my $i = $cluster->spawn();
    my ($status, $text) = output($cli, '--cluster', 'add-node',
                                 "127.0.0.1:" . $cluster->port($i),
                                 "127.0.0.1:$redis->{port}");

    is($status, 0, "redis-cli --cluster add-node") or diag $text;
    $cluster->wait_ok();
}

my @at_once = at_once();
my $begun = time();
my ($status, $text) = output($cli, '--cluster', 'rebalance',
                             "127.0.0.1:$redis->{port}",
                             '--cluster-use-empty-masters', @at_once);
is($status, 0, 'redis-cli --cluster rebalance') or diag substr $text, -2000;
diag sprintf "rebalance @at_once: %.1f s", time() - $begun;

# also when slots did not move, with a line of why
unlike($text, qr/failed/, 'all slots moved') if @at_once;
$cluster->wait_ok();
is_deeply([ map { scalar $cluster->slots_of($_) > 5000 } 0 .. 2 ], [1, 1, 1],
          'each has its part');
goes_on('a cluster of three');
unlink $going;
waitpid $_, 0 for @callers;

# what was accepted

my %kinds;
my @accepted;

for (lines()) {
    /^(\d+) (?:\{"rpcId":"([^"]+)"\})?/ or die "what a line: $_";
    $kinds{$1}++;
    push @accepted, $2 if $1 == 200;
}

diag join ', ', map { "$_: $kinds{$_}" } sort keys %kinds;

my @lost = grep { $nginx->get("/api/rpc/persistent/$_")->{status} != 200 }
           @accepted;

is(scalar @lost, 0, 'all that was accepted is there') or diag "@lost[0 .. 3]";

# how often each, by its attempts

sub delivered {
    my %got;

    $got{"$_->{rpcId} $_->{attempt}"}++ for TB::Bridge::envelopes({
        log => $delivered });

    if (open my $log, '<', "$delivered.cluster") {
        chomp, $got{$_}++ while <$log>;
    }

    return %got;
}


my $left;

soon {
    my %got = map { /^(\S+)/ => 1 } keys %{ { delivered() } };

    ($left = grep { !$got{$_} } @accepted) == 0;
} 'and is delivered', 60 or diag "$left are not";

my %got = delivered();

is(scalar(grep { $_ > 1 } values %got), 0, 'once');
$nginx->clean();

done_testing();
