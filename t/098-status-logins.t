# tb_rpc_status of tb_rpc_login: each request is counted once, by what was
# asked for and what it has come to, in JSON, for Prometheus and on the page;
# passwords that threads compute and those that wait for one; over a reload;
# and nothing of it where nobody logs in.
#
# runs: side by side, 24 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Login;
use TB::Metrics;
use TB::Nginx;
use TB::Token qw(jwt $USER $CUSTOMER $NULL_UUID);

if ($ENV{TB_REDIS_CLUSTER}) {
    plan skip_all => 'one Redis is stopped here';
}

redis();
user('ann');
user('gus');
user($CUSTOMER, hash => '', id => $NULL_UUID, customer => $CUSTOMER,
     authority => 'CUSTOMER_USER');

# what takes two seconds or so, for something to be done meanwhile

my $slow = 'tb_rpc_login_scrypt ln=17 r=8 p='
           . (($ENV{TB_MODE} || '') eq 'valgrind' ? 1 : 16) . ';';
my $status = <<'_EOC_';
location /api/rpc/  { tb_rpc  v2; }
location = /status  { tb_rpc_status; }
location = /metrics { tb_rpc_status  prometheus; }
location = /page    { tb_rpc_status  html; }
location = /health  { tb_rpc_status  health; }
_EOC_

my $nginx = TB::Nginx->start(
    main => 'thread_pool logins threads=1;',
    http => 'tb_rpc_login_scrypt ln=10 r=8 p=1;'
            . ' tb_rpc_login_threads 1 waiting=1 pool=logins nice=0;'
            . ' tb_rpc_login_failures user=3 address=1000 delay=0;'
            . ' log_format redis "$uri $tb_rpc_redis_time";'
            . ' access_log redis.log redis;',
    redis => 'command_timeout ' . scaled(2000) . 'ms;',
    server => 'set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;',
    config => <<"_EOC_");
$status
location /api/auth/ { tb_rpc_login; }
location /slow/     { tb_rpc_login; $slow }
location /delayed/  { tb_rpc_login;
                      tb_rpc_login_failures user=100 delay=2s; }
location /few/      { tb_rpc_login; tb_rpc_login_failures address=2; }
location /pages/    { tb_rpc_login; tb_rpc_intercept_errors on;
                      error_page 401 = \@page; }
location \@page      { return 403 page; }
location /denied/   { tb_rpc_login; deny all; }
location /cors/     { tb_rpc_login;
                      if (\$request_method = OPTIONS) { return 204; } }
_EOC_

my $http = TB::Login->new($nginx);

sub at { return TB::Login->new($nginx, path => "/$_[0]/") }

sub fetch {
    my ($path) = @_;

    return TB::Client->new($nginx->{port}, TB::Client::text('GET', $path))
                     ->answer(60)->{body};
}

sub status { return JSON::PP::decode_json(fetch('/status')) }

sub metrics {
    my ($values, @errors) = TB::Metrics::parse(fetch('/metrics'));

    is_deeply(\@errors, [], 'the format for Prometheus') if @errors;

    return $values;
}

sub counted {
    my ($json, $values) = (status()->{requests}, metrics());
    my %counted;

    for my $op (grep { /^(?:login|public|refresh|logout|user|password|other)$/ }
                keys %$json)
    {
        for my $result (keys %{ $json->{$op} }) {
            my $name = "tb_rpc_requests_total{operation=\"$op\","
                       . "result=\"$result\"}";

            $counted{"$op $result"} = $json->{$op}{$result}
                if $json->{$op}{$result};
            $counted{"$name differs"} = $values->{$name}
                if ($values->{$name} || 0) != $json->{$op}{$result};
        }
    }

    return \%counted;
}


# does it, and this is counted, once, and nothing else

sub counts (&$$) {
    my ($code, $what, $name) = @_;

    my $before = counted();
    my $r = $code->();
    my $now;

    $before->{$what}++;

    # a request is counted when it is logged, after its answer was sent
    wait_for { $now = counted();
               JSON::PP->new->canonical->encode($now)
               eq JSON::PP->new->canonical->encode($before) };

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_deeply($now, $before, $name);

    return $r;
}


