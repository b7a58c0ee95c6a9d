# "wait": persistent calls are answered 200, and deletes, when replicas have
# them; too few replicas are 504 UNKNOWN, and nothing else suffers.
#
# runs: side by side, 40 s
# not with --redis-cluster: its replicas are those of one server

use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use TB::Client;
use TB::Env qw(scaled wait_for);
use TB::FakeRedis;
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;
use TB::Proxy;
use TB::RedisServer;

my @admin = ('--masterauth', $TB::RedisServer::PASSWORD{admin});
my $master = redis(args => [@admin]);
my $replica = TB::RedisServer->start(args => [@admin], library => 0);
my $few = qr/0 of the 1 replicas of \S+ that "wait" asks for had what was/;

set_macro(d4 => uuid(9));
$replica->call('REPLICAOF', '127.0.0.1', $master->{port});
device($_, bridge => $_ eq 'd2' ? 'b2' : 'b1') for 'd1', 'd2', 'd3';

my $echo = TB::FastBridge->start(name => 'b2', connect =>
                                 { $master->access('bridge') });


sub waits {
    return $master->call('INFO', 'commandstats') =~ /^cmdstat_wait:calls=(\d+)/m
           ? $1 : 0;
}


sub waiting {
    return $master->call('CLIENT', 'LIST') =~ / flags=\w*b\w* .* cmd=wait /
}


sub records { return map { /:rpc:(.*)/ } @{ $master->call('KEYS', '*:rpc:*') } }


sub rpc_id { return $_[0]{body} =~ /^\{"rpcId":"([^"]+)"\}\z/ ? $1 : '' }


sub uuid { return sprintf '077a0000-0000-4000-8000-%012d', $_[0] }


sub delete_record {
    my ($nginx, $id) = @_;

    return TB::Client->new($nginx->{port},
                           TB::Client::text('DELETE',
                               "/api/rpc/persistent/$id", undef,
                               'X-Authorization' =>
                                   'Bearer ' . macro('token:tenant')))
                     ->answer();
}


sub catches_up {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $replica->resume();
    soon { $master->call('WAIT', 1, 100) == 1 } $what, 60;
}


soon { $master->call('SET', 'x', 1); $master->call('WAIT', 1, 100) == 1 }
     'there is a replica', 60;

# --- enough -----------------------------------------------------------------

my $time = scaled(1500);
my $command_timeout = scaled(15);
my $nginx = TB::Nginx->start(redis => "wait 1 ${time}ms; command_timeout"
                                      . " ${command_timeout}s;");
my $answer;

soon { $answer = $nginx->call('d1', 'x', '1', persistent => 1);
       $answer->{status} == 200 } 'a persistent call';
cmp_ok(waits(), '>', 1, 'by a WAIT');

my $id = rpc_id($answer);
my $before = waits();

is(delete_record($nginx, $id)->{status}, 200, 'a delete');
is(waits(), $before + 1, 'by a WAIT');
is($nginx->call('d2', 'echo', '["ok"]')->{body}, '["ok"]', 'a call');
is($nginx->get('/api/rpc/persistent/' . uuid(1))->{status}, 404, 'a record');
is(waits(), $before + 1, 'without');

# --- too few ----------------------------------------------------------------

$replica->pause();

my %before = map { $_ => 1 } records();
my $start = time();

$answer = $nginx->call('d1', 'x', '1', persistent => 1, uuid => uuid(2));
is($answer->{what}, '504 UNKNOWN', 'the replica stands still: 504');

my $took = time() - $start;

cmp_ok($took, '>=', $time / 1000 - 0.01, 'after the time');
cmp_ok($took, '<', $command_timeout - scaled(1),
       'and not after that of a command');

my ($made) = grep { !$before{$_} } records();

