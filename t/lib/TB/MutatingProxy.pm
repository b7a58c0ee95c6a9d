package TB::MutatingProxy;

# A TB::Proxy that changes what Redis says: bytes become others, are left out
# or come from nowhere, connections end in the middle, and all may be late.
#
#     my $proxy = TB::MutatingProxy->start(to => $port, seed => 17);
#     $proxy->tell('mutate', 50)      from now on one in 50 pieces is changed
#     $proxy->tell('mutate', 0)       none
#     $proxy->tell('changed')         how many were

use strict;
use warnings;

use base 'TB::Proxy';

use TB::Mutate;


sub obey {
    my ($self, $word, $what, @more) = @_;

    if ($word eq 'mutate') {
        $self->{one_in} = $what;
        return 'ok';
    }

    return $self->{changed} || 0 if $word eq 'changed';

    return $self->SUPER::obey($word, $what, @more);
}


sub readable {
    my ($self, $sock) = @_;

    my $pair = $self->{conns}{fileno $sock} or return;

    return $self->SUPER::readable($sock)
        if $sock != $pair->{server} || !$self->{one_in};

    my $n = sysread $sock, my $bytes, 1 << 16;

    return $self->shut($pair) if !$n;

    $self->{mutate} ||= TB::Mutate->new(seed => $self->{seed}, words => [
        "\r\n", '*2', '*-1', '$-1', ':1', ':0', '+OK', '-ERR x', "\$9\r\n",
        'queued', 'ok', 'unknown', '$99999999', "*1\r\n*1\r\n", 'MOVED 1 :1']);

    # a piece that is late comes before the next one
    $bytes = $pair->{late} . $bytes if defined $pair->{late};
    delete $pair->{late};

    if ($self->{mutate}->maybe($self->{one_in})) {
        $self->{changed}++;

        my $how = $self->{mutate}->below(4);

        if ($how == 0) {
            # ends in the middle of a reply
            TB::Proxy::put($pair->{client},
                           substr $bytes, 0,
                                  $self->{mutate}->below(length $bytes));
            return $self->shut($pair);
        }

        if ($how == 1) {
            $pair->{late} = $bytes;
            return;
        }

        $bytes = $self->{mutate}->text($bytes);
    }

    TB::Proxy::put($pair->{client}, $bytes);
}


1;
