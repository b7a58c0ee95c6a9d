# tb_rpc_status: each thing that is counted is done once and found, by all
# workers, in JSON and for Prometheus; what is held and who polls; over a reload
# and the killing of a worker.
#
# runs: side by side, 12 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(wait_for);
use TB::FastBridge;
use TB::Fixture;
use TB::Metrics;
use TB::Nginx;

redis();
device('d1', bridge => 'b1');
device('off');
device('polls');
redis()->call('SET', 'tb:token:' . sha256_hex('secret_token'),
                macro('polls'));
api_key('key');
api_key('disabled', enabled => 0);
api_key('expired', expires => 1);

TB::FastBridge->start(connect => { redis()->access('bridge') });

my $nginx = TB::Nginx->start(
    workers => 2, http => 'tb_rpc_api_keys on; tb_rpc_max_timeout 5m;',
    config => <<'_EOC_');
location /api/rpc/ { tb_rpc  v2; }
location /api/v1/  { tb_rpc_device_api; }
location = /status  { tb_rpc_status; }
location = /metrics { tb_rpc_status  prometheus; }
location = /denied  { tb_rpc_status;  deny all; }
_EOC_


sub fetch {
    my ($path, %opt) = @_;

    my $client = TB::Client->new($nginx->{port},
        TB::Client::text($opt{method} || 'GET', $path, $opt{body},
                         %{ $opt{headers} || {} }));

    return $client->answer(60);
}

sub json {
    my $json = eval { JSON::PP::decode_json($_[0]->{body}) };

    fail("JSON") or diag($@) if !$json;

    return $json || {};
}

sub status { return json(fetch('/status')) }

# what the two pages have now, by one name

sub value {
    my ($name) = @_;

    my ($values) = TB::Metrics::parse(fetch('/metrics')->{body});

    return $values->{$name} || 0;
}

sub requests {
    my ($op, $result) = @_;

    my $json = status()->{requests}{$op}{$result} || 0;
    my $metric = value("tb_rpc_requests_total{operation=\"$op\","
                       . "result=\"$result\"}");

    return $json == $metric ? $json : "$json and $metric";
}

# does it, and it is counted once

sub counts (&$$$) {
    my ($code, $op, $result, $name) = @_;

    my $before = requests($op, $result);

    $code->();

    # a request is counted when it is logged, after its answer was sent
    wait_for { requests($op, $result) ne $before };

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(requests($op, $result), $before + 1, $name);
}

# of tb_rpc_queues, in Redis

sub redis_calls {
    my ($calls) = redis()->call('INFO', 'commandstats')
                  =~ /^cmdstat_fcall:calls=(\d+)/m;

    return $calls;
}

sub tenant { return ('X-Authorization' => 'Bearer ' . macro('token:tenant')) }


# results ---------------------------------------------------------------------

my $id;

counts { $nginx->call('d1', 'echo', '1') } 'twoway', 'ok', 'a two-way call';
counts { $nginx->call('d1', 'echo', '1', oneway => 1) }
    'oneway', 'ok', 'a one-way call';
counts { $id = json($nginx->call('off', 'm', '1', persistent => 1))->{rpcId} }
    'persistent', 'ok', 'a persistent call';
counts { $nginx->call('off', 'm', '1', timeout => 100) }
    'twoway', 'no_active_connection', 'a call to nobody';
counts { fetch("/api/rpc/persistent/$id", headers => { tenant() }) }
    'get', 'ok', 'a record';
counts { fetch('/api/rpc/persistent/device/' . macro('off')
               . '?pageSize=1&page=0', headers => { tenant() }) }
    'list', 'ok', 'a list';
counts { fetch("/api/rpc/persistent/$id", method => 'DELETE',
               headers => { tenant() }) }
    'delete', 'ok', 'a delete';
counts { fetch("/api/rpc/persistent/$id", headers => { tenant() }) }
    'get', 'unknown_record', 'a record that is gone';
counts { fetch('/api/rpc/none', headers => { tenant() }) }
    'other', 'not_found', 'what is not there';
counts { fetch($_, method => 'OPTIONS') } 'other', 'ok', "OPTIONS of $_"
    for '/api/rpc/twoway/' . macro('d1'), '/api/v1/secret_token/rpc';
counts { fetch('/api/rpc/oneway/' . macro('d1'), method => 'POST',
               body => '{', headers => { tenant() }) }
    'oneway', 'invalid', 'what is no JSON';
counts { fetch('/api/v1/secret_token/rpc?timeout=20') }
    'poll', 'empty', 'a poll without a call';
counts { fetch('/api/v1/nobody/rpc?timeout=20') }
    'poll', 'unknown_token', 'a poll of nobody';
counts { $nginx->open('off', 'm', '1', timeout => 30000)->leave() }
    'twoway', 'client_closed', 'a caller who leaves';


# who was not let in ----------------------------------------------------------

