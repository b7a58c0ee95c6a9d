# The function library: calls that bridges give back, at their places; devices
# that are held after that, and whose they are.
#
# runs: side by side, 4 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Functions;

my $f = TB::Functions->new(clock => 1);
my $n = 0;

$f->config;

sub bridge { return 'tk' . ++$n }
sub rids { return map { $_->{requestId} } @_ }
sub field { return $f->root->cmd('HGET', $f->dkey($_[0]), $_[1]) }
sub waiting { return $f->root->cmd('ZRANGE', $f->key($_[0], 'pending', $_[0]),
                                   0, -1) }
sub queue { return $f->root->cmd('LRANGE', $f->key($_[0], 'queue', $_[1]), 0,
                                 -1) }
sub give_back { my ($d, $e, @session) = @_;
                return $f->report('return', $d, $e->{requestId},
                                  $e->{attempt}, @session) }


# the envelopes of a reply, decoded

sub taken { my ($left, @raw) = @{ $_[0] };
            return map { TB::Functions::envelope($_) } @raw }


# F3: given back on a static route ----------------------------------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $r = $f->create($d, timeout => 3600_000, retries => 0);
    my ($rounds, @steps) = 0;

    for (1 .. 9) {
        my $start = $f->now;
        my $e;

        until ($e = $f->take_one($d, $b)) {
            $f->pass(50);
            $f->tick($d);
            die 'it does not come again' if $f->now - $start > 40_000;
        }

        push @steps, int(($f->now - $start) / 1000 + 0.5);
        is(give_back($d, $e), 1, 'given back');
        is($f->status($d, $r->[1]), 'QUEUED', 'QUEUED');
        is($f->create($d, persistent => 0, timeout => 1000)->[0], 'turn',
           'what comes now waits, too');
    }

    is("@steps", '0 1 2 4 8 16 30 30 30', 'a second, doubling to 30');
    is($f->record($d, $r->[1])->{u}, undef, 'no retry is used');

    # a device that answers is not held any more

    my $e;

    $f->ticks($d, 31_000);
    ok($e = $f->take_one($d, $b), 'once more');

    my $next = $f->create($d);

    is($f->report('delivered', $d, $e->{requestId}, $e->{attempt}), 1,
       'delivered');
    is(field($d, 'held'), undef, 'not held');
    $e = ($f->take_all($d, $b))[0];
    give_back($d, $e);
    is((split / /, field($d, 'held'))[1], 1000, 'the next one: a second');

    # it ends when nothing came back for as long

    $f->ticks($d, 5000);
    $e = ($f->take_all($d, $b))[0];
    give_back($d, $e);
    is((split / /, field($d, 'held'))[1], 1000, 'long ago: a second again');

    # while it is held, ends and other takes release nothing

    my @more = map { $f->create($d) } 1 .. 3;

    $f->report('respond', $d, $r->[2], '1');
    is(field($d, 'held'), undef, 'an answer ends it');
    is(scalar($f->take_all($d, $b)), 4, 'and all are released');
}

# the end of a session ends a hold

{
    my ($b, $b2) = (bridge(), bridge());
    my $d = $f->device(bridge => $b);

    $f->report('attach', $d, $b2, 's1', 60_000);

    my $r = $f->create($d);
    my ($e) = $f->take_all($d, $b2);

    give_back($d, $e);
    ok(field($d, 'held'), 'held, without a session');
    is($f->report('detach', $d, 's1'), 1, 'detach');
    is_deeply([rids($f->take_all($d, $b))], [$r->[2]],
              'the static route has it at once');

    # and a new one

    $f->report('attach', $d, $b2, 's2', 60_000);
    $r = $f->create($d);
    give_back($d, $_) for $f->take_all($d, $b2);
    is(scalar($f->take_all($d, $b2)), 0, 'held again');
    $f->report('attach', $d, $b2, 's3', 60_000);
    is(scalar($f->take_all($d, $b2)), 2, 'a new session has them');
}

# F4: what comes back is not overtaken ------------------------------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my @r = map { $f->create($d, persistent => $_ % 2) } 1 .. 5;
    my ($e, $second) = taken($f->take($d, $b, max => 2));

    is(give_back($d, $e), 1, 'the first one comes back');
    is_deeply(waiting($d), [map { $_->[2] } @r[0, 2 .. 4]],
              'so does what was not taken, in order');
    is_deeply(queue($d, $b), [], 'nothing is in the queue');
    push @r, $f->create($d);
    is(give_back($d, $second), 1, 'the second one, too');
    is_deeply(waiting($d), [map { $_->[2] } @r], 'at its place');
    is(give_back($d, $second), 0, 'once');
    is(give_back($d, { requestId => $r[3][2], attempt => 1 }), 0,
       'not what was not taken');
    $f->ticks($d, 1100);

    my @e = $f->take_all($d, $b);

    is_deeply([rids(@e)], [map { $_->[2] } @r], 'all come again in order');
    is_deeply([map { $_->{attempt} } @e], [2, 2, 2, 2, 2, 1],
              'with the next attempt');
    is($f->report('return', $d, $e[0]{requestId}, 1), 0, 'an old attempt');
    is($f->state_of($d, $e[0]{requestId}), 's', 'changes nothing');
}

