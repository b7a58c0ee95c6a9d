# Bodies under strict validation: what is refused and with which message, and
# that what is accepted arrives byte for byte.
#
# runs: side by side, 12 s

use TB 'no_plan';

device('d1', bridge => 'b1');
device('off');

my $bridge = bridge(log => scratch() . '/envelopes');

# bytes that this file is better off without
set_macro(nul => "\0", bom => "\xef\xbb\xbf", ff => "\xff",
          overlong => "\xc0\xaf", cesu => "\xed\xa0\x80",
          beyond => "\xf4\x90\x80\x80", euro => "\xe2\x82\xac",
          cut => "\xe2\x82", emoji => "\xf0\x9f\x98\x80", tab => "\t",
          del => "\x7f", crlf => "\r\n");
set_macro(open64 => '[' x 63, close64 => ']' x 63, open65 => '[' x 64,
          close65 => ']' x 64, million => '[' x 60000,
          objects => '{"a":' x 10000, quotes => '"' x 60001,
          backslashes => '\\' x 60001,
          members => join(',', map { "\"m$_\":$_" } 1 .. 4000),
          name60k => 'n' x 60000, digits => '1' x 5000,
          json64k => '"' . 'x' x (65536 - 26) . '"');
set_macro(past => 1000, future => (time() + 600) . '000');

run_tests();

# what the bridge was given

my %got = map { $_->{method} => $_ } $bridge->envelopes();

Test::More::is($got{'seen'}{additionalInfo}{a}[1], 'b',
               'additionalInfo is passed on');
Test::More::is($got{'no info'}{additionalInfo}, undef,
               'null where there is none');
Test::More::is($got{"\x{20ac} \"\\\n"}{params}, 1,
               'a method with escapes is passed on');
Test::More::is(scalar(grep { /refused/ } keys %got), 0,
               'what is refused goes nowhere');

__DATA__

=== TEST 1: params, byte for byte
--- auth: tenant
--- bodies
{"method":"m","params":{}}                                  => 200 {}
{"method":"m","params":[]}                                  => 200 []
{"method":"m","params":true}                                => 200 true
{"method":"m","params":null}                                => 200 null
{"method":"m","params":50}                                  => 200 50
{"method":"m","params":"x"}                                 => 200 "x"
{"method":"m","params":""}                                  => 200 ""
{"method":"m","params":{"a": 1.10 , "b":1e2}}               => 200 {"a": 1.10 , "b":1e2}
{"method":"m","params":12345678901234567890123}             => 200 12345678901234567890123
{"method":"m","params":-0}                                  => 200 -0
{"method":"m","params":0.1000000000000000055511151231257827}  => 200 0.1000000000000000055511151231257827
{"method":"m","params":1E+10}                               => 200 1E+10
{"method":"m","params":"\u20ac\ud83d\ude00\/\n"}            => 200 "\u20ac\ud83d\ude00\/\n"
{"method":"m","params":"%{euro}%{emoji}%{del}"}             => 200 "%{euro}%{emoji}%{del}"
{"method":"m","params":"\u0000"}                            => 200 "\u0000"
{"method":"m","params":"}],{["}                             => 200 "}],{["
{"method":"m","params":"\\\""}                              => 200 "\\\""
{"method":"m","params":{"method":1,"params":{"params":2}}}  => 200 {"method":1,"params":{"params":2}}
{"params":{"z":1,"a":2},"method":"m"}                       => 200 {"z":1,"a":2}
 { "method" : "m" , "params" :%{tab}[ 1 , 2 ]%{tab} }%{crlf}   => 200 [ 1 , 2 ]
{"\u006dethod":"m","par\u0061ms":[7]}                       => 200 [7]



=== TEST 2: unknown members, null for optional ones
--- auth: tenant
--- bodies
{"method":"m","params":1,"x":{"y":[]},"Method":2,"PARAMS":3}    => 200 1
{"method":"m","params":1,"timeout":null}                        => 200 1
{"method":"m","params":1,"expirationTime":null}                 => 200 1
{"method":"m","params":1,"persistent":null}                     => 200 1
{"method":"m","params":1,"retries":null}                        => 200 1
{"method":"no info","params":1,"additionalInfo":null}           => 200 1
{"method":"m","params":1,"requestUUID":null}                    => 200 1
{"method":"m","params":1,"persistent":false}                    => 200 1
{"method":"m","params":1,"%{name60k}":1}                        => 200 1
{"method":"m","params":1,%{members}}                            => 200 1
{"method":"seen","params":1,"additionalInfo":{"a":[1,"b"]}}     => 200 1
{"method":"%{euro} \"\\\n","params":1}                          => 200 1
{"method":"","params":1}                                        => 200 1



