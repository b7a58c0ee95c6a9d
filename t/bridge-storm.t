#!/usr/bin/perl

# tb-rpc-mqtt-bridge when things go down in the middle of calls: the broker,
# Redis, the connections of 1,000 devices; and when devices say nonsense.
#
# runs: side by side, 60 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Env qw(scratch scaled wait_for);
use TB::Fixture qw(set_macro);
use TB::Load;
use TB::Mqtt qw(reap child counter text_of);
use TB::MqttDevices;
use TB::Nginx;

my $DEVICES = 1000;
my $mode = $ENV{TB_MODE} || '';


# the broker needs a file for each device

sub files {
    my $now = `sh -c 'ulimit -n'`;

    return $now =~ /unlimited/ || $now >= $DEVICES + 100;
}

system "prlimit --pid $$ --nofile=4096: >/dev/null 2>&1" if !files();
plan skip_all => 'too few open files are allowed (ulimit -n)' if !files();

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};

# It keeps sessions, and calls for devices that are away.  They are saved when
# we say so, and no messages with them: those are the bridge's to keep.

mkdir scratch() . '/broker';

my $broker = "persistence true\nautosave_interval 0\nuser root\n"
             . 'persistence_location ' . scratch() . "/broker/\n"
             . "max_inflight_messages 0\n";

$mqtt->broker($broker);

my @ids = map { $mqtt->device() } 1 .. $DEVICES;
my $devices = TB::MqttDevices->start(port => $mqtt->{port}, ids => \@ids,
                                     delay => [0.02, 0.3],
                                     mute => qr/^mute$/);

