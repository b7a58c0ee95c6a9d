# However a body comes: in memory, in pieces, in a file, chunked, pipelined,
# asked for, too large, or where none is expected.
#
# runs: side by side, 5 s

use TB 'no_plan';

use IO::Socket::INET;

device('d1', bridge => 'b1');
bridge();

set_macro(x1k => 'x' x 1000, x9k => 'x' x 9000, x60k => 'x' x 60000,
          x70k => 'x' x 70000);


# the text of a request, as a list of packets

sub call {
    my ($body, @headers) = @_;

    return join "\r\n", 'POST /api/rpc/twoway/%{d1} HTTP/1.1',
                'Host: localhost', 'X-Authorization: Bearer %{token:tenant}',
                (@headers ? @headers : 'Content-Length: ' . length $body),
                '', $body;
}


sub closing {
    my ($body, @headers) = @_;

    @headers = 'Content-Length: ' . length $body if !@headers;

    return call($body, 'Connection: close', @headers);
}


sub split_at {
    my ($text, $size) = @_;

    return [ unpack "(a$size)*", expand($text) ];
}


sub chunked {
    my ($body, $size) = @_;

    return join('', map { sprintf "%x\r\n%s\r\n", length, $_ }
                    unpack "(a$size)*", $body) . "0\r\n\r\n";
}


# sends, waits until the answer so far matches, sends the rest

sub dialogue {
    my (@steps) = @_;

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $ENV{TEST_NGINX_PORT})
        or die "connect: $!\n";
    my $got = '';

    binmode $sock;
    $sock->autoflush(1);

    eval {
        local $SIG{ALRM} = sub { die "no answer in time\n" };

        alarm scaled(10);

        while (@steps) {
            print $sock expand(shift @steps);

            my $until = shift @steps;

            while (!defined $until || $got !~ /$until/s) {
                last if !sysread $sock, $got, 65536, length $got;
            }
        }

        alarm 0;
    };

    return $@ ? "$got ... $@" : $got;
}

no_shuffle();
run_tests();

# the last block's nginx

my $body = '{"method":"m","params":[1]}';
my $got = dialogue(closing($body, 'Expect: 100-continue',
                           'Content-Length: ' . length $body) =~ s/\Q$body//r,
                   qr/^HTTP\/1\.1 100 Continue\r\n\r\n/, $body, undef);

Test::More::like($got, qr/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n.*\r\n\r\n\[1\]$/s,
                 'Expect: 100-continue');

$got = dialogue(closing('', 'Expect: 100-continue', 'Content-Length: 100')
                =~ s/token:tenant/uuid:x/r, qr/"timestamp":\d+\}/);

Test::More::like($got, qr/^HTTP\/1\.1 401 /,
                 'what is refused is not asked to continue');

$got = dialogue(closing('', 'Expect: 100-continue', 'Content-Length: 70000'),
                qr/"timestamp":\d+\}/);

Test::More::like($got, qr/^HTTP\/1\.1 413 .*"errorCode":31/s,
                 'nor what is too large');

$got = dialogue(closing('', 'Content-Length: 70000'),
                qr/"timestamp":\d+\}/);

Test::More::like($got, qr/^HTTP\/1\.1 413 .*"errorCode":31/s,
                 'and it is refused before it comes');

# a connection is of use after a refusal, its body is read away
$got = dialogue(call('[' . 'x' x 20000) . closing($body), undef);

Test::More::like($got, qr/^HTTP\/1\.1 400 .*HTTP\/1\.1 200 OK\r\n.*\r\n\r\n\[1\]$/s,
                 'keep-alive after 400');

$got = dialogue(call($body) =~ s/token:tenant/uuid:x/r . closing($body),
                undef);

Test::More::like($got, qr/^HTTP\/1\.1 401 .*HTTP\/1\.1 200 OK\r\n.*\r\n\r\n\[1\]$/s,
                 'keep-alive after 401 with an unread body');

$got = dialogue(call('z' x 70000) . closing($body), undef);

Test::More::like($got, qr/^HTTP\/1\.1 413 .*HTTP\/1\.1 200 OK\r\n.*\r\n\r\n\[1\]$/s,
                 'keep-alive after 413 with an unread body');

# the client leaves in the middle of its body: nothing bad
dialogue(closing('', 'Content-Length: 100') . '{"method"', qr/^/);

$got = dialogue(closing($body), undef);

Test::More::like($got, qr/200 OK/, 'after a body that was cut short');
Test::More::unlike(error_log_text(), qr/\[(?:alert|crit|emerg)\]/,
                   'nothing bad in the log');

__DATA__

=== TEST 1: in memory
--- auth: tenant
--- bodies
{"method":"m","params":"%{x1k}"}  => 200 "%{x1k}"



=== TEST 2: byte by byte
--- raw_request eval
main::split_at(main::closing('{"method":"m","params":{"a":[1,2]}}'), 1)
--- raw_request_middle_delay
0.0005
--- response_body: {"a":[1,2]}



=== TEST 3: the body later than the header
--- raw_request eval
my $text = main::expand(main::closing('{"method":"m","params":{"a":[1,2]}}'));
[ $text =~ /^(.*?\r\n\r\n)(.{5})(.*)$/s ]
--- raw_request_middle_delay
0.05
--- response_body: {"a":[1,2]}



=== TEST 4: a small buffer: the rest in a file
--- http_config
    client_body_buffer_size  1k;
