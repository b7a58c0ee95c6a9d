# What Redis says in an error is told in one line of the log, as text: no
# control character, no line of its own, no argument of a command.
#
# runs: side by side, 2 s
# not with --redis-tls, --redis-cluster: its Redis is a fake one

use strict;
use warnings;

use Test::More;

use TB::Client;
use TB::FakeRedis;
use TB::Fixture;
use TB::Nginx;

my $error = "-ERR first\x0b2026/01/01 [alert] second\x1b[31m\x00\x85, with args"
            . " beginning with: 'secret'\r\n";
my $device = uuid_of('device d1');
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if !@argv;

    my $what = @argv > 1 && lc $argv[0] eq 'fcall' ? $argv[1] : lc $argv[0];

    return $error if $what eq $mode;
    return $error =~ s/\x0b/\n/r if "$what, a line" eq $mode;
    return TB::FakeRedis::bulk($device) if $what eq 'get';

    return undef;
});
my $nginx = TB::Nginx->start(redis_port => $fake->{port},
    http => 'tb_rpc_api_keys on;'
            . ' tb_rpc_api_key_cache 0;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api 300ms; }');
my $token = macro('token:tenant');


sub ask {
    my ($method, $path, $body, %headers) = @_;

    return TB::Client->new($nginx->{port},
                           TB::Client::text($method, $path, $body,
                                            %headers))->answer()->{status};
}


my %jwt = ('X-Authorization' => "Bearer $token");
my $call = '{"method":"m","params":1}';

for (['get', 'a device\'s token', 'GET', '/api/v1/t0/rpc', undef],
     ['tb_rpc_poll', 'a poll', 'GET', '/api/v1/t0/rpc', undef],
     ['tb_rpc_respond', 'a device\'s answer', 'POST', '/api/v1/t0/rpc/7',
      '{}'],
     ['hmget', 'an API key', 'POST', "/api/rpc/oneway/$device", $call,
      'X-Authorization' => 'ApiKey tb_' . 'k' x 60],
     ['tb_rpc_create', 'a call', 'POST', "/api/rpc/oneway/$device", $call,
      %jwt],
     ['tb_rpc_list', 'a list', 'GET',
      "/api/rpc/persistent/device/$device?page=0&pageSize=1", undef, %jwt],
     ['tb_rpc_get', 'a record', 'GET',
      '/api/rpc/persistent/12345678-1234-11ee-8003-010203040506', undef,
      %jwt])
{
    my ($what, $name, @request) = @$_;
    my $before = length $nginx->error_log();

    # the handshake's HMGET is over
    soon { $nginx->wait_log(qr/subscription connection to \S+ is ready/) }
         "$name: ready";
    $fake->tell('mode', $what);
    like(ask(@request), qr/^50[03]$/, "$name: refused");

    my $log = substr $nginx->error_log(), $before;

    like($log, qr/"ERR first\.2026\/01\/01 \[alert\] second\.\[31m\.\."/,
         "$name: told as text");
    unlike($log, qr/[\x00-\x09\x0b-\x1f\x7f-\xff]/, "$name: no other byte");
    unlike($log, qr/secret/, "$name: no argument");
    $fake->tell('mode', '');
}

# hiredis before 1.1 lets a line feed through, later ones take it for the end
# of the connection

$fake->tell('mode', 'tb_rpc_get, a line');
like(ask('GET', '/api/rpc/persistent/12345678-1234-11ee-8003-010203040506',
         undef, %jwt), qr/^50[034]$/, 'a line feed: refused');
like($nginx->error_log(),
     qr/\ \[error\]\ [^\n]*(?:"ERR\ first\.2026\/01\/01\ \[alert\]\ second
                             |Bad\ simple\ string\ value)/x, 'and told');
unlike($nginx->error_log(), qr/^\S+ \[alert\] second/m, 'in one line');

done_testing();
