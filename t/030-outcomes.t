# How calls end, openapi profile, v1 and v2: status, result, body, headers.
#
# runs: side by side, 25 s

use TB 'no_plan';

use IO::Socket::INET;

device('d1', bridge => 'b1');
device('mine', bridge => 'b1', customer => macro('customer'));
device('foreign', bridge => 'b1', tenant => macro('other_tenant'));
device('theirs', bridge => 'b1', customer => macro('other_customer'));
device('off');
device('off2');
device('off3');
device('kept');
device('nobody', bridge => 'nobody');
device('gone');

my $bridge = bridge();

set_macro(v1 => '/api/plugins/rpc', 'dead port' => free_port());
set_macro(ff => '\xff', future => (time() + 600) . '000');

# JSON strings whose content the device answers
set_macro('raw deep' => '[' x 64 . ']' x 64, 'raw deeper' => '[' x 65
          . ']' x 65, digits => '9' x 400);

no_shuffle();
run_tests();

# what needs two requests at a time or a Redis that hangs: the last block's
# nginx

my %headers = ('X-Authorization' => 'Bearer %{token:tenant}');


sub twoway {
    my ($version, $body) = @_;

    return http_post($version eq 'v1' ? '/api/plugins/rpc/twoway/%{d1}'
                                      : '/api/rpc/twoway/%{d1}', $body,
                     %headers);
}


sub held {
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $ENV{TEST_NGINX_PORT})
        or die "connect: $!\n";
    my $body = '{"method":"mute","params":1,"timeout":20000}';

    print $sock expand(join "\r\n", 'POST /api/rpc/twoway/%{d1} HTTP/1.1',
                       'Host: localhost',
                       'X-Authorization: Bearer %{token:tenant}',
                       'Content-Length: ' . length $body, '', $body);
    $sock->flush();

    return $sock;
}

my $first = held();
my $r = wait_for {
    my $r = twoway('v2', '{"method":"m","params":1}');

    return $r->{status} != 200 ? $r : undef;
};

Test::More::is($r->{status}, 503, 'too many held calls');
Test::More::is($r->{headers}{'x-rpc-result'}, 'TOO_MANY_HELD', 'the result');
Test::More::is($r->{headers}{'retry-after'}, 1, 'Retry-After');
Test::More::is($r->{headers}{'cache-control'}, 'no-store', 'Cache-Control');
Test::More::like($r->{body}, qr/^\{"status":503,.*"errorCode":2,/, 'body');

$r = http_post('/api/rpc/oneway/%{d1}',
               '{"method":"m","params":1,"persistent":true}', %headers);
Test::More::is($r->{status}, 200, 'persistent calls are not held');

close $first;

my $free = wait_for {
    twoway('v2', '{"method":"m","params":1}')->{status} == 200
};
Test::More::ok($free, 'a caller that left is not held');

# Redis takes the call and says nothing
for my $persistent ('false', 'true') {
    redis()->pause();

    $r = twoway('v1', '{"method":"m","params":1,"timeout":500,'
                      . "\"persistent\":$persistent}");

    Test::More::is($r->{status}, 504, "persistent $persistent: not known");
    Test::More::is($r->{headers}{'x-rpc-result'}, 'UNKNOWN', 'the result');
    Test::More::like($r->{body},
                     qr/^\{"status":504,"message":"[^"]*rpcId [-0-9a-f]{36}"/,
                     'the id is told');

    redis()->resume();

    my $back = wait_for {
        twoway('v2', '{"method":"m","params":1}')->{status} == 200
    };

    Test::More::ok($back, 'Redis is back');
}

# a device that is deleted under its caller
my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                 PeerPort => $ENV{TEST_NGINX_PORT})
    or die "connect: $!\n";
my $body = '{"method":"m","params":1,"timeout":20000}';

print $sock expand(join "\r\n", 'POST /api/rpc/twoway/%{gone} HTTP/1.1',
                   'Host: localhost', 'Connection: close',
                   'X-Authorization: Bearer %{token:tenant}',
                   'Content-Length: ' . length $body, '', $body);
$sock->flush();

my $key = redis()->device_key(macro('gone'));
my $inflight = $key =~ s/:device:/:inflight:/r;

wait_for { redis()->call('HLEN', $inflight) };
redis()->fcall('tb_rpc_device_del', $key);

my $got = '';
1 while sysread $sock, $got, 65536, length $got;

