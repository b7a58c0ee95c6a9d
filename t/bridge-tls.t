#!/usr/bin/perl

# tb-rpc-mqtt-bridge: TLS, certificates, user and password at the broker.
#
# runs: side by side, 10 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Certs;
use TB::Env qw(scratch file_in free_port wait_for);
use TB::Mqtt qw(spawn reap child output text_of counter);
use TB::MqttDevices;

plan skip_all => 'no openssl' if !TB::Certs::available();

my $mqtt = TB::Mqtt->new();
my $dir = scratch();


# --- certificates -----------------------------------------------------------

my $certs = TB::Certs->new($dir);

$certs->authority('ca');
$certs->authority('other');
$certs->certificate('server', 'ca', 'broker', 'DNS:localhost,IP:127.0.0.1');
$certs->certificate('elsewhere', 'ca', 'broker', 'DNS:broker.example');
$certs->certificate('client', 'ca', 'bridge', 'DNS:bridge');
$certs->certificate('stranger', 'other', 'bridge', 'DNS:bridge');
$certs->openssl('ec', '-in', "$dir/client.key", '-aes256', '-passout', 'pass:x',
        '-out', "$dir/locked.key");

my ($tls, $elsewhere, $mutual) = map { free_port() } 1 .. 3;
my $users = file_in('users', '');
system('mosquitto_passwd', '-b', $users, 'bridge', 'mqtt-secret') == 0
    or die 'mosquitto_passwd';

# the broker's alone: newer ones ask for that
my @owner = $> == 0 ? getpwnam 'mosquitto' : ();
chown $owner[2], $owner[3], $users if @owner;
chmod 0600, $users;

sub listener {
    my ($port, $name, $more) = @_;

    return "listener $port 127.0.0.1\ncafile $dir/ca.pem\n"
           . "certfile $dir/$name.pem\nkeyfile $dir/$name.key\n"
           . ($more || '');
}

$mqtt->broker(listener($tls, 'server') . listener($elsewhere, 'elsewhere')
              . listener($mutual, 'server', "require_certificate true\n"));

# what nobody hears is returned, not delivered
my $hears = $mqtt->subscribe('hears.log', 'v1/devices/+/rpc/request/+');


# --- connections ------------------------------------------------------------

my $runs = 0;

# 1 when it connects, 0 when it says why not, within a few seconds

sub connects {
    my ($port, @more) = @_;

    my $log = 'run' . ++$runs . '.log';
    my $pid = spawn($log, TB::Mqtt::program(), $mqtt->options('tls'),
                    '--broker', "mqtts://127.0.0.1:$port", '--static', @more);

    my $seen = wait_for {
        text_of($log) =~ /mqtt: (connected|connection to)/ ? $1 : undef
    };
    my $text = text_of($log);

    if (defined $seen && $seen eq 'connected') {
        my $device = $mqtt->device(bridge => 'tls');
        my ($rpc, $id) = $mqtt->call($device, '"big"', '"' . 'x' x 40000
                                     . '"');
        wait_for { counter("run$runs",
                           $pid, 'delivered') == 1 };
        $mqtt->publish("v1/devices/$device/rpc/response/$id", 'y' x 40000);
        my $answer = $mqtt->answer($device, $rpc);
        $seen = 'no answer' if ($answer || '') ne 'A' . 'y' x 40000;
    }

    reap($pid, 'TERM');

    return ($seen || 'nothing', $text);
}

my ($seen, $text) = connects($tls, '--cafile', "$dir/ca.pem");
is($seen, 'connected', 'TLS, and calls go through it') or diag($text);
like($text, qr/connected to .* with TLS/, 'and it says so');

mkdir "$dir/cas";
system("cp $dir/ca.pem $dir/cas/ && openssl rehash $dir/cas") == 0 or die;
($seen) = connects($tls, '--capath', "$dir/cas");
is($seen, 'connected', '--capath');

($seen) = connects($tls, '--cafile', "$dir/ca.pem", '--mqtt-version', 5,
                   '--client-id', 'tls5');
is($seen, 'connected', 'with MQTT 5 and a session');

($seen) = connects($mutual, '--cafile', "$dir/ca.pem", '--cert',
                   "$dir/client.pem", '--key', "$dir/client.key");
is($seen, 'connected', 'with a certificate of its own');

for ([$tls, 'the system does not know the authority'],
     [$tls, 'another authority', '--cafile', "$dir/other.pem"],
     [$elsewhere, 'a certificate of another host', '--cafile',
      "$dir/ca.pem"],
     [$mutual, 'no certificate of its own', '--cafile', "$dir/ca.pem"],
     [$mutual, 'one of a stranger', '--cafile', "$dir/ca.pem", '--cert',
      "$dir/stranger.pem", '--key', "$dir/stranger.key"],
     [$mutual, 'a key with a passphrase', '--cafile', "$dir/ca.pem",
      '--cert', "$dir/client.pem", '--key', "$dir/locked.key"],
     [$tls, 'a file that is not there', '--cafile', "$dir/nosuch.pem"],
     [$mqtt->{port}, 'a broker without TLS', '--cafile', "$dir/ca.pem"])
{
    my ($port, $what, @more) = @$_;

    ($seen, $text) = connects($port, @more);
    like($seen, qr/^connection to$/, "refused: $what");
    unlike($text, qr/mqtt: connected/, 'and never connected');
}


