# The function library: creates, answers, ends and what refuses them, call by
# call, without nginx and without a bridge.
#
# runs: side by side, 4 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Functions;

my $f = TB::Functions->new;
my $T = $TB::Functions::TENANT;

$f->config;

sub uuid { TB::Functions::uuid() }
sub words { return ref $_[0] eq 'ARRAY' ? $_[0][0] : "$_[0]" }


# another device id of the same shard

sub same_shard {
    my ($device) = @_;

    for (;;) {
        my $id = uuid();
        return $id if TB::Functions::shard($id) == TB::Functions::shard($device);
    }
}


my ($version) = TB::Server::library() =~ /^local VERSION = (\d+)$/m;

is($f->{nginx}->cmd('FCALL', 'tb_rpc_version', 0), $version, 'version');
is($f->{nginx}->cmd('FCALL', 'tb_rpc_version', 1, 'tb:{s001}:x'), $version,
   'version with a key');

# the envelope

{
    my $d = $f->device(bridge => 'b1', name => 'n');
    my $id = uuid();
    my $before = int(time * 1000) - 1;
    my $r = $f->create($d, id => $id, info => '{"a":1.10}',
                       params => '{"x":1.10,"big":12345678901234567890}',
                       trace => '00-ab-cd-01');

    is($r->[0], 'queued', 'pushed at once');
    is($r->[1], $id, 'rpcId');
    cmp_ok($r->[2], '>', 0, 'requestId is positive');
    cmp_ok($r->[2], '<', 2 ** 31, 'and below 2^31');
    is($r->[2], $r->[4] % 2 ** 31, 'and from the time');
    is($r->[3], 60000, 'remaining');
    cmp_ok($r->[4], '>=', $before, 'createdTime');

    my $middle = int(time * 1000) - 1;
    my ($e) = $f->take_all($d, 'b1');
    my $exp = $r->[4] + 60000;

    cmp_ok($e->{takenTime}, '>=', $middle, 'takenTime: not before');
    cmp_ok($e->{takenTime}, '<=', time * 1000 + 1, 'nor after');

    is($e->{raw}, qq({"requestId":$r->[2],"rpcId":"$id","deviceId":"$d",)
       . qq("tenantId":"$T","method":"setGpio",)
       . '"params":{"x":1.10,"big":12345678901234567890},"oneway":false,'
       . qq("persistent":true,"createdTime":$r->[4],"expirationTime":$exp,)
       . '"additionalInfo":{"a":1.10},"traceparent":"00-ab-cd-01",'
       . qq("attempt":1,"queuedTime":$r->[4],"takenTime":$e->{takenTime}}),
       'the envelope, byte for byte');

    is_deeply([@{ $f->create($d, id => $id) }[0 .. 2, 4]], [@$r[0 .. 2, 4]],
              'the same create again: the first answer');
    is($f->root->cmd('LLEN', $f->key($d, 'queue', 'b1')), 0,
       'and nothing is pushed');
    is($f->root->cmd('HLEN', $f->key($d, 'inflight', $d)), 1, 'one open call');
}

# two-way, lightweight, from end to end

