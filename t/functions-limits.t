# The function library: what bounds it.  A turn of tick, records that are old,
# times near the end of numbers, settings out of their range, the stream of
# events.
#
# runs: side by side, 6 s

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

sub bridge { return 'l' . ++$n }
sub score { return $f->root->cmd('ZSCORE', $f->key($_[0], $_[2] // 'due'),
                                 $_[1]) }


# old records come behind all that is due ------------------------------------------

{
    $f->config(record_ttl => 1000, ack_timeout => 100);

    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my @old = map { my $r = $f->create($d);
                    $f->report('failed', $d, $r->[2], 'x'); $r } 1 .. 30;

    is(scalar(grep { defined score($d, $_->[1]) } @old), 0,
       'what is over is not due');
    is(scalar(grep { score($d, $_->[1], 'old') == $f->now + 1000 } @old), 30,
       'it is removed later');
    $f->pass(1000);

    my $r = $f->create($d);

    $f->take_all($d, $b);
    $f->pass(100);
    is($f->tick($d, 8)->[0] >= 8, 1, 'a turn');
    is($f->status($d, $r->[1]), 'TIMEOUT',
       'the acknowledgement that is missing comes first');
    is($f->root->cmd('ZCARD', $f->key($d, 'old')), 23, 'then seven old ones');

    my $t = $f->tick($d, 8);

    is_deeply([@$t[0, 1]], [8, 0], 'the next turn, and there is more');
    $f->ticks($d, 30);
    is($f->root->cmd('EXISTS', $f->key($d, 'old')), 0, 'all are removed');
    is($f->root->cmd('ZCARD', $f->key($d, 'index', $d)), 1, 'but the open one');
    is($f->tick($d, 8)->[1] > 0, 1, 'nothing is due');
    $f->{admin}->fcall('device_del', $f->dkey($d));
    $f->config;
}


# B6: a turn touches as many calls as it may, and little more ---------------------

{
    my $b = bridge();
    my @d = TB::Functions::uuid();

    while (@d < 64) {
        my $id = TB::Functions::uuid();
        push @d, $id if $f->prefix($id) eq $f->prefix($d[0]);
    }

    $f->device(id => $_) for @d;

    for my $d (@d) {
        $f->report('attach', $d, $b, 's1', 1000);
        $f->create($d, timeout => 10 ** 6) for 1 .. 30;
    }

    $f->take_all($d[0], $b);
    $f->device(id => $_, bridge => "$b-route") for @d;
    $f->pass(1000);

    # 64 sessions lapse at once, with 30 calls each

    my ($worst, $turns, $touched) = (0, 0, 0);

    while ($turns < 1000) {
        my $t = $f->tick($d[0], 8);

        last if !$t->[0];
        $turns++;
        $touched += $t->[0];
        $worst = $t->[0] if $t->[0] > $worst;
    }

    cmp_ok($worst, '<=', 8 + 17, "$turns turns of at most $worst calls");
    cmp_ok($touched, '>=', 64 * 16, "$touched in all");
    is($f->stats($d[0], 'lapsed'), 64, 'all sessions have lapsed');
    is($f->root->cmd('LLEN', $f->key($d[0], 'queue', "$b-route")), 64 * 16,
       'and their calls are at the static route');
    $f->{admin}->fcall('device_del', $f->dkey($_)) for @d;
    $f->pass(100), $f->tick($d[0], 1000) for 1 .. 10;
}


# B13: times near the end of numbers -------------------------------------------------

{
    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $max = 2 ** 53 - 1;

    for my $o ([timeout => '9007199254740991'], [timeout => '9007199254740992'],
               [timeout => '9007199254740992', persistent => 0],
               [timeout => '9007199254740991', persistent => 0, hold => 5000],
               [expiration => '9007199254740992'])
    {
        my %o = @$o;
        my $name = join ' ', @$o;
        my $r = $f->create($d, %o);

        is($r->[0], 'queued', "$name: queued");

        my ($e) = $f->take_all($d, $b);

        is($e && $e->{requestId}, $r->[2], "$name: taken");
        cmp_ok($e->{expirationTime}, '<=', $max + 1, "$name: exact");
        is($f->report('delivered', $d, $r->[2], 1), 1, "$name: delivered");
        $f->pass(100);
        is(ref $f->tick($d), 'ARRAY', "$name: tick");
        is($f->report('respond', $d, $r->[2], '1'), 1, "$name: answered");
        is($f->status($d, $r->[1]), 'SUCCESSFUL', "$name: SUCCESSFUL")
            if $o{persistent} // 1;
    }

    # a record that is broken goes as a whole, with its call

    my $r = $f->create($d, timeout => 5000);

    $f->root->cmd('HSET', $f->key($d, 'rpc', $r->[1]), 'e',
                  '18014398509481984');
    is(scalar($f->take_all($d, $b)), 0, 'a time that is none: not taken');
    $f->pass(5000);
    $f->tick($d);
    is($f->status($d, $r->[1]), 'GONE', 'its record is removed');
    is($f->root->cmd('ZSCORE', $f->key($d, 'index', $d), $r->[1]), undef,
       'from the index');
    is($f->state_of($d, $r->[2]), 'gone', 'and its call');
    is(score($d, $r->[1]), undef, 'nothing is due');
}


# B16: an ack_timeout that is over at once --------------------------------------------

{
    my $key = 'tb:{s777}:config';

    for my $name (qw(ack_timeout response_timeout)) {
        like($f->{nginx}->fcall('config', $key, 10 ** 9, $name, $_),
             qr/^ERR tb_rpc: $name "$_" is not a number in its range/,
             "$name $_") for 0, 1, 9;
        is_deeply($f->{nginx}->fcall('config', $key, 10 ** 9, $name, 10), [1],
                  "$name 10");
    }

    # written by hand, or by an older version

    my $b = bridge();
    my $d = $f->device(bridge => $b);
    my $r = $f->create($d);

    $f->root->cmd('HSET', $f->key($d, 'config'), 'settings', 'ack_timeout=0');
    $f->pass(200);
    $f->take_all($d, $b);
    $f->pass(9_000);
    $f->tick($d);
    is($f->status($d, $r->[1]), 'SENT', 'the default counts');
    $f->pass(1_000);
    $f->tick($d);
    is($f->status($d, $r->[1]), 'TIMEOUT', 'of 10 s');
    $f->config;
}


# B18: the stream of events is bounded by what it takes -------------------------------

{
    $f->config(events => 1);

    my $d = $f->device;
    my $key = $f->key($d, 'events');
    my $params = '"' . 'x' x 60_000 . '"';

    for (1 .. 300) {
        my $r = $f->create($d, params => $params);
        $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r->[1]), $T);
    }

    my $bytes = $f->root->cmd('MEMORY', 'USAGE', $key, 'SAMPLES', 0);

    cmp_ok($f->root->cmd('XLEN', $key), '>', 20, 'the latest events are kept');
    cmp_ok($bytes, '<', 16_000_000, "in $bytes bytes, of 36 MB");

    # small ones by their number

    $f->root->cmd('DEL', $key);

    for (1 .. 120) {
        $f->{nginx}->pipeline(map {
            ['FCALL', 'tb_rpc_create', 1, $f->dkey($d), TB::Functions::uuid(),
             '', 0, 1, $T, '*', '"m"', '1', '', '', '', 1]
        } 1 .. 100);
    }

    cmp_ok($f->root->cmd('XLEN', $key), '<=', 10_200,
           'of 12,000 small ones about 10,000');
    cmp_ok($f->root->cmd('XLEN', $key), '>=', 9_900, 'and no fewer');
    $f->config;
}

done_testing();
