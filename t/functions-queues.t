# The function library: queues.  How many calls of a device are in one, who is
# told that there are some, and what becomes of those that nobody wants.
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
sub field { return $f->root->cmd('HGET', $f->dkey($_[0]), $_[1]) }
sub waiting { return $f->root->cmd('ZRANGE', $f->key($_[0], 'pending', $_[0]),
                                   0, -1) }
sub give_back { my ($d, $e, @session) = @_;
                return $f->report('return', $d, $e->{requestId},
                                  $e->{attempt}, @session) }


sub listener {
    my ($d, @channel) = @_;

    my $c = $f->server->client(user => 'tb-bridge');

    $c->ssubscribe($f->key($d, @channel));

    return $c;
}


# at most 16 of a device ---------------------------------------------------------

sub outside {
    my ($d) = @_;

    my @open = @{ $f->root->cmd('HVALS', $f->key($d, 'inflight', $d)) };

    return (scalar(grep { /^.[qs]/ } @open), scalar grep { !/^.p/ } @open);
}

for my $persistent (1, 0) {
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my @r = map { $f->create($d, persistent => $persistent) } 1 .. 40;
    my $ok = 1;

    is_deeply([map { $_->[0] } @r], [('queued') x 16, ('turn') x 24],
              "persistent $persistent: 16 are queued");

    srand 7;

    for (1 .. 60) {
        my @taken = $f->take_all($d, $b);

        for my $e (@taken) {
            my $dice = rand;

            $dice < 0.5 ? $f->report('delivered', $d, $e->{requestId})
            : $dice < 0.6 ? $f->report('timeout', $d, $e->{requestId})
            : $dice < 0.8 ? $f->report('respond', $d, $e->{requestId}, '1')
            : $f->report('failed', $d, $e->{requestId}, 'x');

            my ($n, $all) = outside($d);
            my $out = field($d, 'out');

            $ok = 0, diag("$n are out, not $out") if defined $out && $out != $n;
            $ok = 0, diag("$n of $all, uncounted") if !defined $out && $all > 16;
            $ok = 0, diag("$n are out, and " . @{ waiting($d) } . ' wait')
                if $n > 16 || ($n < 16 && @{ waiting($d) });
        }

        push @r, $f->create($d, persistent => $persistent);
    }

    ok($ok, 'never more, never fewer while some wait, and counted right');
}

# those that were acknowledged take no place

{
    my $b = bridge();
    my $d = $f->device;

    $f->report('attach', $d, $b, 's1', 10 ** 7);
    $f->create($d) for 1 .. 10;
    $f->report('delivered', $d, $_->{requestId}) for $f->take_all($d, $b);
    $f->report('detach', $d, 's1');
    $f->create($d) for 1 .. 20;
    is($f->report('attach', $d, $b, 's2', 10 ** 7), 16,
       '10 are acknowledged: 16 more leave at once');
    is((outside($d))[0], 16, 'they are out');
}

# a queue that is full leaves the count as it was

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);

    $f->create($d) for 1 .. 16;
    $f->report('delivered', $d, $_->{requestId}) for $f->take_all($d, $b);
    $f->create($d);
    is(field($d, 'out'), 1, 'one is out, 16 are acknowledged');
    $f->config(max_queue => 1);
    is($f->create($d)->[0], 'offline', 'the queue is full');
    is(field($d, 'out'), 1, 'one is out');
    $f->config;
}

# bells ---------------------------------------------------------------------------

