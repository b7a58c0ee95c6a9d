# JSON Web Tokens: which are accepted, what the others are answered, and which
# header counts.  Keys of pairs (RS256, ES256) are in t/014-jwt-pair.t.
#
# runs: side by side, 11 s

use TB 'no_plan';

use JSON::PP ();
use MIME::Base64 qw(decode_base64url encode_base64url);
use Time::HiRes qw(time);
use TB::Token qw(key_text $NULL_UUID);

device('d1', bridge => 'b1');
device('d2', bridge => 'b1', customer => macro('customer'));
api_key('key');
bridge();


sub token {
    my ($name, $token) = @_;

    set_macro("t:$name" => $token);
}


# a token, its parts changed by a function

sub changed {
    my ($change) = @_;

    my @parts = split /\./, jwt(), -1;

    return join '.', $change->(@parts);
}

my $header = encode_base64url('{"alg":"HS512"}');
my @customer = (scopes => ['CUSTOMER_USER'], customerId => macro('customer'));
my $now = int time();

token(ok => jwt());
token(customer => jwt(@customer));

token('one part' => 'abcdef');
token('two parts' => changed(sub { @_[0, 1] }));
token('four parts' => changed(sub { (@_, 'AAAA') }));
token('dots' => '..');
token('no header' => changed(sub { ('', @_[1, 2]) }));
token('no payload' => changed(sub { ($_[0], '', $_[2]) }));
token('no signature' => changed(sub { (@_[0, 1], '') }));
token('not base64' => changed(sub { (@_[0, 1], "!$_[2]") }));
token('bits left over' => changed(sub {
    (@_[0, 1], $_[2] =~ s/.$/chr(ord($&) + 1)/er) }));
token('padded' => changed(sub { (@_[0, 1], "$_[2]==") }));
token('standard base64' => changed(sub { $_[2] =~ tr{-_}{+/};
                                         (@_[0, 1], "+$_[2]") }));
token('a character more' => changed(sub { (@_[0, 1], "$_[2]AAA") }));
token('header of 3k' => jwt_with({ header => { x => 'x' x 3000 } }));
token('header no JSON' => jwt_with({ header => {} }) =~ s/^[^.]+/
                          encode_base64url('{"alg":"HS512"')/er);
token('header an array' => changed(sub { (encode_base64url('["HS512"]'),
                                          @_[1, 2]) }));
token('header without alg' => changed(sub { (encode_base64url('{}'),
                                             @_[1, 2]) }));
token('binary header' => changed(sub { (encode_base64url("\0\xff\xfe{"),
                                        @_[1, 2]) }));
token('deep header' => changed(sub { (encode_base64url('[' x 1000),
                                      @_[1, 2]) }));
token('crit' => jwt_with({ header => { crit => ['x'] } }));
token('alg twice' => changed(sub {
    (encode_base64url('{"alg":"HS512","alg":"HS512"}'), @_[1, 2]) }));

token('alg none' => jwt_with({ header => { alg => 'none' } }));
token('alg none unsigned' => jwt_with({ alg => 'none' }));
token('alg None' => jwt_with({ alg => 'None' }));
token('alg hs512' => jwt_with({ header => { alg => 'hs512' } }));
token('alg a number' => jwt_with({ header => { alg => 512 } }));
token('alg nothing' => jwt_with({ header => { alg => '' } }));
token("alg $_" => jwt_with({ header => { alg => $_ } }))
    for qw(H HS HS51 HS5120);
token('alg null' => jwt_with({ header => { alg => undef } }));
token('HS256' => jwt_with({ alg => 'HS256' }));
token('HS384' => jwt_with({ alg => 'HS384' }));
token('RS256' => jwt_with({ alg => 'RS256', signature => 'x' x 256 }));

token('payload no JSON' => jwt_with({ payload => '{"sub":' }));
token('payload an array' => jwt_with({ payload => '[{}]' }));
token('payload a string' => jwt_with({ payload => '"sub"' }));
token('payload deep' => jwt_with({ payload => '{"a":' . '[' x 500 }));
token('payload with NUL' => jwt_with({ payload => "{\"sub\":\"\0\"}" }));
token('payload twice exp' => jwt_with({ payload =>
    '{"exp":1,"exp":9999999999}' }));

