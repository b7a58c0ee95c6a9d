# 10,000 two-way calls, 200 at a time, through one worker: every caller gets
# the answer to its own call.
#
# runs: side by side, 6 s

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;

my $slow = ($ENV{TB_MODE} || '') eq 'valgrind';
my $calls = $slow ? 1000 : 10000;
my $parallel = 200;

redis();
device("d$_", bridge => 'b1') for 1 .. 50;
TB::FastBridge->start(connect => { redis()->access('bridge') });

my $nginx = TB::Nginx->start(http => 'tb_rpc_default_timeout 60s;',
                             redis => 'command_timeout 20s;');
my $worker = $nginx->worker();

my @requests = map { $nginx->text('d' . ($_ % 50 + 1), 'echo',
                                  "{\"n\":$_,\"x\":\"" . 'y' x ($_ % 300)
                                  . '"}') } 1 .. $calls;
my $start = time();
my @answers = TB::Load::run(port => $nginx->{port}, requests => \@requests,
                            parallel => $parallel, timeout => scaled(300));
my $seconds = time() - $start;
my (@wrong, %kinds);

for my $i (1 .. $calls) {
    my $answer = $answers[$i - 1];

    $kinds{$answer->{status} || $answer->{error}}++;
    push @wrong, "$i: $answer->{body}"
        if $answer->{status} && $answer->{body}
           ne "{\"n\":$i,\"x\":\"" . 'y' x ($i % 300) . '"}';
}

is_deeply(\%kinds, { 200 => $calls }, "$calls calls, $parallel in parallel");
is(join("\n", @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]), '',
   'each has its own answer');
diag(sprintf '%d calls in %.1f s: %.0f/s, the load generator and the bridge '
             . 'in Perl included', $calls, $seconds, $calls / $seconds);

is($nginx->worker(), $worker, 'the same worker');
soon { !@{ redis()->call('KEYS', '*:answer:*') } } 'no answer is left';
is(scalar @{ redis()->call('KEYS', '*:inflight:*') }, 0,
   'no open call is left');
is(scalar(grep { !/^#/ } map { @{ redis()->call('ZRANGE', $_, 0, -1) } }
          @{ redis()->call('KEYS', '*:due') }), 0, 'no call is due');
is($nginx->count_log(qr/ \[(?:warn|error)\] /), 0, 'nothing to warn of')
    or diag(join "\n", grep { / \[(?:warn|error)\] / }
                       split /\n/, $nginx->error_log());
is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean();

done_testing();
