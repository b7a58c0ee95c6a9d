#!/usr/bin/perl

# Devices log in to nginx: by access token, MQTT Basic, certificate; what is
# refused, with which code and how late, and what is logged of it.
#
# runs: side by side, 20 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(
    broker_port => $listen->{port}, username => '$tb_mqtt_device_id',
    password => 'secret', mqtt_more => 'tb_mqtt_login token basic;',
    config => 'location /status { tb_rpc_status; }'
              . 'location /metrics { tb_rpc_status prometheus; }'
              . 'location /page { tb_rpc_status html; }');
my ($id, $token) = $front->device('a');
my $logged = 0;


sub client { return TB::MqttPeer->new(port => $front->{port}, @_) }


# what a CONNECT that is refused is answered with, and that its connection is
# closed

sub refused {
    my (%o) = (version => 4, @_);

    my $client = client(version => $o{version});

    $client->put(exists $o{bytes} ? $o{bytes} : connect_packet(%o));

    my $packet = $client->packet();
    my $code = $packet ? "$packet->{type} $packet->{code}" : 'nothing';

    return $code . ($client->closed() ? '' : ', and it stays');
}


# its CONNECT as the broker gets it

sub accepted {
    my (%o) = (version => 4, @_);

    my $client = client(version => $o{version});

    $client->put(connect_packet(%o));

    my $broker = $listen->accept() or return;
    my $connect = $broker->packet() or return;

    return { %$connect, client => $client, broker => $broker };
}


# the last lines of the log

sub log_line {
    my ($n) = @_;

    $logged += $n || 1;

    wait_for { my @lines = split /\n/, $front->stream_log();
               @lines >= $logged };

    return (split /\n/, $front->stream_log())[-1];
}


# --- a token ------------------------------------------------------------------

for my $version (3, 4, 5) {
    my $c = accepted(version => $version, id => 'me', user => $token);

    is($c->{id}, $id, "MQTT $version: the client id is the device's");
    is($c->{user}, $id, 'the user name that was configured');
    is($c->{password}, 'secret', 'and the password');
    is($c->{level}, $version, 'the version is as it was');

    $c->{client}->close();
    my $shown = { 3 => '3.1', 4 => '3.1.1', 5 => '5' }->{$version};

    like(log_line(), qr/^\d+ \[$id\] \[.{36}\] \[me\] \[\Q$shown\E\] /,
         'and logged');
}

is(refused(user => 'nobody'), 'CONNACK 5', 'an unknown token');
like(log_line(), qr/^403 \[-\] \[-\] \[-\] \[3\.1\.1\] \[unknown\]/,
     'and why is logged');
is(refused(user => 'nobody', version => 5), 'CONNACK 135', 'in MQTT 5');
is(refused(user => 'nobody', version => 3), 'CONNACK 5', 'in MQTT 3.1');
is(refused(), 'CONNACK 4', 'no user name');
is(refused(version => 5), 'CONNACK 134', 'in MQTT 5');
is(refused(user => 'provision'), 'CONNACK 5', 'provisioning');
is(refused(id => 'provision'), 'CONNACK 4', 'provisioning, by the client id');
is(refused(user => ''), 'CONNACK 4', 'an empty user name');
is(refused(user => "token of a "), 'CONNACK 5', 'a blank more');
log_line(8);

redis()->call('SET', 'tb:token:' . sha256_hex('lost'), uuid_of('device lost'));
is(refused(user => 'lost'), 'CONNACK 5', 'a token of a device that is gone');
redis()->call('SET', 'tb:token:' . sha256_hex('odd'), 'no id');
is(refused(user => 'odd'), 'CONNACK 5', 'a token of what is no device');
ok($front->wait_log(qr/\[error\].*is not a device id; SET it again/),
   'which is logged');
log_line(2);

# --- MQTT Basic -----------------------------------------------------------------

sub basic {
    my ($name, @parts) = @_;

    my $device = TB::Fixture::device($name);
    my $text = join '', map { defined $_ ? length($_) . ":$_," : '-,' } @parts;

    redis()->call('SET', 'tb:basic:' . sha256_hex($text), $device);

    return $device;
}

my $all = basic('all', 'client', 'user', 'pass');
my $user = basic('user', undef, 'user2', 'pass2');
my $name = basic('name', undef, 'user3', undef);
my $client = basic('client', 'client4', undef, undef);
my $two = basic('two', 'client5', 'user5', undef);

for ([{ id => 'client', user => 'user', password => 'pass' }, $all,
      'client id, user name and password'],
     [{ id => 'any', user => 'user2', password => 'pass2' }, $user,
      'user name and password'],
     [{ id => 'any', user => 'user3', password => 'any' }, $name,
      'the user name alone'],
     [{ id => 'client4' }, $client, 'the client id alone'],
     [{ id => 'client5', user => 'user5' }, $two, 'client id and user name'])
{
    my $c = accepted(%{ $_->[0] });

    is($c && $c->{id}, $_->[1], "Basic: $_->[2]");
    $c->{client}->close() if $c;
    log_line();
}

