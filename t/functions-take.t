# The function library: bridges take calls.  Tickets, what is left, what is not
# taken any more, and that one broken call stops no other.
#
# runs: side by side, 5 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Functions;

my $f = TB::Functions->new(clock => 1);
my $T = $TB::Functions::TENANT;
my $n = 0;

$f->config;

sub uuid { TB::Functions::uuid() }
sub bridge { return 'tk' . ++$n }
sub rids { return map { $_->{requestId} } @_ }
sub field { return $f->root->cmd('HGET', $f->dkey($_[0]), $_[1]) }
sub queue { return $f->root->cmd('LRANGE', $f->key($_[0], 'queue', $_[1]), 0,
                                 -1) }
sub give_back { my ($d, $e, @session) = @_;
                return $f->report('return', $d, $e->{requestId},
                                  $e->{attempt}, @session) }


# the envelopes of a reply, decoded

sub taken { my ($left, @raw) = @{ $_[0] };
            return map { TB::Functions::envelope($_) } @raw }


# F1: there is more, whatever was found ----------------------------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my @r = map { $f->create($d) } 1 .. 4;
    my $key = $f->key($d, 'queue', $b);

    $f->root->cmd('LPUSH', $key, map { "$_ 1 00000000 $d" } 1 .. 600);

    is_deeply($f->take($d, $b, max => 1), [1],
              'stale references only: nothing taken, and more is left');

    my ($rounds, @got) = 1;

    for (my $left = 1; $left; $rounds++) {
        my $reply = $f->take($d, $b, max => 1);

        $left = $reply->[0];
        push @got, taken($reply);
    }

    is_deeply([rids(@got)], [rids(map { +{ requestId => $_->[2] } } @r)],
              'the four behind them are taken');
    cmp_ok($rounds, '<', 50, "in $rounds rounds");
    is($f->root->cmd('EXISTS', $key), 0, 'nothing is left');

    # on a repeat whose calls have ended

    @r = map { $f->create($d) } 1 .. 3;

    my $one = $f->take($d, $b, max => 1, ticket => 10 ** 6);

    is($one->[0], 1, 'one of three: more is left');
    $f->report('respond', $d, $r[0][2], '1');
    is_deeply($f->take($d, $b, ticket => 10 ** 6), [1],
              'the same ticket: it has ended, the others are still there');
    $f->{ticket} = 10 ** 6;
    is(scalar($f->take_all($d, $b)), 2, 'and taken by the next one');
    is_deeply($f->take($d, $b), [0], 'nothing is left');
}

# 256 KB of envelopes at once, one at least

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my @r = map { $f->create($d, params => '"' . 'x' x 60000 . '"',
                             persistent => $_ % 2) } 1 .. 9;
    my @sizes;

    while (1) {
        my $reply = $f->take($d, $b);
        my @e = taken($reply);

        push @sizes, scalar @e;
        cmp_ok(length join('', @$reply), '<', 262144 + 1000, 'not more');
        is($reply->[0], @sizes < 3 ? 1 : 0, 'left');
        last if !$reply->[0] || @sizes > 5;
    }

    is("@sizes", '4 4 1', 'four of 60 KB at once');

    $f->create($d, params => '"' . 'x' x 300_000 . '"') for 1, 2;
    is_deeply([map { scalar @{ $f->take($d, $b) } } 1 .. 3], [2, 2, 1],
              'a larger one comes alone');

    # the repeat is the same

    $f->{admin}->fcall('device_del', $f->dkey($d));
}

