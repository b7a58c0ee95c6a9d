# A caller that leaves takes its call along, wherever the call is just then.
#
# runs: side by side, 5 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(free_port wait_for);
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

redis();
device('d1', bridge => 'b1');
device('d2');

my $key = redis()->device_key(macro('d1'));
my ($shard) = $key =~ /^(tb:\{s\d+\}:)/;
my $proxy = TB::Proxy->start(to => redis()->{port});
my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });

set_macro(nobody => uuid_of('device nobody'));
redis()->call('CONFIG', 'SET', 'slowlog-log-slower-than', 0,
              'slowlog-max-len', 10000);

my $h2 = free_port();
my $nginx = TB::Nginx->start(
    redis_port => $proxy->{port},
    http => 'log_format short "$status $tb_rpc_result";'
            . 'access_log short.log short;',
    server => "listen 127.0.0.1:$h2 http2;",
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /brief/rpc/ { tb_rpc v2; tb_rpc_max_timeout 2s; }'
              . ' location /keep/rpc/ { tb_rpc v2;'
              . ' tb_rpc_ignore_client_abort on; }');


sub open_calls {
    my ($device) = @_;

    my $at = redis()->device_key(macro($device || 'd1'));

    $at =~ s/:device:/:inflight:/;

    return redis()->call('HLEN', $at);
}


sub bodies { return $key =~ s/:device:/:body:/r }


# arguments of the latest tb_rpc_cancel behind the key: rpcId, requestId

sub cancelled {
    for my $entry (@{ redis()->call('SLOWLOG', 'GET', 10000) }) {
        my @words = @{ $entry->[3] };

        return @words[4, 5] if $words[1] && $words[1] eq 'tb_rpc_cancel';
    }

    return;
}


# a request may be logged after its caller has the answer

sub left_early {
    return scalar grep { /^499\b/ } split /\n/, $nginx->file_text('short.log');
}


# what a call that was withdrawn leaves in Redis

sub nothing_left {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { !open_calls() } "$what: no open call";
    redis()->fcall('tb_rpc_tick', "${shard}due", 64);
    is(redis()->call('LLEN', "${shard}queue:b1"), 0, "$what: empty queue");
    is_deeply([ grep { !/^#/ } @{ redis()->call('ZRANGE', "${shard}due", 0,
                                                -1) } ],
              [], "$what: nothing is due");
    is(redis()->call('HLEN', bodies()), 0, "$what: no envelope");
}


sub one_499 {
    my ($what, $before) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { left_early() > $before } "$what: 499 is logged";
    is(left_early(), $before + 1, "$what: once");
}


is($nginx->call('d1', 'x', '1', timeout => 100)->{what}, '504 NOT_CLAIMED',
   'the first call: nginx is connected');

for my $how ('close', 'reset') {
    my $lines = left_early();
    my $client = $nginx->open('d1', 'x', '1');

    my ($call) = $bridge->take(1);

    ok($call, "taken, $how: it is");
    $client->leave($how);
    nothing_left("taken, $how");
    one_499("taken, $how", $lines);
    is(($bridge->answer($call))[0], 0, "taken, $how: answered in vain");
}

{
    my $lines = left_early();
    my $client = $nginx->open('d1', 'x', '1');

    soon { redis()->call('LLEN', "${shard}queue:b1") } 'in the queue: it is there';
    my ($id) = @{ redis()->call('HKEYS', bodies()) };
    $client->leave();
    nothing_left('in the queue');
    one_499('in the queue', $lines);
    is((cancelled())[1], $id, 'in the queue: the cancel names the requestId');
    is(scalar(my @none = $bridge->take(1, 0.3)), 0,
       'in the queue: nobody gets it');
}

{
    my $lines = left_early();
    my $client = $nginx->open('d2', 'x', '1');

    soon { open_calls('d2') } 'offline: waits';
    $client->leave();
    soon { !open_calls('d2') } 'offline: no open call';
    one_499('offline', $lines);

    my $pending = redis()->device_key(macro('d2'));

    $pending =~ s/:device:/:pending:/;
    is(redis()->call('ZCARD', $pending), 0, 'offline: nothing pending');
}

# create was written, its reply is not there: it is awaited, so that the cancel
# names the requestId; without it all open calls of the device had to be read

sub leave_under_way {
    my ($what, $device) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $lines = left_early();
    my $before = $proxy->tell('count', 'tb_rpc_create');
    my $cancels = $proxy->tell('count', 'tb_rpc_cancel');

    $proxy->tell('mute', 'cmd');
    my $client = $nginx->open($device || 'd1', 'x', '1');

    soon { $proxy->tell('count', 'tb_rpc_create') > $before } "$what: create is written";

    # what the proxy has passed on Redis need not have read yet; a device that
    # is unknown has no call
    my ($id) = @{ $device ? [] : wait_for {
        my $ids = redis()->call('HKEYS', bodies());
        @$ids ? $ids : undef;
    } || [] };

    $client->leave();
    one_499($what, $lines);
    is($proxy->tell('count', 'tb_rpc_cancel'), $cancels, "$what: no cancel yet");

    return ($id, $cancels);
}


{
    my ($id, $cancels) = leave_under_way('under way');

    ok($id, 'under way: the call is there');
    $proxy->tell('mute', 'none');
    nothing_left('under way');
    is($proxy->tell('count', 'tb_rpc_cancel'), $cancels + 1,
       'under way: one cancel');
    is((cancelled())[1], $id, 'under way: it names the requestId');
}

# the connection is lost instead of the reply: the cancel goes without it

