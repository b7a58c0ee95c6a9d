# tb_rpc_login: what every request gets back; tokens, what is in them and what
# they are good for; sessions; hashes that get better.
#
# runs: side by side, 5 s

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);

use TB::Cpu qw(cpu_us);
use TB::Fixture;
use TB::Login;
use TB::Nginx;
use TB::Token qw(jwt jwt_with key_text $KEY $TENANT $USER $CUSTOMER $NULL_UUID);
use TB::Env qw(file_in);

my $PAIR = '\{"token":"[\w.-]+","refreshToken":"[\w.-]+","scope":null\}';
my $WRONG = '401 10 Invalid username or password';
my $BAD = '400 31 Invalid request body:';
my $REFRESH = '401 10 Invalid refresh token';

redis();
device('d1', bridge => 'b1');

my $bridge = bridge();
my $nginx = TB::Nginx->start(
    http => 'tb_rpc_login_scrypt ln=11 r=8 p=1;'
            . ' tb_rpc_login_failures user=1000 address=1000 delay=0;',
    config => <<'_EOC_',
    location /api/rpc/   { tb_rpc v2; }
    location /api/auth/  { tb_rpc_login; }
    location /short/     { tb_rpc_login; tb_rpc_login_token_time 1s;
                           tb_rpc_login_refresh_time 5s; }
    location /few/       { tb_rpc_login; tb_rpc_login_sessions 2; }
    location /tb/        { tb_rpc_login; tb_rpc_profile thingsboard; }
    location /pages/     { tb_rpc_login; tb_rpc_intercept_errors on;
                           error_page 401 = @page; }
    location @page       { return 403 page; }
    location /issuer/    { tb_rpc_login; tb_rpc_jwt_issuer "me \"1\""; }
    location /hs256/     { tb_rpc_login; tb_rpc_jwt_alg HS256;
                           location /hs256/rpc/ { tb_rpc v2; } }
    location /keys/      { tb_rpc_login; tb_rpc_jwt_key %{other key};
                           tb_rpc_jwt_key %{jwt_key}; }
    location /mirrored/  { tb_rpc_login; mirror /api/auth/login; }
    location /costly/    { tb_rpc_login; tb_rpc_login_scrypt ln=15; }
    location /file/      { tb_rpc_login; client_body_in_file_only on; }
    location /limited/   { tb_rpc_login; limit_except POST { deny all; } }
_EOC_
    keys => 'tb_rpc_jwt_key %{jwt_key};')
    if set_macro('other key' => file_in('other.key',
                                        key_text('o' x 64) . "\n"));

chmod 0600, macro('other key');

my $http = TB::Login->new($nginx);

sub rpc {
    my ($token, $path) = @_;

    return TB::Login->new($nginx)->ask('POST', ($path || '/api/rpc/twoway/')
                                       . macro('d1'),
                                       '{"method":"echo","params":7}', $token);
}


# logging in ------------------------------------------------------------------

my $key = user('Ann@Example.com', password => "p\x{c3}\x{a4}ss w\"rd",
               first => 'Ann', last => 'O"ther');
my $PASSWORD = "p\x{e4}ss w\"rd";

user('off', enabled => 0);
user('cust', authority => 'CUSTOMER_USER', customer => $CUSTOMER);
user($CUSTOMER, hash => '', id => $NULL_UUID, customer => $CUSTOMER,
     authority => 'CUSTOMER_USER');

my $r = $http->login('ann@EXAMPLE.com', $PASSWORD);

login_is($r, "200 $PAIR", 'login, in any letter case');

my $now = time();
my $c = claims($r->{token});

cmp_ok(abs($c->{iat} - $now), '<', 10, 'iat');
is($c->{exp} - $c->{iat}, 9000, 'exp');
like($c->{sessionId}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab]/,
     'sessionId');