for ([{ id => 'other', user => 'user', password => 'pass' }, 'the client id'],
     [{ id => 'client', user => 'user', password => 'no' }, 'the password'],
     [{ id => 'client', user => 'user' }, 'no password'],
     [{ id => 'client', user => 'use', password => 'rpass' },
      'parts are not joined'],
     [{ id => '', user => 'client4' }, 'a client id as user name'])
{
    is(refused(%{ $_->[0] }), 'CONNACK 5', "Basic, wrong: $_->[1]");
    log_line();
}

# --- no MQTT ----------------------------------------------------------------------

for (['GET / HTTP/1.0', "GET / HTTP/1.0\r\n\r\n"],
     ['PINGREQ first', simple_packet('PINGREQ')],
     ['CONNECT with flags', "\x11\x00"],
     ['a length that does not end', "\x10\xff\xff\xff\xff\xff"])
{
    is(refused(bytes => $_->[1]), 'nothing', "$_->[0]: no answer, closed");
    like(log_line(), qr/^400 .*\[malformed\]$/, 'and logged');
}

is(refused(bytes => raw(0x10, string('HTTP') . "\x04\x02\x00\x3c\0\0")),
   'CONNACK 1', 'a protocol that does not exist');
is(refused(bytes => raw(0x10, string('MQTT')
                                            . "\x06\x02\x00\x3c\0\0")),
   'CONNACK 1', 'a version that does not exist');
is(refused(bytes => connect_packet(id => 'x', user => $token, flags => 0xc2)),
   'nothing', 'a password that is not there');
is(refused(bytes => connect_packet(id => 'x' x 20000, user => $token)),
   'nothing', 'a CONNECT that is too large');
log_line(4);

# --- what is counted ------------------------------------------------------------------

my $c = accepted(user => $token);
$c->{broker}->put(connack_packet());
$c->{client}->packet();

sub status { return decode_json(($front->get('/status'))[0]{body})->{mqtt} }

my $status = status();
my ($metrics) = ($front->get('/metrics'))[0]{body};
my ($page) = ($front->get('/page'))[0]{body};

is($status->{devices}, 1, 'status: a device is connected');
is($status->{logins}{accepted}, 1,
   'logins: those that the broker has accepted, too');
cmp_ok($status->{logins}{unknown}, '>=', 10, 'credentials of nobody');
cmp_ok($status->{logins}{malformed}, '>=', 8, 'no MQTT');
like($metrics, qr/^tb_rpc_mqtt_devices 1$/m, 'for Prometheus');
like($page, qr{<p>Workers: .* MQTT devices: 1\.}, 'on the page');
like($page, qr{<h2>MQTT\ devices</h2>\n<table\ class="w">.*\n
               <tr><td>1<td>\d+<td>\d+<td>\d+<td>accepted\ 1,\ .*unknown\ \d\d,}x,
     'with what logins have come to');
soon { ($front->get('/page'))[0]{body}
       =~ m{<figcaption>MQTT devices <b>1</b>} } 'and a plot of them', 30;
like($metrics, qr/^tb_rpc_mqtt_logins_total\{result="accepted"\} 1$/m,
     'with logins');
$c->{client}->close();
log_line();

# one login has one result

sub comes_to {
    my ($result, $name, $code) = @_;

    my $before = status()->{logins};

    $code->(my $d = accepted(user => $token));
    $_->close() for @$d{qw(client broker)};
    like(log_line(), qr/^\d+ \[$id\]/, "$name: logged");
    $before->{$result}++ if $result;
    soon { my $now = status()->{logins};
           join(' ', %$before{sort keys %$before})
           eq join ' ', %$now{sort keys %$now} } "$name: counted once";
}

comes_to('broker', 'refused by the broker', sub {
    $_[0]{broker}->put(connack_packet(code => 5));
    $_[0]{client}->packet();
});
comes_to('broker', 'a broker that leaves', sub {
    $_[0]{broker}->close();
    $_[0]{client}->closed();
});
comes_to('accepted', 'malformed later', sub {
    $_[0]{broker}->put(connack_packet());
    $_[0]{client}->packet();
    $_[0]{client}->put("\x00\x00");
    $_[0]{client}->closed();
});
comes_to('malformed', 'malformed, before the broker answers', sub {
    $_[0]{client}->put("\x00\x00");
    $_[0]{client}->closed();
});
comes_to(undef, 'who leaves before that', sub { });

# --- the way to Redis ---------------------------------------------------------------

$c = accepted(user => $token);
$c->{broker}->put(connack_packet(present => 1));
$c->{client}->packet();
soon { $front->session($id) } 'a device is attached';

redis()->stop();

my $begun = time();

is(refused(user => $token), 'CONNACK 3', 'Redis is away: unavailable');
cmp_ok(time() - $begun, '<', scaled(8), 'after the time of a lookup');
is(refused(user => $token, version => 5), 'CONNACK 136', 'in MQTT 5');
like(log_line(2), qr/^503 .*\[unavailable\]$/, 'which is logged');
ok($front->wait_log(qr/\[error\].*devices are told to come again until it can/),
   'as an error, too');
is(status()->{devices}, 1, 'who is connected stays');
$c->{client}->close();
soon { status()->{devices} == 0 } 'and who leaves is not counted any more';

$front->clean();

done_testing();
