# tb_rpc_login while somebody goes away: the client at each moment, the worker by
# a reload, Redis, which is not there, hangs or comes back.
#
# runs: side by side, 20 s

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled);
use TB::Fixture;
use TB::Login;
use TB::Nginx;

my $PAIR = '200 \{"token".*';
my $WRONG = '401 10 Invalid username or password';
my $AWAY = '503 2 Redis is not available, nothing was done';
my $redis = redis();

user('ann');

# what takes half a second or so

my $ln = $ENV{TB_MODE} ? 14 : 16;

user('slow', ln => $ln, p => 2);

my %conf = (
    http => <<'_EOC_',
    tb_rpc_login_scrypt   ln=10 r=8 p=1;
    tb_rpc_login_threads  2 waiting=100 nice=0;
    tb_rpc_login_failures user=10000 address=100000 delay=0;
_EOC_
    redis => 'command_timeout 1s; connect_timeout 1s;',
    config => <<"_EOC_");
    location /api/auth/ { tb_rpc_login; }
    location /slow/     { tb_rpc_login; tb_rpc_login_scrypt ln=$ln r=8 p=2; }
    location /delayed/  { tb_rpc_login;
                          tb_rpc_login_failures user=10000 address=100000
                                                delay=1s max_delay=1s; }
_EOC_

my $nginx = TB::Nginx->start(%conf);
my $http = TB::Login->new($nginx);
my $delayed = TB::Login->new($nginx, path => '/delayed/');
my $slowly = TB::Login->new($nginx, path => '/slow/');

# that have failed, and that are under way

sub tries {
    my ($n, $open) = map { $_ || 0 } @{ $redis->call('HMGET',
                             "{tb:user:$_[0]}:tries", 'n', 'open') };

    return $n + $open;
}


sub slow { return { username => 'slow', password => 'a password' } }


# the client leaves: in its body, in the delay, in the line, in the thread --------

for my $how (undef, 'reset') {
    my $text = $http->request('POST', 'login', slow());
    my $half = TB::Client->new($nginx->{port},
                               substr $text, 0, length($text) - 5);

    sleep 0.05;
    $half->leave($how);

    my $before = tries('gone');
    my @late = map {
        $delayed->open('POST', 'login', { username => 'gone',
                                          password => 'a password' })
    } 1 .. 5;

    soon { tries('gone') == $before + 5 } 'some are in the delay';
    $_->leave($how) for @late;

    $before = tries('slow');
    my @slow = map { $slowly->open('POST', 'login', slow()) } 1 .. 6;

    soon { tries('slow') == $before + 6 } 'two are computed, four wait';
    sleep 0.05;
    $_->leave($how) for @slow[0, 3, 1, 2];
    login_is(TB::Login::answered($_, 60), $PAIR, 'those who stay are answered')
        for @slow[4, 5];
    $redis->fcall('tb_rpc_user_enable', 'tb:user:slow', 1);
}

login_is($http->login('ann', 'a password'), $PAIR, 'others are served');

# and while Redis is asked

$redis->pause();

my @asking = map {
    $http->open('POST', 'login', { username => 'ann', password => 'x' })
} 1 .. 20;

sleep 0.1;
$_->leave() for @asking;
$redis->resume();
soon { $http->login('ann', 'a password')->{status} == 200 } 'it goes on';


# a client that stays although it has closed its half, and one that is ignored

{
    my $client = $slowly->open('POST', 'login', slow());

    sleep 0.05;
    $client->leave();
    soon { $nginx->access_log() =~ m{"POST /slow/login HTTP/1.1" 499 } }
        'who left is logged as that';
}


# Redis ---------------------------------------------------------------------------

my $r = $http->login('ann', 'a password');

$redis->stop();
soon { $http->login('ann', 'a password')->{status} == 503 } 'Redis is away';
login_is($http->login('ann', 'a password'), $AWAY, 'login');
login_is($http->ask('POST', 'token', { refreshToken => $r->{refreshToken} }),
         $AWAY, 'token');
