# A Redis that speaks garbage, at every point where nginx listens to it: no
# worker ever crashes, every caller gets a 503 or a 504 (or 500 for an error
# nobody knows), and once the real Redis is there all is well.
#
# runs: side by side, 60 s
# not with --redis-tls, --redis-cluster: its Redis is a fake one

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled wait_for);
use TB::FakeRedis;
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

redis();
device('d1', bridge => 'b1');
TB::FastBridge->start(connect => { redis()->access('bridge') });


# What the fake says: [ name, where, bytes, options ].  Where is a command or
# a function, "connect", or "message" (pushed to subscribers after create,
# whose own reply is sound).  %ID and %CH are the call's id and channel.

my $dots = '.' x 20;
my @modes;


sub mode {
    my ($name, $where, $bytes, %opt) = @_;

    push @modes, { name => "$where: $name", where => $where,
                   bytes => $bytes, %opt };
}


sub bulk { return TB::FakeRedis::bulk(@_) }


# anywhere

for my $where ('connect', 'PING', 'tb_rpc_version', 'SSUBSCRIBE',
               'tb_rpc_create')
{
    mode('binary', $where, "\x00\xff\xfe\r\n\x80");
    mode('a huge string', $where, "\$9999999999\r\nx");
    mode('half a reply', $where, "*5\r\n\$6\r\nque", close => 1);
}

mode('HTTP', 'connect', "HTTP/1.1 400 Bad Request\r\n\r\n", close => 1);
mode('refused', 'connect', "-ERR max number of clients reached\r\n",
     close => 1);
mode('closed', 'connect', '', close => 1);
mode('an integer', 'AUTH', ":1\r\n*0\r\n:1\r\n");
mode('a list', 'PING', "*1\r\n\$4\r\nPONG\r\n", any => 1);
mode('nothing', 'PING', '');
mode('two replies', 'PING', "+PONG\r\n+PONG\r\n");
mode('words', 'tb_rpc_version', bulk('new'));
mode('nothing', 'tb_rpc_version', '');
mode('a status', 'HMGET', "+OK\r\n");
mode('nulls', 'HMGET', "*2\r\n\$-1\r\n\$-1\r\n", crit => 1);
mode('too much', 'HMGET', "*3\r\n\$30\r\n" . '9' x 30 . "\r\n:1\r\n:1\r\n",
     crit => 1);
mode('a list', 'INFO', "*1\r\n*0\r\n", status => '504');
mode('a mess', 'INFO', bulk("role:slave:\r\n\n\n\r\r" . "\0" x 99),
     status => '504');
mode('a replica', 'INFO', bulk("role:slave\r\n"));
mode('a status', 'tb_rpc_config', "+OK\r\n", status => '504');
mode('an error', 'tb_rpc_config', "-ERR no\r\n");

# the reply to create

my @replies = (
    'an integer' => ":5\r\n",
    'a null' => "\$-1\r\n",
    'a null list' => "*-1\r\n",
    'no elements' => "*0\r\n",
    'nulls' => "*5\r\n" . "\$-1\r\n" x 5,
    'a status' => "+OK\r\n",
    'lists in a list' => '*1' . "\r\n*1" x 5 . "\r\n:1\r\n",
    'too many lists' => "*1\r\n" x 100,
    'a huge list' => "*1048577\r\n",
    'a huger list' => "*99999999999999\r\n",
    'many long lists' => "*1000000\r\n" x 3,
    'a negative length' => "\$-5\r\n",
    'a huge integer' => ":99999999999999999999999999\r\n",
    'no number' => "\$x\r\n",
    'an endless line' => '+' . 'x' x 100000 . "\r\n",
    'a string without an end' => "\$2\r\nqueue\r\n",
    'RESP3, a map' => "%1\r\n+a\r\n+b\r\n",
    'RESP3, a push' => ">1\r\n+a\r\n",
    'a push' => "*3\r\n" . bulk('smessage') . bulk('%CH') . bulk('%IDA1'),
    'an unknown word' => "*5\r\n" . bulk('lost') . bulk('%ID')
                         . ":7\r\n:99\r\n:1\r\n",
    'an unknown refusal' => "*1\r\n" . bulk('lost'),
    'a short id' => "*5\r\n" . bulk('queued') . bulk('1')
                    . ":7\r\n:99\r\n:1\r\n",
    'a list for an id' => "*5\r\n" . bulk('queued') . "*1\r\n:1\r\n"
                          . ":7\r\n:99\r\n:1\r\n",
    'a requestId in words' => "*5\r\n" . bulk('queued') . bulk('%ID')
                              . bulk('seven') . ":99\r\n:1\r\n",
    'a negative time' => "*5\r\n" . bulk('queued') . bulk('%ID')
                         . ":7\r\n:-99\r\n:1\r\n",
    'a time without end' => "*5\r\n" . bulk('queued') . bulk('%ID')
                            . ":7\r\n:9223372036854775807\r\n:1\r\n",
    'a time above 32 bits' => "*5\r\n" . bulk('queued') . bulk('%ID')
                              . ":7\r\n:4294967396\r\n:1\r\n",
);

