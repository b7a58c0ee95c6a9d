# The HTTP transport of devices: polls, answers, and what becomes of calls
# when one of those who hold an end of them goes away.
#
# runs: side by side, 13 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(free_port scaled);
use TB::Fixture;
use TB::Nginx;

my ($h2, $narrow) = map { free_port() } 1 .. 2;

redis();

my $nginx = TB::Nginx->start(
    redis => 'command_timeout 20s;',
    http => 'log_format key "$status $tb_rpc_key_id $tb_rpc_device_id $uri '
            . '$request_uri $request"; access_log key.log key;'
            . 'tb_rpc_ack_timeout 3s;',
    server => "listen 127.0.0.1:$h2 http2; client_max_body_size 10m;"
              . " listen 127.0.0.1:$narrow sndbuf=8k;",
    config => 'location /api/rpc/ { tb_rpc v2; tb_rpc_max_payload 1m; }'
              . ' location /api/plugins/rpc/ { tb_rpc v1; }'
              . ' location /api/v1/ { tb_rpc_device_api; }'
              . ' location /short/ { tb_rpc_device_api 300ms; }'
              . ' location /nocache/ { tb_rpc_device_api;'
              . ' tb_rpc_api_key_cache 0; }');

my %token;


sub http_device {
    my ($name, %opt) = @_;

    my $id = device($name, %opt);

    $token{$name} = "token_of_$name";
    redis()->call('SET', 'tb:token:' . sha256_hex($token{$name}), $id);

    return $id;
}


sub get {
    my ($path, %opt) = @_;

    return TB::Client->new($opt{port} || $nginx->{port},
                           TB::Client::text($opt{method} || 'GET', $path,
                                            $opt{body}));
}


sub poll {
    my ($name, $ms) = @_;

    return get("/api/v1/$token{$name}/rpc"
               . (defined $ms ? "?timeout=$ms" : ''));
}


sub reply {
    my ($name, $id, $body) = @_;

    return get("/api/v1/$token{$name}/rpc/$id", method => 'POST',
               body => $body)->answer();
}


sub field {
    my ($name, $field) = @_;

    return redis()->call('HGET', redis()->device_key(macro($name)), $field);
}


sub key {
    my ($name, $kind) = @_;

    my $key = redis()->device_key(macro($name));

    $key =~ s/:device:/:$kind:/;

    return $key;
}


# Redis knows of the poll

sub open_poll {
    my ($name, $ms) = @_;

    my $before = field($name, 'poll') || '';
    my $client = poll($name, $ms);

    wait_open($name, $before) or diag "no poll of $name";

    return $client;
}


sub wait_open {
    my ($name, $before) = @_;

    return TB::Env::wait_for { (field($name, 'poll') || '') ne $before };
}


sub call_of { return JSON::PP->new->utf8->decode($_[0]{body}) }
sub what { return "$_[0]{status} [$_[0]{body}]" }


# what is refused

http_device('d1');
http_device('d2');

