# Redis with TLS: what is verified, what each mistake is called in the log, and
# that calls of all sizes go through it, whoever reads slowly.
#
# runs: side by side, 20 s
# not with --redis-tls, --redis-cluster: it has servers of its own

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

use TB::Certs;
use TB::Env qw(free_port scaled scratch wait_for);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;
use TB::Proxy;
use TB::RedisServer;
use TB::Sentinel;

plan skip_all => 'no openssl' if !TB::Certs::available();

my $certs = TB::Certs->new(scratch());

$certs->authority($_) for qw(ca other);
$certs->certificate('server', 'ca', 'redis', 'DNS:localhost,IP:127.0.0.1');
$certs->certificate('elsewhere', 'ca', 'redis', 'DNS:redis.example');
$certs->certificate('expired', 'ca', 'redis', 'IP:127.0.0.1', -1);
$certs->certificate('client', 'ca', 'nginx', 'DNS:nginx');
$certs->certificate('stranger', 'other', 'nginx', 'DNS:nginx');

my $port = free_port();
my $probe = TB::RedisServer->start(library => 0);
my $has_tls = !TB::Resp::is_error($probe->command('CONFIG', 'SET',
    'tls-cert-file', $certs->path('server.pem'), 'tls-key-file',
    $certs->path('server.key')));

$probe->stop();
plan skip_all => 'a redis-server without TLS' if !$has_tls;

my $redis = TB::RedisServer->start(args => [
    '--tls-port', $port, '--tls-auth-clients', 'no',
    '--tls-cert-file', $certs->path('server.pem'),
    '--tls-key-file', $certs->path('server.key'),
    '--tls-ca-cert-file', $certs->path('ca.pem')]);

set_macro(e1 => 'de000000-0000-11ee-8000-0000000000e1');
$redis->fcall('tb_rpc_device_put', $redis->device_key(macro('e1')),
              macro('tenant'), '', 'name', 'e1', 'bridge', 'b1');

my $bridge = TB::FastBridge->start(connect => { $redis->access('bridge') });
my $trusted = 'ssl_trusted_certificate ' . $certs->path('ca.pem') . ';';


sub nginx {
    my ($settings, %opt) = @_;

    return TB::Nginx->start(redis_server => "rediss://127.0.0.1:$port",
                            redis => $settings, %opt);
}


sub own {
    my ($name) = @_;

    return 'ssl_certificate ' . $certs->path("$name.pem") . ';'
           . ' ssl_certificate_key ' . $certs->path("$name.key") . ';';
}


# the server's certificate from now on

sub shows { $redis->shows($certs, @_) }


