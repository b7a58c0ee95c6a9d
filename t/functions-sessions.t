# The function library: devices that attach and detach, and what becomes of
# their calls.
#
# runs: side by side, 3 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Functions;

my $f = TB::Functions->new(clock => 1);
my $T = $TB::Functions::TENANT;

$f->config;

sub rids { return map { $_->{requestId} } @_ }
sub field { return $f->root->cmd('HGET', $f->dkey($_[0]), $_[1]) }

my $n = 0;
sub bridge { return 'b' . ++$n }

# ten calls while offline come in order, under each strategy

for my $strategy ('burst', 'sequential_on_ack', 'sequential_on_response') {
    for my $persistent (1, 0) {
        my $b = bridge();
        my $d = $f->device(strategy => $strategy);
        my @r = map { $f->create($d, persistent => $persistent,
                                 params => $_) } 0 .. 9;

        is_deeply([map { $_->[0] } @r], [('offline') x 10],
                  "$strategy, $persistent: all wait");
        is($f->report('attach', $d, $b, 's1', 60000),
           $strategy eq 'burst' ? 10 : 1, 'released by attach');

        my @seen;

        while (my $e = $f->take_one($d, $b)) {
            push @seen, $e->{params};
            is($f->state_of($d, $e->{requestId}), 's', 'taken');
            is($e->{attempt}, 1, 'the first attempt');

            my $waits = $f->root->cmd('LLEN', $f->key($d, 'queue', $b));

            is($waits, 0, 'one at a time') if $strategy ne 'burst';

            $f->report('delivered', $d, $e->{requestId});

            if ($strategy eq 'sequential_on_response') {
                is($f->root->cmd('LLEN', $f->key($d, 'queue', $b)), 0,
                   'not before the answer');
            }

            is($f->report('respond', $d, $e->{requestId}, '"ok"'), 1,
               'answered');
        }

        is_deeply(\@seen, [0 .. 9], 'in order');
        is($f->root->cmd('HGET', $f->dkey($d), 'turn'), undef,
           'nobody has the turn');
    }
}

# no queue jumping; at most 16 with the bridge; acknowledgements do the rest

{
    my $b = bridge();
    my $d = $f->device;

    $f->create($d, params => $_) for 1 .. 50;
    is($f->report('attach', $d, $b, 's1', 60000), 16, '16 at once');
    is($f->create($d, params => 51)->[0], 'turn', 'behind the others');
    is($f->report('attach', $d, $b, 's1', 60000), 0, 'no more by attach');
    $f->ticks($d, 300);

    my @seen = $f->take_all($d, $b);

    is(scalar @seen, 16, 'nor by tick');
    is(scalar($f->take_all($d, $b)), 0, 'nor by taking them');

    for (my $i = 0; $i < @seen; $i++) {
        $f->report('delivered', $d, $seen[$i]{requestId}, 1);
        push @seen, $f->take_all($d, $b);
        is(scalar(grep { $f->state_of($d, $_->{requestId}) eq 's' } @seen),
           $i < 35 ? 16 : 50 - $i, "16 of them, after $i");
    }

    is_deeply([map { $_->{params} } @seen], [1 .. 51],
              'each acknowledgement releases one, in order');
}

# heartbeats, supersession, detach

