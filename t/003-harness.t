# That the harness does what TB.pm says: provisioning, tokens, the scripted
# bridge and a Redis that comes and goes.
#
# runs: side by side, 2 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('d2', attach => 'b1', customer => macro('customer'));
device('d3');
api_key('k1');

my $bridge = bridge(log => scratch() . '/envelopes');

run_tests();

my @envelopes = $bridge->envelopes();

Test::More::cmp_ok(scalar @envelopes, '>=', 5, 'envelopes are logged');
Test::More::is($envelopes[0]{tenantId}, macro('tenant'), 'and decoded');

redis()->stop();
Test::More::ok(!redis()->connect('admin'), 'Redis is stopped');
redis()->go();
Test::More::is(redis()->call('HGET', redis()->device_key(macro('d1')),
                             'bridge'),
               'b1', 'Redis is back with its data');
redis()->stop();
redis()->wipe();
redis()->go();
# nginx, which is still running, has put its settings there
Test::More::is(redis()->call('EXISTS', redis()->device_key(macro('d1'))), 0,
               'Redis is back empty');

__DATA__

=== TEST 1: a two-way call, answered with the bytes of params
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"echo","params":{"pin": 7, "big": 12345678901234567890, "x": 1.10}}
--- response_body chomp
{"pin": 7, "big": 12345678901234567890, "x": 1.10}
--- no_error_log
[error]



=== TEST 2: an attached device, its customer's user, v1
--- auth: customer
--- request
POST /api/plugins/rpc/twoway/%{d2}
{"method":"slow","params":{"ms":100}}
--- response_body chomp
{"ms":100}



=== TEST 3: another tenant
--- auth: other_tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"echo","params":{}}
--- error_code: 401



=== TEST 4: an API key
--- config
    tb_rpc_api_keys  on;

    location /api/rpc/ {
        tb_rpc  v2;
    }
--- more_headers
X-Authorization: ApiKey %{k1}
--- request
POST /api/rpc/twoway/%{d1}
{"method":"big","params":{"size":30000}}
--- response_body_like: ^"x{29998}"$



=== TEST 5: an answer that is not JSON
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"text","params":{}}
--- error_code: 406
--- response_headers
X-RPC-Result: INVALID_RESPONSE



=== TEST 6: the bridge reports a failure
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d1}
{"method":"fail","params":{}}
--- error_code: 504
--- response_headers
X-RPC-Result: FAILED



=== TEST 7: an offline device that is not waited for
--- more_config
    tb_rpc_offline  reject;
--- auth: tenant
--- request
POST /api/rpc/twoway/%{d3}
{"method":"echo","params":{}}
--- error_code: 504
--- response_headers
X-RPC-Result: NO_ACTIVE_CONNECTION
