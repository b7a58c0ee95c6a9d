# tb_rpc_auth off: somebody else has authenticated, tb_rpc_identity says who.
#
# runs: side by side, 3 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('d2', bridge => 'b1', customer => macro('customer'));
bridge();
set_macro(null => '13814000-1dd2-11b2-8080-808080808080');
set_macro('other jwt' => 'Bearer ' . jwt(tenantId => macro('other_tenant')));

run_tests();

__DATA__

=== TEST 1: a fixed tenant
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=%{tenant};
--- bodies
{"method":"m","params":1}  => 200 1



=== TEST 2: credentials are not looked at
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=%{tenant};
--- credentials
X-Authorization: %{other jwt}                             => 200 "in"
X-Authorization: Bearer x                                 => 200 "in"
X-Authorization: Bearer x | X-Authorization: Bearer y     => 200 "in"



=== TEST 3: values by variables
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=$http_tenant customer=$http_customer
                     user=$http_user authority=$http_authority;
--- credentials
Tenant: %{tenant} | Authority: TENANT_ADMIN | Customer: %{null}            => 200 "in"
Tenant: %{tenant} | Authority: tenant_admin | Customer: %{null} | User: x  => 200 "in"
Tenant: %{other_tenant} | Authority: TENANT_ADMIN | Customer: %{null}      => 401 error 20 .*
Tenant: %{tenant} | Authority: CUSTOMER_USER | Customer: %{null}           => 401 error 20 .*
Tenant: %{tenant} | Authority: CUSTOMER_USER | Customer: %{customer}  => 401 error 20 .*
Tenant: %{tenant} | Authority: SYS_ADMIN | Customer: %{null}               => 403 error 20 .*
Tenant: %{tenant} | Authority: CUSTOMER_USER             => 401 error 10 .*
Tenant: %{tenant} | Authority: TENANT_ADMIN              => 401 error 10 .*
Authority: SYS_ADMIN                                     => 401 error 10 .*
Authority: TENANT_ADMIN                                  => 401 error 10 .*
Tenant: %{tenant}                                        => 401 error 10 .*
Tenant: %{tenant} | Authority: REFRESH_TOKEN             => 401 error 10 .*
Tenant: x | Authority: TENANT_ADMIN                      => 401 error 10 .*
Tenant: %{tenant}x | Authority: TENANT_ADMIN             => 401 error 10 .*
Tenant: %{null} | Authority: TENANT_ADMIN                => 401 error 10 .*
Tenant: %{tenant} | Authority: CUSTOMER_USER | Customer: x  => 401 error 10 .*
X-Other: 1                                               => 401 error 10 .*



=== TEST 4: without an authority the customer decides
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=$http_tenant customer=$http_customer;
--- credentials
Tenant: %{tenant}                                => 401 error 10 .*
Tenant: %{tenant} | Customer: %{null}            => 200 "in"
Tenant: %{tenant} | Customer: %{customer}        => 401 error 20 .*
Tenant: %{tenant} | Customer: %{other_customer}  => 401 error 20 .*



=== TEST 5: the customer's own device
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=%{tenant} customer=%{customer};
--- requests
POST /api/rpc/twoway/%{d2} {"method":"m","params":1}  => 200 1
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}  => 401 error 20 .*



=== TEST 6: from auth_request
--- config
    location /api/rpc/ {
        auth_request      /check;
        auth_request_set  $who  $upstream_http_x_tenant;

        tb_rpc_auth       off;
        tb_rpc_identity   tenant=$who;
        tb_rpc            v2;
    }

    location = /check {
        internal;
        proxy_pass               http://127.0.0.1:$server_port/who;
        proxy_pass_request_body  off;
        proxy_set_header         Content-Length  "";
    }

    location = /who {
        add_header  X-Tenant  $http_x_from;
        return      204;
    }
--- credentials
X-From: %{tenant}        => 200 "in"
X-From: %{other_tenant}  => 401 error 20 .*
X-Other: 1               => 401 error 10 .*



=== TEST 7: an inner level replaces the identity as a whole
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=%{tenant} authority=SYS_ADMIN;
--- config
    location /api/rpc/ {
        tb_rpc_identity  tenant=%{tenant};
        tb_rpc           v2;
    }

    location /sys/rpc/ {
        tb_rpc           v2;
    }

    location /jwt/rpc/ {
        tb_rpc_auth  on;
        tb_rpc       v2;
    }
--- requests
POST /api/rpc/twoway/%{d1} {"method":"m","params":1}  => 200 1
POST /sys/rpc/twoway/%{d1} {"method":"m","params":1}  => 403 error 20 .*
POST /jwt/rpc/twoway/%{d1} {"method":"m","params":1}  => 401 error 10 .*



=== TEST 8: a wrong value is told to the operator
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=$http_tenant;
--- more_headers
Tenant: no-uuid
--- request
POST /api/rpc/twoway/%{d1}
{"method":"m","params":1}
--- answer: 401 error 10 .*
--- error_log
tb_rpc_identity is not valid: tenant "no-uuid"



=== TEST 9: satisfy any does not let anybody in
--- http_config
    tb_rpc_auth      off;
    tb_rpc_identity  tenant=$http_tenant;
--- more_config
    satisfy  any;
    allow    all;
--- credentials
Tenant: %{tenant}  => 200 "in"
X-Other: 1         => 401 error 10 .*
