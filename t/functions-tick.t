# The function library: tb_rpc_tick, which brings forward what time has ended.
#
# runs: side by side, 4 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use TB::Functions;

my $f = TB::Functions->new(appendonly => 1, clock => 1,
                           config => { appendfsync => 'always' });
my $T = $TB::Functions::TENANT;
my $n = 0;

sub uuid { TB::Functions::uuid() }
sub bridge { return 't' . ++$n }

# device ids of one shard

sub same_shard {
    my ($n) = @_;

    my @ids = uuid();

    while (@ids < $n) {
        my $id = uuid();
        push @ids, $id if TB::Functions::shard($id)
                          == TB::Functions::shard($ids[0]);
    }

    return @ids;
}

sub score { $f->root->cmd('ZSCORE', $f->key($_[0], 'due'), $_[1]) }

$f->config(ack_timeout => 100);

# when it looks: a lightweight call is watched for its acknowledgement only if
# it has the turn, which a call that was pushed under burst has not

{
    my $b = bridge();
    my $d = $f->device(bridge => $b, strategy => 'sequential_on_ack');
    my $turn = $f->create($d, persistent => 0, timeout => 10_000);

    $f->take($d, $b);
    is(score($d, "$d/$turn->[2]"), $f->now + 100, 'with the turn: soon');

    my $e = $f->device(bridge => $b, strategy => 'burst');
    my $none = $f->create($e, persistent => 0, timeout => 10_000);

    $f->device(id => $e, bridge => $b, strategy => 'sequential_on_ack');
    $f->take($e, $b);
    is(score($e, "$e/$none->[2]"), $f->now + 10_000 + 3000,
       'without it: at the end');
}

# what it returns

{
    my $d = $f->device;

    is_deeply($f->tick($d), [0, 1000, 0], 'nothing to do');
    $f->create($d, timeout => 500);

    my $r = $f->tick($d);
    is($r->[0], 0, 'nothing yet');
    ok($r->[1] > 400 && $r->[1] <= 500, 'the time to the next');
    $f->pass(510);
    $r = $f->tick($d);
    is($r->[0], 1, 'one');
    is($r->[1], 1000, 'the record is for later');
    like($r->[2], qr/^\d+$/, 'and the time it took');

    like($f->root->fcall('tick', 'x', 1), qr/^ERR tb_rpc/, 'bad key');
    like($f->tick($d, $_), qr/^ERR tb_rpc/, "bad max: $_") for 0, -1, 'x';
}

# expiry, in every state

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $off = $f->device;
    my $sub = $f->server->client(user => 'tb-nginx');
    my %o = (timeout => 150);

    $sub->ssubscribe($f->key($_, 'reply', 'w1')) for $d, $off;

    # taken, acknowledged, pushed again, in the queue

    my @r = map { $f->create($d, %o) } 1 .. 3;

    is(scalar($f->take_all($d, $b)), 3, 'three are taken');
    push @r, $f->create($d, %o);

    my $w = $f->create($off, %o);
    my $l = $f->create($off, %o, persistent => 0);
    my $q = $f->create($d, %o, persistent => 0);

    $f->report('delivered', $d, $r[1][2]);
    $f->report('timeout', $d, $r[2][2]);
    is(join('', map { $f->state_of($d, $_->[2]) } @r), 'sdqq', 'their states');
    is($f->status($d, $r[2][1]), 'TIMEOUT', 'one has timed out');

    cmp_ok(score($off, $off . '/' . $l->[2]), '==', $l->[4] + 3150,
           'lightweight: 3 s after its expiry');

    $f->pass(160);
    $f->ticks($_, 20) for $d, $off;
    is($f->status($d, $_->[1]), 'EXPIRED', 'expired') for @r;
    is($f->status($off, $w->[1]), 'EXPIRED', 'expired while offline');
    is($f->record($d, $r[0][1])->{R}, undef, 'without an answer');
    is($f->report('respond', $d, $r[1][2], '1'), 0, 'too late');
    is_deeply([$sub->message(0.05)], [], 'lightweight: its worker cancels');

    # looked at too early

    $f->root->cmd('ZADD', $f->key($_->[0], 'due'), 'XX', $f->now,
                  "$_->[0]/$_->[1][2]") for [$off, $l], [$d, $q];
    $f->ticks($_, 20) for $d, $off;
    is_deeply([$sub->message(0.05)], [], 'for which it has 3 s');

    $f->pass(3000);
    $f->ticks($_, 20) for $d, $off;

    my %said = map { substr($_->[1], 0, 36) => substr $_->[1], 36 }
        [$sub->message(1)], [$sub->message(1)];

    is($said{$l->[1]}, 'Xoffline', 'or tick says it');
    is($said{$q->[1]}, 'Xqueued', 'with the state it was in');
    is($f->root->cmd('EXISTS', $f->key($_, 'inflight', $_)), 0, 'closed')
        for $d, $off;
    is($f->root->cmd('EXISTS', $f->key($off, 'pending', $off)), 0,
       'nothing waits');
}

