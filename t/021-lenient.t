# Bodies under lenient validation: the coercions of the original server.
#
# runs: side by side, 5 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('off');

my $bridge = bridge(log => scratch() . '/envelopes');

set_macro(future => (time() + 600) . '000', nul => "\0", ff => "\xff",
          deep => '[' x 64 . ']' x 64);

no_shuffle();
run_tests();

# times, as the bridge saw them

my %took = map { $_->{method} => $_->{expirationTime} - $_->{createdTime} }
               $bridge->envelopes();

sub took {
    my ($method, $expected) = @_;

    Test::More::is($took{$method}, $expected, "timeout of \"$method\"");
}

took('digits', 5000);
took('digits with blanks', 5001);
took('an exponent', 6000);
took('fraction', 7000);
took($_, 3000) for 'no number', 'hex', 'true', 'object', 'nothing', 'minus';
took('absent', 10000);
took('null', 10000);

# the last block's nginx: retries, as the record has them

sub retries {
    my ($value) = @_;

    my %headers = ('X-Authorization' => 'Bearer %{token:tenant}');
    my $r = http_post('/api/rpc/oneway/%{off}', '{"method":"r",'
                      . "\"persistent\":\"true\",\"retries\":$value}",
                      %headers);
    my ($id) = $r->{body} =~ /"rpcId":"([^"]+)"/;

    return "status $r->{status}" if !$id;

    $r = http_get("/api/rpc/persistent/$id", %headers);

    my ($method, $got) = $r->{body} =~
        /"body":\{"method":"r","params":"(null)"\}.*"retries":([^}]*)\}/;

    return "$method $got";
}

# what has duplicates is shown in a record as in an answer

sub shown {
    my ($prefix, $method, $params) = @_;

    my %headers = ('X-Authorization' => 'Bearer %{token:tenant}');
    my $r = http_post('/api/rpc/twoway/%{d1}', "{\"method\":\"$method\","
                      . "\"params\":$params,\"persistent\":true,"
                      . '"additionalInfo":{"b":1,"b":2}}', %headers);
    my ($id) = $r->{body} =~ /"rpcId":"([^"]+)"/;

    $r = wait_for {
        my $r = http_get("$prefix/rpc/persistent/$id", %headers);

        return $r->{body} =~ /"status":"SUCCESSFUL"/ ? $r : undef;
    };

    my ($shown) = $r->{body} =~ /"response":(.*)\}$/;

    return $shown;
}

my $rest = '"status":"SUCCESSFUL","additionalInfo":';

Test::More::is(shown('/api', 'm', '{"a":1,"a":2}'),
               "{\"a\":1,\"a\":2},$rest\{\"b\":1,\"b\":2}",
               'duplicates in a record');
Test::More::is(shown('/strict', 'm', '{"a":1,"a":2}'),
               "{\"error\":\"{\\\"a\\\":1,\\\"a\\\":2}\"},$rest" . 'null',
               'not where validation is strict');

Test::More::is(retries('"3"'), 'null 3', 'retries as text');
Test::More::is(retries('3.9'), 'null 3', 'retries cut off');
Test::More::is(retries('-5'), 'null 0', 'retries below 0');
Test::More::is(retries('3000000000'), 'null 2147483647', 'too many retries');
Test::More::is(retries('null'), 'null 0', 'retries null');
Test::More::is(retries('"many"'), 'null 0', 'retries of no sense');
Test::More::is(retries('[]'), 'null 0', 'retries of another type');

__DATA__

=== TEST 1: the default under the thingsboard profile: no params is null
--- http_config
    tb_rpc_profile  thingsboard;
--- auth: tenant
--- bodies
{"method":"m"}              => 200 null
{"method":"m","params":1}   => 200 1



=== TEST 2: not under openapi
--- auth: tenant
--- bodies
{"method":"m"}  => 400 error 31 .*params.*



=== TEST 3: strict is possible under thingsboard
--- http_config
    tb_rpc_profile     thingsboard;
    tb_rpc_validation  strict;
--- auth: tenant
--- bodies
{"method":"m"}  => 400 error 31 .*params.*



=== TEST 4: method
--- http_config
    tb_rpc_validation  lenient;
--- auth: tenant
--- bodies
{"method":5,"params":1}           => 200 1
{"method":true,"params":1}        => 200 1
{"method":null,"params":1}        => 200 1
{"method":{"a":1},"params":1}     => 200 1
{"method":[],"params":1}          => 200 1
{"params":1}                      => 400 error 31 .*\\"method\\" is missing



=== TEST 5: how a method arrives
--- http_config
    tb_rpc_validation  lenient;
    log_format         methods  '[$tb_rpc_method]';
    access_log         logs/access.log  methods;
--- auth: tenant
--- bodies
{"method":1.50,"params":1}        => 200 1
--- access_log
[1.50]



=== TEST 6: timeout
--- http_config
    tb_rpc_validation   lenient;
    tb_rpc_min_timeout  3s;
