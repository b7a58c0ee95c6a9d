# A device that is not provisioned, one of another tenant and one behind a
# wrong prefix: the caller can't tell them apart, the operator can.
#
# runs: side by side, 3 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::Env qw(free_port);
use TB::Fixture;
use TB::Nginx;

my $openapi = free_port();
my $thingsboard = free_port();

device('mine', customer => macro('customer'));
device('tenants');
device('foreign', tenant => macro('other_tenant'));
device('theirs', customer => macro('other_customer'));
set_macro(missing => uuid_of('missing'));

my $nginx = TB::Nginx->start(
    http => <<"_EOC_",
    log_format  why  '\$request_uri <\$tb_rpc_result>';
    access_log  why.log  why;

    server {
        listen  127.0.0.1:$openapi;

        location /api/rpc/ { tb_rpc  v2; }
        location /api/v1/ { tb_rpc_device_api  100ms; }
    }

    server {
        listen  127.0.0.1:$thingsboard;

        location /api/rpc/ {
            tb_rpc          v2;
            tb_rpc_profile  thingsboard;
        }
    }
_EOC_
);

# whose ACL does not notice it, as without one

redis()->call('ACL', 'SETUSER', 'nginx', '~other:*', '&other:*');

my $elsewhere = TB::Nginx->start(redis => 'prefix  other:;',
    http => 'log_format why "$request_uri <$tb_rpc_result>";'
            . ' access_log why.log why;');

my %bearer = map { $_ => 'Bearer ' . macro("token:$_") } qw(tenant customer);
my $n = 0;


# the answer without what is the time's or the request's, and how it is logged

sub ask {
    my ($server, $port, $who, $method, $path, $body) = @_;

    my $tag = 'n=' . ++$n;

    $path = expand($path) . ($path =~ /\?/ ? "&$tag" : "?$tag");

    my $r = TB::Client->new($port, TB::Client::text($method, $path, $body,
                $who ? ('X-Authorization' => $bearer{$who}) : ()))->answer();
    my %headers = %{ $r->{headers} };

    delete $headers{date};
    $r->{body} =~ s/"timestamp":\d+/"timestamp":0/;

    my $text = join "\n", $r->{status}, $r->{body},
                    map { "$_: $headers{$_}" } sort keys %headers;
    my $why;

    TB::Env::wait_for {
        ($why) = $server->file_text('why.log')
                 =~ m{\Q$tag\E <([^>]*)>}
    };

    return ($r->{status}, $text, $why);
}


# to calls and lists: device, who, result, log; the answer is one and the same

my @devices = (
    ['missing', 'tenant', 'unknown_device',
     'device %{missing} is not known: Redis has no key'
     . ' "%{key:missing}", see "tb-rpc-admin device add" and the "prefix" of'
     . ' tb_rpc_redis'],
    ['foreign', 'tenant', 'foreign_device',
     'device %{foreign} is not of the caller\'s tenant %{tenant}'],
    ['missing', 'customer', 'unknown_device', 'device %{missing} is not known'],
    ['foreign', 'customer', 'foreign_device',
     'device %{foreign} is not of the caller\'s tenant'],
    ['theirs', 'customer', 'foreign_customer',
     'device %{theirs} is not of the caller\'s customer "%{customer}"'],
    ['tenants', 'customer', 'foreign_customer',
     'device %{tenants} is not of the caller\'s customer "%{customer}"'],
);

set_macro('key:missing' => redis()->device_key(macro('missing')));

my @operations = (
    ['POST', 'oneway/%{device}', '{"method":"m","params":1}'],
    ['POST', 'twoway/%{device}', '{"method":"m","params":1}'],
    ['POST', 'oneway/%{device}', '{"method":"m","params":1,"persistent":true}'],
    ['POST', 'twoway/%{device}', '{"method":"m","params":1,"persistent":true}'],
    ['GET', 'persistent/device/%{device}?pageSize=1&page=0'],
);

for my $operation (@operations) {
    my ($method, $path, $body) = @$operation;
    my $first;

    for (@devices) {
        my ($device, $who, $result, $log) = @$_;
        my $kind = $body && $body =~ /persistent/ ? ' p' : '';
        my $name = "$method $path$kind: $device, $who";
        my $before = length $nginx->error_log();

        set_macro(device => macro($device));

        my ($status, $text, $why) = ask($nginx, $openapi, $who, $method,
                                        "/api/rpc/$path", $body);

        is($status, 401, $name);
        $first = $text if !defined $first;
        is($text, $first, 'answered as the others');
        is($why, $result, 'which it was');

        my $added = substr $nginx->error_log(), $before;

        like($added, qr/\[info\] .*\Q@{[expand($log)]}\E/, 'is logged');
        unlike($added, qr/\[(?:warn|error|crit)\]/, 'as no error');

        ($status, $text, $why) = ask($nginx, $thingsboard, $who, $method,
                                     "/api/rpc/$path", $body);
        is($status, $result eq 'foreign_customer' ? 403 : 404,
           'thingsboard, as there');
        is($why, $result, 'which it was');
    }

    # the same device, where the operator has mistaken the prefix

    set_macro(device => macro('mine'));

    my ($status, $text, $why) = ask($elsewhere, $elsewhere->{port}, 'tenant',
                                    $method, "/api/rpc/$path", $body);

    is($text, $first, 'a wrong prefix: answered as the others');
    is($why, 'unknown_device', 'which it was');
}

my $key = redis()->device_key(macro('mine'));

$key =~ s/^tb:/other:/;
like($elsewhere->error_log(), qr/Redis has no key "\Q$key\E"/,
     'the key that was looked for');

# records

my $made = $nginx->call('mine', 'm', 1, persistent => 1);
my ($record) = $made->{body} =~ /"rpcId":"([^"]+)"/;

for (['GET', $record, 'tenant', 200, ''],
     ['GET', uuid_of('none'), 'tenant', 404, 'unknown_record'],
     ['DELETE', uuid_of('none'), 'tenant', 404, 'unknown_record'],
     ['GET', $record, 'other_tenant', 404, 'foreign_record'],
     ['DELETE', $record, 'other_tenant', 404, 'foreign_record'],
     ['GET', $record, 'other_customer', 404, 'foreign_customer'])
{
    my ($method, $id, $who, $expected, $result) = @$_;

    $bearer{$who} ||= 'Bearer ' . macro("token:$who");

    my ($status, $text, $why) = ask($nginx, $openapi, $who, $method,
                                    "/api/rpc/persistent/$id");

    is($status, $expected, "$method of a record, $who");
    is($why, $result || '-', 'which it was');
}

my $tenant = macro('other_tenant');

like($nginx->error_log(),
     qr/record $record is not of the caller's tenant $tenant/,
     'a foreign record is logged');

# devices

redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('missing'));
redis()->call('SET', 'tb:token:' . sha256_hex('T2'), macro('tenants'));

for (['T0', 401, 'unknown_token'], ['T1', 401, 'unknown_device'],
     ['T2', 408, '-'])
{
    my ($token, $expected, $result) = @$_;
    my ($status, $text, $why) = ask($nginx, $openapi, undef, 'GET',
                                    "/api/v1/$token/rpc");

    is($status, $expected, "a poll with $token");
    is($why, $result, 'which it was');
}

# nothing of it is told

my (undef, $text) = ask($nginx, $openapi, 'tenant', 'POST',
                        '/api/rpc/oneway/%{foreign}',
                        '{"method":"m","params":1}');

unlike($text, qr/foreign|result/i, 'no header tells it');

$nginx->clean();
$elsewhere->clean();

done_testing();
