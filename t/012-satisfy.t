# Where authentication happens: last in the ACCESS phase, under "satisfy", and
# in the content handler where that phase did not run or others decided.
#
# runs: side by side, 5 s

use TB 'no_plan';

# user:pass
my $users = file_in('users', "user:{PLAIN}pass\n");

set_macro(users => $users);
set_macro(basic => 'dXNlcjpwYXNz');
set_macro('bad basic' => 'dXNlcjpuby4=');
set_macro('bad token' => jwt_with({ key => 'k' x 64 }));

set_macro('other key' => file_in('other.key',
                                 TB::Token::key_text('o' x 64)));
chmod 0600, macro('other key');

device('d1', bridge => 'b1');
api_key('key');

my $bridge = bridge(log => scratch() . '/envelopes');

run_tests();

my $mirrored = wait_for {
    grep { $_->{method} eq 'mirrored' } $bridge->envelopes()
};

Test::More::ok($mirrored, 'the call of the mirror has come to the bridge');

__DATA__

=== TEST 1: deny comes before any token is looked at
--- more_config
    deny  all;
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- more_headers
X-Authorization: Bearer %{token:tenant}
--- error_code: 403
--- response_body_like: 403 Forbidden
--- response_headers
! WWW-Authenticate
--- error_log
access forbidden by rule
--- no_error_log
tb_rpc access:
tb_rpc: unauthorized



=== TEST 2: auth_basic comes before, and needs its own credential
--- more_config
    auth_basic            "all";
    auth_basic_user_file  %{users};
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- more_headers
X-Authorization: Bearer %{token:tenant}
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="all"
--- no_error_log
tb_rpc access:



=== TEST 3: satisfy all: both are needed
--- more_config
    auth_basic            "all";
    auth_basic_user_file  %{users};
--- credentials
X-Authorization: Bearer %{token:tenant} | Authorization: Basic %{basic}  => 200 "in"
X-Authorization: Bearer %{bad token} | Authorization: Basic %{basic}     => 401 error 10 Invalid token signature
Authorization: Basic %{basic}                                            => 401 error 10 Authentication failed



=== TEST 4: auth_request refuses first
--- more_config
    auth_request  /check;

    location = /check {
        internal;
        return  403;
    }
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- more_headers
X-Authorization: Bearer %{token:tenant}
--- error_code: 403
--- no_error_log
tb_rpc access: 0



=== TEST 5: auth_request lets in, the token decides
--- more_config
    auth_request  /check;

    location = /check {
        internal;
        return  204;
    }
--- credentials
X-Authorization: Bearer %{token:tenant}  => 200 "in"
X-Authorization: Bearer %{bad token}     => 401 error 10 Invalid token signature



=== TEST 6: limit_except
--- config
    location /api/rpc/ {
        tb_rpc  v2;

        limit_except  POST {
            deny  all;
        }
    }
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}  => 200 1



=== TEST 7: satisfy any: a token is enough
--- more_config
    satisfy  any;
    deny     all;
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- answer: 200 1



=== TEST 8: satisfy any: neither
--- more_config
    satisfy  any;
    deny     all;
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- more_headers
X-Authorization: Bearer %{bad token}
--- error_code_like: ^40[13]$
--- response_body_unlike: status":200



=== TEST 9: satisfy any: auth_basic is not an identity
--- more_config
    satisfy               any;
    auth_basic            "all";
    auth_basic_user_file  %{users};
--- credentials
Authorization: Basic %{basic}                                             => 401 error 10 Authentication failed
Authorization: Basic %{basic} | X-Authorization: Bearer %{bad token}      => 401 error 10 Invalid token signature
Authorization: Basic %{basic} | X-Authorization: Bearer %{token:tenant}   => 200 "in"



=== TEST 10: satisfy any, auth_basic failed, a token is enough
--- more_config
    satisfy               any;
    auth_basic            "all";
    auth_basic_user_file  %{users};
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- more_headers
Authorization: Basic %{bad basic}
X-Authorization: Bearer %{token:tenant}
--- response_body: 1
--- error_code: 200



=== TEST 11: satisfy any, nothing good: the core answers, both are offered
--- more_config
    satisfy               any;
    auth_basic            "all";
    auth_basic_user_file  %{users};
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- more_headers
X-Authorization: Bearer %{bad token}
--- error_code: 401
--- raw_response_headers_like chomp
WWW-Authenticate: Basic realm="all"\r\n(?:.*\r\n)?WWW-Authenticate: Bearer\r\n
--- response_body_like: 401 Authorization Required



=== TEST 12: satisfy any, allowed by address: the token is still checked
--- more_config
    satisfy  any;
    allow    all;
--- credentials
X-Other: 1                               => 401 error 10 Authentication failed
X-Authorization: Bearer %{bad token}     => 401 error 10 Invalid token signature
X-Authorization: Bearer %{token:tenant}  => 200 "in"