like($answer->{body}, qr/, rpcId \Q$made\E"/, 'with its id');
is($nginx->get("/api/rpc/persistent/$made")->{status}, 200,
   'and it is there');

my @many = TB::Client::answers(30, map { $nginx->open('d1', 'x', $_,
                                                      persistent => 1) }
                                       1 .. 20);

is(scalar(grep { $_->{what} eq '504 UNKNOWN' } @many), 20, 'so are more');
is($nginx->count_log($few), 1, 'the log says so once');
is($nginx->call('d1', 'x', '1', persistent => 1, uuid => uuid(2))->{what},
   '504 UNKNOWN', 'the same again: 504');

$start = time();
is($nginx->call('d2', 'echo', '["ok"]')->{body}, '["ok"]',
   'a call that is not persistent');
is($nginx->call('d4', 'x', '1', persistent => 1)->{status}, 401,
   'an unknown device');

my ($gone) = grep { $_ ne $made } grep { !$before{$_} } records();

is(delete_record($nginx, $gone)->{what}, '504 UNKNOWN', 'a delete: 504');
is($nginx->get("/api/rpc/persistent/$gone")->{status}, 404, 'and it is gone');

catches_up('it goes on');
$answer = $nginx->call('d1', 'x', '1', persistent => 1, uuid => uuid(2));
is($answer->{status}, 200, 'the same again: 200');
is(rpc_id($answer), $made, 'and the first one');
soon { $nginx->call('d1', 'x', '1', persistent => 1, uuid => uuid(2));
       $nginx->error_log() =~ /the replicas of \S+ have what is written/ }
     'the log says so', 30;
$nginx->clean();
$nginx->stop();

# --- on the way -------------------------------------------------------------

$nginx = TB::Nginx->start(redis => 'wait 1 ' . scaled(30) . 's; '
                                   . 'command_timeout ' . scaled(60) . 's;');
soon { $nginx->call('d3', 'x', '1', persistent => 1, uuid => uuid(3))->{status}
       == 200 } 'a longer time';

# many at once share it

$before = waits();

my @load = map { $nginx->text('d' . ($_ % 2 ? 1 : 3), 'x', $_,
                              persistent => 1) } 1 .. 1500;
my @results = TB::Load::run(port => $nginx->{port}, parallel => 64,
                            timeout => scaled(240), requests => \@load);

$before = waits() - $before;
is(scalar(grep { ($_->{status} // 0) == 200 } @results), @load,
   'many persistent calls');
cmp_ok($before, '<', @load / 4, 'by far less WAITs');
diag(scalar(@load) . " creates, $before WAITs");

# the connection is lost between the two replies: it is repeated

my $bridge = TB::FastBridge->new(connect => { $master->access('bridge') });

1 while $bridge->take(1000, 1) == 1000;
$replica->pause();
%before = map { $_ => 1 } records();

my @clients = map { $nginx->open('d1', 'x', qq("$_"), persistent => 1) } 1 .. 3;

soon { grep { !$before{$_} } records() } 'written';
soon { waiting() } 'not confirmed';
is(scalar(grep { $_->answered() } @clients), 0, 'not answered yet');
$master->call('CLIENT', 'KILL', 'USER', 'nginx');
soon { $nginx->count_log(qr/command connection to \S+ failed: closed/) }
     'its connection ends';
catches_up('the replica goes on');
is(scalar(grep { $_->answer(60)->{status} == 200 } @clients), 3,
   'they were repeated: 200');
is(scalar(grep { !$before{$_} } records()), 3, 'and are there once');

# a caller leaves while its reply is kept

$replica->pause();

my $client = $nginx->open('d3', 'x', '1', persistent => 1);

soon { waiting() } 'one more';
$client->leave('reset');
soon { $nginx->count_log(qr/client prematurely closed connection/) } 'it left';
catches_up('the replica goes on');
is($nginx->call('d3', 'x', '1', persistent => 1)->{status}, 200,
   'a caller left: 200 for the next one');

# reload: the old worker stays for it

$replica->pause();
$client = $nginx->open('d3', 'x', '1', persistent => 1);
%before = map { $_ => 1 } records();
soon { waiting() } 'one more';
$nginx->reload();
is($client->answered() ? 1 : 0, 0, 'reload: not answered yet');
catches_up('the replica goes on');
is($client->answer(60)->{status}, 200, 'reload: 200');
$nginx->clean();
$nginx->stop();

# --- no right ---------------------------------------------------------------

$nginx = TB::Nginx->start(redis => 'wait 1 ' . scaled(5) . 's; '
                                   . 'command_timeout ' . scaled(10) . 's;');
soon { $nginx->call('d3', 'x', '1', persistent => 1)->{status} == 200 }
     'with the right';
$master->call('ACL', 'SETUSER', 'nginx', '-wait');
is($nginx->call('d3', 'x', '1', persistent => 1)->{what}, '504 UNKNOWN',
   'without +wait: 504') for 1 .. 3;
is($nginx->count_log(qr/WAIT is refused by \S+: "NOPERM.*; allow \+wait/), 1,
   'the log says so once');
is($nginx->call('d2', 'echo', '["ok"]')->{body}, '["ok"]', 'calls go on');
$master->call('ACL', 'SETUSER', 'nginx', '+wait');
is($nginx->call('d3', 'x', '1', persistent => 1)->{status}, 200,
   'with it: 200');
$nginx->clean();
$nginx->stop();

# --- strange servers --------------------------------------------------------

my $asked = 0;
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if !@argv;
    return '' if $conn->{silent};
    return undef if $argv[0] ne 'WAIT';

    if ($mode eq 'silent') {
        $conn->{silent} = 1;
        return '';
    }

    return $asked++ ? ":1\r\n" : "-$mode\r\n";
});
my $seconds = scaled(4);

$nginx = TB::Nginx->start(redis_port => $fake->{port},
                          redis => "wait 1 100ms; command_timeout ${seconds}s;");

# the server has become a replica; the second answer is another one's

$fake->tell('mode', 'ERR WAIT cannot be used with replica instances.');
is($nginx->call('d1', 'x', '1', persistent => 1)->{status}, 200,
   'it became a replica: repeated');
is($fake->tell('seen', 'tb_rpc_create'), 2, 'once');
like($nginx->error_log(), qr/connection to \S+ failed: WAIT refused: "ERR WAIT/,
     'elsewhere, as the log says');

# no reply to WAIT: the command's own time is over, then the connection's

$fake->tell('mode', 'silent');
is($nginx->call('d1', 'x', '1', persistent => 1)->{what}, '504 UNKNOWN',
   'no reply to WAIT: 504');
soon { $nginx->count_log(qr/command connection to \S+ failed.*no reply/) }
     'the connection is given up', 30;
$fake->tell('mode', 'works');
soon { $nginx->call('d1', 'x', '1', persistent => 1)->{status} == 200 }
     'and another one works';
$nginx->clean();
$nginx->stop();

# --- the promise ------------------------------------------------------------

# The replica's link stands still, then the master is killed: what was answered
# 200 is there.

my $link = TB::Proxy->start(to => $master->{port});

$replica->call('REPLICAOF', '127.0.0.1', $link->{port});
soon { $master->call('SET', 'x', 1); $master->call('WAIT', 1, 100) == 1 }
     'the replica, by another way', 60;
$nginx = TB::Nginx->start(redis => 'wait 1 ' . scaled(500) . 'ms; '
                                   . 'command_timeout ' . scaled(3) . 's;');
device("p$_", bridge => 'b1') for 0 .. 19;

my $pid = fork() // die "fork: $!\n";

if ($pid == 0) {
    my $redis = $master->connect('admin');
    my $more = sub {
        my $n = $redis->call('DBSIZE') + $_[0];

        return wait_for { $redis->call('DBSIZE') > $n } 120;
    };
    my $done = $more->(1000) && $link->tell('mute', 'all') && $more->(50);

    kill 'KILL', $master->{pid};
    POSIX::_exit($done ? 0 : 1);
}

@results = ();

do {
    @load = map { $nginx->text('p' . $_ % 20, 'x', $_, persistent => 1) }
                1 .. 1000;
    push @results, TB::Load::run(port => $nginx->{port}, parallel => 16,
                                 timeout => scaled(5), requests => \@load);
} until waitpid $pid, POSIX::WNOHANG();

is($?, 0, 'written after its link stood still, then killed');
$master->stop();
$link->tell('refuse', 'all');
$link->tell('cut', 'all');
$replica->call('REPLICAOF', 'NO', 'ONE');

my %there = map { /:rpc:(.*)/ => 1 } @{ $replica->call('KEYS', '*:rpc:*') };
my @kept = grep { ($_->{status} // 0) == 200 } @results;
my @lost = grep { !$there{rpc_id($_)} } @kept;

cmp_ok(scalar @kept, '>', 100, 'many were answered 200');
cmp_ok(scalar(grep { ($_->{status} // 0) == 504 } @results), '>', 0,
       'some 504');
is(scalar @lost, 0, 'none of the former is lost');
$nginx->clean();

done_testing();
