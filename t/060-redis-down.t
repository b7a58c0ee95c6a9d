# Redis that is not there, does not answer, or will not have us.
#
# runs: side by side, 30 s
# not with --redis-cluster: it begins with a server that is not there

use strict;
use warnings;

use Test::More;

use TB::Child;
use TB::Env qw(wait_for scaled free_port);
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::RedisServer;

# nginx starts first

my $port = free_port();
my $nginx = TB::Nginx->start(redis_port => $port, redis => 'queue 4;'
                             . ' connect_timeout 500ms;'
                             . ' command_timeout ' . scaled(2) . 's;',
                             http => 'log_format t "$request_time $status";'
                             . 'access_log times.log t;');

set_macro(d1 => uuid_of('device d1'));

my $down = $nginx->call('d1', 'echo', '1');

is($down->{what}, '503 REDIS_UNAVAILABLE', 'no Redis at all');
is($down->{headers}{'retry-after'}, '1', 'Retry-After');
like($down->{body},
     qr/^\{"status":503,"message":"[^"]+","errorCode":2,"timestamp":\d+\}$/,
     'the body of a 503');
is($nginx->call('d1', 'echo', '1', persistent => 1)->{what},
   '503 REDIS_UNAVAILABLE', 'a persistent call likewise');
is($nginx->count_log(qr/\[error\].*command connection to \S+ failed/), 1,
   'said once, however often it is tried');

# above "queue" nobody waits

my $before = () = $nginx->file_text('times.log') =~ /\n/g;
my @clients = map { $nginx->open('d1', 'echo', 1) } 1 .. 10;
my @answers = TB::Client::answers(20, @clients);

is_deeply(TB::Client::kinds(@answers), { '503 REDIS_UNAVAILABLE' => 10 },
          'more than the queue takes');

# by nginx's own clock; the others wait for as long as a command may take

my @times = split /\n/, $nginx->file_text('times.log');