Test::More::like($got, qr/^HTTP\/1\.1 504 .*X-RPC-Result: FAILED\r\n.*"message":"The call failed: the device was deleted"/s,
                 'the device was deleted');
Test::More::unlike(error_log_text(), qr/\[(?:alert|crit|emerg)\]/,
                   'nothing bad in the log');

__DATA__

=== TEST 1: one-way: handed to the bridge
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{d1} {"method":"m","params":1}  => 200 empty
POST %{v1}/oneway/%{d1} {"method":"m","params":1}     => 200 empty



=== TEST 2: two-way, answered: byte for byte
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":{"a": 1.0 }}       => 200 {"a": 1.0 }
POST %{v1}/twoway/%{d1} {"method":"m","params":{"a": 1.0 }}          => 200 {"a": 1.0 }
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"5"}             => 200 5
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"true"}          => 200 true
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"null"}          => 200 null
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"\"\\u0041\""}   => 200 "\u0041"
POST /api/rpc/twoway/%{d1} {"method":"raw","params":" [ 1 ]\n"}      => 200 json  \[ 1 \]\n
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"\"\u20ac\""}    => 200 json "\xe2\x82\xac"
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"%{raw deep}"}   => 200 %{raw deep}
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"1e400"}         => 200 1e400
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"{\"a\":[-9E+999 ,%{digits}]}"}  => 200 {"a":[-9E+999 ,%{digits}]}
POST /api/rpc/twoway/%{d1} {"method":"big","params":{"size":65536}}  => 200 json "x{65534}"
POST /api/rpc/twoway/%{d1} {"method":"twice","params":1}             => 200 1
POST /api/rpc/twoway/%{d1} {"method":"slow","params":{"ms":50}}      => 200 {"ms":50}



=== TEST 3: an empty answer
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"empty","params":1}  => 200 empty
POST %{v1}/twoway/%{d1} {"method":"empty","params":1}     => 200 empty



=== TEST 4: an answer that is not JSON
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"text","params":1}             => 406 INVALID_RESPONSE error 2 The answer of the device is not valid JSON
POST %{v1}/twoway/%{d1} {"method":"text","params":1}                => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"{"}            => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"1 2"}          => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"NaN"}          => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"[1e400,]"}     => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":" "}            => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"{\"a\":1,\"a\":1}"}  => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"\"\u0000\""}   => 406 INVALID_RESPONSE error 2 .*
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"%{raw deeper}"}  => 406 INVALID_RESPONSE error 2 .*



=== TEST 5: sent, but no answer in time
--- http_config
    tb_rpc_min_timeout  50ms;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"mute","params":1,"timeout":2000}  => 504 TIMEOUT error 2 The call was sent, but .*
POST %{v1}/twoway/%{d1} {"method":"mute","params":1,"timeout":2000}     => 408 TIMEOUT error 2 The call was sent, but .*
POST /api/rpc/twoway/%{d1} {"method":"sent","params":1,"timeout":2000}  => 504 TIMEOUT error 2 .*
POST %{v1}/twoway/%{d1} {"method":"sent","params":1,"timeout":2000}     => 408 TIMEOUT error 2 .*



=== TEST 6: device offline until the end
--- http_config
    tb_rpc_min_timeout  50ms;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{off} {"method":"m","params":1,"timeout":100}  => 504 NO_ACTIVE_CONNECTION error 2 The device has no active connection
POST %{v1}/twoway/%{off} {"method":"m","params":1,"timeout":100}     => 409 NO_ACTIVE_CONNECTION error 2 The device has no active connection
POST /api/rpc/oneway/%{off} {"method":"m","params":1,"timeout":100}  => 504 NO_ACTIVE_CONNECTION error 2 .*
POST %{v1}/oneway/%{off} {"method":"m","params":1,"timeout":100}     => 409 NO_ACTIVE_CONNECTION error 2 .*



=== TEST 7: the minimum, the default and the maximum
--- http_config
    tb_rpc_min_timeout      2000ms;
    tb_rpc_default_timeout  2100ms;
    tb_rpc_max_timeout      2200ms;
--- auth: tenant
--- timeout: 8
--- requests
POST /api/rpc/twoway/%{d1} {"method":"slow","params":{"ms":70},"timeout":1}       => 200 {"ms":70}
POST /api/rpc/twoway/%{off} {"method":"m","params":1}                             => 504 NO_ACTIVE_CONNECTION error 2 .*
POST /api/rpc/twoway/%{off} {"method":"m","params":1,"timeout":600000}            => 504 NO_ACTIVE_CONNECTION error 2 .*
POST /api/rpc/twoway/%{off} {"method":"m","params":1,"expirationTime":%{future}}  => 504 NO_ACTIVE_CONNECTION error 2 .*



