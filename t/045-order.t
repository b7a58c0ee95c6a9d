# The order of a device's calls under each strategy, its own or the default,
# from outside: calls go in by HTTP, and a bridge is played step by step.
#
# runs: side by side, 22 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;

my @STRATEGIES = qw(burst sequential_on_ack sequential_on_response);

redis();

my $nginx = TB::Nginx->start(workers => 2);
my $default = 'burst';
my $n = 0;


# another configuration, in force in each shard

sub configure {
    my (%set) = @_;

    my $old = redis()->call('HGET', 'tb:{s000}:config', 'stamp') || 0;

    $nginx->configure(http => join '', map { "tb_rpc_$_ $set{$_};\n" }
                                       sort keys %set);
    $nginx->reload();
    $nginx->get('/api/rpc/persistent/' . uuid_of('nothing'));
    $default = $set{strategy} || 'burst';

    soon { 128 == grep { redis()->call('HGET', TB::Bridge::prefix($_) . "config", 'stamp')
                        > $old } 0 .. 127 } "configured: $default";
}


# An offline device with a bridge of its own, that is attached by attach().

sub new_device {
    my (%opt) = @_;

    my $name = 'order' . ++$n;
    my $id = device($name, %opt);
    my $key = redis()->device_key($id);
    my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') },
                                     name => $name);
    my ($shard) = $key =~ /^(.*?\}:)/;

    return { name => $name, id => $id, key => $key, bridge => $bridge,
             shard => $shard, queue => "${shard}queue:$name" };
}


sub attach {
    my ($d) = @_;

    return $d->{bridge}{redis}->call('FCALL', 'tb_rpc_attach', 1, $d->{key},
                                     $d->{name}, 's1', 600000);
}


sub report {
    my ($d, $name, @args) = @_;

    return $d->{bridge}{redis}->call('FCALL', "tb_rpc_$name", 1, $d->{key},
                                     @args);
}


sub queued { return redis()->call('LLEN', $_[0]{queue}) }


# neither a heartbeat nor tick moves a call that has to wait