while (my ($name, $bytes) = splice @replies, 0, 2) {
    mode($name, 'tb_rpc_create', $bytes, written => 1,
         any => scalar $name =~ /^(?:an unknown word|a requestId|a .*time)/);
}

mode('nothing', 'tb_rpc_create', '', written => 1);
mode('closed', 'tb_rpc_create', '', close => 1, written => 1);
mode('two replies', 'tb_rpc_create', ":1\r\n:2\r\n:3\r\n", written => 1);

for my $word ('OOM full', 'LOADING', 'NOREPLICAS', 'MISCONF no', 'BUSY',
              'TRYAGAIN', 'CLUSTERDOWN', 'MASTERDOWN', 'READONLY',
              'MOVED 1 127.0.0.1:1', 'NOPERM no', 'NOAUTH', 'UNKILLABLE no',
              'ERR Function not found', "ERR unknown command 'FCALL'")
{
    mode($word, 'tb_rpc_create', "-$word\r\n", status => '503');
}

mode('an unknown error', 'tb_rpc_create', "-ERR \x01\x02 \xff\r\n",
     status => '500');
mode('a word that begins alike', 'tb_rpc_create', "-BUSYKEY no\r\n",
     status => '500');
mode('an empty error', 'tb_rpc_create', "-\r\n", status => '500');

# what comes to a subscriber

mode('a status', 'SSUBSCRIBE', "+OK\r\n");
mode('an error', 'SSUBSCRIBE', "-NOPERM no\r\n");
mode('nothing', 'SSUBSCRIBE', '');
mode('another channel', 'SSUBSCRIBE', "*3\r\n" . bulk('ssubscribe')
     . bulk('other') . ":1\r\n");
mode('binary', 'message', "\x00\xff\r\n");
mode('an integer', 'message', ":1\r\n");
mode('two elements', 'message', "*2\r\n" . bulk('smessage') . bulk('%CH'));
mode('four elements', 'message', "*4\r\n" . bulk('smessage') . bulk('%CH')
     . bulk('%IDA1') . bulk('x'));
mode('another channel', 'message', "*3\r\n" . bulk('smessage')
     . bulk('other') . bulk('%IDA1'));
mode('an integer for a payload', 'message', "*3\r\n" . bulk('smessage')
     . bulk('%CH') . ":1\r\n");
mode('a list for a kind', 'message', "*3\r\n*0\r\n" . bulk('%CH') . ":1\r\n");
mode('a short payload', 'message', "*3\r\n" . bulk('smessage') . bulk('%CH')
     . bulk('1'));
mode('an id alone', 'message', "*3\r\n" . bulk('smessage') . bulk('%CH')
     . bulk('%ID'));
mode('an unknown kind', 'message', "*3\r\n" . bulk('smessage') . bulk('%CH')
     . bulk('%IDZ'));
mode('an end of an unknown word', 'message', "*3\r\n" . bulk('smessage')
     . bulk('%CH') . bulk('%IDXnowhere'));
mode('not an answer to a two-way call', 'message', "*3\r\n"
     . bulk('smessage') . bulk('%CH') . bulk('%IDS'));
mode('an answer that is not kept', 'message', "*3\r\n" . bulk('smessage')
     . bulk('%CH') . bulk('%IDG'));
mode('unsubscribed', 'message', "*3\r\n" . bulk('sunsubscribe') . bulk('%CH')
     . ":0\r\n");
mode('a huge string', 'message', "\$67108865\r\n");

# the reply to cancel, when the call's time is over

for my $reply ([ 'an integer', ":5\r\n" ],
               [ 'a null', "\$-1\r\n" ],
               [ 'no answer', "*1\r\n" . bulk('answered') ],
               [ 'an empty answer', "*2\r\n" . bulk('answered') . bulk('') ],
               [ 'a list', "*2\r\n" . bulk('answered') . "*0\r\n" ],
               [ 'an unknown kind', "*2\r\n" . bulk('answered')
                                    . bulk('Z1') ],
               [ 'an error', "-ERR no\r\n" ],
               [ 'nothing', '' ])
{
    mode(@{$reply}[0], 'tb_rpc_cancel', $reply->[1], status => '504');
}


my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if $mode !~ /^\d+$/;

    my $m = $modes[$mode];
    my $where = $m->{where};
    my $asked = !@argv ? 'connect'
                : uc $argv[0] eq 'FCALL' ? $argv[1] : uc $argv[0];
    my $bytes = $m->{bytes};

    if ($asked eq 'tb_rpc_create') {
        my ($shard) = $argv[3] =~ /(\{s\d+\})/;

        $bytes =~ s/%ID/$argv[4]/g;
        $bytes =~ s/%CH/tb:$shard:reply:$argv[5]/g;

        # the length of what was put in
        $bytes =~ s/\$\d+\r\n(tb:\{s\d+\}:reply:[0-9a-f]*|[0-9a-f]{8}-[^\r]*)/
                    '$' . length($1) . "\r\n$1"/ge;

        if ($where eq 'message') {
            $conn->{push} = $bytes;
            return undef;
        }
    }

    return undef if $asked ne $where;

    $conn->{close} = 1 if $m->{close};

    return $bytes;
});