token('foreign key' => jwt_with({ key => 'k' x 64 }));
token('a bit flipped' => changed(sub {
    my $bytes = decode_base64url($_[2]);
    substr($bytes, 17, 1) ^= "\x01";
    (@_[0, 1], encode_base64url($bytes)) }));
token('cut signature' => changed(sub {
    (@_[0, 1], encode_base64url(substr decode_base64url($_[2]), 0, 32)) }));
token('other payload' => changed(sub {
    my $claims = decode_base64url($_[1]);
    $claims =~ s/TENANT_ADMIN/tenant_admin/;
    ($_[0], encode_base64url($claims), $_[2]) }));
token('foreign and expired' => jwt_with({ key => 'k' x 64 }, exp => $now - 9));

token('expired' => jwt(exp => $now - 60));
token('expired long ago' => jwt(exp => 1));
token('expired negative' => jwt(exp => -1));
token('exp fraction' => jwt(exp => $now + 60.5));
token('exp for ever' => jwt_with({ payload => '{"sub":"s","userId":"'
    . macro('user') . '","scopes":["TENANT_ADMIN"],"tenantId":"'
    . macro('tenant') . '","exp":1e300}' }));
token('nbf later' => jwt(nbf => $now + 600));
token('nbf past' => jwt(nbf => $now - 600));
token('nbf text' => jwt(nbf => 'now'));

token("no $_" => jwt($_ => undef)) for qw(sub userId scopes exp tenantId);
token('exp text' => jwt(exp => 'tomorrow'));
token('sub number' => jwt(sub => 5));
token('scopes text' => jwt(scopes => 'TENANT_ADMIN'));
token('scopes empty' => jwt(scopes => []));
token('scopes number' => jwt(scopes => [1]));
token('tenant no uuid' => jwt(tenantId => 'x'));
token('tenant number' => jwt(tenantId => 1));
token('tenant null uuid' => jwt(tenantId => $NULL_UUID));
token('customer no uuid' => jwt(@customer, customerId => 'x'));
token('long user' => jwt(userId => 'u' x 5000));
token('disabled' => jwt(enabled => JSON::PP::false));
token('enabled text' => jwt(enabled => 'true'));
token('no enabled' => jwt(enabled => undef));
token('public' => jwt(isPublic => JSON::PP::true));
token($_ => jwt(scopes => [$_]))
    for qw(REFRESH_TOKEN PRE_VERIFICATION_TOKEN MFA_CONFIGURATION_TOKEN
           TENANT SYS_ADMIN);
token('lower case' => jwt(scopes => ['tenant_admin']));
token('two scopes' => jwt(scopes => ['TENANT_ADMIN', 'REFRESH_TOKEN']));
token('refresh first' => jwt(scopes => ['REFRESH_TOKEN', 'TENANT_ADMIN']));
token('upper case tenant' => jwt(tenantId => uc macro('tenant')));
token('no customer' => jwt(customerId => undef));
token('customer null' => jwt_with({ payload => '{"sub":"s","userId":"u",'
    . '"scopes":["TENANT_ADMIN"],"customerId":null,"tenantId":"'
    . macro('tenant') . "\",\"exp\":${\($now + 60)}}" }));
token('customer user of none' => jwt(scopes => ['CUSTOMER_USER']));

token('8k' => jwt(pad => 'x' x 5600));
token('15k' => jwt(pad => 'x' x 10800));
token('17k' => jwt(pad => 'x' x 12600));
token('8k junk' => 'A' x 8000);
token('8k dots' => '.' x 8000);
token('8k brackets' => encode_base64url('[' x 5900) . '.e30.AAAA');

token('issuer' => jwt(iss => 'me'));
token('issuer m' => jwt(iss => 'm'));
token('issuer nothing' => jwt(iss => ''));
token('issuer mee' => jwt(iss => 'mee'));
token('no issuer' => jwt(iss => undef));