{
    my $r = get('/api/v1/nobody/rpc')->answer();

    is(what($r), '401 []', 'a token that is nobody\'s');
    is($r->{headers}{'content-length'}, 0, 'empty');
    is($r->{headers}{'content-type'}, undef, 'no type');
    is(get('/api/v1/nobody/rpc')->answer()->{status}, 401, 'once more');
    redis()->call('SET', 'tb:token:' . sha256_hex('nobody'), macro('d1'));
    is(get('/api/v1/nobody/rpc')->answer()->{status}, 401, 'remembered');
    is(get('/nocache/nobody/rpc?timeout=10')->answer()->{status}, 408,
       'tb_rpc_api_key_cache 0: asked each time');
    redis()->call('SET', 'tb:token:' . sha256_hex('broken'), 'x');
    is(get('/api/v1/broken/rpc')->answer()->{status}, 401, 'no device id');
    redis()->call('SET', 'tb:token:' . sha256_hex('gone'),
                  '99999999-9999-4999-8999-999999999999');
    is(get('/api/v1/gone/rpc')->answer()->{status}, 401, 'no such device');
    is(get('/api/v1/nobody/rpc/1', method => 'POST', body => '1')
           ->answer()->{status}, 401, 'answers too');
    is(get('/api/v1/' . 'x' x 300 . '/rpc')->answer()->{status}, 401,
       'a long one');
    is(get('/api/v1/%41%42/rpc')->answer()->{status}, 401, 'an escaped one');

    for my $path ('/api/v1/', '/api/v1/x', '/api/v1/x/', '/api/v1/x/attributes',
                  '/api/v1/x/rpc/', '/api/v1/x/rpc/1/2')
    {
        my $r = get($path)->answer();
        is($r->{status}, 404, "GET $path");
        like($r->{body}, qr/"errorCode":32,/, 'code 32');
    }

    for (['POST', '/rpc', 404], ['PUT', '/rpc', 405, 'GET, OPTIONS'],
         ['HEAD', '/rpc', 405, 'GET, OPTIONS'],
         ['DELETE', '/rpc/1', 405, 'POST, OPTIONS'],
         ['GET', '/rpc/1', 405, 'POST, OPTIONS'],
         ['OPTIONS', '/rpc', 204, 'GET, OPTIONS'],
         ['OPTIONS', '/rpc/1', 204, 'POST, OPTIONS'])
    {
        my ($method, $tail, $status, $allow) = @$_;
        next if $method eq 'HEAD';
        my $r = get("/api/v1/$token{d1}$tail", method => $method)->answer();
        is($r->{status}, $status, "$method $tail");
        is($r->{headers}{allow}, $allow, 'Allow');
    }

    for my $t ('x', '-1', '1.5', '5s', '%31', '1' x 9 . 'x') {
        my $r = get("/api/v1/$token{d1}/rpc?timeout=$t")->answer();
        is($r->{status}, 400, "timeout $t");
        like($r->{body}, qr/"errorCode":31,/, 'code 31');
    }

    for my $id ('x', '0', '-1', '1.5', '2147483648', '99999999999', '1%20') {
        my $r = reply('d1', $id, '1');
        is($r->{status}, 400, "id $id");
        like($r->{body}, qr/"errorCode":31,/, 'code 31');
    }

    is(what(reply('d1', 1, '1')), '200 []', 'an answer to nothing');
    ok($nginx->wait_log(qr/device \S+ answered request 1, which is not open/),
       'is logged');
    is(reply('d1', 2147483647, '1')->{status}, 200, 'the largest id');
    $r = get("/api/v1/$token{d1}/rpc/1", method => 'POST', body => '')
             ->answer();
    is($r->{status}, 400, 'no body');
    like($r->{body}, qr/"errorCode":31,/, 'code 31');
    is(reply('d1', 1, 'x' x 65536)->{status}, 200, 'as large as may be');
    is(what(reply('d1', 1, 'x' x 65537)),
       '413 ["Payload size exceeds the limit of 65536 bytes"]', 'larger');
    is(what(TB::Client->new($nginx->{port},
                            "POST /api/v1/$token{d1}/rpc/1 HTTP/1.1\r\n"
                            . "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                            . "10001\r\n" . 'x' x 65537 . "\r\n0\r\n\r\n")
            ->answer()),
       '413 ["Payload size exceeds the limit of 65536 bytes"]', 'in chunks');
}

# the time of a poll

{
    # before the minute that a poll has without a time of its own

    my $soon = 30;
    my $start = time;
    my $client = poll('d1', 200);
    my $r = $client->answer($soon);

    is(what($r), '408 []', 'nothing came');
    cmp_ok(time - $start, '>', 0.19, 'in time');
    is($r->{headers}{'content-length'}, 0, 'Content-Length');
    is($client->send(TB::Client::text('GET',
           "/api/v1/$token{d1}/rpc?timeout=50"))->answer($soon)->{status}, 408,
       'the connection goes on');
    $client->send(TB::Client::text('GET',
                                   "/api/v1/$token{d1}/rpc?timeout=50") x 2);
    is($client->answer($soon)->{status}, 408, 'pipelined');
    $start = time;
    is(get("/short/$token{d1}/rpc")->answer($soon)->{status}, 408,
       'the default');
    is(get("/short/$token{d1}/rpc?timeout=")->answer($soon)->{status}, 408,
       'empty');
    cmp_ok(time - $start, '>', 0.58, 'is that of the location');
    soon { !defined field('d1', 'poll') } 'Redis knows';

    $client = open_poll('d1', 999999999999);
    my ($till) = field('d1', 'poll') =~ /(\d+)$/;
    cmp_ok($till - time * 1000, '<', 303000, 'at most five minutes');
    $client->leave();
    soon { !defined field('d1', 'poll') } 'it has left';
}

# a call: the caller's bytes reach the device, and the device's the caller

for (['"m"', '{"a":1.10,"b":[{"params":1}],"c":"},\""}'],
     ['"x\\",\\"params\\":7"', '"\\\\"'], ['"\\u00e9"', '[[],{},"]"]'],
     ['"n"', 'null'], ['"n"', '123456789012345678901234567890'])
{
    my ($method, $params) = @$_;
    my $client = open_poll('d1', 10000);
    my $caller = TB::Client->new($nginx->{port},
        TB::Client::text('POST', '/api/rpc/twoway/' . macro('d1'),
                         "{\"method\":$method,\"params\":$params,"
                         . '"additionalInfo":{"params":[1]}}',
                         'X-Authorization' => 'Bearer '
                                              . macro('token:tenant')));
    my $r = $client->answer();
    my ($id) = $r->{body} =~ /^\{"id":(\d+),/;

    is($r->{body}, "{\"id\":$id,\"method\":$method,\"params\":$params}",
       'the caller\'s bytes');
    is($r->{headers}{'content-type'}, 'application/json', 'their type');
    is(what(reply('d1', $id, '{"t":20.50}')), '200 []', 'the answer');
    is(what($caller->answer()), '200 [{"t":20.50}]', 'the caller has it');
}

# one that waits, one-way ones, large ones

{
    my $caller = $nginx->open('d1', 'x', '1');

    soon { redis()->call('ZCARD', key('d1', 'pending')) } 'it waits';
    my $e = call_of(poll('d1', 5000)->answer());
    reply('d1', $e->{id}, '2');
    is(what($caller->answer()), '200 [2]', 'and has its answer');

    my $client = open_poll('d1', 5000);
    is(what($nginx->call('d1', 'x', '1', oneway => 1)), '200 []', 'one-way');
    is(call_of($client->answer())->{method}, 'x', 'the device has it');

    $client = open_poll('d1', 5000);
    my $large = '"' . 'y' x 60000 . '"';
    $caller = $nginx->open('d1', 'x', $large);
    my $r = $client->answer();
    is(length($r->{body}), length($large) + length('{"id":,"method":"x","params":}')
                           + length(call_of($r)->{id}), 'a large one');
    reply('d1', call_of($r)->{id}, $large);
    is($caller->answer()->{body}, $large, 'and a large answer');
}

# an unmodified device: curl in a loop

SKIP: {
    skip 'no curl', 20 if !`curl --version 2>&1`;

    http_device('curl');

    my $pid = fork();

    if ($pid == 0) {
        setpgrp;
        open STDERR, '>', '/dev/null';
        { exec 'sh', '-c', <<'_EOC_', 'sh', "http://127.0.0.1:$nginx->{port}/api/v1/$token{curl}/rpc" }
while true; do
    call=$(curl -s "$1?timeout=2000") || exit
    id=$(echo "$call" | sed -n 's/^{"id":\([0-9]*\),.*/\1/p')
    [ -n "$id" ] || continue
    curl -s -d "{\"got\":$call}" "$1/$id"
done
_EOC_
        POSIX::_exit(127);
    }

    for (1 .. 20) {
        like($nginx->call('curl', 'echo', "{\"n\":$_}")->{body},
             qr/"params":\{"n":$_\}\}\}$/, "curl in a loop: $_");
    }

    kill 'KILL', -$pid;
    waitpid $pid, 0;
    soon { !defined field('curl', 'poll') } 'it is gone';
}