my $proxy = TB::Proxy->start(to => redis()->{port});
my $nginx = TB::Nginx->start(
    redis_port => $proxy->{port},
    redis => 'connect_timeout ' . scaled(500) . 'ms;'
             . 'command_timeout ' . scaled(500) . 'ms;',
    http => 'tb_rpc_max_timeout 5s; tb_rpc_default_timeout 100ms;');


sub works {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { $nginx->call('d1', 'echo', '["ok"]', timeout => 400)->{body}
           eq '["ok"]' } $what, 40;
}


works('at first');

# a sound call comes to its end, which nobody brings

sub connected {
    return wait_for {
        $nginx->call('d1', 'x', '1', timeout => 100)->{what} =~ /^504 UNKNOWN/
    } 40;
}


my $worker = $nginx->worker();
my $late = qr/^(?:message|tb_rpc_cancel)$/;
my $crits = 0;

for my $i (0 .. $#modes) {
    my $m = $modes[$i];
    my $create = $m->{where} eq 'tb_rpc_create';
    my $sound = $create || $m->{where} =~ $late;

    $fake->tell('mode', $sound ? 'sound' : $i);
    $proxy->tell('to', $fake->{port});

    # a call has 100 ms; what it has to come to is not about how long it takes
    # to connect
    if ($sound || ($m->{status} || '') eq '504') {
        connected() or diag("$m->{name}: not connected");
    }

    $fake->tell('mode', $i);

    my $wanted = defined $m->{status} ? $m->{status}
                 : $m->{written} ? '50[034]' : '50[34]';

    # longer where it comes to a reply, which is to be heard

    my $two = $nginx->open('d1', 'x', '1', $create ? (timeout => 1000) : ());
    my $persistent = $nginx->open('d1', 'x', '2', persistent => 1,
                                  $sound ? (timeout => 1000) : ());
    my ($answer, $other) = TB::Client::answers(20, $two, $persistent);

    if ($m->{where} =~ $late) {
        like($answer->{what}, qr/^504 /, "$m->{name}: two-way");
        is($other->{status}, 200, "$m->{name}: persistent");

    } else {
        like($answer->{what}, qr/^$wanted\b/, "$m->{name}: two-way");

        # such a call needs no subscription, and of the reply only the id
        like($other->{what}, $m->{where} eq 'SSUBSCRIBE' || $m->{any}
                             || $wanted eq '504'
                             ? qr/^(?:200|50[034])\b/ : qr/^$wanted\b/,
             "$m->{name}: persistent");
    }

    $crits++ if $m->{crit};

    # a sound Redis again, so that the next mode begins at once
    $fake->tell('mode', 'sound');
    $proxy->tell('to', redis()->{port}) if $i % 10 == 9 || $i == $#modes;
    soon { $nginx->call('d1', 'x', '1', timeout => 100)->{what}
           =~ /^(?:504 UNKNOWN|200)/ } "$m->{name}: and back", 40;

    is($nginx->worker(), $worker, "$m->{name}: no crash") or last;
}

# told before hiredis has to allocate anything

like($nginx->error_log(), qr/command connection to \S+ failed: \Q$_\E/,
     "told: $_")
    for 'this is not the Redis protocol', 'too large reply',
        'too many elements in a reply', 'too deeply nested reply',
        'bad length in a reply', 'bad number in a reply',
        'too long line in a reply', 'string reply without an end',
        'reply to no command', 'closed by the server', 'no progress in state';

works('the real Redis is back');
is($nginx->worker(), $worker, 'the worker is the first one');

# byte by byte

$nginx->clean(qr/\[crit\].*"tb:meta" says/);
$nginx->stop();

my $slow = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    $conn->{drip} = 1;

    # what 128 shards have to say would take a busy machine a minute

    return "*2\r\n" . bulk('8') . bulk('2')
        if @argv && uc $argv[0] eq 'HMGET';

    if (@argv > 5 && $argv[1] eq 'tb_rpc_create' && length $argv[5]) {
        my ($shard) = $argv[3] =~ /(\{s\d+\})/;

        $conn->{push} = "*3\r\n" . bulk('smessage')
                        . bulk("tb:$shard:reply:$argv[5]")
                        . bulk("$argv[4]A[\"drip\"]");
    }

    return undef;
});

$nginx = TB::Nginx->start(redis_port => $slow->{port},
                          redis => 'shards 8; connect_timeout 60s;'
                                   . ' command_timeout 60s;');

my $drip = $nginx->open('d1', 'x', '1', timeout => 60000)->answer(60);

is($drip->{body}, '["drip"]', 'byte by byte it works too');
is($nginx->open('d1', 'x', '1', persistent => 1)->answer(60)->{status}, 200,
   'and a persistent call');
$nginx->clean();

done_testing();
