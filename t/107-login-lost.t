# tb_rpc_login where it is not known what Redis has done, or keeps: 504, and what
# asks only goes on.
#
# runs: side by side, 5 s
# not with --redis-cluster: its replicas are those of one server

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::Fixture;
use TB::Login;
use TB::Nginx;

my $UNKNOWN = '504 2 The connection to Redis was lost, it is not known whether'
              . ' that was done';

redis();
user('ann');

my $http_conf = 'tb_rpc_login_scrypt ln=10 r=8 p=1;'
                . ' tb_rpc_login_failures delay=0;';
my $location = 'location /api/auth/ { tb_rpc_login; }';

# there is no replica, so nothing that is written is kept for sure

my $sure = TB::Nginx->start(http => $http_conf, config => $location);
my $nginx = TB::Nginx->start(
    http => $http_conf, config => $location,
    redis => 'wait 1 ' . scaled(100) . 'ms; command_timeout ' . scaled(4000)
             . 'ms;');
my $http = TB::Login->new($nginx);
my $first = TB::Login->new($sure)->login('ann', 'a password');

is($first->{status}, 200, 'a session');

my $r = $http->login('ann', 'a password');

login_is($r, $UNKNOWN, 'login');
is($r->{headers}{'x-rpc-result'}, 'UNKNOWN', 'X-RPC-Result');
login_is($http->login('ann', 'wrong'), '401 10 Invalid username or password',
         'a wrong password');
is($http->ask('GET', 'user', undef, $first->{token})->{status}, 200, 'user');
login_is($http->refresh($first->{refreshToken}), $UNKNOWN, 'token');
login_is($http->ask('POST', 'logout', undef, $first->{token}), $UNKNOWN,
         'logout');
login_is($http->ask('POST', 'changePassword',
                    { currentPassword => 'a password',
                      newPassword => 'b password' }, $first->{token}),
         $UNKNOWN, 'changePassword');
is(TB::Login->new($sure)->login('ann', 'b password')->{status}, 200,
   'which was done');

$nginx->clean(qr/of the 1 replicas of/);
$nginx->stop();
$sure->clean();
$sure->stop();

done_testing();
