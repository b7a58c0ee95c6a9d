# Load while Redis restarts: every caller gets an answer or is told clearly
# that there is none; nothing crashes, nothing leaks.
#
# runs: side by side, 20 s
# not with --redis-cluster: it kills the one server

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Child;
use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;

my $mode = $ENV{TB_MODE} || '';
my $calls = $mode eq 'valgrind' ? 500 : 2000;
my $parallel = 200;

redis();
redis()->{library} = 0;
device("d$_", bridge => 'b1') for 1 .. 50;
TB::FastBridge->start(connect => { redis()->access('bridge') });

my $nginx = TB::Nginx->start(http => 'tb_rpc_default_timeout 4s;');
my $worker = $nginx->worker();


sub text {
    my ($i, %more) = @_;

    return $nginx->text('d' . ($i % 50 + 1), 'echo', "{\"n\":$i}", %more);
}


# The requests, sent while $meanwhile is done by this process.  Without that
# nothing is lost, and nobody's time has to be over.

sub run {
    my ($n, $meanwhile) = @_;

    my @requests = map { text($_, $meanwhile ? () : (timeout => 60000)) }
                   1 .. $n;

    return TB::Load::run(port => $nginx->{port}, requests => \@requests,
                         parallel => $parallel, timeout => scaled(240))
        if !$meanwhile;

    pipe my $from, my $to or die "pipe: $!\n";

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        close $from;

        for (TB::Load::run(port => $nginx->{port}, requests => \@requests,
                           parallel => $parallel, timeout => scaled(240)))
        {
            print $to join("\t", $_->{status} || 0,
                           ($_->{headers} || {})->{'x-rpc-result'} || '',
                           $_->{body} || $_->{error} || ''), "\n";
        }

        close $to;
        POSIX::_exit(0);
    }

    close $to;
    $meanwhile->();

    my @answers = map { chomp;
                        my ($status, $result, $body) = split /\t/, $_, 3;
                        { status => $status, body => $body,
                          headers => { 'x-rpc-result' => $result } } } <$from>;

    waitpid $pid, 0;

    return @answers;
}


sub kinds {
    my (@answers) = @_;

    my %kinds;

    for my $i (0 .. $#answers) {
        my $answer = $answers[$i];
        my $kind = $answer->{status} || 'none';

        $kind .= " $answer->{headers}{'x-rpc-result'}"
            if $answer->{headers}{'x-rpc-result'};
        $kind .= ' WRONG' if $kind eq '200'
                             && $answer->{body} ne '{"n":' . ($i + 1) . '}';
        $kind .= " $answer->{error}" if $answer->{error};
        $kinds{$kind}++;
    }

    return \%kinds;
}


# The restart, with 10,000 calls under way; it happens when some of them have
# been answered.

my $all = 5 * $calls;
my @answers = run($all, sub {
    soon { redis()->call('INFO', 'commandstats')
           =~ /cmdstat_fcall:calls=(\d+)/ && $1 > 3 * $all * 0.3 }
         'the load has begun', 120;
    redis()->stop();
    redis()->go();
});

my $kinds = kinds(@answers);

is(scalar @answers, $all, "Redis restarts: $all calls have ended");
is(join(', ', grep { !/^(?:200|50[34] [A-Z_]+)$/ } sort keys %$kinds), '',
   'Redis restarts: with an answer, or a clear 503 or 504');
cmp_ok($kinds->{200}, '>', $all / 4, 'Redis restarts: many with an answer');
diag(join ', ', map { "$_: $kinds->{$_}" } sort keys %$kinds);
is($nginx->worker(), $worker, 'Redis restarts: the same worker');

soon { ${ kinds(run(1)) }{200} } 'Redis restarts: calls work again';

# Redis killed without a word, and back without its data

@answers = run($calls, sub {
    soon { redis()->call('INFO', 'commandstats')
           =~ /cmdstat_fcall:calls=(\d+)/ && $1 > $calls * 0.3 }
         'the load has begun', 120;
    kill 'KILL', redis()->{pid};
    redis()->stop();
    redis()->wipe();
    redis()->go();
    soon { redis()->call('EXISTS', 'tb:{s127}:config') } 'nginx is back';
    device("d$_", bridge => 'b1') for 1 .. 50;
});
$kinds = kinds(@answers);
is(scalar @answers, $calls, "Redis killed: $calls calls have ended");

# 401: the device is not known until we have provisioned it again
is(join(', ', grep { !/^(?:200|401|50[34] [A-Z_]+)$/ } sort keys %$kinds), '',
   'Redis killed: each with a clear end');
diag(join ', ', map { "$_: $kinds->{$_}" } sort keys %$kinds);
is($nginx->worker(), $worker, 'Redis killed: the same worker');

# ten rounds: what a round needs is given back

my @rss;

for my $round (1 .. 10) {
    $kinds = kinds(run($calls));
    is_deeply($kinds, { 200 => $calls }, "round $round: all are answered");

    # and some that end in other ways
    my @left = map { $nginx->open('d1', 'x', '1') } 1 .. 50;

    $_->leave() for @left;
    $nginx->call('d1', 'x', '1', persistent => 1) for 1 .. 20;
    soon { !redis()->call('EXISTS', map { my $k = redis()->device_key($_);
                                          $k =~ s/:device:/:inflight:/;
                                          $k } macro('d1')) }
         "round $round: nothing is open";
    push @rss, $nginx->rss($worker);
}

is($nginx->worker(), $worker, 'ten rounds: the same worker');
diag("RSS of the worker, KB: @rss");

# AddressSanitizer keeps what was freed in its quarantine, valgrind likewise
SKIP: {
    skip "memory means nothing under $mode", 1 if $mode;

    # 5 %, and never less than what the allocator takes at a time
    my $limit = $rss[2] * 0.05 > 512 ? $rss[2] * 0.05 : 512;

    cmp_ok($rss[9] - $rss[2], '<=', $limit,
           'memory after ten rounds is that after three, within 5 %');
}

$nginx->clean();

done_testing();