{
    my ($b1, $b2) = (bridge(), bridge());
    my $d = $f->device;

    is($f->report('attach', $d, $b1, 's1', 1000), 0, 'attach');
    my $until = field($d, 'until');
    $f->pass(5);
    is($f->report('attach', $d, $b1, 's1', 1000), 0, 'heartbeat');
    cmp_ok(field($d, 'until'), '>', $until, 'prolongs');

    my @r = map { $f->create($d, params => $_) } 1 .. 3;
    my $light = $f->create($d, persistent => 0);
    my $sent = $f->create($d, persistent => 0);

    # sent, acknowledged; taken; in the queue

    is_deeply([rids(@{[$f->take_all($d, $b1)]})],
              [map { $_->[2] } @r, $light, $sent], 'all are taken');
    is($f->report('delivered', $d, $r[1][2], 1), 1, 'one is acknowledged');

    my @more = map { $f->create($d, persistent => $_) } 1, 0;

    is($f->report('attach', $d, $b2, 's2', 60000), 4,
       'a new session: what was not taken, and persistent calls that were not'
       . ' acknowledged, move');

    my @items = $f->take_all($d, $b2);

    is_deeply([rids(@items)], [$r[0][2], $r[2][2], map { $_->[2] } @more],
              'in order');
    is_deeply([map { $_->{attempt} } @items], [2, 2, 2, 2], 'next attempt');
    is($f->root->cmd('LLEN', $f->key($d, 'queue', $b1)), 0,
       'the old queue is trimmed');
    is($f->report($_, $d, $r[2][2], 1), 0, "the old attempt: $_ is late")
        for qw(delivered timeout return);
    is($f->report('attach', $d, $b1, 's1', 60000), -1, 'superseded');
    is(field($d, 'bridge'), $b2, 'and nothing was changed');
    is($f->report('detach', $d, 's1'), 0, 'detach of a superseded session');
    is($f->state_of($d, $r[2][2]), 's', 'the new bridge has it');
    is($f->report('respond', $d, $r[1][2], '1'), 1,
       'what was delivered before can still be answered');
    is($f->record($d, $r[0][1])->{u}, undef, 'a move is no retry');

    is($f->report('detach', $d, 's2'), 1, 'detach');
    is(field($d, 'bridge'), undef, 'offline');
    is($f->create($d)->[0], 'offline', 'new calls wait');
    is($f->state_of($d, $r[0][2]), 'p', 'and what was not acknowledged');
    is($f->status($d, $r[0][1]), 'QUEUED', 'QUEUED again');
    is($f->report('delivered', $d, $r[2][2], 2), 1,
       'an acknowledgement on its way still counts');
    is($f->report('detach', $d, 's2'), 0, 'detach twice');

    is($f->report('attach', $d, $b1, 's3', 60000), 3, 'back again');
    is(scalar($f->take_all($d, $b1)), 3, 'pushed');
}

# a call with the same bridge name and a new session

{
    my $b = bridge();
    my $d = $f->device;

    $f->report('attach', $d, $b, 's1', 60000);
    my $r = $f->create($d);
    is($f->report('attach', $d, $b, 's2', 60000), 1, 'new session, same bridge');

    my @items = $f->take_all($d, $b);
    is(scalar @items, 1, 'the stale item is dropped');
    is($items[0]{attempt}, 2, 'the new one is there');
}

# static routes

{
    my ($b1, $b2) = (bridge(), bridge());
    my $d = $f->device;
    my $r = $f->create($d);

    $f->device(id => $d, bridge => $b1);
    is(field($d, 'until'), -1, 'always online');
    is(scalar($f->take_all($d, $b1)), 1, 'what waited is released');
    is($f->report('attach', $d, $b2, 's1', 60000), 1,
       'a session wins over the route');
    is_deeply([rids($f->take_all($d, $b2))], [$r->[2]], 'taken there');
    $f->report('delivered', $d, $r->[2]);
    $r = $f->create($d);
    is($f->report('detach', $d, 's1'), 1, 'detach');
    is(field($d, 'bridge'), $b1, 'the route is back');

    my ($e) = $f->take_all($d, $b1);
    is($e->{requestId}, $r->[2], 'and has the call');
    is($e->{attempt}, 2, 'with the next attempt');

    $f->report('attach', $d, $b2, 's2', 60000);
    $f->device(id => $d, name => 'x', bridge => '');
    is(field($d, 'bridge'), $b2, 'the session outlives the route');
    is(field($d, 'name'), 'x', 'name');
    $f->report('detach', $d, 's2');
    is(field($d, 'bridge'), undef, 'then it is offline');
    $f->device(id => $d, strategy => 'burst');
    is(field($d, 'name'), 'x', 'fields not named stay');
    $f->device(id => $d, name => '');
    is(field($d, 'name'), undef, 'empty: removed');
    $f->device(id => $d, customer => uc TB::Functions::uuid());
    like(field($d, 'customerId'), qr/^[0-9a-f-]{36}$/, 'a customer');
    $f->device(id => $d, customer => '13814000-1dd2-11b2-8080-808080808080');
    is(field($d, 'customerId'), '', 'the one that means none');
}

# lapsed sessions

{
    my ($b1, $b2) = (bridge(), bridge());
    my $d = $f->device;

    $f->report('attach', $d, $b1, 's1', 60);
    my @r = map { $f->create($d) } 1 .. 2;
    $f->take_one($d, $b1);
    $f->pass(70);
    is($f->create($d)->[0], 'offline', 'lapsed: offline before any tick');
    $f->ticks($d, 50);
    is(field($d, 'session'), undef, 'detached by tick');
    is($f->stats($d, 'lapsed'), 1, 'counted');
    is($f->report('attach', $d, $b2, 's1', 60000), 3,
       'the same session may come back');
    is_deeply([map { $_->{attempt} } $f->take_all($d, $b2)], [2, 2, 1],
              'all three are there, in order');
}

