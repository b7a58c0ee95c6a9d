package TB::Metrics;

# Prometheus' text format 0.0.4, read as strictly as its own parser does, and
# the rules of "promtool check metrics".
#
#     my ($values, @errors) = TB::Metrics::parse($text);
#     $values->{'tb_rpc_requests_total{operation="get",result="ok"}'}
#     TB::Metrics::promtool($text)            what it says, '' if nothing or if
#                                             it is not installed

use strict;
use warnings;

use TB::Env qw(file_in);

my $NAME = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $LABEL = qr/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"/;
my $NUMBER = qr/[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN/i;


# of "x_bucket", "x_sum" and "x_count" the name of the histogram x

sub family {
    my ($name, $types) = @_;

    my ($base) = $name =~ /^(.*)_(?:bucket|sum|count)$/;

    return defined $base && ($types->{$base} || '') eq 'histogram' ? $base
                                                                   : $name;
}


sub parse {
    my ($text) = @_;
    my (%values, %types, %help, %closed, @errors);
    my $current = '';

    push @errors, 'the last line has no end' if $text !~ /\n\z/;

    for my $line (split /\n/, $text) {
        if ($line =~ /^# HELP ($NAME) (\S.*)$/) {
            push @errors, "HELP twice: $1" if $help{$1}++;
            next;
        }

        if ($line =~ /^# TYPE ($NAME) (counter|gauge|histogram)$/) {
            my ($name, $type) = ($1, $2);

            push @errors, "TYPE twice: $name" if $types{$name};
            push @errors, "TYPE without HELP: $name" if !$help{$name};
            push @errors, "not a name for a $type: $name"
                if ($name =~ /_total$/ xor $type eq 'counter');
            $types{$name} = $type;
            next;
        }

        my ($name, $labels, $value) =
            $line =~ /^($NAME)(?:\{((?:$LABEL,?)+)\})? ($NUMBER)$/
            ? ($1, defined $2 ? $2 : '', $5) : ();

        if (!defined $name) {
            push @errors, "not understood: $line";
            next;
        }

        my $family = family($name, \%types);

        push @errors, "without TYPE: $name" if !$types{$family};
        push @errors, "$family comes in two places" if $closed{$family};

        if ($family ne $current) {
            $closed{$current} = 1;
            $current = $family;
        }

        my $key = $name . (length $labels ? "{$labels}" : '');

        push @errors, "twice: $key" if exists $values{$key};
        $values{$key} = $value;
    }

    push @errors, histograms(\%values, \%types);

    return \%values, @errors;
}


# buckets grow, and the last one is the count

sub histograms {
    my ($values, $types) = @_;
    my (%buckets, @errors);

    for my $key (keys %$values) {
        my ($name, $labels, $le) =
            $key =~ /^(.*)_bucket\{(.*?),?le="([^"]+)"\}$/ or next;

        $buckets{$name . (length $labels ? "{$labels}" : '')}
                {$le eq '+Inf' ? 9e99 : $le} = $values->{$key};
    }

    for my $name (sort keys %buckets) {
        my @at = map { $buckets{$name}{$_} }
                 sort { $a <=> $b } keys %{ $buckets{$name} };
        my $count = $values->{ $name =~ s/^(\w+)/$1_count/r };

        push @errors, "buckets of $name shrink"
            if grep { $at[$_] < $at[$_ - 1] } 1 .. $#at;
        push @errors, "$name has no +Inf" if !exists $buckets{$name}{9e99};
        push @errors, "$name has another count"
            if !defined $count || $count != $at[-1];
        push @errors, "$name has no sum"
            if !defined $values->{ $name =~ s/^(\w+)/$1_sum/r };
    }

    return @errors;
}


sub promtool {
    my ($text) = @_;

    return '' if system('command -v promtool > /dev/null') != 0;

    my $file = file_in('metrics.txt', $text);
    my $said = `promtool check metrics < $file 2>&1`;

    return $? ? "failed: $said" : $said;
}


1;
