# A worker of nginx is killed: what callers and devices are told, what is kept,
# counted and logged is what docs/faults.md says.
#
# runs: side by side, 15 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::FastBridge;
use TB::FaultRow;
use TB::Fixture;
use TB::Nginx;

redis();
device('e1', bridge => 'b1');
device('d1', bridge => 'b2');
device('off');
redis()->call('SET', 'tb:token:' . sha256_hex('t1'), device('h1'));
TB::FastBridge->start(connect => { redis()->access('bridge') });

my $bridge = TB::FastBridge->new(name => 'b2',
                                 connect => { redis()->access('bridge') });
my $nginx = TB::Nginx->start(
    http => 'tb_rpc_ack_timeout 1s;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api; }'
              . ' location = /metrics { tb_rpc_status prometheus; }');


sub poll {
    return TB::Client->new($nginx->{port},
                           TB::Client::text('GET',
                                            '/api/v1/t1/rpc?timeout=20000'));
}


sub polls { return redis()->call('HGET', redis()->device_key(macro('h1')),
                                 'poll') // '' }


soon { $nginx->call('e1', 'echo', '[1]')->{body} eq '[1]' } 'it works';

{
    my $kept = $nginx->call('d1', 'x', '[6]', persistent => 1,
                            timeout => 600_000);
    my ($id) = $kept->{body} =~ /([0-9a-f]{8}-[0-9a-f-]{27})/;
    my $held = $nginx->open('d1', 'x', '[7]', timeout => 10_000);
    my $device = poll();

    is(scalar $bridge->hold(2), 2, 'two calls are with the device');
    soon { polls() ne '' } 'another device polls';

    my $open = polls();
    my $worker = $nginx->worker();
    my $row = TB::FaultRow->begin('a worker is killed', nginx => $nginx);

    kill 'KILL', $worker;
    $row->told('held', $held->answer(), $device->answer());
    $row->told('the next one', $nginx->call('e1', 'echo', '[1]'));

    # the device polls again, and gets what is called now

    $device = poll();
    soon { polls() ne $open } 'the device polls again';
    $held = $nginx->open('h1', 'x', '[8]', timeout => 30_000);
    like($device->answer()->{body}, qr/"params":\[8\]/, 'it gets its call');
    $held->leave();

    # nobody waits for the one, the other has a record

    $row->kept('a persistent call',
               $nginx->get("/api/rpc/persistent/$id")->{status}, 200);
    soon { redis()->call('HLEN', TB::Bridge::key('inflight', macro('d1')))
           == 1 } 'the held call ends in Redis when its time is over', 60;
    $row->end();
}

$nginx->clean(qr/exited on signal 9/);

done_testing();
