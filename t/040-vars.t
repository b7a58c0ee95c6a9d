# Variables: in headers, in the log, before the ACCESS phase, after error_page.
#
# runs: side by side, 7 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('mine', bridge => 'b1', customer => macro('customer'));
device('off');
api_key('key', user => uuid_of('key user'));
bridge();

# one token, so that its digest is known
my $token = jwt(scopes => ['CUSTOMER_USER'], customerId => macro('customer'));

set_macro('the token' => $token,
          'its id' => substr(TB::Token::sha256_hex($token), 0, 16),
          'bad token' => jwt_with({ key => 'k' x 64 }));
set_macro('key id' => substr(TB::Token::sha256_hex(macro('key')), 0, 16));

my $variables = join '', map { "    add_header  X-@{[tr/_/-/r]}  [\$tb_rpc_$_]  always;\n" }
                             qw(id device_id tenant_id customer_id user_id
                                authority key_id method result redis_time);

set_macro(variables => "tb_rpc  v2;\n$variables",
          line => "log_format  line  '<\$status id=\$tb_rpc_id"
                  . ' device=$tb_rpc_device_id tenant=$tb_rpc_tenant_id'
                  . ' customer=$tb_rpc_customer_id user=$tb_rpc_user_id'
                  . ' authority=$tb_rpc_authority key=$tb_rpc_key_id'
                  . ' method=$tb_rpc_method result=$tb_rpc_result'
                  . ' redis=$tb_rpc_redis_time>\';'
                  . "\n    access_log  logs/access.log  line;");

run_tests();

__DATA__

=== TEST 1: in headers: a customer's two-way call
--- config
    location /api/rpc/ {
        %{variables}
    }
--- more_headers
X-Authorization: Bearer %{the token}
--- request
POST /api/rpc/twoway/%{mine}
{"method":"get\u0020it","params":1}
--- response_headers
X-device-id: [%{mine}]
X-tenant-id: [%{tenant}]
X-customer-id: [%{customer}]
X-user-id: [%{user}]
X-authority: [CUSTOMER_USER]
X-key-id: [%{its id}]
X-method: [get it]
X-result: []
--- raw_response_headers_like chomp
X-id: \[[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\]\r\n.*X-redis-time: \[[01]\.\d{3}\]\r\n
--- response_body chomp
1



=== TEST 2: in headers: a failed call, an administrator
--- http_config
    tb_rpc_min_timeout  50ms;
--- config
    location /api/rpc/ {
        %{variables}
    }
--- auth: tenant
--- request
POST /api/rpc/twoway/%{off}
{"method":"m","params":1,"timeout":100}
--- error_code: 504
--- response_headers
X-RPC-Result: NO_ACTIVE_CONNECTION
X-result: [no_active_connection]
X-device-id: [%{off}]
X-customer-id: []
X-authority: [TENANT_ADMIN]



=== TEST 3: in headers: nobody
--- config
    location /api/rpc/ {
        %{variables}
    }
--- more_headers
X-Authorization: Bearer %{bad token}
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- error_code: 401
--- response_headers
X-device-id: [%{d1}]
X-id: []
X-tenant-id: []
X-user-id: []
X-authority: []
X-method: []
X-result: []
X-redis-time: []



=== TEST 4: in the log: a call
--- http_config
    %{line}
--- more_headers
X-Authorization: Bearer %{the token}
--- request
POST /api/rpc/oneway/%{mine}
{"method":"m","params":1}
--- access_log eval
main::expand('device=%{mine} tenant=%{tenant} customer=%{customer} user=%{user} authority=CUSTOMER_USER key=%{its id} method=m result=- redis=0.')



=== TEST 5: in the log: a refused call
--- http_config
    %{line}
--- more_headers
X-Authorization: Bearer %{bad token}
--- request
POST /api/rpc/oneway/%{d1}
{"method":"m","params":1}
--- error_code: 401
--- access_log eval
qr/<401 id=- device=[-0-9a-f]{36} tenant=- customer=- user=- authority=- key=[0-9a-f]{16} method=- result=- redis=->/



=== TEST 6: in the log: a timeout
--- http_config
    tb_rpc_min_timeout  50ms;
    %{line}
--- auth: tenant
--- request
POST /api/plugins/rpc/twoway/%{d1}
{"method":"mute","params":1,"timeout":2000}
--- error_code: 408
--- access_log eval
qr/<408 id=[-0-9a-f]{36} device=[-0-9a-f]{36} .* method=mute result=timeout redis=\d/



=== TEST 7: in the log: a record: its id, no device
--- http_config
    %{line}
--- auth: tenant
--- request
GET /api/rpc/persistent/%{uuid:1}
--- error_code: 404
--- access_log eval
main::expand('<404 id=%{uuid:1} device=- tenant=%{tenant} ')



=== TEST 8: in the log: a list
--- http_config
    %{line}
--- auth: tenant
--- request
GET /api/rpc/persistent/device/%{d1}?page=0&pageSize=1
--- access_log eval
main::expand('<200 id=- device=%{d1} tenant=%{tenant} ')



=== TEST 9: in the log: an API key's identity
--- http_config
    tb_rpc_api_keys  on;
    %{line}
--- more_headers
X-Authorization: ApiKey %{key}
--- request
POST /api/rpc/oneway/%{d1}
{"method":"m","params":1}
--- access_log eval
main::expand('tenant=%{tenant} customer=- user=%{uuid:key user} authority=TENANT_ADMIN key=%{key id} method=m')



=== TEST 10: in the log: OPTIONS
--- http_config
    %{line}
--- request
OPTIONS /api/rpc/oneway/%{d1}
--- error_code: 204
--- access_log eval
main::expand('<204 id=- device=%{d1} tenant=- customer=- user=- authority=- key=- method=- result=- redis=->')



=== TEST 11: in locations that are not ours they are empty
--- config
    location = /other {
        return  200 "[$tb_rpc_id$tb_rpc_device_id$tb_rpc_tenant_id$tb_rpc_authority$tb_rpc_method$tb_rpc_result$tb_rpc_redis_time]\n";
    }
--- auth: tenant
--- request
GET /other
--- response_body
[]



=== TEST 12: $tb_rpc_key_id is there for every credential, everywhere
--- config
    location = /other {
        return  200 "[$tb_rpc_key_id]\n";
    }
--- request eval
['GET /other', 'GET /other', 'GET /other', 'GET /other', 'GET /other']
--- more_headers eval
[main::expand("X-Authorization: Bearer %{the token}\n"),
 main::expand("Authorization: ApiKey %{key}\n"),
 "Authorization: Basic dTpw\n", "X-Authorization: Bearer\n", "X-Other: 1\n"]
--- response_body eval
[main::expand("[%{its id}]\n"), main::expand("[%{key id}]\n"), "[]\n", "[]\n",
 "[]\n"]



=== TEST 13: PREACCESS: calls are limited by the tenant of a JWT
--- http_config
    limit_req_zone  $tb_rpc_tenant_id  zone=tenants:1m  rate=1r/m;
--- config
    location /api/rpc/ {
        limit_req         zone=tenants;
        limit_req_status  429;
        tb_rpc            v2;
    }
--- request eval
[ map { 'POST /api/rpc/twoway/' . main::uuid_of("device d1")
        . "\n" . '{"method":"m","params":1}' } 1 .. 4 ]
--- more_headers eval
[ main::expand("X-Authorization: Bearer %{token:tenant}\n"),
  main::expand("X-Authorization: Bearer %{token:tenant}\n"),
  main::expand("X-Authorization: Bearer %{bad token}\n"),
  main::expand("X-Authorization: Bearer %{token:other_tenant}\n") ]
--- error_code eval
[200, 429, 401, 401]
--- response_body_like eval
['\A1\z', '429 Too Many Requests', '"errorCode":10', '"errorCode":20']



=== TEST 14: PREACCESS: the identity of an API key is not known yet
--- http_config
    tb_rpc_api_keys  on;
    limit_req_zone   $tb_rpc_tenant_id  zone=tenants:1m  rate=1r/m;
--- config
    location /api/rpc/ {
        limit_req         zone=tenants;
        limit_req_status  429;
        tb_rpc            v2;
    }
--- more_headers
X-Authorization: ApiKey %{key}
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}  => 200 1
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}  => 200 1



