# What "nginx -t" refuses, and that it says why.
#
# runs: side by side, 4 s

use TB 'no_plan';

use TB::Token qw(key_text);

my $well_known = 'thingsboardDefaultSigningKey';

sub key_file {
    my ($name, $text) = @_;

    my $path = file_in($name, $text);

    chmod 0600, $path;
    set_macro($name => $path);
}

key_file('short.key', key_text('k' x 63));
key_file('long.key', key_text('k' x 64));
key_file('default.key', $well_known);
key_file('default2.key', key_text($well_known));
key_file('empty.key', '');
key_file('junk.key', "not base64!\n");
key_file('hs256.key', key_text('k' x 32));
key_file('hs256short.key', key_text('k' x 31));
key_file('password', "secret\n");
key_file('nopassword', "\n");

no_shuffle();
run_tests();

__DATA__

=== TEST 1: tb_rpc without tb_rpc_redis
--- no_redis
--- must_die
--- error_log
needs a "tb_rpc_redis" block
[emerg]



=== TEST 2: tb_rpc with a foreign value
--- config
    location / {
        tb_rpc  v3;
    }
--- must_die
--- error_log
invalid value "v3" in "tb_rpc"



=== TEST 3: tb_rpc twice
--- config
    location / {
        tb_rpc  v2;
        tb_rpc  v1;
    }
--- must_die
--- error_log
"tb_rpc" directive is duplicate



=== TEST 4: tb_rpc outside of a location
--- config
    tb_rpc  v2;
--- must_die
--- error_log
"tb_rpc" directive is not allowed here



=== TEST 5: a second tb_rpc_redis
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
    }

    tb_rpc_redis {
        server  redis://127.0.0.1:1;
    }

    tb_rpc_jwt_key  %{jwt_key};
--- must_die
--- error_log
"tb_rpc_redis" directive is duplicate



=== TEST 6: tb_rpc_redis without a server
--- http_config
    tb_rpc_redis {
    }

    tb_rpc_jwt_key  %{jwt_key};
--- must_die
--- error_log
server
[emerg]



=== TEST 7: an unknown setting in tb_rpc_redis
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        colour  red;
    }
--- must_die
--- error_log
unknown setting "colour"



=== TEST 8: a setting of TLS without it
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:1;
        ssl_name  redis.example;
    }
--- must_die
--- error_log
"ssl_..." without a "rediss://" server in "tb_rpc_redis"



=== TEST 9: several servers, which are no Sentinels
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        server  redis://127.0.0.1:2;
    }
--- must_die
--- error_log
several servers need "sentinel" or "cluster on" in "tb_rpc_redis"



=== TEST 9b: a cluster with Sentinels
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:1;
        server    redis://127.0.0.1:2;
        cluster   on;
        sentinel  main;
    }
--- must_die
--- error_log
both "cluster" and "sentinel" in "tb_rpc_redis"



=== TEST 9c: a cluster with a database
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:1/3;
        prefix    x:;
        cluster   on;
    }
--- must_die
--- error_log
a cluster has no database but 0, not 3



=== TEST 9d: a cluster of a socket
--- http_config
    tb_rpc_redis {
        server    unix:/tmp/redis.sock;
        cluster   on;
    }
--- must_die
--- error_log
"unix:/tmp/redis.sock" can't be a node of a cluster



=== TEST 9e: a cluster with TLS here and not there
--- http_config
    tb_rpc_redis {
        server    rediss://127.0.0.1:1;
        server    redis://127.0.0.1:2;
        cluster   on;
    }
--- must_die
--- error_log
"redis://127.0.0.1:2" has TLS or not, unlike the server before it



=== TEST 9f: neither on nor off
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:1;
        cluster   maybe;
    }
--- must_die
--- error_log
"cluster" must be "on" or "off"



=== TEST 10: no URL
--- http_config
    tb_rpc_redis {
        server  http://127.0.0.1:1;
    }
--- must_die
--- error_log
invalid Redis server



=== TEST 11: a password in the URL
--- http_config
    tb_rpc_redis {
        server  redis://user:pass@127.0.0.1:1;
    }
--- must_die
--- error_log
user and password are not allowed in a Redis URL
--- no_error_log
pass@



=== TEST 12: a database that is no number
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1/x;
    }
