# docs/faults.md: each row of what happens to one Redis and all else is a test, and
# each such test has its row.
#
# runs: side by side, 1 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root);
use TB::FaultRow;

my @rows = TB::FaultRow::rows();
my %tests;

for my $file (glob root() . '/t/fault-*.t') {
    open my $fh, '<', $file or die "$file: $!\n";
    my $text = do { local $/; <$fh> };

    # a name may be of several pieces, and have "$variables"
    while ($text =~ /FaultRow->begin\(\s*((?:['"][^'"]*['"]\s*\.?\s*)+)/g) {
        my $name = join '', $1 =~ /['"]([^'"]*)['"]/g;
        my $pattern = join '.+', map { quotemeta } split /\$\w+/, $name, -1;

        push @{ $tests{$file =~ s{.*/t/}{t/}r} }, qr/^$pattern$/;
    }
}

cmp_ok(scalar @rows, '>', 20, 'rows: ' . @rows);

my (%name, %used);

for my $row (@rows) {
    my ($file) = $row->{test} =~ m{^`(t/[\w-]+\.t)`$};
    my @found = grep { $row->{name} =~ $_ } @{ $tests{$file // ''} || [] };

    is(scalar @found, 1, "$row->{name}: one test") or diag($row->{test});
    ok(!$name{$row->{name}}++, 'one row');
    ok(!grep({ $row->{$_} eq '' } qw(callers kept counted log)),
       'nothing is left out');
    $used{"$file $_"} = 1 for @found;
}

for my $file (sort keys %tests) {
    is(join(', ', grep { !$used{"$file $_"} } @{ $tests{$file} }), '',
       "$file: each has a row");
}

done_testing();
