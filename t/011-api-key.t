# API keys: looked up in Redis by their digest, remembered by the worker for
# a while, whatever was said of them.
#
# runs: side by side, 8 s

use TB 'no_plan';

use TB::Client;
use TB::Load;
use Time::HiRes qw(time);

device('d1', bridge => 'b1');
device('d2', bridge => 'b1', customer => macro('customer'));
bridge();

api_key('key');
api_key('customer key', customer => macro('customer'),
        authority => 'CUSTOMER_USER');
api_key('sys key', authority => 'SYS_ADMIN');
api_key('disabled', enabled => 0);
api_key('expired', expires => int(time() - 10) * 1000);
api_key('expires', expires => int(time() + 600) * 1000);
api_key('other tenant', tenant => macro('other_tenant'));
api_key('odd', key => 'a=b;c/d+e:f~"{}');
api_key('long', key => 'k' x 512);
set_macro('too long' => 'k' x 7000);
set_macro('never made' => 'tb_' . '0' x 64);
set_macro('bad token' => jwt_with({ key => 'k' x 64 }));
set_macro('dead port' => free_port());

# hostile or broken records, written by hand
my $redis = redis();


sub by_hand {
    my ($name, @fields) = @_;

    $redis->call('HSET', 'tb:apikey:' . TB::Token::sha256_hex($name), @fields);
}

my @good = (tenantId => macro('tenant'), customerId => '', userId => 'u',
            authority => 'TENANT_ADMIN', enabled => 1, expirationTime => 0);

by_hand('by hand', @good);
by_hand('hand no tenant', @good, tenantId => '');
by_hand('hand bad tenant', @good, tenantId => "x'\"\0");
by_hand('hand no authority', @good, authority => '');
by_hand('hand refresh', @good, authority => 'REFRESH_TOKEN');
by_hand('hand enabled x', @good, enabled => 'x');
by_hand('hand bad time', @good, expirationTime => 'never');
by_hand('hand one field', tenantId => macro('tenant'));
$redis->call('SET', 'tb:apikey:' . TB::Token::sha256_hex('hand a string'), 1);


# What a worker remembers, and for how long, is seen from outside after the
# blocks, with the last one's nginx.
# Its locations: /1h/ remembers for an hour, /1s/ for a second, /0/ never.  The
# memory is one: what is too old for /1s/ is not for /1h/.

no_shuffle();
run_tests();

sub put {
    my ($key, $enabled) = @_;

    $redis->fcall('tb_rpc_api_key_put',
                  'tb:apikey:' . TB::Token::sha256_hex($key),
                  macro('tenant'), '', macro('user'), 'TENANT_ADMIN',
                  $enabled, 0);
}

sub status_in {
    my ($where, $key) = @_;

    return http_post("$where/rpc/twoway/%{d1}", '{"method":"m","params":1}',
                     'X-Authorization' => "ApiKey $key")->{status};
}

sub became {
    my ($condition, $name) = @_;

    my $value = wait_for { $condition->() };

    Test::More::ok($value, $name);
}

put('revoked', 1);
Test::More::is(status_in('/1s', 'revoked'), 200, 'a key is known');
put('revoked', 0);
Test::More::is(status_in('/1h', 'revoked'), 200, 'and remembered');
Test::More::is(status_in('/0', 'revoked'), 401, 'but not without a cache');
became(sub { status_in('/1s', 'revoked') == 401 }, 'not for ever');

Test::More::is(status_in('/1s', 'coming'), 401, 'a key is not known');
put('coming', 1);
Test::More::is(status_in('/1h', 'coming'), 401, 'that is remembered, too');
Test::More::is(status_in('/0', 'coming'), 200, 'but not without a cache');
became(sub { status_in('/1s', 'coming') == 200 }, 'not for ever, either');

# what /1s/ has asked for it finds there itself, if it comes within its second
my $again = 0;

became(sub {
    my $key = 'again ' . $again++;

    put($key, 1);
    status_in('/1s', $key);
    put($key, 0);

    return status_in('/1s', $key) == 200;
}, 'but for a second');

# expired while it is remembered: the time is still looked at
$redis->fcall('tb_rpc_api_key_put',
              'tb:apikey:' . TB::Token::sha256_hex('soon'), macro('tenant'),
              '', macro('user'), 'TENANT_ADMIN', 1,
              my $end = int(time() * 1000) + 4000);
