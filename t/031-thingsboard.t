# tb_rpc_profile thingsboard: what the original server answers where it
# differs, and that nothing else does.
#
# runs: side by side, 11 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('mine', bridge => 'b1', customer => macro('customer'));
device('foreign', bridge => 'b1', tenant => macro('other_tenant'));
device('theirs', bridge => 'b1', customer => macro('other_customer'));
device('off');
device('off2');
device('listed');
device('nobody', bridge => 'nobody');
device('full');
bridge();

set_macro(v1 => '/api/plugins/rpc', x70k => 'x' x 70000, x2k => 'x' x 2000);
set_macro('dead port' => free_port());

no_shuffle();
run_tests();

# records: of this tenant, as other callers see them, with the last block's
# nginx

my $r = http_post('/api/rpc/oneway/%{theirs}',
                  '{"method":"m","persistent":true}',
                  'X-Authorization' => 'Bearer %{token:tenant}');
my ($id) = $r->{body} =~ /"rpcId":"([^"]+)"/;


sub as {
    my ($who, $method) = @_;

    my $r = TB::Fixture::http_request($method || 'GET',
                "/api/rpc/persistent/$id", undef,
                'X-Authorization' => "Bearer %{token:$who}");
    my ($code) = $r->{body} =~ /"errorCode":(\d+)/;

    return $r->{status} . ($code ? " $code" : '');
}

Test::More::is(as('tenant'), '200', 'a record');
Test::More::is(as('customer'), '200', "another customer's record");
Test::More::is(as('other_tenant'), '403 20', "another tenant's record");
Test::More::is(as('sys'), '403 20', 'SYS_ADMIN');
Test::More::is(as('other_tenant', 'DELETE'), '403 20',
               "deleting another tenant's record");
Test::More::is(as('customer', 'DELETE'), '403 20', 'deleting by a customer');
Test::More::is(as('tenant', 'DELETE'), '200', 'deleting');
Test::More::is(as('tenant', 'DELETE'), '404 32', 'and again');

__DATA__

=== TEST 1: good answers do not differ
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{d1} {"method":"m","params":1}       => 200 empty
POST /api/rpc/twoway/%{d1} {"method":"m","params":[1.0]}   => 200 [1.0]
POST %{v1}/twoway/%{d1} {"method":"empty","params":1}      => 200 empty
POST /api/rpc/twoway/%{d1} {"method":"raw","params":" "}            => 200 null
POST %{v1}/twoway/%{d1} {"method":"raw","params":"\t\r\n "}         => 200 null
POST /api/rpc/twoway/%{d1} {"method":"raw","params":" 1 "}          => 200 json \x201\x20
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"{\"a\":1,\"a\":2}"}  => 200 {"a":1,"a":2}
POST /api/rpc/oneway/%{off} {"method":"m","persistent":true}  => 200 json \{"rpcId":"[-0-9a-f]{36}"\}



=== TEST 2: no usable answer: empty bodies
--- http_config
    tb_rpc_profile      thingsboard;
    tb_rpc_min_timeout  50ms;
    tb_rpc_max_response  1000;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"text"}                    => 406 INVALID_RESPONSE empty
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"\f"}       => 406 INVALID_RESPONSE empty
POST /api/rpc/twoway/%{d1} {"method":"raw","params":"1 2"}      => 406 INVALID_RESPONSE empty
POST %{v1}/twoway/%{d1} {"method":"text"}                       => 406 INVALID_RESPONSE empty
POST /api/rpc/twoway/%{d1} {"method":"mute","timeout":2000}     => 504 TIMEOUT empty
POST %{v1}/twoway/%{d1} {"method":"mute","timeout":2000}        => 408 TIMEOUT empty
POST /api/rpc/twoway/%{off} {"method":"m","timeout":100}        => 504 NO_ACTIVE_CONNECTION empty
POST %{v1}/twoway/%{off} {"method":"m","timeout":100}           => 409 NO_ACTIVE_CONNECTION empty
POST %{v1}/oneway/%{off} {"method":"m","timeout":100}           => 409 NO_ACTIVE_CONNECTION empty
POST /api/rpc/oneway/%{nobody} {"method":"m","timeout":100}     => 504 NOT_CLAIMED empty
POST %{v1}/twoway/%{nobody} {"method":"m","timeout":100}        => 409 NOT_CLAIMED empty
POST /api/rpc/twoway/%{d1} {"method":"m","expirationTime":1}    => 504 EXPIRED empty
POST %{v1}/twoway/%{d1} {"method":"m","expirationTime":1}       => 408 EXPIRED empty
POST /api/rpc/twoway/%{d1} {"method":"big"}                     => 406 RESPONSE_TOO_LARGE empty



=== TEST 3: a failure has a message
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"fail"}  => 504 FAILED error 2 The call failed: device on fire
POST %{v1}/twoway/%{d1} {"method":"fail"}     => 409 FAILED error 2 The call failed: device on fire



=== TEST 4: offline, rejected
--- http_config
    tb_rpc_profile  thingsboard;
    tb_rpc_offline  reject;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{off} {"method":"m"}  => 504 NO_ACTIVE_CONNECTION empty