token('hs256' => jwt_with({ alg => 'HS256', key => 'k' x 32 }));
token('hs384' => jwt_with({ alg => 'HS384', key => 'k' x 48 }));
token('old key' => jwt_with({ key => 'o' x 64 }));

sub key_file {
    my ($name, $bytes) = @_;

    my $path = file_in($name, key_text($bytes) . "\n");

    chmod 0600, $path;
    set_macro($name => $path);
}

key_file('hs256.key', 'k' x 32);
key_file('hs384.key', 'k' x 48);
key_file('old.key', 'o' x 64);

no_shuffle();
run_tests();

# at the very second, by the last block's nginx

sub status_of {
    my ($token) = @_;

    return http_post('/api/rpc/twoway/%{d1}', '{"method":"echo","params":1}',
                     'X-Authorization' => "Bearer $token")->{status};
}


# what the tokens made for a second get, all within it

sub in_one_second {
    my (@make) = @_;

    for (1 .. 20) {
        select undef, undef, undef, 1 - time() + int(time());

        my $second = int time();
        my @got = map { status_of($_->($second)) } @make;

        return "@got" if int(time()) == $second;
    }

    return 'too slow';
}

Test::More::is(in_one_second(sub { jwt(exp => $_[0]) },
                             sub { jwt(exp => $_[0] + 1) },
                             sub { jwt(nbf => $_[0]) },
                             sub { jwt(nbf => $_[0] + 1) }),
               '401 200 200 401', 'exp and nbf: at that second, and the next');

__DATA__

=== TEST 1: no credential, or none of ours
--- credentials
X-Other: 1                                  => 401 error 10 Authentication failed
X-Authorization:                            => 401 error 10 Authentication failed
X-Authorization: Basic dTpw                 => 401 error 10 Authentication failed
Authorization: Digest username="u"          => 401 error 10 Authentication failed
X-Authorization: %{t:ok}                    => 401 error 10 Authentication failed
X-Authorization: Bearer%{t:ok}              => 401 error 10 Authentication failed
X-Authorization: Token %{t:ok}              => 401 error 10 Authentication failed
X-Authorization: Bearers %{t:ok}            => 401 error 10 Authentication failed
X-Authorization: ApiKey %{key}              => 401 error 10 Authentication failed
Cookie: token=%{t:ok}                       => 401 error 10 Authentication failed



=== TEST 2: either header, any letter case, one or more spaces
--- credentials
X-Authorization: Bearer %{t:ok}             => 200 "in"
Authorization: Bearer %{t:ok}               => 200 "in"
x-authorization: bearer %{t:ok}             => 200 "in"
AUTHORIZATION: BEARER %{t:ok}               => 200 "in"
X-Authorization: bEaReR    %{t:ok}          => 200 "in"
X-Authorization:    Bearer %{t:ok}          => 200 "in"



=== TEST 3: "Bearer" alone
--- credentials
X-Authorization: Bearer                     => 401 error 10 Invalid token
Authorization: bearer                       => 401 error 10 Invalid token
X-Authorization: Bearer .                   => 401 error 10 Invalid token



=== TEST 4: precedence of the headers
--- credentials
X-Authorization: Bearer %{t:ok} | Authorization: Bearer %{t:expired}      => 200 "in"
X-Authorization: Bearer %{t:expired} | Authorization: Bearer %{t:ok}      => 401 error 11 Token has expired
Authorization: Bearer %{t:ok} | X-Authorization: Bearer %{t:expired}      => 401 error 11 Token has expired
X-Authorization: Bearer %{t:ok} | Authorization: Basic dTpw               => 200 "in"
X-Authorization: Basic dTpw | Authorization: Bearer %{t:ok}               => 200 "in"
X-Authorization: ApiKey nobody | Authorization: Bearer %{t:ok}            => 200 "in"
X-Authorization: Bearer %{t:ok} | Authorization: ApiKey nobody            => 200 "in"
X-Authorization: ApiKey %{key} | Authorization: Bearer %{t:expired}       => 401 error 11 Token has expired
X-Authorization: Bearer %{t:ok} | X-Authorization: Bearer %{t:ok}         => 401 error 10 Duplicate authorization header
X-Authorization: Bearer %{t:ok} | X-Authorization: Basic dTpw             => 401 error 10 Duplicate authorization header
X-Authorization: Basic dTpw | x-authorization: Bearer %{t:ok}             => 401 error 10 Duplicate authorization header
X-Authorization: Bearer %{t:ok} | X-Authorization: x | Authorization: Bearer %{t:ok}  => 401 error 10 Duplicate authorization header



