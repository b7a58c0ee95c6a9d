# What nodes of a cluster say of it, whatever that is: views that are garbage,
# old, without addresses or with names; MOVED of every kind.
#
# runs: side by side, 65 s
# not with --redis-tls, --redis-cluster: its Redis is a fake one

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Cluster;
use TB::Dns;
use TB::Env qw(scaled wait_for);
use TB::FakeRedis;
use TB::Fixture;
use TB::Nginx;

my $device = 'de000000-0000-11ee-8000-000000000301';
my $slot = TB::Cluster::slot(TB::Bridge::key('device', $device));

set_macro(v1 => $device);

sub bulk { return TB::FakeRedis::bulk(@_) }


# CLUSTER SLOTS: [first, last, host, port, metadata] ...

sub slots {
    return '*' . @_ . "\r\n" . join '', map {
        my ($first, $last, $host, $port, @more) = @$_;

        "*3\r\n:$first\r\n:$last\r\n*4\r\n"
        . (defined $host ? bulk($host) : "\$-1\r\n") . ":$port\r\n"
        . bulk('0' x 40) . '*' . @more . "\r\n"
        . join '', map { bulk($_) } @more;
    } @_;
}


# 16,384 masters, of which only the first one is there

sub many {
    my ($port) = @_;

    return slots([0, 0, '127.0.0.1', $port],
                 map { [$_, $_, sprintf('127.9.%d.%d', $_ >> 8, $_ & 255), 1] }
                 1 .. 16383);
}


# Two nodes.  The mode of each: "<epoch> <slots>[ <function> <reply>]", where
# the slots are the bytes of a reply, and as all of it in hex.

