# Several workers on one Redis: each gets the answers of its own callers.
#
# runs: side by side, 1 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled wait_for);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;

redis();
device("d$_", bridge => 'b1') for 1 .. 20;
TB::FastBridge->start(connect => { redis()->access('bridge') });

# else one of them may accept all that comes within its turn
my $nginx = TB::Nginx->start(workers => 3, listen => 'reuseport',
                             http => <<'_EOC_');
    add_header  X-Worker  $pid  always;
_EOC_
my @workers = $nginx->workers();

is(scalar @workers, 3, 'three workers');

my @requests = map { $nginx->text('d' . ($_ % 20 + 1), 'echo', "{\"n\":$_}") }
                   1 .. 500;
my @answers = TB::Load::run(port => $nginx->{port}, requests => \@requests,
                            parallel => 60, timeout => scaled(120));
my (%by, @wrong);

for my $i (0 .. $#answers) {
    my $answer = $answers[$i];

    if (($answer->{status} || 0) != 200
        || $answer->{body} ne '{"n":' . ($i + 1) . '}')
    {
        push @wrong, $i + 1 . ': ' . ($answer->{status} || $answer->{error})
                     . " $answer->{body}";
    }

    $by{$answer->{headers}{'x-worker'} || 'none'}++;
}

is(join("\n", @wrong), '', '500 calls, each with its own answer');
cmp_ok(scalar keys %by, '>=', 2, 'spread over the workers')
    or diag(explain(\%by));
is(join(' ', $nginx->workers()), "@workers", 'the same workers as before');

# one that nobody has called may still be about it

my (@channels, %names, @clients);

wait_for {
    @channels = grep { !/^tb:\{s\d{3}\}:bell:/ }
                     @{ redis()->call('PUBSUB', 'SHARDCHANNELS') };
    %names = map { /^tb:\{s\d{3}\}:reply:([0-9a-f]+)$/ ? ($1, 1) : ($_, 1) }
                 @channels;
    @clients = grep { /\bname=tb-rpc-/ }
               split /\n/, redis()->call('CLIENT', 'LIST');

    @channels >= 128 * @workers
        && @clients >= 2 * @workers * redis()->masters();
};

is(scalar keys %names, scalar @workers,
   'each worker listens, by its own name');
is(scalar @channels, 128 * @workers, 'on every shard');

is(scalar @clients, 2 * @workers * redis()->masters(),
   'two connections per worker and master');

is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean();

done_testing();