# around the end of the requestIds, and after many of them

{
    my $b = bridge();
    my $d = $f->device(bridge => $b, strategy => 'sequential_on_ack');
    my $now = $f->now;

    # 4 ms before they begin anew

    $f->{now} = 2 ** 31 * (int($now / 2 ** 31) + 1) - 4;
    $f->pass(0);

    my @r = map { my $r = $f->create($d, timeout => 10 ** 10); $f->pass(1); $r }
            1 .. 8;

    cmp_ok($r[7][2], '<', $r[0][2], 'they begin anew');
    is_deeply(waiting($d), [map { $_->[2] } @r[1 .. 7]], 'in order all the same');

    my ($e) = $f->take_all($d, $b);

    give_back($d, $e);
    is_deeply(waiting($d), [map { $_->[2] } @r], 'also what comes back');

    # one from before and one from after

    $f->device(id => $d, strategy => 'burst');
    $f->ticks($d, 1100);
    give_back($d, $_) for reverse $f->take_all($d, $b);
    is_deeply(waiting($d), [map { $_->[2] } @r], 'of both, in any order');

    # 25 days later

    $f->pass(2 ** 31 - 10);
    push @r, my $late = $f->create($d, timeout => 10 ** 10);
    is_deeply(waiting($d), [map { $_->[2] } @r], 'and what comes much later');
    $f->{admin}->fcall('device_del', $f->dkey($d));
    $f->{now} = $now;
    $f->pass(1000);
}

# F5: whose device is it? -------------------------------------------------------

{
    my ($b1, $b2) = (bridge(), bridge());
    my $d = $f->device;

    $f->report('attach', $d, $b1, 's1', 60_000);

    my @r = map { $f->create($d) } 1 .. 3;
    my ($e) = taken($f->take($d, $b1, max => 1));

    $f->report('attach', $d, $b2, 's2', 60_000);
    is(give_back($d, $e, 's1'), 0, 'the call has moved');
    is(field($d, 'session'), 's2', 'and the new session stays');
    is(scalar($f->take_all($d, $b2)), 3, 'with all calls');

    # lightweight ones do not move: they are given back to the new session

    $f->report('attach', $d, $b1, 's3', 60_000);

    my $l = $f->create($d, persistent => 0);
    ($e) = grep { $_->{requestId} == $l->[2] } $f->take_all($d, $b1);
    $f->report('attach', $d, $b2, 's4', 60_000);
    $f->take_all($d, $b2);
    is(give_back($d, $e, 's3'), 1, 'given back by the old session');
    is(field($d, 'session'), 's4', 'the device stays');
    is(field($d, 'held'), undef, 'and is not held');
    is_deeply([rids($f->take_all($d, $b2))], [$l->[2]], 'the new one has it');

    # the current one: the device is away

    my $x = $f->create($d);
    ($e) = $f->take_all($d, $b2);
    is(give_back($d, $e, 's4'), 1, 'given back by the current session');
    is(field($d, 'session'), undef, 'the device is away');
    is($f->state_of($d, $x->[2]), 'p', 'its calls wait');
    is($f->create($d)->[0], 'offline', 'it is offline');
    is($f->report('attach', $d, $b1, 's4', 60_000) > 0, 1, 'and comes back');
}

# F9: sessions that were superseded ---------------------------------------------

{
    my $b = bridge();
    my $d = $f->device;

    $f->report('attach', $d, $b, "s$_", 60_000) for 1 .. 6;
    is($f->report('attach', $d, $b, "s$_", 60_000), -1, "s$_ is over")
        for 2 .. 5;
    is(field($d, 'session'), 's6', 'the current one stays');
    is(field($d, 'until'), $f->now + 60_000, 'as it was');
    is($f->report('attach', $d, $b, 's6', 1000), 0, 'and goes on');
    is($f->stats($d, 'superseded'), 4, 'counted');
    is($f->report('attach', $d, $b, 's1', 60_000), 0,
       'the fifth before is forgotten');
    is_deeply($f->root->cmd('HMGET', $f->dkey($d), 'prev', 'prev2', 'prev3',
                            'prev4'), ['s6', 's5', 's4', 's3'],
              'the newest first');
}

done_testing();