sub answers {
    my ($nginx, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { $nginx->count_log(qr/connection to \S+ is ready/) >= 2 }
        "$what: both connections", 30
        or diag substr $nginx->error_log(), -2000;
    is($nginx->call('e1', 'echo', '["ok"]', timeout => 5000)->{body},
       '["ok"]', "$what: a call is answered");
}


# it says why, says it once however often it tries, and refuses requests

sub refuses {
    my ($what, $settings, $line, %opt) = @_;

    my $nginx = nginx($settings, %opt);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok($nginx->wait_log($line, 30), "$what: the log says why")
        or diag substr $nginx->error_log(), -2000;
    is($nginx->call('e1', 'echo', '1', timeout => 500)->{status}, 503,
       "$what: 503");
    is($nginx->count_log(qr/is ready/), 0, "$what: it is never used");
    is($nginx->count_log(qr/\[(?:error|crit|alert|emerg)\].*tb_rpc_redis/), 1,
       "$what: in one line") or diag $nginx->error_log();
    $nginx->stop();
}


# bytes that nginx has sent and Redis has not read

sub unread {
    my $at = sprintf '0100007F:%04X', $port;
    my $bytes = 0;

    open my $fh, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!\n";

    while (<$fh>) {
        my ($local, $remote, $unsent, $unread)
            = /^\s*\d+: (\S+) (\S+) 01 (\S+):(\S+)/ or next;

        $bytes += hex $unsent if $remote eq $at;
        $bytes += hex $unread if $local eq $at;
    }

    return $bytes;
}


# --- it works ---------------------------------------------------------------

my $seconds = scaled(60);
my $nginx = nginx("$trusted command_timeout ${seconds}s;",
                  main => 'error_log debug.log debug;');

answers($nginx, 'an address');
is(scalar(grep { /laddr=127\.0\.0\.1:$port / && / user=nginx / }
          split /\n/, $redis->call('CLIENT', 'LIST')), 2,
   'both through TLS') or diag $redis->call('CLIENT', 'LIST');

my @results = TB::Load::run(port => $nginx->{port}, parallel => 64,
    requests => [map { $nginx->text('e1', 'echo', "{\"n\":$_}",
                                    timeout => 20000) } 1 .. 1000]);

is(scalar(grep { ($results[$_]{body} // '') ne '{"n":' . ($_ + 1) . '}' }
          0 .. $#results), 0, '1,000 calls, 64 at a time: each its answer');

# one after the other, until the last one stays in the buffer of TLS

my $large = '"' . 'x' x 8000 . '"';
my ($sent, @open) = (0);

$redis->pause();

while (@open < 5000) {
    push @open, $nginx->open('e1', 'echo', $large,
                             timeout => $seconds * 1000);
    wait_for { unread() > $sent } 0.5 or last;
    $sent = unread();
}

cmp_ok(scalar @open, '<', 5000, 'a Redis that reads nothing');
$redis->resume();

my %got;

$got{$_->{body} eq $large ? 'right' : "$_->{status} $_->{body}"}++
    for map { $_->answer(60) } @open;

is_deeply(\%got, { right => scalar @open }, 'goes on: all have their answers')
    or diag map { substr "$got{$_} $_\n", 0, 200 } keys %got;

# connections end, sessions are resumed

my $ready = $nginx->count_log(qr/is ready/);

$redis->call('CLIENT', 'KILL', 'USER', 'nginx');
soon { $nginx->count_log(qr/is ready/) >= $ready + 2 } 'cut: both are back', 30;
answers($nginx, 'cut');

SKIP: {
    my $log = $nginx->file_text('debug.log');

    skip 'an nginx without debug lines', 2 if $log !~ /TLS is there/;

    like($log, qr/command connection: TLS is there, session resumed:0/,
         'the first session is a new one');
    like($log, qr/command connection: TLS is there, session resumed:1/,
         'the next one is resumed');
}


# another worker, and the end

$nginx->reload();
answers($nginx, 'reloaded');
$nginx->clean(qr/connection to \S+ failed/);
ok($nginx->stop('QUIT', 10), 'it ends');

$nginx = nginx($trusted, redis_server => "rediss://localhost:$port/0");
answers($nginx, 'a name');
$nginx->stop();

$nginx = nginx('ssl_verify off;');
answers($nginx, 'nothing verified');
$nginx->stop();

shows('elsewhere');
$nginx = nginx("$trusted ssl_name redis.example;");
answers($nginx, 'ssl_name');
$nginx->stop();

shows('server', 'yes');
$nginx = nginx("$trusted " . own('client'));
answers($nginx, 'a certificate of its own');
$nginx->stop();


# Sentinels by TLS, and by it the master that they name

shows('server');

my $by_tls = free_port();
my $sentinel = TB::Sentinel->start(
    master => { port => $port }, more => join "\n",
        "tls-port $by_tls", 'tls-replication yes', 'tls-auth-clients no',
        'tls-cert-file ' . $certs->path('server.pem'),
        'tls-key-file ' . $certs->path('server.key'),
        'tls-ca-cert-file ' . $certs->path('ca.pem'));

$nginx = nginx("$trusted sentinel main;",
               redis_server => "rediss://127.0.0.1:$by_tls");
answers($nginx, 'by a Sentinel');
is($nginx->count_log(qr/connection to 127\.0\.0\.1:$port is ready/), 2,
   'by a Sentinel: the master with TLS');
$nginx->stop();
$sentinel->stop();
shows('server', 'yes');


# --- what does not ----------------------------------------------------------

refuses('no certificate of its own', $trusted,
        qr/ failed: TLS failed: SSL_read.*certificate required/);
refuses('one of a stranger', "$trusted " . own('stranger'),
        qr/ failed: TLS failed: SSL_read.*unknown ca/);

shows('server');
refuses('an authority that is unknown', '',
        qr/certificate is refused: (?:self[- ]signed|unable to get)/);
refuses('another one',
        'ssl_trusted_certificate ' . $certs->path('other.pem') . ';',
        qr/certificate is refused: (?:self[- ]signed|unable to get)/);

shows('elsewhere');
refuses('an address that is not in it', $trusted,
        qr/certificate is not for "127\.0\.0\.1"/);
refuses('a name that is not in it', $trusted,
        qr/certificate is not for "localhost"/,
        redis_server => "rediss://localhost:$port");
refuses('ssl_name that is not in it', "$trusted ssl_name redis.exampl;",
        qr/certificate is not for "redis\.exampl"/);

shows('expired');
refuses('expired', $trusted,
        qr/certificate is refused: certificate has expired/);

shows('server');
refuses('a port without TLS', "$trusted connect_timeout 700ms;",
        qr/TLS handshake failed|no TLS handshake in time/,
        redis_server => "rediss://127.0.0.1:$redis->{port}");
refuses('TLS, and redis://', '', qr/as if its port had TLS \("rediss:\/\/"\)/,
        redis_server => "redis://127.0.0.1:$port");

# one that worked without TLS is killed while it is connected to

my $proxy = TB::Proxy->start(to => $redis->{port});

$nginx = nginx('', redis_server => "redis://127.0.0.1:$proxy->{port}");
answers($nginx, 'no TLS, by a proxy');
$proxy->tell('refuse', 'all');
$proxy->tell('cut', 'all');
soon { $nginx->error_log() =~ /recv\(\) failed.*reset by peer/ }
     'it resets connections', 20;
is($nginx->count_log(qr/as if its port had TLS/), 0,
   'which is not taken for TLS');
$nginx->stop();

# one that accepts and says nothing holds up nobody

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8)
    or die "listen: $!\n";

$nginx = nginx("$trusted connect_timeout 30s;",
               redis_server => 'rediss://127.0.0.1:' . $silent->sockport(),
               config => 'location /api/rpc/ { tb_rpc v2; }'
                         . ' location / { return 204; }');

my $accepted = $silent->accept();
my $start = time();

is($nginx->get('/')->{status}, 204, 'a handshake that hangs: others are'
                                    . ' answered');
ok($nginx->stop('QUIT', 20), 'and nginx ends');

# not after connect_timeout
cmp_ok(time() - $start, '<', scaled(20), 'at once');

done_testing();
