package TB::Mutants;

# The list of small semantic bugs in t/mutants/*.txt, each of which a test must
# notice: script/mutate applies them, t/mutants.t looks whether the list fits
# the code.
#
#     === old-epoch-beats
#     why:   devices of an old epoch are heartbeated for ever
#     file:  bridge/rpc/presence.c
#     tests: t/bridge.t t/bridge-storm.t
#     --- old
#     if (d->epoch != b->epoch) {
#     --- new
#     if (0) {
#
# "file" is one or more paths or patterns, "tests" the files that must notice
# the bug, the quickest one first.  The old text must be in one of the files,
# and there once; it is replaced by the new one, which may be empty.  Both are
# taken as they are, without the newlines at their end.  Lines with "#" at the
# head of a file, before the first "===", are comments.

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(mutants place);


sub slurp {
    my ($path) = @_;

    open my $fh, '<:raw', $path or die "$path: $!\n";
    local $/;

    return scalar <$fh>;
}


# All mutants below this folder, in the order of the files; dies with what is
# wrong in the list.

sub mutants {
    my ($root) = @_;

    my (@all, %seen);

    for my $path (sort glob "$root/t/mutants/*.txt") {
        for my $m (parse($path, slurp($path))) {
            die "$m->{at}: a second \"$m->{name}\"\n" if $seen{$m->{name}}++;
            push @all, $m;
        }
    }

    return @all;
}


sub parse {
    my ($path, $text) = @_;

    my (@all, $m, $into);
    my $n = 0;

    $path =~ s{.*/(?=t/mutants/)}{};

    for my $line (split /^/, $text) {
        $n++;

        if ($line =~ /^=== ([a-z0-9-]+)$/) {
            push @all, $m = { name => $1, at => "$path:$n", list => $path };
            undef $into;

        } elsif ($line =~ /^--- (old|new)$/ && $m && !exists $m->{$1}) {
            $into = $1;
            $m->{$into} = '';

        } elsif ($line =~ /^(?:===|---)/) {
            die "$path:$n: \"=== NAME\", \"--- old\" or \"--- new\" is"
                . " expected\n";

        } elsif (defined $into) {
            $m->{$into} .= $line;

        } elsif ($m && $line =~ /^(why|file|tests): *(\S.*?)\s*$/) {
            $m->{$1} = $2;

        } elsif ($line !~ /^(?:#.*)?$/) {
            die "$path:$n: \"why:\", \"file:\", \"tests:\" or \"---\" is"
                . " expected\n";
        }
    }

    finish($_) for @all;

    return @all;
}


sub finish {
    my ($m) = @_;

    for my $what (qw(why file tests old new)) {
        die "$m->{at}: $m->{name} has no \"$what\"\n" if !defined $m->{$what};
    }

    s/\n+\z// for @$m{qw(old new)};
    $m->{tests} = [split ' ', $m->{tests}];

    die "$m->{at}: $m->{name} has no old text\n" if $m->{old} eq '';
    die "$m->{at}: $m->{name} changes nothing\n" if $m->{old} eq $m->{new};
}


# The file of a mutant, its text, and where in it the old text begins; or
# nothing, and why.

sub place {
    my ($root, $m) = @_;

    my (@found, @looked);

    for my $path (map { glob "$root/$_" } split ' ', $m->{file}) {
        next if !-e $path;

        my $text = slurp($path);
        my $at = -1;

        push @looked, $path;

        while (($at = index $text, $m->{old}, $at + 1) >= 0) {
            push @found, [$path, $text, $at];
        }
    }

    return @{ $found[0] } if @found == 1;

    return (undef, !@looked ? "there is no $m->{file}"
                   : 'the old text is ' . (@found ? @found . ' times' : 'not')
                     . " in $m->{file}");
}


1;
