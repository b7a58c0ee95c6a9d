# What nginx does not lose when a connection breaks at the worst moment.
#
# runs: side by side, 15 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

redis();
device("d$_", bridge => 'b1') for 1 .. 4;
device('e1', bridge => 'b2');

my $proxy = TB::Proxy->start(to => redis()->{port});
my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
my $echo = TB::FastBridge->start(name => 'b2',
                                 connect => { redis()->access('bridge') });
my $nginx = TB::Nginx->start(redis_port => $proxy->{port},
                             redis => 'command_timeout '
                                      . scaled(5) . 's;');


sub works {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { $nginx->call('e1', 'echo', '["ok"]', timeout => 1000)->{body}
           eq '["ok"]' } $what, 60;
}


sub no_answer_keys {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { @{ redis()->call('KEYS', '*:answer:*') } == 0 }
         "$what: used answers are removed";
}


sub records { return map { /:rpc:(.*)/ } @{ redis()->call('KEYS', '*:rpc:*') } }


works('first');

# answered while the subscription is down

my @clients = map { $nginx->open('d' . ($_ % 4 + 1), 'x', "[$_]") } 1 .. 50;
my @calls = $bridge->take(50);

is(scalar @calls, 50, 'no subscription: 50 calls are held');
$proxy->tell('refuse', 'sub');
$proxy->tell('cut', 'sub');
is(join('', $bridge->answer(@calls)), '1' x 50, 'no subscription: answered');
soon { $nginx->count_log(qr/subscription connection to \S+ failed/) }
     'no subscription: nginx has seen it';
is(scalar(grep { $_->answered() } @clients), 0,
   'no subscription: no answer came through');
$proxy->tell('refuse', 'none');
is(join(' ', map { $_->{body} } TB::Client::answers(30, @clients)),
   join(' ', map { "[$_]" } 1 .. 50),
   'no subscription: collected after it is back');
no_answer_keys('no subscription');

# also those that are too large to be published

my $large = '"' . 'x' x 40000 . '"';

@clients = map { $nginx->open('d1', 'x', $large) } 1 .. 3;
@calls = $bridge->take(3);
$proxy->tell('refuse', 'sub');
$proxy->tell('cut', 'sub');
$bridge->answer(@calls);
$proxy->tell('refuse', 'none');
is(scalar(grep { $_->{body} eq $large } TB::Client::answers(30, @clients)), 3,
   'no subscription: large answers');
no_answer_keys('no subscription');

# a new call meanwhile is not created before it can be answered

$proxy->tell('refuse', 'sub');
$proxy->tell('cut', 'sub');

my $creates = $proxy->tell('count', 'tb_rpc_create');
my $client = $nginx->open('e1', 'echo', '["new"]');

is($nginx->call('e1', 'echo', '1', persistent => 1)->{status}, 200,
   'no subscription: a persistent call is taken');
is($proxy->tell('count', 'tb_rpc_create'), $creates + 1,
   'no subscription: but no other');
$proxy->tell('refuse', 'none');
is($client->answer()->{body}, '["new"]', 'no subscription: it is made then');

# its removal is lost where the connection is cut before
no_answer_keys('no subscription, a new call');

# not even when the other connection comes back first

$proxy->tell('refuse', 'sub');
$proxy->tell('cut', 'all');
$creates = $proxy->tell('count', 'tb_rpc_create');
$client = $nginx->open('e1', 'echo', '["first"]');
is($nginx->call('e1', 'echo', '1', persistent => 1)->{status}, 200,
   'connected, no subscription: a persistent call is taken');
is($proxy->tell('count', 'tb_rpc_create'), $creates + 1,
   'connected, no subscription: but no other');
$proxy->tell('refuse', 'none');
is($client->answer()->{body}, '["first"]',
   'connected, no subscription: it is made then');

