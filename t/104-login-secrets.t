# tb_rpc_login: no password and no token is in a log of nginx's at any level of
# ours, nor $request_body, nor in a command line, nor in what Redis is told.
#
# runs: side by side, 6 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(file_in scratch);
use TB::Fixture;
use TB::Login;
use TB::Mqtt qw(output);
use TB::Nginx;
use TB::Token qw($TENANT $CUSTOMER $NULL_UUID);

my $redis = redis();
my @secrets = ('correct horse', 'wrong battery', 'another staple',
               'admins own word', 'typed as a name');
my $NAME = 'secret-name@example.com';

# all that Redis is told and does, each master of a cluster

$redis->call('CONFIG', 'SET', 'slowlog-log-slower-than', 0,
             'slowlog-max-len', 100000);

my @nodes = $redis->isa('TB::RedisCluster') ? $redis->nodes() : $redis;
my @heard = map { scratch() . "/monitor$_" } 0 .. $#nodes;
my @pids = map { listener($nodes[$_], $heard[$_]) } 0 .. $#nodes;

sub listener {
    my ($node, $path) = @_;

    my $pid = fork();

    die "fork: $!\n" if !defined $pid;

    return $pid if $pid;

    my $listen = $node->connect('admin');

    open my $out, '>', $path or POSIX::_exit(1);
    $out->autoflush();
    $listen->call('MONITOR');
    print $out "listening\n";

    while (sysread $listen->{sock}, my $data, 65536) {
        print $out $data;
    }

    POSIX::_exit(0);
}

END {
    local $?;

    for my $pid (@pids) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
}


sub slurp {
    my ($path) = @_;

    open my $fh, '<:raw', $path or return '';
    local $/;

    return scalar <$fh>;
}


soon { !grep { slurp($_) !~ /listening/ } @heard } 'MONITOR';

# a user by the tool, watched by ps

my @admin = (TB::Mqtt::admin(), @nodes > 1 ? '--redis-cluster' : (),
             '--redis', "redis://127.0.0.1:$redis->{port}", '--redis-user', 'operator',
             '--redis-password-file',
             file_in('password', "$TB::RedisServer::PASSWORD{operator}\n"));
my $file = file_in('secret', "correct horse\n");
my $command = join ' ', @admin, 'user', 'add', $NAME, '--tenant', $TENANT,
                   '--password-file', $file;
my ($status, $ps) = output('bash', '-c', "$command & "
    . 'while kill -0 $! 2>/dev/null; do ps axww -o args; sleep 0.05; done');

like($ps, qr/user add \Q$NAME\E --tenant/, 'ps sees the tool');
unlike($ps, qr/correct horse/, 'and no password');

my $nginx = TB::Nginx->start(
    main => 'error_log debug.log debug;',
    http => <<'_EOC_',
    tb_rpc_login_scrypt ln=10 r=8 p=1;
    tb_rpc_login_failures delay=0 user=1000 address=1000;
    log_format bodies '$status "$request_body" $tb_rpc_result';
    access_log bodies.log bodies;
_EOC_
    config => <<'_EOC_');
    location /api/auth/ { tb_rpc_login; }
    location /api/rpc/  { tb_rpc v2; }
_EOC_

my $http = TB::Login->new($nginx);

# all that can be done

my $r = $http->login($NAME, 'correct horse');

is($r->{status}, 200, 'a login');
push @secrets, @$r{qw(token refreshToken)};
$http->login($NAME, 'wrong battery');
$http->login('typed as a name', 'wrong battery');
$http->login('typed as a {name}', 'wrong battery');
$http->ask('POST', 'login', $_)
    for '{"username":"' . $NAME . '","password":["wrong battery"]}',
        '{"username":"' . $NAME . '","password":"wrong battery"',
        '{"username":"' . $NAME . '","pass":"wrong battery"}',
        '{"password":"wrong battery","password":"wrong battery"}',
        '{"username":"' . $NAME . '","password":"wrong battery\u0000"}',
        '"wrong battery"';

for my $reuse (1 .. 2) {
    my $next = $http->refresh($r->{refreshToken});

    push @secrets, grep { defined } @$next{qw(token refreshToken)};
}