is_deeply({ %$c, iat => 0, exp => 0, sessionId => 0 },
          { sub => 'Ann@Example.com', userId => $USER, iat => 0, exp => 0,
            scopes => ['TENANT_ADMIN'], sessionId => 0,
            iss => 'thingsboard.io', firstName => 'Ann',
            lastName => 'O"ther', enabled => JSON::PP::true,
            isPublic => JSON::PP::false, tenantId => $TENANT,
            customerId => $NULL_UUID }, 'the claims of the token');

my $f = claims($r->{refreshToken});

is($f->{exp} - $f->{iat}, 604800, 'exp of the refresh token');
is($f->{sessionId}, $c->{sessionId}, 'its session');
like(delete $f->{jti}, qr/^[0-9a-f-]{36}$/, 'its jti');
is_deeply({ %$f, iat => 0, exp => 0, sessionId => 0 },
          { sub => 'Ann@Example.com', userId => $USER, iat => 0, exp => 0,
            scopes => ['REFRESH_TOKEN'], sessionId => 0,
            iss => 'thingsboard.io', isPublic => JSON::PP::false },
          'and no more');
like($r->{token}, qr/^eyJhbGciOiJIUzUxMiJ9\./, 'HS512');

login_is(rpc($r->{token}), '200 7', 'the token calls');
login_is(rpc($r->{refreshToken}), '401 10 Invalid token claims',
         'the refresh token does not');

my $cust = $http->login('cust', 'a password');

is_deeply([@{ claims($cust->{token}) }{qw(scopes customerId)}],
          [['CUSTOMER_USER'], $CUSTOMER], 'a user of a customer');

# who is not let in

login_is($http->login('ann@example.com', 'a password'), $WRONG,
         'a wrong password');
login_is($http->login('nobody', 'a password'), $WRONG, 'an unknown user');
login_is($http->login('off', 'a password'), $WRONG, 'a disabled user');
login_is($http->login($_, 'a password'), $WRONG, 'a name that nobody can have')
    for 'x' x 256, "a\nb", 'a{b}', ' ';
login_is($http->login($CUSTOMER, 'a password'), $WRONG,
         'a public customer by a password');
login_is($http->login('ann@example.com', "$PASSWORD\0"),
         "$BAD member \"password\" has a zero byte",
         'a password with a zero, which scrypt would not see');
login_is($http->login('ann@example.com', "$PASSWORD "), $WRONG,
         'all of the password counts');

user('broken', hash => hash_of('a password'));
redis()->call('HSET', 'tb:user:broken', 'hash', $_->[0]),
login_is($http->login('broken', 'a password'), $WRONG, $_->[1])
    for ['$scrypt$ln=40,r=8,p=1$c2FsdHNhbHQ$' . 'A' x 43, 'too much work'],
        ['$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$' . 'A' x 40, 'a short key'],
        ['$scrypt$ln=10,r=8,p=1$c2$' . 'A' x 43, 'a short salt'],
        ['$scrypt$ln=10,r=8$c2FsdHNhbHQ$' . 'A' x 43, 'no p'],
        ['$scrypt$ln=10,r=8,p=1$' . 'A' x 200 . '$' . 'A' x 43, 'a long salt'],
        ['a password', 'no hash'];
ok($nginx->wait_log(qr/\[error\].*the password hash of a user .* not valid/),
   'the operator is told');
redis()->call('HSET', 'tb:user:broken', 'hash', hash_of('a password'),
              'tenantId', 'x');
login_is($http->login('broken', 'a password'), $WRONG, 'a broken user');
ok($nginx->wait_log(qr/\[error\].*the record of a user .* is not valid/),
   'the operator is told');

# bodies

