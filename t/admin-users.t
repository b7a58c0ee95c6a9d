#!/usr/bin/perl

# tb-rpc-admin user: users of tb_rpc_login, from adding to deleting; nginx lets
# in whom it has made.
#
# runs: side by side, 12 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IPC::Open2 qw(open2);
use JSON::PP ();
use Test::More;

use TB::Env qw(file_in scratch);
use TB::Fixture;
use TB::Login;
use TB::Mqtt qw(output);
use TB::Nginx;

my $TENANT = $TB::Mqtt::TENANT;
my $CUSTOMER = 'c0000000-0000-11ee-8000-00000000000a';
my $redis = redis();
my $password = file_in('redis-password',
                       "$TB::RedisServer::PASSWORD{operator}\n");
my @admin = (TB::Mqtt::admin(), '--redis',
             "redis://127.0.0.1:$redis->{port}", '--redis-user', 'operator',
             '--redis-password-file', $password);
my $secret = file_in('secret', "correct horse\nnot this\n");
my @cheap = ('--scrypt', 'ln=10,r=8,p=1');
my ($status, $text);

sub admin { return (($status, $text) = output(@admin, @_))[0] }
sub record { return { @{ $redis->call('HGETALL', "tb:user:$_[0]") } } }

sub json {
    admin('--json', @_);
    return map { JSON::PP::decode_json($_) } split /\n/, $text;
}

my $nginx = TB::Nginx->start(
    http => 'tb_rpc_login_scrypt ln=10 r=8 p=1;'
            . ' tb_rpc_login_failures user=2 time=1h delay=0;',
    config => 'location /api/auth/ { tb_rpc_login; }');
my $http = TB::Login->new($nginx);


# adding

is(admin(qw(user add Ann@Example.com --tenant), $TENANT, '--password-file',
         $secret, '--first-name', 'Ann', @cheap), 0, 'user add');
is($text, "user ann\@example.com added\n", 'says so');

my $ann = record('ann@example.com');

like($ann->{hash}, qr{^\$scrypt\$ln=10,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}\z},
     'a hash');
is_deeply([@$ann{qw(name tenantId authority enabled firstName)}],
          ['Ann@Example.com', $TENANT, 'TENANT_ADMIN', 1, 'Ann'], 'the user');
is($http->login('ann@example.com', 'correct horse')->{status}, 200,
   'nginx lets in');
is(admin(qw(user add ANN@example.com --tenant), $TENANT, '--password-file',
         $secret, @cheap), 1, 'once');
like($text, qr/there is a user "ann\@example.com" already/, 'in words');
is_deeply(record('ann@example.com'), $ann, 'nothing has changed');

my ($made) = json(qw(user add cust --tenant), $TENANT, '--customer', $CUSTOMER,
                  '--password-file', $secret, @cheap, '--disabled');

is_deeply([@$made{qw(name authority customerId done)}],
          ['cust', 'CUSTOMER_USER', $CUSTOMER, 'added'], '--json');
is($http->login('cust', 'correct horse')->{status}, 401, '--disabled');
is(admin(qw(user add --public --tenant), $TENANT, '--customer', $CUSTOMER), 0,
   'a public customer');
is($http->ask('POST', 'login/public', { publicId => $CUSTOMER })->{status},
   200, 'nginx lets in');
is(admin(qw(user add root --authority SYS_ADMIN --password-file), $secret,
         @cheap), 0, 'a SYS_ADMIN has no tenant');
is(claims($http->login('root', 'correct horse')->{token})->{scopes}[0],
   'SYS_ADMIN', 'and is one');

# the other default of scrypt is nginx's

admin(qw(user add dear --tenant), $TENANT, '--password-file', $secret);
like(record('dear')->{hash}, qr/^\$scrypt\$ln=14,r=8,p=5\$/,
     'without --scrypt');
is($http->login('dear', 'correct horse')->{status}, 200, 'nginx lets in');

