# Each harness of t/fuzz for a few seconds: nothing is found, and what is kept
# in t/fuzz/corpus is what it was.  script/fuzz takes hours.
#
# runs: side by side, 90 s
# not with --redis-tls, --redis-cluster: there is no Redis

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root);
use TB::Mqtt qw(output);

my ($status, $text) = output('bash', '-c', 'echo "int LLVMFuzzerTestOneInput('
                             . 'const char *p, long n) { return 0; }" | clang'
                             . ' -x c -fsanitize=fuzzer,address - -o /dev/null');

plan(skip_all => 'no clang with libFuzzer (script/bootstrap): ' . $text)
    if $status;

my @names = split ' ', `${\ root() }/script/fuzz --list`;

cmp_ok(scalar @names, '>=', 12, 'harnesses: ' . @names);

# without what script/build --newest may not get, only those of nginx are left out

($status, $text) = output(root() . '/script/fuzz', '--time', 3);
is($status, 0, 'nothing is found') or diag(substr $text, -6000);

my %seen = map { /^(\S+)\s+(\d+) executions/ ? ($1 => $2) : () }
           split /\n/, $text;
my ($left_out) = $text =~ /left out, as there is no full nginx source/;

for my $name (@names) {
    SKIP: {
        skip "$name: no full nginx source", 2
            if $left_out && !defined $seen{$name};

        # more than what is in the corpus
        my @corpus = glob root() . "/t/fuzz/corpus/$name/*";

        cmp_ok(scalar @corpus, '>', 1, "$name: has a corpus");
        cmp_ok($seen{$name} || 0, '>', @corpus, "$name: it is run, and more");
    }
}

my $size = 0;

$size += -s $_ for glob root() . '/t/fuzz/corpus/*/*';
cmp_ok($size, '<', 300 * 1024, "the corpora are small: $size bytes");

done_testing();