{
    my ($id) = leave_under_way('lost');

    ok($id, 'lost: the call is there');
    $proxy->tell('cut', 'all');
    $proxy->tell('mute', 'none');
    nothing_left('lost');
    is((cancelled())[1], '', 'lost: the cancel goes without requestId');
}

# create is refused: there is nothing to cancel

{
    my (undef, $cancels) = leave_under_way('refused', 'nobody');

    $proxy->tell('mute', 'none');
    is($nginx->call('d1', 'x', '1', timeout => 100)->{what},
       '504 NOT_CLAIMED', 'refused: nginx goes on');
    is($proxy->tell('count', 'tb_rpc_cancel'), $cancels + 1,
       'refused: no cancel but that one\'s');
    nothing_left('refused');
}

# create waits for a connection

{
    my $lines = left_early();
    my $before = $proxy->tell('count', 'tb_rpc_create');
    my $failed = $nginx->count_log(qr/command connection to \S+ failed/);

    $proxy->tell('refuse', 'all');
    $proxy->tell('cut', 'all');
    soon { $nginx->count_log(qr/command connection to \S+ failed/) > $failed }
         'not written: disconnected';
    my $client = $nginx->open('d1', 'x', '1');

    # when this is answered, that one was read
    $nginx->get('/none');
    $client->leave();
    one_499('not written', $lines);
    $proxy->tell('refuse', 'none');
    is($nginx->call('d1', 'x', '1', timeout => 100)->{what},
       '504 NOT_CLAIMED', 'not written: connected again');
    is($proxy->tell('count', 'tb_rpc_create'), $before + 1,
       'not written: and never after');
    nothing_left('not written');
}

# its time is over while there is no connection, and then it leaves: the cancel
# that could not be sent is sent later; tick would leave an answer

{
    my $lines = left_early();
    my $client = $nginx->open('d1', 'x', '1', timeout => 1500);

    soon { open_calls() } 'cancel not written: open';
    my ($till) = map { /"expirationTime":(\d+)/ }
                 @{ redis()->call('HVALS', bodies()) };

    $proxy->tell('refuse', 'all');
    $proxy->tell('cut', 'all');

    # the cancel waits for command_timeout, 2 s, from then on
    wait_for { time() * 1000 > $till + 200 };
    $client->leave();
    one_499('cancel not written', $lines);
    is(open_calls(), 1, 'cancel not written: still open');
    $proxy->tell('refuse', 'none');
    soon { !open_calls() } 'cancel not written: withdrawn once it can be';
    is_deeply(redis()->call('KEYS', "${shard}answer:*"), [],
              'cancel not written: and not by tick');
    is($nginx->call('d1', 'x', '1', timeout => 100)->{what},
       '504 NOT_CLAIMED', 'cancel not written: connected again');
    nothing_left('cancel not written');
}

# a second request of a keep-alive connection, with a third one behind it

{
    my $lines = left_early();
    my $text = $nginx->text('d1', 'x', '1');
    my $client = $nginx->open('d1', 'x', '1', timeout => 100);

    is($client->answer()->{what}, '504 NOT_CLAIMED', 'keep-alive: first');
    nothing_left('keep-alive, first');
    $client->send($text . $text);
    soon { open_calls() } 'keep-alive: second is open';
    $client->leave();
    nothing_left('keep-alive');
    one_499('keep-alive', $lines);
}

# tb_rpc_max_timeout limits the call as well as its caller

{
    my $text = $nginx->text('d1', 'x', '1', timeout => 20000);

    $text =~ s{POST /api}{POST /brief};
    my $client = TB::Client->new($nginx->{port}, $text);

    soon { redis()->call('LLEN', "${shard}queue:b1") } 'brief: queued';
    my ($item) = @{ redis()->call('HVALS', bodies()) };
    my ($from, $till) =
        $item =~ /"createdTime":(\d+),"expirationTime":(\d+)[,}]/;

    is($till - $from, 2000, 'brief: the bridge knows how long it is awaited');
    is($client->answer()->{what}, '504 NOT_CLAIMED', 'brief: 504');
    nothing_left('brief');
}

# tb_rpc_ignore_client_abort on

{
    my $text = $nginx->text('d1', 'x', '{"kept":1}');

    $text =~ s{POST /api}{POST /keep};
    my $client = TB::Client->new($nginx->{port}, $text);
    my ($call) = $bridge->take(1);

    ok($call, 'kept: taken');
    $client->leave();
    is($nginx->call('d2', 'x', '1', timeout => 200)->{what},
       '504 NO_ACTIVE_CONNECTION', 'kept: nginx has done something since');
    is(($bridge->answer($call))[0], 1, 'kept: answered');
    soon { $nginx->file_text('short.log') =~ /^200/m } 'kept: 200';
    nothing_left('kept');
}

# HTTP/2: the connection goes, and one of two streams

SKIP: {
    skip 'no curl with HTTP/2', 6 if `curl --version 2>&1` !~ /\bHTTP2\b/;

    my $lines = left_early();
    my $pid = fork();

    if ($pid == 0) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        { exec 'curl', '-s', '--http2-prior-knowledge', '-d',
               '{"method":"x","params":2}', '-H',
               'X-Authorization: Bearer ' . macro('token:tenant'),
               "http://127.0.0.1:$h2" . $nginx->path('d1', {}) }
        POSIX::_exit(127);
    }

    my ($call) = $bridge->take(1);

    ok($call, 'HTTP/2: taken');
    kill 'KILL', $pid;
    waitpid $pid, 0;
    nothing_left('HTTP/2');
    one_499('HTTP/2', $lines);
}

is($nginx->call('d1', 'x', '1', timeout => 100)->{what}, '504 NOT_CLAIMED',
   'the last call is as the first');
is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean();

done_testing();
