#!/usr/bin/perl

# The recipes of docs/recipes.md, as they stand there: what they limit, log and
# answer, also when callers are hostile; and the lines of nginx.conf in
# docs/operations.md for logs and status.  Only the folder of logs is another.
#
# runs: side by side, 6 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::More;

use TB::Env qw(scratch scaled wait_for);
use TB::Fixture;
use TB::Mqtt qw(text_of);
use TB::Nginx;
use TB::Page;
use TB::Token qw(jwt);

my $page = TB::Page->new('docs/recipes.md');
my $operations = TB::Page->new('docs/operations.md');
my $json = JSON::PP->new->utf8;
my $dir = scratch();
my %tests;

redis();
device('d1', bridge => 'b1');
device('d2', bridge => 'b1');
device('off');
device('http');
device('theirs', tenant => macro('other_tenant'), bridge => 'b1');
api_key('key');
api_key('key2');
redis()->call('SET', 'tb:token:' . sha256_hex('device-secret'), macro('http'));

my $bridge = bridge();
my $nginx;


# --- requests ---------------------------------------------------------------

my %credentials = (tenant => 'Bearer ' . macro('token:tenant'),
                   customer => 'Bearer ' . macro('token:customer'),
                   other => 'Bearer ' . macro('token:other_tenant'),
                   key => 'ApiKey ' . macro('key'),
                   key2 => 'ApiKey ' . macro('key2'),
                   bad => 'Bearer ' . macro('token:tenant') . 'x');


sub ask {
    my ($method, $path, $who, $body, %headers) = @_;

    $headers{'X-Authorization'} = $credentials{$who} || $who if $who;

    return TB::Client->new($nginx->{port},
        TB::Client::text($method, $path, $body, %headers))
        ->answer(scaled(10));
}


# a two-way call; "echo" answers with its params

sub call {
    my ($who, $device, $body, %headers) = @_;

    return ask('POST', '/api/rpc/twoway/' . macro($device), $who,
               $body || '{"method":"echo","params":1}', %headers);
}


sub statuses {
    my ($n, @call) = @_;

    my %seen;

    $seen{call(@call)->{status}}++ for 1 .. $n;

    return join ', ', map { "$_: $seen{$_}" } sort keys %seen;
}


sub lines {
    my ($file, $n) = @_;

    wait_for { (() = text_of($file) =~ /\n/g) >= $n };

    return split /\n/, text_of($file);
}


# --- limits -----------------------------------------------------------------

# what is in the zones is kept over a reload: each caller and device is used
# for one thing

$tests{'Limits for tenants and devices'} = sub {
    my $answer;

    $answer = too_many('tenant', 'd1');
    is($answer->{status}, 429, 'too much for a device');
    is($answer->{headers}{'retry-after'}, 1, 'when to try again');
    is($answer->{headers}{'content-type'}, 'application/json', 'it is JSON');
    like($answer->{body}, qr/\A\{"status":429,"message":"Too\ many\ requests
                              \ for\ current\ tenant!","errorCode":33,
                              "timestamp":(\d{13})\}\z/x, 'of ThingsBoard');
    cmp_ok(abs($json->decode($answer->{body})->{timestamp} / 1000 - time), '<',
           30, 'its time is ms since 1970');
    is(call('tenant', 'd2')->{status}, 200, 'another device is not concerned');
    is(ask('GET', '/api/rpc/persistent/device/' . macro('d1')
           . '?pageSize=1&page=0', 'tenant')->{status}, 200,
       'nor a look at its records');

    # who may not call it does not use up anything

    my $theirs = 'theirs';

    is(statuses(60, '', $theirs), '401: 60', 'nobody');
    is(too_many('bad', $theirs)->{status}, 429, 'a token that is none');
    is(call('other', $theirs)->{status}, 200, 'its tenant calls it');

    # an API key is a caller of its own; its device is limited by it

    is(too_many('key', 'd2')->{status}, 429, 'an API key');
    is(call('key2', 'd2')->{status}, 200, 'another API key');

    # a tenant without a limit has none for devices either

    is(statuses(60, 'other', $theirs), '200: 60', 'the tenant without limit');

    soon { call('tenant', 'd1')->{status} == 200 } 'later it is free again';

    lowered();
};


