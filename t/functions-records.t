# The function library: records of persistent calls, reading, listing and
# deleting them, and for whom.
#
# runs: side by side, 6 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Functions;

# how many are created in one ms is not for the machine to say
my $f = TB::Functions->new(clock => 1);
my $T = $TB::Functions::TENANT;

$f->config;

my $bridges = 0;
my %code = (QUEUED => 0, SENT => 1, DELIVERED => 2, SUCCESSFUL => 3,
            TIMEOUT => 4, EXPIRED => 5, FAILED => 6);

# total, ids

sub list {
    my ($d, %o) = @_;

    my $r = $f->{nginx}->fcall('list', $f->dkey($d), $o{tenant} // $T,
        $o{customer} // '*', $o{status} // '', $o{by} // 'createdTime',
        $o{order} // 'asc', $o{offset} // 0, $o{count} // 100,
        defined $o{bytes} ? $o{bytes} : ());

    return $r if ref $r ne 'ARRAY' || $r->[0] ne 'ok';

    my ($total, $returned) = @$r[1, 2];
    my @ids;

    for (my $i = 3; $i < @$r; ) {
        my $n = $r->[$i];
        push @ids, $r->[$i + 1];
        my %h = @$r[$i + 2 .. $i + 1 + $n];
        die 'no fields' if $n && !$h{t};
        $i += 2 + $n;
    }

    die "returned $returned, not " . @ids if $returned != @ids;

    return [$total, @ids];
}

# Most calls wait behind the first 16: as if each had been handed out before, so
# that any can be reported about.

sub handed_before {
    my ($d) = @_;

    my $key = $f->key($d, 'inflight', $d);
    my %text = @{ $f->root->cmd('HGETALL', $key) };

    $f->root->pipeline(map { ['HSET', $key, $_, $text{$_} =~ s/ 0 / 1 /r] }
                       grep { $text{$_} =~ /^Pp\S+ 0 / } keys %text);
}

# checks that both indexes say what the record says; what is QUEUED is in one

sub consistent {
    my ($d, $id) = @_;

    my $r = $f->record($d, $id);
    my $index = $f->key($d, 'index', $d);

    my $code = $f->root->cmd('ZSCORE', "$index:status", $id);

    return $f->root->cmd('ZSCORE', $index, $id) == $r->{c}
        && ($r->{s} ? defined $code && $code == $r->{s} * 2 ** 42 + $r->{c}
                    : !defined $code);
}

# every legal order of reports, and what is ignored

# "take": the next reference of its queue; "!": it must be ignored, or nothing
# is there to take

my @paths = (
    # one-way, reports, statuses after each
    [0, 'take SENT', 'delivered DELIVERED', 'respond SUCCESSFUL', '!respond',
        '!delivered', '!failed', '!timeout', '!take'],
    [0, 'take SENT', 'respond SUCCESSFUL', '!delivered', '!take'],
    [0, 'take SENT', '!take', 'delivered DELIVERED', '!delivered', '!timeout',
        'failed FAILED', '!respond'],
    [0, 'take SENT', 'failed FAILED', '!failed'],
    [0, 'respond SUCCESSFUL', '!take'],
    [0, 'delivered DELIVERED', '!take', 'respond SUCCESSFUL'],
    [0, 'failed FAILED', '!take'],
    [0, '!timeout', 'take SENT', 'timeout TIMEOUT', '!delivered',
        'take2 SENT', '!delivered', 'delivered2 DELIVERED',
        'respond SUCCESSFUL'],
    [0, 'take SENT', 'timeout TIMEOUT', 'respond SUCCESSFUL', '!take2'],
    [0, 'take SENT', 'timeout TIMEOUT', '!timeout', '!timeout2', 'take2 SENT',
        '!timeout', 'timeout2 TIMEOUT', 'delivered3 DELIVERED'],
    [0, '!return', 'take SENT', '!return2', 'return QUEUED', '!return',
        '!take', 'respond SUCCESSFUL'],
    [0, 'take SENT', 'timeout TIMEOUT', 'take2 SENT', 'return2 QUEUED',
        'delivered2 DELIVERED', '!return2', 'failed2 FAILED'],
    [0, 'take SENT', 'delivered DELIVERED', '!return', 'respond SUCCESSFUL'],
    [1, 'take SENT', 'delivered DELIVERED', '!respond', '!delivered',
        '!failed', '!timeout', '!return'],
    [1, 'take SENT', 'respond SUCCESSFUL', '!delivered'],
    [1, 'take SENT', 'failed FAILED', '!delivered'],
    [1, 'take SENT', 'timeout TIMEOUT', 'take2 SENT', 'delivered2 DELIVERED'],
    [1, 'delivered DELIVERED', '!take'],
    [1, 'take SENT', 'return QUEUED', 'delivered DELIVERED', '!take'],
);

