package Report;

# The figures of bench/http: of the rounds of each row a list of
#
#     { rate, p50_ms, p99_ms, nginx_us, redis_us }
#
# without what there is not.

use strict;
use warnings;

use Exporter 'import';

use TB::Cpu qw(quantile);

our @EXPORT_OK = qw(ratio table);


sub median { return @_ ? quantile(0.5, @_) : undef }


# of the rounds' ratios of two rows, or nothing

sub ratio {
    my ($key, $above, $below) = @_;

    return median(map { $above->[$_]{$key} / $below->[$_]{$key} }
                  grep { $above->[$_]{$key} && $below->[$_]{$key} }
                  0 .. $#$below);
}


sub text {
    my ($format, $value) = @_;

    return defined $value ? sprintf $format, $value : '-';
}


# Prints what the rounds of the rows have given, and returns it for JSON.

sub table {
    my ($rows, $rounds) = @_;

    my @report;

    printf "%-29s %5s %9s %7s %7s  %15s  %8s\n", '', '', 'requests', 'p50',
           'p99', 'CPU us, to bare', 'CPU us,';
    printf "%-29s %5s %9s %7s %7s  %8s %6s  %8s\n", '', 'conns', 'a second',
           'ms', 'ms', 'nginx', '', 'Redis';

    for my $row (grep { $rounds->{$_->[0]} } @$rows) {
        my @all = @{ $rounds->{$row->[0]} };
        my $base = $row->[0] =~ /big/ ? 'return-big' : 'return';
        my %r = (row => $row->[0], what => $row->[1], connections => $row->[2],
                 requests => $row->[3],
                 ratio => ratio('nginx_us', \@all, $rounds->{$base}));

        for my $key (qw(rate p50_ms p99_ms nginx_us redis_us)) {
            $r{$key} = median(grep { defined } map { $_->{$key} } @all);
        }

        push @report, \%r;
        printf "%-29s %5d %9.0f %7s %7s  %8s %6s  %8.1f\n",
               @r{qw(what connections rate)}, text('%.2f', $r{p50_ms}),
               text('%.2f', $r{p99_ms}), text('%.1f', $r{nginx_us}),
               text('%.2f', $r{ratio}), $r{redis_us};
    }

    return \@report;
}


1;