=== TEST 5: two Authorization lines, by us or by a newer nginx
--- request
POST /api/rpc/twoway/%{d1}
{"method":"echo","params":1}
--- more_headers
Authorization: Bearer %{t:ok}
Authorization: Bearer %{t:ok}
--- error_code_like: ^40[01]$



=== TEST 6: malformed as a whole
--- credentials
X-Authorization: Bearer %{t:one part}       => 401 error 10 Invalid token
X-Authorization: Bearer %{t:two parts}      => 401 error 10 Invalid token
X-Authorization: Bearer %{t:four parts}     => 401 error 10 Invalid token
X-Authorization: Bearer %{t:dots}           => 401 error 10 Invalid token
X-Authorization: Bearer %{t:no header}      => 401 error 10 Invalid token
X-Authorization: Bearer %{t:no payload}     => 401 error 10 Invalid token.*
X-Authorization: Bearer %{t:no signature}   => 401 error 10 Invalid token
X-Authorization: Bearer %{t:not base64}     => 401 error 10 Invalid token
X-Authorization: Bearer %{t:bits left over}  => 401 error 10 Invalid token
X-Authorization: Bearer %{t:padded}         => 401 error 10 Invalid token
X-Authorization: Bearer %{t:standard base64}  => 401 error 10 Invalid token.*
X-Authorization: Bearer %{t:a character more}  => 401 error 10 Invalid token.*
X-Authorization: Bearer %{t:ok} x           => 401 error 10 Invalid token.*
X-Authorization: Bearer "%{t:ok}"           => 401 error 10 Invalid token.*



=== TEST 7: malformed header
--- credentials
X-Authorization: Bearer %{t:header of 3k}        => 401 error 10 Invalid token
X-Authorization: Bearer %{t:header no JSON}      => 401 error 10 Invalid token
X-Authorization: Bearer %{t:header an array}     => 401 error 10 Invalid token
X-Authorization: Bearer %{t:header without alg}  => 401 error 10 Invalid token
X-Authorization: Bearer %{t:binary header}       => 401 error 10 Invalid token
X-Authorization: Bearer %{t:deep header}         => 401 error 10 Invalid token
X-Authorization: Bearer %{t:crit}                => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg twice}           => 401 error 10 Invalid token



=== TEST 8: another algorithm than the configured one
--- credentials
X-Authorization: Bearer %{t:alg none}            => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg none unsigned}  => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg None}            => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg hs512}           => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg a number}        => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg null}            => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg nothing}         => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg H}               => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg HS}              => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg HS51}            => 401 error 10 Invalid token
X-Authorization: Bearer %{t:alg HS5120}          => 401 error 10 Invalid token
X-Authorization: Bearer %{t:HS256}               => 401 error 10 Invalid token
X-Authorization: Bearer %{t:HS384}               => 401 error 10 Invalid token
X-Authorization: Bearer %{t:RS256}               => 401 error 10 Invalid token



=== TEST 9: malformed payload, well signed
--- credentials
X-Authorization: Bearer %{t:payload no JSON}     => 401 error 10 Invalid token
X-Authorization: Bearer %{t:payload an array}    => 401 error 10 Invalid token
X-Authorization: Bearer %{t:payload a string}    => 401 error 10 Invalid token
X-Authorization: Bearer %{t:payload deep}        => 401 error 10 Invalid token
X-Authorization: Bearer %{t:payload with NUL}    => 401 error 10 Invalid token
X-Authorization: Bearer %{t:payload twice exp}   => 401 error 10 Invalid token



