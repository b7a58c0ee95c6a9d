# tb_rpc_device_api: what "nginx -t" refuses, and where it holds.
#
# runs: side by side, 4 s

use TB 'no_plan';

use Digest::SHA qw(sha256_hex);

no_shuffle();

device('d1');
redis()->call('SET', 'tb:token:' . sha256_hex('t1'), macro('d1'));

run_tests();

__DATA__

=== TEST 1: without tb_rpc_redis
--- no_redis
--- config
    location /api/v1/ {
        tb_rpc_device_api;
    }
--- must_die
--- error_log
"tb_rpc_device_api" needs a "tb_rpc_redis" block



=== TEST 2: twice
--- config
    location /api/v1/ {
        tb_rpc_device_api;
        tb_rpc_device_api;
    }
--- must_die
--- error_log
"tb_rpc_device_api" directive is duplicate



=== TEST 3: with tb_rpc
--- config
    location /api/v1/ {
        tb_rpc v2;
        tb_rpc_device_api;
    }
--- must_die
--- error_log
"tb_rpc_device_api" directive can't be in a location with "tb_rpc"



=== TEST 4: the other way round
--- config
    location /api/v1/ {
        tb_rpc_device_api;
        tb_rpc v2;
    }
--- must_die
--- error_log
"tb_rpc" directive can't be in a location with "tb_rpc_device_api"



=== TEST 5: a time that is too long
--- config
    location /api/v1/ {
        tb_rpc_device_api 301s;
    }
--- must_die
--- error_log
invalid value "301s" in "tb_rpc_device_api", it must be a time from 1ms to 5m



=== TEST 6: no time
--- config
    location /api/v1/ {
        tb_rpc_device_api 0;
    }
--- must_die
--- error_log
invalid value "0" in "tb_rpc_device_api"



=== TEST 7: outside of a location
--- config
    tb_rpc_device_api;
--- must_die
--- error_log
"tb_rpc_device_api" directive is not allowed here



=== TEST 8: needs neither tb_rpc_jwt_key nor credentials
--- config
    location /api/v1/ {
        tb_rpc_device_api 100ms;
    }
--- request
GET /api/v1/t1/rpc
--- error_code: 408
--- response_body
--- no_error_log
[error]



=== TEST 9: "if" and "limit_except" keep it
--- config
    location /api/v1/ {
        tb_rpc_device_api 100ms;

        if ($arg_x) {
            set $y 1;
        }

        limit_except GET {
            allow all;
        }
    }
--- pipelined_requests eval
["GET /api/v1/t1/rpc?x=1", "POST /api/v1/t1/rpc/1\n7"]
--- error_code eval
[408, 200]



=== TEST 10: a nested location does not have it
--- config
    location /api/v1/ {
        tb_rpc_device_api 100ms;

        location /api/v1/t1/ {
            return 204;
        }
    }
--- request
GET /api/v1/t1/rpc
--- error_code: 204



=== TEST 11: others refuse first, and limit_req knows the token's digest
--- http_config
    limit_req_zone  $tb_rpc_key_id  zone=devices:1m  rate=1r/m;
--- config
    location /api/v1/ {
        tb_rpc_device_api 50ms;
        limit_req zone=devices;
    }
--- pipelined_requests eval
["GET /api/v1/t1/rpc", "GET /api/v1/t1/rpc", "GET /api/v1/t2/rpc"]
--- error_code eval
[408, 503, 401]



=== TEST 12: tb_rpc_intercept_errors: 408 by error_page
--- config
    tb_rpc_intercept_errors  on;
    error_page  408 = /late;

    location /api/v1/ {
        tb_rpc_device_api 50ms;
    }

    location = /late {
        return 200 "late";
    }
--- request
GET /api/v1/t1/rpc
--- response_body: late
