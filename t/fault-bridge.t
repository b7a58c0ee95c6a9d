# The MQTT bridge or its broker is killed or stopped: what callers are told, what
# is kept, counted and logged is what docs/faults.md says.
#
# runs: side by side, 45 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(wait_for);
use TB::FaultCalls;
use TB::FaultRow;
use TB::Fixture;
use TB::Mqtt;
use TB::MqttDevices;
use TB::Nginx;

redis(args => ['--appendfsync', 'always']);

# a restarted one has what it wrote itself
redis()->{library} = 0;

my $mqtt = TB::Mqtt->new(redis => redis());
my $nginx = TB::Nginx->start(
    http => 'tb_rpc_ack_timeout 4s;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location = /metrics { tb_rpc_status prometheus; }');

$mqtt->broker();

my $devices = TB::MqttDevices->start(port => $mqtt->{port}, delay => [0, 0],
                                     ids => [device('d1')], mute => qr/mute/);
my $slow = TB::MqttDevices->start(port => $mqtt->{port}, delay => [1, 1],
                                  ids => [device('d2')]);


sub start_bridge {
    return $mqtt->bridge('fault', '--client-id', 'fault', '--ack-timeout',
                         4000, '--session-ttl', 12000, '--presence-grace',
                         2000);
}


# how often it has lost its broker

sub losses {
    return scalar(() = TB::Mqtt::text_of('fault.log')
                       =~ /mqtt: connection to .*trying again/g);
}


my $pid = start_bridge();
my $calls = TB::FaultCalls->new(nginx => $nginx, works => 'd1');

ok($devices->online(60) && $slow->online(60), 'devices are online');
ok($mqtt->attached(macro($_), 'fault'), "$_ is attached") for qw(d1 d2);
$calls->again();

{
    my $row = TB::FaultRow->begin('the bridge is killed', nginx => $nginx,
                                  bridge => ['fault', $pid]);

    # one that the device has, one that the broker has not acknowledged

    my $mute = $nginx->open('d1', 'mute', '[2]', timeout => 5000);

    wait_for { got($devices, '[2]') };
    kill 'STOP', $mqtt->{broker};

    my $taken = $calls->persistent('d1', '[3]');

    soon { $calls->status($taken) eq 'SENT' } 'the bridge has taken it';
    TB::Mqtt::reap($pid, 'KILL');
    kill 'CONT', $mqtt->{broker};

    my $kept = $calls->persistent('d1', '[4]');

    $row->told('two-way', $nginx->call('d1', 'run', '[5]', timeout => 1000));
    $row->told('with the device', $mute->answer());
    $row->told('persistent', $taken, $kept);
    $row->{bridge}[1] = $pid = start_bridge();
    $calls->done($row, 'what waited is done', $kept);
    $calls->done($row, 'what it had taken is done', $taken);
    $calls->again($row);
    is(got($devices, '[5]'), 0, "$row->{name}: nobody waits for that one");
    is(got($devices, '[4]'), 1, "$row->{name}: what waited is done once");
    $row->end();
}

{
    my $row = TB::FaultRow->begin('the bridge is stopped', nginx => $nginx,
                                  bridge => ['fault', $pid]);

    kill 'STOP', $pid;
    $row->told('two-way', $nginx->call('d1', 'run', '[6]', timeout => 1000));

    my $kept = $calls->persistent('d1', '[7]');

    $row->told('persistent', $kept);
    soon { redis()->command('FCALL', 'tb_rpc_tick', 1,
               TB::Bridge::key('due', macro('d1')) =~ s/:due:.*/:due/r, 8);
           $nginx->call('d1', 'run', '[6]', timeout => 200)->{what}
           eq '504 NO_ACTIVE_CONNECTION' } 'its session lapses', 60;
    $row->told('after the time of its session',
               $nginx->call('d1', 'run', '[6]', timeout => 300));
    kill 'CONT', $pid;
    $calls->done($row, 'what waited is done', $kept);
    $calls->again($row);
    is(got($devices, '[7]'), 1, "$row->{name}: once");
    is(got($devices, '[6]'), 0, "$row->{name}: nobody waits for the other one");
    $row->end();
}

{
    my $row = TB::FaultRow->begin('the broker is killed', nginx => $nginx,
                                  bridge => ['fault', $pid]);

    my $lost = losses();

    TB::Mqtt::reap($mqtt->{broker}, 'KILL');
    soon { losses() > $lost } 'the bridge has seen it', 60;
    $row->told('two-way', $nginx->call('d1', 'run', '[8]', timeout => 1000));

    my $kept = $calls->persistent('d1', '[9]');

    $row->told('persistent', $kept);
    $mqtt->broker();
    $calls->done($row, 'what waited is done', $kept);
    $calls->again($row);
    is(got($devices, '[9]'), 1, "$row->{name}: once");
    is(got($devices, '[8]'), 0, "$row->{name}: nobody waits for the other one");
    $row->end();
}

{
    my $row = TB::FaultRow->begin('the broker is stopped', nginx => $nginx,
                                  bridge => ['fault', $pid]);

    kill 'STOP', $mqtt->{broker};
    $row->told('two-way', $nginx->call('d1', 'run', '[10]', timeout => 3000));

    my $kept = $calls->persistent('d1', '[11]');

    $row->told('persistent', $kept);
    soon { TB::Mqtt::text_of('fault.log') =~ /was not acknowledged/ }
         'the bridge has seen it', 60;
    kill 'CONT', $mqtt->{broker};
    $calls->done($row, 'what was sent is done', $kept);
    $calls->again($row);
    $row->end();
}

{
    my $row = TB::FaultRow->begin('Redis is killed, and devices answer',
                                  nginx => $nginx, bridge => ['fault', $pid]);
    my $open = $nginx->open('d2', 'run', '[12]', timeout => 30_000);
    my $kept = $calls->persistent('d2', '[13]');

    $row->told('persistent', $kept);
    soon { $calls->status($kept) =~ /^(?:DELIVERED|SUCCESSFUL)$/ }
         "$row->{name}: the device has them";
    kill 'KILL', redis()->{pid};
    redis()->stop();
    soon { $slow->count('waiting') == 0
           || TB::Mqtt::text_of('fault.log') =~ /trying again/ }
         'answers come';
    redis()->go();
    $row->told('two-way', $open->answer(60));
    $calls->done($row, 'the answer is there', $kept);
    $calls->again($row);
    $row->end();
}

is(TB::Mqtt::reap($pid, 'TERM', 60), 0, 'the bridge ends');
$_->stop() for $devices, $slow;
$nginx->clean();

done_testing();
