# The plots and the table of docs/performance.md are those that script/plots makes
# of docs/data/growth.tsv, and all of them are shown.
#
# runs: side by side, 1 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root scratch);
use TB::Mqtt qw(output);

my $plots = root() . '/script/plots';
my $page = text(root() . '/docs/performance.md');


sub text {
    open my $fh, '<', $_[0] or return "no $_[0]\n";
    local $/;

    return scalar <$fh>;
}


sub names { return map { m{([^/]+)$} } glob "$_[0]/growth-*.svg" }


my ($status, $said) = output($plots, scratch());

is("$status$said", '0', 'script/plots');
cmp_ok(scalar names(scratch()), '>=', 5, 'there are some');
is(join(' ', names(root() . '/docs')), join(' ', names(scratch())),
   'docs has these, and no other');

for my $name (names(scratch())) {
    is(text(root() . "/docs/$name"), text(scratch() . "/$name"), $name);
    like($page, qr/!\[[^\]]+\]\($name\)/, 'it is shown');
}

($status, $said) = output($plots, '--table');
is($status, 0, 'script/plots --table');
ok(index($page, $said) >= 0, 'the table is that of the page') or diag($said);

($status, $said) = output($plots, '--nothing');
is($status, 1, 'another option');
like($said, qr/^usage: /, 'is refused');

done_testing();