for (['', 'it is missing'], ['{', 'it is not valid JSON'],
     ['[]', 'it is not valid JSON'], ['{}', 'member "username" is missing'],
     ['{"username":"x"}', 'member "password" is missing'],
     ['{"username":1,"password":"x"}', 'member "username" is not a text'],
     ['{"username":"x","password":null}', 'member "password" is not a text'],
     ['{"username":"","password":"x"}', 'member "username" is empty'],
     ['{"username":"x","password":""}', 'member "password" is empty'],
     ['{"username":"x","password":"' . 'x' x 513 . '"}',
      'member "password" is too long'],
     ['{"username":"x","username":"y","password":"x"}',
      'it is not valid JSON'],
     ['{"username":"x","password":"x"} {}', 'it is not valid JSON'])
{
    login_is($http->ask('POST', 'login', $_->[0]), "$BAD $_->[1]",
             "body: $_->[1]");
}

login_is($http->ask('POST', 'login', undef), "$BAD it is missing", 'no body');
login_is($http->ask('POST', 'login', '{"more":{"password":1},"username":'
                    . '"cust","password":"a password","rememberMe":true}'),
         "200 $PAIR", 'more members');
login_is($http->ask('POST', 'login', '{"username":"\u0063ust","password":'
                    . '"a\u0020password"}'), "200 $PAIR", 'escapes');
login_is($http->ask('POST', 'login', ' ' x 8193),
         '413 31 Payload size exceeds the limit of 8192 bytes', 'too large');
login_is(TB::Login->new($nginx, path => '/tb/')->ask('POST', 'login',
                                                     ' ' x 8193),
         '413 "Payload size exceeds the limit of 8192 bytes"',
         'too large, as ThingsBoard says it');

{
    my $chunk = sub { sprintf "%x\r\n%s\r\n", length $_[0], $_[0] };
    my $send = sub {
        my $text = $http->request('POST', 'login', undef, undef,
                                  'Transfer-Encoding' => 'chunked');

        return TB::Login::answered(TB::Client->new($nginx->{port},
                   $text . join('', map { $chunk->($_) } @_) . "0\r\n\r\n"));
    };

    login_is($send->('{"username":"cust",', '"password":"a password"}'),
             "200 $PAIR", 'in chunks');
    login_is($send->(' ' x 5000, ' ' x 5000),
             '413 31 Payload size exceeds the limit of 8192 bytes',
             'too many chunks');
}

# public customers

$r = $http->ask('POST', 'login/public', { publicId => uc $CUSTOMER });
login_is($r, "200 $PAIR", 'a public customer');
is_deeply([@{ claims($r->{token}) }{qw(isPublic userId sub scopes)}],
          [JSON::PP::true, $NULL_UUID, $CUSTOMER, ['CUSTOMER_USER']],
          'is one');
login_is($http->refresh($r->{refreshToken}), "200 $PAIR",
         "and is refreshed, $_") for 'once', 'as often as it likes';
is(redis()->call('EXISTS', "{tb:user:$CUSTOMER}:sessions"), 0,
   'without a session, which others could end');
redis()->fcall('tb_rpc_user_enable', "tb:user:$CUSTOMER", 0);
login_is($http->refresh($r->{refreshToken}), $REFRESH, 'until it is disabled');
redis()->fcall('tb_rpc_user_enable', "tb:user:$CUSTOMER", 1);
login_is($http->refresh(jwt(scopes => ['REFRESH_TOKEN'], isPublic =>
                            JSON::PP::true, sub => 'cust')), $REFRESH,
         'nobody else is');
login_is($http->ask('POST', 'login/public', { publicId => $_ }), $WRONG,
         'no public customer') for 'cust', $USER;
login_is($http->ask('POST', 'login/public', {}),
         "$BAD member \"publicId\" is missing", 'no publicId');


# refreshing ------------------------------------------------------------------

my $first = $http->login('cust', 'a password');
my $second = $http->refresh($first->{refreshToken});

login_is($second, "200 $PAIR", 'a new pair');
is(claims($second->{token})->{sessionId}, claims($first->{token})->{sessionId},
   'of the same session');