for ([2, qr/--tenant is missing/, 'x'],
     [2, qr/whom\?/, '--tenant', $TENANT],
     [2, qr/no braces/, 'a{b}', '--tenant', $TENANT],
     [2, qr/control characters/, "a\tb", '--tenant', $TENANT],
     [2, qr/1 to 255/, 'x' x 256, '--tenant', $TENANT],
     [2, qr/needs --customer/, 'x', '--tenant', $TENANT, '--authority',
      'CUSTOMER_USER'],
     [2, qr/--public --tenant UUID --customer UUID/, '--public', '--tenant',
      $TENANT],
     [2, qr/--scrypt must be/, 'x', '--tenant', $TENANT, '--scrypt',
      'ln=20,r=8,p=1', '--password-file', $secret],
     [2, qr/no terminal .*--password-file/, 'x', '--tenant', $TENANT],
     [1, qr/8 to 512 bytes/, 'x', '--tenant', $TENANT, '--password-file',
      file_in('short', "short\n")],
     [1, qr/none of them is zero/, 'x', '--tenant', $TENANT,
      '--password-file', file_in('zero', "correct\0horse\n")],
     [1, qr/No such file/, 'x', '--tenant', $TENANT, '--password-file',
      '/nowhere'])
{
    my ($code, $pattern, @more) = @$_;

    ($status, $text) = output('bash', '-c', '"$@" < /dev/null', 'bash', @admin,
                              qw(user add), @more);
    is($status, $code, "user add @{[ substr \"@more\", 0, 40 ]}");
    like($text, $pattern, 'in words');
}

is($redis->call('EXISTS', 'tb:user:x'), 0, 'none of these');
is($redis->call('ZSCORE', 'tb:users', 'x'), undef, 'nor listed');

# passwords: from a terminal, without echo, and from the standard input