# --- what each has come to ----------------------------------------------------

my $first = metrics();

sub from_the_start {
    my ($op) = @_;

    return join ' ', map { /operation="$op",result="(\w+)"/ } sort keys %$first;
}

is(from_the_start('login'), 'busy error locked ok redis_unavailable unknown'
   . ' wrong', 'what is to be told of is there before it happens');
is(from_the_start('public'), 'error locked ok redis_unavailable unknown wrong',
   'of public customers, whom no thread is needed for');
is(from_the_start('refresh'), 'error ok redis_unavailable reused unknown wrong',
   'of refresh tokens');

my $pair = counts { $http->login('ann', 'a password') } 'login ok', 'a login';

counts { $http->login('ann', 'wrong') } 'login wrong', 'a wrong password';
counts { $http->login('nobody', 'x') } 'login wrong', 'an unknown user';
$http->login('eve', 'x') for 1 .. 3;
soon { status()->{requests}{login}{wrong} == 5 } 'three failures';
counts { $http->login('eve', 'x') } 'login locked', 'then it is locked';
counts { $http->ask('POST', 'login', '{') } 'login invalid', 'no JSON';
counts { $http->ask('GET', 'login') } 'login invalid', 'another method';
counts { $http->ask('POST', 'login', ' ' x 8193) } 'login invalid', 'too large';
counts { $http->ask('OPTIONS', $_) } 'other ok', "what a browser asks of $_"
    for qw(login login/public token);
counts { at('cors')->ask('OPTIONS', 'login') } 'other ok',
    'one that nginx answers itself';
counts { $http->ask('POST', 'nothing', '{}') } 'other not_found',
    'what is not there';
counts { at('denied')->login('ann', 'a password') } 'login forbidden',
    'who is not let in';
counts { at('pages')->login('ann', 'wrong') } 'login wrong',
    'one that an error_page is made of';
counts { $http->ask('POST', 'login/public', { publicId => $CUSTOMER }) }
    'public ok', 'a public customer';
counts { $http->ask('POST', 'login/public', { publicId => $USER }) }
    'public wrong', 'none';

my $next = counts { $http->refresh($pair->{refreshToken}) } 'refresh ok',
                  'a refresh token';

counts { $http->refresh('x') } 'refresh wrong', 'none';
counts { $http->refresh(jwt(scopes => ['REFRESH_TOKEN'], jti => $USER,
                            exp => time() - 1)) }
    'refresh expired', 'one that has expired';
counts { $http->refresh($pair->{refreshToken}) } 'refresh reused',
    'one that was used';
counts { $http->refresh($next->{refreshToken}) } 'refresh wrong',
    'one of a session that is over';

$pair = counts { $http->login('ann', 'a password') } 'login ok', 'once more';
counts { $http->ask('GET', 'user', undef, $pair->{token}) } 'user ok', 'user';
counts { $http->ask('GET', 'user') } 'user unauthorized', 'nobody';

sub change {
    my ($old) = @_;

    return $http->ask('POST', 'changePassword', { currentPassword => $old,
                      newPassword => 'b password' }, $pair->{token});
}

counts { change('wrong') } 'password wrong', 'another password, but not the own';
counts { change('a password') } 'password ok', 'another password';
counts { $http->ask('POST', 'logout', undef, $pair->{token}) } 'logout ok',
    'logout';


# --- how long -----------------------------------------------------------------

my $durations = status()->{durations};
my $values = metrics();

is($durations->{requests}{login}{count}, 13, 'how long logins took');
is($durations->{password}{count}, 10, 'and passwords, which were computed');
is($values->{'tb_rpc_password_duration_seconds_count'}, 10, 'for Prometheus');

# nor is Redis what passwords and delays took

at('delayed')->login('gus', $_) for 'x', 'a password';

my @seconds;

soon { @seconds = $nginx->file_text('redis.log') =~ m{^/delayed/login (\S+)$}mg;
       @seconds == 2 } 'a login that was delayed';
