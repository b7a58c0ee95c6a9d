#!/usr/bin/perl

# tb-rpc-mqtt-bridge and a Redis with TLS: what is verified, what each mistake
# is called in the log, and that calls of all sizes go through it.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Certs;
use TB::Env qw(file_in free_port scaled scratch wait_for);
use TB::Mqtt qw(spawn reap output text_of counter);
use TB::Sentinel;

plan skip_all => 'no openssl' if !TB::Certs::available();

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my $certs = TB::Certs->new(scratch());

$certs->authority($_) for qw(ca other);
$certs->certificate('server', 'ca', 'redis', 'DNS:localhost,IP:127.0.0.1');
$certs->certificate('elsewhere', 'ca', 'redis', 'DNS:redis.example');
$certs->certificate('expired', 'ca', 'redis', 'IP:127.0.0.1', -1);
$certs->certificate('client', 'ca', 'bridge', 'DNS:bridge');
$certs->certificate('stranger', 'other', 'bridge', 'DNS:bridge');
$certs->openssl('ec', '-in', $certs->path('client.key'), '-aes256',
                '-passout', 'pass:x', '-out', $certs->path('locked.key'));

my $port = free_port();
my $has_tls = !TB::Resp::is_error($redis->command('CONFIG', 'SET',
    'tls-cert-file', $certs->path('server.pem'), 'tls-key-file',
    $certs->path('server.key'), 'tls-ca-cert-file', $certs->path('ca.pem'),
    'tls-auth-clients', 'no', 'tls-port', $port));

plan skip_all => 'a redis-server without TLS' if !$has_tls;

my @ca = ('--redis-ca', $certs->path('ca.pem'));
my $url = "rediss://127.0.0.1:$port";

$mqtt->broker();


# the server's certificate from now on

sub shows { $redis->shows($certs, @_) }


sub own {
    my ($name) = @_;

    return (@ca, '--redis-cert', $certs->path("$name.pem"), '--redis-key',
            $certs->path("$name.key"));
}


# a device that answers each call with what it gets

sub answers {
    my ($name, $what, $size) = @_;

    my $device = $mqtt->device(bridge => $name);
    my ($rpc, $id) = $mqtt->call($device, '"big"', '"' . 'x' x $size . '"');

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    wait_for { text_of("$name.sub") =~ m{\Q$device\E/rpc/request/$id } };
    $mqtt->publish("v1/devices/$device/rpc/response/$id", 'y' x $size);
    ok(($mqtt->answer($device, $rpc) || '') eq 'A' . 'y' x $size, $what)
        or diag(substr text_of("$name.log"), -3000);
}


my $runs = 0;

sub works {
    my ($what, @more) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $name = 'run' . ++$runs;
    my $sub = $mqtt->subscribe("$name.sub", 'v1/devices/+/rpc/request/+');
    my $pid = $mqtt->bridge($name, '--static', @more);

    answers($name, $what, 100);
    is(reap($pid, 'TERM'), 0, "$what: it ends");
    reap($sub, 'TERM');

    return $name;
}


# it says why, says it once of each connection however often it tries

sub refuses {
    my ($what, $line, @more) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $name = 'run' . ++$runs;
    my $pid = spawn("$name.log", TB::Mqtt::program(), $mqtt->options($name),
                    '--shards', 128, @more);
    my $seen = wait_for {
        my @debug = text_of("$name.log") =~ /\[debug\] redis .*trying again/g;

        text_of("$name.log") =~ $line && @debug;
    } 60;

    ok($seen, $what) or diag(text_of("$name.log"));

    my @errors = text_of("$name.log")
                 =~ /\[error\] redis .* \(commands\): .*trying again/g;

    is(scalar @errors, 1, "$what: one line, and it is tried again");
    is(reap($pid, 'TERM'), 0, "$what: it ends");
}


# --- it works ---------------------------------------------------------------

my $sub = $mqtt->subscribe('tls.sub', 'v1/devices/+/rpc/request/+');
my $pid = $mqtt->bridge('tls', '--static', '--redis', $url, @ca);