# a session that had ended before another one came is superseded all the same

for my $how ('lapsed', 'detached') {
    my ($b1, $b2) = (bridge(), bridge());
    my $d = $f->device;
    my $end = sub {
        my ($session) = @_;

        return $f->report('detach', $d, $session) if $how eq 'detached';

        $f->pass(70);
        $f->ticks($d, 50);
    };

    $f->report('attach', $d, $b1, 's1', 60);
    $end->('s1');
    is($f->report('attach', $d, $b1, 's1', 60), 0, "$how: it may come back");
    is(field($d, 'prev'), undef, 'which is no change');
    is(field($d, 'ended'), undef, 'and it has not ended');
    $end->('s1');
    is($f->report('attach', $d, $b2, 's2', 60), 0, 'another one comes');
    is($f->report('attach', $d, $b1, 's1', 60), -1, 'it is superseded');
    is(field($d, 'bridge'), $b2, 'and nothing was changed');
    is($f->report('attach', $d, $b2, 's2', 60), 0, 'the other one goes on');
    $end->('s2');
    is($f->report('attach', $d, $b1, 's1', 60), -1, 'also after its end');
    is(field($d, 'session'), undef, 'nothing is attached');
    is($f->report('attach', $d, $b2, 's2', 60), 0, 'the other one may be');
}

# tenants, deletion

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $sub = $f->server->client(user => 'tb-nginx');
    my $o = $f->create($d, persistent => 0, oneway => 1);
    my $p = $f->create($d);
    my $l = $f->create($d, persistent => 0);

    $sub->ssubscribe($f->key($d, 'reply', 'w1'));
    like($f->{admin}->fcall('device_put', $f->dkey($d),
                            $TB::Functions::OTHER, ''), qr/another tenant/,
         'another tenant while there are records');
    is_deeply([rids($f->take_one($d, $b))], [$o->[2]], 'one-way taken');
    is(($sub->message(1))[1], $o->[1] . 'S', 'S');
    is($f->{admin}->fcall('device_del', $f->dkey($d)), 1, 'deleted');
    is(($sub->message(1))[1], $l->[1] . 'D', 'its caller is told');
    is_deeply([$sub->message(0.1)], [], 'the answered one not again');
    is($f->{admin}->fcall('device_del', $f->dkey($d)), 0, 'once');

    my $r = $f->record($d, $p->[1]);
    is($r->{s}, 6, 'persistent: FAILED');
    like($r->{R}, qr/deleted/, 'and why');
    is_deeply($f->{nginx}->fcall('get', $f->key($d, 'rpc', $p->[1]), $T,
                                 TB::Functions::uuid()), ['customer'],
              'no customer reads it');
    is(scalar($f->take_all($d, $b)), 0, 'nothing is delivered');
    is($f->report('respond', $d, $l->[2], '1'), 0, 'or answered');
    like($f->report('attach', $d, $b, 's', 1000), qr/unknown/, 'attach');
    is($f->report('detach', $d, 's'), 0, 'detach');
    like($f->{admin}->fcall('device_put', $f->dkey($d),
                            $TB::Functions::OTHER, ''), qr/another tenant/,
         'the records still are of its tenant');
    $f->device(id => $d);
    $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $p->[1]), $T);
    $f->take_all($d, $b);
    $f->{admin}->fcall('device_del', $f->dkey($d));
    is($f->left($d), '', 'nothing left') or diag $f->left($d);
    is($f->{admin}->fcall('device_put', $f->dkey($d),
                          $TB::Functions::OTHER, ''), 1, 'a new owner');
    is_deeply(listed($d), ["$TB::Functions::OTHER//$d"], 'who lists it');
}

# the list of devices

sub listed {
    my ($device) = @_;

    return [ grep { /\/\Q$device\E$/ }
             @{ $f->root->cmd('ZRANGE', $f->key($device, 'devices'), 0, -1) } ];
}

