#!/usr/bin/perl

# docs/runbook.md has each line that nginx' module and the bridge may write to
# their logs with a level of "warn" and above, and no line that there is not.
#
# runs: side by side, 1 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::LogLines;
use TB::Page;

my @levels = qw(alert crit error warn);
my $page = TB::Page->new('docs/runbook.md');


# rows of a section: [level, text, whether it was found]

sub rows {
    my ($heading) = @_;

    my @rows;

    for ($page->section($heading) =~ /^\| (.*) \|$/mg) {
        my ($level, $lines) = split /(?<!\\) \| /;

        next if $level !~ /^(?:alert|crit|error|warn)\z/;

        for my $line ($lines =~ /`([^`]+)`/g) {
            # how a table has a "|"
            $line =~ s/\\\|/|/g;
            push @rows, [$level, $line, 0];
        }
    }

    return @rows;
}


for (['Log lines of nginx', qr{^(?:src/|ngx_)}],
     ['Log lines of the bridge', qr{^bridge/}])
{
    my ($heading, $where) = @$_;
    my @rows = rows($heading);

    cmp_ok(scalar @rows, '>', 10, "$heading: there are some");

    for my $line (grep { $_->{place} =~ $where } TB::LogLines::lines(@levels)) {
        my @found = grep { $_->[1] eq $line->{text} } @rows;

        $_->[2] = 1 for @found;
        is(scalar @found, 1, "$heading: $line->{text}")
            or diag("$line->{place} writes what docs/runbook.md does not have"
                    . ' under this heading, or twice');
        is($found[0] && $found[0][0],
           (grep { my $l = $_; grep { $l eq $_ } @levels }
            split / /, $line->{levels})[0], 'its level') if @found;
    }

    is(join("\n", map { $_->[1] } grep { !$_->[2] } @rows), '',
       "$heading: none that nobody writes");
}

done_testing();