for my $p (@paths) {
    my ($oneway, @steps) = @$p;
    my $b = 'p' . ++$bridges;
    my $d = $f->device(bridge => $b);
    my $r = $f->create($d, oneway => $oneway);
    my $name = ($oneway ? 'one-way: ' : 'two-way: ') . join ', ', @steps;
    my $status = 'QUEUED';
    my $ignored = 0;
    my $ok = 1;

    for (@steps) {
        my ($bang, $what, $n, $to) = /^(!?)([a-z]+)(\d?) ?(\w*)$/;
        my $want = $bang ? 0 : 1;
        my $got;

        $n ||= 1;

        if ($what eq 'take') {
            my ($e) = $f->take_all($d, $b);

            $got = $e && $e->{requestId} == $r->[2] && $e->{attempt} == $n
                   ? 1 : 0;

        } else {
            $got = $f->report($what, $d, $r->[2], $what eq 'respond' ? '"x"'
                              : $what eq 'failed' ? ('{"error":"x"}', $n)
                              : $n);
            $ignored++ if $bang;
        }

        $status = $to unless $bang;
        $ok = 0, diag("$_: $got, not $want") if $got ne $want;
        $ok = 0, diag("$_: " . $f->status($d, $r->[1]) . ", not $status")
            if $f->status($d, $r->[1]) ne $status;
        $ok = 0, diag("$_: indexes") unless consistent($d, $r->[1]);
    }

    ok($ok, $name);

    my $counted = 0;
    my %counted = @{ $f->root->cmd('HGETALL', $f->key($d, 'stats')) };

    $counted += $counted{$_} for grep { /^ignored_/ } keys %counted;
    is($counted, $ignored, 'what was ignored is counted');
    $f->root->cmd('DEL', $f->key($d, 'stats'));

    my $open = $f->root->cmd('HLEN', $f->key($d, 'inflight', $d));
    my $final = $status ne 'TIMEOUT' && $status ne 'SENT'
                && $status ne 'QUEUED'
                && ($status ne 'DELIVERED' || $oneway);

    is($open, $final ? 0 : 1, "open: $status");

    # deleted in whatever status: nothing is left, nothing is delivered

    is($f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r->[1]), $T)->[0],
       'ok', 'deleted');
    is(scalar($f->take_all($d, $b)), 0, 'not delivered afterwards');

    # after a return the device is looked at once more

    is($f->left($d) =~ s/^due=@\Q$d\E$//r, '', 'nothing left');
}

# retries

for my $case ([0, 0], [1, 1], ['', 2], [7, 2]) {
    my ($asked, $n) = @$case;

    $f->config(max_retries => 2);

    my $b = 'r' . ++$bridges;
    my $d = $f->device(bridge => $b);
    my $r = $f->create($d, retries => $asked);

    for my $attempt (1 .. $n) {
        $f->take_all($d, $b);
        $f->report('timeout', $d, $r->[2], $attempt);
        is($f->status($d, $r->[1]), 'TIMEOUT', "retry $attempt of $n");
    }

    is(($f->take_all($d, $b))[0]{attempt}, $n + 1, 'the last one');
    $f->report('timeout', $d, $r->[2]);

    my $rec = $f->record($d, $r->[1]);

    is($rec->{s}, 6, 'FAILED');
    is($rec->{R}, '{"error":"There was a Timeout and all retry attempts have'
       . " been exhausted. Retry attempts set: $n\"}", 'its text');
    is($rec->{n}, $asked eq '' ? undef : $asked, 'retries as asked');
}

# answers as they come