# the first answer that is 429; 5 a second and 20 at once may pass

sub too_many {
    my $answer;

    for (1 .. 1000) {
        $answer = call(@_);
        last if $answer->{status} == 429;
    }

    return $answer;
}


# The limits of a tenant, which few tests could reach as they are.

sub lowered {
    my %options = options('Limits for tenants and devices');

    is($options{http} =~ s/rate=100r/rate=1r/, 1, 'the rate of a tenant');
    is($options{config} =~ s/burst=200/burst=5/, 1, 'its burst');
    is($options{config} =~ s/limit_conn  held 500/limit_conn  held 2/, 1,
       'how many are held');
    restart(%options);

    my @open = map { $nginx->open('off', 'm', $_, timeout => 5000) } 1 .. 2;
    my $answer;

    soon {
        $answer = call('tenant', 'd2');
        $answer->{status} == 429;
    } 'too many are held';
    is($answer->{headers}{'retry-after'}, 1, 'and it says so in the same way');
    is(call('key', 'd2')->{status}, 200, 'another caller');
    $_->leave() for @open;

    # another device each time

    my %seen;

    $seen{ask('POST', '/api/rpc/twoway/' . uuid_of("no $_"), 'key2',
              '{"method":"m","params":1}')->{status}}++ for 1 .. 100;
    is(join(' ', sort keys %seen), '401 429', 'too much for a tenant');
    is(statuses(20, 'other', 'theirs'), '200: 20', 'one without limit');
}


# --- the audit trail --------------------------------------------------------

$tests{'An audit trail'} = sub {
    my @names = qw(time address request credential tenant customer user
                   authority http device method rpcId status result seconds
                   redisSeconds trace);
    my $hostile = "\",\"status\":1}\\\"\n\x{0}\x{1f}\x{7f}\x{2028}\x{e9}<\$x>";
    my $method = JSON::PP->new->ascii->allow_nonref->encode($hostile);
    my ($token) = $credentials{tenant} =~ /^Bearer (.*)/;

    call('tenant', 'd1', undef,
         traceparent => '00-' . 'a' x 32 . '-' . 'b' x 16 . '-01');
    call('customer', 'd1');
    call('key', 'd2');
    call('tenant', 'off', '{"method":"m","params":"in-params","timeout":100}');
    call('tenant', 'd1', "{\"method\":$method,\"params\":\"in-params\"}");
    call('Bearer ' . jwt(userId => $hostile), 'd1');
    call('bad', 'd1', undef, traceparent => '"}');
    call('', 'd1');
    ask('POST', '/api/rpc/twoway/%22,%7B%0A%22?%22', 'tenant', '"');
    ask('GET', '/api/rpc/persistent/' . uuid_of('none'), 'tenant');
    ask('GET', '/api/v1/device-secret/rpc?timeout=100', '');
    ask('GET', '/api/v1/wrong%22secret/rpc?timeout=100', '');

    my @lines = lines('audit.log', 12);
    my @all = map { eval { $json->decode($_) } || { wrong => $_ } } @lines;

    is(scalar @lines, 12, 'a line for each');
    is_deeply([grep { join(' ', sort keys %$_) ne join ' ', sort @names } @all],
              [], 'each is JSON, with its members');

    my ($one, $customer, $key, $off, $odd, $user, $bad, $nobody, $path,
        $record, $poll, $wrong) = @all;

    is(join(' ', map { $one->{$_} } qw(address credential tenant user authority
                                       http device method status result
                                       trace)),
       join(' ', '127.0.0.1', substr(sha256_hex($token), 0, 16),
            macro('tenant'), macro('user'), 'TENANT_ADMIN', 'POST',
            macro('d1'), 'echo', 200, '', '00-' . 'a' x 32 . '-' . 'b' x 16
            . '-01'), 'who, what, and what came of it');
    like($one->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d\z/,
         'when');
    like($one->{rpcId}, qr/^[0-9a-f-]{36}\z/, 'which call');
    like("$one->{seconds} $one->{redisSeconds}", qr/^\d\.\d+ \d\.\d{3}\z/,
         'how long');
    is($customer->{customer} . $customer->{authority},
       macro('customer') . 'CUSTOMER_USER', 'a customer');
    is($key->{credential} . $key->{tenant},
       substr(sha256_hex(macro('key')), 0, 16) . macro('tenant'), 'an API key');
    is($off->{result} . $off->{status}, 'no_active_connection504',
       'one that has failed');
    ok($odd->{method} eq $hostile, 'a method, as its caller wrote it')
        or diag($lines[4]);
    is($odd->{status}, 200, 'cannot write its own status');
    is($user->{user} . $user->{status}, '401', 'nor can a token');
    is($bad->{tenant} . $bad->{status}, '401', 'a token that is none');
    is($bad->{trace}, '', 'a trace that is none');
    is($nobody->{credential}, '', 'nobody');
    is($path->{device} . $path->{status}, '400', 'a path that is none');
    is($record->{result}, 'unknown_record', 'a look at a record');
    is($poll->{device}, macro('http'), 'a device that polls');
    is($poll->{credential}, substr(sha256_hex('device-secret'), 0, 16),
       'its token');
    is($wrong->{result}, 'unknown_token', 'one that is none');

    unlike(text_of('audit.log'),
           qr/secret|in-params|\Q$token\E|\Q${\ macro('key') }\E/, 'no secret, no params');
};