answers('tls', 'an address', 10);
is(scalar(grep { /laddr=127\.0\.0\.1:$port / && / user=bridge / }
          split /\n/, $redis->call('CLIENT', 'LIST')), 2,
   'both connections by TLS') or diag $redis->call('CLIENT', 'LIST');

# more than a record, more than a socket takes at once

answers('tls', "$_ bytes", $_) for 16_300, 16_500, 60_000;

# a Redis that reads nothing for a while: what does not fit into the socket is
# written when it does

my $device = $mqtt->device(bridge => 'tls');
my @calls = map { [$mqtt->call($device, '"m"', $_)] } 1 .. 16;

wait_for { 16 == (() = text_of('tls.sub') =~ m{\Q$device\E/rpc/request}g) };
$redis->pause();

for my $call (@calls) {
    $mqtt->publish("v1/devices/$device/rpc/response/$call->[1]",
                   "\"$call->[1]" . 'z' x 60_000 . '"');
}

$redis->resume();
is(scalar(grep { ($mqtt->answer($device, $_->[0]) || '')
                 eq "A\"$_->[1]" . 'z' x 60_000 . '"' } @calls), 16,
   'a Redis that reads nothing for a while: 16 answers');

# connections end; sessions are resumed

$redis->call('CLIENT', 'KILL', 'USER', 'bridge');
ok(wait_for { (() = text_of('tls.log') =~ /TLS is there/g) >= 4 },
   'cut: both are back');
answers('tls', 'cut, and on again', 100);
like(text_of('tls.log'), qr/commands\): TLS is there, session resumed: 0/,
     'the first session is a new one');
like(text_of('tls.log'), qr/commands\): TLS is there, session resumed: 1/,
     'the next one is resumed');

# files are read again at SIGHUP; one that is broken changes nothing

my $later = file_in('later.pem', '');

system('cp', $certs->path('ca.pem'), $later);
is(reap($pid, 'TERM'), 0, 'it ends');
$pid = $mqtt->bridge('tls', '--static', '--redis', $url, '--redis-ca',
                     $later);
file_in('later.pem', "no certificate\n");
kill 'HUP', $pid;
ok(wait_for { text_of('tls.log')
                  =~ /--redis-ca \S+ cannot be used: .*\n.*before stays/ },
   'SIGHUP, and no certificate in the file: it says so');
$redis->call('CLIENT', 'KILL', 'USER', 'bridge');
answers('tls', 'and goes on with the one before', 100);
system('cp', $certs->path('other.pem'), $later);
kill 'HUP', $pid;
wait_for { kill 'USR1', $pid; text_of('tls.log') =~ /counters:/ };
$redis->call('CLIENT', 'KILL', 'USER', 'bridge');
ok(wait_for { text_of('tls.log') =~ /its certificate is refused/ },
   'SIGHUP, and another authority: that counts from then on');
is(reap($pid, 'TERM'), 0, 'it ends');
reap($sub, 'TERM');
unlike(text_of('tls.log'), qr/bridge-secret/, 'no secret in the log');

works('a name', '--redis', "rediss://localhost:$port/0", @ca);
shows('server', 'yes');
works('a certificate of its own', '--redis', $url, own('client'));

# Sentinels by TLS, and by it the master that they name

shows('server');

my $by_tls = free_port();
my $sentinel = TB::Sentinel->start(
    master => { port => $port }, more => join "\n",
        "tls-port $by_tls", 'tls-replication yes', 'tls-auth-clients no',
        'tls-cert-file ' . $certs->path('server.pem'),
        'tls-key-file ' . $certs->path('server.key'),
        'tls-ca-cert-file ' . $certs->path('ca.pem'));
my $by = $mqtt->subscribe('by.sub', 'v1/devices/+/rpc/request/+');

$pid = spawn('by.log', TB::Mqtt::program(), '--name', 'by', '--redis-user',
             'bridge', '--redis-password-file', $mqtt->{password}, '--broker',
             "mqtt://127.0.0.1:$mqtt->{port}", '--static', '--log-level',
             'debug', '--redis-sentinel', 'main', '--redis',
             "rediss://127.0.0.1:$by_tls", @ca);