--- must_die
--- error_log
invalid database



=== TEST 12b: "database", and another one in the URL
--- http_config
    tb_rpc_redis {
        database  1;
        server    redis://127.0.0.1:1/2;
    }
--- must_die
--- error_log
"server" names another database than "database"



=== TEST 12c: a database without a prefix of its own
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:1;
        database  1;
    }
--- must_die
--- error_log
database 1 needs a "prefix" of its own in "tb_rpc_redis"



=== TEST 12d: the same, in the URL, with the prefix of all others
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1/1;
        prefix  tb:;
    }
--- must_die
--- error_log
database 1 needs a "prefix" of its own in "tb_rpc_redis"



=== TEST 12e: a database with a prefix of its own
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1/1;
        prefix  tb1:;
    }
--- config
    location = /fine {
        return 200 "fine";
    }
--- request
GET /fine
--- response_body: fine



=== TEST 13: no shards
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        shards  0;
    }
--- must_die
--- error_log
invalid value "0" in "shards", it must be a number from 1 to 512
[emerg]



=== TEST 14: too many shards
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        shards  513;
    }
--- must_die
--- error_log
invalid value "513" in "shards", it must be a number from 1 to 512
[emerg]



=== TEST 15: braces in the prefix
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
        prefix  "tb{x}:";
    }
--- must_die
--- error_log
prefix
[emerg]



=== TEST 16: a password file that is not there
--- http_config
    tb_rpc_redis {
        server         redis://127.0.0.1:1;
        password_file  no-such-file;
    }
--- must_die
--- error_log
no-such-file
[emerg]



=== TEST 17: a password file without a password
--- http_config
    tb_rpc_redis {
        server         redis://127.0.0.1:1;
        password_file  %{nopassword};
    }
--- must_die
--- error_log
no password in



=== TEST 18: authentication with neither key nor API keys
--- http_config
    tb_rpc_redis {
        server  redis://127.0.0.1:1;
    }
--- must_die
--- error_log
needs "tb_rpc_jwt_key"



=== TEST 19: no authentication and no identity
--- config
    location / {
        tb_rpc       v2;
        tb_rpc_auth  off;
    }
--- must_die
--- error_log
without "tb_rpc_identity"



=== TEST 20: an identity without a tenant
--- config
    location / {
        tb_rpc           v2;
        tb_rpc_auth      off;
        tb_rpc_identity  user=1;
    }
--- must_die
--- error_log
tb_rpc_identity
[emerg]



=== TEST 21: an unknown part of an identity
--- config
    location / {
        tb_rpc           v2;
        tb_rpc_auth      off;
        tb_rpc_identity  tenant=1 colour=red;
    }
--- must_die
--- error_log
invalid parameter "colour=red"



=== TEST 22: a key shorter than its hash
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{short.key};
    }
--- must_die
--- error_log
decodes to 63 bytes
at least 64



=== TEST 23: a key of exactly the length
--- config
    location /api/rpc/ {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{long.key};
    }
--- request
OPTIONS /api/rpc/oneway/%{uuid:1}
--- error_code: 204



=== TEST 24: HS256 needs 32 bytes
--- config
    location /api/rpc/ {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{hs256.key};
        tb_rpc_jwt_alg  HS256;
    }
--- request
OPTIONS /api/rpc/oneway/%{uuid:1}
--- error_code: 204



=== TEST 25: HS256 with 31 bytes
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{hs256short.key};
        tb_rpc_jwt_alg  HS256;
    }
--- must_die
--- error_log
decodes to 31 bytes



=== TEST 26: an inherited key that does not fit the location's algorithm
--- config
    tb_rpc_jwt_key  %{hs256.key};

    location /256/ {
        tb_rpc          v2;
        tb_rpc_jwt_alg  HS256;
    }

    location /512/ {
        tb_rpc          v2;
    }
--- must_die
--- error_log
decodes to 32 bytes



=== TEST 27: the default key of ThingsBoard
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{default.key};
    }
--- must_die
--- error_log
ThingsBoard's default key



=== TEST 28: the same, as Base64 of its text
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{default2.key};
    }
--- must_die
--- error_log
[emerg]



=== TEST 29: an empty key
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{empty.key};
    }
--- must_die
--- error_log
is empty