{
    $f->config(max_response => 20);

    my $d = $f->device(bridge => 'a1');
    my $answer = sub {
        my $r = $f->create($d);
        $f->report('respond', $d, $r->[2], @_);
        return $f->record($d, $r->[1]);
    };

    is($answer->("\0\xff\r\n{")->{R}, "\0\xff\r\n{", 'bytes');
    is($answer->('')->{R}, undef, 'empty: none');
    is($answer->('')->{s}, 3, 'but SUCCESSFUL');
    is($answer->('x' x 20)->{s}, 3, 'as long as it may be');
    my $r = $answer->('x' x 21);
    is($r->{s}, 6, 'longer: FAILED');
    is($r->{R}, '{"error":"The response exceeds the limit of 20 bytes"}',
       'and why');
    $r = $answer->('x' x 10, 11);
    is("$r->{s} $r->{R}",
       '6 {"error":"The response exceeds the limit of 10 bytes"}',
       'the limit of a bridge');
    $r = $f->create($d);
    $f->report('failed', $d, $r->[2], '');
    ok($f->record($d, $r->[1])->{R}, 'a failure always has a text');
    $f->config;
}

# authorisation of reads

{
    my ($c1, $c2) = (TB::Functions::uuid(), TB::Functions::uuid());
    my $d = $f->device(bridge => 'c1', customer => $c1);
    my $r = $f->create($d);
    my $get = sub {
        $f->{nginx}->fcall('get', $f->key($d, 'rpc', $r->[1]), @_)->[0]
    };

    is($get->($T, '*'), 'ok', 'administrator');
    is($get->($T, $c1), 'ok', 'customer');
    is($get->($T, $c2), 'customer', 'another');
    is($get->($T, ''), 'customer', 'none');
    is($get->($TB::Functions::OTHER, '*'), 'tenant', 'tenant');
    $f->device(id => $d, customer => $c2);
    is($get->($T, $c1), 'customer', 'the former owner loses access');
    is($get->($T, $c2), 'ok', 'the current one has it');
    is_deeply(list($d, customer => $c1), ['customer'], 'list: former');
    is(list($d, customer => $c2)->[0], 1, 'list: current');
    is_deeply(list($d, tenant => $TB::Functions::OTHER),
              ['unknown', 'tenant'], 'list: tenant');
    is_deeply(list(TB::Functions::uuid()), ['unknown'], 'list: device');
    is_deeply($f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r->[1]),
                                 $TB::Functions::OTHER), ['tenant'],
              'delete: tenant');

    my $none = TB::Functions::uuid();

    is_deeply($f->{nginx}->fcall($_, $f->key($d, 'rpc', $none), $T, '*'),
              ['unknown'], "$_: unknown") for qw(get delete);
    like($f->{nginx}->fcall($_, $f->key($d, 'rpc', 'x'), $T, '*'),
         qr/^ERR tb_rpc/, "$_: bad id") for qw(get delete);
}

# nobody's customer is nobody

{
    my $d = $f->device(bridge => 'c2');
    my $r = $f->create($d);

    is_deeply($f->{nginx}->fcall('get', $f->key($d, 'rpc', $r->[1]), $T, ''),
              ['customer'], 'get: no customer, of a device without one');
    is_deeply(list($d, customer => ''), ['customer'], 'list: likewise');
}

# a requestUUID that another call has by now stays with that one

{
    my ($d, $u) = ($f->device, TB::Functions::uuid());
    my ($one, $two) = map { $f->create($d, uuid => $_, hash => 'ab')->[1] }
                      $u, TB::Functions::uuid();
    my $key = $f->key($d, 'uuid', $u);

    $f->root->cmd('SET', $key, "$two $d ab");
    is($f->{nginx}->fcall('delete', $f->key($d, 'rpc', $one), $T)->[0], 'ok',
       'deleted');
    is($f->root->cmd('GET', $key), "$two $d ab",
       'without the requestUUID of another call');
    is($f->{nginx}->fcall('delete', $f->key($d, 'rpc', $two), $T)->[0], 'ok',
       'and that one');
    is($f->root->cmd('EXISTS', $key), 1, 'has its own');
}

# each status by its name

