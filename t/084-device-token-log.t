# A device's token is in its URI, and in no log: whoever refuses the request.
#
# runs: side by side, 5 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::Env qw(free_port file_in);
use TB::Fixture;
use TB::Nginx;

my $valgrind = ($ENV{TB_MODE} || '') eq 'valgrind';
my $h2 = free_port();
my $users = file_in('users', "user:{PLAIN}pass\n");

redis();
device("d$_") for 1 .. 9;

# every location logs all that can have the token

my $nginx = TB::Nginx->start(
    http => <<'_EOC_',
    limit_req_zone   $tb_rpc_key_id  zone=devices:1m  rate=1r/m;
    limit_req_zone   $tb_rpc_key_id  zone=slow:1m     rate=20r/m;
    limit_req_zone   $part           zone=parts:1m    rate=1r/m;
    limit_conn_zone  $tb_rpc_key_id  zone=open:1m;
    limit_req_status 429;

    log_format  all  '$status $tb_rpc_key_id "$request" "$request_uri" "$uri" '
                     '"$http_referer" $tb_rpc_result';
    access_log  all.log  all;
_EOC_
    server => "listen 127.0.0.1:$h2 http2; rewrite_log on;",
    config => <<"_EOC_" . ($valgrind ? '' : <<'_REGEX_'));
    location /api/rpc/ { tb_rpc v2; }
    location /api/v1/ { tb_rpc_device_api 100ms; }

    location /limited/v1/ {
        tb_rpc_device_api 100ms;
        limit_req zone=devices;
    }

    location /late/v1/ {
        tb_rpc_device_api 100ms;
        limit_req zone=slow burst=5;
    }

    location /dry/v1/ {
        tb_rpc_device_api 100ms;
        limit_req zone=devices;
        limit_req_dry_run on;
    }

    location /open/v1/ {
        tb_rpc_device_api 100ms;
        limit_conn open 1;
    }

    location /page/v1/ {
        tb_rpc_device_api 100ms;
        limit_req zone=devices;
        error_page 429 = \@busy;
    }

    location \@busy { return 429 "busy"; }

    location /denied/v1/ { tb_rpc_device_api; deny all; }
    location /returned/v1/ { tb_rpc_device_api; return 403; }
    location /large/v1/ { tb_rpc_device_api; client_max_body_size 1; }

    location /asked/v1/ {
        tb_rpc_device_api;
        auth_request /check;
    }

    location = /check { internal; return 403; }

    location /users/v1/ {
        tb_rpc_device_api;
        auth_basic "all";
        auth_basic_user_file $users;
    }
_EOC_

    location ~ ^/regex/v1/(?<part>[^/]+)/rpc$ {
        tb_rpc_device_api 100ms;
        limit_req zone=parts;
    }
_REGEX_

my $n = 0;


# a token of its own for each request that is made

sub token {
    my ($device) = @_;

    my $token = sprintf 'SECRET%03dtoken', $n++;

    redis()->call('SET', 'tb:token:' . sha256_hex($token),
                  macro($device || 'd1'));

    return $token;
}


sub ask {
    my ($path, $method, $body) = @_;

    return TB::Client->new($nginx->{port},
                           TB::Client::text($method || 'GET', $path, $body))
                     ->answer()->{status};
}


# who is refused, and by whom

for my $tail ('rpc', 'rpc?timeout=50', 'telemetry', 'attributes?x=1',
              'rpc/', 'firmware/x/rpc/7/8')
{
    my $token = token();
    my $expected = $tail =~ /^rpc(?:$|\?)/ ? 408 : 404;
    my $limited = $expected == 408 ? 429 : 404;

    is(ask("/api/v1/$token/$tail"), $expected, "$tail: answered");
    is(ask("/limited/v1/$token/$tail"), $expected, "$tail: limit_req lets in");
    is(ask("/limited/v1/$token/$tail"), $limited, "$tail: and refuses");
    is(ask("/dry/v1/$token/$tail"), $expected, "$tail: dry run");
    is(ask("/page/v1/$token/$tail"), $limited, "$tail: error_page");
    is(ask("/denied/v1/$token/$tail"), 403, "$tail: deny");
    is(ask("/returned/v1/$token/$tail"), 403, "$tail: return");
    is(ask("/asked/v1/$token/$tail"), 403, "$tail: auth_request");
    is(ask("/users/v1/$token/$tail"), 401, "$tail: auth_basic");
}

