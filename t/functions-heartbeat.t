# The function library: heartbeats, many at once; devices with many calls that
# go away; what a detached device leaves behind.
#
# runs: side by side, 4 s

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
sub bridge { return 'h' . ++$n }
sub field { return $f->root->cmd('HGET', $f->dkey($_[0]), $_[1]) }
sub score { return $f->root->cmd('ZSCORE', $f->key($_[0], 'due'), $_[1]) }
sub beat { my ($d, @args) = @_;
           return $f->{bridge}->fcall('heartbeat', $f->key($d, 'due'), @args) }


# devices of one shard

sub devices {
    my ($count) = @_;

    my @ids = uuid();

    while (@ids < $count) {
        my $id = uuid();
        push @ids, $id if $f->prefix($id) eq $f->prefix($ids[0]);
    }

    return map { $f->device(id => $_) } @ids;
}


# who is fine, who is not ---------------------------------------------------------

{
    my $b = bridge();
    my ($d, $e, $g, $route) = devices(4);
    my $unknown = do { my $id; do { $id = uuid() }
                       until $f->prefix($id) eq $f->prefix($d); $id };

    $f->device(id => $route, bridge => $b);
    $f->report('attach', $_, $b, 's1', 60_000) for $d, $e;
    $f->report('attach', $e, $b, 's2', 60_000);

    my $before = $f->root->cmd('HGETALL', $f->dkey($e));

    is_deeply(beat($d, 60_000, $d, 's1', $e, 's1', $g, 's1', $route, 's1',
                   $unknown, 's1'),
              [$e, -1, $g, 0, $route, 0, $unknown, 0],
              'fine; another session; none; a route; unknown');
    is_deeply($f->root->cmd('HGETALL', $f->dkey($e)), $before,
              'B7: it takes nothing over');
    is(field($g, 'session'), undef, 'nor attaches');
    is($f->root->cmd('EXISTS', $f->dkey($unknown)), 0, 'nor makes devices');
    is($f->stats($d, 'superseded'), 0, 'nothing is superseded');
    is_deeply(beat($d, 60_000, $d, 's1'), [], 'all fine');

    # of another type

    $f->root->cmd('RENAME', $f->dkey($g), 'tb:aside');
    $f->root->cmd('SET', $f->dkey($g), 'x');
    is_deeply(beat($d, 60_000, $g, 's1', $d, 's1'), [$g, 0],
              'a key of another type: none');
    $f->root->cmd('DEL', $f->dkey($g));
    $f->root->cmd('RENAME', 'tb:aside', $f->dkey($g));
}

# what it writes, and when

{
    my $b = bridge();
    my ($d) = devices(1);
    my $start = $f->now;

    $f->report('attach', $d, $b, 's1', 60_000);
    is(score($d, "\@$d"), $start + 60_000, 'looked at when it lapses');

    # each 20 s: written when half of it is over

    my @until;

    for (1 .. 9) {
        $f->pass(20_000);
        beat($d, 60_000, $d, 's1');
        push @until, (field($d, 'until') - $start) / 1000;
        $f->tick($d);
    }

    is("@until", '60 100 100 140 140 180 180 220 220',
       'until is written when less than half is left');
    is($f->stats($d, 'lapsed'), 0, 'it never lapses');
    is(score($d, "\@$d"), $start + 220_000 , 'looked at when it would lapse');

    # not in between

    my $due = score($d, "\@$d");

    beat($d, 300_000, $d, 's1');
    is(field($d, 'until'), $f->now + 300_000, 'a longer one counts at once');
    is(score($d, "\@$d"), $due, 'what is due stays');
    $f->pass($due - $f->now);
    $f->tick($d);
    is(score($d, "\@$d"), field($d, 'until'), 'until it fires');
}

# one that comes late: nobody has looked yet