cmp_ok($seconds[1], '<', 1.9, 'is not a Redis that was slow');


# --- now: one is computed, one waits, the next one is refused -------------------

my @two;

for my $n (0, 1) {
    push @two, at('slow')->open('POST', 'login', { username => "s$n",
                                                   password => 'x' });
    soon { my $s = status()->{passwords};
           "$s->{computing} $s->{lined_up}" eq "1 $n" }
         'passwords: one is computed, others wait: ' . $n;
}

like(fetch('/page'), qr/Passwords being computed: 1, lined up: 1\./,
     'on the page');
$values = metrics();
is(join(' ', map { $values->{"tb_rpc_passwords_$_\{worker=\"0\"}"} }
             qw(computing lined_up)), '1 1', 'for Prometheus');
counts { at('slow')->login('s3', 'x') } 'login busy', 'no thread is free';
$two[1]->leave();
soon { status()->{passwords}{lined_up} == 0 } 'who leaves';
soon { (status()->{requests}{login}{client_closed} || 0) == 1 }
     'is counted, too';
is($two[0]->answer(120)->{status}, 401, 'the first one');
soon { status()->{passwords}{computing} == 0 } 'nothing is computed';
is(status()->{processes}[0]{computing}, 0, 'by that worker');

# too many from one address: Redis, which counts them, has them all at once

redis()->pause();

my @many = map { at('few')->open('POST', 'login/public',
                                 { publicId => $CUSTOMER }, undef,
                                 'X-Forwarded-For' => '10.0.0.1') } 1 .. 6;

fetch('/health');
redis()->resume();

my %got;

$got{$_->{status}}++ for TB::Client::answers(30, @many);
is_deeply(\%got, { 200 => 2, 503 => 4 }, 'from one address, at a time');
soon { (status()->{requests}{public}{locked} || 0) == 4 }
     'others are locked, which is not for want of threads';


# --- the page -----------------------------------------------------------------

my $page = fetch('/page');

like($page, qr{<h2>Logins</h2>\n<table class="w">.*<td>login<td>\d+<td>.*?ok 3,}s,
     'what logins have come to');
like($page, qr{<td>refresh<td>5<td>.*reused 1}, 'and refresh tokens');
like($page, qr{<p>Passwords computed: \d+, half of them within }, 'how long');
unlike($page, qr{<td>login<.*<h2>Logins}s, 'not among the calls');
is(scalar(() = $page =~ /<figure>/g), 8, 'two plots more');

# the most in a second that a plot has

sub most {
    my ($plot) = @_;

    return fetch('/page') =~ m{<figcaption>$plot <b>.*?<small>max ([\d.]+)<}s
           ? $1 : 'none';
}

$http->login('eve', 'x') for 1 .. 50;
soon { most('logins refused') >= 3 } 'logins that fail are in a plot', 20;
cmp_ok(most('requests'), '<=', 2, 'but not among the requests');
cmp_ok(most('failed'), '<=', 1, 'nor those that failed');
unlike($page, qr/MQTT/, 'no MQTT');


# --- a reload, Redis that is away, and nobody who logs in -----------------------

my $before = counted();
$nginx->reload();
is_deeply(counted(), $before, 'after a reload');

redis()->stop();
soon { $http->login('ann', 'x')->{status} == 503 } 'without Redis';
soon { (status()->{requests}{login}{redis_unavailable} || 0) >= 1 }
     'that is counted';
redis()->go();
soon { $http->login('gus', 'a password')->{status} == 200 } 'it is back';

$nginx->configure(http => '', config => $status);
$nginx->reload();
soon { !exists status()->{passwords} } 'nobody logs in';
unlike(fetch('/metrics'), qr/password|operation="(?:login|refresh)"/,
       'no metrics of that');
unlike(fetch('/page'), qr/[Ll]ogin|Password/, 'nor is it on the page');
is(scalar(() = fetch('/page') =~ /<figure>/g), 6, 'nor a plot');

$nginx->clean();

done_testing();
