package TB::Mutate;

# Small changes to texts, of which most keep what makes them look right.
#
#     my $mutate = TB::Mutate->new(seed => 17, words => [qw(null true)]);
#     $mutate->text($text)            changed at one to three places
#     $mutate->maybe(3)               1 in one of three cases
#     $mutate->pick(@list)
#
# The same seed makes the same changes.

use strict;
use warnings;


sub new {
    my ($class, %opt) = @_;

    return bless { words => [], state => 1, %opt,
                   state => ($opt{seed} || 1) & 0x7fffffff || 1 }, $class;
}


# Perl's own rand() is not the same everywhere

sub below {
    my ($self, $n) = @_;

    $self->{state} = ($self->{state} * 1103515245 + 12345) & 0x7fffffff;

    return ($self->{state} >> 8) % $n;
}


sub maybe { return $_[0]->below($_[1]) == 0 }


sub pick {
    my ($self, @list) = @_;

    return $list[$self->below(scalar @list)];
}


sub text {
    my ($self, $text) = @_;

    $text = $self->once($text) for 0 .. $self->below(3);

    return $text;
}


sub once {
    my ($self, $text) = @_;

    my $len = length $text;
    my $at = $len ? $self->below($len) : 0;
    my $how = $self->below(8);

    if ($how == 0) {
        substr $text, $at, $len ? 1 : 0, chr $self->below(256);

    } elsif ($how == 1) {
        substr $text, $at, 1 + $self->below(8), '' if $len;

    } elsif ($how == 2) {
        substr $text, $at, 0, substr $text, $self->below($len + 1), 8;

    } elsif ($how == 3) {
        substr $text, $at, $self->below(6),
               $self->pick('', @{ $self->{words} });

    } elsif ($how == 4) {
        # a number becomes another one
        my $n = $self->pick(0, -1, 1, 2147483647, 2147483648, '1e400',
                            '9007199254740993', '18446744073709551616', '01');

        $at = 0 if $self->maybe(2);
        substr($text, $at) =~ s/\d+/$n/;

    } elsif ($how == 5) {
        substr $text, $at, 0, $self->pick("\0", "\xff", "\xc3\xa4",
                                          "\xed\xa0\x80", '"', '\\', '%00',
                                          '%2f', '/', "\t", '[' x 70);

    } elsif ($how == 6) {
        substr $text, $at, 1, lc substr $text, $at, 1 if $len;

    } else {
        $text = substr $text, 0, $at;
    }

    return $text;
}


1;