{
    my ($b, $b2) = (bridge(), bridge());
    my ($d) = devices(1);

    $f->report('attach', $d, $b, 's1', 1000);

    my $r = $f->create($d);
    my $e = $f->take_one($d, $b);

    $f->pass(1500);
    is($f->create($d)->[0], 'offline', 'it has lapsed');
    is_deeply(beat($d, 5000, $d, 's1'), [], 'but is attached');
    is(field($d, 'until'), $f->now + 5000, 'and goes on');
    is(score($d, "\@$d"), $f->now, 'it is looked at now');
    is($f->root->cmd('LLEN', $f->key($d, 'queue', $b)), 0,
       'a heartbeat releases nothing');
    $f->tick($d);
    is(scalar($f->take_all($d, $b)), 1, 'tick does');
    is($f->stats($d, 'lapsed'), 0, 'not lapsed');
    is($f->report('delivered', $d, $r->[2], 1), 1,
       'what it had before is still its own');

    # too late

    $f->pass(6000);
    $f->tick($d);
    is($f->stats($d, 'lapsed'), 1, 'lapsed');
    is_deeply(beat($d, 5000, $d, 's1'), [$d, 0], 'none is attached');
    is($f->report('attach', $d, $b2, 's1', 5000) >= 0, 1,
       'the bridge attaches again');
}

# many, and arguments