# F6, F7: tickets ---------------------------------------------------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my @r = map { $f->create($d, persistent => $_ % 2) } 1 .. 4;
    my $take = sub { my ($ticket, %o) = @_;
                     return $f->take($d, $b, claimer => 'p1', max => 2,
                                     ticket => $ticket, %o) };

    $f->pass(5);

    my $first = $take->(100);
    my @e = taken($first);

    is_deeply([rids(@e)], [map { $_->[2] } @r[0, 1]], 'a batch');

    # its reply was lost

    my $dump = $f->root->cmd('HGETALL', $f->key($d, 'inflight', $d));

    is_deeply($take->(100), $first, 'the same ticket: the same batch');
    is_deeply($f->root->cmd('HGETALL', $f->key($d, 'inflight', $d)), $dump,
              'and nothing is claimed');
    $f->pass(2500);

    my @again = taken($take->(100, max => 256));

    is_deeply([map { $_->{queuedTime} } @again],
              [map { $_->{queuedTime} } @e], 'F14: the same queuedTime');
    is($e[0]{queuedTime}, $r[0][4], 'that of the push');
    is($again[0]{takenTime}, $e[0]{takenTime} + 2500, 'takenTime is anew');

    # its acknowledgement is awaited anew

    $f->ticks($d, 8000);
    is($f->status($d, $r[0][1]), 'SENT', 'the time to acknowledge starts anew');
    $f->pass(3000);
    $f->ticks($d, 10);
    is($f->status($d, $r[0][1]), 'TIMEOUT', 'and ends');
    is_deeply([rids(taken($take->(100)))], [$r[1][2]],
              'what was pushed again is not in it');

    # an older one, by another process of the same name, or late

    my $before = queue($d, $b);

    like($take->(99), qr/^ERR tb_rpc: ticket 99 of claimer "p1" is older than/,
         'an older ticket is refused');
    is_deeply(queue($d, $b), $before, 'and takes nothing');

    # F8: others have batches of their own, and so have other shards

    my @other = taken($f->take($d, $b, claimer => 'p2', ticket => 1));

    is(scalar @other, 3, 'another claimer has the rest');
    is_deeply([rids(taken($take->(100)))], [$r[1][2]],
              'the batch of the first one is kept');
    is_deeply([rids(taken($f->take($d, $b, claimer => 'p2', ticket => 1)))],
              [rids(@other)], 'that of the other as well');

    # one that got nothing takes nobody's place

    is_deeply($take->(101), [0], 'nothing to take');
    is_deeply([rids(taken($take->(100)))], [$r[1][2]],
              'the batch before can still be asked for');

    my $key = $f->key($d, 'taken', 'p1');

    like($f->root->cmd('GET', $key),
         qr/^100\n(?:\d+ 1 [0-9a-f]{8} \Q$d\E\n?){2}$/,
         'a batch is a ticket and references');
    cmp_ok($f->root->cmd('PTTL', $key), '>', 55_000, 'kept for a minute');

    # a one-way caller is answered once

    my $ear = $f->server->client(user => 'tb-nginx');

    $ear->ssubscribe($f->key($d, 'reply', 'w1'));

    my $o = $f->create($d, persistent => 0, oneway => 1);

    is_deeply([rids(taken($take->(200 + $_ % 2)))], [$o->[2]], 'one-way')
        for 1, 1;
    is(($ear->message(20))[1], "$o->[1]S", 'answered');
    is_deeply([$ear->message(0.1)], [], 'once');

    # neither when it comes back, is taken again, and ends

    $f->report('return', $d, $o->[2], 1);
    is($f->state_of($d, $o->[2]), 'p', 'given back');
    $f->ticks($d, 1100);
    is_deeply([rids(taken($take->(300)))], [$o->[2]], 'taken again');
    is_deeply([$ear->message(0.1)], [], 'not answered again');
    is($f->report('delivered', $d, $o->[2], 2), 1, 'delivered');
    is_deeply([$ear->message(0.1)], [], 'nor then');

    $o = $f->create($d, persistent => 0, oneway => 1, timeout => 2000);
    $take->(400);
    is(($ear->message(20))[1], "$o->[1]S", 'another');
    $f->report('return', $d, $o->[2], 1);
    is_deeply($f->{nginx}->fcall('cancel', $f->dkey($d), $o->[1], $o->[2]),
              ['answered', 'S'], 'its answer');
    is_deeply($f->{nginx}->fcall('cancel', $f->dkey($d), $o->[1], $o->[2]),
              ['gone'], 'it can\'t be withdrawn');
    $f->ticks($d, 5100);
    is($f->state_of($d, $o->[2]), 'gone', 'it expires');
    is_deeply([$ear->message(0.1)], [], 'and nobody is told');
}

# F11: nothing is taken after its end -------------------------------------------