=== TEST 3: numbers
--- auth: tenant
--- bodies
{"method":"m","params":1,"timeout":5000}                    => 200 1
{"method":"m","params":1,"timeout":5000.0}                  => 200 1
{"method":"m","params":1,"timeout":5e3}                     => 200 1
{"method":"m","params":1,"timeout":0}                       => 200 1
{"method":"m","params":1,"timeout":-1}                      => 200 1
{"method":"m","params":1,"timeout":1e300}                   => 200 1
{"method":"m","params":1,"timeout":9007199254740993}        => 200 1
{"method":"m","params":1,"retries":0}                       => 200 1
{"method":"m","params":1,"retries":2147483647}              => 200 1
{"method":"m","params":1,"retries":3.0}                     => 200 1
{"method":"m","params":1,"expirationTime":%{future}}        => 200 1
{"method":"m","params":1,"expirationTime":9007199254740992}  => 200 1
{"method":"m","params":1,"timeout":1,"expirationTime":%{future}}  => 200 1



=== TEST 4: not an object
--- auth: tenant
--- bodies
[]                                  => 400 error 31 Invalid request body: it must be an object at offset 0
"{\"method\":\"m\",\"params\":1}"   => 400 error 31 Invalid request body: it must be an object at offset 0
null                                => 400 error 31 Invalid request body: it must be an object at offset 0
5                                   => 400 error 31 Invalid request body: it must be an object at offset 0
method=m&params=1                   => 400 error 31 Invalid request body: it must be an object at offset 0
%{bom}{"method":"m","params":1}     => 400 error 31 Invalid request body: it must be an object at offset 0
%{nul}{"method":"m","params":1}     => 400 error 31 Invalid request body: it must be an object at offset 0
}                                   => 400 error 31 Invalid request body: it must be an object at offset 0



=== TEST 5: method and params are mandatory
--- auth: tenant
--- bodies
{}                                    => 400 error 31 Invalid request body: member \\"method\\" is missing
{"params":1}                          => 400 error 31 Invalid request body: member \\"method\\" is missing
{"method":"refused"}                  => 400 error 31 Invalid request body: member \\"params\\" is missing
{"Method":"refused","params":1}       => 400 error 31 Invalid request body: member \\"method\\" is missing
{"method":null,"params":1}            => 400 error 31 Invalid request body: member \\"method\\" must be a string, at offset 10
{"method":5,"params":1}               => 400 error 31 Invalid request body: member \\"method\\" must be a string, at offset 10
{"method":true,"params":1}            => 400 error 31 Invalid request body: member \\"method\\" must be a string, at offset 10
{"method":["refused"],"params":1}     => 400 error 31 Invalid request body: member \\"method\\" must be a string, at offset 10
{"params":1, "method": {}}            => 400 error 31 Invalid request body: member \\"method\\" must be a string, at offset 23