--- auth: tenant
--- path: /api/rpc/twoway/%{d1}
--- bodies
{"method":"m","params":"%{x9k}"}   => 200 "%{x9k}"
--- error_log
buffered to a temporary file



=== TEST 5: in a file from the start
--- http_config
    client_body_in_file_only  clean;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x1k}"}   => 200 "%{x1k}"
{"method":"m","params":"%{x60k}"}  => 200 "%{x60k}"
{"method":"m","params":"%{x9k}     => 400 error 31 .*
--- error_log
client_body_temp



=== TEST 6: in one buffer
--- http_config
    client_body_in_single_buffer  on;
    client_body_buffer_size       64k;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x60k}"}  => 200 "%{x60k}"



=== TEST 7: chunked, in one piece and in many
--- raw_request eval
main::closing(main::chunked('{"method":"m","params":{"a":[1,2]}}', 7),
              'Transfer-Encoding: chunked')
--- response_body: {"a":[1,2]}



=== TEST 8: chunked, split anywhere
--- raw_request eval
main::split_at(main::closing(
    main::chunked('{"method":"m","params":{"a":[1,2]}}', 5),
    'Transfer-Encoding: chunked'), 3)
--- raw_request_middle_delay
0.001
--- response_body: {"a":[1,2]}



=== TEST 9: chunked, large
--- http_config
    client_body_buffer_size  8k;
--- raw_request eval
main::closing(main::chunked('{"method":"m","params":"' . 'y' x 50000 . '"}',
                            1000), 'Transfer-Encoding: chunked')
--- response_body eval
'"' . 'y' x 50000 . '"'



=== TEST 10: chunked, empty
--- raw_request eval
main::closing("0\r\n\r\n", 'Transfer-Encoding: chunked')
--- answer: 400 error 31 Invalid request body: it is missing



=== TEST 11: chunked, too large for us
--- raw_request eval
main::closing(main::chunked('{"method":"m","params":"' . 'y' x 66000 . '"}',
                            1000), 'Transfer-Encoding: chunked')
--- answer: 413 error 31 Payload size exceeds the limit of 65536 bytes



=== TEST 12: too large for us, and for a smaller limit
--- more_config
    tb_rpc_max_payload  1k;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x9k}"}   => 413 error 31 Payload size exceeds the limit of 1024 bytes
{"method":"m","params":"%{x70k}"}  => 413 error 31 Payload size exceeds the limit of 1024 bytes
{"method":"m","params":1}          => 200 1



=== TEST 13: too large for nginx: its own answer
--- config
    location /api/rpc/ {
        client_max_body_size  8k;
        tb_rpc                v2;
    }
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":"%{x9k}"}
--- error_code: 413
--- response_body_like: 413 Request Entity Too Large
--- response_headers
Content-Type: text/html
! X-RPC-Result
--- error_log
client intended to send too large body: 



=== TEST 14: more than the default is possible
--- more_config
    tb_rpc_max_payload  1m;
--- http_config
    tb_rpc_max_response  1m;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x70k}"}  => 200 "%{x70k}"



=== TEST 15: pipelined: answers in order, each its own
--- auth: tenant
--- pipelined_requests eval
[ "POST /api/rpc/twoway/" . main::macro('d1') . "\n"
      . '{"method":"slow","params":{"ms":100}}',
  "POST /api/rpc/twoway/" . main::macro('d1') . "\n"
      . '{"method":"m","params":"second"}',
  "POST /api/rpc/twoway/" . main::macro('d1') . "\n" . '{"method":',
  "POST /api/rpc/oneway/" . main::macro('d1') . "\n"
      . '{"method":"m","params":"fourth"}',
  "POST /api/rpc/twoway/" . main::macro('d1') . "\n"
      . '{"method":"m","params":"fifth"}' ]
--- error_code eval
[200, 200, 400, 200, 200]
--- response_body_like eval
['\A\{"ms":100\}\z', '\A"second"\z', 'at offset', '\A\z', '\A"fifth"\z']



=== TEST 16: HTTP/1.0
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1} HTTP/1.0
{"method":"m","params":1}
--- answer: 200 1



=== TEST 17: a body where none is expected, as the Python client sends
--- auth: tenant
--- more_headers
Content-Type: application/json
--- requests
DELETE /api/rpc/persistent/%{uuid:1} {}               => 404 error 32 .*
GET /api/rpc/persistent/%{uuid:1} {"a":1}             => 404 error 32 .*
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1 {}   => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}
PUT /api/rpc/twoway/%{d1} {"method":"m","params":1}   => 405 error 31 .*



=== TEST 18: and the connection is of use afterwards
--- auth: tenant
--- pipelined_requests eval
[ "DELETE /api/rpc/persistent/" . main::uuid_of('1') . "\n" . '{"a":1}',
  "GET /api/rpc/persistent/" . main::uuid_of('1') . "\n" . 'x' x 5000,
  "POST /api/rpc/twoway/" . main::macro('d1') . "\n"
      . '{"method":"m","params":1}' ]
--- error_code eval
[404, 404, 200]
--- response_body_like eval
['not found', 'not found', '\A1\z']



=== TEST 19: a string that holds the body, as the Python client encodes it
--- auth: tenant
--- bodies
"{\"method\":\"m\",\"params\":1}"  => 400 error 31 Invalid request body: it must be an object at offset 0



=== TEST 20: for what follows
--- auth: tenant
--- bodies
{"method":"m","params":1}  => 200 1