# a device that takes its token for an id, too

for my $tail ('', '?x=1', '/x') {
    my $token = token();

    is(ask("/api/v1/$token/rpc/$token$tail", 'POST', '1'),
       $tail eq '/x' ? 404 : 400, "the token as an id$tail: refused");
}

{
    my $token = token();

    is(ask("/limited/v1/$token/rpc/1", 'POST', '1'), 200, 'an answer');
    is(ask("/limited/v1/$token/rpc/1", 'POST', '1'), 429, 'and refused');
    is(ask("/limited/v1/$token/rpc", 'POST', '1'), 429,
       'a call to the server counts, too');

    is(ask("/late/v1/$token/rpc?timeout=20"), 408, 'the first at once');
    is(ask("/late/v1/$token/rpc?timeout=20"), 408, 'the second delayed');
    like($nginx->error_log(), qr/delaying request/, 'as is logged');
}

{
    my $token = token('d9');
    my $held = TB::Client->new($nginx->{port},
        TB::Client::text('GET', "/open/v1/$token/rpc?timeout=60000"));

    TB::Env::wait_for {
        redis()->call('HGET', redis()->device_key(macro('d9')), 'poll')
    };

    is(ask("/open/v1/$token/rpc"), 503, 'limit_conn');
    $held->leave();
}

# written in other ways

for (['S%45CRET', 'hex'], ['/SECRET', 'a slash more'], ['./SECRET', 'a dot'],
     ['x/../SECRET', 'two dots'])
{
    my ($start, $name) = @$_;
    my $token = token();
    my $written = $start . substr $token, 6;

    is(ask("/limited/v1/$written/rpc"), 408, "$name: let in");
    is(ask("/limited/v1/$written/rpc"), 429, "$name: refused");
    is(ask("/denied/v1/$written/rpc"), 403, "$name: denied");
}

SKIP: {
    skip 'no curl with HTTP/2', 1 if `curl --version 2>&1` !~ /\bHTTP2\b/;

    my $token = token();
    my $status = join ' ', map {
        `curl -s -o /dev/null -w '%{http_code}' --http2-prior-knowledge http://127.0.0.1:$h2/limited/v1/$token/rpc`
    } 1, 2;

    is($status, '408 429', 'HTTP/2');
}

# a limit is one of the device, as before

{
    my @tokens = map { token("d$_") } 1 .. 9;

    is(join(' ', map { ask("/limited/v1/$_/rpc?timeout=20") } @tokens),
       join(' ', (408) x 9), 'each token is limited by itself');

    if (!$valgrind) {
        is(join(' ', map { ask("/regex/v1/$_/rpc?timeout=20") } @tokens),
           join(' ', (408) x 9), 'by what a regex has captured, too');
        is(ask("/regex/v1/$tokens[3]/rpc"), 429, 'which is the token');
    }
}

# what is refused before the location is known to us

is(ask('/large/v1/' . token() . '/rpc/1', 'POST', '12'), 413, 'a large body');

my $errors = join '', grep { !/intended to send too large body/ }
                      split /^/, $nginx->error_log();
my $all = $nginx->file_text('all.log');

is(join('', grep { /SECRET|S%45CRET/ } split /^/, $errors), '',
   'no token in the error log');
is(join('', grep { /SECRET|S%45CRET/ } split /^/, $all), '',
   'no token in the access log');
like($errors,
     qr{limiting requests, .* "devices", .* "GET /limited/v1/\*+/rpc HTTP},
     'a refusal is logged');
like($errors, qr/limiting connections by zone/, 'of both kinds');

my $key = substr sha256_hex('SECRET000token'), 0, 16;
my @lines = grep { /\b$key\b/ } split /^/, $all;

is(scalar @lines, 9, 'by its digest it can be found');
like($lines[2], qr{^429 $key "GET /limited/v1/\*+/rpc HTTP/1\.1" }, 'as here');

$nginx->clean();

done_testing();
