package TB::Shell;

# A bash that is told one command after the other, as in a terminal.
#
#     my $shell = TB::Shell->new('cd /tmp');
#     my $text = $shell->run('echo "$PWD"');     all that it prints; dies if
#                                                it takes longer than 30 s
#     $shell->run($command, 60)

use strict;
use warnings;

use IO::Handle;
use IPC::Open2;
use Time::HiRes qw(time);

use TB::Env qw(scaled);

my %running;
my $serial = 0;


sub new {
    my ($class, @commands) = @_;

    my $self = bless { owner => $$ }, $class;

    {
        # no terminal's Ctrl-C: it ends with us
        local $SIG{INT} = 'IGNORE';
        $self->{pid} = open2($self->{out}, $self->{in}, 'bash', '--norc');
    }

    $running{$self->{pid}} = $self;
    $self->run($_) for 'exec 2>&1', @commands;

    return $self;
}


sub run {
    my ($self, $command, $seconds) = @_;

    my $end = time() + scaled($seconds || 30);
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


sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid};

    return if !$pid || $self->{owner} != $$;

    delete $running{$pid};
    kill 'KILL', $pid;
    waitpid $pid, 0;
}


END {
    local $?;

    $_->stop() for values %running;
}


1;
