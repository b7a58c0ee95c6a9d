# The function library against a model of its rules (lib/TB/Model.pm): random
# sequences of steps, compared after each one.
#
#   TB_SEED=17 prove -I t/lib t/functions-model.t      one sequence again
#   TB_SECONDS=600                                     how long, instead of
#                                                      3000 sequences
#   TB_STEPS=500                                       steps of a sequence
#   TB_FIRST=100000                                    the first seed
#
# Time is moved, never waited for: see lib/TB/Clock.pm.
#
# runs: side by side, 75 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use TB::Clock;
use TB::Sequence;

my $clock = TB::Clock->start;
my $subscriber = $clock->{server}->client;

# nobody listens to the worker "dead"

$subscriber->ssubscribe($clock->key('reply', $_)) for qw(w1 w2);
$subscriber->ssubscribe($clock->key('bell', $_)) for qw(b1 b2 b3);

my $seconds = $ENV{TB_SECONDS} // 300;
my $most = $ENV{TB_SECONDS} ? 1e9 : 3000;
my $first = $ENV{TB_SEED} // $ENV{TB_FIRST} // 1;
my $end = time + $seconds;
my ($sequences, $steps, %done) = (0, 0);


sub sequence {
    my ($seed) = @_;

    my $s = TB::Sequence->new($clock, $subscriber, $seed);
    my $n = $ENV{TB_STEPS} || 10 + int rand 60;
    my $error = eval { $s->invent($n) } // ($@ ? "died: $@" : undef);

    $sequences++;
    $steps += @{ $s->{steps} };
    $done{ $_->[0] }++ for @{ $s->{steps} };

    return ($error, $s);
}


# leaves out steps as long as there is still a mismatch

sub shrink {
    my ($s) = @_;

    my @steps = @{ $s->{steps} };
    my $error = $s->play(@steps) or return;
    my $until = time + 20;

    for (my $part = int(@steps / 2) || 1; $part; $part = int $part / 2) {
        for (my $i = @steps - $part; $i >= 0; $i -= $part) {
            my @less = @steps;

            splice @less, $i, $part;

            my $less = eval { $s->play(@less) } // $@ || undef;

            ($error, @steps) = ($less, @less) if $less;
            last if time > $until;
        }
    }

    return ($error, @steps);
}


# sequences that random ones find seldom

sub known {
    my ($name, $settings, @steps) = @_;

    my $s = TB::Sequence->new($clock, $subscriber, 1);

    $s->{settings} = { %{ $s->{settings} }, strategy => 'burst',
                       ack_timeout => 1000, max_queue => 10000,
                       max_pending => 1000, max_records => 1000, %$settings };

    my $device = $s->{devices}[0];
    my $error = $s->play(['put', $device, 0],
                         map { [ map { $_ eq 'D' ? $device : $_ } @$_ ] }
                             @steps);

    is($error, undef, $name);
}


sub call {
    my ($no, %o) = @_;

    return ['create', $no, 'D', customer => '*', light => 0, oneway => 0,
            timeout => 300_000, %o];
}


known('the session lapses before the call ends, in one step', {},
      call(0, light => 1, hold => 3000), ['attach', 'D', 'b1', 's1', 5000],
      ['time', 2001]);

known('acknowledged in the queue, and another waits for room',
      { max_queue => 1 }, ['put', 'D', 0, bridge => 'b1'], call(0),
      ['config', strategy => 'sequential_on_response'], call(1),
      ['delivered', 0, 0], ['time', 1000], ['tick', 1000]);

known('a poll leaves, and what may go by now goes to the bridge',
      { strategy => 'sequential_on_response' },
      ['attach', 'D', 'b1', 's1', 60_000], call(0), call(1),
      ['poll', 'D', 'w1', 1, 60_000, 0], ['config', strategy => 'burst'],
      ['unpoll', 'D', 'w1', 1], ['take', 'b1', 'c', 1, 1],
      ['take', 'b1', 'c', 2, 1]);

known('a poll lapses while the device is attached', {},
      ['attach', 'D', 'b1', 's1', 60_000], ['poll', 'D', 'w1', 1, 1000, 0],
      ['time', 1001], ['detach', 'D', 's1'], call(0), ['time', 1000],
      ['poll', 'D', 'w2', 2, 1000, 0], ['delivered', 0, 0]);

known('handed out and lost, by a worker that has died', {},
      ['poll', 'D', 'w1', 1, 60_000, 0], call(0), call(1),
      ['poll', 'D', 'dead', 2, 60_000, 0], ['time', 1000], call(2),
      ['poll', 'D', 'w2', 3, 60_000, 0], ['poll', 'D', 'w2', 3, 60_000, 1],
      ['return', 0, 0, ''], ['time', 1000], ['tick', 1000]);

known('handed out again after the strategy has changed: no turn for it', {},
      ['put', 'D', 0], call(0), call(1), call(2),
      ['poll', 'D', 'w1', 1, 60_000, 0],
      ['config', strategy => 'sequential_on_response'],
      ['poll', 'D', 'w1', 2, 60_000, 0], ['delivered', 1, 0], ['time', 1000],
      ['poll', 'D', 'w1', 3, 60_000, 0], ['respond', 0, 8],
      ['poll', 'D', 'w1', 4, 60_000, 0], ['respond', 1, 8]);


for (my $seed = $first;; $seed++) {
    my ($error, $s) = sequence($seed);

    if ($error) {
        my ($least, @steps) = shrink($s);

        fail("seed $seed");
        diag("step " . @{ $s->{steps} } . " of TB_SEED=$seed"
             . ($ENV{TB_STEPS} ? " TB_STEPS=$ENV{TB_STEPS}" : '')
             . ":\n$error\n");
        diag("the settings: ", join ' ', map { "$_=$s->{settings}{$_}" }
             sort keys %{ $s->{settings} });
        diag(defined $least ? ("the same in " . @steps . " steps:\n",
                               $s->shown(@steps), "$least\n")
                            : "not seen when the steps are played again:\n"
                              . $s->shown(@{ $s->{steps} }));
        last;
    }

    last if defined $ENV{TB_SEED} || $sequences >= $most || time > $end;
}

ok($sequences > 0 && $steps > 0, "$sequences sequences, $steps steps, seeds "
   . "$first.." . ($first + $sequences - 1));
note(join ', ', map { "$_ $done{$_}" } sort keys %done);

done_testing();
