# The network is cut without a word, and heals: between nginx and Redis, the
# bridge and Redis, the bridge and its broker.  What callers are told, what is
# kept, counted and logged is what docs/faults.md says.
#
# runs: side by side, 50 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled wait_for);
use TB::FaultCalls;
use TB::FaultRow;
use TB::Fixture;
use TB::Mqtt;
use TB::MqttDevices;
use TB::Nginx;
use TB::Proxy;

my $mqtt = TB::Mqtt->new(redis => redis());
my %net = map { $_ => TB::Proxy->start(to => redis()->{port}) }
          qw(nginx bridge);
my $nginx = TB::Nginx->start(
    redis_port => $net{nginx}{port}, http => 'tb_rpc_ack_timeout 2s;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location = /metrics { tb_rpc_status prometheus; }');

$mqtt->broker();
$net{broker} = TB::Proxy->start(to => $mqtt->{port});

my $devices = TB::MqttDevices->start(port => $mqtt->{port}, delay => [0, 0],
                                     ids => [device('d1')], mute => qr/mute/);
my $pid = $mqtt->bridge('net', '--client-id', 'net', '--ack-timeout', 2000,
                        '--keepalive', 5,
                        '--redis', "redis://127.0.0.1:$net{bridge}{port}",
                        '--broker', "mqtt://127.0.0.1:$net{broker}{port}");
my $calls = TB::FaultCalls->new(nginx => $nginx, works => 'd1');

ok($devices->online(20), 'the device is online');
ok($mqtt->attached(macro('d1'), 'net'), 'and attached');
$calls->again();

{
    my $row = TB::FaultRow->begin('the network from nginx to Redis is cut',
                                  nginx => $nginx);

    $net{nginx}->tell('hold', 'on');

    my @open = map { $nginx->open('d1', 'run', '[2]', @$_) }
               ([], [persistent => 1, timeout => 600_000]);

    $row->told('on their way', TB::Client::answers(15, @open));
    $row->told('two-way', $nginx->call('d1', 'run', '[3]'));
    $row->told('persistent', $calls->persistent('d1', '[3]'));
    $net{nginx}->tell('hold', 'off');
    $calls->again($row);
    is(got($devices, '[3]'), 0, "$row->{name}: what was refused is not done");
    $row->end();
}

{
    my $row = TB::FaultRow->begin('the network from the bridge to Redis is cut',
                                  nginx => $nginx, bridge => ['net', $pid]);

    $net{bridge}->tell('hold', 'on');
    $row->told('two-way', $nginx->call('d1', 'run', '[4]', timeout => 1000));

    my $kept = $calls->persistent('d1', '[5]');

    $row->told('persistent', $kept);
    soon { TB::Mqtt::text_of('net.log') =~ /no reply/ } 'the bridge has seen it',
         40;
    $net{bridge}->tell('hold', 'off');
    $calls->done($row, 'what was answered 200 is done', $kept);
    $calls->again($row);
    is(got($devices, '[5]'), 1, "$row->{name}: once");
    is(got($devices, '[4]'), 0, "$row->{name}: nobody waits for the other one");
    $row->end();
}

{
    my $row = TB::FaultRow->begin('the network from the bridge to the broker'
                                  . ' is cut', nginx => $nginx,
                                  bridge => ['net', $pid]);

    $net{broker}->tell('hold', 'on');
    $row->told('two-way', $nginx->call('d1', 'run', '[6]', timeout => 1000));

    my $kept = $calls->persistent('d1', '[7]');

    $row->told('persistent', $kept);
    soon { TB::Mqtt::text_of('net.log') =~ /was not acknowledged/ }
         'the bridge has seen it', 20;
    $net{broker}->tell('hold', 'off');
    $calls->done($row, 'what was answered 200 is done', $kept);
    $calls->again($row);
    $row->end();
}

is(TB::Mqtt::reap($pid, 'TERM', 20), 0, 'the bridge ends');
$devices->stop();
$nginx->clean();

done_testing();