=== TEST 30: a key that is no Base64
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{junk.key};
    }
--- must_die
--- error_log
neither standard Base64 text nor a PEM public key
--- no_error_log
not base64!



=== TEST 31: a key that is not there
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  no-such.key;
    }
--- must_die
--- error_log
no-such.key



=== TEST 32: a secret where a public key is needed
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_key  %{long.key};
        tb_rpc_jwt_alg  RS256;
    }
--- must_die
--- error_log
RS256



=== TEST 33: an unknown algorithm
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_jwt_alg  none;
    }
--- must_die
--- error_log
invalid value "none"



=== TEST 34: min_timeout above max_timeout
--- config
    location / {
        tb_rpc              v2;
        tb_rpc_min_timeout  70s;
    }
--- must_die
--- error_log
"tb_rpc_min_timeout" above



=== TEST 35: max_payload above 1m
--- config
    location / {
        tb_rpc              v2;
        tb_rpc_max_payload  1048577;
    }
--- must_die
--- error_log
1m
[emerg]



=== TEST 36: a setting shared by hosts, in a server
--- config
    tb_rpc_max_pending  5;
--- must_die
--- error_log
"tb_rpc_max_pending" directive is not allowed here



=== TEST 37: no pending calls at all
--- http_config
    tb_rpc_max_pending  0;
--- must_die
--- error_log
[emerg]



=== TEST 38: an unknown profile
--- config
    location / {
        tb_rpc          v2;
        tb_rpc_profile  other;
    }
--- must_die
--- error_log
invalid value "other"



=== TEST 39: an unknown strategy
--- http_config
    tb_rpc_strategy  random;
--- must_die
--- error_log
invalid value "random"



=== TEST 39b: no time to acknowledge
--- http_config
    tb_rpc_ack_timeout  9ms;
--- must_die
--- error_log
must be at least 10ms



=== TEST 39c: no time to answer
--- http_config
    tb_rpc_response_timeout  9ms;
--- must_die
--- error_log
must be at least 10ms



=== TEST 40: all that can be set
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{redis_port}/0;
        shards           128;
        prefix           tb:;
        username         nginx;
        password         nginx-secret;
        connect_timeout  2s;
        command_timeout  2s;
        queue            1024;
    }

    tb_rpc_max_retries       5;
    tb_rpc_ack_timeout       10s;
    tb_rpc_response_timeout  30s;
    tb_rpc_record_ttl        30d;
    tb_rpc_strategy          sequential_on_response;
    tb_rpc_events            on;
    tb_rpc_max_pending       1000;
    tb_rpc_max_records       200000;
    tb_rpc_max_queue         10000;
    tb_rpc_max_response      64k;
    tb_rpc_max_held          50;
--- config
    tb_rpc_jwt_key              %{long.key};
    tb_rpc_jwt_key              %{jwt_key};
    tb_rpc_jwt_alg              HS512;
    tb_rpc_jwt_leeway           5s;
    tb_rpc_jwt_issuer           thingsboard.io;
    tb_rpc_api_keys             on;
    tb_rpc_api_key_cache        5s;
    tb_rpc_profile              thingsboard;
    tb_rpc_validation           lenient;
    tb_rpc_min_timeout          5s;
    tb_rpc_default_timeout      10s;
    tb_rpc_max_timeout          60s;
    tb_rpc_max_expiration       7d;
    tb_rpc_max_payload          1m;
    tb_rpc_offline              reject;
    tb_rpc_ignore_client_abort  on;
    tb_rpc_intercept_errors     on;

    location /api/rpc/ {
        tb_rpc  v2;
    }

    location /other/ {
        tb_rpc           v1;
        tb_rpc_auth      off;
        tb_rpc_identity  tenant=$arg_tenant customer=$arg_customer
                         user=$remote_user authority=CUSTOMER_USER;
    }
--- request
OPTIONS /api/rpc/oneway/%{uuid:1}
--- error_code: 204
--- no_error_log
[error]
[warn]



=== TEST 41: a part of an identity that is always empty
--- config
    location / {
        tb_rpc           v2;
        tb_rpc_auth      off;
        tb_rpc_identity  tenant=$arg_tenant customer=;
    }
--- must_die
--- error_log
empty parameter "customer="