is(scalar(grep { /^(\S+) 503/ && $1 < 1 } @times[$before .. $#times]), 6,
   'six of ten have it at once');

# and finds it when it comes, without its library

redis(port => $port, library => 0);
ok($nginx->wait_log(qr/subscription connection to \S+ is ready/),
   'Redis has come');
ok($nginx->wait_log(qr/function library, version \d+, loaded/),
   'the library is loaded');
device('d1', bridge => 'b1');
device('d2');

my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
my $answering = TB::FastBridge->start(name => 'b2',
                                      connect => { redis()->access('bridge') });

device('d3', bridge => 'b2');
is($nginx->call('d3', 'echo', '[1]')->{body}, '[1]', 'calls work');
$nginx->clean();

# stopped while create is under way: nobody knows

redis()->pause();

my $client = $nginx->open('d3', 'echo', '2');
my $persistent = $nginx->open('d3', 'echo', '2', persistent => 1);
my $answer = $client->answer();

is($answer->{what}, '504 UNKNOWN', 'a Redis that has stopped: two-way');
like($answer->{body}, qr/, rpcId [0-9a-f-]{36}"/, 'and its id');
$answer = $persistent->answer();
like($answer->{what}, qr/^504 UNKNOWN$/,
     'a Redis that has stopped: persistent');
like($answer->{body}, qr/, rpcId [0-9a-f-]{36}"/, 'and its id');
redis()->resume();
soon { $nginx->call('d3', 'echo', '[2]', timeout => 500)->{status}
              == 200 } 'it goes on: calls work again', 30;
soon { redis()->call('HLEN', TB::Bridge::key('inflight', macro('d3'))) == 0 }
     'and nothing is left of the two', 6;

# stopped for a shorter while than command_timeout

redis()->pause();
$client = $nginx->open('d3', 'echo', '[3]');
select undef, undef, undef, 0.15;
redis()->resume();
is($client->answer()->{body}, '[3]', 'a short stop costs nothing');

# the connections are killed while calls are held

@clients = map { $nginx->open('d1', 'x', "[$_]") } 1 .. 20;

my @calls = $bridge->hold(20);

is(scalar @calls, 20, '20 calls are held');

my $ready = $nginx->count_log(qr/subscription connection to \S+ is ready/);

redis()->client()->pipeline(['MULTI'], ['CLIENT', 'KILL', 'USER', 'nginx'],
                            (map { ['FCALL', 'tb_rpc_respond', 1, $_->{key},
                                    $_->{requestId}, $_->{params}] } @calls),
                            ['EXEC']);
is(join(' ', map { $_->{body} } TB::Client::answers(20, @clients)),
   join(' ', map { "[$_]" } 1 .. 20),
   'answers given meanwhile are collected');
cmp_ok($nginx->count_log(qr/subscription connection to \S+ is ready/), '>',
       $ready, 'after it has subscribed again');
soon { !@{ redis()->call('KEYS', '*:answer:*') } } 'and their keys are removed';

# only the subscription

@clients = map { $nginx->open('d1', 'x', "[$_]") } 1 .. 20;
@calls = $bridge->hold(20);
redis()->client()->pipeline(['MULTI'],
                            ['CLIENT', 'KILL', 'TYPE', 'pubsub', 'USER',
                             'nginx'],
                            (map { ['FCALL', 'tb_rpc_respond', 1, $_->{key},
                                    $_->{requestId}, $_->{params}] } @calls),
                            ['EXEC']);
is(join(' ', map { $_->{body} } TB::Client::answers(20, @clients)),
   join(' ', map { "[$_]" } 1 .. 20), 'the subscription alone is killed');
is($nginx->call('d3', 'echo', '[4]')->{body}, '[4]', 'calls work');
$nginx->clean();
$nginx->stop();

# the password is wrong, then right

$nginx = TB::Nginx->start(redis_port => $port);
redis()->call('ACL', 'SETUSER', 'nginx', 'resetpass', '>another');
redis()->call('CLIENT', 'KILL', 'USER', 'nginx');
is($nginx->call('d3', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'a wrong password');
is($nginx->call('d3', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'still wrong');
is($nginx->count_log(qr/\[error\].* command connection .*WRONGPASS/), 1,
   'logged once');

# the other one tries as well if it is killed before the first has noticed

cmp_ok($nginx->count_log(qr/\[error\].*WRONGPASS/), '<=', 2, 'by each');
unlike($nginx->error_log(), qr/nginx-secret/, 'without the password');
redis()->call('ACL', 'SETUSER', 'nginx', 'resetpass', '>nginx-secret');
soon { $nginx->call('d3', 'echo', '[1]')->{body} eq '[1]' } 'the right password', 30;
$nginx->clean();
$nginx->stop();

# another number of shards

$nginx = TB::Nginx->start(redis_port => $port, redis => 'shards 8;');

for my $n (1 .. 2) {
    is($nginx->call('d3', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
       "wrong shards, $n");
}

is($nginx->count_log(qr/\[crit\].*shards 128.*shards 8/), 1, 'one [crit] line');
$nginx->clean(qr/\[crit\].*"tb:meta" says/);
$nginx->stop();

# calls of an older version: they, and the library that their nginx uses, are
# left alone

redis()->call('HSET', 'tb:meta', 'shards', 16, 'schema', 1);
redis()->call('FUNCTION', 'LOAD', 'REPLACE', "#!lua name=tb_rpc\n"
              . "redis.register_function('tb_rpc_version',"
              . " function() return 4 end)\n");

my $older = redis()->call('FUNCTION', 'LIST', 'WITHCODE');
my @keys = sort @{ redis()->call('KEYS', '*') };

$nginx = TB::Nginx->start(redis_port => $port);
is($nginx->call('d3', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   "schema 1, $_") for 1 .. 2;
is($nginx->count_log(qr/\[crit\].*"tb:meta" says schema 1: this Redis has (?#
                     )calls of an older version, which this one can't read; (?#
                     )use another "prefix" or an empty Redis; no call is taken/),
   1, 'schema 1: one [crit] line, which says what to do');
is($nginx->count_log(qr/\[crit\]/), 1, 'schema 1: and no other');
is_deeply(redis()->call('FUNCTION', 'LIST', 'WITHCODE'), $older,
          'schema 1: the library is the older one');
is(redis()->call('HGET', 'tb:meta', 'shards'), 16, 'schema 1: as it was');
is_deeply([ sort @{ redis()->call('KEYS', '*') } ], \@keys,
          'schema 1: and so are the keys');
$nginx->clean(qr/\[crit\].*"tb:meta" says/);
$nginx->stop();
redis()->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
redis()->load_library();

# a user that may not load functions

my ($rules) = map { s/\s\+function\|load//r }
              TB::RedisServer::documented() ? ({ TB::RedisServer::documented() }->{nginx})
                                      : ();

redis()->call('ACL', 'SETUSER', 'nginx', 'reset', 'on', '>nginx-secret',
              split ' ', $rules);
redis()->call('CLIENT', 'KILL', 'USER', 'nginx');
$nginx = TB::Nginx->start(redis_port => $port);
is($nginx->call('d3', 'echo', '[1]')->{body}, '[1]',
   'no right to load, but the library is there');
redis()->call('FUNCTION', 'FLUSH');
is($nginx->call('d3', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'nor is the library there');
is($nginx->call('d3', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'and again');
is($nginx->count_log(qr/\[error\].*can't be loaded/), 1, 'one clear line');
redis()->load_library();
soon { $nginx->call('d3', 'echo', '[2]')->{body} eq '[2]' } 'an operator loads it', 30;
$nginx->clean();

done_testing();