sub typed {
    my ($lines, @command) = @_;

    my $pid = open2(my $out, my $in, '/usr/bin/python3', '-c', <<'_EOC_',
import os, pty, sys
lines = sys.argv[1].split('/')
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b''
try:
    while True:
        data = os.read(fd, 1024)
        seen += data
        if data.rstrip().endswith(b':') and lines:
            os.write(fd, lines.pop(0).encode() + b'\n')
except OSError:
    pass
sys.stdout.write(seen.decode())
sys.exit(os.WEXITSTATUS(os.waitpid(pid, 0)[1]))
_EOC_
                    $lines, @command);

    close $in;
    local $/;
    my $seen = <$out>;
    waitpid $pid, 0;

    return ($? >> 8, $seen =~ s/\r//gr);
}

($status, $text) = typed('battery staple/battery staple', @admin,
                         qw(user passwd ann@example.com), @cheap);
is($status, 0, 'user passwd asks for it');
like($text, qr/^Password of ann\@example.com: \nOnce more: \nuser ann/,
     'twice, and shows nothing');
is($http->login('ann@example.com', 'battery staple')->{status}, 200,
   'nginx lets in');
($status, $text) = typed('battery staple/battery stable', @admin,
                         qw(user passwd ann@example.com), @cheap);
is($status, 1, 'two that differ');
like($text, qr/these are two passwords/, 'are refused');
($status, $text) = output('bash', '-c',
    "printf 'p\\303\\244ssword\\n' | \"\$@\"", 'bash', @admin,
    qw(user passwd ann@example.com --password-file -), @cheap);
is($status, 0, 'from the standard input');

my $r = $http->login('ann@example.com', "p\x{e4}ssword");

is($r->{status}, 200, 'in UTF-8, as nginx has it');
is($http->login('ann@example.com', 'battery staple')->{status}, 401,
   'not by the old one');
admin(qw(user passwd ann@example.com --password-file), $secret, @cheap);
is($http->refresh($r->{refreshToken})->{status}, 401, 'its sessions are over');
is(admin(qw(user passwd nobody --password-file), $secret), 1,
   'of an unknown user');
is(admin(qw(user passwd), $CUSTOMER, '--password-file', $secret), 1,
   'of a public customer');
like($text, qr/has no password/, 'in words');

# looking

my ($shown) = json(qw(user show ANN@EXAMPLE.COM));

is_deeply([@$shown{qw(name state scrypt public failures)}],
          ['Ann@Example.com', 'enabled', 'ln=10,r=8,p=1',
           JSON::PP::false, 0], 'user show');
unlike($text, qr/\$scrypt/, 'without the hash');
is_deeply([map { "$_->{name} $_->{state}" } json(qw(user list))],
          ['Ann@Example.com enabled', "$CUSTOMER enabled", 'cust disabled',
           'dear enabled', 'root enabled'], 'user list');
is(scalar(json(qw(user list --tenant), $TENANT)), 4, 'of a tenant');
admin(qw(user list));
like($text, qr/^NAME +STATE +AUTHORITY +TENANT +CUSTOMER\nAnn/,
     'for people');

# more than are read at once

{
    my @many = map { sprintf 'many%04d', $_ } 1 .. 1025;

    $redis->call('ZADD', 'tb:users', map { (0, $_) } @many);
    is_deeply([grep { /^many/ } map { $_->{name} } json(qw(user list))], \@many,
              'each of many is there once');
    $redis->call('ZREM', 'tb:users', @many);
}

# locks

$http->login('ann@example.com', 'wrong') for 1, 2;
is(($r = $http->login('ann@example.com', 'correct horse'))->{status}, 401,
   'locked');
cmp_ok($r->{headers}{'retry-after'}, '>', 3000, 'for an hour');
($shown) = json(qw(user show ann@example.com));
is_deeply([@$shown{qw(state failures)}], ['locked', 2], 'user show');
cmp_ok($shown->{lockedUntil} / 1000, '>', time() + 3000, 'until when');
is(admin(qw(user enable ann@example.com)), 0, 'user enable');
is(($r = $http->login('ann@example.com', 'correct horse'))->{status}, 200,
   'ends a lock');

# sessions

my $two = $http->login('ann@example.com', 'correct horse');
my @sessions = json(qw(user sessions ann@example.com));

is_deeply([map { $_->{id} } @sessions],
          [map { claims($_->{token})->{sessionId} } $r, $two],
          'user sessions');
cmp_ok(abs($sessions[0]{expirationTime} / 1000 - time() - 604800), '<', 100,
       'until when');
unlike($text, qr/[0-9a-f]{64}/, 'without their hashes');
is(admin(qw(user sessions ann@example.com --end), $sessions[0]{id}), 0,
   '--end ID');
is($http->refresh($r->{refreshToken})->{status}, 401, 'it is over');
is(admin(qw(user sessions ann@example.com --end), $sessions[0]{id}), 1,
   'once');
is(($two = $http->refresh($two->{refreshToken}))->{status}, 200,
   'the other one goes on');
is(admin(qw(user sessions ann@example.com --end all)), 0, '--end all');
is($text, "1 session of user ann\@example.com ended\n", 'says so');
is($http->refresh($two->{refreshToken})->{status}, 401, 'it is over');
is(admin(qw(user sessions ann@example.com --end x)), 2, '--end x');
is(admin(qw(user sessions nobody)), 1, 'of an unknown user');

# disabling, deleting

$r = $http->login('ann@example.com', 'correct horse');
is(admin(qw(user disable ann@example.com)), 0, 'user disable');
is($http->refresh($r->{refreshToken})->{status}, 401, 'no refresh');
is($http->login('ann@example.com', 'correct horse')->{status}, 401,
   'no login');
is((json(qw(user show ann@example.com)))[0]{state}, 'disabled', 'user show');
admin(qw(user enable ann@example.com));
is($http->login('ann@example.com', 'correct horse')->{status}, 200,
   'user enable');
is(admin(qw(user del ann@example.com)), 0, 'user del');
is($http->login('ann@example.com', 'correct horse')->{status}, 401, 'gone');
is(scalar(grep { /^\{?tb:user:ann/ && !/tries$/ }
          @{ $redis->call('KEYS', '*') }), 0, 'nothing is left');

for my $word (qw(del show enable disable)) {
    is(admin('user', $word, 'ann@example.com'), 1, "$word: no such user");
    like($text, qr/there is no user "ann\@example.com"/, 'in words');
}

# ended in the middle: listed before he can log in

$redis->call('ACL', 'SETUSER', 'operator', '-hset');
is(admin(qw(user add mid --tenant), $TENANT, '--password-file', $secret,
         @cheap), 1, 'without the right to write users');
$redis->call('ACL', 'SETUSER', 'operator', '+hset');
is($redis->call('EXISTS', 'tb:user:mid'), 0, 'he is not there');
is((grep { $_->{name} eq 'mid' } json(qw(user list)))[0]{state}, 'missing',
   'but in the list');
user('unlisted', ln => 10);
admin(qw(check --lists));
like($text, qr/failed +lists .*user "mid" is listed and not there/,
     'check --lists');
like($text, qr/user "unlisted" is not listed/, 'finds both');
is(admin(qw(check --repair)), 0, 'check --repair');
is_deeply([map { $_->{name} } json(qw(user list))],
          [$CUSTOMER, 'cust', 'dear', 'root', 'unlisted'], 'mends it');

# what users of Redis may

for my $role (qw(nginx bridge)) {
    $redis->call('ACL', 'SETUSER', 'operator', '+acl|dryrun');
    my ($row) = grep { $_->{check} eq 'rights' }
                json('check', "--$role-user", $role, map {
                    ("--$_-user", 'nobody')
                } grep { $_ ne $role } qw(nginx bridge admin));
    my @rows = grep { $_->{check} eq 'rights' && $_->{text} =~ /^$role / }
               map { JSON::PP::decode_json($_) } split /\n/, $text;

    is("@{[ map { $_->{state} } @rows ]}", 'ok', "rights of $role")
        or diag $text;
}

$nginx->clean();
$nginx->stop();

done_testing();
