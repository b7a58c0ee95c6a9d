# Redis as a cluster: each call goes to the master of its device's shard, and
# goes on where the shard goes.
#
# runs: side by side, 60 s
# not with --redis-tls, --redis-cluster: it has a cluster of its own

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Cluster;
use TB::ClusterBridge;
use TB::Env qw(file_in scaled scratch wait_for);
use TB::FakeRedis;
use TB::Fixture;
use TB::Load;
use TB::Nginx;
use TB::RedisServer;

my $json = JSON::PP->new->utf8->allow_nonref;
my $cluster = TB::Cluster->new(masters => 3, replicas => 1, library => 0);
my @devices = map { sprintf 'de000000-0000-11ee-8000-0000000002%02x', $_ }
              0 .. 11;
my @shards = map { TB::Bridge::shard($_, 128) } @devices;

set_macro("c$_" => $devices[$_]) for 0 .. $#devices;

my $servers = join "\n", map { 'server ' . $cluster->url($_) . ';' } 1, 2;


sub nginx {
    my (%opt) = @_;

    return TB::Nginx->start(
        redis_server => $cluster->url(0),
        config => 'location /api/rpc/ { tb_rpc v2; }'
                  . ' location = /health { tb_rpc_status health; }', %opt,
        redis => "$servers cluster on; command_timeout 10s;"
                 . ($opt{redis} // ''));
}


# at the master of its shard

sub on_master {
    my ($key, @argv) = @_;

    return $cluster->call($cluster->master_of($key), @argv);
}


sub put {
    my ($device, $name) = @_;

    my $key = TB::Bridge::key('device', $device);

    on_master($key, 'FCALL', 'tb_rpc_device_put', 1, $key, macro('tenant'), '',
              'name', $name, 'bridge', 'b1');
}


sub answers {
    my ($nginx, $what, @which) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @left = @which ? @which : 0 .. $#devices;

    soon {
        @left = grep {
            my $answer = $nginx->call("c$_", 'echo', "[$_]", timeout => 3000);
            ($answer->{body} // '') ne "[$_]";
        } @left;
        !@left;
    } $what, 60
        or diag("@left", substr $nginx->error_log(), -3000);
}


# connections of nginx to each node: (commands, subscriptions)

sub connections {
    my ($i) = @_;

    my $list = $cluster->call($i, 'CLIENT', 'LIST');
    my @of = grep { / user=nginx / } split /\n/, $list;
    my $subscribed = grep { / ssub=[1-9]/ } @of;

    return @of - $subscribed . ' ' . $subscribed;
}


# --- where everything is ----------------------------------------------------

my $nginx = nginx();

soon { $nginx->count_log(qr/function library, version \d+, loaded/) == 3 }
     'each master gets the functions', 60;
put($devices[$_], "c$_") for 0 .. $#devices;

my $bridge = TB::ClusterBridge->start(cluster => $cluster,
                                      shards => \@shards,
                                      log => scratch() . '/taken.log');
my %masters = map { $_ => 1 } map { $cluster->master_of_shard($_) } @shards;

is(join(' ', sort keys %masters), '0 1 2', 'devices on each of the masters');
answers($nginx, 'all are reached');
soon { join(', ', map { connections($_) } 0 .. 5)
       eq '1 1, 1 1, 1 1, 0 0, 0 0, 0 0' }
     'one connection for commands and one subscription a master'
    or diag(join ', ', map { connections($_) } 0 .. 5);
is($nginx->count_log(qr/can't take a command just now/), 0,
   'nothing had to be said twice');
is(join(' ', map { $cluster->call($_, 'INFO', 'errorstats')
                       =~ /^errorstat_MOVED:count=(\d+)/m ? $1 : 0 } 0 .. 2),
   '0 0 0', 'nor is anybody told what is not his own: settings, above all');

# each master has a ticker of its own

soon {
    3 == grep {
        my $n = $_;
        grep { /\}:ticker$/ } @{ $cluster->call($n, 'KEYS', 'tb:*:ticker') };
    } 0 .. 2;
} 'a ticker on each of the masters';

# persistent calls: a page, one by its id, by its requestUUID; deletion

for my $i (0 .. $#devices) {
    my $uuid = sprintf '01234567-0000-4000-8000-0000000000%02x', $i;
    my $answer = $nginx->call("c$i", 'echo', "[$i]", persistent => 1,
                              uuid => $uuid);
    my $id = $json->decode($answer->{body})->{rpcId};
    my $base = '/api/rpc/persistent/';

    soon { ($nginx->get("$base$id")->{body} // '') =~ /"SUCCESSFUL"/ }
         "device $i: its call is answered";
    is($json->decode($nginx->call("c$i", 'echo', "[$i]", persistent => 1,
                                  uuid => $uuid)->{body})->{rpcId}, $id,
       "device $i: the same requestUUID is the same call");
    like($nginx->get("${base}device/$devices[$i]?page=0&pageSize=10")->{body},
         qr/"totalElements":1\b/, "device $i: its page");
}


# --- what moves -------------------------------------------------------------

# Callers while that happens: each one gets its answer, or is told that it has
# none.  Returns how many of which status.

sub during {
    my ($what, $happens, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $stop = file_in('stop', '');
    my $begun = file_in('begun', '');
    my $file = file_in('results', '');

    unlink $stop, $begun;

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        my (%count, @ids);
        my $n = 0;
        my $parent = getppid();

        for (my $more = 1; $more; ) {
            $more = !-e $stop && getppid() == $parent;

            my @two = map { $_ + $n } 0 .. 2 * @devices - 1;
            my @results = TB::Load::run(
                port => $nginx->{port}, parallel => 8,
                timeout => scaled(30), requests => [
                    map {
                        my $device = 'c' . $_ % @devices;

                        ($nginx->text($device, 'echo', $_, timeout => 10000),
                         $nginx->text($device, 'echo', $_, persistent => 1))
                    } @two ]);

            for my $i (0 .. $#results) {
                my $r = $results[$i];
                my $status = $r->{status} // $r->{error} // 'none';

                if ($status eq '200' && $i % 2 == 0) {
                    $status = 'another answer'
                        if $r->{body} ne $two[$i / 2];

                } elsif ($status eq '200') {
                    push @ids, $r->{body} =~ /"rpcId":"([^"]+)"/;
                }

                $count{$status}++;
            }

            $n += @two;
            file_in('begun', 'x');
        }

        open my $fh, '>', $file or POSIX::_exit(1);
        print $fh $json->encode([\%count, \@ids]);
        close $fh;
        POSIX::_exit(0);
    }

    ok(&wait_for(sub { -e $begun }, 60), "$what: there are callers");
    $happens->();
    file_in('stop', 'x');
    waitpid $pid, 0;
    is($?, 0, "$what: the callers are through");

    open my $fh, '<', $file or die "$file: $!\n";
    my ($count, $ids) = @{ $json->decode(do { local $/; <$fh> }) };

    diag("$what: " . join ', ', map { "$_: $count->{$_}" } sort keys %$count);

    my @wrong = grep { !/^(?:200|503|504)$/ } keys %$count;

    is("@wrong", '', "$what: 200, 503 and 504 only");
    cmp_ok($count->{200} // 0, '>', 0, "$what: and some 200");

    # every call that was taken with 200 is answered by its device

    my @left = @$ids;

    soon {
        my @results = TB::Load::run(
            port => $nginx->{port}, parallel => 8, timeout => scaled(30),
            requests => [ map {
                TB::Client::text('GET', "/api/rpc/persistent/$_", undef,
                                 'X-Authorization' => 'Bearer '
                                                      . macro('token:tenant'))
            } @left ]);

        @left = map { $left[$_] }
                grep { ($results[$_]{body} // '') !~ /"SUCCESSFUL"/ }
                0 .. $#left;
        !@left;
    } "$what: what was answered 200 is done", 120
        or diag(scalar(@left) . ' of ' . @$ids . ' are not');

    return $count;
}


# a shard at a time, under load

my ($from, $to) = (0, 1);
my @of = grep { $cluster->master_of_shard($_) == $from } @shards;

my $count = during('a shard moves', sub {
    $cluster->reshard($from, $to, shards => [$of[0]]);
});

is($count->{503} // 0, 0, 'a shard moves: nobody is refused');
is($count->{504} // 0, 0, 'a shard moves: nothing is unknown');
answers($nginx, 'a shard moves: all are reached');

# a call that comes while its shard is on the way waits until that is there

my ($n) = grep { $shards[$_] == $of[0] } 0 .. $#shards;
my $open;

$cluster->reshard($to, $from, shards => [$of[0]], keys => 1, hook => sub {
    my ($stage) = @_;

    $open ||= $nginx->open("c$n", 'echo', '"waited"', timeout => 10000)
        if $stage eq 'migrating';
    soon { $nginx->count_log(qr/can't take a command just now: "(?:ASK|TRYA)/) }
         'under way: a call is refused, and the log says so'
        if $stage eq 'moved' && $open && !$open->{told}++;
});
is($open->answer(30)->{body}, '"waited"', 'under way: and answered afterwards');
answers($nginx, 'and back');

# another master by hand

my $replica = ($cluster->replicas_of(0))[0];

$count = during('failover by hand', sub {
    $cluster->failover($replica);
    $cluster->wait_ok();
});
is($count->{503} // 0, 0, 'failover by hand: nobody is refused');
answers($nginx, 'failover by hand: all are reached');
soon { connections($replica) eq '1 1' && connections(0) eq '0 0' }
     'failover by hand: the connections are at the new master';

# one is killed

my $killed;
my @waiting = grep { $cluster->master_of_shard($shards[$_]) == 1 }
                   0 .. $#shards;

$count = during('a master is killed', sub {
    my ($other) = $cluster->replicas_of(1);

    $cluster->kill(1);
    $killed = time();

    # these come when nginx has seen it: they wait for it, in vain
    soon { $nginx->get('/health')->{body} =~ /for \d+ of 128 shards only/ }
         'a master is killed: nginx has seen it';
    $_ = $nginx->open("c$_", 'echo', '"kept"', timeout => 10000) for @waiting;

    wait_for { ($cluster->master_of_shard(
                    (grep { $_ } @shards)[0]) // -1) >= 0 } 1;
    wait_for { eval { $cluster->is_master($other) } } 60;
    $killed = time() - $killed;
    diag(sprintf 'killed: another master after %.1f s', $killed);

    SKIP: {
        skip 'they may not have the time to be sent elsewhere', 1
            if $killed > 8;
        is_deeply([grep { $_ ne '"kept"' } map { $_->answer()->{body} }
                   @waiting], [],
                  'a master is killed: what waits for it goes to the next one');
    }
});
answers($nginx, 'a master is killed: all are reached');
$cluster->start(1);
$cluster->wait_ok(60);

# one comes and gets shards, and goes again

my $new;

$count = during('a master more', sub {
    $new = $cluster->add_node();
    $cluster->reshard(2, $new, shards => [
        grep { $cluster->master_of_shard($_) == 2 } @shards ]);
});
is($count->{503} // 0, 0, 'a master more: nobody is refused');
soon { connections($new) eq '1 1' } 'a master more: it has its connections';
$count = during('a master less', sub {
    $cluster->reshard($new, 2);
});
is($count->{503} // 0, 0, 'a master less: nobody is refused');
soon { connections($new) eq '0 0' } 'a master less: it has no connection';
answers($nginx, 'a master less: all are reached');

$nginx->reload();
answers($nginx, 'after a reload');
is($nginx->count_log(qr/\[(?:alert|emerg|crit)\]/), 0, 'no alert')
    or diag(grep { /\[(?:alert|emerg|crit)\]/ } split /^/, $nginx->error_log());
ok($nginx->stop('QUIT', 30), 'it ends');


# --- what does not work -----------------------------------------------------

sub says {
    my ($what, $line, %opt) = @_;

    my $nginx = TB::Nginx->start(%opt);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok($nginx->wait_log($line, 30), "$what: the log says so")
        or diag substr $nginx->error_log(), -2000;
    is($nginx->call('c0', 'echo', '1', timeout => 300)->{status}, 503,
       "$what: 503");
    $nginx->stop();
}

my $alone = TB::RedisServer->start();

# shards as they were not: said by the node that has tb:meta, obeyed by all

my $wrong = TB::Nginx->start(
    redis_server => $cluster->url((grep { $_ != 1 } $cluster->running())[0]),
    redis => "$servers cluster on; shards 64; command_timeout 1s;");

ok($wrong->wait_log(qr/\[crit\].*"tb:meta" says shards 128/),
   'another number of shards: the log says so');
is_deeply([ map { $wrong->call("c$_", 'echo', '1', timeout => 300)->{status} }
            0 .. $#devices ], [ (503) x @devices ],
          'another number of shards: 503, on whatever master');
$wrong->stop();

says('a Redis that is none', qr/it is no node of a cluster, but "cluster" is/,
     redis_server => "redis://127.0.0.1:$alone->{port}",
     redis => 'cluster on;');
says('a node without cluster', qr/a node of a cluster, which needs "cluster on"/,
     redis_server => $cluster->url(0));

done_testing();