# acknowledgement timeouts, retries

{
    $f->config(ack_timeout => 60, max_retries => 1);

    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $r = $f->create($d);

    for my $attempt (1, 2) {
        is(($f->take_all($d, $b))[0]{attempt}, $attempt, "attempt $attempt");
        $f->ticks($d, 40);
        is($f->status($d, $r->[1]), 'SENT', 'not before its time');
        $f->ticks($d, 40);
        is($f->status($d, $r->[1]), $attempt == 1 ? 'TIMEOUT' : 'FAILED',
           'no acknowledgement');
    }

    is($f->root->cmd('EXISTS', $f->key($d, 'inflight', $d)), 0, 'closed');

    # one-way, lightweight: the end of its turn

    $d = $f->device(bridge => $b, strategy => 'sequential_on_ack');
    my @r = map { $f->create($d, persistent => 0, oneway => $_ == 1 ? 1 : 0) } 1 .. 3;
    is(($f->take_all($d, $b))[0]{requestId}, $r[0][2], 'the first');
    is(scalar($f->take_all($d, $b)), 0, 'is alone');
    $f->ticks($d, 80);
    is(($f->take_all($d, $b))[0]{requestId}, $r[1][2],
       'the next one has its turn');
    $f->ticks($d, 80);
    is(($f->take_all($d, $b))[0]{requestId}, $r[2][2],
       'a two-way one passes it on');
    is($f->report('respond', $d, $r[1][2], '1'), 1, 'and can be answered');
}

# the wait for an answer

{
    $f->config(response_timeout => 60);

    my $b = bridge();
    my $d = $f->device(bridge => $b, strategy => 'sequential_on_response');
    my ($r, $next) = map { $f->create($d) } 1, 2;

    $f->take_all($d, $b);
    $f->report('delivered', $d, $r->[2]);
    is(scalar($f->take_all($d, $b)), 0, 'not the turn of the next');
    $f->ticks($d, 90);
    is($f->status($d, $r->[1]), 'FAILED', 'no answer');
    is($f->record($d, $r->[1])->{R}, '{"error":"There was a timeout awaiting'
       . ' for RPC response from device."}', 'its text');
    is(($f->take_all($d, $b))[0]{requestId}, $next->[2],
       'the next has its turn');

    $d = $f->device(bridge => $b);
    $r = $f->create($d);
    $f->take_all($d, $b);
    $f->report('delivered', $d, $r->[2]);
    $f->ticks($d, 90);
    is($f->status($d, $r->[1]), 'DELIVERED', 'burst: until it expires');
    $f->config;
}

# What waits in a queue is looked at when it expires, and never before: nobody
# takes for an hour.

{
    $f->config(ack_timeout => 50);

    my $b = bridge();
    my @d = map { $f->device(id => $_, bridge => $b) } same_shard(20);
    my @r = map { my $d = $_; map { [$d, $f->create($d, timeout => 3600_000,
                                      persistent => $_ % 2)] } 1 .. 16 } @d;
    my ($touched, $looks) = (0, 0);

    for (my $ms = 0; $ms < 3_580_000; $ms += 20_000) {
        $f->pass(20_000);

        my $t = $f->tick($d[0]);

        $touched += $t->[0];
        $looks++;
    }

    # the queue itself is looked at once a minute

    cmp_ok($touched, '<=', 60 * 2, "$looks ticks have touched nothing");
    is($f->stats($d[0], 'retries'), 0, 'no retry');
    is($f->root->cmd('LLEN', $f->key($d[0], 'queue', $b)), 320, 'all wait');
    is($f->root->cmd('ZCARD', $f->key($d[0], 'due')), 321,
       'each with one entry, the queue with another');

    # and is taken in the very last moment

    my @taken = $f->take_all($d[0], $b);

    is(scalar @taken, 320, 'taken');
    is($taken[0]{attempt}, 1, 'the first attempt');
    is($taken[0]{expirationTime} - $taken[0]{takenTime}, 20_000,
           'with what remains of its time');
    $f->{admin}->fcall('device_del', $f->dkey($_)) for @d;
    $f->config;
}

# catching up, bounded

{
    my $d = $f->device;

    $f->create($d, timeout => 50) for 1 .. 30;
    $f->pass(60);

    my $r = $f->tick($d, 20);
    is_deeply([@$r[0, 1]], [20, 0], 'bounded, and there is more');
    $r = $f->tick($d, 20);
    is($r->[0], 10, 'the rest, at once');
    is($f->tick($d, 20)->[0], 0, 'done');
    is($f->root->cmd('HLEN', $f->key($d, 'inflight', $d)), 0, 'all expired');

    # two that tick at once are harmless

    my @r = map { $f->create($d, timeout => 1) } 1 .. 4;
    $f->pass(20);
    is($f->tick($d, 2)->[0], 2, 'one');
    is($f->root->fcall('tick', $f->key($d, 'due'), 2)->[0], 2, 'another');
    is($f->status($d, $_->[1]), 'EXPIRED', 'expired') for @r;
}