{
    my $b = bridge();
    my @d = devices(256);
    my $key = $f->key($d[0], 'due');

    $f->report('attach', $_, $b, "s $_\0", 1000) for @d;
    $f->pass(900);
    is_deeply(beat($d[0], 60_000, map { ($_, "s $_\0") } @d), [],
              '256 at once');
    is(scalar(grep { field($_, 'until') != $f->now + 60_000 } @d), 0,
       'all go on');

    $f->pass(50_000);

    my $until = field($d[0], 'until');

    for my $a ([], [1000], [1000, $d[0]], [0, $d[0], 's'], [-1, $d[0], 's'],
               ['x', $d[0], 's'], ['9' x 17, $d[0], 's'],
               [60_000, $d[0], "s $d[0]\0", $d[1]],
               [60_000, $d[0], "s $d[0]\0", 'x', 's'],
               [60_000, $d[0], "s $d[0]\0", $d[1], ''],
               [60_000, $d[0], "s $d[0]\0", $d[1], 's' x 257],
               [60_000, (map { ($_, "s $_\0") } @d), $d[0], 's'])
    {
        like(beat($d[0], @$a), qr/^ERR tb_rpc: (?:ttl|device|tb_rpc_heartbeat)/,
             'heartbeat ' . join ' ', map { substr $_, 0, 10 }
                            @$a[0 .. ($#$a > 5 ? 5 : $#$a)]);
    }

    like($f->root->fcall('heartbeat', $_, 1000, $d[0], 's'),
         qr/^ERR tb_rpc: 1 key/, "of $_")
        for 'x', 'tb:{s000}:device:' . $d[0], 'tb:{s0}:due';
    is(field($d[0], 'until'), $until, 'nothing was written');
    $f->report('detach', $_, "s $_\0") for @d;
}

# what the latest heartbeat has seen spares the next one the devices

sub commands {
    my ($name) = @_;

    return $f->root->cmd('INFO', 'commandstats')
               =~ /^cmdstat_$name:calls=(\d+)/m ? $1 : 0;
}

{
    my $b = bridge();
    my @d = devices(100);
    my $beats = $f->key($d[0], 'beats');
    my @all = map { ($_, "s$_") } @d;
    my $again = sub { beat($d[0], 60_000, @all) };

    $f->report('attach', $_, $b, "s$_", 60_000) for @d;
    $again->();

    my $read = commands('hmget');

    is_deeply($again->(), [], 'all fine');
    is(commands('hmget'), $read + 1, 'by one command');
    $f->pass(31_000);
    is_deeply($again->(), [], 'fine as well');
    is(scalar(grep { field($_, 'until') != $f->now + 60_000 } @d), 0,
       'and written, for less than half of it was left');

    # whatever happens to a session is seen at once

    my ($gone, $moved, $deleted, $again_there, $large, $lapsed) = @d;

    $f->report('detach', $gone, "s$gone");
    $f->report('attach', $moved, $b, 'other', 60_000);
    $f->create($large) for 1 .. 40;
    $f->{admin}->fcall('device_del', $f->dkey($_)) for $deleted, $large;
    $f->report('detach', $again_there, "s$again_there");
    $f->report('attach', $again_there, $b, 'new', 60_000);
    is_deeply($again->(), [$gone, 0, $moved, -1, $deleted, 0, $again_there, -1,
                           $large, 0],
              'detached, moved, deleted, attached anew, deleted with 40 calls');
    is_deeply(beat($d[0], 60_000, $moved, 'other', $again_there, 'new'), [],
              'the new ones are fine');
    is_deeply(beat($d[0], 60_000, map { ($_, substr("s$_", 0, -1)) }
                                  @d[10 .. 12]),
              [map { ($_, -1) } @d[10 .. 12]], 'half a session is none');

    # a shorter time than the one before

    $f->report('attach', $lapsed, $b, "s$lapsed", 1000);
    $f->pass(600);
    is_deeply(beat($d[0], 1000, $lapsed, "s$lapsed"), [], 'attached for 1 s');
    is(field($lapsed, 'until'), $f->now + 1000, 'and on for 1 s');
    $f->pass(1001);
    $f->tick($lapsed) for 1 .. 40;
    is_deeply(beat($d[0], 1000, $lapsed, "s$lapsed"), [$lapsed, 0], 'lapsed');

    # more digits

    @d = @d[10 .. 12];
    is_deeply(beat($d[0], 4503599627370496, map { ($_, "s$_") } @d), [], 'for ever');
    is(scalar(grep { field($_, 'until') == $f->now + 4503599627370496 } @d), 3,
       'is longer than a minute');
    is_deeply(beat($d[0], 60_000, map { ($_, "s$_") } @d), [], 'a minute');

    my $digits = substr field($d[0], 'until'), 14;

    is_deeply(beat($d[0], 60_000, $d[0], "$digits s$d[0]"), [$d[0], -1],
              'digits are none of a session');

    # a device that somebody has removed by hand is not made again

    $f->report('attach', $_, $b, "s$_", 60_000) for @d;
    beat($d[0], 60_000, map { ($_, "s$_") } @d);
    $f->pass(40_000);

    my $aside = $f->root->cmd('DUMP', $f->dkey($d[0]));

    $f->root->cmd('DEL', $f->dkey($d[0]));
    is_deeply(beat($d[0], 60_000, map { ($_, "s$_") } @d), [$d[0], 0],
              'a device that is gone');
    is($f->root->cmd('EXISTS', $f->dkey($d[0])), 0, 'stays so');
    is(scalar(grep { field($_, 'until') == $f->now + 60_000 } @d[1, 2]), 2,
       'the others go on');
    $f->root->cmd('RESTORE', $f->dkey($d[0]), 0, $aside);
    is_deeply(beat($d[0], 60_000, map { ($_, "s$_") } @d), [], 'back again');

    # a copy of another type does no harm

    $f->root->cmd('SET', $beats, 'x');
    is_deeply(beat($d[0], 60_000, map { ($_, "s$_") } @d, $gone), [$gone, 0],
              'without them');
    is($f->report('detach', $d[0], "s$d[0]"), 1, 'detached');
    is_deeply(beat($d[0], 60_000, map { ($_, "s$_") } @d), [$d[0], 0],
              'and seen');
    $f->root->cmd('DEL', $beats);
}


# a device with many calls is deleted ---------------------------------------------

{
    my ($b, $b2) = (bridge(), bridge());
    my ($d) = devices(1);
    my $ear = $f->server->client(user => 'tb-nginx');
    my $in = $f->key($d, 'inflight', $d);

    $f->report('attach', $d, $b, 's1', 10 ** 7);
    $f->create($d, persistent => $_ % 2, timeout => 10 ** 6) for 1 .. 300;
    $f->take($d, $b, max => 8);
    $ear->ssubscribe($f->key($d, 'reply', 'w1'));

    is($f->{admin}->fcall('device_del', $f->dkey($d)), 1, 'deleted');

    my $left = $f->root->cmd('HLEN', $in);

    cmp_ok($left, '>', 0, "$left calls are still there");
    cmp_ok($left, '<', 300, 'fewer than before');

    # to everybody it is gone

    is_deeply($f->create($d), ['unknown'], 'create: unknown');
    like($f->report('attach', $d, $b2, 's2', 1000), qr/is unknown/, 'attach');
    is_deeply($f->{nginx}->fcall('poll', $f->dkey($d), 'w1', 1, 1000),
              ['unknown'], 'poll');
    is_deeply($f->{nginx}->fcall('list', $f->dkey($d), $T, '*', '',
                                 'createdTime', 'asc', 0, 1), ['unknown'],
              'list');
    is($f->{admin}->fcall('device_del', $f->dkey($d)), 0, 'it was deleted');
    is(scalar($f->take_all($d, $b)), 0, 'nothing is taken');

    # it can't be made anew before

    like($f->{admin}->fcall('device_put', $f->dkey($d), $T, ''),
         qr/^TRYAGAIN tb_rpc: device \S+ is being deleted/,
         'made anew: try again');

    my $ticks = 0;

    while ($f->root->cmd('EXISTS', $f->dkey($d)) && $ticks < 50) {
        my $rest = $f->root->cmd('HLEN', $in);
        my $t = $f->tick($d, 8);

        cmp_ok($rest - $f->root->cmd('HLEN', $in), '<=', 16, 'in slices');
        $ticks++;
    }

    my ($told, @other) = (0);

    # what was published comes before the reply to this
    $ear->send_cmd('PING');

    while ((my $reply = $ear->read)->[0] ne 'pong') {
        my $text = $reply->[2];

        substr($text, 36) eq 'D' ? $told++ : push @other, $text;
    }

    is($told, 150, 'each caller was told');
    is("@other", '', 'that the device is gone');

    my @ids = @{ $f->root->cmd('ZRANGE', $f->key($d, 'index', $d), 0, -1) };

    is(scalar(grep { $f->status($d, $_) eq 'FAILED' } @ids), 150,
       'each record is FAILED');
    is($f->root->cmd('EXISTS', $f->key($d, $_, $d)), 0, "no $_ is left")
        for qw(inflight pending body device);
    is(scalar(grep { defined score($d, $_) } @ids), 0, 'nothing is due');
    is($f->device(id => $d), $d, 'it can be made anew');
    is($f->create($d)->[0], 'offline', 'and called');
}


# B14: after a detach --------------------------------------------------------------

{
    my $b = bridge();
    my ($d) = devices(1);

    sub list { return $f->{nginx}->fcall('list', $f->dkey($_[0]), $T, '*',
                                         $_[1], 'createdTime', 'asc', 0, 10)
                          ->[1] }

    $f->report('attach', $d, $b, 's1', 10 ** 6);

    my @r = map { $f->create($d) } 1 .. 3;

    $f->take($d, $b, max => 2);
    $f->report('timeout', $d, $r[0][2], 1);
    is($f->status($d, $r[0][1]), 'TIMEOUT', 'one is pushed again');
    is($f->status($d, $r[1][1]), 'SENT', 'one is sent');
    $f->report('detach', $d, 's1');
    is($f->state_of($d, $_->[2]), 'p', 'all wait') for @r;
    is($f->status($d, $r[0][1]), 'TIMEOUT', 'what has timed out says so');
    is($f->status($d, $r[1][1]), 'QUEUED', 'what was sent is QUEUED again');
    is(list($d, 'QUEUED'), 2, 'and is listed');
    is(list($d, 'SENT'), 0, 'nothing is SENT');
    is(list($d, 'TIMEOUT'), 1, 'one is TIMEOUT');

    # a session that lapses

    $f->report('attach', $d, $b, 's2', 1000);
    $f->take_all($d, $b);
    is(list($d, 'SENT'), 3, 'taken again');
    $f->ticks($d, 1100);
    is(list($d, 'QUEUED'), 3, 'lapsed: QUEUED again');
}

done_testing();
