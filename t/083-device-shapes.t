# HTTP devices as people write them: a shell loop with curl, the requests of
# ThingsBoard's own clients, and what they get where a path is not ours.
#
# runs: side by side, 14 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(free_port file_in scaled wait_for);
use TB::Fixture;
use TB::Nginx;

plan skip_all => 'no curl' if !`curl --version 2>&1`;

my ($mixed, $regex, $server) = map { free_port() } 1 .. 3;
my $valgrind = ($ENV{TB_MODE} || '') eq 'valgrind';

redis();

# $mixed and $regex: all that is not ours goes to $server; valgrind sees how
# nginx forgets some bytes of each regex

my $nginx = TB::Nginx->start(
    http => 'gzip on; gzip_types application/json; gzip_min_length 1;'
            . "server { listen 127.0.0.1:$mixed; location /api/v1/ {"
            . ' tb_rpc_device_api 300ms; tb_rpc_intercept_errors on;'
            . ' error_page 404 = @server; }'
            . " location \@server { proxy_pass http://127.0.0.1:$server; } }"
            . ($valgrind ? '' : "server { listen 127.0.0.1:$regex;"
               . ' location ~ ^/api/v1/[^/]+/rpc(/\d+)?$ {'
               . ' tb_rpc_device_api 300ms; }'
               . " location / { proxy_pass http://127.0.0.1:$server; } }")
            . "server { listen 127.0.0.1:$server; access_log off; location / {"
            . ' return 200 "$request_method $request_uri $content_length";'
            . ' } }',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api 300ms; }'
              . ' location /api/v2 { tb_rpc_device_api 300ms; }'
              . ' location = /one/t0/rpc { tb_rpc_device_api 300ms; }'
              . ' location /moved { error_page 404 = /api/v1/t0/rpc;'
              . ' return 404; }');
my $base = "http://127.0.0.1:$nginx->{port}/api/v1";

device('d1');
redis()->call('SET', 'tb:token:' . sha256_hex($_), macro('d1'))
    for 'secret_d1', 't0';


# What a command prints, and later: { status, type, body } of a curl.

sub start {
    my (@command) = @_;

    my $pid = open my $fh, '-|', @command or die "$command[0]: $!\n";

    return { fh => $fh, pid => $pid };
}


sub curl {
    return start('curl', '-s', '-m', scaled(20), '-w',
                 "\n%{http_code}\n%{content_type}", @_);
}


sub result {
    my ($curl) = @_;

    local $/;
    my $text = readline $curl->{fh};

    close $curl->{fh};

    my ($body, $status, $type) = $text =~ /\A(.*)\n(\d+)\n(.*)\z/s;

    return { body => $body, status => $status, type => $type };
}


sub what {
    my ($r) = @_;

    return "$r->{status} [$r->{body}]";
}


sub poll_field {
    return redis()->call('HGET', redis()->device_key(macro('d1')), 'poll');
}


# a poll that Redis knows, by curl with these arguments

sub open_poll {
    my (@args) = @_;

    my $curl = curl(@args);

    wait_for { defined poll_field() } 10 or diag 'no poll';

    return $curl;
}


# the call that a poll brings to the device: its requestId, and the answer

