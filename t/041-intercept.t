# tb_rpc_intercept_errors, error_page, and 408, which nginx does not answer
# when it is returned as a code.
#
# runs: side by side, 20 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('off');
bridge();
set_macro(v1 => '/api/plugins/rpc', x9k => 'x' x 9000, 'dead port' => free_port());

run_tests();

__DATA__

=== TEST 1: off: error_page is not asked
--- http_config
    tb_rpc_min_timeout  50ms;
--- config
    error_page  400 401 404 405 408 409 500 502 503 504 /50x.html;

    location /api/rpc/ {
        tb_rpc  v2;
    }

    location /api/plugins/rpc/ {
        tb_rpc  v1;
    }
--- user_files
>>> 50x.html
the page
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{off} {"method":"m","params":1,"timeout":60}     => 504 NO_ACTIVE_CONNECTION error 2 .*
POST %{v1}/twoway/%{off} {"method":"m","params":1,"timeout":60}        => 409 NO_ACTIVE_CONNECTION error 2 .*
POST %{v1}/twoway/%{d1} {"method":"mute","params":1,"timeout":2000}     => 408 TIMEOUT error 2 .*
POST /api/rpc/twoway/%{off} {"method":                                 => 400 error 31 .*
GET /api/rpc/twoway/%{off}                                             => 405 error 31 .*
GET /api/rpc/persistent/%{uuid:1}                                      => 404 error 32 .*
GET /api/rpc/                                                          => 404 error 32 .*



=== TEST 2: off: 401 too
--- config
    error_page  401 /50x.html;

    location /api/rpc/ {
        tb_rpc  v2;
    }
--- request
GET /api/rpc/persistent/%{uuid:1}
--- answer: 401 error 10 Authentication failed



=== TEST 3: on: a page for each, our headers are kept
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- config
    error_page  400 401 404 405 406 408 409 504 /page.html;

    location /api/rpc/ {
        tb_rpc  v2;
    }

    location /api/plugins/rpc/ {
        tb_rpc  v1;
    }
--- user_files
>>> page.html
the page
--- auth: tenant
--- request eval
[ map { main::expand($_) }
  'POST /api/rpc/twoway/%{off}' . "\n" . '{"method":"m","params":1,"timeout":60}',
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"mute","params":1,"timeout":2000}',
  'POST %{v1}/twoway/%{off}' . "\n" . '{"method":"m","params":1,"timeout":60}',
  'POST /api/rpc/twoway/%{d1}' . "\n" . '{"method":"text","params":1}',
  'POST /api/rpc/twoway/%{d1}' . "\n" . '{',
  'PUT /api/rpc/twoway/%{d1}',
  'GET /api/rpc/persistent/%{uuid:1}',
  'GET /api/rpc/',
  'POST /api/rpc/twoway/%{uuid:none}' . "\n" . '{"method":"m","params":1}' ]
--- error_code eval
[504, 408, 409, 406, 400, 405, 404, 404, 401]
--- response_body eval
[("the page\n") x 9]
--- response_headers eval
["X-RPC-Result: NO_ACTIVE_CONNECTION\nCache-Control: no-store\n",
 "X-RPC-Result: TIMEOUT\nCache-Control: no-store\n",
 "X-RPC-Result: NO_ACTIVE_CONNECTION\nCache-Control: no-store\n",
 "X-RPC-Result: INVALID_RESPONSE\nCache-Control: no-store\n",
 "! X-RPC-Result\nCache-Control: no-store\n",
 "Allow: POST, OPTIONS\nCache-Control: no-store\n",
 "Cache-Control: no-store\n", "Cache-Control: no-store\n",
 "Cache-Control: no-store\n! WWW-Authenticate\n"]



=== TEST 4: on, without error_page: nginx's own pages
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- auth: tenant
--- request eval
[ map { main::expand($_) }
  'POST /api/rpc/twoway/%{off}' . "\n" . '{"method":"m","params":1,"timeout":60}',
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"mute","params":1,"timeout":2000}',
  'GET /api/rpc/persistent/x' ]
--- error_code eval
[504, 408, 400]
--- response_body_like eval
['504 Gateway Time-out', '408 Request Time-out', '400 Bad Request']
--- response_headers eval
["Content-Type: text/html\nX-RPC-Result: NO_ACTIVE_CONNECTION\n",
 "Content-Type: text/html\nX-RPC-Result: TIMEOUT\n",
 "Content-Type: text/html\n! X-RPC-Result\n"]



=== TEST 5: on: 401 in the ACCESS phase
--- http_config
    tb_rpc_intercept_errors  on;
