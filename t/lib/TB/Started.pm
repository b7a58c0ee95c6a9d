package TB::Started;

# A process that ends with the test that has started it: a base class.
#
#     $self->started($pid);              it is this object's: {pid}, {owner};
#                                        returns it, and of a class a new one
#     $self->started($pid, group => 1);  with all that it starts, since it has
#                                        called setpgrp
#     $self->stop();                     by SIGKILL, now; not in a process that
#                                        was forked meanwhile

use strict;
use warnings;

# the scratch folder goes after what is in it
use TB::Env ();

my %running;


sub started {
    my ($self, $pid, %opt) = @_;

    $self = bless {}, $self if !ref $self;
    @$self{qw(pid owner group)} = ($pid, $$, $opt{group});
    $running{$pid} = $self;

    return $self;
}


sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid};

    return if !$pid || $self->{owner} != $$;

    delete $running{$pid};
    kill 'KILL', $self->{group} ? -$pid : $pid;
    waitpid $pid, 0;
}


END {
    local $?;

    $_->stop() for values %running;
}


1;
