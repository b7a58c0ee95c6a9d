# Redis restarts, with its data and without, forgets its functions, becomes a
# replica, is full.
#
# runs: side by side, 16 s
# not with --redis-cluster: functions that one server forgets are all there are

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;

redis();

my $nginx = TB::Nginx->start(http => 'tb_rpc_default_timeout 20s;',
                             redis => 'command_timeout '
                                      . scaled(2500) . 'ms;');
my ($bridge, $pid);


sub provision {
    device("d$_", bridge => 'b1') for 1 .. 5;
    device('e1', bridge => 'b2');
    $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
}


# answers all calls of e1

TB::FastBridge->start(name => 'b2', connect => { redis()->access('bridge') });
provision();


sub works {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($nginx->call('e1', 'echo', '["ok"]')->{body}, '["ok"]', $what);
}


sub again {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { $nginx->call('e1', 'echo', '["ok"]', timeout => 1000)->{body}
           eq '["ok"]' } $what, 30;
}


works('first');
$pid = $nginx->worker();

# with its data

my @clients = map { $nginx->open('d' . ($_ % 5 + 1), 'x', "[$_]") } 1 .. 50;
my @calls = $bridge->take(50);

is(scalar @calls, 50, 'restart: 50 calls are held');
redis()->stop();
redis()->{library} = 0;
redis()->go();
$bridge->reconnect();
is(join('', $bridge->answer(@calls)), '1' x 50,
   'restart: Redis still knows them');
is(join(' ', map { $_->{body} } TB::Client::answers(30, @clients)),
   join(' ', map { "[$_]" } 1 .. 50), 'restart: all are answered');
again('restart: calls work');

# calls that were queued, not taken

@clients = map { $nginx->open('d' . ($_ % 5 + 1), 'x', "[$_]") } 1 .. 20;
soon { my $n = 0;
       $n += redis()->call('LLEN', $_) for @{ redis()->call('KEYS', 'tb:{*:queue:b1') };
       $n == 20 } 'restart: 20 calls are queued';
redis()->stop();
redis()->go();
$bridge->reconnect();
$bridge->answer($bridge->take(20));
is(join(' ', map { $_->{body} } TB::Client::answers(30, @clients)),
   join(' ', map { "[$_]" } 1 .. 20), 'restart: a bridge finds them');

# without

@clients = map { $nginx->open('d1', 'x', "[$_]", timeout => 3000) } 1 .. 5;
is(scalar $bridge->take(5), 5, 'empty: 5 calls are held');
redis()->stop();
redis()->wipe();
redis()->go();
soon { redis()->call('EXISTS', 'tb:{s127}:config') } 'empty: nginx is back';
provision();
works('empty: calls work, the library is loaded');
is_deeply(TB::Client::kinds(TB::Client::answers(15, @clients)),
          { '504 UNKNOWN' => 5 }, 'empty: the held ones end in time');

# the functions are flushed below us

for my $n (1 .. 3) {
    redis()->call('FUNCTION', 'FLUSH');
    works("functions flushed, $n: the next call works");
}

redis()->call('FUNCTION', 'FLUSH');
@clients = map { $nginx->open('e1', 'x', "[$_]",
                              $_ % 3 ? () : (persistent => 1)) } 1 .. 100;
is_deeply(TB::Client::kinds(TB::Client::answers(30, @clients)),
          { 200 => 100 }, 'functions flushed: the next hundred at once');

# what found none goes once more, in the order in which it came

redis()->call('FUNCTION', 'FLUSH');
redis()->pause();
@clients = ();

for my $n (1 .. 5) {
    push @clients, $nginx->open('d1', 'x', "[$n]", persistent => 1);
    $nginx->get('/none');       # when this is answered, that one was read
}

redis()->resume();
is_deeply(TB::Client::kinds(TB::Client::answers(30, @clients)),
          { 200 => 5 }, 'functions flushed: five of one device');
@calls = $bridge->take(5);
is(join(' ', map { $_->{params} } @calls), '[1] [2] [3] [4] [5]',
   'functions flushed: their order');
$bridge->answer(@calls);

