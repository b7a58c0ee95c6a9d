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
sub score { $f->root->cmd('ZSCORE', $f->key($_[0], 'due'), $_[1]) }

$f->config(ack_timeout => 100);

# what it returns

{
    my $d = $f->device;

    is_deeply($f->tick($d), [0, 1000], 'nothing to do');
    $f->create($d, timeout => 500);

    my $r = $f->tick($d);
    is($r->[0], 0, 'nothing yet');
    ok($r->[1] > 400 && $r->[1] <= 500, 'the time to the next');
    $f->pass(510);
    $r = $f->tick($d);
    is($r->[0], 1, 'one');
    is($r->[1], 1000, 'the record is for later');

    like($f->root->fcall('tick', 'x', 1), qr/^ERR tb_rpc/, 'bad key');
    like($f->tick($d, $_), qr/^ERR tb_rpc/, "bad max: $_") for 0, -1, 'x';
}

# expiry, in every state

{
    my $d = $f->device(bridge => bridge());
    my $off = $f->device;
    my $sub = $f->server->client(user => 'tb-nginx');
    my %o = (timeout => 150);

    $sub->ssubscribe($f->key($_, 'reply', 'w1')) for $d, $off;

    my @r = map { $f->create($d, %o) } 1 .. 4;
    my $w = $f->create($off, %o);
    my $l = $f->create($off, %o, persistent => 0);
    my $q = $f->create($d, %o, persistent => 0);

    $f->report('sent', $d, $r[1][2], 1);
    $f->report('sent', $d, $r[2][2], 1);
    $f->report('delivered', $d, $r[2][2]);
    $f->report('sent', $d, $r[3][2], 1);
    $f->report('timeout', $d, $r[3][2]);
    is($f->status($d, $r[3][1]), 'TIMEOUT', 'one has timed out');

    cmp_ok(score($off, $off . '/' . $l->[2]), '==', $l->[4] + 3150,
           'lightweight: 3 s after its expiry');

    $f->pass(160);
    $f->ticks($_, 20) for $d, $off;
    is($f->status($d, $_->[1]), 'EXPIRED', 'expired') for @r;
    is($f->status($off, $w->[1]), 'EXPIRED', 'expired while offline');
    is($f->record($d, $r[0][1])->{R}, undef, 'without an answer');
    is($f->report('respond', $d, $r[2][2], '1'), 0, 'too late');
    is_deeply([$sub->message(0.05)], [], 'lightweight: its worker cancels');

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
        is($f->report('sent', $d, $r->[2], $attempt), 1, "attempt $attempt");
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
    $f->report('sent', $d, $r[0][2], 1);
    $f->ticks($d, 80);
    is($f->report('sent', $d, $r[1][2], 1), 1, 'the next one has its turn');
    $f->ticks($d, 80);
    is($f->report('sent', $d, $r[2][2], 1), 1, 'a two-way one passes it on');
    is($f->report('respond', $d, $r[1][2], '1'), 1, 'and can be answered');
}

# the wait for an answer

{
    $f->config(response_timeout => 60);

    my $b = bridge();
    my $d = $f->device(bridge => $b, strategy => 'sequential_on_response');
    my ($r, $next) = map { $f->create($d) } 1, 2;

    $f->report('sent', $d, $r->[2], 1);
    $f->report('delivered', $d, $r->[2]);
    is($f->report('sent', $d, $next->[2], 1), 0, 'not its turn');
    $f->ticks($d, 90);
    is($f->status($d, $r->[1]), 'FAILED', 'no answer');
    is($f->record($d, $r->[1])->{R}, '{"error":"There was a timeout awaiting'
       . ' for RPC response from device."}', 'its text');
    is($f->report('sent', $d, $next->[2], 1), 1, 'the next has its turn');

    $d = $f->device(bridge => $b);
    $r = $f->create($d);
    $f->report('sent', $d, $r->[2], 1);
    $f->report('delivered', $d, $r->[2]);
    $f->ticks($d, 90);
    is($f->status($d, $r->[1]), 'DELIVERED', 'burst: until it expires');
    $f->config;
}

# lost between pop and claim

{
    $f->config(ack_timeout => 50, max_retries => 0);

    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $q = $f->key($d, 'queue', $b);
    my $r = $f->create($d);
    my $hostile = '{"queuedTime":9999999999999}';

    $f->pop_one($d, $b);
    $f->ticks($d, 80);

    my $e = $f->pop_one($d, $b);

    is($e->{attempt}, 2, 'an empty queue: it was popped, push again');
    is($f->status($d, $r->[1]), 'QUEUED', 'no retry is used up');
    is($f->report('sent', $d, $r->[2], 1), 0, 'the lost one comes late');
    is($f->report('sent', $d, $r->[2], 2), 1, 'the new one is admitted');
    $f->report('respond', $d, $r->[2], '1');

    # behind others, whose params try to look like the end of an envelope

    my @r = map { my $c = $f->create($d, params => $hostile); $f->pass(3); $c }
        1 .. 3;
    $f->pop_one($d, $b);
    $f->ticks($d, 80);

    my @items = $f->pop_all($d, $b);

    is_deeply([map { [$_->{requestId}, $_->{attempt}] } @items],
              [[$r[1][2], 1], [$r[2][2], 1], [$r[0][2], 2]],
              'a later head: popped; the others are left where they are');
    is($f->stats($d, 'lost_claims'), 2, 'counted');

    # a lightweight one, too

    $d = $f->device(bridge => $b);
    $r = $f->create($d, persistent => 0, params => $hostile);
    $f->pop_all($d, $b);
    $f->ticks($d, 80);
    ($e) = grep { $_->{deviceId} eq $d } $f->pop_all($d, $b);
    is($e->{attempt}, 2, 'lightweight');
    is_deeply($e->{params}, { queuedTime => 9999999999999 }, 'as it was');
    is($e->{createdTime}, $r->[4], 'createdTime');
    cmp_ok($e->{queuedTime}, '>', $r->[4], 'queuedTime');

    $f->config;
}

