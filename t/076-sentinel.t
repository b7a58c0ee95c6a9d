# Redis by Sentinels: nginx asks them where the master is, goes with it when it
# moves, and leaves one that is none any more.
#
# runs: side by side, 40 s
# not with --redis-tls, --redis-cluster: it has servers of its own

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(file_in scaled scratch wait_for);
use TB::Dns;
use TB::FakeRedis;
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;
use TB::RedisServer;
use TB::Sentinel;

my $admin = $TB::RedisServer::PASSWORD{admin};
my @redis = map { TB::RedisServer->start(args => ['--masterauth', $admin]) }
            1 .. 2;
my $d = 'de000000-0000-11ee-8000-0000000000e1';

set_macro(e1 => $d);
$redis[0]->fcall('tb_rpc_device_put', $redis[0]->device_key($d),
                 macro('tenant'), '', 'name', 'e1', 'bridge', 'b1');
$redis[1]->call('REPLICAOF', '127.0.0.1', $redis[0]{port});

my @sentinel = map { TB::Sentinel->start(master => $redis[0],
                                         password => 'sentinel-secret') }
               1 .. 2;
my @bridge = map { TB::FastBridge->start(connect => { $_->access('bridge') }) }
             @redis;
my $password = file_in('sentinel.password', "sentinel-secret\n");
my $servers = join "\n", map { "server redis://127.0.0.1:$_->{port};" }
              $sentinel[1];


sub nginx {
    my (@settings) = @_;

    return TB::Nginx->start(
        redis_server => "redis://127.0.0.1:$sentinel[0]{port}",
        redis => join ' ', $servers, 'sentinel main;',
                 "sentinel_password_file $password;", @settings);
}