=== TEST 6: wrong types
--- auth: tenant
--- bodies
{"method":"refused","params":1,"timeout":"500"}            => 400 error 31 .*member \\"timeout\\" must be an integer, at offset 41
{"method":"refused","params":1,"timeout":5000.5}           => 400 error 31 .*\\"timeout\\".*
{"method":"refused","params":1,"timeout":true}             => 400 error 31 .*\\"timeout\\".*
{"method":"refused","params":1,"timeout":[]}               => 400 error 31 .*\\"timeout\\".*
{"method":"refused","params":1,"timeout":{}}               => 400 error 31 .*\\"timeout\\".*
{"method":"refused","params":1,"expirationTime":"1"}       => 400 error 31 .*\\"expirationTime\\".*
{"method":"refused","params":1,"expirationTime":-1}        => 400 error 31 .*\\"expirationTime\\".*
{"method":"refused","params":1,"expirationTime":1.5}       => 400 error 31 .*\\"expirationTime\\".*
{"method":"refused","params":1,"expirationTime":1e17}      => 400 error 31 .*\\"expirationTime\\".*
{"method":"refused","params":1,"expirationTime":false}     => 400 error 31 .*\\"expirationTime\\".*
{"method":"refused","params":1,"persistent":"true"}        => 400 error 31 .*member \\"persistent\\" must be true or false, at offset 44
{"method":"refused","params":1,"persistent":1}             => 400 error 31 .*\\"persistent\\".*
{"method":"refused","params":1,"persistent":{}}            => 400 error 31 .*\\"persistent\\".*
{"method":"refused","params":1,"retries":"3"}              => 400 error 31 .*\\"retries\\".*
{"method":"refused","params":1,"retries":-1}               => 400 error 31 .*\\"retries\\".*
{"method":"refused","params":1,"retries":2147483648}       => 400 error 31 .*\\"retries\\".*
{"method":"refused","params":1,"retries":0.5}              => 400 error 31 .*\\"retries\\".*
{"method":"refused","params":1,"retries":true}             => 400 error 31 .*\\"retries\\".*
{"method":"refused","params":1,"requestUUID":"x"}          => 400 error 31 .*member \\"requestUUID\\" must be a UUID, at offset 45
{"method":"refused","params":1,"requestUUID":5}            => 400 error 31 .*\\"requestUUID\\".*
{"method":"refused","params":1,"requestUUID":""}           => 400 error 31 .*\\"requestUUID\\".*
{"method":"refused","params":1,"requestUUID":"%{uuid:1}0"}  => 400 error 31 .*\\"requestUUID\\".*
{"method":"refused","params":1,"requestUUID":"00000001-0000-1000-8003-010203040506"}  => 400 error 31 .*\\"requestUUID\\" must be a UUID of the client's own, not shaped like an rpcId, .*



