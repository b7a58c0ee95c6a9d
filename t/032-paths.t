# Which paths and methods there are.
#
# runs: side by side, 7 s

use TB 'no_plan';

device('d1', bridge => 'b1');
bridge();

my $id = uuid_of('device d1');

set_macro('upper' => uc $id, 'no dashes' => $id =~ tr/-//dr,
          'short' => substr($id, 0, 35), 'bad digit' => 'g' . substr($id, 1),
          'dash moved' => substr($id, 0, 7) . '-' . substr($id, 7, 1)
                          . substr($id, 9));
set_macro('long id' => 'a' x 3000);

# shaped like our own ids: version 1, multicast node, shard 3; and shard 4000
set_macro('ours' => '12345678-1234-11ee-8003-010203040506',
          'no shard' => '12345678-1234-11ee-8fa0-010203040506');
set_macro('dead port' => free_port());

run_tests();

__DATA__

=== TEST 1: wrong methods
--- auth: tenant
--- requests
GET /api/rpc/oneway/%{d1}                                 => 405 error 31 Request method 'GET' is not supported
PUT /api/rpc/twoway/%{d1} {"method":"m","params":1}       => 405 error 31 Request method 'PUT' is not supported
DELETE /api/plugins/rpc/twoway/%{d1}                      => 405 error 31 .*
PATCH /api/plugins/rpc/oneway/%{d1} {}                    => 405 error 31 .*
PROPFIND /api/rpc/oneway/%{d1}                            => 405 error 31 .*
BREW /api/rpc/oneway/%{d1}                                => 405 error 31 Request method 'BREW' is not supported
--- response_headers
Allow: POST, OPTIONS



=== TEST 2: wrong methods for a record
--- auth: tenant
--- requests
POST /api/rpc/persistent/%{uuid:1} {"method":"m","params":1}  => 405 error 31 .*
PUT /api/rpc/persistent/%{uuid:1} {}                          => 405 error 31 .*
--- response_headers
Allow: GET, HEAD, DELETE, OPTIONS



=== TEST 3: wrong methods for a list
--- auth: tenant
--- requests
POST /api/rpc/persistent/device/%{d1} {"method":"m","params":1}   => 405 error 31 .*
DELETE /api/rpc/persistent/device/%{d1}                           => 405 error 31 .*
--- response_headers
Allow: GET, HEAD, OPTIONS



=== TEST 4: HEAD where there is no GET
--- auth: tenant
--- request
HEAD /api/rpc/oneway/%{d1}
--- error_code: 405
--- response_body
--- response_headers
Allow: POST, OPTIONS
Content-Type: application/json
Cache-Control: no-store



=== TEST 5: OPTIONS: no credential, no Redis
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:%{dead port};
    }

    tb_rpc_jwt_key  %{jwt_key};
--- request
OPTIONS /api/rpc/twoway/%{d1}
--- error_code: 204
--- response_body
--- response_headers
Allow: POST, OPTIONS
Cache-Control: no-store
! Content-Type
! Content-Length
! WWW-Authenticate



=== TEST 6: OPTIONS elsewhere, even with a credential that is wrong
--- more_headers
X-Authorization: Bearer x
--- request eval
[ 'OPTIONS /api/rpc/persistent/' . main::uuid_of('1'),
  'OPTIONS /api/rpc/persistent/device/' . main::uuid_of('1'),
  'OPTIONS /api/plugins/rpc/oneway/' . main::uuid_of('1'),
  'OPTIONS /api/rpc/nothing' ]
--- error_code eval
[204, 204, 204, 404]
--- response_headers eval
["Allow: GET, HEAD, DELETE, OPTIONS\n", "Allow: GET, HEAD, OPTIONS\n",
 "Allow: POST, OPTIONS\n", "! Allow\n"]
--- response_body_like eval
['\A\z', '\A\z', '\A\z', '"errorCode":32']



=== TEST 7: OPTIONS with API keys, "satisfy any" and deny
--- config
    location /api/rpc/ {
        tb_rpc_api_keys  on;
        satisfy          any;
        deny             all;
        tb_rpc           v2;
    }
--- request
OPTIONS /api/rpc/twoway/%{d1}
--- error_code: 204



=== TEST 8: HEAD of a list and of a record is GET without the body
--- auth: tenant
--- request eval
[ 'HEAD /api/rpc/persistent/device/' . main::uuid_of('device d1')
      . '?page=0&pageSize=10',
  'HEAD /api/rpc/persistent/' . main::uuid_of('1'),
  'HEAD /api/rpc/persistent/x' ]
--- error_code eval
[200, 404, 400]
--- response_headers eval
["Content-Type: application/json\nCache-Control: no-store\n",
 "Content-Type: application/json\nCache-Control: no-store\n",
 "Content-Type: application/json\nCache-Control: no-store\n"]
--- response_body_like eval
['\A\z', '\A\z', '\A\z']



=== TEST 9: HEAD needs a credential
--- request
HEAD /api/rpc/persistent/%{uuid:1}
--- error_code: 401
--- response_body
--- response_headers
WWW-Authenticate: Bearer



