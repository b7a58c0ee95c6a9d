# The module is loaded: unused, and with the least that makes it work.
#
# runs: side by side, 2 s
# not with --redis-tls, --redis-cluster: there is no Redis in it

use TB 'no_plan';

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: loaded, no directive used
--- no_redis
--- config
    location = /t {
        return 200 "nothing\n";
    }
--- request
GET /t
--- response_body
nothing
--- no_error_log
[error]
[warn]
tb_rpc



=== TEST 2: tb_rpc_redis alone connects to nothing
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
    }
--- config
    location = /t {
        return 200 "nothing\n";
    }
--- request
GET /t
--- response_body
nothing
--- no_error_log
[error]
[warn]



=== TEST 3: the defaults are enough
--- request
OPTIONS /api/rpc/oneway/%{uuid:1}
--- error_code: 204
--- response_headers
Allow: POST, OPTIONS
--- no_error_log
[error]
[warn]



=== TEST 4: inside "if" and in a location with other modules' directives
--- config
    location /api/rpc/ {
        if ($http_x_other) {
            set  $other  1;
        }

        add_header  X-Test  yes  always;
        tb_rpc      v2;
    }
--- request
OPTIONS /api/rpc/oneway/%{uuid:1}
--- more_headers
X-Other: 1
--- error_code: 204
--- response_headers
Allow: POST, OPTIONS
--- no_error_log
[error]