isnt($second->{refreshToken}, $first->{refreshToken}, 'another refresh token');
login_is($http->refresh($first->{refreshToken}), $REFRESH, 'used');
login_is($http->refresh($second->{refreshToken}), $REFRESH,
         'its reuse ends the session');
ok($nginx->wait_log(qr/\[notice\].* a refresh token came a second time: session [0-9a-f-]{36} is over/),
   'and is logged');
login_is($http->refresh($_->[0]), $_->[1], "refresh: $_->[2]")
    for [$second->{token}, $REFRESH, 'an access token'],
        ['x', $REFRESH, 'no token'],
        [jwt(scopes => ['REFRESH_TOKEN']), $REFRESH, 'without a jti'],
        [jwt(scopes => ['REFRESH_TOKEN'], jti => $USER), $REFRESH,
         'of nobody'],
        [jwt(scopes => [], jti => $USER), $REFRESH, 'without scopes'],
        [jwt(scopes => ['REFRESH_TOKEN'], jti => $USER, sub => 'a{b}'),
         $REFRESH, 'of no name'],
        [jwt_with({ key => 'k' x 64 }, scopes => ['REFRESH_TOKEN'],
                  jti => $USER), $REFRESH, 'a foreign one'],
        [jwt_with({ key => 'k' x 64 }, scopes => ['REFRESH_TOKEN'],
                  jti => $USER, exp => 1), $REFRESH, 'foreign, expired'],
        [jwt(scopes => ['REFRESH_TOKEN'], jti => $USER, exp => time() - 1),
         '401 11 Token has expired', 'expired'];
login_is($http->ask('POST', 'token', {}),
         "$BAD member \"refreshToken\" is missing", 'no refreshToken');
login_is(TB::Login->new($nginx, path => '/tb/')->refresh(
             jwt_with({ key => 'k' x 64 }, scopes => ['REFRESH_TOKEN'])),
         $REFRESH, 'a foreign one under thingsboard');

# what makes a refresh token is not its id alone

{
    my $live = $http->login('cust', 'a password');
    my $c = claims($live->{refreshToken});

    login_is($http->refresh(jwt(%$c, scopes => ['CUSTOMER_USER'])), $REFRESH,
             'an access token with the id of a refresh token');
    login_is($http->refresh($live->{refreshToken}), "200 $PAIR",
             'which is good still');
}

# lifetimes

{
    my $short = TB::Login->new($nginx, path => '/short/');
    my $r = $short->login('cust', 'a password');

    is_deeply([map { my $c = claims($r->{$_}); $c->{exp} - $c->{iat} }
                   qw(token refreshToken)], [1, 5], 'short lifetimes');
    soon { $short->ask('GET', 'user', undef, $r->{token})->{status} == 401 }
        'the token expires';
    login_is($short->ask('GET', 'user', undef, $r->{token}),
             '401 11 Token has expired', 'by code 11');

    my $new = $short->refresh($r->{refreshToken});

    login_is($new, "200 $PAIR", 'the refresh token does not yet');
    soon { claims($new->{refreshToken})->{exp} <= time() } 'but then';
    login_is($short->refresh($new->{refreshToken}),
             '401 11 Token has expired', 'by code 11, too');
}

# as many sessions as may be

{
    my $few = TB::Login->new($nginx, path => '/few/');

    user('many');

    my @r = map { sleep 0.01; $few->login('many', 'a password') } 1 .. 3;

    login_is($few->refresh($r[0]{refreshToken}), $REFRESH,
             'the oldest of three sessions is over');
    login_is($few->refresh($_->{refreshToken}), "200 $PAIR", 'others are not')
        for @r[1, 2];
}


# the bearer of a token -------------------------------------------------------

$r = $http->login('ann@example.com', $PASSWORD);

my $user = $http->ask('GET', 'user', undef, $r->{token});

