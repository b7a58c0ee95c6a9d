package TB::FaultRow;

# A row of the tables of docs/faults.md that have a column "test": something
# happens, and what the row says of it is compared with what there is.
#
#     my $row = TB::FaultRow->begin('Redis is killed', nginx => $nginx);
#     ...
#     $row->told('a call', $nginx->call(...));
#     $row->kept('a held call', $answer->{body}, '[1]');
#     $row->end();
#
# told: an answer (TB::Client's) must be one that the row has in "callers"; each
# of those must have been given at the end.  kept: is() under the row's name.
# counted: each counter of the row must have grown since begin(), each other
# metric must be there.  log: each line of the row must have been written since
# begin(), by nginx, by the bridge or by Redis; "..." stands for anything.
#
# The metrics are those of "location = /metrics { tb_rpc_status prometheus; }".
# bridge => [NAME, PID] is that of a TB::Mqtt, redis => a TB::RedisServer whose log
# counts, too.

use strict;
use warnings;

use Test::More;

use TB::Client;
use TB::Env qw(root wait_for);
use TB::Metrics;
use TB::Mqtt;
use TB::Nginx;

my @COLUMNS = qw(name callers kept counted log test);


# of all tables with these columns: { name, callers, ... }

sub rows {
    open my $fh, '<', root() . '/docs/faults.md' or die "docs/faults.md: $!\n";

    my ($inside, @rows) = (0);

    while (my $line = <$fh>) {
        if ($line =~ /^\| \| callers \|/) {
            $inside = 1;

        } elsif ($line !~ /^\|/) {
            $inside = 0;

        } elsif ($inside && $line !~ /^\|---/) {
            my %row;

            @row{@COLUMNS} = $line =~ /^\|\s*((?:[^|\\]|\\.)*?)\s*
                                       \|\s*((?:[^|\\]|\\.)*?)\s*
                                       \|\s*((?:[^|\\]|\\.)*?)\s*
                                       \|\s*((?:[^|\\]|\\.)*?)\s*
                                       \|\s*((?:[^|\\]|\\.)*?)\s*
                                       \|\s*((?:[^|\\]|\\.)*?)\s*\|$/x
                or die "docs/faults.md has a row that is none: $line";
            $row{name} =~ tr/`*//d;
            push @rows, \%row;
        }
    }

    return @rows;
}


# what is between backticks in a cell

sub terms {
    my ($self, $column) = @_;

    return map { s/\\\|/|/gr } $self->{row}{$column} =~ /`([^`]+)`/g;
}


sub begin {
    my ($class, $name, %opt) = @_;

    my ($row) = grep { $_->{name} eq $name } rows();

    die "docs/faults.md has no row \"$name\"\n" if !$row;

    my $self = bless { %opt, name => $name, row => $row, told => {} }, $class;

    $self->{before} = $self->metrics();
    $self->{logged} = { map { $_->[0] => length $_->[1] } $self->logs() };

    return $self;
}


sub logs {
    my ($self) = @_;

    return (['nginx', $self->{nginx}->error_log()],
            $self->{bridge}
            ? ['bridge', TB::Mqtt::text_of("$self->{bridge}[0].log")] : (),
            $self->{redis} ? ['redis', $self->{redis}->log()] : ());
}


# those of nginx and of the bridge

sub metrics {
    my ($self) = @_;

    my $answer = TB::Client->new($self->{nginx}{port},
                                 TB::Client::text('GET', '/metrics'))
                           ->answer(30);
    my ($values) = TB::Metrics::parse($answer->{body});

    if ($self->{bridge} && kill 0, $self->{bridge}[1]) {
        my ($name, $pid) = @{ $self->{bridge} };

        for my $metric ($self->terms('counted')) {
            $values->{$metric} = TB::Mqtt::counter($name, $pid, $1)
                if $metric =~ /^tb_rpc_bridge_(\w+?)(?:_total)?$/;
        }
    }

    return $values;
}


sub told {
    my ($self, $what, @answers) = @_;

    my %told = map { $_ => 1 } $self->terms('callers');

    for my $answer (@answers) {
        my $text = $answer->{error} && $answer->{error} =~ /^closed/
                   ? 'closed' : $answer->{what};

        $self->{told}{$text} = 1;

        local $Test::Builder::Level = $Test::Builder::Level + 1;

        ok($told{$text}, "$self->{name}: $what: $text")
            or diag("docs/faults.md has: $self->{row}{callers}");
    }

    return $answers[0];
}


sub kept {
    my ($self, $what, $got, $expected) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return is($got, $expected, "$self->{name}: $what");
}


# values with other labels than those that are named are added up

sub value {
    my ($values, $metric) = @_;

    my ($name, $labels) = $metric =~ /^(\w+)(?:\{(.*)\})?$/;
    my @labels = split /,/, $labels // '';
    my ($sum, $found) = (0, 0);

    for my $key (grep { /^\Q$name\E(?:\{|$)/ } keys %$values) {
        next if grep { index($key, $_) < 0 } @labels;

        $sum += $values->{$key};
        $found = 1;
    }

    return $found ? $sum : undef;
}


sub missing {
    my ($self) = @_;

    my $now = $self->metrics();

    return grep {
        my $value = value($now, $_);

        !defined $value
        || /_total\b|_sum\b/ && $value <= (value($self->{before}, $_) // 0)
    } $self->terms('counted');
}


sub unsaid {
    my ($self) = @_;

    my $text = join '', map { substr $_->[1], $self->{logged}{$_->[0]} }
                        $self->logs();

    return grep {
        my $pattern = join '[^\n]*', map { quotemeta } split /\.\.\./, $_, -1;

        $text !~ $pattern;
    } $self->terms('log');
}


sub end {
    my ($self) = @_;

    my $name = $self->{name};
    my @left;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(join(', ', grep { /^(?:\d|closed)/ && !$self->{told}{$_} }
                  $self->terms('callers')), '',
       "$name: callers were told all of it");

    wait_for { @left = $self->missing(); !@left } 30;
    is("@left", '', "$name: counted");

    wait_for { @left = $self->unsaid(); !@left } 30;
    is(join("\n", @left), '', "$name: the log");
}


1;
