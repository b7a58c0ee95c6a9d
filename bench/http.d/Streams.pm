package Streams;

# Callers as streams of HTTP/2, on a few connections to 127.0.0.1.
#
#     my $streams = Streams->new($port, $connections, $authorization, $text);
#     $streams->post($path, $body);      a request, on the next connection
#     $streams->run($seconds);           sends and reads for so long, or less
#     $streams->open()                   how many have no answer yet
#     $streams->wrong()                  the first answer that was not 200 with
#                                        this text, or nothing
#
# Its own window is never used up: answers are short, and few on a connection.

use strict;
use warnings;

use Errno qw(EAGAIN EINTR);
use IO::Handle;
use IO::Select;
use IO::Socket::INET;

use TB::Http2 qw(frame hpack);

# frames

my ($DATA, $HEADERS, $RESET, $SETTINGS, $GOAWAY) = (0, 1, 3, 4, 7);


sub new {
    my ($class, $port, $connections, $authorization, $expected) = @_;

    my $self = bless { expected => $expected, next => 0, open => 0,
                       readers => IO::Select->new() }, $class;

    $self->{headers} = join '', map { "\0" . hpack($_->[0]) . hpack($_->[1]) }
        [':method', 'POST'], [':scheme', 'http'], [':authority', 'localhost'],
        ['x-authorization', $authorization];

    for (1 .. $connections) {
        my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                         PeerPort => $port)
            or die "connect: $!\n";
        my $c = { sock => $sock, in => '', stream => -1,
                  out => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                         . frame($SETTINGS, 0, 0, '') };

        binmode $sock;
        $sock->blocking(0);
        $self->{readers}->add($sock);
        $self->{by_fd}{fileno $sock} = $c;
        push @{ $self->{conns} }, $c;
    }

    return $self;
}


sub open { return $_[0]{open} }
sub wrong { return $_[0]{wrong} }


sub post {
    my ($self, $path, $body) = @_;

    my $c = $self->{conns}[$self->{next}++ % @{ $self->{conns} }];

    $c->{stream} += 2;
    $c->{out} .= frame($HEADERS, 4, $c->{stream}, $self->{headers} . "\0"
                                                  . hpack(':path')
                                                  . hpack($path))
                 . frame($DATA, 1, $c->{stream}, $body);
    $self->{open}++;
}


sub run {
    my ($self, $seconds) = @_;

    for my $c (grep { length $_->{out} && $_->{sock}->opened() }
                    @{ $self->{conns} })
    {
        my $n = syswrite $c->{sock}, $c->{out};

        die "write: $!\n" if !defined $n && $! != EAGAIN && $! != EINTR;
        substr $c->{out}, 0, $n, '' if $n;
    }

    for my $sock ($self->{readers}->can_read($seconds)) {
        my $c = $self->{by_fd}{fileno $sock};
        my $n = sysread $sock, $c->{in}, 262144, length $c->{in};

        next if !defined $n && ($! == EAGAIN || $! == EINTR);

        if (!$n) {
            $self->{readers}->remove($sock);
            close $sock;
            next;
        }

        $self->read_frames($c);
    }
}


sub read_frames {
    my ($self, $c) = @_;

    my $pos = 0;

    while (length($c->{in}) - $pos >= 9) {
        my ($high, $low, $type, $flags, $stream) = unpack "x$pos CnCCN",
                                                          $c->{in};
        my $length = $high << 16 | $low;

        last if length($c->{in}) - $pos < 9 + $length;

        $self->got($c, $type, $flags, $stream,
                   substr $c->{in}, $pos + 9, $length);
        $pos += 9 + $length;
    }

    substr $c->{in}, 0, $pos, '';
}


sub got {
    my ($self, $c, $type, $flags, $stream, $payload) = @_;

    if ($type == $SETTINGS) {
        $c->{out} .= frame($SETTINGS, 1, 0, '') if !($flags & 1);

    } elsif ($type == $HEADERS) {
        # ":status 200" is an entry of the table that all have, maybe behind
        # a change of the other table's size
        $c->{status}{$stream} = $payload =~ /^[\x20-\x3f]*\x88/;

    } elsif ($type == $DATA) {
        $c->{body}{$stream} .= $payload;

    } elsif ($type == $RESET) {
        $self->{wrong} //= "a stream was reset\n";
        $self->{open}--;
        return;
    }

    return if $type > $HEADERS || !($flags & 1);

    my ($ok, $body) = map { delete $c->{$_}{$stream} // '' } qw(status body);

    $self->{wrong} //= "an answer is not 200 \"$self->{expected}\" but"
                       . " \"$body\"\n"
        if !$ok || $body ne $self->{expected};
    $self->{open}--;
}


1;