POST %{v1}/twoway/%{off} {"method":"m"}     => 409 NO_ACTIVE_CONNECTION empty



=== TEST 5: persistent, already expired: a record, but no 200
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{off2} {"method":"m","persistent":true,"expirationTime":1}  => 504 EXPIRED empty
POST %{v1}/twoway/%{off2} {"method":"m","persistent":true,"expirationTime":1}     => 408 EXPIRED empty
GET /api/rpc/persistent/device/%{off2}?page=0&pageSize=9&rpcStatus=EXPIRED        => 200 json .*"totalElements":2,.*



=== TEST 6: devices: unknown, foreign, another customer's
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: customer
--- requests
POST /api/rpc/twoway/%{uuid:none} {"method":"m"}  => 404 text Device with requested id wasn't found!
POST /api/rpc/twoway/%{foreign} {"method":"m"}    => 404 text Device with requested id wasn't found!
POST %{v1}/oneway/%{foreign} {"method":"m"}       => 404 text Device with requested id wasn't found!
POST /api/rpc/twoway/%{theirs} {"method":"m"}     => 403 text You don't have permission to perform this operation!
POST %{v1}/oneway/%{d1} {"method":"m"}            => 403 text You don't have permission to perform this operation!
POST /api/rpc/twoway/%{mine} {"method":"m"}       => 200 null
GET /api/rpc/persistent/device/%{foreign}?page=0&pageSize=1    => 404 text Device with requested id wasn't found!
GET /api/rpc/persistent/device/%{uuid:none}?page=0&pageSize=1  => 404 text Device with requested id wasn't found!
GET /api/rpc/persistent/device/%{theirs}?page=0&pageSize=1     => 403 text You don't have permission to perform this operation!



=== TEST 7: SYS_ADMIN
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: sys
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m"}                => 403 text System administrator is not allowed to perform this operation!
POST %{v1}/oneway/%{d1} {"method":"m"}                   => 403 text System administrator is not allowed to perform this operation!
GET /api/rpc/persistent/%{uuid:1}                        => 403 error 20 .*
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1   => 403 error 20 .*
DELETE /api/rpc/persistent/%{uuid:1}                     => 403 error 20 .*



=== TEST 8: a body that is too large
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x70k}"}  => 413 "Payload size exceeds the limit of 65536 bytes"



=== TEST 9: with another limit
--- http_config
    tb_rpc_profile      thingsboard;
    tb_rpc_max_payload  1000;
--- auth: tenant
--- bodies
{"method":"m","params":"%{x2k}"}   => 413 "Payload size exceeds the limit of 1000 bytes"



=== TEST 10: errors that do not differ
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":                     => 400 error 31 Invalid request body: .*
POST /api/rpc/twoway/%{d1} {}                             => 400 error 31 .*
POST /api/rpc/twoway/no-uuid {"method":"m"}               => 400 error 31 Invalid UUID string: no-uuid
GET /api/rpc/persistent/%{uuid:1}                         => 404 error 32 Rpc with id \[%{uuid:1}\] is not found
DELETE /api/rpc/persistent/%{uuid:1}                      => 404 error 32 Rpc with id \[%{uuid:1}\] is not found
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=0    => 400 error 31 .*
GET /api/rpc/other                                        => 404 error 32 .*



=== TEST 11: the list by status: trimmed, DELETED
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{listed} {"method":"m","persistent":true,"timeout":600000}  => 200 json .*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=1&rpcStatus=%20QUEUED%09  => 200 json .*"totalElements":1,.*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=1&rpcStatus=+QUEUED+      => 200 json .*"totalElements":1,.*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=1&rpc%53tatus=SENT        => 200 json .*"totalElements":0,.*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=1&rpcStatus=              => 200 json .*"totalElements":1,.*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=1&rpcStatus=%20           => 400 error 31 .*rpcStatus.*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=1&rpcStatus=QUE+UED       => 400 error 31 .*rpcStatus.*
GET /api/rpc/persistent/device/%{listed}?page=0&pageSize=+1                        => 400 error 31 .*pageSize.*
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1&rpcStatus=DELETED%20     => 500 error 2 .*
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1&rpcStatus=DELETED  => 500 error 2 .*
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1&rpcStatus=deleted  => 400 error 31 .*



=== TEST 12: too many pending calls
--- http_config
    tb_rpc_profile      thingsboard;
    tb_rpc_max_pending  1;
--- auth: tenant
--- requests
POST /api/rpc/oneway/%{full} {"method":"m","persistent":true}  => 200 json .*
POST /api/rpc/oneway/%{full} {"method":"m","persistent":true}  => 429 TOO_MANY_PENDING error 33 .*



=== TEST 13: Redis is not there
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{dead port};
        connect_timeout  200ms;
        command_timeout  200ms;
    }

    tb_rpc_jwt_key  %{jwt_key};
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m"}                 => 503 REDIS_UNAVAILABLE error 2 .*
POST %{v1}/twoway/%{d1} {"method":"m"}                    => 503 REDIS_UNAVAILABLE error 2 .*



=== TEST 14: for what follows
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m"}  => 200 null