=== TEST 10: bad signature
--- credentials
X-Authorization: Bearer %{t:foreign key}          => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:a bit flipped}        => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:cut signature}        => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:other payload}        => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:foreign and expired}  => 401 error 10 Invalid token signature



=== TEST 11: bad signature, thingsboard profile: as if expired
--- more_config
    tb_rpc_profile  thingsboard;
--- credentials
X-Authorization: Bearer %{t:foreign key}    => 401 error 11 Token has expired
X-Authorization: Bearer %{t:a bit flipped}  => 401 error 11 Token has expired
X-Authorization: Bearer %{t:two parts}      => 401 error 10 Invalid token
X-Authorization: Bearer %{t:expired}        => 401 error 11 Token has expired
X-Other: 1                                  => 401 error 10 Authentication failed



=== TEST 12: times
--- credentials
X-Authorization: Bearer %{t:expired}           => 401 error 11 Token has expired
X-Authorization: Bearer %{t:expired long ago}  => 401 error 11 Token has expired
X-Authorization: Bearer %{t:expired negative}  => 401 error 11 Token has expired
X-Authorization: Bearer %{t:exp fraction}      => 200 "in"
X-Authorization: Bearer %{t:exp for ever}      => 200 "in"
X-Authorization: Bearer %{t:nbf later}         => 401 error 10 Token is not valid yet
X-Authorization: Bearer %{t:nbf past}          => 200 "in"



=== TEST 13: leeway
--- more_config
    tb_rpc_jwt_leeway  10m;
--- credentials
X-Authorization: Bearer %{t:expired}           => 200 "in"
X-Authorization: Bearer %{t:nbf later}         => 200 "in"
X-Authorization: Bearer %{t:expired long ago}  => 401 error 11 Token has expired



=== TEST 14: missing and wrong claims
--- credentials
X-Authorization: Bearer %{t:no sub}            => 401 error 10 Token has no sub
X-Authorization: Bearer %{t:no userId}         => 401 error 10 Token has no userId
X-Authorization: Bearer %{t:no scopes}         => 401 error 10 Token has no scopes
X-Authorization: Bearer %{t:no exp}            => 401 error 10 Token has no exp
X-Authorization: Bearer %{t:no tenantId}       => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:exp text}          => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:nbf text}          => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:sub number}        => 401 error 10 Token has no sub
X-Authorization: Bearer %{t:scopes text}       => 401 error 10 Token has no scopes
X-Authorization: Bearer %{t:scopes empty}      => 401 error 10 Token has no scopes
X-Authorization: Bearer %{t:scopes number}     => 401 error 10 Token has no scopes
X-Authorization: Bearer %{t:tenant no uuid}    => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:tenant number}     => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:tenant null uuid}  => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:customer no uuid}  => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:long user}         => 401 error 10 Invalid token claims



=== TEST 15: enabled and isPublic
--- credentials
X-Authorization: Bearer %{t:disabled}      => 401 error 10 User account is not active
X-Authorization: Bearer %{t:enabled text}  => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:no enabled}    => 200 "in"
X-Authorization: Bearer %{t:public}        => 200 "in"



=== TEST 16: the authority is the first scope
--- credentials
X-Authorization: Bearer %{t:REFRESH_TOKEN}            => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:PRE_VERIFICATION_TOKEN}   => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:MFA_CONFIGURATION_TOKEN}  => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:TENANT}                   => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:refresh first}            => 401 error 10 Invalid token claims
X-Authorization: Bearer %{t:SYS_ADMIN}                => 403 error 20 .*
X-Authorization: Bearer %{t:lower case}               => 200 "in"
X-Authorization: Bearer %{t:two scopes}               => 200 "in"