login_is($user, '200 .*', 'user');
is_deeply(do { my $u = JSON::PP::decode_json($user->{body});
               cmp_ok(delete $u->{createdTime}, '>', 1e12, 'createdTime');
               $u },
          { id => { entityType => 'USER', id => $USER },
            tenantId => { entityType => 'TENANT', id => $TENANT },
            customerId => { entityType => 'CUSTOMER', id => $NULL_UUID },
            email => 'Ann@Example.com', name => 'Ann@Example.com',
            authority => 'TENANT_ADMIN', firstName => 'Ann',
            lastName => 'O"ther', phone => undef, additionalInfo => undef },
          'as ThingsBoard shows it');

{
    my $client = $http->open('HEAD', 'user', undef, $r->{token},
                             Connection => 'close');

    $client->answer(10);
    like($client->{in}, qr{^HTTP/1.1 200 .*\r\n\r\n\z}s, 'HEAD');
}


for (['GET', 'user'], ['POST', 'logout'],
     ['POST', 'changePassword', { currentPassword => 'x',
                                  newPassword => 'another one' }])
{
    my ($method, $what, $body) = @$_;

    login_is($http->ask($method, $what, $body, @{ $_->[0] }), $_->[1],
             "$what: $_->[2]")
        for [[], '401 10 Authentication failed', 'nobody'],
            [[$r->{refreshToken}], '401 10 Invalid token claims',
             'a refresh token'],
            [[jwt(exp => 1)], '401 11 Token has expired', 'an expired one'],
            [[jwt_with({ key => 'k' x 64 })],
             '401 10 Invalid token signature', 'a foreign one'],
            [[undef, 'X-Authorization' => 'ApiKey x'],
             '401 10 Authentication failed', 'an API key'],
            [['x', 'Authorization' => 'Bearer x'], '401 10 Invalid token',
             'no token'];
}

login_is($http->ask('GET', 'user', undef, jwt(sub => 'nobody')),
         '401 10 User account is not active', 'user: of nobody');
login_is($http->ask('GET', 'user', undef, jwt(sub => 'ann@example.com')),
         '200 .*', 'user: of a token from elsewhere');
login_is($http->ask('GET', 'user', undef, jwt(sub => 'ann@example.com',
                                              userId => $TENANT)),
         '401 10 User account is not active',
         'user: of somebody who was called so before');
login_is($http->ask('POST', 'logout', undef, $r->{token}), '200 empty',
         'logout');
login_is($http->refresh($r->{refreshToken}), $REFRESH, 'it is over');
login_is($http->ask('POST', 'logout', '{}', $r->{token}), '200 empty',
         'logout, once more');

# the name is another user's by now

{
    my $other = 'a0000000-0000-11ee-8000-00000000000b';

    user('eva');

    my $old = $http->login('eva', 'a password')->{token};

    is($http->ask('GET', 'user', undef, $old)->{status}, 200, 'eva');
    user('eva', id => $other, tenant => $other);
    login_is($http->ask('GET', 'user', undef, $old),
             '401 10 User account is not active', 'user: of the one before');
    login_is($http->ask('POST', 'changePassword',
                        { currentPassword => 'a password',
                          newPassword => 'b password' }, $old),
             '401 10 User account is not active', 'changePassword as well');
}

login_is($http->ask('GET', 'user', undef, jwt(sub => 'cust', scopes => [$_])),
         '401 10 Invalid token claims', "a token of $_")
    for 'PRE_VERIFICATION_TOKEN', 'MFA_CONFIGURATION_TOKEN', 'TENANT';

# another password