=== TEST 8: rejected at once while offline
--- http_config
    tb_rpc_offline  reject;
--- auth: tenant
--- timeout: 8
--- requests
POST /api/rpc/twoway/%{off} {"method":"m","params":1}                    => 504 NO_ACTIVE_CONNECTION error 2 .*
POST %{v1}/twoway/%{off} {"method":"m","params":1}                       => 409 NO_ACTIVE_CONNECTION error 2 .*
POST %{v1}/oneway/%{off} {"method":"m","params":1}                       => 409 NO_ACTIVE_CONNECTION error 2 .*
POST /api/rpc/oneway/%{off} {"method":"m","params":1,"persistent":true}  => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}                     => 200 1



=== TEST 9: its bridge never claimed it
--- http_config
    tb_rpc_min_timeout  50ms;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{nobody} {"method":"m","params":1,"timeout":100}      => 504 NOT_CLAIMED error 2 .*
POST %{v1}/twoway/%{nobody} {"method":"m","params":1,"timeout":100}         => 409 NOT_CLAIMED error 2 .*
POST %{v1}/oneway/%{nobody} {"method":"m","params":1,"timeout":100}         => 409 NOT_CLAIMED error 2 .*



=== TEST 10: the bridge reports a failure, at once
--- auth: tenant
--- timeout: 8
--- requests
POST /api/rpc/twoway/%{d1} {"method":"fail","params":{}}                   => 504 FAILED error 2 The call failed: device on fire
POST %{v1}/twoway/%{d1} {"method":"fail","params":{}}                      => 409 FAILED error 2 The call failed: device on fire
POST /api/rpc/twoway/%{d1} {"method":"fail","params":{"text":"a\"b\\\n"}}  => 504 FAILED error 2 The call failed: a\\"b\\\\\\u000a
POST /api/rpc/twoway/%{d1} {"method":"fail","params":{"text":""}}          => 504 FAILED error 2 The call failed.*



=== TEST 11: an answer that is too large
--- http_config
    tb_rpc_max_response  30000;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"big","params":{"size":30000}}  => 200 json "x{29998}"
POST /api/rpc/twoway/%{d1} {"method":"big","params":{"size":30001}}  => 406 RESPONSE_TOO_LARGE error 2 The answer of the device is too large
POST %{v1}/twoway/%{d1} {"method":"big","params":{"size":30001}}     => 406 RESPONSE_TOO_LARGE error 2 .*



=== TEST 12: expired on arrival
--- auth: tenant
--- timeout: 8
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1,"expirationTime":1000}  => 504 EXPIRED error 2 The call expired before it was sent
POST %{v1}/twoway/%{d1} {"method":"m","params":1,"expirationTime":0}        => 408 EXPIRED error 2 .*
POST %{v1}/oneway/%{off} {"method":"m","params":1,"expirationTime":1000}    => 408 EXPIRED error 2 .*
POST /api/rpc/oneway/%{off} {"method":"m","params":1,"expirationTime":1000}  => 504 EXPIRED error 2 .*



=== TEST 13: persistent: an id, at once, whatever the device does
--- auth: tenant
--- timeout: 8
--- requests
POST /api/rpc/oneway/%{d1} {"method":"m","params":1,"persistent":true}     => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
POST /api/rpc/twoway/%{d1} {"method":"mute","params":1,"persistent":true}  => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
POST %{v1}/twoway/%{off} {"method":"m","params":1,"persistent":true}       => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
POST %{v1}/oneway/%{nobody} {"method":"m","params":1,"persistent":true}    => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
POST /api/rpc/oneway/%{off2} {"method":"m","params":1,"persistent":true,"expirationTime":1000}  => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
POST %{v1}/oneway/%{off2} {"method":"m","params":1,"persistent":true,"expirationTime":1000}     => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
GET /api/rpc/persistent/device/%{off2}?page=0&pageSize=9&rpcStatus=EXPIRED                      => 200 json .*"totalElements":2,.*
GET /api/rpc/persistent/device/%{off2}?page=0&pageSize=9                                        => 200 json .*"totalElements":2,.*



