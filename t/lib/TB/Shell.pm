package TB::Shell;

# A bash that is told one command after the other, as in a terminal.
#
#     my $shell = TB::Shell->new('cd /tmp');
#     my $text = $shell->run('echo "$PWD"');     all that it prints; dies if
#                                                it takes longer than 120 s
#     $shell->run($command, 300)
#
# What it runs in the background ends with it, at the end of the test.

use strict;
use warnings;

use IO::Handle;
use POSIX ();
use Time::HiRes qw(time);

use TB::Env qw(scaled);
use TB::Started;

our @ISA = ('TB::Started');

my $serial = 0;


sub new {
    my ($class, @commands) = @_;

    my $self = bless {}, $class;

    pipe my $in, $self->{in} or die "pipe: $!\n";
    pipe $self->{out}, my $out or die "pipe: $!\n";

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDIN, '<&', $in;
        open STDOUT, '>&', $out;
        open STDERR, '>&', $out;
        # no terminal's Ctrl-C; and what it starts ends with it
        setpgrp;
        { exec 'bash', '--norc' }
        POSIX::_exit(127);
    }

    $self->started($pid, group => 1);
    $self->run($_) for @commands;

    return $self;
}


sub run {
    my ($self, $command, $seconds) = @_;

    my $end = time() + scaled($seconds || 120);
    my $mark = 'done ' . ++$serial . " $$";
    my $text = '';

    # the standard input is ours
    print { $self->{in} } "{ $command\n} < /dev/null\n"
                          . "printf '\\n%s\\n' '$mark'\n";
    $self->{in}->flush();

    while ($text !~ s/\n\Q$mark\E\n\z//) {
        my $bits = '';
        my $left = $end - time();

        vec($bits, fileno $self->{out}, 1) = 1;

        if ($left <= 0 || !select $bits, undef, undef, $left) {
            die "no end of \"$command\":\n$text\n";
        }

        sysread $self->{out}, $text, 65536, length $text
            or die "the shell has gone:\n$text\n";
    }

    return $text;
}


1;