{
    my $d = $f->device(bridge => 'b1');
    my $sub = $f->server->client(user => 'tb-nginx');

    $sub->ssubscribe($f->key($d, 'reply', 'w1'));

    my $id = uuid();
    my $r = $f->create($d, persistent => 0, id => $id, timeout => 5000);

    is($r->[0], 'queued', 'lightweight call');
    is($f->create($d, persistent => 0, id => $id)->[2], $r->[2],
       'the same lightweight create again');

    my $taken = $f->take($d, 'b1', claimer => 'c1', ticket => 7);
    my $e = TB::Functions::envelope($taken->[1]);

    is(scalar @$taken, 2, 'pushed once');
    is($taken->[0], 0, 'and nothing is left');
    ok(!$e->{persistent}, 'persistent is false');
    is_deeply($f->take($d, 'b1', claimer => 'c2', ticket => 7), [0],
              'another claimer has nothing');

    my $again = $f->take($d, 'b1', claimer => 'c1', ticket => 7);

    is($again->[1] =~ s/"takenTime":\d+/x/r, $taken->[1] =~ s/"takenTime":\d+/x/r,
       'the same ticket: the same batch');
    is_deeply($f->take($d, 'b1', claimer => 'c1', ticket => 8), [0],
              'the next one: nothing more');
    like($f->take($d, 'b1', claimer => 'c1', ticket => 6),
         qr/^ERR tb_rpc: ticket 6 of claimer "c1" is older than 7/,
         'one that is older');
    is($f->report('delivered', $d, $r->[2], 1), 1, 'delivered');
    is($f->report('delivered', $d, $r->[2], 1), 0, 'delivered twice');
    is($f->report('respond', $d, $r->[2], "\0\xff{}"), 1, 'respond');
    is($f->report('respond', $d, $r->[2], 'late'), 0, 'respond twice');

    my ($channel, $text) = $sub->message(20);

    is($text, "${id}A\0\xff{}", 'published');
    is($f->{nginx}->cmd('GET', $f->key($d, 'answer', $id)), "A\0\xff{}",
       'and kept');
    cmp_ok($f->root->cmd('PTTL', $f->key($d, 'answer', $id)), '>', 25000,
           'for 30 s');
    is_deeply($f->{nginx}->fcall('cancel', $f->dkey($d), $id, $r->[2]),
              ['answered', "A\0\xff{}"], 'cancel gives the answer');
    is_deeply($f->{nginx}->fcall('cancel', $f->dkey($d), $id, $r->[2]),
              ['gone'], 'once');
    is($f->left($d), '', 'nothing is left');
    is($f->stats($d, 'ignored_delivered'), 1, 'ignored ones are counted');
    is($f->stats($d, 'ignored_respond'), 1, 'each by its name');
    is_deeply($f->take($d, 'b1', claimer => 'c1', ticket => 7), [0],
              'its batch is empty by now');

    # a large answer is not published

    $r = $f->create($d, persistent => 0, id => $id = uuid());
    $f->take_all($d, 'b1');
    $f->report('respond', $d, $r->[2], 'x' x 16384);
    is(($sub->message(20))[1], "${id}G", 'large: only the id');
    is(length $f->{nginx}->cmd('GET', $f->key($d, 'answer', $id)), 16385,
       'the worker fetches it');

    $r = $f->create($d, persistent => 0, id => $id = uuid());
    $f->report('respond', $d, $r->[2], 'x' x 65537);
    is(($sub->message(20))[1], "${id}L", 'too large: L');

    for (['xyz', 4, 'L'], ['xyz', 3, 'Axyz'], ['', 70000, 'L']) {
        my ($payload, $size, $answer) = @$_;

        $r = $f->create($d, persistent => 0, id => $id = uuid());
        $f->report('respond', $d, $r->[2], $payload, $size);
        is(($sub->message(20))[1], "$id$answer", "of $size bytes: $answer");
    }

    $r = $f->create($d, persistent => 0, id => $id = uuid());
    $f->report('failed', $d, $r->[2], 'no such device', 1);
    is(($sub->message(20))[1], "${id}Fno such device", 'failed: F');

    # one-way: answered when claimed, open until delivered

    $r = $f->create($d, persistent => 0, oneway => 1, id => $id = uuid());
    is(scalar($f->take_all($d, 'b1')), 1, 'one-way taken');
    is(($sub->message(20))[1], "${id}S", 'S');
    is($f->root->cmd('HLEN', $f->key($d, 'inflight', $d)), 1, 'still open');
    is($f->report('delivered', $d, $r->[2]), 1, 'delivered');
    is($f->root->cmd('EXISTS', $f->key($d, 'inflight', $d)), 0, 'closed');
    is_deeply([$sub->message(0.1)], [], 'nothing is published after S');
}

# a call that nobody has seen can't be reported about

{
    my $d = $f->device;

    for my $persistent (0, 1) {
        my $r = $f->create($d, persistent => $persistent);

        is($f->report($_, $d, $r->[2], 0), 0, "$_: never pushed")
            for qw(delivered timeout failed respond return);
    }

    is($f->root->cmd('ZCARD', $f->key($d, 'pending', $d)), 2, 'they wait');
}

# cancel