$r = $http->login($NAME, 'correct horse');
push @secrets, @$r{qw(token refreshToken)};
$http->ask('GET', 'user', undef, $r->{token});
$http->ask('GET', 'user', undef, $r->{refreshToken});
$http->ask('POST', 'token', { refreshToken => $r->{token} });
$http->ask('POST', 'changePassword', { currentPassword => $_,
                                       newPassword => 'another staple' },
           $r->{token}) for 'wrong battery', 'another staple';

my $new = $http->ask('POST', 'changePassword',
                     { currentPassword => 'correct horse',
                       newPassword => 'another staple' }, $r->{token});

is($new->{status}, 200, 'another password');
push @secrets, @$new{qw(token refreshToken)};
$http->ask('POST', 'logout', '{}', $new->{token});

# a client that leaves in the middle, and a body in two parts

{
    my $text = $http->request('POST', 'login', { username => $NAME,
                                                 password => 'wrong battery' });
    my $half = TB::Client->new($nginx->{port},
                               substr $text, 0, length($text) - 10);

    select undef, undef, undef, 0.1;
    $half->send(substr $text, -10);
    is($half->answer()->{status}, 401, 'a body in two parts');
    $half = TB::Client->new($nginx->{port},
                            substr $text, 0, length($text) - 3);
    select undef, undef, undef, 0.1;
    $half->leave();
}

# Redis refuses

$redis->call('ACL', 'SETUSER', 'nginx', '-hincrby');
is($http->login($NAME, 'another staple')->{status}, 503, 'no right to count');
$redis->call('ACL', 'SETUSER', 'nginx', '+hincrby');
$redis->call('SET', "{tb:user:$NAME}:tries", 'x');
is($http->login($NAME, 'another staple')->{status}, 503,
   'a key of another type');
$redis->call('DEL', "{tb:user:$NAME}:tries");

$nginx->stop('QUIT');

# where nothing may be

my $debug = $nginx->file_text('debug.log');

SKIP: {
    skip 'an nginx without debug lines', 1 if $debug !~ /\[debug\]/;
    like($debug, qr/tb_rpc login: tb_rpc_login_try/, 'there are debug lines');
}

# header lines are nginx's own

my $ours = join "\n", grep { !/ http header: "|http process request header/ }
                      split /\n/, $debug;
my $bodies = $nginx->file_text('bodies.log');

# all that was said before has come then

$_->call('ECHO', 'no more') for @nodes;
soon { !grep { slurp($_) !~ /"ECHO" "no more"/ } @heard } 'MONITOR to its end';

my $monitored = join '', map { slurp($_) } @heard;
my $slow = join "\n", map { ref $_->[3] ? join ' ', @{ $_->[3] } : '' }
                      @{ $redis->call('SLOWLOG', 'GET', 100000) };

like($bodies, qr/^200 "\*+" /m, '$request_body is overwritten');
like($monitored, qr/tb_rpc_login_done/, 'MONITOR has it');
like($slow, qr/FCALL tb_rpc_login_try/, 'so has the slow log');

for my $what (['debug.log', $ours], ['error.log', $nginx->error_log()],
              ['access.log', $nginx->access_log()], ['bodies.log', $bodies],
              ['MONITOR', $monitored], ['the slow log', $slow])
{
    my ($name, $text) = @$what;
    my @found = grep { index($text, $_) >= 0 }
                grep { !($_ eq 'typed as a name' && $name =~ /MON|slow/) }
                @secrets;

    is("@found", '', "$name: none of " . @secrets . ' secrets');
}

unlike($ours, qr/secret-name/, 'debug.log: nor a name');
unlike($nginx->error_log(), qr/secret-name/, 'error.log: nor a name');

# the parts of a token that say something, too

my @parts = map { (split /\./)[2] } grep { /^eyJ/ } @secrets;

for my $what (['MONITOR', $monitored], ['debug.log', $ours]) {
    is(join(' ', grep { index($what->[1], $_) >= 0 } @parts), '',
       "$what->[0]: no signature");
}

my @jtis = map { claims($_)->{jti} // () } grep { /^eyJ/ } @secrets;

cmp_ok(scalar @jtis, '>', 2, 'there are ids of refresh tokens');
is(join(' ', grep { index($monitored, $_) >= 0 } @jtis), '',
   'Redis sees none of them');

done_testing();
