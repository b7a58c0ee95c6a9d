# More of what "nginx -t" refuses: a second content handler in a location, and
# settings that are out of their range.
#
# runs: side by side, 5 s
# not with --redis-tls, --redis-cluster: there is no Redis in it

use TB 'no_plan';

set_macro(dead_port => free_port());
no_shuffle();
run_tests();

__DATA__

=== TEST 1: proxy_pass before tb_rpc
--- config
    location /api/rpc/ {
        proxy_pass  http://127.0.0.1:1;
        tb_rpc      v2;
    }
--- must_die
--- error_log
"tb_rpc" directive can't be in a location with another content handler



=== TEST 2: proxy_pass behind tb_rpc
--- config
    location /api/rpc/ {
        tb_rpc      v2;
        proxy_pass  http://127.0.0.1:1;
    }
--- must_die
--- error_log eval
qr/"tb_rpc" can't be in a location with another content handler, as "proxy_pass" in \S+nginx\.conf:\d+/



=== TEST 3: another handler before tb_rpc_device_api
--- config
    location /api/v1/ {
        stub_status;
        tb_rpc_device_api;
    }
--- must_die
--- error_log
"tb_rpc_device_api" directive can't be in a location with another content handler



=== TEST 4: another handler behind tb_rpc_device_api
--- config
    location /api/v1/ {
        tb_rpc_device_api;
        empty_gif;
    }
--- must_die
--- error_log
"tb_rpc_device_api" can't be in a location with another content handler, as "proxy_pass" in



=== TEST 5: in a nested location
--- config
    location /api/ {
        tb_rpc  v2;

        location /api/plugins/ {
            tb_rpc      v1;
            proxy_pass  http://127.0.0.1:1;
        }
    }
--- must_die
--- error_log
"tb_rpc" can't be in a location with another content handler



=== TEST 6: in another server
--- http_config
    server {
        listen  127.0.0.1:%{dead_port};

        location / {
            proxy_pass  http://127.0.0.1:1;
            tb_rpc      v1;
        }
    }
--- must_die
--- error_log
"tb_rpc" directive can't be in a location with another content handler



=== TEST 7: in blocks of a location each has its own
--- config
    location /api/rpc/ {
        tb_rpc  v2;

        if ($arg_where = elsewhere) {
            proxy_pass  http://127.0.0.1:$server_port/elsewhere?;
        }

        limit_except POST {
            proxy_pass  http://127.0.0.1:$server_port/elsewhere?;
        }

        location /api/rpc/nested/ {
            proxy_pass  http://127.0.0.1:$server_port/elsewhere?;
        }
    }

    location /api/rpc/returned/ {
        tb_rpc  v2;
        return  200 "returned";
    }

    location /elsewhere {
        return 200 "elsewhere";
    }
--- auth: tenant
--- request eval
[ "POST /api/rpc/oneway/x\n{}", "POST /api/rpc/oneway/x?where=elsewhere\n{}",
  "PUT /api/rpc/oneway/x\n{}", "GET /api/rpc/nested/", "GET /api/rpc/returned/" ]
--- error_code eval
[ 400, 200, 200, 200, 200 ]
--- response_body_like eval
[ 'Invalid UUID string: x', '^elsewhere$', '^elsewhere$', '^elsewhere$',
  '^returned$' ]



=== TEST 8: as many shards as there may be
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        shards  512;
    }
--- config
    location = /fine {
        return 200 "fine";
    }
--- request
GET /fine
--- response_body: fine



=== TEST 9: shards that are no number
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        shards  many;
    }
--- must_die
--- error_log
invalid value "many" in "shards", it must be a number from 1 to 512



=== TEST 10: an empty queue
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        queue   0;
    }
--- must_die
--- error_log
invalid value "0" in "queue", it must be a number from 1 to 2147483647



=== TEST 11: a database below 0
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:1;
        database  -1;
    }
--- must_die
--- error_log
invalid value "-1" in "database", it must be a number from 0 to 2147483647



=== TEST 12: no time to connect
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:1;
        connect_timeout  0;
    }
--- must_die
--- error_log
invalid value "0" in "connect_timeout", it must be a time above zero



=== TEST 13: a time that is none
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:1;
        command_timeout  soon;
    }
--- must_die
--- error_log
invalid value "soon" in "command_timeout", it must be a time above zero



=== TEST 14: a certificate without its key
--- http_config
    tb_rpc_redis {
        server  rediss://127.0.0.1:1;
        ssl_certificate  x.pem;
    }
