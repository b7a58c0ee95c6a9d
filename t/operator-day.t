#!/usr/bin/perl

# A day of an operator, with tb-rpc-admin and nothing else: 100,000 devices come
# in, one is found by its name, what waits for it is seen, a call is sent and
# followed, a token whose text is lost is revoked, and the key of the JWTs is
# changed under load without a refused call.
#
# runs: alone, 35 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Client;
use TB::Env qw(scratch file_in scaled wait_for);
use TB::Fixture;
use TB::Mqtt qw(output spawn reap text_of child);
use TB::Nginx;

my $many = ($ENV{TB_MODE} || '') ? 10000 : 100000;
my $TENANT = $TB::Mqtt::TENANT;

redis();

my $password = file_in('password', "$TB::RedisServer::PASSWORD{operator}\n");
my $conf = file_in('admin.conf', join "\n",
                   'redis redis://127.0.0.1:' . redis()->{port},
                   'redis-user operator', "redis-password-file $password",
                   "tenant $TENANT", '');
my @admin = (TB::Mqtt::admin(), '--config', $conf);
my ($status, $text);

sub admin { return (($status, $text) = output(@admin, @_))[0] }
sub id { return sprintf 'de000000-0000-11ee-8000-%012x', $_[0] }

sub json {
    admin('--json', @_);
    return map { JSON::PP::decode_json($_) } grep { /^\{/ } split /\n/, $text;
}

# commands that Redis has run since, by name

sub commands {
    return { redis()->call('INFO', 'commandstats')
             =~ /^cmdstat_([\w|]+):calls=(\d+)/mg };
}


# --- in the morning: many devices -------------------------------------------

open my $csv, '>', scratch() . '/many.csv' or die "$!\n";
print $csv "id,name,token,bridge\n";
printf $csv "%s,meter %06d,token-%d,%s\n", id($_), $_, $_,
    $_ % 1000 ? '' : 'b1' for 1 .. $many;
close $csv;

my $start = time;
my $pid = spawn('import.log', @admin, 'import', scratch() . '/many.csv');
my ($code, $peak) = (undef, 0);

wait_for {
    if (open my $fh, '<', "/proc/$pid/status") {
        my ($kb) = join('', <$fh>) =~ /^VmHWM:\s+(\d+)/m;
        $peak = $kb if ($kb || 0) > $peak;
    }

    defined($code = waitpid($pid, POSIX::WNOHANG()) == $pid ? $? >> 8 : undef);
} 300;

my $took = time - $start;

is($code, 0, "$many devices") or diag(text_of('import.log'));
cmp_ok($took, '<', scaled(60), sprintf 'are imported in %.1f s', $took);
cmp_ok($peak, '<', 200_000, "with $peak KB");
like(text_of('import.log'), qr/^$many rows .*: $many new, /m, 'all are new');


# --- somebody asks about one of them ----------------------------------------

my $nginx = TB::Nginx->start(config => 'location /api/rpc/ { tb_rpc v2; }'
                             . ' location /api/v1/ { tb_rpc_device_api; }');
my $bridge = bridge();
my $before = commands();

$start = time;

my ($meter) = json('device', 'list', '--name', 'meter 001000');

$took = time - $start;
is($meter->{id}, id(1000), 'found by its name');
cmp_ok($took, '<', scaled(5), sprintf 'in %.2f s', $took);
is((json('device', 'show', 'meter 001000'))[0]{id}, id(1000),
   'and as an argument');
is(scalar(json('device', 'list', '--name', 'meter 0010*')), 100,
   'by the beginning of it');
is((commands()->{scan} || 0) - ($before->{scan} || 0), 0,
   'nobody looks at all keys for that');


# --- what waits for it, a call, and what becomes of it ----------------------

is(scalar(json('calls', 'meter 001001')), 0, 'nothing waits');
is(admin('call', 'meter 001001', 'reboot', '--persistent', '--timeout',
         '300'), 0, 'a call for a device that is away');
chomp(my $rpc = $text);
is((json('calls', 'meter 001001'))[0]{state}, 'waiting', 'waits');
is((json('record', 'show', $rpc))[0]{status}, 'QUEUED', 'its record');
admin('device', 'add', id(1001), '--bridge', 'b1');
ok(wait_for(sub { (json('record', 'show', $rpc))[0]{status} eq 'SUCCESSFUL' },
            20), 'the device has got it, and answered');
is(scalar(json('calls', 'meter 001001')), 0, 'nothing waits any more');
($status, $text) = output('bash', '-c', '"$@" 2> /dev/null', 'bash', @admin,
                          'call', 'meter 001000', 'read', '{"kWh":1.50}');
is($text, "{\"kWh\":1.50}\n", 'the answer of another one, at once');


# --- a device is stolen: its token is to go, and nobody has its text --------

sub poll {
    my ($token) = @_;

    return TB::Client->new($nginx->{port}, TB::Client::text(
        'GET', "/api/v1/$token/rpc?timeout=100"))->answer(10)->{status};
}

is(poll('token-4711'), 408, 'a device polls');
admin('token', 'list', 'meter 004711');
like($text, qr/^[0-9a-f]{64} .* yes /m, 'its token, by the SHA-256');
is(admin('token', 'del', '--device', 'meter 004711'), 0, 'is taken away');
ok(wait_for(sub { poll('token-4711') == 401 }, 20),
   'it is refused, once nginx has forgotten it');
is(poll('token-4712'), 408, 'others are not');
admin('token', 'add', 'meter 004711', '--label', 'after the theft');
chomp(my $token = $text);
is(poll($token), 408, 'a new one');


# --- the key of the JWTs has leaked: another one ----------------------------

my @keys = map { my $file = file_in("jwt$_.key", (output(@admin, 'keygen'))[1]);
                 chmod 0600, $file; $file } 0, 1;
my $current = scratch() . '/current.jwt';

sub use_keys {
    $nginx->configure(keys => join ' ', map { "tb_rpc_jwt_key $_;" } @_);
    $nginx->reload();
}

sub issue {
    my ($key) = @_;

    admin('jwt', '--key', $key);
    file_in('next.jwt', $text);
    rename scratch() . '/next.jwt', $current or die "$current: $!\n";
    chomp $text;
    return $text;
}

# three callers, who read the token anew for each call

sub call_on {
    my ($n) = @_;

    open my $out, '>>', scratch() . "/calls$n" or die "$!\n";
    $out->autoflush(1);

    until (-e scratch() . '/stop') {
        open my $fh, '<', $current or next;
        chomp(my $jwt = <$fh>);
        my $answer = TB::Client->new($nginx->{port}, TB::Client::text(
            'POST', '/api/rpc/twoway/' . id(1000),
            '{"method":"echo","params":{}}', 'X-Authorization' => "Bearer $jwt",
            Connection => 'close'))->answer(20);
        print $out "$answer->{status} " . substr($jwt, -8) . "\n";
    }
}

sub calls { return [ map { text_of("calls$_") =~ /^(\d+ \S+)$/mg } 1 .. 3 ] }

sub calls_with {
    my ($jwt) = @_;

    my $tail = substr $jwt, -8;

    return wait_for { 20 <= grep { /^200 \Q$tail\E$/ } @{ calls() } } 30;
}

use_keys($keys[0]);

my $old = issue($keys[0]);
my @callers = map { my $n = $_; child(sub { call_on($n) }) } 1 .. 3;

ok(calls_with($old), 'calls with the old key');
use_keys(@keys);

my $new = issue($keys[1]);

ok(calls_with($new), 'both are good: calls with the new key');
admin('jwt', 'verify', '--key', $keys[1], '--token-file', $current);
like($text, qr/^valid /, 'jwt verify says so');
use_keys($keys[1]);

my $n = @{ calls() };

ok(wait_for(sub { @{ calls() } > $n + 30 }, 30), 'the new one only');
file_in('stop', '');
reap($_, 0, 30) for @callers;

my @refused = grep { !/^200 / } @{ calls() };

is(scalar(@refused), 0, @{ calls() } . ' calls, of which none was refused')
    or diag("@refused[0 .. 3]");

is(TB::Client->new($nginx->{port}, TB::Client::text(
       'POST', '/api/rpc/oneway/' . id(1000), '{"method":"x","params":{}}',
       'X-Authorization' => "Bearer $old"))->answer()->{status}, 401,
   'the old key is good for nothing');
is(admin('jwt', 'verify', '--key', $keys[1], '--token-file',
         file_in('old.jwt', "$old\n")), 1, 'jwt verify says why');
like($text, qr/^refused +signature$/m, 'another key has signed it');


# --- in the evening ---------------------------------------------------------

is(admin('status'), 0, 'status: nothing to worry about') or diag($text);
is(admin('check', '--lists', '--key', $keys[1], '--url',
         "http://127.0.0.1:$nginx->{port}/api/rpc"), 0, 'check') or diag($text);
like($text, qr/^ok +nginx +a call through/m, 'a call through nginx');
like($text, qr/^ok +lists /m, 'and all lists');

done_testing();