sub nothing_comes {
    my ($d, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(attach($d), 0, "$what: a heartbeat releases nothing");
    redis()->call('FCALL', 'tb_rpc_tick', 1, "$d->{shard}due", 1000);
    is(queued($d), 0, "$what: nothing comes");
}


# persistent calls, one after another; their rpcIds

sub post {
    my ($d, $params, %opt) = @_;

    my $answer = $nginx->call($d->{name}, 'x', $params, persistent => 1,
                              timeout => 60000, %opt);
    my ($id) = $answer->{body} =~ /^\{"rpcId":"([0-9a-f-]{36})"\}$/;

    die "a call was answered $answer->{what}\n" if !$id;

    return $id;
}


sub record {
    my ($id) = @_;

    my $answer = $nginx->get("/api/rpc/persistent/$id");

    return { status => "$answer->{status}" } if $answer->{status} != 200;
    return JSON::PP->new->utf8->allow_nonref->decode($answer->{body});
}


sub statuses { return join ' ', map { record($_)->{status} } @_ }


sub remove {
    my ($id) = @_;

    my $text = TB::Client::text('DELETE', "/api/rpc/persistent/$id", undef,
        'X-Authorization' => 'Bearer ' . macro('token:tenant'));

    return TB::Client->new($nginx->{port}, $text)->answer()->{status};
}


# the next call, which has to be the only one

sub next_call {
    my ($d, $params, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @calls = $d->{bridge}->take(1, 20);

    is(join(' ', map { $_->{params} } @calls), $params,
       "$what: $params comes");

    return $calls[0] || die "nothing came\n";
}


sub acknowledge {
    my ($d, $call) = @_;

    return report($d, 'delivered', $call->{requestId}, $call->{attempt});
}


# ten calls -----------------------------------------------------------------

# all at once

sub burst {
    my ($d, $what, @ids) = @_;

    my @calls = $d->{bridge}->take(10);

    is(join(' ', map { $_->{params} } @calls), '0 1 2 3 4 5 6 7 8 9',
       "$what: all at once, in order");
    is(join('', $d->{bridge}->answer(reverse @calls)), '1' x 10,
       "$what: answered in any order");
}


# the next one comes only after "$until" of the one before it

sub one_by_one {
    my ($d, $what, $until, @ids) = @_;

    my @open;

    for my $i (0 .. 9) {
        my $call = next_call($d, $i, $what);

        is($call->{rpcId}, $ids[$i], "$what: it is $i");
        is(statuses(@ids[$i .. 9]), join(' ', 'SENT', ('QUEUED') x (9 - $i)),
           "$what: $i is sent, what follows is queued");
        nothing_comes($d, "$what: $i sent");
        is(acknowledge($d, $call), 1, "$what: $i acknowledged");

        if ($until eq 'response') {
            nothing_comes($d, "$what: $i acknowledged");
            is(join('', $d->{bridge}->answer($call)), 1, "$what: $i answered");

        } else {
            push @open, $call;
        }

        is(queued($d), $i < 9 ? 1 : 0, "$what: the next one is there");
    }

    $d->{bridge}->answer($_) for reverse grep { !$_->{oneway} } @open;
}


sub ten_calls {
    my ($own, %opt) = @_;

    my $strategy = $own || $default;
    my $d = new_device($own ? (strategy => $own) : ());
    my $what = ($own ? "own $own" : "default $default")
               . ($opt{oneway} ? ', one-way' : '');
    my @ids = map { post($d, $_, %opt) } 0 .. 9;

    is(statuses(@ids), join(' ', ('QUEUED') x 10), "$what: all are taken");
    is(queued($d), 0, "$what: no bridge has them");
    is(attach($d), $strategy eq 'burst' ? 10 : 1, "$what: attached");

    if ($strategy eq 'burst') {
        burst($d, $what, @ids);

    } else {
        one_by_one($d, $what, $opt{oneway} || $strategy eq 'sequential_on_ack'
                              ? 'ack' : 'response', @ids);
    }

    is(statuses(@ids),
       join(' ', ($opt{oneway} ? 'DELIVERED' : 'SUCCESSFUL') x 10),
       "$what: all are done");
    is(join(' ', map { record($_)->{response} // 'null' } @ids),
       $opt{oneway} ? join(' ', ('null') x 10) : '0 1 2 3 4 5 6 7 8 9',
       "$what: each with its own answer");
    is(queued($d), 0, "$what: nothing is left");
}


for my $strategy (@STRATEGIES) {
    configure(strategy => $strategy);
    ten_calls(undef);
    ten_calls(undef, oneway => 1);
    ten_calls($_) for @STRATEGIES;
}


# how a head ends -----------------------------------------------------------

# Three calls, of which the first leaves; what $end does to it lets the second
# one leave, and that one's acknowledgement or answer the third.

sub head_ends {
    my ($d, $what, $end, %opt) = @_;

    my @ids = (post($d, '"head"', %opt), post($d, '"second"'),
               post($d, '"third"'));

    is(queued($d), 1, "$what: the head alone is queued");

    my $status = $end->($ids[0]);

    for my $i (1, 2) {
        my $call = next_call($d, $i == 1 ? '"second"' : '"third"', $what);

        is($call->{rpcId}, $ids[$i], "$what: it is that one");
        nothing_comes($d, $what);
        acknowledge($d, $call);
        is(join('', $d->{bridge}->answer($call)), 1, "$what: answered");
    }

    is(statuses(@ids), "$status SUCCESSFUL SUCCESSFUL",
       "$what: as they ended");

    return $ids[0];
}


sub error_of { return record($_[0])->{response}{error} }


configure();

for my $strategy (qw(sequential_on_ack sequential_on_response)) {
    my $d = new_device(strategy => $strategy);
    my $id;

    attach($d);

    $id = head_ends($d, "$strategy, failed", sub {
        my $call = next_call($d, '"head"', 'failed');

        is(report($d, 'failed', $call->{requestId}, 'on fire', 1), 1,
           'failed: reported');
        return 'FAILED';
    });
    is(error_of($id), 'on fire', "$strategy, failed: and why");

    head_ends($d, "$strategy, expired in the queue", sub {
        my ($head) = @_;

        soon { statuses($head) eq 'EXPIRED' } 'expired in the queue';
        return 'EXPIRED';
    }, timeout => 300);

    head_ends($d, "$strategy, expired after it was sent", sub {
        my ($head) = @_;

        next_call($d, '"head"', 'expired after it was sent');
        soon { statuses($head) eq 'EXPIRED' } 'expired after it was sent';
        return 'EXPIRED';
    }, timeout => scaled(4000));

    head_ends($d, "$strategy, deleted in the queue", sub {
        my ($head) = @_;

        is(remove($head), 200, 'deleted in the queue');
        return 404;
    });

    head_ends($d, "$strategy, deleted after it was sent", sub {
        my ($head) = @_;

        my $call = next_call($d, '"head"', 'deleted after it was sent');

        is(remove($head), 200, 'deleted after it was sent');
        is(acknowledge($d, $call), 0, 'an acknowledgement is late');
        return 404;
    });

    head_ends($d, "$strategy, answered without an acknowledgement", sub {
        my ($call) = next_call($d, '"head"', 'no acknowledgement');

        is(join('', $d->{bridge}->answer($call)), 1, 'answered at once');
        return 'SUCCESSFUL';
    });
}

# while the device is offline

for my $strategy (@STRATEGIES) {
    my $d = new_device(strategy => $strategy);
    my @ids = (post($d, 0, timeout => 300), map { post($d, $_) } 1 .. 3);

    is(remove($ids[1]), 200, "$strategy, offline: the second one is deleted");
    soon { statuses($ids[0]) eq 'EXPIRED' } "$strategy, offline: the first"
                                            . ' one has expired';
    is(attach($d), $strategy eq 'burst' ? 2 : 1,
       "$strategy, offline: attached");

    my @calls = $d->{bridge}->take(1);

    is($calls[0]{params}, 2, "$strategy, offline: the third one is the first");
    $d->{bridge}->answer(@calls);

    if ($strategy ne 'burst') {
        @calls = $d->{bridge}->take(1);
        $d->{bridge}->answer(@calls);
    }

    is($calls[-1]{params}, 3, "$strategy, offline: then the fourth");
    is(statuses(@ids), 'EXPIRED 404 SUCCESSFUL SUCCESSFUL',
       "$strategy, offline: as they ended");
}

# lightweight and persistent ones -------------------------------------------

# a lightweight call that waits: its client

sub open_light {
    my ($d, $params, $inflight, @opt) = @_;

    my $client = $nginx->open($d->{name}, 'x', $params, timeout => 60000,
                              @opt);

    soon { redis()->call('HLEN', $inflight) == $params + 1 } "$params waits";

    return $client;
}


for my $strategy (@STRATEGIES) {
    my $d = new_device(strategy => $strategy);
    my $inflight = "$d->{shard}inflight:$d->{id}";
    my (@ids, @clients);

    # two-way: 1 and 5, one-way: 3, persistent: 0, 2 and 4

    for my $i (0 .. 5) {
        if ($i % 2) {
            push @clients, open_light($d, $i, $inflight,
                                      $i == 3 ? (oneway => 1) : ());
        } else {
            push @ids, post($d, $i);
        }
    }

    is(scalar(grep { $_->answered() } @clients), 0, "$strategy, mixed: wait");
    attach($d);

    if ($strategy eq 'burst') {
        my @calls = $d->{bridge}->take(6);

        is(join(' ', map { $_->{params} } @calls), '0 1 2 3 4 5',
           "$strategy, mixed: in order");
        $d->{bridge}->answer(@calls);

    } else {
        for my $i (0 .. 5) {
            my $call = next_call($d, $i, "$strategy, mixed");

            nothing_comes($d, "$strategy, mixed: $i sent");

            if ($i == 3) {
                is($clients[1]->answer(5)->{status}, 200,
                   "$strategy, mixed: one-way is answered when it is sent");
                nothing_comes($d, "$strategy, mixed: but keeps its turn");
            }

            is(acknowledge($d, $call), 1, "$strategy, mixed: acknowledged");

            if ($strategy eq 'sequential_on_response' && $i != 3) {
                nothing_comes($d, "$strategy, mixed: $i acknowledged");

            } else {
                is(queued($d), $i < 5 ? 1 : 0,
                   "$strategy, mixed: $i lets the next one go");
            }

            $d->{bridge}->answer($call) if $i != 3;
        }
    }

    is(join(' ', map { "$_->{status}:$_->{body}" }
                 TB::Client::answers(10, @clients)), '200:1 200: 200:5',
       "$strategy, mixed: each caller has his answer");
    is(statuses(@ids), 'SUCCESSFUL SUCCESSFUL SUCCESSFUL',
       "$strategy, mixed: and each record");
}

# a caller who leaves while he has the turn

for my $strategy (qw(sequential_on_ack sequential_on_response)) {
    my $d = new_device(strategy => $strategy);

    attach($d);

    my $client = $nginx->open($d->{name}, 'x', '"light"', timeout => 60000);
    my $call = next_call($d, '"light"', "$strategy, leaves");
    my $id = post($d, '"next"');

    nothing_comes($d, "$strategy, leaves: before");
    $client->leave();
    is(next_call($d, '"next"', "$strategy, leaves")->{rpcId}, $id,
       "$strategy, leaves: the next one has the turn");
    is(acknowledge($d, $call), 0, "$strategy, leaves: late");
}

# more than a device may have unacknowledged, and one that comes meanwhile -----

{
    my $d = new_device();

    post($d, $_) for 0 .. 119;
    is(attach($d), 16, 'many: sixteen at once');
    post($d, 120);

    my @first = $d->{bridge}->take(16, 20);

    is(queued($d), 0, 'many: these are all');
    nothing_comes($d, 'many: before one is acknowledged');

    for my $call (@first) {
        is(acknowledge($d, $call), 1, 'many: acknowledged');
        is(queued($d), 1 + ($call->{params}), 'many: one more comes for it');
    }

    my @calls = (@first, $d->{bridge}->hold(105, 20));

    is(join(' ', map { $_->{params} } @calls), join(' ', 0 .. 120),
       'many: all come, each once, in order, the new one last');
    is(join('', $d->{bridge}->answer(@calls)), '1' x 121, 'many: answered');
}

# what never comes ------------------------------------------------------------

configure(response_timeout => '500ms', ack_timeout => '60s');

{
    my $d = new_device(strategy => 'sequential_on_response');

    attach($d);

    my $call;
    my $id = head_ends_late($d, 'no answer', sub {
        $call = next_call($d, '"head"', 'no answer');
        is(acknowledge($d, $call), 1, 'no answer: acknowledged');
    });

    is(statuses($id), 'FAILED', 'no answer: FAILED');
    is(error_of($id), 'There was a timeout awaiting for RPC response from'
       . ' device.', 'no answer: and why');
    is(join('', $d->{bridge}->answer($call)), 0, 'no answer: now it is late');
}

configure(response_timeout => '60s', ack_timeout => '500ms', max_retries => 3);

for my $strategy (qw(sequential_on_ack sequential_on_response)) {
    my $d = new_device(strategy => $strategy);
    my $what = "$strategy, no acknowledgement";

    attach($d);

    # twice, since one retry is allowed

    my $id = head_ends_late($d, $what, sub {
        next_call($d, '"head"', $what) for 1 .. 2;
    }, retries => 1);

    is(statuses($id), 'FAILED', "$what: FAILED");
    is(error_of($id), 'There was a Timeout and all retry attempts have been'
       . ' exhausted. Retry attempts set: 1', "$what: and why");
}


# the second call comes once the head is over, by time

sub head_ends_late {
    my ($d, $what, $end, %opt) = @_;

    my $head = post_with($d, '"head"', %opt);
    my $second = post($d, '"second"');

    $end->();

    my $length = queued($d);

    is($length, 0, "$what: the second one waits")
        if statuses($head) ne 'FAILED';

    my ($call) = $d->{bridge}->take(1, 20);

    is($call->{rpcId}, $second, "$what: the second one comes");

    return $head;
}


# with members that TB::Nginx has no option for

sub post_with {
    my ($d, $params, %more) = @_;

    my $body = "{\"method\":\"x\",\"params\":$params,\"persistent\":true,"
               . '"timeout":60000'
               . join('', map { ",\"$_\":$more{$_}" } sort keys %more) . '}';
    my $text = TB::Client::text('POST', "/api/rpc/twoway/$d->{id}", $body,
        'X-Authorization' => 'Bearer ' . macro('token:tenant'));
    my $answer = TB::Client->new($nginx->{port}, $text)->answer();

    return $answer->{body} =~ /^\{"rpcId":"([0-9a-f-]{36})"\}$/ ? $1
        : die "a call was answered $answer->{what}\n";
}


$nginx->clean();

done_testing();