=== TEST 10: unknown paths
--- auth: tenant
--- requests
POST /api/rpc/ {"method":"m","params":1}                       => 404 error 32 There is no such resource
POST /api/rpc/twoway {"method":"m","params":1}                 => 404 error 32 .*
POST /api/rpc/twoway/ {"method":"m","params":1}                => 404 error 32 .*
POST /api/rpc/twoway/%{d1}/ {"method":"m","params":1}          => 404 error 32 .*
POST /api/rpc/twoway/%{d1}/x {"method":"m","params":1}         => 404 error 32 .*
POST /api/rpc/threeway/%{d1} {"method":"m","params":1}         => 404 error 32 .*
POST /api/rpc/TWOWAY/%{d1} {"method":"m","params":1}           => 404 error 32 .*
GET /api/rpc/persistent/                                       => 404 error 32 .*
GET /api/rpc/persistent/device/                                => 404 error 32 .*
GET /api/rpc/%{d1}                                             => 404 error 32 .*



=== TEST 11: unknown paths need a credential, too
--- requests
GET /api/rpc/nothing         => 401 error 10 .*
PUT /api/rpc/oneway/%{d1} x  => 401 error 10 .*
POST /api/rpc/oneway/x {}    => 401 error 10 .*



=== TEST 12: ids that are none
--- auth: tenant
--- requests
POST /api/rpc/twoway/x {"method":"m","params":1}               => 400 error 31 Invalid UUID string: x
POST /api/rpc/twoway/1-1-1-1-1 {"method":"m","params":1}       => 400 error 31 Invalid UUID string: 1-1-1-1-1
POST /api/rpc/twoway/%{short} {"method":"m","params":1}        => 400 error 31 .*
POST /api/rpc/twoway/%{d1}0 {"method":"m","params":1}          => 400 error 31 .*
POST /api/rpc/twoway/%{no dashes} {"method":"m","params":1}    => 400 error 31 .*
POST /api/rpc/twoway/%{bad digit} {"method":"m","params":1}    => 400 error 31 .*
POST /api/rpc/twoway/%{dash moved} {"method":"m","params":1}   => 400 error 31 .*
POST /api/rpc/twoway/{%{d1}} {"method":"m","params":1}         => 400 error 31 .*
POST /api/rpc/twoway/%22%0a%5c%ff {"method":"m","params":1}    => 400 error 31 Invalid UUID string: \\"\\u000a\\\\.*
POST /api/rpc/twoway/%{long id} {"method":"m","params":1}      => 400 error 31 Invalid UUID string: a{64}
GET /api/rpc/persistent/x                                      => 400 error 31 Invalid UUID string: x
DELETE /api/rpc/persistent/%{d1}x                              => 400 error 31 .*
GET /api/rpc/persistent/device                                 => 400 error 31 Invalid UUID string: device
GET /api/rpc/persistent/device/x?page=0&pageSize=1             => 400 error 31 .*



=== TEST 13: ids in upper case, encoded paths, a doubled slash
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{upper} {"method":"m","params":1}        => 200 1
POST /api/rpc/%74woway/%{d1} {"method":"m","params":1}         => 200 1
POST /api//rpc///twoway//%{d1} {"method":"m","params":1}       => 200 1
POST /api/rpc/x/../twoway/%{d1} {"method":"m","params":1}      => 200 1
POST /api/rpc/rpc/twoway/%{d1} {"method":"m","params":1}       => 200 1
POST /api/rpc/twoway/%{d1}? {"method":"m","params":1}          => 200 1



=== TEST 14: both families under any prefix, with what the location says
--- config
    location /tb/ {
        tb_rpc  v1;
    }

    location ~ ^/regex/.*/rpc/ {
        tb_rpc  v2;
    }

    location = /exact/rpc/twoway/%{d1} {
        tb_rpc  v2;
    }
--- auth: tenant
--- requests
POST /tb/api/rpc/twoway/%{d1} {"method":"m","params":1}          => 200 1
POST /tb/api/plugins/rpc/twoway/%{d1} {"method":"fail","params":1}  => 409 FAILED error 2 .*
POST /tb/rpc/twoway/%{d1} {"method":"fail","params":1}           => 409 FAILED error 2 .*
POST /regex/x/rpc/twoway/%{d1} {"method":"fail","params":1}      => 504 FAILED error 2 .*
POST /exact/rpc/twoway/%{d1} {"method":"m","params":1}           => 200 1



=== TEST 15: records that are not there
--- auth: tenant
--- requests
GET /api/rpc/persistent/%{ours}          => 404 error 32 Rpc with id \[%{ours}\] is not found
GET /api/rpc/persistent/%{no shard}      => 404 error 32 Rpc with id \[%{no shard}\] is not found
GET /api/rpc/persistent/%{uuid:x}        => 404 error 32 Rpc with id \[%{uuid:x}\] is not found
DELETE /api/rpc/persistent/%{ours}       => 404 error 32 .*
DELETE /api/rpc/persistent/%{no shard}   => 404 error 32 .*
GET /api/plugins/rpc/persistent/%{ours}  => 404 error 32 .*



=== TEST 16: a rewritten path
--- config
    location /short/ {
        rewrite  ^/short/(.*)$  /api/rpc/twoway/$1  last;
    }

    location /api/rpc/ {
        tb_rpc  v2;
    }
--- auth: tenant
--- requests
POST /short/%{d1} {"method":"m","params":1}  => 200 1
