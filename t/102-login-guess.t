# tb_rpc_login against guessing: failures by name and by address, delays, locks;
# passwords that are computed at a time; the recipes of docs/login.md.
#
# runs: side by side, 18 s

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled);
use TB::Fixture;
use TB::Login;
use TB::Nginx;
use TB::Page;

my $LOCKED = '401 10 Too many failed logins, try again later';
my $WRONG = '401 10 Invalid username or password';
my $PAIR = '200 \{"token".*';
my $BUSY = '503 2 Too many logins at a time';

my %recipe = map { $_->{file} => $_->{text} }
             map { TB::Page->new('docs/login.md')->blocks($_) }
             'Set up', 'Guessing', 'What it costs';
my $location = $recipe{'location.conf'} =~ s{/api/auth/}{/recipe/}r;

redis();
user('ann');

# what takes two seconds or so, for something to be done meanwhile

my $slow = 'tb_rpc_login_scrypt ln=17 r=8 p='
           . (($ENV{TB_MODE} || '') eq 'valgrind' ? 1 : 8) . ';';
my $unlimited = 'tb_rpc_login_failures user=1000 address=10000';

my $nginx = TB::Nginx->start(
    main => $recipe{'main.conf'},
    http => <<"_EOC_",
    tb_rpc_login_scrypt  ln=10 r=8 p=1;
    $recipe{'http.conf'}
    tb_rpc_login_threads 1 waiting=2 pool=logins;
_EOC_
    server => 'set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;',
    config => <<"_EOC_");
    location /api/auth/  { tb_rpc_login;
                           tb_rpc_login_failures user=3 address=6 time=8s
                                                 delay=0; }
    location /delayed/   { tb_rpc_login;
                           tb_rpc_login_failures user=100 address=1000
                                                 delay=200ms max_delay=500ms; }
    location /waits/     { tb_rpc_login;
                           $unlimited delay=20s max_delay=20s; }
    location /slow/      { tb_rpc_login; $slow $unlimited delay=0; }
    location /line/      { tb_rpc_login; $unlimited delay=0; }
    location = /status   { tb_rpc_status; }
    $location
_EOC_

my $http = TB::Login->new($nginx);
my $addresses = 0;

sub login {
    my ($name, $password, $from) = @_;

    return $http->login($name, $password,
                        'X-Forwarded-For' => $from
                            || '10.1.' . ($addresses++ >> 8) . '.'
                               . ($addresses & 255));
}


# by name, be it a user's or not ------------------------------------------------

for my $name ('ann', 'nobody') {
    login_is(login($name, 'wrong'), $WRONG, "$name: $_ failures") for 1 .. 3;

    my $r = login($name, 'a password');

    login_is($r, $LOCKED, 'then it is locked');
    like($r->{headers}{'retry-after'}, qr/^[1-8]$/, 'Retry-After');
    login_is(login(uc $name, 'a password'), $LOCKED, 'in any letter case');
}

login_is(login('bob', 'wrong'), $WRONG, 'others are not');
soon { login('ann', 'a password')->{status} == 200 } 'later it is not any more',
     30;

for (1 .. 3) {
    login('ann', 'wrong') for 1, 2;
    login_is(login('ann', 'a password'), $PAIR, 'a success clears the failures');
}

# at the same time: no more are looked at than one after the other

{
    my @clients = map {
        $http->open('POST', 'login', { username => 'cid', password => 'x' },
                    undef, 'X-Forwarded-For' => "10.2.0.$_")
    } 1 .. 30;
    my %got;

    for (TB::Client::answers(30, @clients)) {
        $got{"$_->{status} " . ($_->{body} =~ /Too many failed/ ? 'locked'
                                : $_->{body} =~ /at a time/ ? 'busy'
                                                            : 'wrong')}++;
    }

    cmp_ok($got{'401 wrong'} || 0, '<=', 3,
           'of thirty at the same time three are compared')
        or diag explain \%got;
    cmp_ok(($got{'503 busy'} || 0) + ($got{'401 locked'} || 0), '>=', 27,
           'others are to come again');
    login_is(login('cid', 'a password'), $LOCKED, 'then it is locked');
}

# those who are right, at the same time, lock nobody

{
    user('dan');

    my %got;

    for (TB::Client::answers(30, map {
             $http->open('POST', 'login', { username => 'dan',
                                            password => 'a password' },
                         undef, 'X-Forwarded-For' => '10.2.1.1')
         } 1 .. 30))
    {
        $got{$_->{status}}++;
        is($_->{headers}{'retry-after'}, 1, 'Retry-After')
            if $_->{status} == 503;
    }

    is(join(' ', grep { !/^(?:200|503)$/ } keys %got), '',
       'thirty good ones are no failures')
        or diag explain \%got;
    soon { !redis()->call('EXISTS', '{tb:user:dan}:tries', 'tb:login:0a020101') }
        'nothing is counted any more';
    login_is(login('dan', 'a password', '10.2.1.1'), $PAIR, 'nobody is locked');
}

