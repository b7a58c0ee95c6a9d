# The function library: polls of devices that have no bridge (tb_rpc_poll,
# _unpoll, _return).
#
# runs: side by side, 2 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use TB::Functions;

my $f = TB::Functions->new(clock => 1);

$f->config(ack_timeout => 300);

my $session = 0;

sub field { return $f->root->cmd('HGET', $f->dkey($_[0]), $_[1]) }
sub fcall { my ($name, $d, @a) = @_;
            return $f->{nginx}->fcall($name, $f->dkey($d), @a) }
sub poll { my ($d, %o) = @_;
           return fcall('poll', $d, $o{worker} // 'w1',
                        $o{session} // ++$session, $o{ttl} // 60000,
                        $o{again} // 0) }
sub json { return JSON::PP->new->utf8->decode($_[0]) }
sub length_of { return $f->root->cmd('ZCARD', $f->key($_[0], 'pending',
                                                     $_[0])) }
sub state_of { return $f->state_of(@_) }


# a worker's ear on the channel of the device's shard

sub listen_to {
    my ($d, $worker) = @_;

    my $c = $f->server->client(user => 'tb-nginx');

    $c->ssubscribe($f->key($d, 'reply', $worker // 'w1'));

    return $c;
}


# what came: the kind, its numbers, the envelope

sub heard {
    my ($c, $d, $seconds) = @_;

    my $text = ($c->message($seconds // 30))[1] // return ();

    return ('other', $text) if substr($text, 0, 36) ne $d;

    my ($kind, $s, $rid, $attempt, $rest) =
        substr($text, 36) =~ /^([PE])(\d+)(?: (\d+) (\d+)(?: (\{.*))?)?$/s
        or die "unknown: $text";

    return ($kind, $s, $rid, $attempt, $rest);
}


# calls that wait come one a poll, in order, under each strategy

for my $strategy ('burst', 'sequential_on_ack', 'sequential_on_response') {
    for my $persistent (1, 0) {
        my $d = $f->device(strategy => $strategy);
        my @r = map { $f->create($d, persistent => $persistent,
                                 params => $_) } 0 .. 4;
        my @seen;

        for my $n (0 .. 4) {
            my $p = poll($d);

            is($p->[0], 'call', "$strategy, $persistent: a call") or last;
            is($p->[1], $r[$n][2], 'the right one');

            my $e = json($p->[3]);

            is($e->{requestId}, $p->[1], 'its envelope');
            is($e->{attempt}, $p->[2], 'its attempt');
            push @seen, $e->{params};
            is(state_of($d, $p->[1]), 'h', 'handed');
            is($f->status($d, $r[$n][1]), 'SENT', 'SENT') if $persistent;
            is(fcall('delivered', $d, $p->[1], $p->[2]), 1, 'delivered');
            is($f->report('respond', $d, $p->[1], '1'), 1, 'answered');
        }

        is_deeply(\@seen, [0 .. 4], 'in order');
        is(poll($d)->[0], 'wait', 'then there is none');
        is(field($d, 'turn'), undef, 'nobody has the turn');
    }
}

for my $shard (0 .. 127) {
    is($f->root->cmd('HGET', TB::Bridge::prefix($shard) . "stats", $_), undef,
       "nothing had to be put right, shard $shard: $_")
        for qw(unconfirmed lost_polls lapsed_polls lost_claims broken);
}

# an open poll takes the next call, at once

for my $persistent (1, 0) {
    my $d = $f->device;
    my $ear = listen_to($d);

    is($f->create($d, persistent => 0, offline => 'reject')->[0], 'rejected',
       'offline without a poll');
    is_deeply(poll($d), ['wait'], 'a poll');
    like(field($d, 'poll'), qr/^w1 $session \d{13}$/, 'is noted');

    my $r = $f->create($d, persistent => $persistent, offline => 'reject',
                       params => '{"a":1.10}');

    is($r->[0], 'queued', 'online');

    my ($kind, $s, $rid, $attempt, $e) = heard($ear, $d);

    is("$kind $s $rid $attempt", "P $session $r->[2] 1", 'handed over');
    like($e, qr/"params":\{"a":1\.10\},/, 'with its bytes');
    is(field($d, 'poll'), undef, 'the poll is used up');
    is(length_of($d), 0, 'nothing waits');
    is($f->create($d, persistent => $persistent)->[0], 'offline',
       'the next one waits');
    is(poll($d, again => 0)->[0], 'call', 'for the next poll');
    is(length_of($d), 0, 'which has it');
    is(fcall('delivered', $d, $rid, 1), 1, 'delivered');
    is(fcall('delivered', $d, $rid, 1), 0, 'once');
    is($f->report('respond', $d, $rid, '"x"'), 1, 'answered');
    is($f->status($d, $r->[1]), 'SUCCESSFUL', 'SUCCESSFUL') if $persistent;
    is_deeply([(heard($ear, $d))[1]], ["$r->[1]A\"x\""], 'the caller has it')
        if !$persistent;
}

# one-way: the caller is answered when the device has it

{
    my $d = $f->device;
    my $ear = listen_to($d);

    poll($d);
    my $r = $f->create($d, persistent => 0, oneway => 1);
    my @m = heard($ear, $d);

    is("@m[0, 2, 3]", "P $r->[2] 1", 'one-way: handed over');
    is_deeply([heard($ear, $d, 0.1)], [], 'not answered yet');
    is(fcall('return', $d, $r->[2], 1), 1, 'given back');
    is_deeply([heard($ear, $d, 0.1)], [], 'still not');

    my $p = poll($d);

    is($p->[2], 2, 'the next attempt');
    is(fcall('delivered', $d, $r->[2], 1), 0, 'the old attempt is over');
    is(fcall('delivered', $d, $r->[2], 2), 1, 'delivered');
    is_deeply([(heard($ear, $d))[1]], ["$r->[1]S"], 'answered now');
    is(state_of($d, $r->[2]), 'gone', 'and over');
}

# given back: at its place, without a retry

{
    my $d = $f->device;
    my @r = map { $f->create($d, params => $_, retries => 0) } 1 .. 3;
    my $p = poll($d);

    is(fcall('return', $d, $p->[1], 7), 0, 'another attempt');
    is(fcall('return', $d, $p->[1], 1), 1, 'given back');
    is(fcall('return', $d, $p->[1], 1), 0, 'once');
    is_deeply($f->root->cmd('ZRANGE', $f->key($d, 'pending', $d), 0, -1),
              [map { $_->[2] } @r], 'at its place');
    is($f->record($d, $r[0][1])->{u}, undef, 'no retry is used');
    is(fcall('delivered', $d, $p->[1], 1), 1,
       'it was delivered all the same: believed');
    is(length_of($d), 2, 'and it does not wait any more');
    is(poll($d)->[1], $r[1][2], 'the next one');
    is($f->report('respond', $d, $r[1][2], '1'), 1,
       'answered before it was confirmed');
    is(fcall('delivered', $d, $r[1][2], 1), 0, 'late');

    my $ear = listen_to($d);

    $p = poll($d);
    poll($d);
    is(fcall('return', $d, $p->[1], $p->[2]), 1, 'given back');
    is((heard($ear, $d))[2], $p->[1], 'goes to the poll that is open');
}

# the very same poll asks again: the same call, the same attempt

{
    my $d = $f->device;

    $f->create($d, params => $_) for 1 .. 2;
    my $p = poll($d);
    my $again = poll($d, session => $session, again => 1);

    is_deeply([@$again[0 .. 2]], [@$p[0 .. 2]], 'again: the same');
    my $next = poll($d);
    isnt($next->[1], $p->[1], 'another poll: not yet');
    is(poll($d)->[0], 'wait', 'nor the next');

    my $ear = listen_to($d);

    $f->ticks($d, 1300);
    my @m = heard($ear, $d);
    is("$m[2] $m[3]", "$p->[1] 2", 'nobody confirmed: handed out again');
    is($f->stats($d, 'unconfirmed') > 0, 1, 'counted');
    is(fcall('delivered', $d, $p->[1], 1), 0, 'the first attempt is over');
    is($f->record($d, 'x'), undef, 'no such record');
}

# an ear that is gone: nothing is lost, the ear's poll is

{
    my $d = $f->device;

    poll($d, worker => 'dead');
    is($f->create($d)->[0], 'offline', 'nobody listens');
    is(field($d, 'poll'), undef, 'the poll is closed');
    is(length_of($d), 1, 'the call waits');
    is($f->stats($d, 'lost_polls'), 1, 'counted');
    is(poll($d)->[2], 1, 'the first attempt');

    # claimed, and never confirmed

    $f->pass(350);
    is($f->create($d)->[0], 'offline', 'another');
    $f->ticks($d, 50);
    is(length_of($d), 2, 'back in pending');
    is(poll($d)->[2], 2, 'the second attempt');
}

# such an ear is none: what must not wait is refused

{
    my $d = $f->device;
    my %call = (persistent => 0, offline => 'reject');

    poll($d, worker => 'dead');

    my $due = $f->root->cmd('ZRANGE', $f->key($d, 'due'), 0, -1);

    is_deeply($f->create($d, %call), ['rejected'], 'rejected');
    is(length_of($d), 0, 'it does not wait');
    is($f->root->cmd('EXISTS', $f->key($d, $_, $d)), 0, "no $_")
        for qw(inflight body pending);
    is_deeply($f->root->cmd('ZRANGE', $f->key($d, 'due'), 0, -1), $due,
              'nor is it due');

    # behind one that may wait

    poll($d, worker => 'dead');
    is($f->create($d)->[0], 'offline', 'one waits');
    is($f->create($d, %call)->[0], 'rejected', 'another one does not');
    is(poll($d)->[0], 'call', 'the first one is brought');

    # a bridge is online all the same

    $f->report('attach', $d, 'bx', 's1', 60000);
    poll($d, worker => 'dead');
    is($f->create($d, %call)->[0], 'queued', 'a bridge has it');
}

# large ones are not published

{
    my $d = $f->device;
    my $ear = listen_to($d);
    my $params = '"' . 'x' x 20000 . '"';

    poll($d);
    my $r = $f->create($d, params => $params, persistent => 0);
    my @m = heard($ear, $d);

    is_deeply([@m], ['P', $session, $r->[2], 1, undef], 'only named');
    my $p = poll($d, session => $session, again => 1);
    is("@$p[0 .. 2]", "call $r->[2] 1", 'and asked for');
    is(json($p->[3])->{params}, 'x' x 20000, 'here it is');
}

# two polls of one device

{
    my $d = $f->device;
    my ($one, $two) = (listen_to($d), listen_to($d, 'w2'));

    poll($d);
    is(fcall('unpoll', $d, 'w1', $session + 1), 0, 'unpoll: another session');
    is(fcall('unpoll', $d, 'w2', $session), 0, 'another worker');
    poll($d, worker => 'w2');
    is_deeply([heard($one, $d)], ['E', $session - 1, undef, undef, undef],
              'the first is told that it is over');
    is(fcall('unpoll', $d, 'w1', $session - 1), 0, 'it leaves: no matter');
    $f->create($d);
    is((heard($two, $d))[0], 'P', 'the second has the call');
    poll($d, worker => 'w2');
    is_deeply(poll($d, worker => 'w2', session => $session), ['wait'],
              'the same once more');
    is_deeply([heard($two, $d, 0.1)], [], 'does not end itself');
    is(fcall('unpoll', $d, 'w2', $session), 1, 'unpoll');
    is(field($d, 'poll'), undef, 'done');
    is($f->create($d)->[0], 'offline', 'offline again');
}

# the end of a poll: in time, or by tick

{
    my $d = $f->device;
    my $ear = listen_to($d);

    poll($d, ttl => 50);
    $f->pass(60);
    is($f->create($d)->[0], 'offline', 'lapsed');
    $f->ticks($d, 30);
    is(field($d, 'poll'), undef, 'cleared by tick');
    is($f->stats($d, 'lapsed_polls'), 1, 'counted');
}

# a bridge and a poll: the poll wins while it is open

{
    my $d = $f->device;
    my $ear = listen_to($d);

    $f->report('attach', $d, 'pb', 's1', 60000);
    poll($d);
    my $r = $f->create($d);
    is((heard($ear, $d))[2], $r->[2], 'the poll has it');
    is($f->create($d)->[0], 'queued', 'then the bridge');
    is(scalar($f->take_all($d, 'pb')), 1, 'has taken it');
    is(fcall('return', $d, $r->[2], 1), 1, 'given back');
    is(($f->take_all($d, 'pb'))[0]{attempt}, 2, 'goes to the bridge');
    is(poll($d)->[0], 'wait', 'nothing waits');
    is($f->report('detach', $d, 's1'), 1, 'detach');
    is((heard($ear, $d))[3], 3, 'what the bridge had taken, and not brought');
    is($f->report('attach', $d, 'pb', 's2', 60000), 1, 'and back');
    poll($d, worker => 'dead');
    is($f->create($d)->[0], 'queued', 'a dead poll: the bridge');
}

# sequential: the turn

{
    my $d = $f->device(strategy => 'sequential_on_response');
    my $ear = listen_to($d);
    my @r = map { $f->create($d, persistent => $_ % 2) } 1 .. 3;

    is(poll($d)->[1], $r[0][2], 'the first');
    is(poll($d)->[0], 'wait', 'the second has to wait');
    fcall('delivered', $d, $r[0][2], 1);
    is_deeply([heard($ear, $d, 0.1)], [], 'for the answer');
    $f->report('respond', $d, $r[0][2], '1');
    is((heard($ear, $d))[2], $r[1][2], 'now');
    poll($d);
    is(fcall('cancel', $d, $r[1][1], $r[1][2])->[0], 'sent', 'withdrawn');
    is((heard($ear, $d))[2], $r[2][2], 'the third');
}

# the strategy changes: what was handed out before, and is handed out again,
# leaves the turn to the one that has it

{
    my $d = $f->device;
    my $ear = listen_to($d);
    my @r = map { $f->create($d) } 1 .. 3;

    is(poll($d)->[1], $r[0][2], 'handed out under burst');
    $f->device(id => $d, strategy => 'sequential_on_response');
    is(poll($d)->[1], $r[1][2], 'the next one, with the turn');
    is(fcall('delivered', $d, $r[1][2], 1), 1, 'delivered');
    $f->pass(1050);

    my $p = poll($d);

    is("@$p[1, 2]", "$r[0][2] 2", 'the first one again');
    is(field($d, 'turn'), $r[1][2], 'and the turn stays where it is');
    $f->report('respond', $d, $r[0][2], '1');
    is(poll($d)->[0], 'wait', 'nobody else has it');
    $f->report('respond', $d, $r[1][2], '1');
    is(state_of($d, $r[2][2]), 'h', 'until it is given away');
}

# expiry, deletion

{
    my $d = $f->device;
    my $ear = listen_to($d);
    my $p = $f->create($d, timeout => 100);
    my $l = $f->create($d, timeout => 100, persistent => 0);

    $f->pass(110);
    is(poll($d)->[0], 'wait', 'what has expired is not handed out');
    $f->ticks($d, 50);
    is($f->status($d, $p->[1]), 'EXPIRED', 'EXPIRED');
    is($f->{admin}->fcall('device_del', $f->dkey($d)), 1, 'deleted');
    is((heard($ear, $d))[0], 'E', 'its poll ends');
    is((heard($ear, $d))[0], 'other', 'its caller is told');
    is_deeply(poll($d), ['unknown'], 'unknown');
    is(fcall('unpoll', $d, 'w1', 1), 0, 'unpoll');
    is(fcall('return', $d, 1, 1), 0, 'return');
}

{
    my $d = $f->device;
    my $r = $f->create($d, timeout => 400);

    poll($d);
    $f->ticks($d, 450);
    is($f->status($d, $r->[1]), 'EXPIRED', 'handed out, and expired');
    is(poll($d)->[0], 'wait', 'gone');
}

# nothing stays behind

{
    my $d = $f->device;
    my @r = map { $f->create($d, persistent => $_ % 2) } 1 .. 4;

    for (@r) {
        my $p = poll($d);
        fcall('delivered', $d, $p->[1], $p->[2]);
        $f->report('respond', $d, $p->[1], '1');
    }

    $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $_->[1]),
                       $TB::Functions::TENANT) for @r;
    poll($d, ttl => 20);
    $f->ticks($d, 60);
    $f->root->cmd('DEL', map { $f->key($d, 'answer', $_->[1]) } @r);
    is($f->left($d), '', 'nothing left') or diag $f->left($d);
}

# what was broken by hand

{
    my $d = $f->device;

    $f->root->cmd('HSET', $f->dkey($d), 'poll', 'x', 'handed', 'a 1 99 b');
    is(poll($d)->[0], 'wait', 'is ignored');
    $f->root->cmd('ZADD', $f->key($d, 'pending', $d), 1, 5, 2, 'x');
    is(poll($d)->[0], 'wait', 'dropped');
    is(length_of($d), 0, 'and gone');
}

# arguments

{
    my $d = $f->device;

    for my $a ([], ['w'], ['w', 1], ['w', 1, 0], ['w', 'x', 1], ['w w', 1, 1],
               ['w' x 65, 1, 1], ['', 1, 1], ['w', '1' x 16, 1])
    {
        like(fcall('poll', $d, @$a), qr/^ERR tb_rpc: (worker|session|ttl)/,
             'poll ' . join ' ', map { substr $_, 0, 10 } @$a);
    }

    like(fcall('unpoll', $d), qr/^ERR tb_rpc/, 'unpoll');
    like(fcall('unpoll', $d, 'w'), qr/^ERR tb_rpc/, 'unpoll w');
    like(fcall('return', $d, 1), qr/^ERR tb_rpc/, 'return 1');
    like(fcall('return', $d, 'x', 1), qr/^ERR tb_rpc/, 'return x');
    is(field($d, 'poll'), undef, 'nothing was changed');
}

done_testing();
