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
           =~ /"status":"EXPIRED"/ } "$what: an expired call is seen to";
}


# how often a command was called within a time, and what that was in the end

sub calls_in {
    my ($seconds, @commands) = @_;

    redis()->call('CONFIG', 'RESETSTAT');

    my $start = time();

    select undef, undef, undef, $seconds;

    my $stats = redis()->call('INFO', 'commandstats');

    return ((map { $stats =~ /^cmdstat_\Q$_\E:calls=(\d+)/m ? $1 : 0 }
                 @commands), time() - $start);
}


# nginx ends, and so does its ticker: its name does not wait for its time

sub ends_by {
    my ($signal) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    redis()->call('CONFIG', 'RESETSTAT');
    ok($nginx->stop($signal, 30), "$signal: nginx has gone");
    soon { ticker() eq '' } "$signal: there is no ticker";
    like(redis()->call('INFO', 'commandstats'), qr/^cmdstat_del:calls=/m,
         "$signal: the name was taken away");
}


my ($name) = another('');

like($name, qr/^[0-9a-f]{32}$/, 'a worker is the ticker');

my $pid = worker_of($name);

ok($pid, 'it is one of ours');
sweeps('the first');

# others look who it is, now and then; it looks at each shard once a second

my ($set, $fcall, $took) = calls_in(4, 'set', 'fcall');

cmp_ok($set, '<=', $took * ($WORKERS + 1) + 2,
       "idle: $set looks at who ticks in $took s");
cmp_ok($fcall, '<=', ($took + 1) * 128 + 64,
       "idle: $fcall looks at 128 shards in $took s");
cmp_ok($fcall, '>', 128, 'idle: but at each');
is(ticker(), $name, 'idle: it is the same');
cmp_ok(redis()->call('PTTL', $TICKER), '<=', 2000,
       'its name is kept for 2 s at most');

# killed: its time runs out

kill_worker($pid);

my ($next, $seconds) = another($name);

ok($next, 'killed: another one takes over');
cmp_ok($seconds, '<', scaled(8), "killed: in time, $seconds s");
isnt(worker_of($next), $pid, 'killed: another worker');
sweeps('killed');

# a reload: the old one takes its name away, so that nobody has to wait

soon { $nginx->workers() == $WORKERS } 'all workers are there again';
$name = ticker();
redis()->call('CONFIG', 'RESETSTAT');
$nginx->reload();
($next) = another($name);
ok($next, 'reload: another one takes over');
like(redis()->call('INFO', 'commandstats'), qr/^cmdstat_del:calls=/m,
     'reload: the name was taken away');

# an old one that is not told to exit yet may have been it in between

soon { my $now = ticker(); $now && worker_of($now) } 'reload: it is one of the new ones';
sweeps('reload');

# the end

$name = ticker();
ends_by('QUIT');
$nginx = TB::Nginx->start(workers => 2);
($name) = another('');
ok($name, 'another nginx: it ticks');
ends_by('TERM');

# two nginx of one Redis have one ticker

$nginx = TB::Nginx->start(workers => 2);
($name) = another('');

$other = TB::Nginx->start(workers => 2);

# behind the other one's settings of all shards

soon {
    ($fcall, $took) = calls_in(1, 'fcall');
    $fcall <= $took * 128 + 64;
} 'two nginx: both are ready';
$name = ticker();
($fcall, $took) = calls_in(3, 'fcall');
cmp_ok($fcall, '<=', ($took + 1) * 128 + 64, "two nginx: $fcall looks in $took s");
is(ticker(), $name, 'two nginx: the ticker stays');
kill_worker(worker_of($name));
ok(another($name), 'two nginx: one of either takes over');
sweeps('two nginx');

# a name that nobody has: given back by time alone

$other->stop();
redis()->call('SET', $TICKER, 'z' x 32, 'PX', 2000);
ok(another('z' x 32), 'a stranger: it is forgotten');
sweeps('a stranger');

# Redis is empty, all of a sudden: nobody is the ticker but one

redis()->call('DEL', $TICKER);
ok(another(''), 'the name was deleted: it is there again');

is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean(qr/\[alert\].*exited on signal 9/);

done_testing();