--- auth: tenant
--- bodies
{"method":"m","params":[1e400],"retries":-1e400}  => 200 [1e400]
{"method":1e400,"params":-1e400,"timeout":1e400}  => 200 -1e400
{"method":"m","params":1e400} 1e400               => 200 1e400
{"method":"digits","timeout":"5000"}                => 200 null
{"method":"digits with blanks","timeout":" 5001 "}    => 200 null
{"method":"an exponent","timeout":"6e3"}    => 200 null
{"method":"fraction","timeout":7000.9}              => 200 null
{"method":"no number","timeout":"soon"}            => 200 null
{"method":"hex","timeout":"0xffff"}                => 200 null
{"method":"true","timeout":true}                   => 200 null
{"method":"object","timeout":{"ms":5000}}           => 200 null
{"method":"nothing","timeout":""}                  => 200 null
{"method":"minus","timeout":-5000}                  => 200 null
{"method":"absent"}                                => 200 null
{"method":"null","timeout":null}                   => 200 null



=== TEST 7: expirationTime
--- http_config
    tb_rpc_validation  lenient;
--- auth: tenant
--- bodies
{"method":"m","expirationTime":"%{future}"}   => 200 null
{"method":"m","expirationTime":%{future}.5}   => 200 null
{"method":"m","expirationTime":null}          => 200 null
{"method":"m","expirationTime":"tomorrow"}    => 504 EXPIRED error 2 .*
{"method":"m","expirationTime":-1}            => 504 EXPIRED error 2 .*
{"method":"m","expirationTime":{}}            => 504 EXPIRED error 2 .*
{"method":"m","expirationTime":""}            => 504 EXPIRED error 2 .*



=== TEST 8: persistent
--- http_config
    tb_rpc_validation  lenient;
--- auth: tenant
--- bodies
{"method":"m","persistent":true}      => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
{"method":"m","persistent":"true"}    => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
{"method":"m","persistent":" true "}  => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
{"method":"m","persistent":1}         => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
{"method":"m","persistent":-0.5}      => 200 json \{"rpcId":"[-0-9a-f]{36}"\}
{"method":"m","persistent":"TRUE"}    => 200 null
{"method":"m","persistent":"1"}       => 200 null
{"method":"m","persistent":0}         => 200 null
{"method":"m","persistent":[true]}    => 200 null
{"method":"m","persistent":null}      => 200 null



=== TEST 9: the last of duplicates counts, and what follows is ignored
--- http_config
    tb_rpc_validation  lenient;
--- auth: tenant
--- bodies
{"method":"fail","method":"m","params":1}               => 200 1
{"method":"m","params":1,"params":2}                    => 200 2
{"method":"m","params":1,"persistent":true,"persistent":false}  => 200 1
{"method":"m","params":1}]}garbage{                     => 200 1
{"method":"m","params":1}%{nul}                         => 200 1
{"method":"m","params":1}%{ff}                          => 200 1



=== TEST 10: duplicates in params are passed on as they are, and in an answer
--- http_config
    tb_rpc_validation  lenient;
--- auth: tenant
--- bodies
{"method":"m","params":{"a":1,"a":2}}               => 200 {"a":1,"a":2}
{"method":"m","params":[{"a":[{"b":1,"b":1}]}]}     => 200 [{"a":[{"b":1,"b":1}]}]
{"method":"raw","params":"{\"a\":1,\"\\u0061\":2}"}  => 200 {"a":1,"\u0061":2}
{"method":"raw","params":"{\"a\":1,\"a\":2}x"}      => 406 INVALID_RESPONSE error 2 .*
{"method":"raw","params":" "}                       => 406 INVALID_RESPONSE error 2 .*



=== TEST 11: what is never accepted
--- http_config
    tb_rpc_validation  lenient;
--- auth: tenant
--- bodies
{"method":"m","params":1                  => 400 error 31 .*
{"method":"m","params":tru}               => 400 error 31 .*
{"method":"m","params":"%{ff}"}           => 400 error 31 .*
{"method":"m","params":"%{nul}"}          => 400 error 31 .*
{"method":"m","params":%{deep}}           => 400 error 31 .*nesting is too deep.*
{"method":"m","params":1e400.}            => 400 error 31 .*
[]                                        => 400 error 31 .*
"x"                                       => 400 error 31 .*
null                                      => 400 error 31 .*
{}                                        => 400 error 31 .*
{"method":"m","requestUUID":"x"}          => 400 error 31 .*requestUUID.*
{"method":"m","requestUUID":5}            => 400 error 31 .*requestUUID.*



=== TEST 12: for what follows
--- http_config
    tb_rpc_profile  thingsboard;
--- more_config
    location /strict/ {
        tb_rpc_validation  strict;
        tb_rpc             v2;
    }
--- auth: tenant
--- bodies
{"method":"m"}  => 200 null