{
    my $b = bridge();
    my $d = $f->device(name => 'one');
    my $put = sub { return $f->{admin}->fcall('device_put', $f->dkey($d), $T,
                                              '', @_) };

    is_deeply(listed($d), ["$T/one/$d"], 'by tenant, name and id');
    $put->(bridge => $b);
    is_deeply(listed($d), ["$T/one/$d"], 'what is not named stays');
    $put->(name => 'a/b');
    is_deeply(listed($d), ["$T/a/b/$d"], 'another name');
    $put->(name => '');
    is_deeply(listed($d), ["$T//$d"], 'none');
    like($put->(name => 'x' x 256), qr/^ERR/, 'one that is refused');
    is_deeply(listed($d), ["$T//$d"], 'changes nothing');

    # put before there was a list

    $f->root->cmd('DEL', $f->key($d, 'devices'));
    $put->();
    is_deeply(listed($d), ["$T//$d"], 'is listed when it is put again');

    # many calls end in slices: it is gone at once

    $f->create($d) for 1 .. 40;
    is($f->{admin}->fcall('device_del', $f->dkey($d)), 1, 'deleted');
    is_deeply(listed($d), [], 'is in the list no more');

    my $key = $f->key($d, 'devices');

    $f->root->cmd('DEL', $key);
    $f->root->cmd('SET', $key, 'x');

    for my $name (qw(device_put device_del)) {
        like($f->{admin}->fcall($name, $f->dkey($d), $T, ''),
             qr/^ERR tb_rpc: key .* is a string, not a zset/,
             "$name: a list of another type");
    }

    $f->root->cmd('DEL', $key);
}

# the turn

{
    my $b = bridge();
    my $d = $f->device(bridge => $b, strategy => 'sequential_on_response');
    my $next = sub { my ($e) = $f->take_all($d, $b); $e && $e->{requestId} };

    my $one = $f->create($d, persistent => 0, oneway => 1);
    my @r = map { $f->create($d, persistent => $_ % 2) } 1 .. 6;

    is_deeply([map { $_->[0] } $one, @r], ['queued', ('turn') x 6], 'turns');
    $next->();
    is($next->(), undef, 'one-way: until it is delivered');
    $f->report('delivered', $d, $one->[2]);
    is($next->(), $r[0][2], 'then the next');
    $f->report('failed', $d, $r[0][2], 'x');
    is($next->(), $r[1][2], 'after a failure');
    $f->{nginx}->fcall('cancel', $f->dkey($d), $r[1][1], $r[1][2]);
    is($next->(), $r[2][2], 'after a cancel');
    $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r[2][1]), $T);
    is($next->(), $r[3][2], 'after a delete');
    $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r[4][1]), $T);
    $f->report('respond', $d, $r[3][2], '1');
    is($next->(), $r[5][2], 'a deleted call is passed over');
    is($f->report('timeout', $d, $r[5][2], 1), 1, 'lightweight: no ack');
    my $last = $f->create($d);

    is($last->[0], 'queued', 'it gave its turn away');
    is($f->report('respond', $d, $r[5][2], '1'), 1, 'and may be answered');
    $next->();
    is($f->report('delivered', $d, $last->[2], 1), 1, 'acknowledged');
    is($f->create($d)->[0], 'turn', 'which is not the end of its turn');
    is($next->(), undef, 'so nothing comes');
    $f->report('respond', $d, $last->[2], '1');
    ok($next->(), 'before the answer');

    # the one who has the turn is lost by hand: nobody is blocked

    $f->root->cmd('HSET', $f->dkey($d), 'turn', 12345);
    $f->root->cmd('DEL', $f->key($d, 'inflight', $d));
    is($f->create($d)->[0], 'queued', 'a turn of nobody');
}

# arguments

{
    my $d = $f->device;

    for my $a ([], ['b'], ['b', 's'], ['b', '', 1], ['', 's', 1],
               ['b b', 's', 1], ['b' x 65, 's', 1], ['b', 's' x 257, 1],
               ['b', 's', 0], ['b', 's', -1], ['b', 's', 'x'])
    {
        like($f->report('attach', $d, @$a), qr/^ERR tb_rpc: (bridge|session|ttl)/,
             'attach ' . join ' ', map { substr $_, 0, 10 } @$a);
    }

    like($f->report('detach', $d), qr/^ERR tb_rpc/, 'detach');
    is(field($d, 'bridge'), undef, 'nothing was changed');
    is($f->report('attach', $d, 'b' x 64, "\0\n" . 's' x 254, 1000), 0,
       'the longest ones, any bytes');
}

done_testing();