@clients = map { $nginx->open('d1', 'x', "[$_]") } 1 .. 10;
@calls = $bridge->take(10);
redis()->call('FUNCTION', 'FLUSH');
works('functions flushed while calls are held');
$bridge->answer(@calls);
is(join(' ', map { $_->{body} } TB::Client::answers(30, @clients)),
   join(' ', map { "[$_]" } 1 .. 10), 'they are answered');
is($nginx->count_log(qr/\[error\].*Function not found/), 0,
   'no error is logged for it');

# all data is flushed

@clients = map { $nginx->open('d1', 'x', "[$_]", timeout => 3000) } 1 .. 5;
is(scalar $bridge->take(5), 5, 'FLUSHALL: 5 calls are held');
redis()->call('FLUSHALL');
redis()->call('HSET', 'tb:meta', 'shards', '128', 'schema', '2');
is_deeply(TB::Client::kinds(TB::Client::answers(15, @clients)),
          { '504 UNKNOWN' => 5 }, 'FLUSHALL: the held ones end in time');
is($nginx->call('e1', 'echo', '1')->{status}, 401,
   'FLUSHALL: the device is unknown');
provision();
works('FLUSHALL: provisioned again');

# a replica

@clients = map { $nginx->open('d1', 'x', "[$_]", timeout => 3000) } 1 .. 5;
is(scalar $bridge->take(5), 5, 'replica: 5 calls are held');
redis()->call('REPLICAOF', '127.0.0.1', '1');

my $answer = $nginx->call('e1', 'echo', '1');

is($answer->{what}, '503 REDIS_UNAVAILABLE', 'replica: 503');
is($answer->{headers}{'retry-after'}, '1', 'replica: Retry-After');
is($nginx->call('e1', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'replica: again');
is_deeply(TB::Client::kinds(TB::Client::answers(15, @clients)),
          { '504 UNKNOWN' => 5 }, 'replica: the held ones end in time');
redis()->call('REPLICAOF', 'NO', 'ONE');
again('replica: a master again');

# full: nothing new, but what is there goes on

@clients = map { $nginx->open('d1', 'x', "[$_]") } 1 .. 5;
@calls = $bridge->take(5);
redis()->call('CONFIG', 'SET', 'maxmemory', '1');
$answer = $nginx->call('e1', 'echo', '1');
is($answer->{what}, '503 REDIS_UNAVAILABLE', 'full: 503');
is($answer->{headers}{'retry-after'}, '1', 'full: Retry-After');
is($nginx->call('e1', 'echo', '1', persistent => 1)->{what},
   '503 REDIS_UNAVAILABLE', 'full: persistent');
$bridge->answer(@calls);
is(join(' ', map { $_->{body} } TB::Client::answers(30, @clients)),
   join(' ', map { "[$_]" } 1 .. 5), 'full: what is there is answered');

# a new worker gets as far as the old one: it could still cancel and tick

my ($old) = $nginx->reload();

my ($worker) = grep { $_ != $old } $nginx->workers();

ok($nginx->wait_log(qr/\] $worker#.*subscription connection to \S+ is ready/),
   'full: a new worker is connected');
is($nginx->call('e1', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'full: and refuses');
like($nginx->error_log(), qr/\] $worker#.* call \S+ was refused by Redis: "OOM/,
     'full: as Redis does');
redis()->call('CONFIG', 'SET', 'maxmemory', '0');
again('full: there is room again');
ok($nginx->gone($old), 'full: the old worker has gone');

# full and just emptied: even our own settings can't be written

redis()->call('FLUSHALL');
redis()->call('CONFIG', 'SET', 'maxmemory', '1');
$nginx->reload();

my $clear = qr/\[error\].*"tb:meta" is missing and can't be written/;

ok($nginx->wait_log($clear), 'full and empty: a clear line');
$nginx->call('e1', 'echo', '1') for 1 .. 2;
is($nginx->count_log($clear), 1, 'full and empty: one');
redis()->call('CONFIG', 'SET', 'maxmemory', '0');
soon { redis()->call('EXISTS', 'tb:{s127}:config') } 'full and empty: nginx is back';
provision();
works('full and empty: calls work');

isnt($nginx->worker(), $pid, 'another worker since the reload only');
is($nginx->count_log(qr/start worker process /), 3, 'none was restarted');

$nginx->clean();

done_testing();
