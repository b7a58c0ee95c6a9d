# tb_rpc_login: passwords in threads: a pool that is full, the memory that a
# worker keeps afterwards, and threads that are idle.
#
# runs: side by side, 10 s

use strict;
use warnings;

use Test::More;

use TB::Fixture;
use TB::Login;
use TB::Nginx;

# long enough for the others to come meanwhile; nobody waits more than 60 s
my $slow = 'tb_rpc_login_scrypt ln=14 r=8 p=1;';
my $failures = 'tb_rpc_login_failures user=1000 address=1000 delay=0;';
my $location = 'location /api/auth/ { tb_rpc_login; }';

redis();
user('ann', ln => 14);


# a pool with less room than we think: what can't be put into it waits -----------

{
    my $nginx = TB::Nginx->start(
        main => 'thread_pool logins threads=1 max_queue=1;',
        http => "tb_rpc_login_threads 2 pool=logins; $slow $failures",
        server => 'error_page 500 = @slow;',
        config => "$location location \@slow { return 200 slow; }");
    my $http = TB::Login->new($nginx);
    my ($worker) = $nginx->workers();
    my @clients = map {
        $http->open('POST', 'login', { username => "u$_", password => 'x' })
    } 1 .. 12;
    my %got;

    $got{$_->{status}}++ for TB::Client::answers(300, @clients);
    is_deeply(\%got, { 401 => 12 }, 'a pool that is full fails nobody');
    login_is($http->login('ann', 'a password'), '200 \{"token".*',
             'nor who comes then');
    is(($nginx->workers())[0], $worker, 'the worker is the same');
    $nginx->clean(qr/thread pool "logins" queue overflow/);
    $nginx->stop();
}

# the memory of a password is not kept by each of the 32 threads of "default" ----

SKIP: {
    skip 'memory is another with ' . $ENV{TB_MODE}, 2 if $ENV{TB_MODE};

    my $nginx = TB::Nginx->start(http => "$failures tb_rpc_login_scrypt ln=14"
                                         . ' r=8 p=1;', config => $location);
    my $http = TB::Login->new($nginx);

    $http->login('ann', 'a password');

    my $before = $nginx->rss();
    my %got;

    $got{ $http->login('ann', 'a password')->{status} }++ for 1 .. 16;
    is_deeply(\%got, { 200 => 16 }, 'logins with 16 MB each');
    cmp_ok($nginx->rss() - $before, '<', 40 * 1024, 'which are given back');
    $nginx->clean();
    $nginx->stop();
}

# "idle": their threads get what nobody else wants.  Where others want all that
# there is, that is a few ms of each second: a password that takes no more.

SKIP: {
    my $nginx = TB::Nginx->start(
        main => 'thread_pool logins threads=1;',
        http => "tb_rpc_login_threads 1 pool=logins idle; $failures"
                . ' tb_rpc_login_scrypt ln=10 r=1 p=1;',
        config => $location);

    user('bob', ln => 10, r => 1);
    is(TB::Login::answered(TB::Login->new($nginx)->open('POST', 'login',
           { username => 'bob', password => 'a password' }), 300)->{status}, 200,
       'a login by an idle thread');

    my @policies;

    for my $file (glob '/proc/' . $nginx->worker() . '/task/*/stat') {
        open my $fh, '<', $file or next;
        push @policies, (split ' ', <$fh> =~ s/^\d+ \(.*\) //r)[38];
    }

    skip 'threads have no policy here', 1 if !@policies;
    is(join(' ', @policies), '0 5', 'the thread is, the event loop is not');
    $nginx->clean();
    $nginx->stop();
}

done_testing();