sub refused (&$$) {
    my ($headers, $cause, $name) = @_;

    my $before = status()->{refused}{$cause};
    my $metric = "tb_rpc_auth_failures_total{cause=\"$cause\"}";

    counts {
        fetch('/api/rpc/oneway/' . macro('d1'), method => 'POST',
              body => '{}', headers => { $headers->() })
    } 'oneway', 'unauthorized', $name;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(status()->{refused}{$cause}, $before + 1, "$name: $cause");
    is(value($metric), $before + 1, "$name: its metric");
}

my $jwt = macro('token:tenant');

refused { () } 'credential', 'without a credential';
refused { ('X-Authorization' => 'Bearer nothing') } 'jwt_malformed',
    'a token that is none';
refused { ('X-Authorization' => 'Bearer ' . $jwt =~ s/\.[^.]*$/.AAAA/r) }
    'jwt_signature', 'a token by somebody else';
refused { ('X-Authorization' => 'ApiKey none') } 'api_key_unknown',
    'an API key that is none';
refused { ('X-Authorization' => 'ApiKey ' . macro('disabled')) }
    'api_key_disabled', 'one that is disabled';
refused { ('X-Authorization' => 'ApiKey ' . macro('expired')) }
    'api_key_expired', 'one that has expired';
is(status()->{refused}{device_token}, 1, 'and the token of a device');

my %caches = %{ status()->{caches} };

cmp_ok($caches{jwt}{hits}, '>', 0, 'JWTs that were known');
cmp_ok($caches{jwt}{misses}, '>', 0, 'and those that were not');
is($caches{api_key}{hits} + $caches{api_key}{misses}, 3, 'API keys');
is($caches{token}{hits} + $caches{token}{misses}, 2, 'tokens of devices');


# what takes how long ---------------------------------------------------------

my $durations = status()->{durations};
my $sum = 0;

is($durations->{requests}{list}{count}, 1, 'one list took its time');
is(scalar @{ $durations->{bounds} } + 1,
   scalar @{ $durations->{device}{buckets} }, 'a bucket behind the last bound');
is($durations->{device}{count}, 2, 'two answers of devices');

$nginx->call('off', 'm', '1', timeout => 300);

soon { status()->{durations}{requests}{twoway}{sum} >= 400 }
    'what two-way calls took';
is(value('tb_rpc_request_duration_seconds_count{operation="twoway"}'),
   status()->{durations}{requests}{twoway}{count}, 'Prometheus is told, too');


# now -------------------------------------------------------------------------

my @held = map { $nginx->open('off', 'm', '1', timeout => 300000) } 1 .. 3;
my $poll = TB::Client->new($nginx->{port}, TB::Client::text('GET',
    '/api/v1/secret_token/rpc?timeout=300000'));

soon { status()->{polls} == 1 } 'one poll';
soon { my $s = status(); $s->{held} >= 2 } 'calls that are held';

my $s = status();
my @processes = @{ $s->{processes} };

is($s->{workers}{running}, 2, 'two workers');
is_deeply([sort { $a <=> $b } map { $_->{pid} } @processes],
          [$nginx->workers()], 'they are ours');
is_deeply([sort map { $_->{worker} } @processes], [0, 1], 'by their numbers');
soon { !grep { $_->{shards} != 128 || $_->{nodes}[0]{command} ne 'ready'
               || $_->{nodes}[0]{subscription} ne 'ready' }
       @{ status()->{processes} } } 'their Redis is ready';