=== TEST 7: not JSON
--- auth: tenant
--- bodies
{                                            => 400 error 31 Invalid request body: .* at offset 1
{"                                           => 400 error 31 Invalid request body: .*
{"method                                     => 400 error 31 Invalid request body: .*
{"method"                                    => 400 error 31 Invalid request body: .*
{"method":                                   => 400 error 31 Invalid request body: .*
{"method":"refused                           => 400 error 31 Invalid request body: .*
{"method":"refused"                          => 400 error 31 Invalid request body: .*
{"method":"refused",                         => 400 error 31 Invalid request body: .*
{"method":"refused","params":                => 400 error 31 Invalid request body: .*
{"method":"refused","params":1               => 400 error 31 Invalid request body: .*
{"method":"refused","params":{"a":1}         => 400 error 31 Invalid request body: .*
{"method":"refused","params":1,}             => 400 error 31 Invalid request body: .*
{"method":"refused" "params":1}              => 400 error 31 Invalid request body: .*
{"method":"refused","params":01}             => 400 error 31 Invalid request body: .*
{"method":"refused","params":1.}             => 400 error 31 Invalid request body: .*
{"method":"refused","params":.5}             => 400 error 31 Invalid request body: .*
{"method":"refused","params":+1}             => 400 error 31 Invalid request body: .*
{"method":"refused","params":NaN}            => 400 error 31 Invalid request body: .*
{"method":"refused","params":Infinity}       => 400 error 31 Invalid request body: .*
{"method":"refused","params":tru}            => 400 error 31 Invalid request body: .*
{"method":"refused","params":True}           => 400 error 31 Invalid request body: .*
{"method":"refused","params":'x'}            => 400 error 31 Invalid request body: .*
{method:"refused","params":1}                => 400 error 31 Invalid request body: .*
{"method":"refused","params":[1,]}           => 400 error 31 Invalid request body: .*
{"method":"refused","params":[1 2]}          => 400 error 31 Invalid request body: .*
{"method":"refused","params":[1}             => 400 error 31 Invalid request body: .*
{"method":"refused","params":1]              => 400 error 31 Invalid request body: .*
{"method":"refused","params":/*x*/1}         => 400 error 31 Invalid request body: .*
{"method":"refused","params":"\x"}           => 400 error 31 Invalid request body: .*
{"method":"refused","params":"\u12"}         => 400 error 31 Invalid request body: .*
{"method":"refused","params":"a%{tab}b"}     => 400 error 31 Invalid request body: .*



=== TEST 8: beyond what a double holds
--- auth: tenant
--- bodies
{"method":"m","params":1e400}                  => 200 1e400
{"method":"m","params":-1E+400}                => 200 -1E+400
{"method":"m","params":{"a":[1e309,"1e400"]}}  => 200 {"a":[1e309,"1e400"]}
{"method":"m","params":9e308}                  => 200 9e308
{"method":"m","params":1.8e308}                => 200 1.8e308
{"method":"m","params":0.00001e314}            => 200 0.00001e314
{"method":"m","params":[0e999,0.0e999,1e-999]}   => 200 [0e999,0.0e999,1e-999]
{"method":"m","params":1e99999999999999999999}   => 200 1e99999999999999999999
{"method":"m","params":%{digits}}              => 200 %{digits}
{"method":"m","params":[-%{digits}.5,%{digits}e-400,0]}   => 200 [-%{digits}.5,%{digits}e-400,0]
{"method":"m","params":1,"timeout":1e400}      => 200 1
{"method":"m","x":1e400,"params":"\"1e400"}    => 200 "\"1e400"
{"method":"m","params":1,"timeout":%{digits}}  => 200 1
{"method":"m","params":1,"timeout":-1e400}     => 200 1
{"method":"m","params":1,"additionalInfo":{"a":1e400}}   => 200 1
{"method":"refused","params":1,"retries":1e400}  => 400 error 31 .*\\"retries\\".*
{"method":"refused","params":1,"expirationTime":1e400}   => 400 error 31 .*\\"expirationTime\\".*
{"method":"refused","params":1,"persistent":1e400}       => 400 error 31 .*\\"persistent\\".*
{"method":1e400,"params":1}                    => 400 error 31 .*\\"method\\".*
{"method":"refused","params":01e400}           => 400 error 31 Invalid request body: .*
{"method":"refused","params":1.e400}           => 400 error 31 Invalid request body: .*
{"method":"refused","params":1e400.5}          => 400 error 31 Invalid request body: .*
{"method":"refused","params":1e400e5}          => 400 error 31 Invalid request body: .*
{"method":"refused","params":1e}               => 400 error 31 Invalid request body: .*
{"method":"refused","params":[1e400,1e+]}      => 400 error 31 Invalid request body: .*
{"method":"refused","params":1e400             => 400 error 31 Invalid request body: .*
{"method":"refused","params":[1e400] x}        => 400 error 31 Invalid request body: .* at offset 37



=== TEST 9: something follows
--- auth: tenant
--- bodies
{"method":"refused","params":1}x                            => 400 error 31 Invalid request body: something follows the object at offset 31
{"method":"refused","params":1}}                            => 400 error 31 Invalid request body: something follows the object at offset 31
{"method":"refused","params":1} {"method":"refused"}        => 400 error 31 Invalid request body: something follows the object at offset 32
{"method":"refused","params":1}%{nul}                       => 400 error 31 Invalid request body: .*
{"method":"refused","params":1},                            => 400 error 31 Invalid request body: something follows the object at offset 31



=== TEST 10: duplicate members, at any depth
--- auth: tenant
--- bodies
{"method":"m","method":"refused","params":1}               => 400 error 31 .*duplicate member at offset 14
{"method":"refused","params":1,"params":1}                 => 400 error 31 .*duplicate member.*
{"method":"refused","params":1,"x":1,"x":1}                => 400 error 31 .*duplicate member.*
{"method":"m","\u006dethod":"refused","params":1}          => 400 error 31 .*duplicate member.*
{"method":"refused","params":1,"x1":1,"x2":2,"x3":3,"x4":4,"x5":5,"x6":6,"x7":7,"x8":8,"x9":9,"x9":1}  => 400 error 31 .*duplicate member.*
{"method":"refused","params":1,"x1":1,"x2":2,"x3":3,"x4":4,"x5":5,"x6":6,"x7":7,"x8":8,"x9":9,"x1":1}  => 400 error 31 .*duplicate member.*
{"method":"refused","params":1,"x1":1,"x2":2,"x3":3,"x4":4,"x5":5,"x6":6,"x7":7,"x8":8,"x9":9,"\u0078\u0039":1}  => 400 error 31 .*duplicate member.*
{"method":"refused","params":{"a":1,"a":1}}                => 400 error 31 .*
{"method":"refused","params":[{"b":{"a":1,"a":2}}]}        => 400 error 31 .*
{"method":"refused","params":1,"additionalInfo":{"a":1,"a":1}}  => 400 error 31 .*



=== TEST 11: nesting up to 64
--- auth: tenant
--- bodies
{"method":"m","params":%{open64}%{close64}}        => 200 %{open64}%{close64}
{"method":"m","params":"\"%{open65}"}              => 200 "\"%{open65}"
{"method":"m","params":"\\\"%{open65}\""}          => 200 "\\\"%{open65}\""
{"method":"refused","params":%{open65}%{close65}}  => 400 error 31 .*nesting is too deep at offset 92
{"method":"refused","params":%{million}            => 400 error 31 .*nesting is too deep.*
{"method":"refused","params":%{objects}            => 400 error 31 .*nesting is too deep.*
%{million}                                         => 400 error 31 .*
%{objects}                                         => 400 error 31 .*
{%{quotes}                                         => 400 error 31 .*
{"%{backslashes}                                   => 400 error 31 .*



=== TEST 12: UTF-8 and NUL
--- auth: tenant
--- bodies
{"method":"refused","params":"%{ff}"}        => 400 error 31 Invalid request body: .*
{"method":"refused","params":"%{overlong}"}  => 400 error 31 Invalid request body: .*
{"method":"refused","params":"%{cesu}"}      => 400 error 31 Invalid request body: .*
{"method":"refused","params":"%{beyond}"}    => 400 error 31 Invalid request body: .*
{"method":"refused","params":"%{cut}"}       => 400 error 31 Invalid request body: .*
{"method":"refused%{ff}","params":1}         => 400 error 31 Invalid request body: .*
{"%{ff}":1,"method":"refused","params":1}    => 400 error 31 Invalid request body: .*
{"method":"refused","params":"\ud800"}       => 400 error 31 Invalid request body: .*
{"method":"refused","params":"\udc00x"}      => 400 error 31 Invalid request body: .*
{"method":"refused","params":"\ud800\ud800"}  => 400 error 31 Invalid request body: .*
{"method":"refused","params":"%{nul}"}       => 400 error 31 Invalid request body: .*NUL.*
{"method":"refused",%{nul}"params":1}        => 400 error 31 Invalid request body: .*NUL.*
{"method":"refused","params":1,"a\u0000b":1}  => 400 error 31 Invalid request body: .*



=== TEST 13: the message never quotes what it refuses, unescaped
--- auth: tenant
--- bodies
{"<\"script>":}         => 400 error 31 Invalid request body: member \\"<\\"script>\\": .*
{"a\nb":}               => 400 error 31 Invalid request body: member \\"a\\u000ab\\": .*
{"%{name60k}":}         => 400 error 31 Invalid request body: member \\"n{64}\\": .*



=== TEST 14: the largest body
--- http_config
    client_body_buffer_size  64k;
--- auth: tenant
--- path: /api/rpc/oneway/%{d1}
--- bodies
{"method":"m","params":%{json64k}}     => 200 empty
{"method":"m","params": %{json64k}}    => 413 error 31 Payload size exceeds the limit of 65536 bytes
{"method":"m","params":"%{name60k}"}   => 200 empty



=== TEST 15: order: path, then body, then device
--- auth: tenant
--- requests
POST /api/rpc/twoway/no-uuid {]                         => 400 error 31 Invalid UUID string: no-uuid
POST /api/rpc/twoway/%{uuid:none} {]                    => 400 error 31 Invalid request body: .*
POST /api/rpc/twoway/%{uuid:none} {"method":"m","params":1}  => 401 error 20 .*



=== TEST 16: tb_rpc_max_expiration
--- more_config
    tb_rpc_max_expiration  60s;
--- auth: tenant
--- path: /api/rpc/oneway/%{off}
--- bodies
{"method":"refused","params":1,"persistent":true,"timeout":61000}              => 400 error 31 .*\\"timeout\\" is too far ahead
{"method":"refused","params":1,"persistent":true,"timeout":1e300}              => 400 error 31 .*\\"timeout\\" is too far ahead
{"method":"refused","params":1,"persistent":true,"expirationTime":%{future}}   => 400 error 31 .*\\"expirationTime\\" is too far ahead
{"method":"m","params":1,"persistent":true,"timeout":50000}                    => 200 json \{"rpcId":"[-0-9a-f]{36}"\}



=== TEST 17: no body at all
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1}  => 400 error 31 Invalid request body: it is missing
POST /api/rpc/oneway/%{d1}  => 400 error 31 Invalid request body: it is missing



=== TEST 18: any Content-Type
--- auth: tenant
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- bodies
{"method":"m","params":1}  => 200 1



=== TEST 19: text/plain, as the generated Java client has it
--- auth: tenant
--- more_headers
Content-Type: text/plain; charset=ISO-8859-1
--- bodies
{"method":"m","params":1}  => 200 1



=== TEST 20: a query is ignored
--- auth: tenant
--- requests
POST /api/rpc/twoway/%{d1}?timeout=1&x=%00 {"method":"m","params":1}  => 200 1