{
    my $d = $f->device(bridge => 'b1', strategy => 'sequential_on_ack');
    my $off = $f->device;
    my %call = (persistent => 0);
    my $cancel = sub {
        my ($d, $r, $rid) = @_;
        words($f->{nginx}->fcall('cancel', $f->dkey($d), $r->[1],
                                 $rid // $r->[2]));
    };

    my $a = $f->create($d, %call);
    my $b = $f->create($d, %call);
    my $c = $f->create($d, %call);

    is($b->[0], 'turn', 'not its turn');
    is($cancel->($d, $b), 'turn', 'cancelled before its turn');
    is($cancel->($d, $a, ''), 'queued', 'unclaimed; found without requestId');

    is_deeply([map { $_->{requestId} } $f->take_all($d, 'b1')], [$c->[2]],
              'the next one was released, a cancelled one is not taken');
    is($cancel->($d, $c), 'sent', 'taken');
    is($cancel->($d, $c), 'gone', 'gone');
    is($cancel->($off, $f->create($off, %call)), 'offline', 'offline');
    is($cancel->($off, $f->create($off)), 'gone', 'persistent: not by cancel');

    $f->take_all($d, 'b1');
    is($f->left($d), '', 'nothing is left, stale items neither')
        or diag $f->left($d);
}

# who may call

{
    my $cust = uuid();
    my $d = $f->device(customer => uc $cust, bridge => 'b1');

    is_deeply($f->create($d, tenant => $TB::Functions::OTHER),
              ['unknown', 'tenant'], 'foreign tenant');
    is_deeply($f->create(uuid()), ['unknown'], 'unknown device');
    is(words($f->create($d, customer => uuid())), 'customer', 'customer');
    is(words($f->create($d, customer => '')), 'customer', 'empty customer');
    is(words($f->create($f->device, customer => '')), 'customer',
       'empty customer, device without one');
    is(words($f->create($d, customer => $cust)), 'queued', 'its customer');
    is(words($f->create($d, tenant => uc $T)), 'queued', 'upper case');
}

# time

{
    my $d = $f->device(bridge => 'b1');
    my $now = int(time * 1000);
    my $r = $f->create($d, persistent => 0, expiration => $now - 1);

    is_deeply([@$r[0, 2, 3]], ['expired', 0, 0], 'lightweight, expired');
    is($f->left($d), '', 'nothing stored');

    $r = $f->create($d, expiration => 0);
    is($r->[0], 'expired', 'persistent, expired');
    is($f->status($d, $r->[1]), 'EXPIRED', 'stored');
    is($f->create($d, id => $r->[1], expiration => 0)->[0], 'expired',
       'again');

    for my $persistent (0, 1) {
        $r = $f->create($d, persistent => $persistent, timeout => 0);
        is_deeply([@$r[0, 2, 3]], ['expired', 0, 0],
                  "timeout 0, persistent $persistent: expired this very ms");
    }

    is($f->root->cmd('HLEN', $f->key($d, 'inflight', $d)), 0, 'nothing open');

    $r = $f->create($d, persistent => 0, expiration => $now + 500000,
                    hold => 5000);
    cmp_ok($r->[3], '<=', 5000, 'held at most so long');
    $r = $f->create($d, expiration => $now + 500000, hold => 5000);
    cmp_ok($r->[3], '>', 400000, 'a persistent one is not held');
    $r = $f->create($d, expiration => '9007199254740992');
    is($f->record($d, $r->[1])->{e}, '9007199254740992', '2^53 is exact');

    $r = $f->create($d, persistent => 0, timeout => 20);
    sleep 0.03;
    ok(!(grep { $_->{requestId} == $r->[2] } $f->take_all($d, 'b1')),
       'too late to be taken');
}

# offline reject, caps

{
    my $d = $f->device;

    is(words($f->create($d, persistent => 0, offline => 'reject')),
       'rejected', 'rejected at once');
    is(words($f->create($d, offline => 'reject')), 'offline',
       'a persistent call waits');

    $f->config(max_pending => 3, max_records => 5, max_queue => 2);

    $d = $f->device(bridge => 'caps');
    is(words($f->create($d)), 'queued', 'queue: 1');
    is(words($f->create($d)), 'queued', 'queue: 2');
    is(words($f->create($d, persistent => 0, offline => 'reject')),
       'rejected', 'a full queue counts as offline');
    is(words($f->create($d)), 'offline', 'and so it waits');
    is($f->root->cmd('LLEN', $f->key($d, 'queue', 'caps')), 2,
       'the queue does not grow');

    # another device, for the limit of open calls
    my $e = $f->device(id => same_shard($d), bridge => 'caps');
    my $r = $f->create($e, persistent => 0);

    is($r->[0], 'offline', 'a lightweight one may wait');
    is(words($f->{nginx}->fcall('cancel', $f->dkey($e), $r->[1], $r->[2])),
       'offline', 'and is told that there was no connection');
    is(words($f->create($d)), 'pending', 'too many open calls');

    $f->take_all($d, 'caps');
    $r = $f->create($e, persistent => 0);
    is($f->{nginx}->fcall('cancel', $f->dkey($e), $r->[1], $r->[2])->[0],
       'queued', 'read again, it is online');
    $f->take_all($d, 'caps');

    my @released;

    for (1 .. 50) {
        last if @released = $f->take_all($d, 'caps');
        $f->ticks($d, 200);
    }

    is(scalar @released, 1, 'released when the queue is read');

    $d = $f->device(bridge => 'b5');

    for (1 .. 5) {
        my $r = $f->create($d);
        $f->take_all($d, 'b5');
        $f->report('respond', $d, $r->[2], '1');
    }

    is(words($f->create($d)), 'records', 'too many records');
    is(words($f->create($d, persistent => 0)), 'queued',
       'no matter for a lightweight one');

    # while what was counted holds, and a cap that is lowered meanwhile: all at
    # once, before it is counted again

    $f->config(max_pending => 4);
    $d = $f->device(bridge => 'b6');

    my @create = map { ['FCALL', 'tb_rpc_create', 1, $f->dkey($d), uuid(), '',
                        0, 1, $T, '*', '"m"', '1', '', '', 60000] } 1 .. 6;
    my @replies = $f->{nginx}->pipeline(@create);

    is(join(' ', map { words($_) } @replies),
       'queued queued queued queued pending pending', 'four and no more');

    $f->config(max_pending => 100);
    $d = $f->device(bridge => 'b6');
    $_->[3] = $f->dkey($d) for @create;
    $_->[4] = uuid() for @create;
    splice @create, 3, 0, ['FCALL', 'tb_rpc_config', 1, $f->key($d, 'config'),
                           ++$f->{stamp}, shards => 16, max_pending => 3];
    @replies = $f->{nginx}->pipeline(@create);
    is(join(' ', map { words($_) } @replies[0 .. 2, 4 .. 6]),
       'queued queued queued pending pending pending',
       'a lower cap holds at once');

    $f->config;
}

# requestUUID

{
    my $d = $f->device(bridge => 'once');
    my $u = 'abcdef' . substr uuid(), 6;
    my $r = $f->create($d, uuid => $u, hash => 'abc1');

    is($f->create($d, uuid => uc $u, hash => 'abc1')->[1], $r->[1],
       'the same call');
    is(scalar($f->take_all($d, 'once')), 1, 'is delivered once');

    # for a WAIT behind it, whatever connection has made the call

    my $changes = sub {
        $f->root->cmd('INFO', 'persistence') =~ /changes_since_last_save:(\d+)/;
        return $1;
    };
    my $before = $changes->();

    $f->create($d, uuid => $u, hash => 'abc1');
    is($changes->() - $before, 1, 'and writes a field when it is found');
    is(words($f->create($d, uuid => $u, hash => 'abc2')), 'conflict',
       'another one: conflict');
    is_deeply($f->{nginx}->fcall('uuid', $f->key($d, 'uuid', $u)),
              ['ok', $r->[1]], 'found');
    is_deeply($f->{nginx}->fcall('uuid', $f->key($d, 'uuid', $u), uc $T),
              ['ok', $r->[1]], 'by its tenant');
    is_deeply($f->{nginx}->fcall('uuid', $f->key($d, 'uuid', $u),
                                 $TB::Functions::OTHER), ['unknown'],
              'not by another one');
    $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r->[1]), $T);
    is_deeply($f->{nginx}->fcall('uuid', $f->key($d, 'uuid', $u)),
              ['unknown'], 'gone with the record');
    is($f->left($d), '', 'nothing left') or diag $f->left($d);
}