# an abandoned poll never swallows a call

for my $how ('close', 'reset') {
    for my $n (1 .. 20) {
        my $gone = open_poll('d2', 10000);

        # the call is under way when the device leaves, or the other way
        # round
        $gone->leave($how) if $n % 2;
        my $caller = $nginx->open('d2', 'x', $n, timeout => 10000);
        $gone->leave($how) if !($n % 2) && !$gone->answered();

        next if $gone->{result} && $gone->{result}{status} == 200;

        my $r = poll('d2', 5000)->answer();

        if ($r->{status} != 200 && !($n % 2)) {

            # it was answered before it left: an unread answer
            $caller->leave();
            next;
        }

        is(call_of($r)->{params}, $n, "$how $n: it goes to the next poll");
        reply('d2', call_of($r)->{id}, '"ok"');
        is($caller->answer()->{body}, '"ok"', 'answered');
    }
}

# nor one that leaves while the call is on its way, by a message or by the reply
# to the poll itself; here Redis is held up meanwhile

for my $by ('message', 'reply') {
    my ($gone, $caller);

    if ($by eq 'message') {
        $gone = open_poll('d2', 10000);
        redis()->pause();
        $caller = $nginx->open('d2', 'x', "\"$by\"", timeout => 20000);

    } else {
        $caller = $nginx->open('d2', 'x', "\"$by\"", timeout => 20000);
        soon { redis()->call('ZCARD', key('d2', 'pending')) } "$by: it waits";
        redis()->pause();
        $gone = poll('d2', 10000);
    }

    # nothing shows that it is written
    select undef, undef, undef, 0.3;

    my $lines = () = $nginx->file_text('key.log') =~ /^499 /mg;

    $gone->leave();
    soon { $lines < (() = $nginx->file_text('key.log') =~ /^499 /mg) }
         "$by: the poll has left";
    redis()->resume();

    my $r = poll('d2', 5000)->answer();

    is(call_of($r)->{params}, $by, "$by: the next poll has the call");
    is(redis()->counter('unconfirmed'), 0, "$by: it was given back for it");
    reply('d2', call_of($r)->{id}, '"ok"');
    is(what($caller->answer()), '200 ["ok"]', "$by: answered");
}

