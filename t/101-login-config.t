# tb_rpc_login: what "nginx -t" accepts and refuses, and what is inherited.
#
# runs: side by side, 5 s
# not with --redis-tls, --redis-cluster: nothing is asked of a Redis

use TB 'no_plan';
use TB::Login;

my $key = file_in('public.key', "-----BEGIN PUBLIC KEY-----\n"
    . "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
    . "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
    . "-----END PUBLIC KEY-----\n");

set_macro('public key' => $key);
user('ann', ln => 10);
no_shuffle();
run_tests();

__DATA__

=== TEST 1: everything that there is
--- main_config
    thread_pool  logins  threads=2;
--- http_config
    tb_rpc_login_threads       1 waiting=0 pool=logins nice=19;
    tb_rpc_login_token_time    1h;
    tb_rpc_login_refresh_time  30d;
    tb_rpc_login_sessions      1000;
    tb_rpc_login_scrypt        ln=10 r=1 p=16;
    tb_rpc_login_failures      user=1 address=1 time=30d delay=0 max_delay=1m;
--- config
    location /api/auth/ {
        tb_rpc_login;
        tb_rpc_login_scrypt  p=2;

        location /api/auth/more/ {
            tb_rpc_login;
        }
    }
--- requests
POST /api/auth/login {"username":"nobody","password":"x"}  => 401 error 10 Invalid username or password
POST /api/auth/more/token {}  => 400 error 31 .*



=== TEST 2: not inherited, but by "if" and "limit_except"
--- config
    location /api/auth/ {
        tb_rpc_login;

        if ($arg_x) {
            set $x 1;
        }

        location /api/auth/more/ { tb_rpc v2; tb_rpc_auth off;
                                   tb_rpc_identity tenant=%{tenant}; }
    }
--- requests
POST /api/auth/token?x=1 {}  => 400 error 31 .*
POST /api/auth/more/token {}  => 404 error 32 There is no such resource



=== TEST 3: no Redis
--- no_redis
--- http_config
    tb_rpc_jwt_key  %{jwt_key};
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login" needs a "tb_rpc_redis" block in



=== TEST 4: no key
--- http_config
    tb_rpc_redis { server redis://127.0.0.1:%{redis_port}; }
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login" needs "tb_rpc_jwt_key", by which it signs in



=== TEST 5: a public key can't sign
--- http_config
    tb_rpc_redis { server redis://127.0.0.1:%{redis_port}; }
    tb_rpc_jwt_key  %{public key};
    tb_rpc_jwt_alg  ES256;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login" needs a secret to sign by: "tb_rpc_jwt_alg" HS256, HS384 or HS512 in



=== TEST 6: a public key for HS512
--- http_config
    tb_rpc_redis { server redis://127.0.0.1:%{redis_port}; }
    tb_rpc_jwt_key  %{public key};
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login" has an unusable "tb_rpc_jwt_key" in



=== TEST 7: too much memory
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_scrypt ln=20 r=8; }
--- must_die
--- error_log
"tb_rpc_login" has a "tb_rpc_login_scrypt" that takes more than 256 MB for each login in



=== TEST 8: parameters of scrypt
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_scrypt ln=9; }
--- must_die
--- error_log
invalid or duplicate parameter "ln=9", it must be from 10 to 20



=== TEST 9: no such parameter
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_scrypt n=16384; }
--- must_die
--- error_log
invalid parameter "n=16384"



=== TEST 10: twice
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_scrypt ln=10 ln=11; }
--- must_die
--- error_log
invalid or duplicate parameter "ln=11"



=== TEST 11: failures
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_failures user=0; }
--- must_die
--- error_log
invalid or duplicate parameter "user=0", it must be from 1 to 1000000



=== TEST 12: a time of failures
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_failures time=31d; }
--- must_die
--- error_log
invalid or duplicate parameter "time=31d", it must be from 1000 to 2592000000 ms



=== TEST 13: failures twice
--- config
    location /api/auth/ {
        tb_rpc_login;
        tb_rpc_login_failures user=1;
        tb_rpc_login_failures address=1;
    }
--- must_die
--- error_log
"tb_rpc_login_failures" directive is duplicate



=== TEST 14: a refresh token that is shorter
--- config
    location /api/auth/ { tb_rpc_login; tb_rpc_login_refresh_time 1h; }
--- must_die
--- error_log
"tb_rpc_login" needs a "tb_rpc_login_token_time" of 1s at least, and a "tb_rpc_login_refresh_time" that is not below it



=== TEST 15: threads
--- http_config
    tb_rpc_login_threads 0;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login_threads" directive must be from 1 to 64



=== TEST 16: a parameter of threads
--- http_config
    tb_rpc_login_threads 2 wait=1;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
invalid parameter "wait=1"



=== TEST 23: a priority that there is not
--- http_config
    tb_rpc_login_threads 2 nice=20;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
invalid parameter "nice=20"



=== TEST 24: idle threads that read files as well
--- http_config
    tb_rpc_login_threads 2 idle;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
needs a "thread_pool" of its own, since "tb_rpc_login_threads" are "idle"



=== TEST 26: two priorities of threads
--- main_config
    thread_pool  logins  threads=2;
--- http_config
    tb_rpc_login_threads 2 nice=5 idle pool=logins;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
there is a priority already, beside parameter "idle"



=== TEST 27: the other way round
--- main_config
    thread_pool  logins  threads=2;
--- http_config
    tb_rpc_login_threads 2 idle nice=5 pool=logins;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
there is a priority already, beside parameter "nice=5"



=== TEST 28: two numbers of those that wait
--- http_config
    tb_rpc_login_threads 2 waiting=1 waiting=9;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
duplicate parameter "waiting=9"



=== TEST 29: two pools
--- main_config
    thread_pool  logins  threads=2;
--- http_config
    tb_rpc_login_threads 2 pool=default pool=logins;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
duplicate parameter "pool=logins"



=== TEST 25: a pool of their own
--- main_config
    thread_pool  logins  threads=2;
--- http_config
    tb_rpc_login_threads 2 idle pool=logins;
--- config
    location /api/auth/ { tb_rpc_login; }
--- request
GET /



=== TEST 17: an unknown pool
--- http_config
    tb_rpc_login_threads 2 pool=nobodys;
--- config
    location /api/auth/ { tb_rpc_login; }
--- must_die
--- error_log
unknown thread pool "nobodys"



=== TEST 18: beside another content handler
--- config
    location /api/auth/ { tb_rpc_login; proxy_pass http://127.0.0.1:1; }
--- must_die
--- error_log
"tb_rpc_login" can't be in a location with another content handler, as "proxy_pass" in



=== TEST 19: beside tb_rpc
--- config
    location /api/ { tb_rpc v2; tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login" directive can't be in a location with "tb_rpc" in



=== TEST 20: tb_rpc_status behind it
--- config
    location /api/ { tb_rpc_login; tb_rpc_status; }
--- must_die
--- error_log
"tb_rpc_status" directive can't be in a location with "tb_rpc_login" in



=== TEST 21: sessions
--- config
    location /api/ { tb_rpc_login; tb_rpc_login_sessions 1001; }
--- must_die
--- error_log
value must be between 1 and 1000 in



=== TEST 22: a body that would go to the disk
--- config
    location /api/ { tb_rpc_login; client_body_buffer_size 4k; }
--- must_die
--- error_log
"tb_rpc_login" needs a "client_body_buffer_size" of 8k at least: passwords are not written to the disk in



=== TEST 23: twice in a location
--- config
    location /api/ { tb_rpc_login; tb_rpc_login; }
--- must_die
--- error_log
"tb_rpc_login" directive is duplicate