# old records

{
    $f->config(record_ttl => 60);

    my $d = $f->device(bridge => bridge());
    my $r = $f->create($d, uuid => uuid(), hash => 'ab');
    my $x = $f->create($d, expiration => 0);
    my $open = $f->create($d);

    $f->report('respond', $d, $r->[2], '1');
    $f->ticks($d, 40);
    is($f->status($d, $r->[1]), 'SUCCESSFUL', 'kept');
    $f->ticks($d, 40);
    is($f->status($d, $_->[1]), 'GONE', 'removed') for $r, $x;
    is($f->status($d, $open->[1]), 'QUEUED', 'an open one is not');
    $f->report('respond', $d, $open->[2], '1');
    is(score($d, $open->[1]), undef, 'an end is not due any more');
    is($f->root->cmd('ZSCORE', $f->key($d, 'old'), $open->[1]), $f->now + 60,
       'but kept, apart');
    $f->pass(70);
    $f->ticks($d, 20);
    is($f->root->cmd('ZCARD', $f->key($d, 'index', $d)), 0, 'all removed');
    is($f->root->cmd('EXISTS', $f->key($d, 'old')), 0, 'there too');
    $f->take_all($d, "t$n");
    is($f->left($d), '', 'nothing left') or diag $f->left($d);

    $f->config(record_ttl => 0);
    $r = $f->create($d);
    $f->report('respond', $d, $r->[2], '1');
    is(score($d, $r->[1]), undef, 'ttl 0: not due');
    is($f->root->cmd('ZSCORE', $f->key($d, 'old'), $r->[1]), undef,
       'nor old: for ever');
    $f->config;
}