# nor one that leaves in the middle of a large one

{
    my $before = field('d2', 'poll') || '';
    my $text = TB::Client::text('GET', "/api/v1/$token{d2}/rpc?timeout=10000");
    my $gone = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $narrow);

    syswrite $gone, $text;
    ok(wait_open('d2', $before), 'large: a poll');

    my $caller = $nginx->open('d2', 'x', '"' . 'z' x 900000 . '"',
                              timeout => 60000);

    ok((TB::Env::wait_for { IO::Select->new($gone)->can_read(0) }),
       'large: the call is on its way');
    setsockopt $gone, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    close $gone;

    my $r = poll('d2', 5000)->answer();

    # JSON::PP would take seconds for it, and several on a busy machine
    my ($id, $params) = $r->{body}
                        =~ /^\{"id":(\d+),"method":"x","params":"(z*)"\}\z/;

    is(length($params // ''), 900000, 'large: the next poll has it');
    is(redis()->counter('unconfirmed'), 0, 'large: it was given back for it');
    reply('d2', $id // 0, '"ok"');
    is(what($caller->answer()), '200 ["ok"]', 'large: answered');
}

# two polls of one device

{
    my $one = open_poll('d1', 20000);
    my $start = time;
    my $two = open_poll('d1', 20000);

    is(what($one->answer()), '408 []', 'the older one ends');
    cmp_ok(time - $start, '<', scaled(10), 'at once');
    my $caller = $nginx->open('d1', 'x', '5');
    my $e = call_of($two->answer());
    reply('d1', $e->{id}, '6');
    is(what($caller->answer()), '200 [6]', 'the newer one has the call');
}

# persistent calls: in order, and what becomes of them

{
    my @ids = map { JSON::PP::decode_json($nginx->call('d2', 'x', $_,
                        persistent => 1)->{body})->{rpcId} } 1 .. 10;
    my $status = sub {
        JSON::PP::decode_json($nginx->get("/api/rpc/persistent/$_[0]")
                              ->{body})->{status} };
    my @seen;

    is($status->($ids[0]), 'QUEUED', 'QUEUED');

    for (@ids) {
        my $r = poll('d2', 5000)->answer();
        last if $r->{status} != 200;
        push @seen, call_of($r)->{params};
        soon { $status->($_) eq 'DELIVERED' } 'DELIVERED' if @seen < 3;
        reply('d2', call_of($r)->{id}, '{"n":' . call_of($r)->{params} . '}');
    }

    is_deeply(\@seen, [1 .. 10], 'in order');
    is_deeply([map { $status->($_) } @ids], [('SUCCESSFUL') x 10],
              'all SUCCESSFUL');
}

# HTTP/2

SKIP: {
    skip 'no curl with HTTP/2', 3 if `curl --version 2>&1` !~ /\bHTTP2\b/;

    my $before = field('d1', 'poll') || '';
    my $pid = open(my $out, '-|', 'curl', '-s', '--http2-prior-knowledge',
                   "http://127.0.0.1:$h2/api/v1/$token{d1}/rpc?timeout=9000")
        or die;
    ok(wait_open('d1', $before), 'HTTP/2: a poll');
    my $caller = $nginx->open('d1', 'x', '5');
    my $text = <$out>;
    my ($id) = $text =~ /^\{"id":(\d+),/;
    close $out;
    reply('d1', $id, '6');
    is(what($caller->answer()), '200 [6]', 'HTTP/2: answered');

    $before = field('d1', 'poll') || '';
    $pid = open($out, '-|', 'curl', '-s', '--http2-prior-knowledge',
                "http://127.0.0.1:$h2/api/v1/$token{d1}/rpc?timeout=9000");
    wait_open('d1', $before);
    kill 'KILL', $pid;
    close $out;
    soon { !defined field('d1', 'poll') } 'HTTP/2: it has left';
}

# so far nothing had to be put right

is(redis()->mishaps(), '', 'each call was handed over, and confirmed');

# Redis: connections cut, a restart, functions and data gone

{
    my $try = sub {
        my ($name, $client) = @_;

        soon { defined field('d1', 'poll') } "$name: the poll is known";
        my $caller = $nginx->open('d1', 'x', '7', timeout => 10000);
        my $r = $client->answer();
        is($r->{status}, 200, "$name: the call comes") or return;
        reply('d1', call_of($r)->{id}, '8');
        is(what($caller->answer()), '200 [8]', "$name: and its answer");
    };
    my $client = open_poll('d1', 60000);

    redis()->call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'USER', 'nginx');
    redis()->call('CLIENT', 'KILL', 'USER', 'nginx');
    $try->('cut', $client);

    # a call that is published while nobody listens, and its poll told of
    # again

    $client = open_poll('d1', 60000);
    redis()->call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'USER', 'nginx');
    my $caller = $nginx->open('d1', 'x', '7', timeout => 10000);
    my $r = $client->answer();
    is($r->{status}, 200, 'published meanwhile');
    reply('d1', call_of($r)->{id}, '9');
    is(what($caller->answer()), '200 [9]', 'and answered');

    $client = open_poll('d1', 60000);
    redis()->stop();
    my $other = poll('d2', 60000);
    sleep 0.3;
    ok(!$client->answered(), 'Redis is down: the poll stays');
    redis()->go();
    soon { field('d1', 'poll') || '' } 'Redis is back';
    $try->('restart', $client);
    $other->leave();

    # the poll's note is lost, as by a failover, and then the subscription
    $client = open_poll('d1', 60000);
    redis()->call('HDEL', redis()->device_key(macro('d1')), 'poll');
    redis()->call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'USER', 'nginx');
    $try->('forgotten', $client);
}