=== TEST 13: the same with API keys: looked up by the content handler
--- more_config
    tb_rpc_api_keys       on;
    tb_rpc_api_key_cache  0;
    satisfy               any;
    allow                 all;
--- credentials
X-Authorization: ApiKey %{key}    => 200 "in"
X-Authorization: ApiKey nobody    => 401 error 10 .*
X-Other: 1                        => 401 error 10 Authentication failed



=== TEST 14: satisfy any, denied by address, API keys
--- more_config
    tb_rpc_api_keys       on;
    tb_rpc_api_key_cache  0;
    satisfy               any;
    deny                  all;
--- more_headers
X-Authorization: ApiKey %{key}
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- answer: 200 1



=== TEST 15: subrequests by SSI authenticate themselves
--- more_config
    location = /page.html {
        ssi        on;
        ssi_types  text/plain;
    }
--- user_files
>>> page.html
[<!--#include virtual="/api/rpc/persistent/%{uuid:1}" -->]
--- auth: tenant
--- request
GET /page.html
--- response_body_like chomp
^\[\{"status":404,"message":"Rpc with id \[[-0-9a-f]{36}\] is not found","errorCode":32,"timestamp":\d+\}\]\n\z



=== TEST 16: and are refused without a credential
--- more_config
    location = /page.html {
        ssi  on;
    }
--- user_files
>>> page.html
[<!--#include virtual="/api/rpc/persistent/%{uuid:1}" -->]
--- request
GET /page.html
--- response_body_like chomp
^\[\{"status":401,"message":"Authentication failed","errorCode":10,"timestamp":\d+\}\]\n\z



=== TEST 17: by an API key that must be looked up, twice in one page
--- more_config
    tb_rpc_api_keys       on;
    tb_rpc_api_key_cache  0;

    location = /page.html {
        ssi  on;
    }
--- user_files
>>> page.html
[<!--#include virtual="/api/rpc/persistent/%{uuid:1}" -->,<!--#include virtual="/api/rpc/persistent/%{uuid:2}" -->]
--- more_headers
X-Authorization: ApiKey %{key}
--- request
GET /page.html
--- response_body_like chomp
^\[\{"status":404,.*"errorCode":32,"timestamp":\d+\},\{"status":404,.*"errorCode":32,"timestamp":\d+\}\]\n\z



=== TEST 18: a subrequest that calls: mirror
--- more_config
    location = /front {
        mirror               /mirror;
        mirror_request_body  on;
        proxy_pass           http://127.0.0.1:$server_port/sink;
    }

    location = /sink {
        return  200 "sink\n";
    }

    location = /mirror {
        internal;
        rewrite  ^  /api/rpc/oneway/%{d1}  break;
        tb_rpc   v2;
    }
--- auth: tenant
--- request
POST /front
{"method":"mirrored","params":1}
--- response_body
sink



=== TEST 19: auth_request to a record: its status decides
--- more_config
    location = /guarded {
        auth_request  /check;
        try_files     /nothing =204;
    }

    location = /check {
        internal;
        rewrite  ^  /api/rpc/persistent/device/%{d1}?page=0&pageSize=1  break;
        tb_rpc   v2;
    }
--- auth: tenant
--- request
GET /guarded
--- error_code: 204



=== TEST 20: and it refuses
--- more_config
    location = /guarded {
        auth_request  /check;
        try_files     /nothing =204;
    }

    location = /check {
        internal;
        rewrite  ^  /api/rpc/persistent/device/%{d1}?page=0&pageSize=1  break;
        tb_rpc   v2;
    }
--- more_headers
X-Authorization: Bearer %{bad token}
--- request
GET /guarded
--- error_code: 401



=== TEST 21: an identity does not survive an internal redirect to other keys
--- more_config
    location /first/rpc/ {
        tb_rpc                   v2;
        tb_rpc_intercept_errors  on;
        error_page               400 = /second/rpc/persistent/%{uuid:1};
    }

    location /second/rpc/ {
        tb_rpc_jwt_key  %{other key};
        tb_rpc          v2;
    }
--- auth: tenant
--- request
GET /first/rpc/persistent/no-uuid
--- error_code: 401
--- response_body_like: "errorCode":10



=== TEST 22: nor a rewrite, when a variable has asked for it before
--- more_config
    location /first/rpc/ {
        set      $who    $tb_rpc_tenant_id;
        rewrite  ^/first(.*)$  /second$1  last;
        tb_rpc   v2;
    }

    location /second/rpc/ {
        tb_rpc_jwt_key  %{other key};
        tb_rpc          v2;
    }
--- auth: tenant
--- requests
GET /first/rpc/persistent/%{uuid:1}  => 401 error 10 Invalid token signature