# requestIds

{
    my $d = $f->device(bridge => 'b1');
    my %seen;

    $f->root->cmd('HSET', $f->dkey($d), 'last', 2 ** 31 - 3);

    my $now = ($f->create($d))->[4];

    # as if the clock had gone back

    my $last = ($now + 100000) % 2 ** 31;
    $f->root->cmd('HSET', $f->dkey($d), 'last', $last);
    is($f->create($d)->[2], $last + 1, 'never back');
    $f->root->cmd('HSET', $f->dkey($d), 'last', $last - 1);
    is($f->create($d)->[2], $last, 'ids go up');
    is($f->create($d)->[2], $last + 2, 'an open id is skipped');

    my @r = map { $_->[2] } map { $f->create($d) } 1 .. 50;

    $seen{$_}++ for @r;
    is(scalar(keys %seen), 50, 'unique in one ms');

    # around the end

    my $end = 2 ** 31 - 1;
    my $high = $now % 2 ** 31 > 2 ** 30;

    SKIP: {
        skip 'the clock is not near enough to an end', 2
            unless ($end - $now) % 2 ** 31 < 2 ** 30 || $high;

        my $e = $f->device(bridge => 'b1');
        $f->root->cmd('HSET', $f->dkey($e), 'last', $end - 1);
        is($f->create($e)->[2], $end, 'the last id');
        is($f->create($e)->[2], 1, 'then 1, never 0');
    }
}