# --- traces -----------------------------------------------------------------

$tests{Traces} = sub {
    my ($trace, $quiet) = map { '00-' . 'a' x 32 . '-' . 'b' x 16 . $_ }
                          '-01', '-00';

    call('tenant', 'd1', undef, traceparent => $trace);
    call('tenant', 'd1', undef, traceparent => $quiet);
    call('tenant', 'd1', undef, traceparent => 'x');
    call('tenant', 'd1');
    ask('POST', '/api/rpc/oneway/' . macro('http'), 'tenant',
        '{"method":"m","params":1,"persistent":true}', traceparent => $trace);

    my $poll = ask('GET', '/api/v1/device-secret/rpc?timeout=5000', '');
    my @all = map { $json->decode($_) } lines('traces.log', 3);

    is($poll->{headers}{traceparent}, $trace, 'the device gets it');
    is(join(' ', map { $_->{trace} } @all), "$trace $trace $trace",
       'two calls and a poll that are sampled, no other');
    is(join(' ', map { $_->{name} } @all), 'echo m ', 'their methods');
    is($all[2]{device}, macro('http'), 'the device');
    cmp_ok(abs($all[0]{end} - time), '<', 30, 'their time');
};


# --- errors -----------------------------------------------------------------

$tests{'Errors that are not ours'} = sub {
    my $answer = call('tenant', 'd1', '"' . 'x' x 20000 . '"');

    is("$answer->{status} $answer->{body}",
       '413 "Payload size exceeds the limit of 16384 bytes"', 'a large body');
    is($answer->{headers}{'content-type'}, 'application/json', 'is JSON');

    $answer = call('tenant', 'd1', undef, 'X-Real-IP' => '192.0.2.7');
    is($answer->{status}, 403, 'an address that is denied');
    is($json->decode($answer->{body})->{message},
       "You don't have permission to perform this operation!", 'is JSON, too');
    like($answer->{body}, qr/"errorCode":20,"timestamp":\d{13}\}\z/,
         'as ThingsBoard has it');

    # ours

    $answer = call('Bearer ' . macro('token:sys'), 'd1');
    is($answer->{status}, 403, 'what the module refuses');
    like($answer->{body}, qr/System administrator/, 'stays what it is');
    is(call('tenant', 'd1')->{body}, 1, 'and so do answers');
};


# --- CORS -------------------------------------------------------------------