--- config
    error_page  401 /page.html;

    location /api/rpc/ {
        tb_rpc  v2;
    }
--- user_files
>>> page.html
the page
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- error_code: 401
--- response_body
the page
--- response_headers
WWW-Authenticate: Bearer
Cache-Control: no-store



=== TEST 6: on: to a named location, with another status
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- config
    location /api/plugins/rpc/ {
        error_page  408 409 =202 @later;
        tb_rpc      v1;
    }

    location @later {
        default_type  application/json;
        return        202 "{\"result\":\"$tb_rpc_result\"}";
    }
--- auth: tenant
--- request eval
[ map { main::expand($_) }
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"mute","params":1,"timeout":2000}',
  'POST %{v1}/twoway/%{off}' . "\n" . '{"method":"m","params":1,"timeout":60}' ]
--- error_code eval
[202, 202]
--- response_body eval
['{"result":"timeout"}', '{"result":"no_active_connection"}']



=== TEST 7: on: good answers are left alone
--- http_config
    tb_rpc_intercept_errors  on;
--- config
    error_page  404 500 /page.html;

    location /api/rpc/ {
        tb_rpc  v2;
    }
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}      => 200 1
POST /api/rpc/twoway/%{d1} {"method":"empty","params":1}  => 200 empty



=== TEST 8: on, thingsboard profile: what would be empty or text goes there too
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
    tb_rpc_profile           thingsboard;
--- config
    error_page  404 408 413 504 /page.html;

    location /api/rpc/ {
        tb_rpc_max_payload  1k;
        tb_rpc              v2;
    }

    location /api/plugins/rpc/ {
        tb_rpc  v1;
    }
--- user_files
>>> page.html
the page
--- auth: tenant
--- request eval
[ map { main::expand($_) }
  'POST /api/rpc/twoway/%{off}' . "\n" . '{"method":"m","timeout":60}',
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"mute","timeout":2000}',
  'POST /api/rpc/twoway/%{uuid:none}' . "\n" . '{"method":"m"}',
  'POST /api/rpc/twoway/%{d1}' . "\n" . '{"method":"%{x9k}"}' ]
--- error_code eval
[504, 408, 404, 413]
--- response_body eval
[("the page\n") x 4]



=== TEST 9: on: 503 keeps Retry-After
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{dead port};
        connect_timeout  200ms;
        command_timeout  200ms;
    }

    tb_rpc_jwt_key           %{jwt_key};
    tb_rpc_intercept_errors  on;
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- error_code: 503
--- response_headers
Retry-After: 1
X-RPC-Result: REDIS_UNAVAILABLE
Cache-Control: no-store
--- response_body_like: 503 Service Temporarily Unavailable



=== TEST 10: errors of nginx itself are its own, and can be made JSON
--- config
    location /api/rpc/ {
        client_max_body_size  8k;
        error_page            413 = @json;
        tb_rpc                v2;
    }

    location @json {
        default_type  application/json;
        return        413 '{"status":413}';
    }
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":"%{x9k}"}
--- error_code: 413
--- response_body: {"status":413}



=== TEST 11: 408 leaves the connection alive
--- http_config
    tb_rpc_min_timeout  50ms;
--- auth: tenant
--- pipelined_requests eval
[ map { main::expand($_) }
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"mute","params":1,"timeout":2000}',
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"m","params":"next"}' ]
--- error_code eval
[408, 200]
--- response_body_like eval
['"status":408', '\A"next"\z']



=== TEST 12: so it does when intercepted
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- config
    error_page  408 /page.html;

    location /api/plugins/rpc/ {
        tb_rpc  v1;
    }
--- user_files
>>> page.html
the page
--- auth: tenant
--- pipelined_requests eval
[ map { main::expand($_) }
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"mute","params":1,"timeout":2000}',
  'POST %{v1}/twoway/%{d1}' . "\n" . '{"method":"m","params":"next"}' ]
--- error_code eval
[408, 200]
--- response_body_like eval
['\Athe page\n\z', '\A"next"\z']



=== TEST 13: an error page that is another call
--- http_config
    tb_rpc_min_timeout       50ms;
    tb_rpc_intercept_errors  on;
--- config
    location /api/rpc/ {
        error_page  504 = /second/rpc/persistent/device/%{d1}?page=0&pageSize=1;
        tb_rpc      v2;
    }

    location /second/rpc/ {
        tb_rpc  v2;
    }
--- auth: tenant
--- request
POST /api/rpc/twoway/%{off}
{"method":"m","params":1,"timeout":60}
--- response_body_like: ^\{"data":\[\],"totalPages":0,