# hostile texts

{
    my $d = $f->device(bridge => 'evil');
    my $evil = '{"x":"\\",\\"attempt\\":9,\\"queuedTime\\":1}",'
               . '"queuedTime":9999999999999,"attempt":7,"y":"%d+$^"}';
    my $r = $f->create($d, params => $evil, method => '"a\"}%1\\\\"',
                       info => '"queuedTime\":99999999999999}"');
    my ($e) = $f->take_all($d, 'evil');

    is($e->{attempt}, 1, 'attempt is ours');
    is($e->{params}{queuedTime}, 9999999999999, 'params are theirs');
    is($f->record($d, $r->[1])->{p}, $evil, 'kept byte for byte');

    for my $p ("\"\\u0000\"", '[' x 50 . ']' x 50, '1e308', '"' . ("\xc3\xa9"
               x 30000) . '"')
    {
        my $r = $f->create($d, params => $p);
        is(words($r), 'queued', 'params ' . substr $p, 0, 20);
        is($f->record($d, $r->[1])->{p}, $p, 'kept');
    }
}

# bad arguments change nothing

{
    my $d = $f->device(bridge => 'b1');
    my $before = $f->left($d);
    my @good = (uuid(), '', 0, 1, $T, '*', '"m"', '{}', '', '', 1000, '', '',
                'wait', '', '', '');

    my @bad = (
        [0, 'x'], [0, ''], [0, uuid() . 'x'], [0, '"' x 36], [2, 2], [3, ''],
        [4, ''], [6, ''], [7, ''], [9, '-1'], [9, '1.5'], [9, 2 ** 31],
        [9, 'x'], [10, ''], [10, '0x10'], [10, '1e3'], [10, ' 1'],
        [10, '99999999999999999999'], [11, 5], [12, 'x'], [13, 'later'],
        [14, 'x'], [14, uuid()], [15, 'xyz'], [16, '"'], [16, 'a' x 65]
    );

    for my $b (@bad) {
        my @args = @good;
        $args[$b->[0]] = $b->[1];

        my $r = $f->{nginx}->fcall('create', $f->dkey($d), @args);
        like("$r", qr/^ERR tb_rpc: \w/, "argument $b->[0] is '"
             . substr($b->[1], 0, 40) . "'");
    }

    my @light = @good;
    @light[0, 1, 3] = (uuid(), 'a b', 0);
    like($f->{nginx}->fcall('create', $f->dkey($d), @light),
         qr/^ERR tb_rpc: replyTo/, 'worker name');

    like($f->{nginx}->fcall('create', $f->dkey($d), @good[0 .. 9]),
         qr/11 to 17 arguments/, 'too few');

    for my $b ([10, ''], [8, '{}', 10, ''], [10, 'x'], [9, 'x']) {
        my %arg = @$b;
        my @args = map { $arg{$_} // $good[$_] } 0 .. 10;

        like($f->{nginx}->fcall('create', $f->dkey($d), @args),
             qr/^ERR tb_rpc: (one of|timeout|retries)/, "11 arguments: @$b");
    }

    for my $key ('x', '', "tb:device:$d", "tb:{s001}:device:x",
                 "{s001}:{s001}:device:$d", "tb:{s001}:device:$d:", "tb:{sx}:device:$d")
    {
        like($f->root->fcall($_, $key, 1, 2, @good), qr/^ERR tb_rpc: 1 key/,
             "$_: key '$key'") for qw(create cancel delivered return attach list);
    }

    like($f->report('return', $d), qr/^ERR tb_rpc/, 'return: no arguments');
    like($f->report('return', $d, 1), qr/^ERR tb_rpc/, 'without attempt');
    like($f->report('return', $d, 1, 1, 's' x 257), qr/session/, 'session');

    for my $name (qw(return delivered timeout)) {
        like($f->report($name, $d, 'x', 1), qr/^ERR tb_rpc: requestId/,
             "$name: text");
        like($f->report($name, $d, 1, 'x'), qr/^ERR tb_rpc: attempt/,
             "$name: attempt");
    }

    like($f->report('respond', $d, 1), qr/^ERR tb_rpc/, 'no payload');
    like($f->report('respond', $d, 1, 'xyz', $_), qr/^ERR tb_rpc: size/,
         "size '$_'") for 'x', '2', '-4';
    like($f->report('failed', $d, 1), qr/^ERR tb_rpc/, 'no text');
    like($f->report('respond', $d, '-1', ''), qr/^ERR tb_rpc/, 'negative');
    is($f->report('respond', $d, '2147483648', ''), 0, 'an id never given');
    is($f->report('respond', $d, 12345, 'x'), 0, 'unknown');

    is($f->left($d), $before, 'nothing was changed');

    # keys of another type: nothing is left half done

    for my $kind ("queue:b1", "pending:$d", "inflight:$d", "index:$d", 'due',
                  'device:' . $d, "body:$d")
    {
        my $d2 = $f->device($kind =~ /pending/ ? () : (bridge => 'b1'));
        my $key = $f->key($d2, map { s/\Q$d\E/$d2/r } $kind);

        $f->root->cmd('DEL', $key);
        $f->root->cmd('SET', $key, 'x');

        my $dump = sub {
            my $keys = $f->root->cmd('KEYS', $f->prefix($d2) . '*');
            join ' ', map { "$_=" . unpack 'H*', $f->root->cmd('DUMP', $_) }
                sort grep { !/stats/ } @$keys;
        };
        my $all = $dump->();
        my $r = $f->create($d2, persistent => $kind =~ /body/ ? 0 : 1);

        like("$r", qr/WRONGTYPE|not a/, "$kind is a string");
        ok($dump->() eq $all, 'and nothing was written');
        $f->root->cmd('DEL', $key);
    }
}

# a report meets a key of another type: it does all or nothing

{
    my %args = (delivered => [], timeout => [], failed => ['x'],
                respond => ['1'], return => [1], attach => ['b1', 's2', 60000]);
    my %refused;

    $f->config(events => 1);

    for my $persistent (0, 1) {
        for my $name (sort keys %args) {
            for my $kind (qw(queue pending inflight body index status due old
                             device rpc answer events config stats))
            {
                my $d = $f->device(bridge => 'b1');
                my $r = $f->create($d, persistent => $persistent);
                my %key = (queue => 'queue:b1', status => "index:$d:status",
                           rpc => "rpc:$r->[1]", answer => "answer:$r->[1]",
                           map { $_ => $_ } qw(due old events config stats));
                my $key = $f->key($d, $key{$kind} // "$kind:$d");

                # as many as the queue takes of a device: the last one waits

                if ($kind eq 'pending') {
                    $f->create($d, persistent => $persistent) for 1 .. 16;
                }

                $f->take_all($d, 'b1');
                $f->root->cmd('RENAME', $key, 'tb:aside');
                $f->root->cmd('SET', $key, 'x');

                my $dump = sub {
                    my $keys = $f->root->cmd('KEYS', $f->prefix($d) . '*');
                    join ' ', map { "$_=" . $f->root->cmd('DUMP', $_) }
                        sort grep { !/stats|config/ } @$keys;
                };
                my $all = $dump->();
                my $reply = $f->report($name, $d, $name eq 'attach' ? ()
                                       : $r->[2], @{ $args{$name} });

                if ("$reply" =~ /^(ERR|WRONGTYPE)/) {
                    ok($dump->() eq $all,
                       "$name ($persistent), $kind is a string: refused");
                    push @{ $refused{$kind} }, $name;

                } elsif ($reply !~ /^[01]$/) {
                    fail("$name ($persistent), $kind is a string: $reply");
                }

                $f->root->cmd('DEL', $key);
                $f->root->cmd('RENAME', 'tb:aside', $key);
            }
        }
    }

    for my $kind (qw(pending inflight status due device)) {
        my %seen = map { $_ => 1 } @{ $refused{$kind} };

        ok(!(grep { !$seen{$_} } keys %args),
           "$kind: by all") or diag("@{ $refused{$kind} }");
    }

    ok(!$refused{stats}, 'not for a counter');

    # nothing waits, and nothing goes back there

    my $d = $f->device(bridge => 'b1');
    my $r = $f->create($d);

    $f->take_all($d, 'b1');
    $f->root->cmd('SET', $f->key($d, 'pending', $d), 'x');
    like($f->report('timeout', $d, $r->[2]), qr/^ERR tb_rpc: key/,
         'pending: by what puts a call back');
    is($f->report('respond', $d, $r->[2], '1'), 1, 'not by an answer');
    $f->root->cmd('DEL', $f->key($d, 'pending', $d));
    $f->config;
}

# reports about records

{
    my $d = $f->device(bridge => 'b1');
    my $r = $f->create($d);
    my $key = $f->key($d, 'index', $d, 'status');

    $f->take_all($d, 'b1');
    is($f->root->cmd('ZSCORE', $key, $r->[1]), $r->[4] + 2 ** 42,
       'taken: in the index');
    $f->root->cmd('RENAME', $key, 'tb:aside');
    $f->root->cmd('SET', $key, 'x');
    like($f->report('delivered', $d, $r->[2], 1), qr/^ERR tb_rpc: key/,
         'delivered: a key of another type');
    is($f->status($d, $r->[1]), 'SENT', 'nothing was written');
    $f->root->cmd('RENAME', 'tb:aside', $key);
    is($f->report('delivered', $d, $r->[2], 1), 1, 'put right: delivered');
    is($f->root->cmd('ZSCORE', $key, $r->[1]), $r->[4] + 2 * 2 ** 42,
       'in the index');
}

# rights

{
    my $d = $f->device(bridge => 'b1');
    my $key = 'tb:apikey:' . 'a' x 64;
    my @args = ($T, '', uuid(), 'TENANT_ADMIN', 1, 0);

    like($f->{bridge}->fcall('api_key_put', $key, @args), qr/^NOPERM/,
         'a bridge has no API keys');
    like($f->{nginx}->fcall('api_key_put', $key, @args), qr/NOPERM/i,
         'nginx does not write them');
    is($f->{admin}->fcall('api_key_put', $key, @args), 1, 'an operator does');
    is($f->{nginx}->cmd('HGET', $key, 'tenantId'), $T, 'nginx reads them');
    like($f->{bridge}->cmd('HGETALL', $key), qr/^NOPERM/, 'a bridge not');
    like($f->{bridge}->cmd('FLUSHALL'), qr/^NOPERM/, 'no FLUSHALL');
    like($f->{nginx}->cmd('KEYS', '*'), qr/^NOPERM/, 'no KEYS');
    like($f->{nginx}->cmd('SSUBSCRIBE', 'other'), qr/^NOPERM/, 'channels');

    my $fields = sub { join ' ', map { $_ // '-' } @{ $f->root->cmd('HMGET',
                           $key, qw(label enabled createdTime)) } };
    my ($created) = $fields->() =~ /^- 1 (\d{13})$/;

    ok($created, 'when it was made');
    $f->{admin}->fcall('api_key_put', $key, @args, 'the label');
    is($fields->(), "the label 1 $created", 'a label');
    $f->{admin}->fcall('api_key_put', $key, @args);
    is($fields->(), "the label 1 $created", 'stays, if none is given');
    is($f->{admin}->fcall('api_key_enable', $key, 0), 1, 'disabled');
    is($fields->(), "the label 0 $created", 'is what it is now');
    like($f->{admin}->fcall('api_key_enable', $key, 2), qr/^ERR tb_rpc/,
         'neither 0 nor 1');
    is($f->{admin}->fcall('api_key_del', $key), 1, 'deleted');
    is($f->{admin}->fcall('api_key_enable', $key, 1), 0,
       'does not come back by being enabled');
    is($f->root->cmd('EXISTS', $key), 0, 'at all');
    is($f->{admin}->fcall('api_key_del', $key), 0, 'once');

    for my $b ([0, 'x'], [1, 'x'], [2, "\n"], [3, 'ROOT'], [4, 2], [5, 'x'],
               [6, 'x' x 65], [6, "\n"]) {
        my @a = @args;
        $a[$b->[0]] = $b->[1];
        like($f->{admin}->fcall('api_key_put', $key, @a), qr/^ERR tb_rpc/,
             "api_key_put: argument $b->[0]");
    }

    like($f->{admin}->fcall('api_key_put', 'tb:apikey:x', @args),
         qr/^ERR tb_rpc/, 'not a digest');

    my $e = TB::Functions::uuid();
    my $n = (TB::Functions::shard($e) + 1) % 128;
    like($f->{admin}->fcall('device_put', TB::Bridge::prefix($n) . "device:$e", $T, ''),
         qr/belongs to shard/, 'device_put: the wrong shard');

    for my $b (['x', ''], [$T, 'x'], [$T, '', 'name'], [$T],
               [$T, '', 'colour', 'x'], [$T, '', 'bridge', 'a b'],
               [$T, '', 'bridge', 'b' x 65], [$T, '', 'strategy', 'fast'],
               [$T, '', 'name', 'n' x 256])
    {
        like($f->{admin}->fcall('device_put', $f->dkey($e), @$b),
             qr/^ERR tb_rpc/, "device_put @$b");
    }

    is($f->left($e) =~ /\Q$e\E/, '', 'no device was made');
}

# a full Redis drains

{
    my $d = $f->device(bridge => 'b1');
    my @r = map { $f->create($d) } 1 .. 3;

    $f->root->cmd('CONFIG', 'SET', 'maxmemory', 1);
    like($f->create($d), qr/^OOM/, 'create is refused');
    is(scalar($f->take_all($d, 'b1')), 3, 'take is not');
    is($f->report('delivered', $d, $r[0][2]), 1, 'delivered');
    is($f->report('respond', $d, $r[0][2], '1'), 1, 'respond');
    is($f->report('failed', $d, $r[1][2], 'x'), 1, 'failed');
    is(words($f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r[2][1]), $T)),
       'ok', 'delete');
    is(ref $f->tick($d), 'ARRAY', 'tick');
    $f->root->cmd('CONFIG', 'SET', 'maxmemory', 0);
}