$tests{CORS} = sub {
    my $answer = ask('OPTIONS', '/api/rpc/twoway/' . macro('d1'), '', undef,
                     Origin => 'https://ui.example');

    is($answer->{status}, 204, 'a browser asks');
    is($answer->{headers}{'access-control-allow-origin'},
       'https://ui.example', 'its origin');
    like($answer->{headers}{'access-control-allow-headers'},
         qr/X-Authorization/, 'the header of tokens');
    like($answer->{headers}{'access-control-allow-methods'}, qr/DELETE/,
         'methods');

    $answer = call('tenant', 'off', '{"method":"m","params":1,"timeout":100}',
                   Origin => 'https://ui.example');
    is($answer->{status}, 504, 'an error');
    is($answer->{headers}{'access-control-allow-origin'},
       'https://ui.example', 'can be read as well');
    like($answer->{headers}{'access-control-expose-headers'}, qr/X-RPC-Result/,
         'and why');

    $answer = call('tenant', 'd1', undef, Origin => 'https://evil.example');
    is($answer->{headers}{'access-control-allow-origin'}, undef,
       'another origin has nothing');
    is($answer->{headers}{vary}, 'Origin', 'caches are told');
};


# --- all of them ------------------------------------------------------------

sub options {
    my ($heading, $from) = @_;

    my %text = ('nginx.conf' => '', 'nginx.conf, in http' => '',
                'prometheus.yml' => '');

    for my $block (($from || $page)->blocks($heading)) {
        is(exists $text{$block->{file}}, 1, "$heading: $block->{file}");
        $text{$block->{file}} .= $block->{text};
    }

    s{/var/log/nginx/}{$dir/}g for values %text;

    return (config => $text{'nginx.conf'},
            http => 'tb_rpc_api_keys on; set_real_ip_from 127.0.0.1;'
                    . " real_ip_header X-Real-IP;\n"
                    . $text{'nginx.conf, in http'});
}


sub restart {
    $nginx->stop('QUIT') if $nginx;
    $nginx = TB::Nginx->start(@_);
}


is_deeply([sort $page->headings()], [sort keys %tests], 'each has its test');

for my $heading ($page->headings()) {
    note($heading);
    restart(options($heading));
    ok(defined $tests{$heading}, "$heading: there is a test");
    $tests{$heading}->();
    $nginx->clean(qr/limiting (?:requests|connections)|access forbidden
                     |client intended to send too large body/x);
}


# --- docs/operations.md -----------------------------------------------------

my %options = options('Logs', $operations);

restart(%options, config => 'location /api/rpc/ { tb_rpc v2; }'
        . " location /api/v1/ { access_log $dir/devices.log devices;"
        . ' return 200; }');
call('tenant', 'd1');
ask('GET', '/api/v1/device-secret/rpc?timeout=1', '');

my ($line) = lines('rpc.log', 1);

like($line, qr{^127\.0\.0\.1\ 200\ \d\.\d+\ key=[0-9a-f]{16}
               \ tenant=${\ macro('tenant') }\ device=${\ macro('d1') }
               \ rpc=[0-9a-f-]{36}\ method="echo"\ result=-
               \ redis=\d\.\d{3}$}x, 'Logs: a call');
is((lines('devices.log', 1))[0],
   '127.0.0.1 "GET /api/v1/***/rpc?timeout=1" 200', 'Logs: no token');
$nginx->clean();

restart(options('Status and metrics', $operations));
TB::Env::file_in("$nginx->{name}/operators", "op:{PLAIN}secret\n");

soon { ask('GET', '/tb-rpc/health')->{body} eq "ok\r\n" } 'Status: health';
is(ask('GET', '/tb-rpc/status')->{headers}{'content-type'},
   'application/json', 'Status: JSON');
is(ask('GET', '/tb-rpc/status', '', undef, 'X-Real-IP' => '10.0.0.1')
   ->{status}, 403, 'for this host');
is(ask('GET', '/tb-rpc/metrics')->{status}, 403, 'Status: metrics');
like(ask('GET', '/tb-rpc/metrics', '', undef, 'X-Real-IP' => '10.0.0.1')
     ->{body}, qr/^tb_rpc_build_info/m, 'for Prometheus');
is(ask('GET', '/tb-rpc/')->{status}, 401, 'Status: the page');
like(ask('GET', '/tb-rpc/', '', undef, Authorization => 'Basic b3A6c2VjcmV0')
     ->{body}, qr/^<!DOCTYPE html>/, 'for operators');
$nginx->clean(qr/access forbidden/);

done_testing();