# what is not compared is no failure

{
    my $waits = TB::Login->new($nginx, path => '/waits/');
    my @from = (undef, 'X-Forwarded-For' => '10.2.1.2');
    my $tries = sub {
        return join ' ', map { $_ // '' }
               @{ redis()->call('HMGET', '{tb:user:don}:tries', 'n', 'open') };
    };

    $waits->ask('POST', 'login', { username => 'don', password => 'x' }, @from);
    soon { $tries->() eq '1 ' } 'a failure';

    my $client = $waits->open('POST', 'login',
                              { username => 'don', password => 'x' }, @from);

    soon { $tries->() eq '1 1' } 'another try waits';
    $client->leave();
    soon { $tries->() eq '1 ' } 'and leaves before it was compared';
}

# by address -------------------------------------------------------------------

login_is(login("n$_", 'wrong', '10.0.0.1'), $WRONG, "from an address: $_")
    for 1 .. 6;
login_is(login('eve', 'a password', '10.0.0.1'), $LOCKED, 'it is locked');
login_is(login('eve', 'wrong', '10.0.0.2'), $WRONG, 'others are not');
soon { (redis()->call('HGET', '{tb:user:eve}:tries', 'n') || 0) == 1 }
    'a name is not locked from there';
login_is(login("m$_", 'wrong', "2001:db8:1:2::$_"), $WRONG, "IPv6: $_")
    for 1 .. 6;
login_is(login('x', 'wrong', '2001:db8:1:2:ffff::9'), $LOCKED,
         'all of a network is locked');
login_is(login('x', 'wrong', '2001:db8:1:3::9'), $WRONG, 'not the next one');
login_is(login("o$_", 'wrong', "::ffff:10.0.0.9"), $WRONG, "IPv4 in IPv6: $_")
    for 1 .. 6;
login_is(login('x', 'wrong', '10.0.0.9'), $LOCKED, 'is IPv4');

user('fay');

for (1 .. 10) {
    login('fay', 'a password', '10.0.0.3');
}

login_is(login('fay', 'a password', '10.0.0.3'), $PAIR,
         'good logins from an address don\'t lock it');
login("p$_", 'wrong', '10.0.0.4') for 1 .. 5;
login_is(login('fay', 'a password', '10.0.0.4'), $PAIR, 'nor does the last one');
login_is(login('p6', 'wrong', '10.0.0.4'), $WRONG, 'one failure more');
login_is(login('p7', 'a password', '10.0.0.4'), $LOCKED,
         'nor does it take back those before');
login_is($http->ask('POST', 'login/public', { publicId => "$_" }, undef,
                    'X-Forwarded-For' => '10.0.0.5'), $WRONG, 'public ids')
    for 1 .. 6;
login_is($http->ask('POST', 'login/public', { publicId => '7' }, undef,
                    'X-Forwarded-For' => '10.0.0.5'), $LOCKED, 'count, too');

# changePassword is no way around

{
    user('gus');

    my $r = login('gus', 'a password');
    my $change = sub {
        return $http->ask('POST', 'changePassword',
                          { currentPassword => $_[0],
                            newPassword => 'b password' }, $r->{token},
                          'X-Forwarded-For' => "10.3.0.$_[1]");
    };

    login_is($change->('wrong', $_), "400 31 Current password doesn't match!",
             "changePassword: $_") for 1 .. 3;
    login_is($change->('a password', 4), $LOCKED, 'is locked as well');
}


# delays -----------------------------------------------------------------------

{
    my $delayed = TB::Login->new($nginx, path => '/delayed/');
    my $try = sub {
        return $delayed->login('hal', $_[0],
                               'X-Forwarded-For' => "10.4.0.$_[1]");
    };

    user('hal');

    my @seconds = map { $try->('wrong', $_)->{seconds} } 1 .. 8;

    cmp_ok($seconds[1], '>=', 0.19, 'the second failure is told after 200 ms');
    cmp_ok($seconds[2], '>=', 0.39, 'the next after 400');
    cmp_ok($seconds[$_], '>=', 0.49, 'then after 500') for 3 .. 7;

    # 12.8 s without a limit
    cmp_ok($seconds[7], '<', scaled(6), 'at most');
    cmp_ok($try->('a password', 9)->{seconds}, '>=', 0.49,
           'the right password waits as long');

    # where a delay is 20 s

    my $waits = TB::Login->new($nginx, path => '/waits/');

    cmp_ok($waits->login('hal', 'a password')->{seconds}, '<', scaled(10),
           'and clears that');
    cmp_ok($waits->login('hal', 'wrong')->{seconds}, '<', scaled(10),
           'the first failure is told at once');

    # nobody else waits for that

    my @waiting = map {
        $waits->open('POST', 'login', { username => 'hal', password => 'x' })
    } 1 .. 20;

    soon { (redis()->call('HGET', '{tb:user:hal}:tries', 'open') || 0) == 20 }
        'twenty are delayed';

    my $r = login('ann', 'a password');

    login_is($r, $PAIR, 'a delay holds no thread');
    cmp_ok($r->{seconds}, '<', scaled(10), 'at all');
    $_->leave() for @waiting;
}


# a few at a time --------------------------------------------------------------

# three of these names: one whose password is computed, two that wait meanwhile

sub in_line {
    my ($names) = @_;

    my @clients;

    for my $n (0 .. 2) {
        my $login = TB::Login->new($nginx, path => $n ? '/line/' : '/slow/');

        push @clients, $login->open('POST', 'login',
                                    { username => $names . ($n + 1),
                                      password => 'x' });
        soon {
            my $s = JSON::PP::decode_json($nginx->get('/status')->{body})
                    ->{passwords};

            "$s->{computing} $s->{lined_up}" eq "1 $n";
        } "one is computed, $n wait";
    }

    return @clients;
}


{
    my $line = TB::Login->new($nginx, path => '/line/');
    my @three = in_line('s');

    # Redis, which counts, is not even asked

    redis()->pause();

    my $r = $line->login('s4', 'x');

    redis()->resume();

    login_is($r, $BUSY, 'the next one is refused');
    is($r->{headers}{'retry-after'}, 1, 'Retry-After');
    is(redis()->call('EXISTS', '{tb:user:s4}:tries'), 0, 'and not counted');
    login_is($http->ask('POST', 'token', { refreshToken => 'x' }),
             '401 10 Invalid refresh token', 'others are served');

    SKIP: {
        my @nice;

        for my $file (glob '/proc/' . $nginx->worker() . '/task/*/stat') {
            open my $fh, '<', $file or next;
            push @nice, (split ' ', <$fh> =~ s/^\d+ \(.*\) //r)[16];
        }

        skip 'threads have no priority here', 2 if $^O ne 'linux' || !@nice;

        my $own = getpriority 0, 0;

        is($nice[0], $own, 'the event loop has its priority');
        is((sort { $b <=> $a } @nice)[0], $own > 10 ? $own : 10,
           'the thread a lower one');
    }

    # who leaves the line makes room
    $three[1]->leave();
    is($_->answer(120)->{status}, 401, 'those who stay are answered')
        for @three[0, 2];
    is($_->answer(120)->{status}, 401, 'one is computed, two wait, as before')
        for in_line('t');
}

# the recipes of docs/login.md ---------------------------------------------------

{
    my $limited = TB::Login->new($nginx, path => '/recipe/');
    my %got = (429 => 0, 401 => 0);
    my $start = time();

    # of one address: ten at once, then one in two seconds
    $got{ $limited->login("l$_", 'wrong', 'X-Forwarded-For' => '10.5.0.1')
          ->{status} }++ for 1 .. 20;

    my $more = POSIX::ceil((time() - $start) / 2);

    cmp_ok($got{429}, '>=', 9 - $more, "limit_req, but for $more");
    cmp_ok($got{401}, '>=', 11, 'and what it lets in');
    is($limited->login('l', 'x', 'X-Forwarded-For' => '10.5.0.2')->{status}, 401,
       'another address');
    like($recipe{'realip.conf'}, qr/^set_real_ip_from .*\nreal_ip_header /,
         'realip');
    like($recipe{'threads.conf'}, qr/^tb_rpc_login_threads +2 +pool=logins;$/m,
         'threads');
    like($recipe{'nginx.conf'}, qr{^location /api/auth/ \{ tb_rpc_login; \}$}m,
         'set up');
}

$nginx->clean();
$nginx->stop();

# all recipes together are a configuration

{
    my $key = macro('jwt_key');
    my $nginx = TB::Nginx->start(
        main => $recipe{'main.conf'}, keys => '',
        http => "$recipe{'http.conf'}\n$recipe{'threads.conf'}",
        server => $recipe{'realip.conf'},
        config => $recipe{'nginx.conf'} =~ s{/etc/nginx/tb-jwt.key}{$key}r);

    user('ann');
    login_is(TB::Login->new($nginx)->login('ann', 'a password'), $PAIR,
             'as docs/login.md has it');
    $nginx->clean();
    $nginx->stop();
}

done_testing();
