package TB::Cpu;

# The CPU time that processes have used, in microseconds: what other load on
# the machine changes less than the time that goes by.
#
#     my $before = cpu_us(@pids);
#     ...
#     my $us = cpu_us(@pids) - $before;
#
# The scheduler counts in ns where the kernel has schedstat, else in ticks.

use strict;
use warnings;

use Exporter 'import';
use List::Util qw(sum0);
use POSIX ();

our @EXPORT_OK = qw(cpu_us quantile);

my $ticks = POSIX::sysconf(POSIX::_SC_CLK_TCK());


sub words {
    my ($path) = @_;

    open my $fh, '<', $path or die "$path: $!\n";

    return split ' ', (split /\) /, <$fh>)[-1];
}


# of all threads

sub cpu_us {
    return sum0(map {
        my $pid = $_;

        -e "/proc/$pid/schedstat"
            ? sum0(map { (words($_))[0] / 1000 }
                   glob "/proc/$pid/task/*/schedstat")
            : sum0((words("/proc/$pid/stat"))[11, 12]) * 1e6 / $ticks;
    } @_);
}


# the smallest value that is not below this part of them

sub quantile {
    my ($part, @values) = @_;

    my @sorted = sort { $a <=> $b } @values;
    my $i = POSIX::ceil($part * @sorted) - 1;

    return $sorted[$i < 0 ? 0 : $i];
}


1;