sub answers {
    my ($nginx, $what, $seconds) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $answer;

    soon {
        $answer = $nginx->call('e1', 'echo', '["ok"]', timeout => 2000);
        ($answer->{body} // '') eq '["ok"]';
    } $what, $seconds || 60
        or diag($answer->{what} // '', substr $nginx->error_log(), -3000);
}


# how many connections of nginx it has; a server whose role changes closes all

sub on {
    my ($redis) = @_;

    my $list = eval { $redis->connect('admin')->call('CLIENT', 'LIST') } // '';

    return scalar grep { / user=nginx / } split /\n/, $list;
}


sub master_is {
    my ($n, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { on($redis[$n]) == 2 } "$what: both connections are there", 60;
    soon { on($redis[1 - $n]) == 0 } "$what: and none elsewhere", 60
        if $redis[1 - $n]{pid};
}


sub settled { return TB::Sentinel::settled($redis[$_[0]], @sentinel) }


ok(settled(0), 'two Sentinels, a master and its replica');

my $nginx = nginx('command_timeout 20s;');

answers($nginx, 'a call goes to the master');
master_is(0, 'first');

# by hand: nothing that is accepted is lost, and the old one is left at once

my $going = 1;
my $pid = fork() // die "fork: $!\n";

if ($pid == 0) {
    # callers meanwhile: each has an answer, or is told that it has none
    my @results = TB::Load::run(
        port => $nginx->{port}, parallel => 4, timeout => scaled(300),
        requests => [map { $nginx->text('e1', 'echo', $_, timeout => 8000) }
                     1 .. 3000]);
    my @wrong = grep {
        my $r = $results[$_];

        !(($r->{status} // 0) == 200 && $r->{body} eq $_ + 1)
        && ($r->{status} // 0) !~ /^50[34]$/
    } 0 .. $#results;

    POSIX::_exit(@wrong ? 1 : 0);
}

my $port = $redis[1]{port};

$sentinel[0]->call('SENTINEL', 'FAILOVER', 'main');
master_is(1, 'failover by hand');
ok($nginx->wait_log(qr/that the master "main" is 127\.0\.0\.1 port $port/),
   'the log says so');
waitpid $pid, 0;
is($?, 0, 'each caller has its answer, or a 503 or 504');
answers($nginx, 'calls go to the new one');

# one Sentinel is gone, then its master is killed: the other one knows

ok(settled(1), 'the first one is the replica now');
$sentinel[0]->stop();
answers($nginx, 'without the first Sentinel');

my $new = nginx();

answers($new, 'without the first Sentinel: one that starts');
$new->stop();

# alone it is no majority of two

$sentinel[0]->go();
ok(settled(1), 'it is back');
kill 'KILL', $redis[1]{pid};
$redis[1]->stop();

my $killed = time();

soon { $sentinel[1]->call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')->[1]
       == $redis[0]{port} } 'killed: the Sentinels have made another', 120;

my $moved = time();

answers($nginx, 'and nginx is there');
diag(sprintf 'killed: another master after %.1f s, an answer %.1f s later',
     $moved - $killed, time() - $moved);
cmp_ok(time() - $moved, '<', scaled(12), 'soon afterwards');
master_is(0, 'killed');

# one that is stopped closes nothing: nginx leaves it all the same

$redis[1]{library} = 0;
$redis[1]->go();

# Sentinels do that, too, but may take minutes for it

$redis[1]->call('REPLICAOF', '127.0.0.1', $redis[0]{port});
ok(settled(0), 'the one that was killed is a replica now');
$redis[0]->pause();
soon { $sentinel[1]->call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')->[1]
       == $redis[1]{port} } 'stopped: the Sentinels have made another', 120;
$moved = time();
answers($nginx, 'stopped: nginx is at the new one');
cmp_ok(time() - $moved, '<', scaled(12), 'stopped: before its time is over');
$redis[0]->resume();
ok(settled(1), 'the one that was stopped is a replica now');
master_is(1, 'stopped');

# a worker that starts

$nginx->reload();
answers($nginx, 'after a reload');
ok($nginx->stop('QUIT', 60), 'it ends');


# --- what does not work -----------------------------------------------------

sub says {
    my ($what, $line, %opt) = @_;

    my $nginx = TB::Nginx->start(
        redis_server => "redis://127.0.0.1:$sentinel[0]{port}",
        redis => "sentinel main; sentinel_password_file $password;", %opt);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok($nginx->wait_log($line, 60), "$what: the log says so")
        or diag substr $nginx->error_log(), -2000;
    is($nginx->call('e1', 'echo', '1', timeout => 300)->{status}, 503,
       "$what: 503");
    $nginx->stop();
}

says('another name', qr/failed: it does not know the master "other"/,
     redis => "sentinel other; sentinel_password_file $password;");
says('no password', qr/sentinel connection to \S+ failed: refused: "NOAUTH/,
     redis => 'sentinel main;');

# the fake ones have neither users nor keys

my $lie = '';
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if !@argv || uc $argv[0] ne 'SENTINEL';
    return $mode =~ /^\d+$/
           ? "*2\r\n\$9\r\n127.0.0.1\r\n\$" . length($mode) . "\r\n$mode\r\n"
           : $mode;
});
my @fake = (redis_server => "redis://127.0.0.1:$fake->{port}",
            redis => 'sentinel main;');
my $replica = TB::RedisServer->start(args => ['--masterauth', $admin]);

$replica->call('REPLICAOF', '127.0.0.1', $redis[1]{port});
$fake->tell('mode', $replica->{port});
says('a Sentinel that names a replica', qr/it is a replica, and not the master/,
     @fake);

for my $answer (['a port that is none', "*2\r\n\$1\r\nx\r\n\$5\r\n70000\r\n"],
                ['half an address', "*1\r\n\$9\r\n127.0.0.1\r\n"],
                ['a number', ":1\r\n"],
                ['no host', "*2\r\n\$0\r\n\r\n\$4\r\n6379\r\n"])
{
    $fake->tell('mode', $answer->[1]);
    says("$answer->[0] for an answer",
         qr/sentinel connection to \S+ failed: its answer is no address/,
         @fake);
}

my $master = $redis[1]{port};
my $name = "*2\r\n\$16\r\nRedis-A.internal\r\n\$" . length($master)
           . "\r\n$master\r\n";

$fake->tell('mode', $name);
says('a name', qr/it names a host, which needs "resolve"/, @fake);
$fake->tell('mode', "*2\r\n\$3\r\na\nb\r\n\$4\r\n6379\r\n");
says('a name of two lines', qr/its answer is no address/, @fake);


# --- names ------------------------------------------------------------------

# each address of a Sentinel's name is tried

$nginx = TB::Nginx->start(
    redis_server => "redis://localhost:$sentinel[0]{port}",
    redis => "sentinel main; sentinel_password_file $password;");
answers($nginx, 'a Sentinel by its name');
$nginx->stop();

# the resolver makes its letters small

my $dns = TB::Dns->start('127.0.0.1');

$fake->tell('mode', $name);
$nginx = TB::Nginx->start(
    redis_server => "redis://127.0.0.1:$fake->{port} resolve",
    redis => 'sentinel main;',
    http => "resolver 127.0.0.1:$dns->{port} ipv6=off;");
answers($nginx, 'a master by its name');
soon { $fake->tell('seen', 'SENTINEL') >= 4 } 'the Sentinel is asked again';
is($nginx->count_log(qr/no more/), 0, 'and names no other master');
$nginx->stop();

done_testing();
