# Something happens to the one Redis: what callers are told, what is kept, counted
# and logged is what docs/faults.md says.
#
# runs: side by side, 50 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::FaultCalls;
use TB::FaultRow;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

redis(args => ['--enable-debug-command', 'yes', '--appendfsync', 'everysec']);
redis()->{library} = 0;

my $proxy = TB::Proxy->start(to => redis()->{port});
my $nginx = TB::Nginx->start(
    redis_port => $proxy->{port},
    redis => 'command_timeout ' . scaled(3000) . 'ms;',
    http => 'tb_rpc_max_timeout 10m;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location = /metrics { tb_rpc_status prometheus; }');

# e1 is answered at once; what d1 gets is taken and answered by this process

device('e1', bridge => 'b1');
device('d1', bridge => 'b2');
device('off');
TB::FastBridge->start(connect => { redis()->access('bridge') });

my $bridge = TB::FastBridge->new(name => 'b2',
                                 connect => { redis()->access('bridge') });
my $calls = TB::FaultCalls->new(nginx => $nginx, works => 'e1');


# a call that its device has, and a persistent one that waits

sub before {
    my $held = $nginx->open('d1', 'x', '[7]', timeout => scaled(120_000));

    return ($held, $bridge->take(1), id_of($calls->persistent('off')));
}


$calls->again();

{
    my ($held, $taken, $id) = before();
    my $row = TB::FaultRow->begin('Redis is killed', nginx => $nginx);

    # on their way at that moment
    redis()->wait_written();
    redis()->pause();

    my @open = map { $nginx->open('e1', 'x', '1', @$_) }
               ([], [persistent => 1]);

    $nginx->get('/none');
    kill 'KILL', redis()->{pid};
    redis()->stop();
    $row->told('on their way', TB::Client::answers(30, @open));

    my $since = time();

    $row->told('two-way', $nginx->call('e1', 'x', '1'));
    # than command_timeout; its own time is 10 s
    cmp_ok(time() - $since, '<', scaled(8), 'it does not take longer');
    $row->told('persistent', $calls->persistent('e1'));
    redis()->go();
    $calls->again($row);
    $bridge->reconnect();
    $bridge->answer($taken);
    $row->kept('a call that was held', $held->answer()->{body}, '[7]');
    $row->kept('what was answered 200', $calls->status($id), 'QUEUED');
    $row->end();
}

{
    my ($held, $taken, $id) = before();
    my $row = TB::FaultRow->begin('Redis is stopped', nginx => $nginx);

    redis()->pause();

    my @open = map { $nginx->open('e1', 'x', '1', @$_) }
               ([], [persistent => 1]);

    $row->told('on their way', TB::Client::answers(30, @open));
    soon { $nginx->count_log(qr/no reply/) } 'it is left';
    $row->told('two-way', $nginx->call('e1', 'x', '1'));
    $row->told('persistent', $calls->persistent('e1'));
    redis()->resume();
    $calls->again($row);
    $bridge->answer($taken);
    $row->kept('a call that was held', $held->answer()->{body}, '[7]');
    $row->kept('what was answered 200', $calls->status($id), 'QUEUED');
    $row->end();
}

{
    my ($held, $taken, $id) = before();
    my $row = TB::FaultRow->begin('Redis is full', nginx => $nginx);

    redis()->call('CONFIG', 'SET', 'maxmemory', 1);
    $row->told('two-way', $nginx->call('e1', 'x', '1'));
    $row->told('persistent', $calls->persistent('e1'));
    $bridge->answer($taken);
    $row->kept('a call that was held', $held->answer()->{body}, '[7]');
    $row->kept('what was answered 200', $calls->status($id), 'QUEUED');
    redis()->call('CONFIG', 'SET', 'maxmemory', 0);
    $calls->again($row);
    $row->end();
}

{
    my ($held, $taken, $id) = before();
    my $row = TB::FaultRow->begin('Redis is read-only', nginx => $nginx);

    # the first that is refused may be a tick, then calls are not sent any more

    my $refused = qr/: call \S+ was refused by Redis: "READONLY /;
    my $before = $nginx->count_log($refused);

    for (1 .. 50) {
        redis()->call('REPLICAOF', '127.0.0.1', '1');
        $row->told('two-way', $nginx->call('e1', 'x', '1'));
        $row->told('persistent', $calls->persistent('e1'));
        redis()->call('REPLICAOF', 'NO', 'ONE');
        $calls->again($row);
        last if $nginx->count_log($refused) > $before;
    }

    $bridge->answer($taken);
    $row->kept('a call that was held', $held->answer()->{body}, '[7]');
    $row->kept('what was answered 200', $calls->status($id), 'QUEUED');
    $row->end();
}

{
    my ($held, $taken, $id) = before();
    my $row = TB::FaultRow->begin('Redis misses its replicas',
                                  nginx => $nginx);

    redis()->call('CONFIG', 'SET', 'min-replicas-to-write', 1);
    $row->told('two-way', $nginx->call('e1', 'x', '1'));
    $row->told('persistent', $calls->persistent('e1'));
    $row->kept('what was answered 200', $calls->status($id), 'QUEUED');
    redis()->call('CONFIG', 'SET', 'min-replicas-to-write', 0);
    $calls->again($row);
    $bridge->answer($taken);
    $row->kept('a call that was held', $held->answer()->{body}, '[7]');
    $row->end();
}

{
    my $row = TB::FaultRow->begin('Redis is slow by a second',
                                  nginx => $nginx);
    my $sleeper = redis()->connect('admin');

    for my $call (sub { $nginx->call('e1', 'echo', '[2]') },
                  sub { $calls->persistent('off') })
    {
        my $since = time();

        $sleeper->send(['DEBUG', 'SLEEP', 1]);
        sleep(0.05);
        $row->told('a call', $call->());
        cmp_ok(time() - $since, '>', 0.9, 'later');
        $sleeper->reply();
    }

    $row->end();
}

{
    my $row = TB::FaultRow->begin('a connection is reset in mid-reply',
                                  nginx => $nginx);
    my $stored = () = @{ redis()->call('KEYS', '*:rpc:*') };

    $proxy->tell('tear', 'tb_rpc_create');
    $row->told('persistent', $calls->persistent('off'));
    $row->kept('it is there once', scalar @{ redis()->call('KEYS', '*:rpc:*') },
               $stored + 1);
    $proxy->tell('tear', 'tb_rpc_create');
    $row->told('two-way', $nginx->call('e1', 'echo', '[3]', timeout => 1000));
    $calls->again($row);
    $row->end();
}

{
    my $row = TB::FaultRow->begin('Redis is slower than command_timeout',
                                  nginx => $nginx);
    my ($held, $taken, $id) = before();
    my $sleeper = redis()->connect('admin');

    $sleeper->send(['DEBUG', 'SLEEP', scaled(4)]);
    sleep(0.05);

    my @open = map { $nginx->open('e1', 'x', '1', @$_) }
               ([], [persistent => 1]);

    $row->told('a call', TB::Client::answers(30, @open));
    $sleeper->reply();
    $calls->again($row);
    $bridge->answer($taken);
    $row->kept('a call that was held', $held->answer()->{body}, '[7]');
    $row->kept('what was answered 200', $calls->status($id), 'QUEUED');
    $row->end();
}

is(scalar(grep { /start worker process / } split /\n/, $nginx->error_log()), 1,
   'the same worker');
$nginx->clean();

done_testing();
