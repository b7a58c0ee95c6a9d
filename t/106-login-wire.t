# tb_rpc_login, byte for byte as ThingsBoard's Python client (tb_rest_client of 4.3)
# speaks: its headers in their order, its JSON, which request goes by which
# connection, when it takes another token. t/106-login-client.t lets it do so
# itself, where it is there.
#
# runs: side by side, 6 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Client;
use TB::Env qw(wait_for);
use TB::Fixture;
use TB::Login;
use TB::Nginx;
use TB::Token qw($CUSTOMER $NULL_UUID);

redis();
device('d1', bridge => 'b1');
user('ann@example.com', password => 'correct horse', first => 'Ann');
user($CUSTOMER, hash => '', id => $NULL_UUID, customer => $CUSTOMER,
     authority => 'CUSTOMER_USER');

my $bridge = bridge();
my $nginx = TB::Nginx->start(
    http => 'tb_rpc_login_scrypt ln=10 r=8 p=1;',
    config => <<'_EOC_');
    location /api/rpc/         { tb_rpc v2; }
    location /api/plugins/rpc/ { tb_rpc v1; }
    location /api/auth/        { tb_rpc_login; tb_rpc_login_token_time 4s; }
_EOC_

my $CALL = '/api/plugins/rpc/twoway/' . macro('d1');

# what the client keeps
my ($token, $refresh, $exp, $pool);


sub lines { return join '', map { "$_\r\n" } @_ }


# What the package requests makes of post(url, json = ...): a connection of its
# own, which is closed when the answer was read.

sub post {
    my ($path, $body) = @_;

    my $client = TB::Client->new($nginx->{port}, lines(
        "POST $path HTTP/1.1", "Host: 127.0.0.1:$nginx->{port}",
        'User-Agent: python-requests/2.28.1',
        'Accept-Encoding: gzip, deflate', 'Accept: */*',
        'Connection: keep-alive', 'Content-Length: ' . length $body,
        'Content-Type: application/json', '') . $body);
    my $r = TB::Login::answered($client);

    $client->leave();

    return $r;
}


# What its ApiClient makes of a call, on the connection that it keeps: a new one
# after each new token. Without a body the type is the last header.

sub api {
    my ($method, $path, $body, $is_last) = @_;

    my $type = 'Content-Type: application/json';
    my $text = lines(
        "$method $path HTTP/1.1", "Host: 127.0.0.1:$nginx->{port}",
        'Accept-Encoding: identity',
        defined $body ? 'Content-Length: ' . length $body : (),
        'Accept: application/json', $is_last ? () : $type,
        'User-Agent: Swagger-Codegen/1.0.0/python',
        defined $token ? "X-Authorization: Bearer $token" : (),
        $is_last ? $type : (), '') . ($body // '');

    if ($pool) {
        $pool->send($text);
    } else {
        $pool = TB::Client->new($nginx->{port}, $text);
    }

    return TB::Login::answered($pool);
}


# it takes these two members, and "exp" of the one; none of an error

sub saved {
    my ($r) = @_;

    my $pair = JSON::PP::decode_json($r->{body});

    ($token, $refresh) = @$pair{qw(token refreshToken)};
    $exp = claims($token)->{exp} if defined $token;
    undef $pool;
}


sub answered_is {
    my ($r, $expected, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    login_is($r, $expected, $name);
    is($r->{headers}{connection}, 'keep-alive', 'the connection is kept');
}


my $PAIR = '200 \{"token":"[\w.-]+","refreshToken":"[\w.-]+","scope":null\}';

# login()

my $r = post('/api/auth/login',
             '{"username": "ann@example.com", "password": "correct horse"}');

answered_is($r, $PAIR, 'login');
saved($r);

# calls, one after the other

answered_is(api('POST', $CALL, '{"method": "echo", "params": 7}'), '200 7',
            'a call');
answered_is($r = api('GET', '/api/auth/user', undef, 1), '200 \{.*\}', 'the user');
is(JSON::PP::decode_json($r->{body})->{email}, 'ann@example.com', 'who it is');

# its thread looks once a second whether "exp" is over

my ($old, $used) = ($token, $refresh);

ok(wait_for(sub { time() >= $exp + 1 }), 'the token expires');
login_is(api('POST', $CALL, '{"method": "echo", "params": 8}'),
         '401 11 Token has expired', 'it is refused');
$r = post('/api/auth/token', qq({"refreshToken": "$refresh"}));
answered_is($r, $PAIR, 'token');
saved($r);
isnt($token, $old, 'another one');
isnt($refresh, $used, 'both');
answered_is(api('POST', $CALL, '{"method": "echo", "params": 8}'), '200 8',
            'a call');

# change_password(), whose answer it does not keep, and login()

answered_is(api('POST', '/api/auth/changePassword', '{"currentPassword": '
                . '"correct horse", "newPassword": "battery staple"}'),
            $PAIR, 'changePassword');
$r = post('/api/auth/login',
          '{"username": "ann@example.com", "password": "battery staple"}');
answered_is($r, $PAIR, 'login with the other password');
saved($r);
answered_is(api('POST', $CALL, '{"method": "echo", "params": 9}'), '200 9',
            'a call');

# logout(), and its thread, which does not know of it

login_is($r = api('POST', '/api/auth/logout', '{}', 1), '200 empty', 'logout');
is($r->{headers}{'content-length'}, 0, 'a length');
$r = post('/api/auth/token', qq({"refreshToken": "$refresh"}));
answered_is($r, '401 10 Invalid refresh token', 'token after logout');
saved($r);
is($token, undef, 'it has none any more');

answered_is(post('/api/auth/login',
                 '{"username": "ann@example.com", "password": "wrong"}'),
            '401 10 Invalid username or password', 'a wrong password');

# public_login()

$r = post('/api/auth/login/public', qq({"publicId": "$CUSTOMER"}));
answered_is($r, $PAIR, 'login/public');

$nginx->clean();
$nginx->stop();

done_testing();