# edited by hand: nothing stops tick

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $due = $f->key($d, 'due');
    my $root = $f->root;
    my @bad = ('', 'x', '@', '@x', "\@$d", '@' . uuid(), '/', "$d/", "$d/x",
               "$d/999", uuid() . '/1', uuid(), "\0\xff", 'a' x 100000,
               "$d/99999999999999999999", "@%d+", '-inf', "$d/1/2", '#', '#x',
               "#\0", '#' . 'b' x 100000);

    $root->cmd('ZADD', $due, 1, $_) for @bad;
    $root->cmd('ZADD', $due, '-inf', 'minus');
    $root->cmd('ZADD', $due, '+inf', 'plus');

    my $r = $f->create($d, timeout => 30);

    $f->pass(40);
    is(ref $f->tick($d), 'ARRAY', 'tick goes on');
    $f->ticks($d, 30);
    is($f->status($d, $r->[1]), 'EXPIRED', 'and does its work');
    is($root->cmd('ZCOUNT', $due, '-inf', $f->now), 0, 'garbage is gone');
    $root->cmd('ZREM', $due, 'plus');

    # open calls that make no sense

    my $in = $f->key($d, 'inflight', $d);
    my $i = 0;

    for my $v ('', 'x', 'Pq0', 'Pq0' . uuid(), 'Pq0' . uuid() . ' 1',
               'Pz0' . uuid() . ' 1 1 1 1', 'Pq0' . uuid() . ' 1 1 1 1',
               'Pq0' . uuid() . ' 99999999999999999999 1 1 1',
               'Pq0' . uuid() . ' 1 99999999999999999999 1 1',
               'Pq0' . uuid() . ' 1 1 99999999999999999999 1',
               'Pq0' . uuid() . ' 1 1 1 99999999999999999999',
               'Lq0' . uuid() . ' 1 1 1 1', 'Lq0' . uuid() . ' 1 1 1 1 x w',
               'Lq0' . uuid() . ' 1 1 1 1 99999999999999999999 w',
               'Lp0' . uuid() . ' 0 1 1 0 5 w', 'Ls1' . uuid() . ' 1 1 1 0 5 w')
    {
        my $rid = ++$i;

        $root->cmd('HSET', $in, $rid, $v);
        $root->cmd('ZADD', $f->key($d, 'pending', $d), $rid, $rid);
        $root->cmd('RPUSH', $f->key($d, 'queue', $b), "$rid 1 "
                   . substr("$v       00000000", 3, 8) . " $d");
        $root->cmd('ZADD', $due, 1, "$d/$rid");
        is(ref $f->take($d, $b), 'ARRAY', "take: '$v'");
        $f->ticks($d, 15);
        like($f->report($_, $d, $rid, 1), qr/^[01]$/, "$_: '$v'")
            for qw(delivered timeout failed respond return);
        is($root->cmd('ZCOUNT', $due, '-inf', 1000), 0, 'not due for ever');
    }

    $root->cmd('ZADD', $f->key($d, 'pending', $d), 0, 'x', 1, '', 2, -1, 3,
               'a' x 1000);
    is($f->report('attach', $d, bridge(), 's1', 1000), 0, 'attach');
    is($f->report('detach', $d, 's1'), 1, 'detach');
    $f->ticks($d, 100);
    $root->cmd('DEL', $in, $f->key($d, 'pending', $d));

    # a record that lost half of its fields, or its type

    my @r = map { $f->create($d, timeout => 100) } 1 .. 4;

    $root->cmd('HDEL', $f->key($d, 'rpc', $r[0][1]), 'e');
    $root->cmd('DEL', $f->key($d, 'rpc', $r[1][1]));
    $root->cmd('DEL', $f->key($d, 'rpc', $r[2][1]));
    $root->cmd('SET', $f->key($d, 'rpc', $r[2][1]), 'x');
    $f->pass(110);
    is(ref $f->tick($d), 'ARRAY', 'broken records: tick goes on')
        for 1 .. 3;
    $f->ticks($d, 20);
    is($f->status($d, $r[3][1]), 'EXPIRED', 'and does its work');
    is($root->cmd('ZCOUNT', $due, '-inf', $f->now), 0,
       'they are dropped, or put off');
    is($root->cmd('HEXISTS', $in, $r[0][2]), 0, 'half a record: closed');
    is($f->report('respond', $d, $r[1][2], '1'), 0, 'no record, no answer');
    is($root->cmd('HEXISTS', $in, $r[1][2]), 0, 'and the call is dropped');

    # strange items in a queue, and keys of other types

    $r = $f->create($d, persistent => 0);
    $root->cmd('LPUSH', $f->key($d, 'queue', $b), 'x', '{}', "\0" x 500,
               '{"requestId":1', "1 1 00000000 $d", '1 1 ' . 'f' x 45);
    is($f->{nginx}->fcall('cancel', $f->dkey($d), $r->[1], $r->[2])->[0],
       'queued', 'cancelled');
    $root->cmd('DEL', $f->key($d, 'queue', $b));
    $r = $f->create($d, timeout => 30);
    $root->cmd('DEL', $f->key($d, 'queue', $b));
    $root->cmd('SET', $f->key($d, 'queue', $b), 'x');
    $f->pass(40);
    like($f->take($d, $b), qr/^ERR tb_rpc: key/, 'take: another type');
    is(ref $f->tick($d), 'ARRAY', 'a queue of another type');
    is($root->cmd('ZCOUNT', $due, '-inf', $f->now), 0, 'put off');
    $root->cmd('DEL', $f->key($d, 'queue', $b));
    cmp_ok($f->stats($d, 'broken'), '>', 0, 'counted');

    # settings

    $root->cmd('HSET', $f->key($d, 'config'), 'settings',
               'ack_timeout=x max_pending=-5 strategy=%d events=7 shards=');
    is($f->create($d)->[0], 'queued', 'settings that make no sense');
    $root->cmd('DEL', $f->key($d, 'config'));
    is($f->create($d)->[0], 'queued', 'no settings');
    $f->config;
}

# killed in the middle of a stream of creates: what was answered is there

{
    my $d = $f->device;

    pipe my $some, my $tell or die "pipe: $!\n";

    my $pid = fork;

    if (!$pid) {
        # the next ones are on their way
        sysread $some, my $byte, 1;
        sleep 0.02;
        kill 'KILL', $f->server->pid;
        require POSIX;
        POSIX::_exit(0);
    }

    my ($tries, @ids) = (0);

    eval {
        while (@ids < 900) {
            my $r = $f->create($d);
            push @ids, $r->[1] if ref $r eq 'ARRAY' && $r->[0] eq 'offline';
            syswrite $tell, '.' if ++$tries == 20;
            sleep 0.001;
        }
    };

    waitpid $pid, 0;
    cmp_ok(scalar(@ids), '>', 5, scalar(@ids) . ' answered before the kill');
    $f->server->kill9;
    $f->server->start;
    $f->connect;

    is(scalar(grep { $f->status($d, $_) ne 'QUEUED' } @ids), 0,
       'none is lost');
    $f->report('attach', $d, 'k1', 's', 60000);

    my @got;

    while (my @e = $f->take_all($d, 'k1')) {
        push @got, map { $_->{rpcId} } @e;
        $f->report('delivered', $d, $_->{requestId}, 1) for @e;
    }

    is_deeply([@got[0 .. $#ids]], \@ids, 'and they are delivered');
    cmp_ok(scalar(@got), '<=', @ids + 1, 'nothing else is');
}

done_testing();
