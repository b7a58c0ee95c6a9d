package TB::Metrics;

# Prometheus' text format 0.0.4, read as strictly as its own parser does, and
# the rules of "promtool check metrics".
#
#     my ($values, @errors) = TB::Metrics::parse($text);
#     $values->{'tb_rpc_requests_total{operation="get",result="ok"}'}
#     TB::Metrics::promtool('check', 'rules', $file)
#                                             (exit status, what it says)
#     TB::Metrics::check_metrics($text)       what promtool says, '' if nothing
#     TB::Metrics::promtool_binary()          undef if it is not installed

use strict;
use warnings;

use POSIX ();

use TB::Env qw(build file_in);

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


# script/bootstrap puts it into build/bin

sub promtool_binary {
    my ($path) = grep { -x } map { "$_/promtool" }
                 build() . '/bin', split /:/, $ENV{PATH};

    return $path;
}


sub promtool {
    my (@arguments) = @_;

    my $pid = open my $out, '-|';
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        { exec promtool_binary(), @arguments }
        POSIX::_exit(127);
    }

    local $/;
    my $text = <$out>;
    close $out;

    return ($? >> 8, defined $text ? $text : '');
}


# what it has to say of a page of metrics

sub check_metrics {
    my ($text) = @_;

    # it reads its standard input
    my $file = file_in('metrics.txt', $text);

    open my $old, '<&', \*STDIN or die "$!\n";
    open STDIN, '<', $file or die "$file: $!\n";

    my ($status, $said) = promtool('check', 'metrics');

    open STDIN, '<&', $old or die "$!\n";

    return $status ? "failed: $said" : $said;
}


1;
