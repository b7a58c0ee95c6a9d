# The list of script/mutate fits the code: whatever a bug of it is put into is
# still there, once, and the tests that must notice it exist.
#
# runs: side by side, 1 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(root);
use TB::Mutants qw(mutants place);

my @mutants = eval { mutants(root()) };

is $@, '', 'the list can be read';

for my $m (@mutants) {
    my ($path, $error) = place(root(), $m);

    push @{ $m->{errors} }, $error if !defined $path;
    push @{ $m->{errors} }, map { "there is no $_" }
                            grep { !-e root() . "/$_" } @{ $m->{tests} };

    is join('; ', @{ $m->{errors} || [] }), '', "$m->{at}: $m->{name}";
}

done_testing();