for my $end (
    ['deleted', sub { $f->{nginx}->fcall('delete',
                          $f->key($_[0], 'rpc', $_[1][1]), $T) }, 1],
    ['answered', sub { $f->report('respond', $_[0], $_[1][2], '1') }, 0, 1],
    ['failed', sub { $f->report('failed', $_[0], $_[1][2], 'x') }, 0, 1],
    ['acknowledged', sub { $f->report('delivered', $_[0], $_[1][2]) }, 0, 1],
    ['withdrawn', sub { $f->{nginx}->fcall('cancel', $f->dkey($_[0]),
                                           $_[1][1], $_[1][2]) }, 0],
    ['expired', sub { $f->pass(60_000) }, 0, 1],
    ['orphaned', sub { $f->{admin}->fcall('device_del', $f->dkey($_[0])) },
     0, 1])
{
    my ($what, $do, @persistent) = @$end;

    for my $persistent (@persistent) {
        my $b = bridge();
        my $d = $f->device(bridge => $b);
        my @r = map { $f->create($d, persistent => $persistent) } 1 .. 3;

        # one is in the queue, one was taken and its reply lost

        is(scalar(taken($f->take($d, $b, claimer => 'l', ticket => 1,
                                 max => 1))), 1, 'one is taken');
        $do->($d, $_) for @r[0, 1];

        my $rest = $what =~ /expired|orphaned/ ? 0 : 1;

        is(scalar(taken($f->take($d, $b, claimer => 'l', ticket => 1))), 0,
           "$what, persistent $persistent: not in the batch any more");
        is_deeply([rids($f->take_all($d, $b))], [$rest ? $r[2][2] : ()],
                  'nor taken later');
    }
}

# F13: another call with the requestId of one that is gone ----------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $old = $f->create($d);
    my $key = $f->key($d, 'queue', $b);

    $f->take($d, $b, claimer => 'f13', ticket => 1);
    $f->{admin}->fcall('device_del', $f->dkey($d));
    $f->device(id => $d, bridge => $b);

    my $id = 'ffffffff' . substr uuid(), 8;
    my $new = $f->create($d, id => $id);

    is($new->[2], $old->[2], 'the same requestId in the same ms');
    $f->root->cmd('LPUSH', $key, "$old->[2] 1 " . substr($old->[1], 0, 8)
                                 . " $d");
    is(queue($d, $b)->[1], "$new->[2] 1 ffffffff $d", 'a reference');

    my @e = $f->take_all($d, $b);

    is_deeply([map { $_->{rpcId} } @e], [$id], 'taken by its own one only');
    is_deeply($f->take($d, $b, claimer => 'f13', ticket => 1), [0],
              'the old batch has lost its call, and has not the new one');
}

# one broken thing never stops a batch ------------------------------------------

{
    my $b = bridge();
    my ($d, $e) = ($f->device(bridge => $b));
    my $root = $f->root;

    do { $e = uuid() } until $f->prefix($e) eq $f->prefix($d);
    $f->device(id => $e, bridge => $b);

    my @r = map { $f->create($d, persistent => $_ < 8 ? 1 : 0) } 1 .. 12;
    my $other = $f->create($e);
    my @last = map { $f->create($d) } 1, 2;
    my $q = $f->key($d, 'queue', $b);

    # records: gone, half of one, of another type

    $root->cmd('DEL', $f->key($d, 'rpc', $r[0][1]));
    $root->cmd('HDEL', $f->key($d, 'rpc', $r[1][1]), 'm');
    $root->cmd('DEL', $f->key($d, 'rpc', $r[2][1]));
    $root->cmd('SET', $f->key($d, 'rpc', $r[2][1]), 'x');

    # open calls: gone, nonsense, without an envelope

    my $in = $f->key($d, 'inflight', $d);

    $root->cmd('HDEL', $in, $r[3][2]);
    $root->cmd('HSET', $in, $r[4][2], 'x');
    $root->cmd('HDEL', $f->key($d, 'body', $d), $r[8][2]);

    # of another device: a key of another type

    $root->cmd('RENAME', $f->key($e, 'inflight', $e), 'tb:aside');
    $root->cmd('SET', $f->key($e, 'inflight', $e), 'x');

    # no references at all

    $root->cmd('LINSERT', $q, 'BEFORE', queue($d, $b)->[5], $_)
        for '', ' ', 'x', "1 1 00000000 $d", "\0" x 1000, "1 x 00000000 $d",
            '99999999999999999999999 1 00000000 ' . $d,
            "1 99999999999 00000000 $d", "1 1 00000000 " . 'a' x 36;

    my @got = rids($f->take_all($d, $b));

    is_deeply(\@got, [map { $_->[2] } @r[5 .. 7, 9 .. 11], @last],
              'all others are taken');
    is($root->cmd('EXISTS', $q), 0, 'the queue is empty');
    $root->cmd('DEL', $f->key($e, 'inflight', $e));
    $root->cmd('RENAME', 'tb:aside', $f->key($e, 'inflight', $e));

    # one that can't be claimed

    $f->{admin}->fcall('device_del', $f->dkey($d));
    $root->cmd('DEL', $f->key($d, 'index', $d),
               $f->key($d, 'index', $d, 'status'));
    $f->device(id => $d, bridge => $b);
    @r = map { $f->create($d) } 1 .. 3;
    push @r, map { $f->create($e) } 1;
    $root->cmd('SET', $f->key($d, 'index', $d, 'status'), 'x');

    is_deeply([rids($f->take_all($d, $b))], [$r[3][2]],
              'calls that can\'t be claimed: the others are');
    cmp_ok($f->stats($d, 'broken'), '>=', 3, 'counted');
    is($f->status($d, $_->[1]), 'QUEUED', 'and as they were') for @r[0 .. 2];
    is_deeply($f->take($d, $b), [0], 'and not tried for ever');
    $root->cmd('DEL', $f->key($d, 'index', $d, 'status'));
}