# a slow bridge: its queue never grows beyond what was created

{
    $f->config(ack_timeout => 40, max_pending => 100000);

    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $q = $f->key($d, 'queue', $b);

    $f->{nginx}->pipeline(map {
        ['FCALL', 'tb_rpc_create', 1, $f->dkey($d), uuid(), '', 0, 1, $T,
         '*', '"m"', '{}', '', '', 100000, '', '', 'wait', '', '', '']
    } 1 .. 90) for 1 .. 20;

    my $max = 0;

    for (1 .. 50) {
        $f->tick($d, 64);

        my $len = $f->root->cmd('LLEN', $q);
        $max = $len if $len > $max;

        # one claim in a while

        my $e = $f->pop_one($d, $b);
        $f->report('sent', $d, $e->{requestId}, $e->{attempt});
        $f->report('delivered', $d, $e->{requestId});
        $f->pass(20);
    }

    is($max, 1800, 'a backlog of 1800 stays one');
    $f->config;
}

# catching up, bounded; the lock

{
    my $d = $f->device;

    $f->create($d, timeout => 50) for 1 .. 30;
    $f->pass(60);

    my $r = $f->tick($d, 20);
    is_deeply($r, [20, 0], 'bounded, and there is more');
    $r = $f->tick($d, 20);
    is($r->[0], 10, 'the rest, at once');
    is($f->tick($d, 20)->[0], 0, 'done');
    is($f->root->cmd('HLEN', $f->key($d, 'inflight', $d)), 0, 'all expired');

    my $e = $f->create($d, timeout => 1);
    $f->pass(20);
    $f->root->cmd('SET', $f->key($d, 'ticklock'), 1, 'PX', 10000);
    is($f->tick($d)->[0], 0, 'somebody else ticks');
    $f->root->cmd('DEL', $f->key($d, 'ticklock'));
    is($f->tick($d)->[0], 1, 'now it is ours');
    cmp_ok($f->root->cmd('PTTL', $f->key($d, 'ticklock')), '<=', 10, 'short');
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
    $f->pass(70);
    $f->ticks($d, 20);
    is($f->root->cmd('ZCARD', $f->key($d, 'index', $d)), 0, 'all removed');
    $f->pop_all($d, "t$n");
    is($f->left($d), '', 'nothing left') or diag $f->left($d);

    $f->config(record_ttl => 0);
    $r = $f->create($d);
    $f->report('respond', $d, $r->[2], '1');
    is(score($d, $r->[1]), undef, 'ttl 0: for ever');
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
               "$d/99999999999999999999", "@%d+", '-inf', "$d/1/2");

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
               'Pz0' . uuid() . ' 1 1', 'Pq0' . uuid() . ' 1 1',
               'Pq0' . uuid() . ' 99999999999999999999 1',
               'Lq0' . uuid() . ' 1 1', 'Lq0' . uuid() . ' 1 1 x w {',
               'Lq0' . uuid() . ' 1 1 99999999999999999999 w {',
               'Lp0' . uuid() . ' 0 1 5 w {', 'Ls1' . uuid() . ' 1 1 5 w ')
    {
        my $rid = ++$i;

        $root->cmd('HSET', $in, $rid, $v);
        $root->cmd('RPUSH', $f->key($d, 'pending', $d), $rid);
        $root->cmd('ZADD', $due, 1, "$d/$rid");
        $f->ticks($d, 15);
        like($f->report($_, $d, $rid, 1), qr/^[01]$/, "$_: '$v'")
            for qw(sent delivered timeout failed respond);
        is($root->cmd('ZCOUNT', $due, '-inf', 1000), 0, 'not due for ever');
    }

    $root->cmd('RPUSH', $f->key($d, 'pending', $d), 'x', '', -1, 'a' x 1000);
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
               '{"requestId":1');
    is($f->{nginx}->fcall('cancel', $f->dkey($d), $r->[1], $r->[2])->[0],
       'queued', 'cancelled');
    $root->cmd('DEL', $f->key($d, 'queue', $b));
    $r = $f->create($d, timeout => 30);
    $root->cmd('DEL', $f->key($d, 'queue', $b));
    $root->cmd('SET', $f->key($d, 'queue', $b), 'x');
    $f->pass(40);
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
    my $pid = fork;

    if (!$pid) {
        sleep 0.3;
        kill 'KILL', $f->server->pid;
        require POSIX;
        POSIX::_exit(0);
    }

    my @ids;

    eval {
        while (@ids < 900) {
            my $r = $f->create($d);
            push @ids, $r->[1] if ref $r eq 'ARRAY' && $r->[0] eq 'offline';
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
    is($f->report('attach', $d, 'k1', 's', 60000), 100 < @ids ? 100 : @ids
       + ($f->root->cmd('HLEN', $f->key($d, 'inflight', $d)) - @ids),
       'and they are delivered');
}

done_testing();
