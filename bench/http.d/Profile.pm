package Profile;

# Where the CPU of a process goes, by "perf record".
#
#     Profile::show($pid, sub { ... });       prints what it used meanwhile, by
#                                             library and by symbol
#
# Where interrupts can't be counted (most virtual machines) samples that fall
# into the kernel while it forbids them appear where it allows them again:
# finish_task_switch, _raw_spin_unlock_irqrestore.

use strict;
use warnings;

use TB::Env qw(scratch wait_for);


sub show {
    my ($pid, $work) = @_;

    my $data = scratch() . '/perf.data';
    my $perf = fork() // die "fork: $!\n";

    if ($perf == 0) {
        exec 'perf', 'record', '-q', '-F', 4999, '-o', $data, '-p', $pid
            or die "there is no perf: $!\n";
    }

    wait_for { -s $data } 10 or die "perf record does not work\n";
    $work->();
    kill 'INT', $perf;
    waitpid $perf, 0;

    # what has no symbol is one line of its library

    my (%library, %symbol);

    for (`perf report -i $data --stdio --sort dso,symbol`) {
        my ($part, $library, $symbol) = /^ *([\d.]+)% +(\S+) +\[.\] (\S+)/
            or next;

        $symbol = '(no symbol)' if $symbol =~ /^0x/;
        $library{$library} += $part;
        $symbol{sprintf '%-26s %s', $library, $symbol} += $part;
    }

    for my $sum (\%library, \%symbol) {
        my @names = sort { $sum->{$b} <=> $sum->{$a} } keys %$sum;

        printf "%6.2f %%  %s\n", $sum->{$_}, $_ for splice @names, 0, 25;
        print "\n";
    }
}


1;