{
    $f->config(max_retries => 1);

    my $d = $f->device(bridge => 'n1');
    my @taken = qw(SENT DELIVERED TIMEOUT);
    my %id = map { $_ => $f->create($d) } @taken, qw(SUCCESSFUL FAILED);

    # in their order; then what waits

    $f->take_one($d, 'n1') for @taken;
    $id{QUEUED} = $f->create($d);
    $id{EXPIRED} = $f->create($d, expiration => 1000);

    my $report = sub {
        my ($name, $status, @args) = @_;

        is($f->report($name, $d, $id{$status}[2], @args), 1,
           "$status: $name");
    };

    $report->('delivered', 'DELIVERED', 1);
    $report->('respond', 'SUCCESSFUL', '1');
    $report->('timeout', 'TIMEOUT', 1);
    $report->('failed', 'FAILED', '{"error":"x"}');

    for my $status (sort { $code{$a} <=> $code{$b} } keys %code) {
        is($f->status($d, $id{$status}[1]), $status, "$status: the record");
        is_deeply(list($d, status => $status), [1, $id{$status}[1]],
                  "only $status");
        is_deeply(list($d, status => $code{$status}), [1, $id{$status}[1]],
                  "only $status, by its code");
    }

    $f->config;
}

# pages

{
    my $d = $f->device(bridge => 'l1');
    my @r = map { $f->pass(1) if $_ % 4 == 0;
                  $f->create($d, params => $_,
                             expiration => 9000000000000 - $_) } 1 .. 60;
    my %created = map { $_->[1] => $_->[4] } @r;

    # every third one is answered, in the reverse order

    handed_before($d);

    for my $i (grep { $_ % 3 == 0 } 0 .. 59) {
        $f->report('respond', $d, $r[$i][2], sprintf '"%02d"', 60 - $i);
    }

    my @asc = sort { $created{$a} <=> $created{$b} || $a cmp $b }
        keys %created;
    my @desc = sort { $created{$b} <=> $created{$a} || $a cmp $b }
        keys %created;
    my %done = map { $r[$_][1] => 1 } grep { $_ % 3 == 0 } 0 .. 59;

    is(scalar(keys %{{ map { $_ => 1 } values %created }}), 16,
       'some were created in one ms');

    for my $status ('', 0, 3, 'SUCCESSFUL', 5) {
        for my $order ('asc', 'desc') {
            my @want = grep {
                $status eq '' || ($status ne '5' && ($done{$_} xor !$status))
            } $order eq 'asc' ? @asc : @desc;

            my $ok = 1;

            for my $size (1, 7, 20, 60, 2147483647) {
                my @got;

                for (my $i = 0; $i <= @want; $i += $size) {
                    my $page = list($d, status => $status, order => $order,
                                    offset => $i, count => $size);
                    $ok = 0 if $page->[0] != @want;
                    push @got, @$page[1 .. $#$page];
                }

                $ok = 0, diag "size $size: @got" if "@got" ne "@want";
            }

            ok($ok, "pages by createdTime, status '$status', $order");
        }
    }

    my @by_exp = reverse map { $_->[1] } @r;
    is_deeply(list($d, by => 'expirationTime'), [60, @by_exp],
              'by expirationTime');
    is_deeply(list($d, by => 'expirationTime', order => 'desc', offset => 10,
                   count => 5), [60, @{[reverse @by_exp]}[10 .. 14]], 'desc');

    my %params = map { $r[$_ - 1][1] => $_ } 1 .. 60;
    my @by_request = sort { "$params{$a}" cmp "$params{$b}" } keys %params;
    is_deeply(list($d, by => 'request'), [60, @by_request], 'by request');

    my @done = reverse grep { $done{$_} } map { $_->[1] } @r;
    my @open = sort grep { !$done{$_} } keys %created;
    is_deeply(list($d, by => 'response'), [60, @done, @open],
              'by response, missing last');
    is_deeply(list($d, by => 'response', order => 'desc'),
              [60, reverse(@done), @open], 'desc, missing last too');
    is_deeply(list($d, by => 'response', status => 3), [20, @done],
              'of one status');
    is_deeply(list($d, offset => 60), [60], 'past the end');
    is_deeply(list($d, offset => '1125899906842624'), [60], 'far past it');

    my $page = list($d, bytes => 1000);

    cmp_ok(scalar(@$page), '<', 15, 'a reply is bounded');
    is(scalar(@{ list($d, bytes => 1) }), 2, 'but has one record at least');

    $f->root->cmd('DEL', $f->key($d, 'rpc', $asc[3]));
    is(scalar(@{ list($d) }), 61, 'a missing record does not shift pages');
    $f->root->cmd('SET', $f->key($d, 'rpc', $asc[3]), 'x');
    is(scalar(@{ list($d, by => $_) }), 61, "nor a broken one, by $_")
        for qw(createdTime expirationTime request response);

    for my $o ({ status => 7 }, { status => 'DELETED' }, { by => 'id' },
               { order => 'up' }, { offset => -1 }, { count => 'x' },
               { bytes => 'x' }, { status => '1.5' })
    {
        like(list($d, %$o), qr/^ERR tb_rpc/, "list @{[%$o]}");
    }
}

# too many to sort; ranks are flat

{
    $f->config(max_pending => 100000, max_queue => 100000);

    my $d = $f->device(bridge => 'l2');

    for (1 .. 10) {
        $f->{nginx}->pipeline(map {
            ['FCALL', 'tb_rpc_create', 1, $f->dkey($d), TB::Functions::uuid(),
             '', 0, 1, $T, '*', '"m"', '{}', '', '', 100000, '', '', 'wait',
             '', '', '']
        } 1 .. 100);
    }

    is(list($d, count => 1)->[0], 1000, 'many records');

    for my $by (qw(expirationTime request response)) {
        is(list($d, by => $by, count => 1)->[0], 1000, "are sorted by $by");
    }

    $f->create($d);

    for my $by (qw(expirationTime request response)) {
        is_deeply(list($d, by => $by, count => 1), ['toomany', 1001],
                  "above 1,000: refused, by $by");
        is_deeply(list($d, by => $by, count => 1, status => 'QUEUED'),
                  ['toomany', 1001], 'of one status, too');
    }

    is(scalar(@{ list($d, count => 20, offset => 900, order => 'desc') }),
       21, 'createdTime is never refused');

    # nor too much text

    $d = $f->device;
    $f->create($d, params => '"' . 'x' x 65000 . '"') for 1 .. 16;
    is(list($d, by => 'request', count => 1)->[0], 16, 'a MB of text');
    $f->create($d, params => '"' . 'x' x 65000 . '"');
    is_deeply(list($d, by => 'request', count => 1), ['toomany', 17],
              'above that: refused');
    is(list($d, by => 'expirationTime', count => 1)->[0], 17,
       'which is no text');
    $f->config;
}

# what is QUEUED, wherever it lies among the others

{
    $f->config(max_pending => 100000, max_queue => 100000);

    my $d = $f->device(bridge => 'l3');
    my @r = map {
        $f->pass(1);
        $f->{nginx}->pipeline(map {
            ['FCALL', 'tb_rpc_create', 1, $f->dkey($d), TB::Functions::uuid(),
             '', 0, 1, $T, '*', "$_", '{}', '', '', 100000]
        } 1 .. 12);
    } 1 .. 125;
    my %created = map { $_->[1] => $_->[4] } @r;
    my %open = map { $_->[1] => $_->[2] } @r;
    my $failed = 0;

    handed_before($d);

    my $fail = sub {
        my @replies = $f->{bridge}->pipeline(map {
            ['FCALL', 'tb_rpc_failed', 1, $f->dkey($d), delete $open{$_}, 'x']
        } @_);
        $failed += grep { $_ eq 1 } @replies;
    };

    # all pages of a size; a reply may have less than was asked for

    my $pages = sub {
        my ($order, $size) = @_;
        my @got;

        while (@got < keys %open) {
            my ($total, @ids) = @{ list($d, status => 'QUEUED', count => $size,
                                        order => $order,
                                        offset => scalar @got) };

            return "total $total, @ids" if $total != keys %open || !@ids;
            return 'too many' if @ids > $size;
            push @got, @ids;
        }

        return join ' ', @got;
    };

    my $check = sub {
        my ($name) = @_;
        my @asc = sort { $created{$a} <=> $created{$b} || $a cmp $b }
            keys %open;
        my @desc = sort { $created{$b} <=> $created{$a} || $a cmp $b }
            keys %open;

        for my $size (@asc < 50 ? (1) : (), 7, 61, 2000) {
            ok($pages->('asc', $size) eq "@asc", "QUEUED $name, $size, asc");
            ok($pages->('desc', $size) eq "@desc",
               "QUEUED $name, $size, desc");
        }

        my ($total, @ids) = @{ list($d, status => 'QUEUED', by => 'request',
                                    bytes => 1 << 24, count => 4096) };

        is("$total @{[sort @ids]}", @asc > 1000 ? 'toomany ' . @asc
           : @asc . " @{[sort @asc]}", "QUEUED $name, by another property");
        is(list($d, status => 'FAILED')->[0], @r - @asc, "the others, $name");
    };

    my $of_ms = {};

    $of_ms->{$_->[4]}++ for @r;
    is(scalar(keys %$of_ms), 125, 'many were created in one ms');

    $check->('all');
    is(scalar(@{ list($d, status => 'QUEUED', count => 2000) }), 129,
       'a reply has 128 of them');

    # up to the middle of a ms

    my $n = 500;

    $n++ while $r[$n][4] != $r[$n - 1][4];
    $fail->(map { $_->[1] } @r[0 .. $n - 1]);
    $check->('the youngest');

    my @rest = sort { $created{$a} <=> $created{$b} } keys %open;

    $fail->(@rest[-250 .. -1], @rest[100 .. 300]);
    $check->('in two runs');

    # version 3 wrote them to the other index as well

    $f->root->cmd('ZADD', $f->key($d, 'index', $d, 'status'), $created{$_}, $_)
        for grep { hex(substr $_, 0, 8) % 3 == 0 } keys %open;
    $check->('some in the index of statuses');

    srand 20251;
    $fail->(grep { rand() < 0.5 } sort keys %open);
    $check->('here and there');
    $fail->(grep { rand() < 0.9 } sort keys %open);
    $check->('a few');
    is($failed, @r - keys %open, 'all others have failed');
    $fail->(keys %open);
    is_deeply(list($d, status => 'QUEUED'), [0], 'none');

    # of one ms, more than are looked at one by one

    my @ms = map { sprintf '%08x-0000-1000-8000-0123456789ab', $_ } 1 .. 300;

    for my $id (@ms) {
        $f->root->cmd('HSET', $f->key($d, 'rpc', $id), t => $T, d => $d, c => 5,
                      e => 6, o => 0, m => '1', p => '2', s => 0, i => 7);
        $f->root->cmd('ZADD', $f->key($d, 'index', $d), 5, $id);
        $f->root->cmd('ZADD', $f->key($d, 'index', $d, 'status'),
                      2 ** 42 + 5, $id) if hex(substr $id, 0, 8) % 2;
    }

    my @odd = grep { hex(substr $_, 0, 8) % 2 == 0 } @ms;

    is_deeply(list($d, status => 0, offset => 90, order => $_),
              [150, @odd[90 .. 149]], "of one ms, $_") for qw(asc desc);
    $f->config;
}

# events

{
    $f->config(events => 1);

    my $d = $f->device(bridge => 'e1');
    my $r = $f->create($d);
    my @seen;

    $f->take_all($d, 'e1');
    $f->report('delivered', $d, $r->[2]);
    $f->report('respond', $d, $r->[2], '7');
    $f->{nginx}->fcall('delete', $f->key($d, 'rpc', $r->[1]), $T);

    my $e = $f->root->cmd('XRANGE', $f->key($d, 'events'), '-', '+');
    my @e = map { +{ @{ $_->[1] } } } @$e;

    is_deeply([map { $_->{event} } @e],
              [qw(QUEUED SENT DELIVERED SUCCESSFUL DELETED)], 'events');
    is($e[3]{R}, 7, 'with the record');
    is($e[0]{rpcId}, $r->[1], 'and its id');
    $f->config;
    $f->create($d);
    is($f->root->cmd('XLEN', $f->key($d, 'events')), 5, 'off by default');
}

# a record stays a listpack

{
    my $d = $f->device;
    my $r = $f->create($d);

    is($f->root->cmd('OBJECT', 'ENCODING', $f->key($d, 'rpc', $r->[1])),
       'listpack', 'record');
    is($f->root->cmd('OBJECT', 'ENCODING', $f->key($d, 'inflight', $d)),
       'listpack', 'open calls');
    is($f->root->cmd('OBJECT', 'ENCODING', $f->dkey($d)), 'listpack',
       'device');
}

done_testing();