# settings

{
    my $c = 'tb:{s003}:config';
    my $n = $f->{nginx};

    is_deeply($n->fcall('config', $c, 1000, max_retries => 1), [1], 'set');
    is_deeply($n->fcall('config', $c, 900, max_retries => 2), [0, 1000],
              'an older stamp is ignored');
    is_deeply($n->fcall('config', $c, 900, max_retries => 1), [1],
              'equal values are no difference');
    is($f->root->cmd('HGET', $c, 'stamp'), 1000, 'the newer stamp stays');
    is_deeply($n->fcall('config', $c, 1000, max_retries => 3), [1],
              'of one stamp the last one counts');
    is($f->root->cmd('HGET', $c, 'settings'), 'max_retries=3', 'it is kept');
    $n->fcall('config', $c, 1000, max_retries => 1);
    is_deeply($n->fcall('config', $c, 1100, max_retries => 1), [1], 'newer');
    is($f->root->cmd('HGET', $c, 'stamp'), 1100, 'stamped');

    for my $b ([], ['x'], [1, 'max_retries'], [1, 'max_retries', 'x'],
               [1, 'what', 1], [1, 'strategy', 'fast'], [1, 'events', 2])
    {
        like($n->fcall('config', $c, @$b), qr/^ERR tb_rpc/, "config @$b");
    }
}

done_testing();