=== TEST 15: PREACCESS: the credential itself is
--- http_config
    tb_rpc_api_keys  on;
    limit_req_zone   $tb_rpc_key_id  zone=keys:1m  rate=1r/m;
--- config
    location /api/rpc/ {
        limit_req         zone=keys;
        limit_req_status  429;
        tb_rpc            v2;
    }
--- request eval
[ map { 'POST /api/rpc/twoway/' . main::uuid_of("device d1")
        . "\n" . '{"method":"m","params":1}' } 1 .. 3 ]
--- more_headers eval
[ main::expand("X-Authorization: ApiKey %{key}\n"),
  main::expand("Authorization: apikey %{key}\n"),
  main::expand("X-Authorization: Bearer %{token:tenant}\n") ]
--- error_code eval
[200, 429, 200]
--- response_body_like eval
['\A1\z', '429 Too Many', '\A1\z']



=== TEST 16: after error_page, out of our location
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- config
    location /api/rpc/ {
        error_page  504 = /failed;
        tb_rpc      v2;
    }

    location = /failed {
        internal;
        return  200 "$tb_rpc_result $tb_rpc_method $tb_rpc_device_id $tb_rpc_tenant_id $tb_rpc_authority\n";
    }
--- auth: tenant
--- request
POST /api/rpc/twoway/%{off}
{"method":"open","params":1,"timeout":100}
--- response_body
no_active_connection open %{off} %{tenant} TENANT_ADMIN



=== TEST 17: after error_page, of one who was refused
--- http_config
    tb_rpc_intercept_errors  on;
--- config
    location /api/rpc/ {
        error_page  401 = @refused;
        tb_rpc      v2;
    }

    location @refused {
        return  403 "[$tb_rpc_device_id][$tb_rpc_tenant_id][$tb_rpc_key_id]\n";
    }
--- more_headers
X-Authorization: Bearer x
--- request
POST /api/rpc/twoway/%{off}
{"method":"open","params":1}
--- error_code: 403
--- response_body_like chomp
^\[[-0-9a-f]{0,36}\]\[\]\[[0-9a-f]{16}\]\n\z



=== TEST 18: a method with everything in it can't break a log or a header
--- http_config
    %{line}
--- config
    location /api/rpc/ {
        tb_rpc  v2;
    }
--- auth: tenant
--- request
POST /api/rpc/oneway/%{d1}
{"method":"a\"\n\u0000b","params":1}
--- access_log
method=a\x22\x0A\x00b result
