package TB::Proxy;

# A TCP proxy between nginx and Redis that fails on command.  The connection
# on which SSUBSCRIBE was said is the "sub" one, all others are "cmd".
#
#     my $proxy = TB::Proxy->start(to => $redis->{port});     $proxy->{port}
#
#     $proxy->tell('cut', 'sub')          closes them now: sub, cmd, all
#     $proxy->tell('refuse', 'sub')       from now on such connections are
#                                         closed, as soon as it is known that
#                                         they are that; cmd, sub, all, none
#     $proxy->tell('eat', 'tb_rpc_create')   once: the next command with this
#                                         word reaches Redis; its reply does
#                                         not come back, the connection is
#                                         closed instead; a number behind it:
#                                         so often; a queue's key is a word, too
#     $proxy->tell('tear', 'tb_rpc_create')  the same, but the first bytes of the
#                                         reply come, and then a reset
#     $proxy->tell('stop', 'tb_rpc_create')  once: closed before the command
#                                         reaches Redis
#     $proxy->tell('mute', 'cmd')         replies are kept back ...
#     $proxy->tell('mute', 'none')        ... and now delivered
#     $proxy->tell('hold', 'on')          nothing passes, either way, and nobody
#                                         is told: a network that is cut ...
#     $proxy->tell('hold', 'off')         ... and heals
#     $proxy->tell('to', $port)           to another server from now on; what
#                                         is connected is cut
#     $proxy->tell('next', $port)         the same, but that is not cut
#     $proxy->tell('count', 'tb_rpc_create')  how often it went through
#     $proxy->tell('connections')         how many there are

use strict;
use warnings;

use base 'TB::Child';

use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);

use TB::Env qw(free_port);


sub start {
    my ($class, %opt) = @_;

    my $self = bless { port => free_port(), %opt }, $class;

    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                       LocalPort => $self->{port},
                                       Listen => 128, ReuseAddr => 1)
        or die "proxy: $!\n";

    $self->spawn(sub { $self->loop($listen, @_) });

    # nobody else listens when the child is gone
    close $listen;

    return $self;
}


sub loop {
    my ($self, $listen, $control) = @_;

    my $select = IO::Select->new($listen, $control);
    my $alone = IO::Select->new($control);

    @$self{qw(select conns refuse mute words seen)}
        = ($select, {}, 'none', 'none', {}, {});

    for (;;) {
        for my $sock (($self->{held} ? $alone : $select)->can_read()) {
            next if !defined fileno $sock;

            if ($sock == $control) {
                my $n = sysread $control, my $lines, 65536;

                return if !$n;
                syswrite $control, $self->obey(split /\t/, $_) . "\n"
                    for split /\n/, $lines;

                # what was readable before it was held is left there
                last if $self->{held};

            } elsif ($sock == $listen) {
                $self->accepted($listen->accept());

            } else {
                $self->readable($sock);
            }
        }
    }
}


sub obey {
    my ($self, $word, $what, $times) = @_;

    my @pairs = values %{{ map { $_ => $_ } values %{ $self->{conns} } }};

    if ($word eq 'cut') {
        $self->shut($_) for grep { is($_, $what) } @pairs;

    } elsif ($word eq 'refuse') {
        $self->{refuse} = $what;

    } elsif ($word eq 'eat' || $word eq 'stop' || $word eq 'tear') {
        $self->{words}{$what} = [$word, $times || 1];

    } elsif ($word eq 'mute') {
        $self->{mute} = $what;

        for my $pair (grep { !is($_, $what) } @pairs) {
            put($pair->{client}, $pair->{kept});
            $pair->{kept} = '';
        }

    } elsif ($word eq 'hold') {
        $self->{held} = $what eq 'on';

    } elsif ($word eq 'to') {
        $self->{to} = $what;
        $self->shut($_) for @pairs;

    } elsif ($word eq 'next') {
        $self->{to} = $what;

    } elsif ($word eq 'count') {
        return $self->{seen}{$what} || 0;

    } elsif ($word eq 'connections') {
        return scalar @pairs;
    }

    return 'ok';
}


sub is {
    my ($pair, $what) = @_;

    return $what eq 'all' || $what eq $pair->{kind};
}


sub put {
    my ($sock, $bytes) = @_;

    while (length $bytes) {
        my $n = syswrite $sock, $bytes;

        return if !defined $n;
        substr $bytes, 0, $n, '';
    }
}


sub accepted {
    my ($self, $client) = @_;

    return if !$client;

    my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                       PeerPort => $self->{to});

    if (!$server || $self->{refuse} eq 'all') {
        close $client;
        return;
    }

    # what is a "sub" one is known later
    my $pair = { client => $client, server => $server, kind => 'cmd',
                 kept => '' };

    $self->{conns}{fileno $_} = $pair for $client, $server;
    $self->{select}->add($client, $server);
}


sub shut {
    my ($self, $pair) = @_;

    for my $sock (@$pair{qw(client server)}) {
        next if !defined fileno $sock;

        delete $self->{conns}{fileno $sock};
        $self->{select}->remove($sock);
        close $sock;
    }
}


# no more of a reply than its beginning

sub torn {
    my ($self, $pair, $bytes) = @_;

    put($pair->{client}, substr $bytes, 0, 7);
    setsockopt $pair->{client}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    $self->shut($pair);
}


sub readable {
    my ($self, $sock) = @_;

    my $pair = $self->{conns}{fileno $sock} or return;
    my $n = sysread $sock, my $bytes, 1 << 20;

    return $self->shut($pair) if !$n;

    if ($sock == $pair->{server}) {
        return $self->torn($pair, $bytes) if $pair->{tear};
        return $self->shut($pair) if $pair->{eat};

        if (is($pair, $self->{mute})) {
            $pair->{kept} .= $bytes;
            return;
        }

        put($pair->{client}, $bytes);
        return;
    }

    $pair->{kind} = 'sub' if index($bytes, 'SSUBSCRIBE') >= 0;

    # the first command beyond the handshake tells that it is a "cmd" one
    if ($self->{refuse} eq $pair->{kind}
        && ($pair->{kind} eq 'sub' || index($bytes, 'FCALL') >= 0))
    {
        return $self->shut($pair);
    }

    for my $word ($bytes =~ /\r\n(tb_rpc_\w+|SSUBSCRIBE|GET|DEL
                            |tb:\{\w+\}:queue:\S+)(?=\r\n)/gx) {
        my $how = $self->{words}{$word};

        if ($how) {
            delete $self->{words}{$word} if --$how->[1] == 0;

            return $self->shut($pair) if $how->[0] eq 'stop';

            $pair->{$how->[0]} = 1;
        }

        $self->{seen}{$word}++;
    }

    put($pair->{server}, $bytes);
}


1;