$proxy->tell('refuse', 'sub');
$proxy->tell('cut', 'sub');
is($nginx->call('e1', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'no subscription for too long');
$proxy->tell('refuse', 'none');
works('no subscription: it is back');

# its time is over while the subscription is down: cancel brings the answer

$client = $nginx->open('d1', 'x', '["late"]', timeout => 4000);
@calls = $bridge->take(1);
is(scalar @calls, 1, 'cancel: taken');
$proxy->tell('refuse', 'sub');
$proxy->tell('cut', 'sub');
$bridge->answer(@calls);
is($client->answer()->{body}, '["late"]', 'cancel brings an answer');
no_answer_keys('cancel');
$proxy->tell('refuse', 'none');
works('cancel: subscribed again');

# create of a persistent call: its reply is lost

my %before = map { $_ => 1 } records();

$creates = $proxy->tell('count', 'tb_rpc_create');
$proxy->tell('eat', 'tb_rpc_create');

my $answer = $nginx->call('d2', 'x', '["once"]', persistent => 1);
my ($id) = $answer->{body} =~ /^\{"rpcId":"([0-9a-f-]{36})"\}$/;

is($answer->{status}, 200, 'lost reply, persistent: 200');
is($proxy->tell('count', 'tb_rpc_create'), $creates + 2,
   'lost reply, persistent: sent twice');
is(join(' ', grep { !$before{$_} } records()), $id,
   'lost reply, persistent: exists once, by the id that was told');

my @taken = $bridge->take(2, 1);

is(scalar @taken, 1, 'lost reply, persistent: is delivered once');
is($taken[0]{rpcId}, $id, 'lost reply, persistent: as the same');
$bridge->answer(@taken);

# with a requestUUID, and the caller tries once more himself

%before = map { $_ => 1 } records();
$proxy->tell('eat', 'tb_rpc_create');

my $uuid = uuid_of('request');
my @ids = map { $nginx->call('d2', 'x', '["twice"]', persistent => 1,
                             uuid => $uuid)->{body} } 1 .. 2;

is($ids[1], $ids[0], 'lost reply, requestUUID: the same id again');
is(scalar(grep { !$before{$_} } records()), 1,
   'lost reply, requestUUID: exists once');
$bridge->answer($bridge->take(1));

# lost twice: nobody knows; what the answer names can be looked up

%before = map { $_ => 1 } records();
$creates = $proxy->tell('count', 'tb_rpc_create');
$proxy->tell('eat', 'tb_rpc_create', 2);
$answer = $nginx->call('d2', 'x', '["lost"]', persistent => 1);
is($answer->{what}, '504 UNKNOWN', 'lost twice: 504');
is($proxy->tell('count', 'tb_rpc_create'), $creates + 2,
   'lost twice: and not sent a third time');
($id) = $answer->{body} =~ /([0-9a-f]{8}-[0-9a-f-]{27})/;
works('lost twice: connected again');
is($nginx->get("/api/rpc/persistent/$id")->{status}, 200,
   'lost twice: GET finds it by the id in the answer');
is(scalar(grep { !$before{$_} } records()), 1, 'lost twice: exists once');
$bridge->answer($bridge->take(1));

# not written at all: 503 would be wrong only after it was

%before = map { $_ => 1 } records();
$proxy->tell('stop', 'tb_rpc_create');
$answer = $nginx->call('d2', 'x', '["again"]', persistent => 1);
is($answer->{status}, 200, 'not delivered to Redis: repeated');
is(scalar(grep { !$before{$_} } records()), 1,
   'not delivered to Redis: exists once');
$bridge->answer($bridge->take(1));

# a DELETE whose reply is lost is not repeated: 404 would be wrong

my ($gone) = $nginx->call('d2', 'x', '["gone"]', persistent => 1)->{body}
             =~ /([0-9a-f]{8}-[0-9a-f-]{27})/;
my $deletes = $proxy->tell('count', 'tb_rpc_delete');

$bridge->take(1);
$proxy->tell('eat', 'tb_rpc_delete');
$answer = TB::Client->new($nginx->{port}, TB::Client::text('DELETE',
              "/api/rpc/persistent/$gone", undef, 'X-Authorization' =>
              'Bearer ' . macro('token:tenant')))->answer();
is($answer->{what}, '504 UNKNOWN', 'lost reply, DELETE: 504');
is($proxy->tell('count', 'tb_rpc_delete'), $deletes + 1,
   'lost reply, DELETE: sent once');
works('lost reply, DELETE: connected again');
is($nginx->get("/api/rpc/persistent/$gone")->{status}, 404,
   'lost reply, DELETE: it was deleted');

# a lightweight call is not repeated but withdrawn

$creates = $proxy->tell('count', 'tb_rpc_create');
$proxy->tell('eat', 'tb_rpc_create');
$answer = $nginx->call('d3', 'x', '["light"]');
is($answer->{what}, '504 UNKNOWN', 'lost reply, two-way: 504');
like($answer->{body}, qr/, rpcId [0-9a-f-]{36}"/, 'with its id');
is($proxy->tell('count', 'tb_rpc_create'), $creates + 1,
   'lost reply, two-way: sent once');

my $inflight = redis()->device_key(macro('d3'));

$inflight =~ s/:device:/:inflight:/;
soon { !redis()->call('EXISTS', $inflight) }
     'lost reply, two-way: withdrawn';
is(scalar $bridge->take(1, 1), 0, 'lost reply, two-way: not in the queue');

# ... unless its answer has come

$proxy->tell('eat', 'tb_rpc_create');
is($nginx->call('e1', 'echo', '["quick"]')->{body}, '["quick"]',
   'lost reply, but the device has answered');
no_answer_keys('lost reply, but the device has answered');

# the reply to cancel is lost

works('before the next');
$proxy->tell('eat', 'tb_rpc_cancel');
$answer = $nginx->call('d4', 'x', '1', timeout => 300);
is($answer->{what}, '504 UNKNOWN', 'lost reply to cancel');
$inflight = redis()->device_key(macro('d4'));
$inflight =~ s/:device:/:inflight:/;
soon { !redis()->call('EXISTS', $inflight) }
     'lost reply to cancel: withdrawn all the same';

# cancel of a caller that left does not reach Redis

works('before the last');
$client = $nginx->open('d4', 'x', '["left"]');
soon { redis()->call('HLEN', $inflight) == 1 } 'cancel stopped: open';
$proxy->tell('stop', 'tb_rpc_cancel');
$client->leave();
soon { !redis()->call('EXISTS', $inflight) }
     'cancel stopped: withdrawn all the same';

works('at last');

# many leave while there is no connection: more than "queue" takes

$nginx->clean();
$nginx->configure(redis => 'queue 4;');
my ($old) = $nginx->reload();
ok($nginx->gone($old), 'the old worker has gone');
works('another worker');
@clients = map { $nginx->open('d4', 'x', "[$_]") } 1 .. 40;
soon { redis()->call('HLEN', $inflight) == 40 } 'many: open';
$proxy->tell('refuse', 'all');
$proxy->tell('cut', 'all');
$_->leave() for @clients;
soon { 40 <= grep { / 499 / } split /\n/, $nginx->access_log() }
     'many: all have left';
$proxy->tell('refuse', 'none');
soon { !redis()->call('EXISTS', $inflight) } 'many: all withdrawn';
is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean();

done_testing();
