package TB::Child;

# A process that obeys: what Proxy and FakeRedis are made of.  The parent's
# $child->tell('word', 'argument', ...) returns what the child's handler
# returned; arguments and answers are single lines.

use strict;
use warnings;

use IO::Handle;
use POSIX ();
use Socket;

use TB::Started;

our @ISA = ('TB::Started');


sub spawn {
    my ($self, $run) = @_;

    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!\n";

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        close $ours;
        $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD);
        $SIG{PIPE} = 'IGNORE';
        eval { $run->($theirs) };
        print STDERR ref($self), ": $@" if $@;

        # no tests, no END blocks in this process
        POSIX::_exit(0);
    }

    close $theirs;
    $ours->autoflush(1);
    $self->{control} = $ours;

    return $self->started($pid);
}


sub tell {
    my ($self, @words) = @_;

    print { $self->{control} } join("\t", @words), "\n";

    my $answer = readline $self->{control};

    die ref($self) . " is gone\n" if !defined $answer;
    chomp $answer;

    return $answer;
}


1;
