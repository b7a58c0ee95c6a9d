#!/usr/bin/perl

# Devices behind nginx, a real broker and the real bridge: when they are
# attached and detached, a second login, a reload, and what is killed.
#
# runs: side by side, 70 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Mqtt qw(spawn reap text_of);
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

my $mqtt = TB::Mqtt->new(redis => redis());
my $front = TB::MqttFront->start(broker_port => $mqtt->{port}, ttl => '4s',
                                 main => 'worker_shutdown_timeout 60s;');
my ($id, $token) = $front->device('a');
my $bridge;

$mqtt->broker("persistence false\n");


# a device that has subscribed

sub online {
    my (%o) = (user => $token, version => 4, @_);

    my $client = TB::MqttPeer->new(port => $front->{port},
                                   version => $o{version});

    $client->put(connect_packet(%o));

    my $connack = $client->packet() or return;

    return if $connack->{code};

    if (!$o{silent}) {
        $client->put(subscribe_packet(%o,
            filters => [['v1/devices/me/rpc/request/+', 1]]));
        $client->packet() or return;
    }

    return $client;
}


# the session that Redis has of it, another one than before; '' is none

sub session {
    my ($is, $device) = @_;

    my $session = wait_for {
        my $now = $front->session($device || $id) || '';

        $is eq '' ? ($now eq '' ? 'none' : '')
                  : ($now ne '' && $now ne $is ? $now : '');
    };

    return $session || '';
}


# --- online and offline -----------------------------------------------------------

my $c = online();
my $first = session('-');
ok($first, 'attached once it has subscribed');
is(redis()->call('HGET', redis()->device_key($id), 'bridge'), 'b1',
   'to the bridge');

sleep scaled(6);
is($front->session($id), $first, 'kept by heartbeats');
is(redis()->counter('lapsed'), 0, 'without a lapse');

$c->close();
is(session(''), 'none', 'detached when it has left');
is(redis()->counter('lapsed'), 0, 'at once, and not by a lapse');

$c = online(silent => 1);
my $begun = time();
my $second = session($first);
ok($second, 'who does not subscribe is attached, too');
cmp_ok(time() - $begun, '>', 0.5, 'but later');
$c->put(simple_packet('DISCONNECT'));
is(session(''), 'none', 'detached after DISCONNECT');

# --- a second login -----------------------------------------------------------------

my $old = online();
my $before = session('-');
my $new = online();
ok($old->closed(), 'a second login ends the first');
my $after = session($before);
ok($after, 'and is attached');
sleep scaled(0.5);
is($front->session($id), $after, 'the end of the first changes nothing');

# the device is attached elsewhere: its connection here is over
redis()->fcall('tb_rpc_attach', redis()->device_key($id), 'b9', 'other', 60000);
ok($new->closed(), 'attached elsewhere: the connection here is closed');
is($front->session($id), 'other', 'and that session stays');
redis()->fcall('tb_rpc_detach', redis()->device_key($id), 'other');

# --- Redis loses what it knows of sessions ------------------------------------------

$c = online();
$before = session('-');
redis()->call('HDEL', redis()->device_key($id), 'session', 'bridge', 'until');
redis()->call('DEL', TB::Bridge::prefix(TB::Bridge::shard($id)) . 'beats');
is(session('-'), $before, 'a session that Redis has lost is attached again');

# many of one shard, in one heartbeat, and one of them is attached elsewhere

my @lost;

for (my $n = 0; @lost < 30; $n++) {
    my $of = TB::Fixture::uuid_of("device lost $n");

    push @lost, "lost $n" if TB::Bridge::shard($of) == TB::Bridge::shard($id);
}

@lost = map { my ($lost, $lost_token) = $front->device($_);
              { id => $lost, conn => online(user => $lost_token) } } @lost;
$_->{session} = session('-', $_->{id}) for @lost;

my $other = pop @lost;

redis()->call('HDEL', redis()->device_key($_->{id}), 'session', 'bridge',
              'until') for @lost;
redis()->fcall('tb_rpc_attach', redis()->device_key($other->{id}), 'b9',
               'other', 60000);
redis()->call('DEL', TB::Bridge::prefix(TB::Bridge::shard($id)) . 'beats');
is(scalar(grep { session('-', $_->{id}) eq $_->{session} } @lost), 29,
   'sessions that Redis has lost are attached again, all of a shard');
ok($other->{conn}->closed(), 'one that is attached elsewhere is closed');
is(scalar(grep { $_->{conn}->silent() } @lost), 29, 'and no other one');
$_->{conn}->close() for @lost;

my ($gone, $gone_token) = $front->device('gone');
my $g = online(user => $gone_token);
session('-', $gone);
redis()->fcall('tb_rpc_device_del', redis()->device_key($gone));
ok($g->closed(), 'a device that was deleted is sent away');

# --- a reload --------------------------------------------------------------------------

my ($worker) = $front->reload();
sleep scaled(6);
is($front->session($id), $before, 'the old worker goes on with heartbeats');
$c->put(simple_packet('PINGREQ'));
is($c->packet()->{type}, 'PINGRESP', 'its connection lives');
$c->close();
is(session(''), 'none', 'and it tells of its end');
ok($front->gone($worker), 'then the worker exits');

# --- kill -9 -------------------------------------------------------------------------------

$c = online();
$before = session('-');
kill 'KILL', $front->worker();
ok($c->closed(), 'a killed worker takes its connections along');
is(session('', undef), 'none', 'its sessions lapse');
cmp_ok(redis()->counter('lapsed'), '>=', 1, 'which is counted');

$c = wait_for { online() };
ok(session($before), 'the next worker lets it in');

kill 'KILL', $mqtt->{broker};
ok($c->closed(), 'the broker is killed: so its connections end');
is(session(''), 'none', 'and they are detached');
reap($mqtt->{broker});

my $client = TB::MqttPeer->new(port => $front->{port});
$client->put(connect_packet(user => $token));
my $packet = $client->packet();
is($packet && $packet->{code}, 3, 'no broker: unavailable, and no bare end');
like(wait_for { $front->stream_log() =~ /^(502 .*)$/m ? $1 : '' },
     qr/\[broker\]$/, 'which is logged');

$mqtt->broker();
$c = online();
$before = session('-');
ok($before, 'the broker is back');

# --- the end of nginx -------------------------------------------------------------------------

$front->stop('TERM');
is(session(''), 'none', 'SIGTERM detaches');

$front->clean(qr/exited on signal 9/);

done_testing();