=== TEST 17: tenant and customer
--- credentials
X-Authorization: Bearer %{t:upper case tenant}      => 200 "in"
X-Authorization: Bearer %{t:no customer}            => 200 "in"
X-Authorization: Bearer %{t:customer null}          => 200 "in"
X-Authorization: Bearer %{t:customer}               => 401 error 20 User is not authorized.*
X-Authorization: Bearer %{t:customer user of none}  => 401 error 20 User is not authorized.*



=== TEST 18: a customer's user
--- auth: customer
--- request
POST /api/rpc/twoway/%{d2}
{"method":"echo","params":"in"}
--- answer: 200 "in"



=== TEST 19: large tokens
--- http_config
    large_client_header_buffers  4 32k;
--- credentials
X-Authorization: Bearer %{t:8k}           => 200 "in"
X-Authorization: Bearer %{t:15k}          => 200 "in"
X-Authorization: Bearer %{t:17k}          => 401 error 10 Invalid token
X-Authorization: Bearer %{t:8k junk}      => 401 error 10 Invalid token
X-Authorization: Bearer %{t:8k dots}      => 401 error 10 Invalid token
X-Authorization: Bearer %{t:8k brackets}  => 401 error 10 Invalid token



=== TEST 20: 8k with nginx's own buffers
--- credentials
X-Authorization: Bearer %{t:8k}       => 200 "in"
X-Authorization: Bearer %{t:8k junk}  => 401 error 10 Invalid token



=== TEST 21: issuer
--- more_config
    tb_rpc_jwt_issuer  me;
--- credentials
X-Authorization: Bearer %{t:issuer}     => 200 "in"
X-Authorization: Bearer %{t:ok}         => 401 error 10 Invalid token issuer
X-Authorization: Bearer %{t:no issuer}  => 401 error 10 Invalid token issuer
X-Authorization: Bearer %{t:issuer m}   => 401 error 10 Invalid token issuer
X-Authorization: Bearer %{t:issuer nothing}  => 401 error 10 Invalid token issuer
X-Authorization: Bearer %{t:issuer mee}  => 401 error 10 Invalid token issuer



=== TEST 22: no issuer is asked for
--- credentials
X-Authorization: Bearer %{t:issuer}     => 200 "in"
X-Authorization: Bearer %{t:no issuer}  => 200 "in"



=== TEST 23: HS256
--- more_config
    tb_rpc_jwt_key  %{hs256.key};
    tb_rpc_jwt_alg  HS256;
--- credentials
X-Authorization: Bearer %{t:hs256}  => 200 "in"
X-Authorization: Bearer %{t:hs384}  => 401 error 10 Invalid token
X-Authorization: Bearer %{t:ok}     => 401 error 10 Invalid token
X-Authorization: Bearer %{t:HS256}  => 401 error 10 Invalid token signature



=== TEST 24: HS384
--- more_config
    tb_rpc_jwt_key  %{hs384.key};
    tb_rpc_jwt_alg  HS384;
--- credentials
X-Authorization: Bearer %{t:hs384}  => 200 "in"
X-Authorization: Bearer %{t:hs256}  => 401 error 10 Invalid token



=== TEST 25: several keys
--- more_config
    tb_rpc_jwt_key  %{old.key};
    tb_rpc_jwt_key  %{jwt_key};
--- credentials
X-Authorization: Bearer %{t:ok}           => 200 "in"
X-Authorization: Bearer %{t:old key}      => 200 "in"
X-Authorization: Bearer %{t:foreign key}  => 401 error 10 Invalid token signature



=== TEST 26: keys of a level replace those above
--- more_config
    tb_rpc_jwt_key  %{old.key};
--- credentials
X-Authorization: Bearer %{t:old key}  => 200 "in"
X-Authorization: Bearer %{t:ok}       => 401 error 10 Invalid token signature



=== TEST 27: no token and no key in the log
--- log_level: info
--- credentials
X-Authorization: Bearer %{t:foreign key}  => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:one part}     => 401 error 10 Invalid token
--- error_log
tb_rpc: unauthorized: Invalid token
--- no_error_log
%{t:foreign key}
%{t:one part}
[error]
