# The function library in a cluster of two nodes while a shard moves from one to
# the other: at both ends every write is TRYAGAIN and changes nothing, and once
# it has moved its calls go on at the other node.
#
# runs: side by side, 4 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Bridge;
use TB::Env qw(free_port wait_for);
use TB::RedisServer;

my $TENANT = '11111111-2222-3333-4444-555555555555';

my ($from, $to) = map {
    TB::RedisServer->start(args => ['--cluster-enabled', 'yes', '--cluster-port',
                                    free_port(), '--appendonly', 'no']);
} 1, 2;

$from->call('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
$from->call('CLUSTER', 'MEET', '127.0.0.1', $to->{port},
            ($to->call('CONFIG', 'GET', 'cluster-port'))->[1]);

ok(wait_for(sub {
    return 2 == grep { $_->call('CLUSTER', 'INFO')
                           =~ /^cluster_state:ok\r.*^cluster_known_nodes:2\r/ms }
                     $from, $to;
}, 30), 'two nodes');

my %name = map { $_ => $_->call('CLUSTER', 'MYID') } $from, $to;


# a device with a call in its bridge's queue, one that was taken, and its shard

my $d = 'de000000-0000-11ee-8000-000000000001';
my $key = TB::Bridge::key('device', $d);
my $queue = TB::Bridge::prefix(TB::Bridge::shard($d)) . 'queue:b1';
my $slot = $from->call('CLUSTER', 'KEYSLOT', $key);
my $calls = 0;


sub create {
    return $_[0]->command('FCALL', 'tb_rpc_create', 1, $key,
                          sprintf('ca000000-0000-11ee-8000-%012x', ++$calls), '',
                          0, 1, $TENANT, '*', '"m"', '{}', '', '', 60000);
}


sub take {
    return $_[0]->command('FCALL', 'tb_rpc_take', 1, $queue, 'c1', $_[1], 16);
}


$from->fcall('tb_rpc_device_put', $key, $TENANT, '', 'bridge', 'b1');
is(create($from)->[0], 'queued', 'a call');
like(take($from, 1)->[1], qr/"rpcId":"ca000000-/, 'is taken');
is(create($from)->[0], 'queued', 'and one more');


sub keys_of {
    my ($node) = @_;

    return @{ $node->call('CLUSTER', 'GETKEYSINSLOT', $slot, 1000) };
}


my @keys = keys_of($from);

ok(@keys > 5, 'the keys of the shard: ' . @keys);

$to->call('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $name{$from});
$from->call('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $name{$to});


sub contents {
    my ($node) = @_;

    my @texts;

    for my $key (sort(keys_of($node))) {
        $node->call('ASKING');
        push @texts, unpack 'H*', $node->call('DUMP', $key);
    }

    return "@texts";
}


sub migrate {
    $from->call('MIGRATE', '127.0.0.1', $to->{port}, '', 0, 60000, 'AUTH',
                $TB::RedisServer::PASSWORD{admin}, 'KEYS', @_);
}


# half of it has gone; what functions are called with is still here, as Redis
# itself asks for that

migrate(grep { /:(?:inflight|index|rpc):/ } @keys);

my @before = map { contents($_) } $from, $to;

like(create($from), qr/^TRYAGAIN tb_rpc: the shard \S+ is not all here/,
     'create: TRYAGAIN');
like(take($from, 2), qr/^TRYAGAIN /, 'take: TRYAGAIN');
$to->call('ASKING');
like(create($to), qr/^TRYAGAIN /, 'at the other end as well');
is_deeply([map { contents($_) } $from, $to], \@before,
          'and nothing has changed');

migrate(keys_of($from));

$_->call('CLUSTER', 'SETSLOT', $slot, 'NODE', $name{$to}) for $to, $from;

like(create($from), qr/^MOVED /, 'it has moved');
is(create($to)->[0], 'queued', 'the other node goes on');

my $got = take($to, 2);

is(@$got, 3, 'two calls wait there') or diag("@$got");

my ($first) = map { /"requestId":(\d+)/ } $got->[1];

is($to->fcall('tb_rpc_respond', $key, $first, '{"ok":true}'), 1,
   'an answer is taken there');

done_testing();