set_macro(map { ("d$_" => $ids[$_]) } 0 .. $#ids);

my $nginx = TB::Nginx->start(redis_port => $redis->{port},
    http => 'tb_rpc_ack_timeout 1s; tb_rpc_events on;');
my $pid = $mqtt->bridge('storm', '--client-id', 'storm');


sub attached {
    return !grep { ($_ || '') ne 'storm' }
                 $redis->client()->pipeline(map {
                     ['HGET', TB::Bridge::key('device', $_), 'bridge'] } @ids);
}

ok($devices->online(120), "$DEVICES devices are online");
soon { attached() } 'and attached', 120;

kill 'USR1', $mqtt->{broker};
soon { -s scratch() . '/broker/mosquitto.db' } 'the broker knows them';


# --- calls ------------------------------------------------------------------

my $made = 0;


# so many of the next persistent calls, each for another device

sub calls {
    return map {
        my $n = $made++;
        my %call = (n => $n, device => $ids[$n % $DEVICES],
                    params => "{\"n\":$n}");

        @call{qw(rpc command)}
            = TB::MqttDevices::create(@call{qw(device params)});
        \%call;
    } 1 .. $_[0];
}


# Makes them, with something that happens while that is under way.  Those
# whose fate is not known, since Redis went away, count if they are there.

sub make {
    my ($calls, $meanwhile) = @_;

    my $creator = $redis->connect('nginx');

    $creator->send(map { $_->{command} } @$calls);

    eval {
        for my $i (0 .. $#$calls) {
            $meanwhile->() if $meanwhile && $i == 50;

            my $reply = $creator->reply();

            die "$reply\n" if !ref $reply;
            @{ $calls->[$i] }{qw(word id)} = @$reply[0, 2];
        }

        1;
    } or $@ =~ /^Redis: / or die $@;
}


# Lightweight callers for as long as a phase needs: held by nginx, over 20
# connections.  "n<TAB>status<TAB>body" lines.

my $loads = 0;


sub load {
    my ($n) = @_;

    my $file = scratch() . '/load.' . $loads++;
    my @requests = map { $nginx->text("d$_", 'run', "{\"l\":$_}",
                                      timeout => 10000) } 0 .. $n - 1;
    my $child = child(sub {
        open my $out, '>:raw', "$file.tmp" or die;

        my @answers = TB::Load::run(port => $nginx->{port}, parallel => 20,
                                    requests => \@requests,
                                    timeout => scaled(120));

        print $out join("\t", $_, $answers[$_]{status} || 0,
                        ($answers[$_]{headers} || {})->{'x-rpc-result'} || '',
                        $answers[$_]{body} || $answers[$_]{error} || ''), "\n"
            for 0 .. $n - 1;
        close $out;
        rename "$file.tmp", $file;
    });

    return [$file, $n, $child];
}


sub load_ends {
    my ($name, $load) = @_;

    my ($file, $n, $child) = @$load;
    my (%kinds, @wrong);

    wait_for { -e $file } 150;
    reap($child);
    open my $fh, '<:raw', $file or return fail("$name: callers");

    while (my $line = <$fh>) {
        chomp $line;
        my ($i, $status, $result, $body) = split /\t/, $line, 4;

        $kinds{$status . ($result && " $result")}++;
        push @wrong, $line
            if $status == 200
               && $body ne TB::MqttDevices::answer_to($ids[$i], "{\"l\":$i}")
               || $status !~ /^(?:200|503|504)$/;
    }

    is(join("\n", @wrong), '',
       "$name: callers have their own answer, or a clear end");
    cmp_ok($kinds{200} || 0, '>', $n / 4, "$name: many of them an answer");
    diag("$name: callers: ", join ', ', map { "$kinds{$_} of $_" }
                                        sort keys %kinds);
}


# { status => number of the calls }, of those that are there

sub statuses {
    my %n;
    my @found = $redis->client()->pipeline(map {
        ['HGET', record_key($_), 's'] } @_);

    for my $i (0 .. $#_) {
        my $code = $found[$i];

        $n{!defined $code ? $_[$i]{word} ? 'GONE' : 'never made'
           : (qw(QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED
                 FAILED))[$code]}++;
    }

    return \%n;
}


# how many have come to their devices, whatever these have said by now

sub delivered {
    my $n = statuses(@_);

    return ($n->{DELIVERED} || 0) + ($n->{SUCCESSFUL} || 0);
}


sub record_key {
    my ($call) = @_;

    return sprintf 'tb:{s%03o}:rpc:%s', TB::Bridge::shard($call->{device}),
                   $call->{rpc};
}


sub queues_empty {
    return counter('storm', $pid, 'open') == 0
           && !grep { $_ } $redis->client()->pipeline(map {
                  ['LLEN', TB::Bridge::prefix($_) . "queue:storm"] } 0 .. 127);
}


# calls that were met by what happened

sub under_way {
    my ($name, @calls) = @_;

    my $n = statuses(@calls);

    diag("$name: meets ", join ', ', map { "$n->{$_} $_" } sort keys %$n);
    delete @$n{'SUCCESSFUL', 'never made'};
    cmp_ok(scalar keys %$n, '>', 0, "$name: in the middle of calls");
}


# $claims: claims admitted before the answer was taken, where the events do
# not tell all of them; by rpcId

sub all_answered {
    my ($name, $calls, $claims) = @_;

    my $n;
    my $all = @$calls;

    wait_for {
        $n = statuses(@$calls);
        ($n->{SUCCESSFUL} || 0) + ($n->{'never made'} || 0) == $all;
    } 120;
    delete $n->{'never made'};

    my @made = grep { $redis->call('EXISTS', record_key($_)) } @$calls;

    is_deeply($n, { SUCCESSFUL => scalar @made },
              "$name: " . @made . ' persistent calls are SUCCESSFUL');
    cmp_ok(scalar @made, '>=', grep({ $_->{word} } @$calls),
           "$name: all that were accepted");
    soon { queues_empty() } "$name: the queues are empty", 60;

    my (%seen, %once, @wrong, @unseen, @sent, @late, @more, @foreign);
    my $history = TB::MqttDevices::history($redis);

    for ($devices->deliveries()) {
        push @{ $seen{$_->{params}} }, $_;

        # the broker repeats what a device has not acknowledged to it
        $once{$_->{params}}++ if !$_->{dup};
    }

    my @answers = $redis->client()->pipeline(map {
        ['HGET', record_key($_), 'R'] } @made);
    my $twice = 0;

    for my $i (0 .. $#made) {
        my $call = $made[$i];
        my $h = $history->{$call->{rpc}};
        my $seen = $seen{$call->{params}} || [];
        my $sent = $claims ? $claims->{$call->{rpc}} : $h->{sent};

        push @wrong, $call
            if ($answers[$i] || '')
               ne TB::MqttDevices::answer_to(@$call{qw(device params)});
        push @unseen, $call if !@$seen && !$call->{unsent};
        push @sent, $call if @$seen && $call->{unsent};
        push @foreign, $call
            if grep { $_->{device} ne $call->{device} } @$seen;
        push @late, $call if $h->{late};
        push @more, $call if ($once{$call->{params}} || 0) > $sent;
        $twice++ if @$seen > 1;
    }

    none("$name: each with its own answer", @wrong);
    none("$name: each was seen by its device", @unseen);
    none("$name: and by no other", @foreign);
    none("$name: none is sent that had its answer before", @sent)
        if grep { $_->{unsent} } @made;
    none("$name: none is claimed after its answer was taken", @late);
    none("$name: none is sent without a claim", @more);
    diag("$name: duplicates: $twice of " . @made . ' calls');
}


sub none {
    my ($name, @list) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(join(' ', map { "$_->{n}:$_->{rpc}" } @list), '', $name);
}


# --- the broker -------------------------------------------------------------

my $monitor = $redis->connect('admin');
my $load = load(200);
my @calls = calls(200);
my @more = calls(200);

$monitor->command('MONITOR');
make(\@calls);
soon { delivered(@calls) > 50 } 'broker: calls delivered', 60;

# and some that it is sent and will never read
kill 'STOP', $mqtt->{broker};
make(\@more);
push @calls, @more;
soon { (statuses(@more)->{SENT} || 0) > 20 } 'broker: calls under way', 60;
reap($mqtt->{broker}, 'KILL');
under_way('broker', @calls);

# what has its answer meanwhile must not be sent any more
my @open = grep { statuses($_)->{SENT} } @more;

for (splice @open, 0, 20) {
    $redis->fcall('tb_rpc_respond', TB::Bridge::key('device', $_->{device}),
                  $_->{id}, TB::MqttDevices::answer_to(@$_{qw(device
                                                              params)}));
    $_->{unsent} = 1;
}

@more = calls(100);
make(\@more);

# the devices, and their answers, are back before the bridge
kill 'STOP', $pid;
$mqtt->broker($broker);
ok($devices->online(120), 'broker: the devices are back');
soon { $devices->count('waiting') == 0 } 'broker: so are their answers', 60;
kill 'CONT', $pid;
push @calls, @more;
wait_for { (statuses(@calls)->{SUCCESSFUL} || 0) == @calls } 120;
load_ends('broker', $load);
all_answered('broker', \@calls,
             TB::MqttDevices::claims($redis, $monitor, \@calls));
undef $monitor;


# --- Redis ------------------------------------------------------------------

for my $how ('TERM', 'KILL') {
    my $name = "Redis, SIG$how";

    $load = load(200);
    @calls = calls(150);
    make(\@calls);
    soon { delivered(@calls) > 30 } "$name: calls delivered", 60;

    @more = calls(200);
    make(\@more, sub {
        kill 'KILL', $redis->{pid} if $how eq 'KILL';
        $redis->stop();
    });
    $redis->go();
    push @calls, @more;
    under_way($name, @calls);
    @more = calls(100);
    make(\@more);
    push @calls, @more;
    load_ends($name, $load);
    all_answered($name, \@calls);
}


# --- 1,000 devices lose their connection at once ----------------------------

sub wills { return scalar(() = text_of('storm.log') =~ /is offline$/mg) }


for my $turn (1, 2) {
    my $name = "storm $turn";

    $load = load(200);
    @calls = calls($DEVICES);
    @more = calls($DEVICES / 2);

    my $wills = wills();
    my $start;

    make(\@calls, sub { $start = time(); $devices->drop(); });
    under_way($name, @calls);
    make(\@more);
    ok($devices->online(120), "$name: the devices are back");
    diag(sprintf '%s: after %.1f s', $name, time() - $start);
    # but for those whose new connection was there before the end of the old
    soon { wills() >= $wills + 0.9 * $DEVICES } "$name: all had gone", 60;
    push @calls, @more;
    load_ends($name, $load);
    all_answered($name, \@calls);
    soon { attached() } "$name: all are attached", 60;
}


# --- devices that say nonsense ----------------------------------------------

my ($d1, $d2) = @ids[0, 1];

# what is counted from now on is of what we say
soon { $devices->count('waiting') == 0 } 'no more answers are to come', 60;


# what the bridge counts and logs when these come

sub refused {
    my ($name, $counter, $line, @messages) = @_;

    my $before = counter('storm', $pid, $counter);
    my $lines = () = text_of('storm.log') =~ /$line/g;

    TB::MqttDevices::publish($mqtt->{port}, @messages);
    soon { counter('storm', $pid, $counter) == $before + @messages }
         "$name: $counter";

    my $now = () = text_of('storm.log') =~ /$line/g;

    is($now, $lines + @messages, "$name: and in the log");
}


sub unknown { return sprintf 'de000000-0000-11ee-9000-%012x', $_[0] }
sub answers { return map { ["v1/devices/$_->[0]/rpc/response/$_->[1]",
                            $_->[2]] } @_ }

# a call that waits for its answer: (rpcId, requestId)

sub waits {
    my ($device) = @_;
    my ($rpc, $id) = $mqtt->call($device, '"mute"', '{}', persistent => 1);

    wait_for { $mqtt->status($device, $rpc) eq 'DELIVERED' };

    return ($rpc, $id);
}


sub stored {
    my ($rpc, $field) = @_;

    return $redis->call('HGET', record_key({ device => $d1, rpc => $rpc }),
                        $field);
}

refused('presence of an unknown device', 'presence_unknown',
        qr/\[warn\] device de000000-0000-11ee-9000-\w+ cannot be attached,.*/
        . 'is unknown',
        map { ['v1/devices/' . unknown($_) . '/status', 'online'] } 1 .. 3);
is($redis->call('EXISTS', TB::Bridge::key('device', unknown(1))), 0,
   'and it stays unknown');

refused('a malformed response topic', 'answers_bad',
        qr/\[warn\] a message on \S.* is no answer/,
        answers(map { [@$_, '{}'] } [$d1, ''], [$d1, '-1'], [$d1, '1.0'],
                [$d1, ' 1'], [$d1, '1 '], [$d1, '0x10'], [$d1, "\xc2\xb2"],
                [$d1, '1' x 300], ["{$d1}", 1], [substr($d1, 1), 1],
                ["$d1-", 1], ['', 1], ["\xe2\x82\xac", 1]));

my ($rpc, $id) = waits($d1);

refused('a foreign request id', 'answers_late',
        qr/the answer of device \Q$d2\E to request \Q$id\E was late/,
        answers([$d2, $id, '"mine"']));
is($mqtt->status($d1, $rpc), 'DELIVERED', 'the call of the other one waits');
TB::MqttDevices::publish($mqtt->{port}, answers([$d1, $id, '"right"']));
soon { $mqtt->status($d1, $rpc) eq 'SUCCESSFUL' } 'until its own answer';
is(stored($rpc, 'R'), '"right"', 'which is taken');

# above what the bridge passes on, and above what Redis takes

my $mb = 1 << 20;

($rpc, $id) = waits($d1);
refused('an answer above 1 MB', 'answers_bad',
        qr/\[warn\] answer of device \Q$d1\E to request \Q$id\E has 1048577/,
        answers([$d1, $id, 'x' x ($mb + 1)]));
is($mqtt->status($d1, $rpc), 'FAILED', 'and the call fails');
like(stored($rpc, 'R'), qr/exceeds the limit of 65536 bytes/, 'so told');

($rpc, $id) = waits($d1);
TB::MqttDevices::publish($mqtt->{port}, answers([$d1, $id, 'x' x $mb]));
soon { $mqtt->status($d1, $rpc) eq 'FAILED' } 'an answer of 1 MB';
like(stored($rpc, 'R'), qr/exceeds the limit of 65536 bytes/, 'so told');

for ('no {JSON', "\"\xff\0", join '', map { chr } 0 .. 255) {
    my $answers = counter('storm', $pid, 'answers');

    ($rpc, $id) = waits($d1);
    TB::MqttDevices::publish($mqtt->{port}, answers([$d1, $id, $_]));
    soon { $mqtt->status($d1, $rpc) eq 'SUCCESSFUL' } 'bytes that are no JSON';
    is(stored($rpc, 'R'), $_, 'kept as they are');
    is(counter('storm', $pid, 'answers'), $answers + 1, 'and counted');
}


# All of it, very often.  One in 250 is large, or none.

sub nonsense {
    my ($n, $large) = @_;

    my %more = (answers_bad => 0, answers_late => 0, presence_bad => 0);

    TB::MqttDevices::publish($mqtt->{port}, map {
        my $device = $ids[$_ % $DEVICES];
        my $kind = $_ % 10;

        if ($large && $_ % 250 == 0) {
            $more{answers_bad}++;
            answers([$device, 7, 'x' x ($mb + 1)]);

        } elsif ($kind < 3) {
            $more{answers_bad}++;
            answers([$device, "x$_", '{}']);

        } elsif ($kind < 6) {
            $more{answers_late}++;
            answers([$device, 7 + $_, "not JSON \0\xff"]);

        } elsif ($kind < 8) {
            $more{presence_bad}++;
            ["v1/devices/$device/status", "perhaps $_"];

        } else {
            ['v1/devices/' . unknown($_ % 200) . '/status',
             $kind == 8 ? 'online' : 'offline'];
        }
    } 1 .. $n);

    return \%more;
}


sub nonsense_ends {
    my ($n, $large) = @_;

    my %before = map { $_ => counter('storm', $pid, $_) }
                 qw(answers_bad answers_late presence_bad);
    my $more = nonsense($n, $large);

    soon {
        !grep { counter('storm', $pid, $_) != $before{$_} + $more->{$_} }
              keys %before
    } "$n bad messages are counted", 120;
}

# how much is under way at once is a matter of luck, and the allocator keeps it:
# of large ones, 1 MB each, some

nonsense_ends(10000, 1);

my @rss = $nginx->rss($pid);

for my $large (0, 1) {
    nonsense_ends(10000, $large);
    push @rss, $nginx->rss($pid);
}

diag("RSS of the bridge: @rss KB, 10,000 bad messages from one to the next");

# AddressSanitizer keeps what was freed in its quarantine, valgrind likewise
SKIP: {
    skip "memory means nothing under $mode", 2 if $mode;
    cmp_ok($rss[1] - $rss[0], '<=', 1024, 'memory does not grow');
    cmp_ok($rss[2] - $rss[1], '<=', 8192, 'nor by 40 large ones');
}

@calls = calls($DEVICES);
make(\@calls);
all_answered('afterwards', \@calls);
is(counter('storm', $pid, 'answers_lost'), 0, 'no answer was ever lost');

$nginx->clean();
is(reap($pid, 'TERM'), 0, 'exit 0');
done_testing();