--- must_die
--- error_log
"ssl_certificate" and "ssl_certificate_key" in "tb_rpc_redis" need each other



=== TEST 15: authorities that are not there
--- http_config
    tb_rpc_redis {
        server  rediss://127.0.0.1:1;
        ssl_trusted_certificate  /nowhere/ca.pem;
    }
--- must_die
--- error_log
"/nowhere/ca.pem"



=== TEST 16: a certificate that is not there
--- http_config
    tb_rpc_redis {
        server  rediss://127.0.0.1:1;
        ssl_certificate      /nowhere/x.pem;
        ssl_certificate_key  /nowhere/x.key;
    }
--- must_die
--- error_log
cannot load certificate "/nowhere/x.pem"



=== TEST 17: TLS that is verified perhaps
--- http_config
    tb_rpc_redis {
        server  rediss://127.0.0.1:1;
        ssl_verify  maybe;
    }
--- must_die
--- error_log
"ssl_verify" must be "on" or "off"



=== TEST 18: a name of TLS given twice
--- http_config
    tb_rpc_redis {
        server  rediss://127.0.0.1:1;
        ssl_name  a;
        ssl_name  b;
    }
--- must_die
--- error_log
"ssl_name" is duplicate



=== TEST 19: a user of Sentinels that are none
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        sentinel_username  x;
    }
--- must_die
--- error_log
"sentinel_..." without "sentinel" in "tb_rpc_redis"



=== TEST 20: a user of Sentinels without a password
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        sentinel           main;
        sentinel_username  x;
    }
--- must_die
--- error_log
"sentinel_username" without "sentinel_password_file" in "tb_rpc_redis"



=== TEST 21: a master without a name
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        sentinel  "";
    }
--- must_die
--- error_log
"sentinel" is empty



=== TEST 22: Sentinels with TLS and without
--- http_config
    tb_rpc_redis {
        server    rediss://127.0.0.1:1;
        server    redis://127.0.0.1:2;
        sentinel  main;
    }
--- must_die
--- error_log
"redis://127.0.0.1:2" has TLS or not, unlike the server before it



=== TEST 23: as long as may be waited for replicas
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:1;
        wait             100 1s;
        command_timeout  2s;
    }
--- config
    location = /fine {
        return 200 "fine";
    }
--- request
GET /fine
--- response_body: fine



=== TEST 24: longer
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:1;
        wait             1 1001ms;
        command_timeout  2s;
    }
--- must_die
--- error_log
the time in "wait", 1001ms, is more than half of "command_timeout", 2000ms, in



=== TEST 25: replicas without a time
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        wait    1;
    }
--- must_die
--- error_log
"wait" needs a number of replicas and a time



=== TEST 26: no replica
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        wait    0 100ms;
    }
--- must_die
--- error_log
invalid value "0" in "wait", it must be a number from 1 to 100



=== TEST 27: no time for replicas
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        wait    1 0;
    }
--- must_die
--- error_log
invalid value "0" in "wait", it must be a time above zero



=== TEST 28: replicas given twice
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        wait    1 100ms;
        wait    2 100ms;
    }
--- must_die
--- error_log
"wait" is duplicate



=== TEST 29: tb_rpc_status in a form that there is not
--- config
    location /s {
        tb_rpc_status  xml;
    }
--- must_die
--- error_log
invalid value "xml" in "tb_rpc_status"



=== TEST 30: tb_rpc_status twice
--- config
    location /s {
        tb_rpc_status;
        tb_rpc_status  prometheus;
    }
--- must_die
--- error_log
"tb_rpc_status" directive is duplicate



=== TEST 31: tb_rpc_status and tb_rpc
--- config
    location /s {
        tb_rpc         v2;
        tb_rpc_status;
    }
--- must_die
--- error_log
"tb_rpc_status" directive can't be in a location with "tb_rpc"



=== TEST 32: tb_rpc_device_api and tb_rpc_status
--- config
    location /s {
        tb_rpc_status;
        tb_rpc_device_api;
    }
--- must_die
--- error_log
"tb_rpc_device_api" directive can't be in a location with "tb_rpc_status"



=== TEST 33: another handler behind tb_rpc_status
--- config
    location /s {
        tb_rpc_status  health;
        empty_gif;
    }
--- must_die
--- error_log
"tb_rpc_status" can't be in a location with another content handler, as "proxy_pass" in