{
    my $b = bridge();
    my $d = $f->device;
    my $bell = listener($d, 'bell', $b);
    my $rung = sub { my $n = 0; $n++ while $bell->message($_[0] // 0.1);
                     return $n };

    $f->report('attach', $d, $b, 's1', 10 ** 7);
    is($rung->(), 0, 'nothing to say');
    $f->create($d);
    is_deeply([$bell->message(1)], [$f->key($d, 'bell', $b), '1'],
              'the first reference: nginx rings');
    $f->create($d) for 1 .. 5;
    $f->pass(999);
    $f->create($d);
    is($rung->(), 0, 'more of them: not within a second');
    $f->pass(1);
    $f->create($d);
    is($rung->(), 1, 'then once more');
    $f->pass(500);
    $f->take_all($d, $b);
    $f->create($d);
    is($rung->(), 1, 'the queue was empty: at once');

    # by what is not a create

    my $e = $f->device(strategy => 'sequential_on_ack');
    my $other = listener($e, 'bell', $b);

    $f->create($e) for 1 .. 4;
    $f->report('attach', $e, $b, 's1', 10 ** 7);
    is(($other->message(1))[1], 1, 'attach: a bridge rings');

    my ($call) = $f->take_all($e, $b);

    $f->report('delivered', $e, $call->{requestId}, 1);
    is(($other->message(1))[1], 1, 'what an acknowledgement has released');
    ($call) = $f->take_all($e, $b);
    $f->report('timeout', $e, $call->{requestId}, 1);
    is(($other->message(1))[1], 1, 'what is pushed again');
    ($call) = $f->take_all($e, $b);
    give_back($e, $call);
    $f->pass(1000);
    $f->tick($e);
    is(($other->message(1))[1], 1, 'tick: nginx again');
    $f->report('detach', $e, 's1');
    $f->device(id => $e, bridge => $b);
    is(($other->message(1))[1], 1, 'a route: an operator rings');

    # without the right all is as it was, but silent

    for my $user (qw(nginx bridge admin)) {
        $f->root->cmd('ACL', 'SETUSER', "tb-$user", 'resetchannels',
                      '&tb:{s*}:reply:*');
    }

    my $g = $f->device(bridge => $b);
    my $third = $f->server->client;

    $third->ssubscribe($f->key($g, 'bell', $b));
    is($f->create($g)->[0], 'queued', 'no right to ring: queued');
    is(scalar($f->take_all($g, $b)), 1, 'and taken');
    is_deeply([$third->message(0.1)], [], 'without a bell');
    is($f->stats($g, 'broken'), 0, 'nothing is broken');

    for my $user (qw(nginx bridge admin)) {
        $f->root->cmd('ACL', 'SETUSER', "tb-$user", '&tb:{s*}:bell:*');
    }

    $f->create($g);
    is(($third->message(1))[1], 1, 'it rings with it');
}

# B9: the queue of a bridge that is gone -----------------------------------------

{
    my ($b, $b2) = (bridge(), bridge());
    my $d = $f->device;
    my $q = $f->key($d, 'queue', $b);
    my $due = sub { $f->root->cmd('ZSCORE', $f->key($d, 'due'), "#$b") };

    $f->report('attach', $d, $b, 's1', 10 ** 7);

    my $r = $f->create($d, timeout => 10 ** 6);

    is($due->(), $f->now + 60_000, 'it is looked at in a minute');
    $f->root->cmd('RPUSH', $q, map { "$_ 1 00000000 $d" } 1 .. 50);
    $f->pass(60_000);
    $f->tick($d);
    is($f->root->cmd('LLEN', $q), 51, 'a good one is at its head');
    is($due->(), $f->now + 60_000, 'it is looked at again');
    $f->report('attach', $d, $b2, 's2', 10 ** 7);
    cmp_ok($f->root->cmd('LLEN', $q), '<', 51, 'the device has left');
    cmp_ok($f->root->cmd('LLEN', $q), '>', 20, 'a few are dropped at once');
    $f->pass(60_000);

    for (1 .. 4) {
        my $t = $f->tick($d, 8);

        cmp_ok($t->[0], '<=', 18, 'not all at once');
        $f->pass(1);
    }

    is($f->root->cmd('EXISTS', $q), 0, 'then nothing is left');
    is($due->(), undef, 'and nobody looks');

    # what comes then is looked at again

    $f->report('attach', $d, $b, 's3', 10 ** 7);
    is($f->root->cmd('LLEN', $q), 1, 'the device is back');
    ok($due->(), 'and its queue is looked at');

    my $end = sub { $f->report('respond', $d, $_->{requestId}, '1')
                        for $f->take_all($d, $b) };

    $end->();
    $f->pass(30_000);
    $f->create($d);
    $f->pass(31_000);
    $f->tick($d);
    $end->();
    $f->pass(40_000);
    $f->create($d);
    $end->();
    $f->pass(20_000);
    $f->tick($d);
    is($due->(), undef, 'empty: nobody looks');
    $f->create($d);
    ok($due->(), 'whenever it was looked at last');
}

# what waits, for those who want to see it ------------------------------------

{
    my ($b, $b2) = (bridge(), bridge());
    my $d = $f->device(bridge => $b);
    my $key = $f->key($d, 'queues');
    my $told = sub {
        my @told = @{ $f->root->fcall('queues', $key) };
        my %by;

        while (my ($name, $n, $age) = splice @told, 0, 3) {
            $by{$name} = "$n $age";
        }

        return $by{ $_[0] };
    };

    is($told->($b), undef, 'nothing was pushed');

    my @calls = map { $f->create($d, timeout => 10 ** 6) } 1 .. 3;

    $f->pass(1500);
    is($told->($b), '3 1500', 'three calls, the oldest for 1.5 s');
    $f->take_all($d, $b);
    is($told->($b), '0 -1', 'none any more');

    $f->root->cmd('RPUSH', $f->key($d, 'queue', $b), map { "x $_" } 1 .. 20);
    is($told->($b), '20 -1', 'references that mean nothing');
    $f->root->cmd('DEL', $f->key($d, 'queue', $b));

    # of another type it is no reason to fail

    $f->root->cmd('DEL', $key);
    $f->root->cmd('SET', $key, 'x');
    $f->pass(61_000);
    is(ref $f->create($d, timeout => 10 ** 6), 'ARRAY', 'a create goes on');
    $f->root->cmd('DEL', $key);
    $f->take_all($d, $b);

    # an empty one is named for a day

    $f->pass(61_000);
    $f->create($d);
    is($told->($b) =~ /^1 /, 1, 'it is named again');
    $f->take_all($d, $b);
    $f->pass(86_400_000 - 1000);
    is($told->($b), '0 -1', 'for a day');

    my $id = TB::Functions::uuid();

    $id = TB::Functions::uuid() while $f->key($id, 'queues') ne $key;

    my $other = $f->device(id => $id, bridge => $b2);

    $f->pass(2000);
    $f->create($other);
    is($told->($b), undef, 'and then no longer');
    like($told->($b2), qr/^1 /, 'the other one is');

    like($f->root->fcall('queues', $f->key($d, 'queue', $b)),
         qr/^ERR tb_rpc: 1 key is needed/, 'another key');
}

done_testing();