{
    my $change = sub {
        my ($old, $new, $token) = @_;

        return $http->ask('POST', 'changePassword',
                          { currentPassword => $old, newPassword => $new },
                          $token);
    };

    user('carl');

    my ($one, $two) = map { $http->login('carl', 'a password') } 1, 2;

    login_is($change->('wrong', 'b password', $one->{token}),
             "400 31 Current password doesn't match!", 'a wrong password');
    login_is($change->('a password', 'a password', $one->{token}),
             '400 31 New password should be different from existing!',
             'the same password');
    login_is($change->('a password', 'short', $one->{token}),
             "$BAD member \"newPassword\" must have 8 bytes at least",
             'a short password');
    login_is($change->('a password', 'b password', jwt(sub => 'nobody')),
             $WRONG, 'of nobody');

    my $new = $change->('a password', 'b password', $one->{token});

    login_is($new, "200 $PAIR", 'changePassword');
    login_is($http->refresh($_->{refreshToken}), $REFRESH,
             'ends other sessions') for $one, $two;
    login_is($http->refresh($new->{refreshToken}), "200 $PAIR", 'not its own');
    login_is($http->login('carl', 'a password'), $WRONG, 'the old one');
    login_is($http->login('carl', 'b password'), "200 $PAIR", 'the new one');
}

# who is disabled

$r = $http->login('cust', 'a password');
redis()->fcall('tb_rpc_user_enable', 'tb:user:cust', 0);
login_is($http->refresh($r->{refreshToken}), $REFRESH,
         'disabled: no refresh');
login_is($http->ask('GET', 'user', undef, $r->{token}),
         '401 10 User account is not active', 'nor a user');
login_is($http->login('cust', 'a password'), $WRONG, 'nor a login');


# hashes ----------------------------------------------------------------------

for ([10, 8, 1], [11, 4, 1], [12, 8, 1], [11, 8, 2]) {
    my $key = user('old', ln => $_->[0], r => $_->[1], p => $_->[2]);
    my $before = redis()->call('HGET', $key, 'hash');

    login_is($http->login('old', 'not this'), $WRONG, "@$_: wrong");
    is(redis()->call('HGET', $key, 'hash'), $before, 'it stays');
    login_is($http->login('old', 'a password'), "200 $PAIR", "@$_: right");

    my $after = redis()->call('HGET', $key, 'hash');

    like($after, qr{^\$scrypt\$ln=11,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}$},
         'it is made anew');
    login_is($http->login('old', 'a password'), "200 $PAIR", 'and good');
    is(redis()->call('HGET', $key, 'hash'), $after, 'for good');
}


# two at a time make it anew: both are let in

{
    my $key = user('twins', ln => 14, p => 4);
    my @clients = map {
        $http->open('POST', 'login', { username => 'twins',
                                       password => 'a password' })
    } 1, 2;

    login_is($_, "200 $PAIR", 'a login while another one renews the hash')
        for map { TB::Login::answered($_) } @clients;
    like(redis()->call('HGET', $key, 'hash'), qr/ln=11,r=8,p=1/,
         'which is done');
    ok($nginx->wait_log(qr/\[warn\].* the password hash of a user costs more/),
       'one that costs more is told of');
}

# who is disabled gets none: that would take longer

{
    my $key = user('slow', ln => 15, r => 4, p => 2, enabled => 0);
    my $before = redis()->call('HGET', $key, 'hash');
    my $worker = $nginx->worker();
    my @least = (60e6, 60e6);

    # what it computes, as others use the processors, too; in turns, and the
    # least of each
    for my $i ((0, 1) x 4) {
        my $since = cpu_us($worker);

        TB::Login->new($nginx, path => '/costly/')
            ->login('slow', ('not this', 'a password')[$i]);

        my $us = cpu_us($worker) - $since;

        $least[$i] = $us if $us < $least[$i];
    }

    cmp_ok($least[0], '>', 0, 'a wrong password is computed');
    cmp_ok($least[1], '<', 1.5 * $least[0],
           'the right one of a disabled user takes no longer')
        or diag "@least";
    is(redis()->call('HGET', $key, 'hash'), $before, 'its hash stays');
}


# a body is not written to the disk -------------------------------------------