login_is($http->ask('POST', 'login/public', { publicId => 'x' }), $AWAY,
         'login/public');
login_is($http->ask('POST', 'logout', '', $r->{token}), $AWAY, 'logout');
login_is($http->ask('GET', 'user', undef, $r->{token}), $AWAY, 'user');
login_is($http->ask('POST', 'changePassword',
                    { currentPassword => 'a password',
                      newPassword => 'b password' }, $r->{token}), $AWAY,
         'changePassword');
$redis->go();
soon { $http->login('ann', 'a password')->{status} == 200 } 'it is back';
login_is($http->refresh($r->{refreshToken}), $PAIR, 'with its sessions');

# it goes while a thread computes

$redis->fcall('tb_rpc_user_enable', 'tb:user:slow', 1);

my $slow = $slowly->open('POST', 'login', slow());

soon { tries('slow') } 'a try';

# which is not to be done before Redis has gone

my $worker = $nginx->worker();

kill 'STOP', $worker;
$redis->stop();
kill 'CONT', $worker;
login_is(TB::Login::answered($slow, 60), $AWAY, 'Redis goes meanwhile');
$redis->go();
soon { $http->login('ann', 'a password')->{status} == 200 } 'it is back';

# it hangs

$redis->pause();
login_is($http->login('ann', 'a password'), $AWAY, 'Redis hangs');
$redis->resume();
soon { $http->login('ann', 'a password')->{status} == 200 } 'it goes on';

# functions are flushed: they are loaded again, at the master that lacks them

$redis->call('FUNCTION', 'FLUSH');
login_is($http->login('ann', 'a password'), $PAIR, 'functions flushed');
login_is($slowly->login('slow', 'a password'), $PAIR, 'perhaps of another one');


# reloads ---------------------------------------------------------------------------

{
    $redis->fcall('tb_rpc_user_enable', 'tb:user:slow', 1);

    my @slow = map { $slowly->open('POST', 'login', slow()) } 1 .. 4;
    my @late = map {
        $delayed->open('POST', 'login', { username => 'late', password => 'x' })
    } 1 .. 3;

    soon { tries('slow') == 4 && tries('late') == 3 } 'some are under way';

    my ($old) = $nginx->reload();

    login_is(TB::Login::answered($_, 60), $PAIR, 'a reload: they are answered')
        for @slow;
    login_is(TB::Login::answered($_, 60), $WRONG, 'after their delay, too')
        for @late;
    ok($nginx->gone($old, 30), 'the old worker exits');
}

# who has left is not waited for any longer than the thread takes

{
    my @slow = map { $slowly->open('POST', 'login', slow()) } 1 .. 2;

    sleep 0.1;
    $_->leave() for @slow;

    my ($old) = $nginx->reload();

    ok($nginx->gone($old, 30), 'an old worker with threads for nobody exits');
}

# under load

{
    my $end = time() + scaled(4);
    my ($n, $reloads, %got) = (0, 0);

    while (time() < $end) {
        my @clients = map {
            $http->open('POST', 'login', { username => $_ & 1 ? 'ann' : 'bob',
                                           password => 'a password' })
        } 1 .. 10;

        $nginx->reload() if ++$n % 5 == 0 && ++$reloads;
        $_->leave() for splice @clients, 0, 2;
        $got{"$_->{status} " . ($_->{error} || '')}++
            for TB::Client::answers(30, @clients);
    }

    cmp_ok($reloads, '>', 0, "$reloads reloads");
    is_deeply([sort keys %got], ['200 ', '401 '], 'all are answered')
        or diag explain \%got;
}

$nginx->clean();
is($nginx->stop('QUIT', 30), 1, 'it ends');
unlike($nginx->error_log(), qr/open socket|\[alert\]/, 'and leaves nothing');

done_testing();
