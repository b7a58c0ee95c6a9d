# HTTP/2: the same answers, and streams that do not wait for each other.
#
# No request is refused here before its body was read: nginx then ends the
# stream with NO_ERROR, whatever module refuses, and curl before 8 takes that
# for a failure more often than not.
#
# runs: side by side, 10 s

use TB 'no_plan';

use IO::Socket::INET;

use TB::Http2 qw(frame hpack);

Test::More::plan(skip_all => 'curl has no HTTP/2')
    if `curl --version 2>&1` !~ /\bHTTP2\b/;

device('d1', bridge => 'b1');
device('off');
bridge();
set_macro(v1 => '/api/plugins/rpc', x9k => 'x' x 9000, x60k => 'x' x 60000,
          x70k => 'x' x 70000, 'bad token' => jwt_with({ key => 'k' x 64 }));

add_block_preprocessor(sub {
    $_[0]->set_value('http2', '');

    # Test::Nginx takes "http2 on", which is of 1.25.1, for one of 1.19.9

    if ($Test::Nginx::Util::NginxVersion < 1.025001) {
        $Test::Nginx::Util::NginxVersion = 1.019;
    }
});

no_shuffle();
run_tests();

# Several streams of one connection, with the last block's nginx.  The client
# is a few lines, as curl 7.88 does not do that reliably.

sub call {
    my ($stream, $body) = @_;

    my $headers = join '',
        map { "\0" . hpack($_->[0]) . hpack(expand($_->[1])) }
        [':method', 'POST'], [':scheme', 'http'], [':authority', 'localhost'],
        [':path', '/api/rpc/twoway/%{d1}'],
        ['x-authorization', 'Bearer %{token:tenant}'];

    return frame(1, 4, $stream, $headers) . frame(0, 1, $stream, $body);
}

my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                 PeerPort => $ENV{TEST_NGINX_PORT})
    or die "connect: $!\n";
my ($in, %body, @ended, @reset) = ('');


# reads frames until that many streams have ended

sub read_until {
    my ($ended) = @_;

    while (@ended < $ended) {
        my $length = length $in >= 9 ? unpack('N', "\0" . substr $in, 0, 3) + 9
                                     : 9;

        if (length $in < $length || $length == 9 && length $in < 9) {
            sysread($sock, $in, 65536, length $in) or return;
            next;
        }

        my ($type, $flags, $stream) = unpack 'x3 CCN', $in;
        my $payload = substr $in, 9, $length - 9;

        substr $in, 0, $length, '';

        $body{$stream} .= $payload if $type == 0;
        push @ended, $stream if $type < 2 && $flags & 1;
        push @reset, $stream if $type == 3;
        syswrite $sock, frame(4, 1, 0, '') if $type == 4 && !($flags & 1);
    }
}

binmode $sock;
alarm scaled(60);

syswrite $sock, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame(4, 0, 0, '')
                . call(1, '{"method":"slow","params":{"ms":2000}}')
                . call(3, '{"method":"m","params":"three"}')
                . call(5, '{"method":"m","params":"five"}');
read_until(3);

Test::More::is($ended[2], 1, 'a slow stream does not hold up the others');
Test::More::is($body{1}, '{"ms":2000}', 'its answer');
Test::More::is($body{3}, '"three"', 'the answer to another');
Test::More::is($body{5}, '"five"', 'and to the third');

# a stream that is cancelled takes its call with it, and nothing else

my $inflight = redis()->device_key(macro('d1')) =~ s/:device:/:inflight:/r;

# what the blocks have left
redis()->call('DEL', $inflight);

syswrite $sock, call(7, '{"method":"mute","params":1,"timeout":20000}');

my $open = wait_for { redis()->call('HLEN', $inflight) == 1 };
Test::More::ok($open, 'a call is open');

syswrite $sock, frame(3, 0, 7, pack 'N', 8);

my $gone = wait_for { redis()->call('HLEN', $inflight) == 0 };
Test::More::ok($gone, 'its stream is cancelled, it is withdrawn');

syswrite $sock, call(9, '{"method":"m","params":"nine"}');
read_until(4);
Test::More::is($body{9}, '"nine"', 'the connection is of use');
Test::More::is("@reset", '', 'and no stream was reset by nginx');

alarm 0;
close $sock;

Test::More::unlike(error_log_text(), qr/\[(?:alert|crit|emerg)\]/,
                   'nothing bad in the log');

__DATA__

=== TEST 1: calls
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":{"a": 1.0}}   => 200 {"a": 1.0}
POST /api/rpc/oneway/%{d1} {"method":"m","params":1}            => 200 empty
POST %{v1}/twoway/%{d1} {"method":"empty","params":1}           => 200 empty
POST /api/rpc/twoway/%{d1} {"method":"slow","params":{"ms":50}}  => 200 {"ms":50}
POST /api/rpc/twoway/%{d1} {"method":"fail","params":1}         => 504 FAILED error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"text","params":1}         => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/oneway/%{off} {"method":"m","params":1,"persistent":true}  => 200 json \{"rpcId":"[-0-9a-f]{36}"\}



=== TEST 2: 408 is sent, the stream is not reset
--- http_config
    tb_rpc_min_timeout  50ms;
--- auth: tenant
--- requests
POST %{v1}/twoway/%{d1} {"method":"mute","params":1,"timeout":1000}   => 408 TIMEOUT error 2 .*
POST %{v1}/twoway/%{off} {"method":"m","params":1,"timeout":60}     => 409 NO_ACTIVE_CONNECTION error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"mute","params":1,"timeout":1000}  => 504 TIMEOUT error 2 .*



=== TEST 3: 408, intercepted
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- auth: tenant
--- request
POST /api/plugins/rpc/twoway/%{d1}
{"method":"mute","params":1,"timeout":1000}
--- error_code: 408
--- response_headers
X-RPC-Result: TIMEOUT
--- response_body_like: 408 Request Time-out



=== TEST 4: credentials
--- request eval
[ map { 'GET /api/rpc/persistent/' . main::uuid_of('1') } 1 .. 4 ]
--- more_headers eval
[ map { main::expand("$_\n") } 'x-authorization: Bearer %{token:tenant}',
  'authorization: Bearer %{token:tenant}',
  'X-Authorization: Bearer %{bad token}', 'X-Other: 1' ]
--- error_code eval
[404, 404, 401, 401]
--- response_body_like eval
['"errorCode":32', '"errorCode":32', 'Invalid token signature',
 'Authentication failed']



=== TEST 5: bodies in several frames, in memory and in a file
--- http_config
    client_body_buffer_size  8k;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x9k}"}   => 200 "%{x9k}"
{"method":"m","params":"%{x60k}"}  => 200 "%{x60k}"
{"method":"m","params":"%{x9k}     => 400 error 31 .*



=== TEST 6: methods
--- auth: tenant
--- requests
GET /api/rpc/twoway/%{d1}                                => 405 error 31 .*
GET /api/rpc/persistent/%{uuid:1}                        => 404 error 32 .*
DELETE /api/rpc/persistent/%{uuid:1}                     => 404 error 32 .*
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1   => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}



=== TEST 7: OPTIONS
--- request
OPTIONS /api/rpc/twoway/%{d1}
--- error_code: 204
--- response_headers
Allow: POST, OPTIONS



=== TEST 8: HEAD
--- auth: tenant
--- request
HEAD /api/rpc/persistent/%{uuid:1}
--- error_code: 404
--- response_body