# a thousand devices

{
    my $n = ($ENV{TB_MODE} || '') eq 'valgrind' ? 100 : 1000;
    my @names = map { "m$_" } 1 .. $n;

    http_device($_) for @names;

    my $before = $nginx->rss();
    my @polls = map { poll($_, 60000) } @names;

    ok((TB::Env::wait_for {
           !grep { !defined field($_, 'poll') } @names
       } 60), "$n devices poll");
    diag sprintf '%.1f KB a poll', ($nginx->rss() - $before) / $n;

    my @callers = map { $nginx->open($_, 'x', "\"$_\"", timeout => 60000) }
                  @names;
    my @calls = TB::Client::answers(60, @polls);
    my $wrong = 0;

    for my $i (0 .. $#names) {
        my $ok = $calls[$i]{status} == 200
                 && call_of($calls[$i])->{params} eq $names[$i];

        $wrong++ if !$ok;
        $polls[$i]->send(TB::Client::text('POST',
            "/api/v1/$token{$names[$i]}/rpc/" . call_of($calls[$i])->{id},
            "\"$names[$i]\"")) if $ok;
    }

    is($wrong, 0, 'each has its own call');
    is_deeply(TB::Client::kinds(TB::Client::answers(60, @polls)),
              { 200 => $n }, 'each has answered');
    my @answers = TB::Client::answers(60, @callers);
    is(scalar(grep { $answers[$_]{body} ne "\"$names[$_]\"" } 0 .. $#names),
       0, 'each caller has its answer')
        or diag explain TB::Client::kinds(@answers);

    # reload: 408 at once

    @polls = map { poll($_, 60000) } @names;
    ok((TB::Env::wait_for {
           !grep { !defined field($_, 'poll') } @names
       } 60), "$n devices poll again");

    my $start = time;
    my ($old) = $nginx->reload();
    is_deeply(TB::Client::kinds(TB::Client::answers(40, @polls)),
              { 408 => $n }, 'reload: all have 408');
    cmp_ok(time - $start, '<', scaled(30), 'at once');
    ok($nginx->gone($old), 'the old worker has gone');
    soon { !grep { defined field($_, 'poll') } @names }
         'Redis knows that they are over';
    unlike($nginx->error_log(), qr/open socket/, 'no open socket left');
}

# two workers

{
    $nginx->configure(workers => 2);
    $nginx->reload();

    for my $n (1 .. 20) {
        my $client = open_poll('d1', 10000);
        my $old = $client;
        $client = open_poll('d1', 10000) if $n % 3 == 0;
        is($old->answer()->{status}, 408, 'superseded') if $n % 3 == 0;
        my $caller = $nginx->open('d1', 'x', $n);
        my $r = $client->answer();
        is($r->{status}, 200, "two workers: $n") or next;
        reply('d1', call_of($r)->{id}, $n);
        is($caller->answer()->{body}, $n, 'answered');
    }

    # kill -9: its polls are gone, no call is

    my $client = open_poll('d1', 60000);
    kill 'KILL', $nginx->workers();
    is($client->answer()->{status}, 0, 'the workers are killed');
    soon { my $r = get("/short/nobody/rpc")->answer(); $r->{status} }
         'others are there';
    my $caller = $nginx->open('d1', 'x', '"k"', timeout => 30000);
    my $r = poll('d1', 20000)->answer(30);
    is($r->{status}, 200, 'the call waits for a poll that lives');
    reply('d1', call_of($r)->{id}, '1') if $r->{status} == 200;
    is(what($caller->answer()), '200 [1]', 'answered');
}

# no token in a log

{
    my $all = $nginx->error_log() . $nginx->file_text('key.log')
              . $nginx->access_log();

    is(scalar(() = $all =~ /token_of_|nobody|%41%42/g), 0,
       'no token in a log');
    like($nginx->file_text('key.log'),
         qr{^200 [0-9a-f]{16} \S{36} /api/v1/\*+/rpc /api/v1/\*+/rpc}m,
         'but its digest, and the device');
}

$nginx->stop('QUIT', 10);
$nginx->clean(qr/exited on signal 9/);

done_testing();