{
    my $files = sub { scalar grep { -f } glob "$nginx->{dir}/body_temp/*" };

    login_is(TB::Login->new($nginx, path => '/file/')->login('cust', 'x'), $WRONG,
             'client_body_in_file_only');
    is($files->(), 0, 'is not for passwords');

    # nor for the time of the request: there is no place for it

    rename "$nginx->{dir}/body_temp", "$nginx->{dir}/no_temp" or die "$!\n";
    login_is(TB::Login->new($nginx, path => '/file/')->login('cust', 'x'), $WRONG,
             'at no time');
    rename "$nginx->{dir}/no_temp", "$nginx->{dir}/body_temp" or die "$!\n";
}


# paths and methods -----------------------------------------------------------

for (['POST', 'user', 'GET, HEAD, OPTIONS'], ['GET', 'login', 'POST, OPTIONS'],
     ['PUT', 'token', 'POST, OPTIONS'], ['GET', 'login/public', 'POST, OPTIONS'],
     ['DELETE', 'logout', 'POST, OPTIONS'],
     ['GET', 'changePassword', 'POST, OPTIONS'])
{
    my ($method, $what, $allow) = @$_;
    my $r = $http->ask($method, $what);

    login_is($r, "405 31 Request method '$method' is not supported",
             "$method $what");
    is($r->{headers}{allow}, $allow, 'Allow');
    $r = $http->ask('OPTIONS', $what);
    is("$r->{status} $r->{headers}{allow}", "204 $allow", "OPTIONS $what");
}

login_is($http->ask('POST', $_, '{}'), '404 32 There is no such resource',
         "POST $_") for 'nothing', 'login/', 'login/x', '';

# more of what a location may have

user('dora');
like($http->login('dora', 'a password')->{token}, qr/^eyJ/, 'a user');

{
    my $at = sub { return TB::Login->new($nginx, path => $_[0]) };
    my $r = $at->('/issuer/')->login('dora', 'a password');

    is(claims($r->{token})->{iss}, 'me "1"', 'tb_rpc_jwt_issuer');
    login_is($at->('/issuer/')->refresh($r->{refreshToken}), "200 $PAIR",
             'is accepted');
    login_is($at->('/issuer/')->refresh(
                 $http->login('dora', 'a password')->{refreshToken}),
             $REFRESH, 'another one is not');

    $r = $at->('/hs256/')->login('dora', 'a password');
    like($r->{token}, qr/^eyJhbGciOiJIUzI1NiJ9\./, 'HS256');
    login_is(rpc($r->{token}, '/hs256/rpc/twoway/'), '200 7', 'is good there');
    login_is(rpc($r->{token}), '401 10 Invalid token', 'and nowhere else');

    $r = $at->('/keys/')->login('dora', 'a password');
    login_is(rpc($r->{token}), '401 10 Invalid token signature',
             'the first key signs');
    login_is($at->('/keys/')->refresh(
                 $http->login('dora', 'a password')->{refreshToken}),
             "200 $PAIR", 'the others are good, too');

    $r = $at->('/pages/')->login('dora', 'wrong');
    is("$r->{status} $r->{body}", '403 page', 'error_page');
    login_is($at->('/pages/')->login('dora', 'a password'), "200 $PAIR",
             'is for errors');
    login_is($at->('/limited/')->login('dora', 'a password'), "200 $PAIR",
             'limit_except');
    is($at->('/limited/')->ask('GET', 'user')->{status}, 403, 'denies');

    my $before = () = $nginx->error_log() =~ /Invalid username or password/g;

    login_is($at->('/mirrored/')->login('dora', 'wrong'), $WRONG, 'mirror');
    is($before + 1, scalar(() = $nginx->error_log()
                                =~ /Invalid username or password/g),
       'counts once');
}

$nginx->clean(qr/\[error\] .* of a user in Redis is not valid|costs more/);
$nginx->stop();

done_testing();