like($processes[0]{nodes}[0]{node}, qr{^redis://127\.0\.0\.1:\d+$},
     'and has a name') if !$ENV{TB_REDIS_CLUSTER} && !$ENV{TB_REDIS_TLS};
soon { status()->{ticks}{count} > 0 } 'one of them ticks';
cmp_ok(status()->{redis}{commands}, '>', 100, 'commands');
is(status()->{redis}{lost}, 0, 'none was lost');


# what waits for bridges: known for a second

device("w$_", bridge => 'nobody') for 1 .. 3;
is($nginx->call("w$_", 'm', '1', persistent => 1)->{status}, 200, 'a call')
    for 1 .. 3;

soon {
    my ($queue) = grep { $_->{bridge} eq 'nobody' }
                       @{ status()->{queues}{bridges} };

    $queue && $queue->{calls} == 3 && $queue->{oldest} >= 100;
} 'three calls wait for a bridge, in three shards';
soon { status()->{queues}{shards} == 128 } 'all shards have told';
soon { value('tb_rpc_queue_calls{bridge="nobody"}') == 3 } 'its metric';
soon { value('tb_rpc_queue_oldest_seconds{bridge="nobody"}') > 0 }
     'the oldest';

if (!$ENV{TB_REDIS_CLUSTER}) {
    # by two workers each second, and by who ticks

    my $told = redis_calls();
    my $since = time();
    my $client = TB::Client->new($nginx->{port});
    my $text = TB::Client::text('GET', '/status');

    $client->send($text)->answer(60) for 1 .. 60;
    cmp_ok(redis_calls() - $told, '<=', 3 * 128 * (1.3 + time() - $since),
           'Redis is not asked each time');
}

# a bridge can't write a page: nothing but what is a name is shown

redis()->call('ZADD', 'tb:{s000}:queues', 1, $_)
    for '"} 1 <b>', 'x' x 65, '', 'Last.one_:@-9';

my @names;

soon {
    @names = map { $_->{bridge} } @{ status()->{queues}{bridges} };

    grep { $_ eq 'Last.one_:@-9' } @names;
} 'a name of a bridge is shown';
is_deeply([grep { !/^[\w.:@-]{1,64}$/ } @names], [], 'and what is none is not');

redis()->call('DEL', 'tb:{s000}:queues');
redis()->call('SET', 'tb:{s000}:queues', 'x');
soon { status()->{queues}{shards} == 127 } 'a shard that can\'t tell';
redis()->call('DEL', 'tb:{s000}:queues');


# the page for Prometheus -----------------------------------------------------

my $answer = fetch('/metrics');
my ($values, @errors) = TB::Metrics::parse($answer->{body});

is_deeply(\@errors, [], 'the format');
is($answer->{headers}{'content-type'},
   'text/plain; version=0.0.4; charset=utf-8', 'its type');
is_deeply([grep { !/^tb_rpc_/ } keys %$values], [], 'all names are ours');
unlike($answer->{body}, qr/secret_token|@{[ macro('polls') ]}/,
       'no device, no token');
is($values->{'tb_rpc_workers{state="running"}'}, 2, 'workers');


# requests to it --------------------------------------------------------------

my $head = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                 PeerPort => $nginx->{port});

print $head "HEAD /status HTTP/1.0\r\n\r\n";
like(join('', <$head>),
     qr{\AHTTP/1\.1 200 .*Content-Length: \d{4}.*\r\n\r\n\z}s, 'HEAD');

for my $method (qw(POST PUT DELETE OPTIONS PATCH)) {
    my $r = fetch('/status', method => $method, body => 'x' x 1000);

    is("$r->{status} $r->{headers}{allow}", '405 GET, HEAD', $method);
}

is(fetch('/denied')->{status}, 403, 'deny is obeyed');
is(json(fetch('/status?callback=<script>&%00'))->{version}, $s->{version},
   'arguments mean nothing');
unlike(fetch('/status', headers => { 'X-Evil' => '"},{' })->{body} || '',
       qr/Evil/, 'nothing of the request is shown');
is(fetch('/status')->{headers}{'cache-control'}, 'no-store',
   'it is not to be kept');


# over a reload ---------------------------------------------------------------

my $twoway = requests('twoway', 'no_active_connection');
my @old = $nginx->reload();

soon { my $w = status()->{workers};
       $w->{running} == 2 && $w->{exiting} >= 1 } 'old and new ones';
is(requests('twoway', 'no_active_connection'), $twoway, 'what was counted');
is(status()->{workers}{lost}, 0, 'nobody was lost');

($values, @errors) = TB::Metrics::parse(fetch('/metrics')->{body});
is_deeply(\@errors, [], 'the format, meanwhile');
cmp_ok($values->{'tb_rpc_held_calls{worker="exiting"}'}, '>=', 1,
       'what the old ones hold');

$_->leave() for @held;

soon { status()->{workers}{exiting} == 0 } 'they have gone';
is(status()->{workers}{lost}, 0, 'and said so');
soon { status()->{held} == 0 } 'nothing is held';


# a worker is killed ----------------------------------------------------------

@held = map { $nginx->open('off', 'm', '1', timeout => 300000) } 1 .. 2;
soon { status()->{held} == 2 } 'held';

my $before = requests('twoway', 'ok');
my @workers = $nginx->workers();

kill 'KILL', @workers;
soon { my @now = $nginx->workers(); @now == 2
       && !grep { my $w = $_; grep { $w == $_ } @workers } @now } 'others come';
soon { my $w = status()->{workers}; $w->{lost} == 2 && $w->{running} == 2 }
    'that is seen';
is(status()->{held}, 0, 'what they held is not');
is(requests('twoway', 'ok'), $before, 'what they had counted is there');

counts { $nginx->call('off', 'm', '1', persistent => 1) }
    'persistent', 'ok', 'and it goes on';

$nginx->clean(qr/exited on signal 9/);


# without a page there is no memory -------------------------------------------

sub shared {
    my $n = 0;

    open my $fh, '<', "/proc/$nginx->{pid}/maps" or return 0;
    /-([0-9a-f]+) rw-s .*dev.zero/ and $n++ while <$fh>;

    return $n;
}

my $with = shared();

$nginx->configure(config => 'location /api/rpc/ { tb_rpc  v2; }
location = /health { tb_rpc_status  health; }');
$nginx->reload();
soon { shared() == $with - 1 } 'without a page there is no memory';
is($nginx->call('off', 'm', '1', persistent => 1)->{status}, 200,
   'and nothing is counted');

done_testing();
