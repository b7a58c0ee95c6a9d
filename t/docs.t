#!/usr/bin/perl

# Links between the pages: the file is there, and so is the heading that is
# named.  And nothing in them is still to be written.
#
# runs: side by side, 1 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(dirname);
use Test::More;

use TB::Env qw(root);

my %text;


sub text {
    my ($path) = @_;

    return $text{$path} //= do {
        open my $fh, '<', $path or die "$path: $!\n";
        local $/;
        <$fh>;
    };
}


# as web pages of repositories name them

sub anchor {
    my ($heading) = @_;

    $heading = lc $heading;
    $heading =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
    $heading =~ s/[^\w -]//g;
    $heading =~ s/ /-/g;

    return $heading;
}


for my $page (map { glob root() . "/$_" } '*.md', 'docs/*.md') {
    my ($name) = $page =~ m{([^/]+)\z};
    (my $prose = text($page)) =~ s/^ {4}.*//mg;
    my (@missing, $n);

    for ($prose =~ /\]\(([^)\s]+)\)/g) {
        next if /^https?:/;

        $n++;

        my ($file, $heading) = /^([^#]*)(?:#(.*))?\z/;
        my $path = $file eq '' ? $page : dirname($page) . "/$file";

        if (!-e $path) {
            push @missing, $_;

        } elsif (defined $heading) {
            push @missing, $_
                if !grep { anchor($_) eq $heading }
                    text($path) =~ /^#+ (.*?) *$/mg;
        }
    }

    is("@missing", '', "$name: " . ($n || 0) . ' links');

    # X's as in mktemp are none
    my @open = text($page) =~ /^(.*\b(?:XXX|TODO|FIXME|TBD)\b.*)$/mg;

    is("@open", '', "$name: nothing is left open");
}

done_testing();