# --- two packets in one record ----------------------------------------------

# A broker of few words: openssl makes a record of what it is given at once.
# After a few hundred packets the library's pipe to itself is full, and it
# mistakes that for the end of what there is to read.

my $port = free_port();

pipe my $stdin, my $out or die "pipe: $!";
pipe my $in, my $stdout or die "pipe: $!";

my $server = child(sub {
    open STDIN, '<&', $stdin;
    open STDOUT, '>&', $stdout;
    exec 'openssl', 's_server', '-quiet', '-accept', "127.0.0.1:$port",
         '-cert', "$dir/server.pem", '-key', "$dir/server.key";
});
my ($bytes, %acked) = ('');
my %reply = (1 => sub { TB::MqttDevices::packet(0x20, "\0\0") },
             8 => sub { TB::MqttDevices::packet(0x90, substr($_[0], 0, 2)
                                                      . "\x01") },
             12 => sub { TB::MqttDevices::packet(0xd0, '') });

sub answer {
    my ($id) = @_;

    return TB::MqttDevices::packet(0x32, pack 'n/a* n a*',
               "v1/devices/de000000-0000-11ee-8000-00000000000e/rpc/response/$id",
               $id, '"nobody asked"');
}


# whether the bridge acknowledges that one, within a few seconds

sub acked {
    my ($id) = @_;

    my $end = time() + 60;

    while (!$acked{$id}) {
        vec(my $ready = '', fileno $in, 1) = 1;
        return 0 if time() >= $end
                    || !select $ready, undef, undef, $end - time();
        return 0 if !sysread $in, $bytes, 65536, length $bytes;

        while (my ($head, $body) = TB::MqttDevices::take(\$bytes)) {
            my $type = $head >> 4;

            $acked{unpack 'n', $body} = 1 if $type == 4;
            $acked{connect} = 1 if $type == 8;
            syswrite $out, $reply{$type}->($body) if $reply{$type};
        }
    }

    return 1;
}

my $pid = spawn('record.log', TB::Mqtt::program(), $mqtt->options('record'),
                '--broker', "mqtts://127.0.0.1:$port", '--cafile',
                "$dir/ca.pem", '--mqtt-version', '3.1.1', '--static');
ok(acked('connect'), 'a broker that is openssl');

for my $id (1 .. 300) {
    syswrite $out, answer($id);
    last if !acked($id);
}

ok(acked(300), '300 messages');
syswrite $out, answer(301) . answer(302);
ok(acked(302), 'two packets in one record: both are read at once');
reap($server, 'TERM');
reap($pid, 'TERM');


# --- user and password ------------------------------------------------------

reap($hears, 'KILL');
reap($mqtt->{broker}, 'TERM');
$mqtt->broker("allow_anonymous false\npassword_file $users\n");

my $right = file_in('right', "mqtt-secret\n");
my $wrong = file_in('wrong', "mqtt-wrong\n");
$pid = $mqtt->bridge('pw', '--static', '--mqtt-user', 'bridge',
                        '--mqtt-password-file', $right);
like(text_of('pw.log'), qr/mqtt: connected/, 'user and password');
reap($pid, 'TERM');
unlike(text_of('pw.log'), qr/mqtt-secret/, 'no secret in the log');

for my $version ('3.1.1', 5) {
    $pid = spawn("no$version.log", TB::Mqtt::program(), $mqtt->options('no'),
                 '--mqtt-version', $version, '--mqtt-user', 'bridge',
                 '--mqtt-password-file', $wrong);
    ok(wait_for {
           text_of("no$version.log")
               =~ /refused the connection: .*not authori[sz]ed/i
       }, "a wrong password is said ($version)")
        or diag(text_of("no$version.log"));
    is(reap($pid, 'TERM'), 0, 'exit 0');
}

file_in('wrong', "mqtt-wrong\n");
$pid = spawn('hup.log', TB::Mqtt::program(), $mqtt->options('hup'),
             '--mqtt-user', 'bridge', '--mqtt-password-file', $wrong);
wait_for { text_of('hup.log') =~ /refused the connection/ };
file_in('wrong', "mqtt-secret\n");
kill 'HUP', $pid;
$seen = wait_for { text_of('hup.log') =~ /mqtt: connected/ } 30;
ok($seen, 'a password that has changed is read again at SIGHUP');
is(reap($pid, 'TERM'), 0, 'exit 0');

done_testing();