sub node {
    return TB::FakeRedis->start(on => sub {
        my ($mode, $conn, @argv) = @_;
        my ($epoch, $slots, $what, $reply) = split / /, $mode;

        return undef if !@argv;

        if (uc $argv[0] eq 'CLUSTER') {
            return $slots =~ /^many(\d+)/ ? many($1) : pack 'H*', $slots
                if uc $argv[1] eq 'SLOTS';
            return $epoch eq '-' ? "-NOPERM no\r\n"
                   : bulk("cluster_state:ok\r\ncluster_current_epoch:$epoch"
                          . "\r\ncluster_size:2\r\n");
        }

        return pack 'H*', $reply
            if $what && (lc $argv[0] eq $what || lc($argv[1] // '') eq $what);
        return undef;
    });
}


my @node = map { node() } 1 .. 2;
my @port = map { $_->{port} } @node;


sub say_of {
    my ($n, $epoch, $slots, @reply) = @_;

    $node[$n]->tell('mode', join ' ', $epoch, unpack('H*', $slots),
                    @reply ? ($reply[0], unpack 'H*', $reply[1]) : ());
}


sub nginx {
    my (%opt) = @_;

    return TB::Nginx->start(
        redis_server => "redis://127.0.0.1:$port[0]", %opt,
        redis => 'cluster on; command_timeout 1s;' . ($opt{redis} // ''));
}


sub create { return $_[0]->call('v1', 'x', '1', persistent => 1) }


sub works {
    my ($nginx, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { (create($nginx)->{status} // 0) == 200 } $what, 60
        or diag substr $nginx->error_log(), -2000;
}


my $all = slots([0, 16383, '127.0.0.1', $port[0]]);
my $both = slots([0, 8191, '127.0.0.1', $port[0]],
                 [8192, 16383, '127.0.0.1', $port[1]]);


# --- views that can't be used -----------------------------------------------

my %bad = (
    'a number'             => ":7\r\n",
    'a text'               => bulk('0 16383'),
    'a range of two'       => "*1\r\n*2\r\n:0\r\n:5\r\n",
    'no list of a master'  => "*1\r\n*3\r\n:0\r\n:5\r\n:7\r\n",
    'a master of nothing'  => "*1\r\n*3\r\n:0\r\n:5\r\n*0\r\n",
    'a slot too many'      => slots([0, 16384, '127.0.0.1', $port[0]]),
    'a negative slot'      => slots([-1, 5, '127.0.0.1', $port[0]]),
    'a range upside down'  => slots([9, 5, '127.0.0.1', $port[0]]),
    'no port'              => slots([0, 16383, '127.0.0.1', 0]),
    'a port too high'      => slots([0, 16383, '127.0.0.1', 65536]),
    'a host of two lines'  => slots([0, 16383, "127.0.0.1\n", $port[0]]),
    'a host too long'      => slots([0, 16383, 'h' x 256, $port[0]]),
    'nobody'               => slots([0, 16383, '?', $port[0]]),
    'one twice'            => slots([0, 16383, '127.0.0.1', $port[0]],
                                    [7, 7, '127.0.0.1', $port[0]]),
    'one that is not'      => slots([0, 99, '127.0.0.1', $port[0]],
                                    [100, 50, '127.0.0.1', $port[0]]),
);

my $nginx = nginx();

for my $what (sort keys %bad) {
    my $before = $nginx->count_log(qr/its CLUSTER SLOTS can't be used/);

    say_of(0, 1, $bad{$what});
    soon { $node[0]->tell('seen', 'SLOTS') >= 2 } "$what: it is asked again";
    is(create($nginx)->{status}, 503, "$what: 503");
}

is($nginx->count_log(qr/its CLUSTER SLOTS can't be used/), 1,
   'the log says so, once');
say_of(0, 1, "*0\r\n");
ok($nginx->wait_log(qr/its cluster has no slots yet/), 'no slots');
say_of(0, 1, "-NOPERM no permission\r\n");
ok($nginx->wait_log(qr/CLUSTER SLOTS refused: "NOPERM/), 'no right to ask');
say_of(0, 1, slots([0, 16383, 'redis-a.internal', $port[0]]));
ok($nginx->wait_log(qr/failed: it names a host, which needs "resolve"/), 'a name');
is(create($nginx)->{status}, 503, 'a name: 503');
say_of(0, 1, $all);
works($nginx, 'and after all of that it works');

# one that is in use stays so

say_of(0, 1, slots([0, 16383, 'redis-a.internal', $port[0]]));
ok($nginx->wait_log(qr/\[error\].*of its cluster is left alone: it names a h/),
   'in use: the log says so');
soon { $node[0]->tell('seen', 'SLOTS') >= 3 } 'in use: it is asked again';
is(create($nginx)->{status}, 200, 'in use: it goes on');
is($nginx->count_log(qr/is left alone/), 1, 'in use: said once');

# some slots have nobody: those of others are served

my @without = $slot < 8192 ? ([0, 8191], [8192, 16383]) : ([8192, 16383],
                                                          [0, 8191]);

say_of(0, 2, slots([@{ $without[1] }, '127.0.0.1', $port[0]]));
ok($nginx->wait_log(qr/\[error\].*: 8192 slots of the cluster have no master/),
   'slots without a master: the log says so');
is(create($nginx)->{status}, 503, 'slots without a master: 503');
say_of(0, 3, slots([@{ $without[0] }, '127.0.0.1', $port[0]]));
works($nginx, 'slots without a master: others have');
say_of(0, 4, $all);
ok($nginx->wait_log(qr/all slots of the cluster have a master/),
   'slots without a master: and the end of it');

# 16,384 masters

$node[0]->tell('mode', "5 many$port[0]");
soon { $node[0]->tell('seen', 'SLOTS') >= 3 } 'too many masters: asked again';
say_of(0, 6, $all);
works($nginx, 'too many masters: and back');
is(scalar($nginx->workers()), 1, 'the worker is there');
ok($nginx->stop('QUIT', 60), 'it ends');


# --- addresses --------------------------------------------------------------

for my $host (['no host', undef], ['an empty host', ''],
              ['a name that it does not have', '?', 'x', 'y', 'ip',
               '127.0.0.1'],
              ['another form of it', '127.0.0.1'])
{
    my ($name, @more) = @$host[1 .. $#$host];

    say_of(0, 1, slots([0, 16383, $name, $port[0], @more]));
    $nginx = nginx();
    works($nginx, "$host->[0]: that of who says so");
    is($nginx->count_log(qr/no slot of the cluster any more/), 0,
       "$host->[0]: it is the node itself");
    $nginx->stop();
}

my $dns = TB::Dns->start('127.0.0.1');

say_of(0, 1, slots([0, 16383, 'Redis-A.internal', $port[0]]));
$nginx = nginx(redis_server => "redis://127.0.0.1:$port[0] resolve",
               http => "resolver 127.0.0.1:$dns->{port} ipv6=off;");
works($nginx, 'a name, with a resolver');
$nginx->stop();


# --- who is right -----------------------------------------------------------

# each is asked in turn, and the one that was cut off has an older epoch

say_of(1, 4, slots([0, 16383, '127.0.0.1', $port[1]]));
say_of(0, 5, $both);
$nginx = nginx();
works($nginx, 'two nodes');
soon { $node[1]->tell('seen', 'SLOTS') >= 3 } 'an old view: it is told';
is($nginx->count_log(qr/no slot of the cluster any more/), 0,
   'an old view: and not believed');

# a greater one is

say_of(1, 6, slots([0, 16383, '127.0.0.1', $port[1]]));
ok($nginx->wait_log(qr/127\.0\.0\.1 port $port[0] has no slot of the cluster any/),
   'a new view: it is believed');
works($nginx, 'a new view: calls go there');
is($node[0]->tell('seen', 'tb_rpc_create') + 0, 0, 'a new view: and only there')
    if $slot < 8192;
$nginx->stop();

# without the right to ask for the epoch each is believed

say_of(0, '-', $both);
say_of(1, '-', $both);
$nginx = nginx();
works($nginx, 'no epoch');


# --- MOVED ------------------------------------------------------------------

my ($owner, $other) = $slot < 8192 ? (0, 1) : (1, 0);

say_of($owner, '-', $both, 'tb_rpc_create',
       "-MOVED $slot 127.0.0.1:$port[$other]\r\n");
say_of($other, '-', $both);

is(create($nginx)->{status}, 200, 'MOVED: followed');
is($node[$owner]->tell('seen', 'tb_rpc_create'), 1, 'MOVED: at once');
cmp_ok($node[$other]->tell('seen', 'tb_rpc_create'), '>', 0, 'MOVED: there');

# without a host it is that of who says so

say_of($owner, '-', $both, 'tb_rpc_create',
       "-MOVED $slot :$port[$other]\r\n");
works($nginx, 'MOVED: without a host');

for my $text ("MOVED", "MOVED ", "MOVED x", "MOVED 5", "MOVED x 127.0.0.1:1",
              "MOVED $slot 127.0.0.1", "MOVED $slot 127.0.0.1:",
              "MOVED $slot 127.0.0.1:x", "MOVED $slot 127.0.0.1:99999999999",
              "MOVED 16384 127.0.0.1:$port[$other]",
              "MOVED -1 127.0.0.1:$port[$other]", "MOVED $slot :",
              "MOVED $slot 127.0.0.1:$port[$owner]",
              "MOVED $slot 127.0.0.1:1", "ASK $slot 127.0.0.1:$port[$other]",
              "TRYAGAIN", "CLUSTERDOWN The cluster is down")
{
    say_of($_, '-', $both) for 0, 1;

    # what the last one has moved is back

    soon { $node[0]->tell('seen', 'SLOTS') && $node[1]->tell('seen', 'SLOTS') }
         "$text: both are asked";
    say_of($other, '-', $both);
    say_of($owner, '-', $both, 'tb_rpc_create', "-$text\r\n");

    my $start = time();

    # 504 if it is just on its way there once more when its time is over

    like(create($nginx)->{status}, qr/^50[34]$/, "$text: 503")
        or diag substr $nginx->error_log(), -2000;
    cmp_ok(time() - $start, '>=', 0.9, "$text: in the end");
    cmp_ok($node[$owner]->tell('seen', 'tb_rpc_create'), '>', 2,
           "$text: it is sent again");
    is($node[$other]->tell('seen', 'tb_rpc_create') + 0, 0,
       "$text: and not elsewhere");
}

is($nginx->count_log(qr/can't take a command just now: "TRYA/), 1,
   'the log says so, once');
say_of($_, '-', $both) for 0, 1;
works($nginx, 'and after all of that it works');

# one that sends us in circles

say_of($owner, '-', $both, 'tb_rpc_create',
       "-MOVED $slot 127.0.0.1:$port[$other]\r\n");
say_of($other, '-', $both, 'tb_rpc_create',
       "-MOVED $slot 127.0.0.1:$port[$owner]\r\n");
like(create($nginx)->{status}, qr/^50[34]$/, 'in circles: 503');
cmp_ok($node[0]->tell('seen', 'tb_rpc_create')
       + $node[1]->tell('seen', 'tb_rpc_create'), '<', 150,
       'in circles: without haste');

# SSUBSCRIBE refused for one channel leaves the others, and is asked again

my $name = sprintf 'tb:{s%03o}:reply:', TB::Bridge::shard($device, 128);

say_of($owner, '-', $both, 'ssubscribe',
       "-MOVED $slot 127.0.0.1:$port[$other]\r\n");
say_of($other, '-', $both);
$nginx->stop();
$nginx = nginx();
soon { $node[$owner]->tell('seen', 'SSUBSCRIBE') > 128 }
     'SSUBSCRIBE refused: asked again';
is($nginx->count_log(qr/subscription connection to \S+ failed/), 0,
   'SSUBSCRIBE refused: the connection stays');
say_of($_, '-', $both) for 0, 1;
works($nginx, 'SSUBSCRIBE refused: commands go on');
is($nginx->count_log(qr/\[(?:alert|emerg|crit)\]/), 0, 'no alert');
ok($nginx->stop('QUIT', 60), 'it ends');

done_testing();