=== TEST 14: unknown, foreign and another customer's device: one answer
--- auth: customer
--- requests
POST /api/rpc/twoway/%{uuid:none} {"method":"m","params":1}  => 401 error 20 User is not authorized to access the device
POST /api/rpc/twoway/%{foreign} {"method":"m","params":1}    => 401 error 20 User is not authorized to access the device
POST /api/rpc/twoway/%{theirs} {"method":"m","params":1}     => 401 error 20 User is not authorized to access the device
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}         => 401 error 20 User is not authorized to access the device
POST %{v1}/oneway/%{theirs} {"method":"m","params":1}        => 401 error 20 User is not authorized to access the device
POST %{v1}/oneway/%{foreign} {"method":"m","params":1,"persistent":true}  => 401 error 20 User is not authorized to access the device
POST /api/rpc/twoway/%{mine} {"method":"m","params":1}       => 200 1



=== TEST 15: a tenant's administrator calls all devices of the tenant
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{theirs} {"method":"m","params":1}     => 200 1
POST /api/rpc/twoway/%{mine} {"method":"m","params":1}       => 200 1
POST /api/rpc/twoway/%{foreign} {"method":"m","params":1}    => 401 error 20 User is not authorized to access the device
POST /api/rpc/twoway/%{uuid:none} {"method":"m","params":1}  => 401 error 20 User is not authorized to access the device



=== TEST 16: a system administrator calls no device
--- auth: sys
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}         => 403 error 20 System administrator is not allowed .*
POST %{v1}/oneway/%{uuid:none} {"method":"m","params":1}     => 403 error 20 System administrator is not allowed .*



=== TEST 17: too many pending calls
--- http_config
    tb_rpc_max_pending  2;
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{off3} {"method":"m","params":1,"persistent":true}  => 200 json .*
POST /api/rpc/oneway/%{off3} {"method":"m","params":1,"persistent":true}  => 200 json .*
POST /api/rpc/oneway/%{off3} {"method":"m","params":1,"persistent":true}  => 429 TOO_MANY_PENDING error 33 Too many calls for the device
POST %{v1}/twoway/%{off3} {"method":"m","params":1}                       => 429 TOO_MANY_PENDING error 33 .*
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}                      => 200 1



=== TEST 18: Redis is not there
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{dead port};
        connect_timeout  200ms;
        command_timeout  200ms;
    }

    tb_rpc_jwt_key  %{jwt_key};
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}                    => 503 REDIS_UNAVAILABLE error 2 Redis is not available.*
POST %{v1}/oneway/%{d1} {"method":"m","params":1}                       => 503 REDIS_UNAVAILABLE error 2 .*
POST /api/rpc/oneway/%{d1} {"method":"m","params":1,"persistent":true}  => 503 REDIS_UNAVAILABLE error 2 .*



=== TEST 19: one requestUUID, one call
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{off} {"method":"m","params":1,"persistent":true,"requestUUID":"%{uuid:r1}"}  => 200 json .*
POST /api/rpc/oneway/%{off} {"method":"m","params":1,"persistent":true,"requestUUID":"%{uuid:r1}"}  => 200 json .*
POST /api/rpc/oneway/%{off} {"method":"m","params":2,"persistent":true,"requestUUID":"%{uuid:r1}"}  => 409 error 31 .*
POST /api/rpc/twoway/%{off} {"method":"m","params":1,"persistent":true,"requestUUID":"%{uuid:r1}"}  => 409 error 31 .*
POST /api/rpc/twoway/%{d1} {"method":"m","params":1,"requestUUID":"%{uuid:r1}"}                     => 200 1
POST /api/rpc/twoway/%{d1} {"method":"m","params":2,"requestUUID":"%{uuid:r1}"}                     => 200 2



=== TEST 20: too many records are kept
--- http_config
    tb_rpc_max_records  2;
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{kept} {"method":"m","params":1,"persistent":true,"expirationTime":1}  => 200 json .*
POST /api/rpc/oneway/%{kept} {"method":"m","params":1,"persistent":true}  => 200 json .*
POST /api/rpc/oneway/%{kept} {"method":"m","params":1,"persistent":true}  => 429 TOO_MANY_PENDING error 33 Too many calls for the device: of its records too many are kept
POST %{v1}/twoway/%{kept} {"method":"m","params":1,"expirationTime":1}    => 408 EXPIRED error 2 .*



=== TEST 21: for what follows
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{redis_port};
        username         nginx;
        password         nginx-secret;
        command_timeout  400ms;
    }

    tb_rpc_jwt_key      %{jwt_key};
    tb_rpc_max_held     1;
    tb_rpc_min_timeout  50ms;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}  => 200 1
