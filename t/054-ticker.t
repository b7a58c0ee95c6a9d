# One of all workers that share a Redis looks at what is due: its name is in
# Redis, and another one takes over when it has gone.
#
# runs: side by side, 15 s
# not with --redis-cluster: it asks the one ticker that one server has

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Nginx;

my $TICKER = 'tb:{s000}:ticker';
my $WORKERS = 4;

redis();
device('d1', bridge => 'b1');

my $nginx = TB::Nginx->start(workers => $WORKERS);
my $other;


sub ticker { return redis()->call('GET', $TICKER) || '' }


# The worker of that name: a connection is named by the first half of it, and
# belongs to whom its socket belongs to.

sub worker_of {
    my ($name) = @_;

    my ($port) = map { / addr=127\.0\.0\.1:(\d+) / ? $1 : () }
                 grep { / name=tb-rpc-\Q${\ substr $name, 0, 8 }\E / }
                 split /\n/, redis()->call('CLIENT', 'LIST')
        or return 0;

    for my $pid (map { $_->workers() } grep { $_ } $nginx, $other) {
        open my $fh, '<', "/proc/$pid/net/tcp" or next;

        # from there to Redis: others that had the port before are still known

        my $at = sprintf '0100007F:%04X 0100007F:%04X', $port,
                         redis()->{tls} || redis()->{port};
        my ($inode) = map { (split)[9] } grep { / \Q$at\E / } <$fh>
            or next;

        return $pid if grep { (readlink || '') eq "socket:[$inode]" }
                       glob "/proc/$pid/fd/*";
    }

    return 0;
}


# never 0, which is everybody here

sub kill_worker {
    my ($pid) = @_;

    die "no worker of ours is the ticker\n" if !$pid;
    kill 'KILL', $pid;
}


# seconds until it is somebody else, or nothing

sub another {
    my ($old, $seconds) = @_;

    my $start = time();
    my $new = '';

    wait_for { $new = ticker(); $new ne '' && $new ne $old } $seconds
        or return;

    return ($new, time() - $start);
}


# a call that nobody takes ends on time, whoever ticks

sub sweeps {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $answer = $nginx->call('d1', 'x', '1', persistent => 1, timeout => 300);
    my ($id) = $answer->{body} =~ /([0-9a-f]{8}-[0-9a-f-]{27})/;

    soon { $nginx->get("/api/rpc/persistent/$id")->{body}
           =~ /"status":"EXPIRED"/ } "$what: an expired call is seen to", 5;
}


# how often a command was called within a time

sub calls_in {
    my ($seconds, @commands) = @_;

    redis()->call('CONFIG', 'RESETSTAT');
    select undef, undef, undef, $seconds;

    my $stats = redis()->call('INFO', 'commandstats');

    return map { $stats =~ /^cmdstat_\Q$_\E:calls=(\d+)/m ? $1 : 0 } @commands;
}


my ($name) = another('', 10);

like($name, qr/^[0-9a-f]{32}$/, 'a worker is the ticker');

my $pid = worker_of($name);

ok($pid, 'it is one of ours');
sweeps('the first');

# others look who it is, now and then; it looks at each shard once a second

my ($set, $fcall) = calls_in(4, 'set', 'fcall');

cmp_ok($set, '<=', 4 * ($WORKERS + 1), "idle: $set looks at who ticks in 4 s");
cmp_ok($fcall, '<=', 5 * 128 + 64, "idle: $fcall looks at 128 shards in 4 s");
cmp_ok($fcall, '>', 128, 'idle: but at each');
is(ticker(), $name, 'idle: it is the same');
cmp_ok(redis()->call('PTTL', $TICKER), '<=', 2000,
       'its name is kept for 2 s at most');

# killed: its time runs out

kill_worker($pid);

my ($next, $seconds) = another($name, 6);

ok($next, 'killed: another one takes over');
cmp_ok($seconds, '<', scaled(4.2), "killed: in time, $seconds s");
isnt(worker_of($next), $pid, 'killed: another worker');
sweeps('killed');

# a reload: the old one takes its name away, so that nobody has to wait

soon { $nginx->workers() == $WORKERS } 'all workers are there again';
$name = ticker();
redis()->call('CONFIG', 'RESETSTAT');
$nginx->reload();
($next, $seconds) = another($name, 6);
ok($next, 'reload: another one takes over');
like(redis()->call('INFO', 'commandstats'), qr/^cmdstat_del:calls=/m,
     'reload: the name was taken away');

# an old one that is not told to exit yet may have been it in between

soon { my $now = ticker(); $now && worker_of($now) } 'reload: it is one of the new ones';
sweeps('reload');

# the end

$name = ticker();
ok($nginx->stop('QUIT', 10), 'QUIT: nginx has gone');
soon { ticker() eq '' } 'QUIT: there is no ticker at once', 0.5;
$nginx = TB::Nginx->start(workers => 2);
($name) = another('', 10);
ok($name, 'another nginx: it ticks');
ok($nginx->stop('TERM', 10), 'TERM: nginx has gone');
soon { ticker() eq '' } 'TERM: there is no ticker at once', 0.5;

# two nginx of one Redis have one ticker

$nginx = TB::Nginx->start(workers => 2);
($name) = another('', 10);

$other = TB::Nginx->start(workers => 2);

# behind the other one's settings of all shards

soon { (calls_in(1, 'fcall'))[0] <= 128 + 64 } 'two nginx: both are ready';
$name = ticker();
($fcall) = calls_in(3, 'fcall');
cmp_ok($fcall, '<=', 4 * 128 + 64, "two nginx: $fcall looks in 3 s");
is(ticker(), $name, 'two nginx: the ticker stays');
kill_worker(worker_of($name));
ok(another($name, 6), 'two nginx: one of either takes over');
sweeps('two nginx');

# a name that nobody has: given back by time alone

$other->stop();
redis()->call('SET', $TICKER, 'z' x 32, 'PX', 2000);
ok(another('z' x 32, 6), 'a stranger: it is forgotten');
sweeps('a stranger');

# Redis is empty, all of a sudden: nobody is the ticker but one

redis()->call('DEL', $TICKER);
ok(another('', 3), 'the name was deleted: it is there again');

is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean(qr/\[alert\].*exited on signal 9/);

done_testing();
