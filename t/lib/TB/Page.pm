package TB::Page;

# A page of docs/ whose recipes a test runs: its sections, and the blocks of
# code in them.
#
#     my $page = TB::Page->new('docs/devices.md');
#     $page->headings()                       of level 2, in their order
#     for ($page->blocks('Tasmota')) { $_->{file}, $_->{text} }
#     my @said = TB::Page::transcript($text, '$ ');
#                                             ([command, what it prints], ...)
#
# A block is what is indented by four columns.  An empty line parts it in two
# where it goes on with a prompt ("$ ", "name$ "), with "< " or "> ", or with a
# line "# name": that is a file of this name, or a piece of it, and its text is
# what follows.  All others have the file ''.

use strict;
use warnings;

use TB::Env qw(root);


sub new {
    my ($class, $name) = @_;

    open my $fh, '<', root() . "/$name" or die "$name: $!\n";
    local $/;

    return bless { name => $name, text => scalar <$fh> }, $class;
}


sub headings {
    my ($self) = @_;

    return $self->{text} =~ /^## (.*)$/mg;
}


sub section {
    my ($self, $heading) = @_;

    my ($section) = "$self->{text}\n## "
                    =~ /^## \Q$heading\E\n(.*?)(?=^## )/ms
        or die "$self->{name} has no section \"$heading\"\n";

    return $section;
}


sub blocks {
    my ($self, $heading) = @_;

    my ($open, @blocks) = (0);

    for (split /\n{2,}/, $self->section($heading)) {
        s/\A\n+//;

        # text of the page ends a block
        if (/^ {0,3}\S/m) {
            $open = 0;
            next;
        }

        s/^ {4}//mg;

        if (/\A# (.*)\n/) {
            my $file = $1;

            s/\A.*\n//;
            push @blocks, { file => $file, text => "$_\n" };

        } elsif (!$open || /\A(?:\w*\$|[<>]) /) {
            push @blocks, { file => '', text => "$_\n" };

        } else {
            $blocks[-1]{text} .= "\n$_\n";
        }

        $open = 1;
    }

    return @blocks;
}


# A command goes on behind a backslash.

sub transcript {
    my ($text, $prompt) = @_;

    my @said;

    for (split /^\Q$prompt\E/m, $text) {
        next if $_ eq '';

        my ($command, $rest) = /\A((?:.*\\\n)*.*\n)([\s\S]*)\z/;

        push @said, [$command, $rest];
    }

    return @said;
}


1;