# arguments -----------------------------------------------------------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $key = $f->key($d, 'queue', $b);
    my $p = $f->prefix($d);

    $f->create($d);

    for my $a ([], ['c'], ['c', 1], ['', 1, 1], ['c c', 1, 1], ["c\n", 1, 1],
               ['c' x 257, 1, 1], ['c', 0, 1], ['c', -1, 1], ['c', 'x', 1],
               ['c', 1, 0], ['c', 1, 257], ['c', 1, 'x'],
               ['c', '99999999999999999999', 1])
    {
        like($f->{bridge}->fcall('take', $key, @$a),
             qr/^ERR tb_rpc: (claimer|ticket|max)/,
             'take ' . join ' ', map { substr $_, 0, 20 } @$a);
    }

    for my $bad ('x', "${p}queue:", "${p}queue:a b", $p . 'queue:' . 'b' x 65,
                 "${p}device:$d", "tb:{s0}:queue:$b", "queue:$b")
    {
        like($f->root->fcall('take', $bad, 'c', 1, 1),
             qr/^ERR tb_rpc: 1 key is needed/, "take of $bad");
    }

    $f->root->cmd('LPUSH', "${p}taken:c", 'x');
    like($f->{bridge}->fcall('take', $key, 'c', 1, 1), qr/^ERR tb_rpc: key/,
         'a batch of another type');
    $f->root->cmd('RENAME', $key, 'tb:aside');
    $f->root->cmd('SET', $key, 'x');
    like($f->{bridge}->fcall('take', $key, 'd', 1, 1), qr/^ERR tb_rpc: key/,
         'a queue of another type');
    $f->root->cmd('RENAME', 'tb:aside', $key);
    is($f->root->cmd('LLEN', $key), 1, 'nothing was taken');
    is(scalar(taken($f->{bridge}->fcall('take', $key, 'c' x 256, 2 ** 49, 256))),
       1, 'the longest ones');
}

# what takes no more memory than it gives back still runs -------------------------

{
    my $b = bridge();
    my $d = $f->device;

    $f->report('attach', $d, $b, 's1', 60_000);

    my @r = map { $f->create($d) } 1 .. 3;

    $f->root->cmd('CONFIG', 'SET', 'maxmemory', 1);
    like($f->create($d), qr/^OOM/, 'a full Redis: no create');

    my @e = $f->take_all($d, $b);

    is(scalar @e, 3, 'take');
    is(give_back($d, $e[2], 's0'), 1, 'return');
    is_deeply($f->{bridge}->fcall('heartbeat', $f->key($d, 'due'), 10 ** 6, $d,
                                  's1'), [], 'heartbeat');
    is(field($d, 'until'), $f->now + 10 ** 6, 'which counts');
    is($f->report('attach', $d, $b, 's2', 60_000), 3, 'B4: attach');
    is($f->report('detach', $d, 's2'), 1, 'detach');
    is(ref $f->tick($d), 'ARRAY', 'tick');
    $f->root->cmd('CONFIG', 'SET', 'maxmemory', 0);
}

done_testing();