Test::More::is(status_in('/1h', 'soon'), 200, 'a key that expires soon');
select undef, undef, undef, 0.01 while time() * 1000 < $end;
Test::More::is(status_in('/1h', 'soon'), 401, 'expires in the cache');

# guesses: the last thousand are remembered, apart from the good keys
put('kept', 1);
Test::More::is(status_in('/1h', 'kept'), 200, 'a good key');
put('kept', 0);

my $body = '{"method":"m","params":1}';
my @statuses = map { $_->{status} || 0 } TB::Load::run(
    port => $ENV{TEST_NGINX_PORT}, parallel => 8, timeout => scaled(240),
    requests => [ map { TB::Client::text('POST',
        expand('/1h/rpc/twoway/%{d1}'), $body,
        'X-Authorization' => "ApiKey guess $_") } 1 .. 5000 ]);

Test::More::is(scalar(grep { $_ != 401 } @statuses), 0, 'many unknown keys');
put("guess $_", 1) for 1, 4900;
Test::More::is(status_in('/1h', 'guess 1'), 200, 'the first is forgotten');
Test::More::is(status_in('/1h', 'guess 4900'), 401, 'a late one is not');
Test::More::is(status_in('/1h', 'kept'), 200, 'and no good key is');

# Redis down: what is remembered is still good, the rest is 503
Test::More::is(status_in('/1h', macro('key')), 200, 'remembered for long');
$redis->stop();

my $r = http_post('/1h/rpc/twoway/%{d1}', '{"method":"m","params":1}',
                  'X-Authorization' => 'ApiKey another');
Test::More::is($r->{status}, 503, 'Redis is down: 503');
Test::More::is($r->{headers}{'x-rpc-result'}, 'REDIS_UNAVAILABLE',
               'with its result');