wait_for { text_of('by.log') =~ /mqtt: connected/ } 60;
answers('by', 'by a Sentinel', 100);
is(scalar(() = text_of('by.log')
               =~ /127\.0\.0\.1:$port \((?:commands|bells)\): connected/g), 2,
   'by a Sentinel: the master with TLS');
is(reap($pid, 'TERM'), 0, 'it ends');
reap($by, 'TERM');
$sentinel->stop();
shows('server', 'yes');


# --- what does not ----------------------------------------------------------

refuses('no certificate of its own', qr/: TLS failed: .*certificate required/,
        '--redis', $url, @ca);
refuses('one of a stranger', qr/: TLS failed: .*unknown ca/, '--redis', $url,
        own('stranger'));

shows('server');
refuses('an authority that is unknown',
        qr/: its certificate is refused: (?:self[- ]signed|unable to get)/,
        '--redis', $url);
refuses('another one',
        qr/: its certificate is refused: (?:self[- ]signed|unable to get)/,
        '--redis', $url, '--redis-ca', $certs->path('other.pem'));

shows('elsewhere');
refuses('an address that is not in it',
        qr/: its certificate is not for "127\.0\.0\.1"; /, '--redis', $url,
        @ca);
refuses('a name that is not in it',
        qr/: its certificate is not for "localhost"; /, '--redis',
        "rediss://localhost:$port", @ca);

shows('expired');
refuses('expired',
        qr/: its certificate is refused: certificate has expired/, '--redis',
        $url, @ca);

shows('server');
refuses('a port without TLS', qr/: (?:no TLS handshake in time, as if its|TLS handshake failed)/,
        '--redis', "rediss://127.0.0.1:$redis->{port}", @ca);
refuses('TLS, and redis://', qr/, as if its port had TLS \("rediss:\/\/"\)/,
        '--redis', "redis://127.0.0.1:$port");

# one that accepts and says nothing

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8)
    or die "listen: $!\n";

$pid = $mqtt->bridge('silent', '--shards', 128, @ca, '--redis',
                     'rediss://127.0.0.1:' . $silent->sockport());

my $start = time();

is(counter('silent', $pid, 'open'), 0, 'a handshake that hangs holds up none');
is(reap($pid, 'TERM'), 0, 'and it ends');
cmp_ok(time() - $start, '<', scaled(4), 'at once');


# --- what is refused at the start -------------------------------------------

for (['no such authority', qr/--redis-ca \S+ cannot be used: No such file/,
      '--redis', $url, '--redis-ca', $certs->path('nosuch.pem')],
     ['no such certificate', qr/--redis-cert \S+ cannot be used: No such file/,
      '--redis', $url, @ca, '--redis-cert', $certs->path('nosuch.pem'),
      '--redis-key', $certs->path('client.key')],
     ['no such key', qr/--redis-key \S+ cannot be used: No such file/,
      '--redis', $url, @ca, '--redis-cert', $certs->path('client.pem'),
      '--redis-key', $certs->path('nosuch.key')],
     ['a key of another one', qr/--redis-key \S+ cannot be used: .*mismatch/,
      '--redis', $url, @ca, '--redis-cert', $certs->path('client.pem'),
      '--redis-key', $certs->path('stranger.key')],
     ['a key with a passphrase', qr/--redis-key \S+ cannot be used: /,
      '--redis', $url, @ca, '--redis-cert', $certs->path('client.pem'),
      '--redis-key', $certs->path('locked.key')],
     ['half', qr/--redis-cert and --redis-key need each other/,
      '--redis', $url, @ca, '--redis-cert', $certs->path('client.pem')],
     ['without TLS', qr/need a rediss:\/\/ --redis/,
      '--redis', 'redis://127.0.0.1', @ca],
     ['TLS over a socket', qr/need a rediss:\/\/ --redis/,
      '--redis', 'unix:/tmp/x', @ca])
{
    my ($what, $line, @more) = @$_;
    my ($status, $text) = output(TB::Mqtt::program(), '--name', 'x', @more);

    ok($status == 1 || $status == 2, "$what: refused") or diag($status);
    like($text, $line, "$what: and says why");
}

done_testing();
