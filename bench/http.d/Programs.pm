package Programs;

# The C programs of bench/http, compiled when they are older than their
# source, and spoken to by lines.
#
#     my $load = Programs->start('load', $port, $connections);
#     my ($seconds, $p50, $p99) = $load->run($n, $file, $text);
#     $load->ask('silent', 'silent');
#     $load->finish();
#
#     my $bridge = Programs->start('bridge', $port, 'bridge', $password, ...);
#     my $line = $bridge->finish();               what it says at its end

use strict;
use warnings;

use FindBin;
use IPC::Open2;

use TB::Env qw(build);

my %libraries = (bridge => 'hiredis');


sub compiled {
    my ($name) = @_;

    my $source = "$FindBin::Bin/http.d/$name.c";
    my $dir = build() . '/bench';
    my $program = "$dir/$name";

    return $program if -e $program && -M $program <= -M $source;

    mkdir build();
    mkdir $dir;

    my $library = $libraries{$name};
    my @flags = $library ? split ' ', `pkg-config --cflags --libs $library`
                         : ();

    system($ENV{CC} || 'gcc', qw(-O2 -g -std=gnu99 -Wall -Wextra),
           '-o', "$program.new", $source, @flags) == 0
        && rename "$program.new", $program
        or die "$source can't be compiled (script/bootstrap)\n";

    return $program;
}


sub start {
    my ($class, $name, @args) = @_;

    my $self = bless { name => $name }, $class;

    $self->{pid} = open2($self->{from}, $self->{to}, compiled($name), @args);
    $self->hear('ready');

    return $self;
}


# a line that begins with this word; what went wrong is on stderr

sub hear {
    my ($self, $word) = @_;

    my $line = readline $self->{from};

    die "$self->{name} failed\n" if !defined $line || $line !~ /^$word\b/;

    chomp $line;

    return $line;
}


sub ask {
    my ($self, $command, $word) = @_;

    local $SIG{PIPE} = 'IGNORE';
    syswrite $self->{to}, "$command\n" or die "$self->{name} has gone\n";

    return $self->hear($word);
}


sub run {
    my ($self, $n, $file, $text) = @_;

    my (undef, @result) = split ' ', $self->ask("run $n $file $text", 'done');

    return @result;
}


sub finish {
    my ($self) = @_;

    close $self->{to};

    my $line = readline $self->{from};

    waitpid delete $self->{pid}, 0;
    die "$self->{name} failed\n" if $?;

    return $line;
}


# after an error elsewhere: the end of its input ends it

sub DESTROY {
    my ($self) = @_;

    local ($@, $?, $!);

    close $self->{to} if $self->{to};
    waitpid $self->{pid}, 0 if $self->{pid};
}


1;