Test::More::is($r->{headers}{'retry-after'}, '1', 'and Retry-After');
Test::More::like($r->{body}, qr/^\{"status":503,.*"errorCode":2,/,
                 'and an error body');

# a failure is not remembered
$redis->go();
became(sub { status_in('/1h', macro('odd')) == 200 },
       'Redis is back: keys are known again');
Test::More::unlike(error_log_text(), qr/\[(?:alert|crit|emerg)\]/,
                   'nothing bad in the log');

__DATA__

=== TEST 1: known and unknown
--- http_config
    tb_rpc_api_keys       on;
    tb_rpc_api_key_cache  0;
--- credentials
X-Authorization: ApiKey %{key}           => 200 "in"
Authorization: ApiKey %{key}             => 200 "in"
x-authorization: APIKEY   %{key}         => 200 "in"
X-Authorization: apikey %{expires}       => 200 "in"
X-Authorization: ApiKey %{odd}           => 200 "in"
X-Authorization: ApiKey %{long}          => 200 "in"
X-Authorization: ApiKey %{never made}    => 401 error 10 .*
X-Authorization: ApiKey %{key}x          => 401 error 10 .*
X-Authorization: ApiKey %{too long}      => 401 error 10 .*
X-Authorization: ApiKey %{disabled}      => 401 error 10 .*
X-Authorization: ApiKey %{expired}       => 401 error 10 .*
X-Authorization: ApiKey                  => 401 error 10 .*
X-Authorization: ApiKey%{key}            => 401 error 10 .*
X-Authorization: Bearer %{key}           => 401 error 10 .*
X-Authorization: ApiKey %{token:tenant}  => 401 error 10 .*



=== TEST 2: the key's tenant, customer and authority count
--- http_config
    tb_rpc_api_keys  on;
--- credentials
X-Authorization: ApiKey %{other tenant}  => 401 error 20 .*
X-Authorization: ApiKey %{customer key}  => 401 error 20 .*
X-Authorization: ApiKey %{sys key}       => 403 error 20 .*



=== TEST 3: a customer's key
--- http_config
    tb_rpc_api_keys  on;
--- more_headers
X-Authorization: ApiKey %{customer key}
--- requests
POST /api/rpc/twoway/%{d2} {"method":"m","params":[]}  => 200 []
POST /api/rpc/twoway/%{d1} {"method":"m","params":[]}  => 401 error 20 .*



=== TEST 4: precedence: the JWT decides, wherever it stands
--- http_config
    tb_rpc_api_keys  on;
--- credentials
X-Authorization: ApiKey %{key} | Authorization: Bearer %{bad token}       => 401 error 10 .*
X-Authorization: Bearer %{bad token} | Authorization: ApiKey %{key}       => 401 error 10 .*
X-Authorization: ApiKey nobody | Authorization: Bearer %{token:tenant}    => 200 "in"
X-Authorization: ApiKey %{key} | Authorization: ApiKey nobody             => 200 "in"
X-Authorization: ApiKey nobody | Authorization: ApiKey %{key}             => 401 error 10 .*
X-Authorization: Basic dTpw | Authorization: ApiKey %{key}                => 200 "in"
X-Authorization: ApiKey %{key} | Authorization: Basic dTpw                => 200 "in"
X-Authorization: ApiKey %{key} | X-Authorization: ApiKey %{key}           => 401 error 10 .*



=== TEST 5: records written by hand
--- http_config
    tb_rpc_api_keys       on;
    tb_rpc_api_key_cache  0;
--- credentials
X-Authorization: ApiKey by hand            => 200 "in"
X-Authorization: ApiKey hand no tenant     => 401 error 10 .*
X-Authorization: ApiKey hand bad tenant    => 401 error 10 .*
X-Authorization: ApiKey hand no authority  => 401 error 10 .*
X-Authorization: ApiKey hand refresh        => 401 error 10 .*
X-Authorization: ApiKey hand enabled x     => 401 error 10 .*
X-Authorization: ApiKey hand bad time      => 401 error 10 .*
X-Authorization: ApiKey hand one field     => 401 error 10 .*
--- no_error_log
[alert]



=== TEST 6: a key of another type in Redis
--- http_config
    tb_rpc_api_keys  on;
--- more_headers
X-Authorization: ApiKey hand a string
--- request
POST /api/rpc/twoway/%{d1}
{"method":"echo","params":1}
--- error_code_like: ^(401|503)$
--- error_log
WRONGTYPE



=== TEST 7: only API keys
--- http_config
    tb_rpc_redis {
        server    redis://127.0.0.1:%{redis_port};
        username  nginx;
        password  nginx-secret;
    }

    tb_rpc_api_keys  on;
--- credentials
X-Authorization: ApiKey %{key}                                        => 200 "in"
X-Authorization: Bearer %{token:tenant}                               => 401 error 10 .*



=== TEST 8: Redis is not there
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{dead port};
        connect_timeout  200ms;
        command_timeout  200ms;
    }

    tb_rpc_jwt_key   %{jwt_key};
    tb_rpc_api_keys  on;
--- credentials
X-Authorization: ApiKey %{key}  => 503 REDIS_UNAVAILABLE error 2 Redis is not available.*
X-Other: 1                      => 401 error 10 Authentication failed



=== TEST 9: neither keys nor their digests are logged above debug
--- log_level: info
--- http_config
    tb_rpc_api_keys  on;
--- credentials
X-Authorization: ApiKey %{disabled}  => 401 error 10 .*
--- error_log
tb_rpc: unauthorized
--- no_error_log
%{disabled}



=== TEST 10: where they are off, the log tells
--- log_level: info
--- credentials
X-Authorization: ApiKey %{key}  => 401 error 10 Authentication failed
--- error_log
tb_rpc: API key refused, "tb_rpc_api_keys" is off here
--- no_error_log
%{key}
[error]



=== TEST 11: for what follows
--- http_config
    tb_rpc_redis {
        server           redis://127.0.0.1:%{redis_port};
        username         nginx;
        password         nginx-secret;
        command_timeout  3s;
    }

    tb_rpc_api_keys  on;
--- config
    location /0/rpc/ {
        tb_rpc_api_key_cache  0;
        tb_rpc                v2;
    }

    location /1s/rpc/ {
        tb_rpc_api_key_cache  1s;
        tb_rpc                v2;
    }

    location /1h/rpc/ {
        tb_rpc_api_key_cache  1h;
        tb_rpc                v2;
    }
--- more_headers
X-Authorization: ApiKey %{key}
--- request
POST /1h/rpc/twoway/%{d1}
{"method":"echo","params":1}
--- answer: 200 1