sub brought {
    my ($curl, $name, $params) = @_;

    my $r = result($curl);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    like("$r->{type} " . what($r),
         qr/^application\/json\ 200\ \[\{"id":\d+,"method":"m",
            "params":\Q$params\E\}\]$/x, "$name: the call");

    return $r->{body} =~ /^\{"id":(\d+),/ ? $1 : 0;
}


# --- curl in a loop ---------------------------------------------------------

{
    my $device = fork();
    die "fork: $!\n" if !defined $device;

    if ($device == 0) {
        setpgrp;
        open STDERR, '>', '/dev/null';
        { exec 'sh', '-c', <<'_EOC_', 'sh', "$base/secret_d1" }
while true; do
    request=$(curl -s "$1/rpc?timeout=2000")
    id=$(expr "$request" : '{"id":\([0-9]*\),') || continue
    curl -s -X POST -H 'Content-Type: application/json' \
         -d "{\"done\":$request}" "$1/rpc/$id"
done
_EOC_
        POSIX::_exit(127);
    }

    my @caller = ('-H', 'X-Authorization: Bearer ' . macro('token:tenant'),
                  '-H', 'Content-Type: application/json');
    my $call = sub {
        return curl(@caller, '-d', "{\"method\":\"set\",\"timeout\":20000,"
                                   . "\"params\":{\"n\":$_[0]}}",
                    "http://127.0.0.1:$nginx->{port}/api/rpc/twoway/"
                    . macro('d1'));
    };
    my @wrong;
    my $check = sub {
        my ($n, $r) = @_;
        push @wrong, "$n: " . what($r)
            if what($r) !~ /^200\ \[\{"done":\{"id":\d+,"method":"set",
                              "params":\{"n":$n\}\}\}\]$/x;
    };

    $check->($_, result($call->($_))) for 1 .. 15;
    is(join("\n", @wrong), '', '15 calls, one after the other');

    my %callers = map { $_ => $call->($_) } 26 .. 35;

    @wrong = ();
    $check->($_, result($callers{$_})) for sort keys %callers;
    is(join("\n", @wrong), '', '10 calls at once');

    kill 'KILL', -$device;
    waitpid $device, 0;
    soon { !defined poll_field() } 'the loop is gone';
}


# --- polls ------------------------------------------------------------------

my $rpc = "$base/secret_d1/rpc";

for (['no timeout', $rpc, 0.29], ['timeout=0', "$rpc?timeout=0", 0.29],
     ['timeout=150', "$rpc?timeout=150", 0.14],
     ['other arguments', "$rpc?x=1&timeout=150&y", 0.14])
{
    my ($name, $url, $least) = @$_;
    my $start = time;

    is(what(result(curl($url))), '408 []', $name);
    cmp_ok(time - $start, '>', $least, 'it was held');
}

is(result(curl('-I', $rpc))->{status}, 405, 'HEAD takes no call');

my @sdk = ('-H', 'Content-Type: application/json', '-H', 'Accept: */*', '-H',
           'Accept-Encoding: gzip, deflate', '-H', 'Connection: keep-alive');

for (['plain', "$rpc?timeout=20000"],
     ['as the Python SDK sends it', @sdk, '--compressed',
      "$rpc?timeout=20000"],
     ['HTTP/1.0', '-0', "$rpc?timeout=20000"],
     ['Connection: close', '-H', 'Connection: close', "$rpc?timeout=20000"],
     ['Basic credentials', '-u', 'a:b', "$rpc?timeout=20000"],
     ['a path with %XX', "$base/secret%5Fd1/rpc?timeout=20000"],
     ['an exact location',
      "http://127.0.0.1:$nginx->{port}/one/t0/rpc?timeout=20000"])
{
    my ($name, @args) = @$_;
    my $poll = open_poll(@args);
    my $caller = $nginx->open('d1', 'm', '{"x":1.10}');
    my $id = brought($poll, $name, '{"x":1.10}');

    is(what(result(curl('-d', '1', "$rpc/$id"))), '200 []', 'its answer');
    is($caller->answer()->{body}, '1', 'the caller has it');
}


# --- answers ----------------------------------------------------------------

my $large = '"' . 'z' x 3000 . '"';
my $file = file_in('answer', $large);

for (['application/json', '{"a":1.10}', '-H', 'Content-Type: application/json',
      '-d', '{"a":1.10}'],
     ['no Content-Type', '{"a":2}', '-H', 'Content-Type:', '-d', '{"a":2}'],
     ['as a form', '{"a":"b&c=d+e%20"}', '-d', '{"a":"b&c=d+e%20"}'],
     ['text/plain', '"a"', '-H', 'Content-Type: text/plain;charset=UTF-8',
      '-d', '"a"'],
     ['as the Python SDK sends it', '{"a":3}', @sdk, '-d', '{"a":3}'],
     ['a scalar', 'true', '-d', 'true'],
     ['Expect', $large, '-H', 'Expect: 100-continue', '-d', "\@$file"],
     ['chunks', $large, '-H', 'Transfer-Encoding: chunked', '-d', "\@$file"],
     ['HTTP/1.0', '4', '-0', '-d', '4'],
     ['arguments', '5', '-d', '5', '?x=1'])
{
    my ($name, $answer, @args) = @$_;
    my $tail = $args[-1] =~ /^\?/ ? pop @args : '';
    my $poll = open_poll("$rpc?timeout=20000");
    my $caller = $nginx->open('d1', 'm', '1');
    my $id = brought($poll, $name, '1');

    is(what(result(curl(@args, "$rpc/$id$tail"))), '200 []', 'the answer');
    is($caller->answer()->{body}, $answer, 'its bytes');
}

{
    my $poll = open_poll("$rpc?timeout=20000");
    my $caller = $nginx->open('d1', 'm', '1');
    my $id = brought($poll, 'no body', '1');

    for (['-X', 'POST'], ['-d', ''],
         ['-d', '', '-H', 'Content-Type: application/json'])
    {
        like(what(result(curl(@$_, "$rpc/$id"))),
             qr/^400 \[\{"status":400,.*"errorCode":31,/, "no body: @$_");
    }

    is(what(result(curl('-d', 'OK', "$rpc/$id"))), '200 []', 'no JSON');
    is($caller->answer()->{what}, '406 INVALID_RESPONSE',
       'is the caller\'s to know');
}


# --- what is not ours -------------------------------------------------------

my @other = (
    ['calls to the server', 'secret_d1/rpc',
     '{"method":"getTime","params":{}}'],
    ['the same as a form', 'secret_d1/rpc', '{"method":"getTime"}', ''],
    ['telemetry', 'secret_d1/telemetry', '{"t":1}'],
    ['attributes sent', 'secret_d1/attributes', '{"a":1}'],
    ['attributes asked for', 'secret_d1/attributes?clientKeys=a,b'],
    ['attributes watched', 'secret_d1/attributes/updates?timeout=100'],
    ['claim', 'secret_d1/claim', '{"secretKey":"k","durationMs":60000}'],
    ['firmware', 'secret_d1/firmware?title=f&version=1&size=0&chunk=0'],
    ['software', 'secret_d1/software?title=f&version=1'],
    ['provision', 'provision', '{"deviceName":"d","provisionDeviceKey":"k"}'],
);


# curl's arguments for a row of the table above

sub args {
    my ($url, $row) = @_;

    my (undef, $path, $body, $type) = @$row;
    my @args = "$url/$path";

    push @args, '-d', $body if defined $body;
    push @args, '-H', 'Content-Type: application/json'
        if defined $body && !defined $type;

    return @args;
}


for my $row (@other, ['no device: GET', 'rpc'],
             ['no device: POST', 'rpc', '1'],
             ['no device: an answer', 'rpc/5', '1'])
{
    my $r = result(curl(args($base, $row)));

    like("$r->{type} " . what($r),
         qr/^application\/json 404 \[\{"status":404,.*"errorCode":32,/,
         $row->[0]);
}

like(what(result(curl("http://127.0.0.1:$nginx->{port}/api/v2/rpc"))),
     qr/^404 .*"errorCode":32,/, 'a location without a slash at its end');
is(result(curl("http://127.0.0.1:$nginx->{port}/api/v2/t0/rpc"))->{status},
   408, 'and a device there');
is(what(result(curl("$base/v1/rpc"))), '401 []', 'a token "v1" is one');
is(what(result(curl("$base/rpc/rpc"))), '401 []', 'a token "rpc", too');

for (1, 2) {
    is(result(curl("http://127.0.0.1:$nginx->{port}/moved"))->{status}, 408,
       'a path of the configuration stays as it is');
}

unlike($nginx->error_log() . $nginx->access_log(),
       qr/secret(?:_|%5F)d1/, 'no token in a log');

for my $port ($mixed, $valgrind ? () : $regex) {
    my $name = $port == $mixed ? 'error_page' : 'a regex location';

    for my $row (@other) {
        my (undef, $path, $body) = @$row;

        # the location takes it, by its path
        next if $port == $regex && $path eq 'secret_d1/rpc';

        is(what(result(curl(args("http://127.0.0.1:$port/api/v1", $row)))),
           defined $body ? "200 [POST /api/v1/$path " . length($body) . ']'
                         : "200 [GET /api/v1/$path ]",
           "$name: $row->[0] goes to another server");
    }

    my $poll = open_poll("http://127.0.0.1:$port/api/v1/secret_d1/rpc"
                         . '?timeout=20000');
    my $caller = $nginx->open('d1', 'm', '1');
    my $id = brought($poll, $name, '1');

    is(what(result(curl('-d', '7', "http://127.0.0.1:$port/api/v1/secret_d1"
                                   . "/rpc/$id"))), '200 []', 'its answer');
    is($caller->answer()->{body}, '7', 'the caller has it');
}

$nginx->stop('QUIT', 10);
$nginx->clean();

done_testing();
