package TB::Client;

# An HTTP request on a connection of its own whose answer is taken later, or
# never.
#
#     my $client = TB::Client->new($port, TB::Client::text('POST', ...));
#     my $answer = $client->answer(10);      { status, headers, body, json }
#     my @answers = TB::Client::answers(10, @clients);
#     $client->leave();                      closes; leave('reset'): by RST
#     $client->answered()                    is there an answer, without
#                                            waiting
#
# An answer with the status 0 is none: its error says what happened.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);

use TB::Env qw(scaled);
use TB::Load;


sub text {
    my ($method, $path, $body, %headers) = @_;

    my $text = "$method $path HTTP/1.1\r\nHost: localhost\r\n";

    $text .= "$_: $headers{$_}\r\n" for sort keys %headers;
    $text .= 'Content-Length: ' . length($body) . "\r\n" if defined $body;

    return $text . "\r\n" . (defined $body ? $body : '');
}


sub new {
    my ($class, $port, $text) = @_;

    my $self = bless { in => '', port => $port }, $class;

    $self->{sock} = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                          PeerPort => $port)
        or return $self->end({ error => "connect: $!" });

    binmode $self->{sock};
    $self->send($text) if defined $text;

    return $self;
}


# another request, once the one before was answered

sub send {
    my ($self, $text) = @_;

    delete $self->{result};
    $self->{in} = '';
    local $SIG{PIPE} = 'IGNORE';

    while (length $text) {
        my $n = syswrite $self->{sock}, $text;

        return $self->end({ error => "write: $!" }) if !defined $n;
        substr $text, 0, $n, '';
    }

    return $self;
}


sub end {
    my ($self, $result) = @_;

    $result->{status} ||= 0;
    $result->{headers} ||= {};
    $result->{body} = '' if !defined $result->{body};
    $result->{result} = $result->{headers}{'x-rpc-result'};
    $result->{what} = $result->{status}
                      . (defined $result->{result} ? " $result->{result}"
                                                   : '')
                      . ($result->{error} ? " $result->{error}" : '');
    $self->{result} = $result;

    return $self;
}


# reads what is there

sub progress {
    my ($self) = @_;

    my $n = sysread $self->{sock}, $self->{in}, 65536, length $self->{in};
    my $parsed = TB::Load::parse($self->{in}, !$n);

    if ($parsed) {
        $self->end($parsed);

    } elsif (!$n) {
        $self->end({ error => 'closed after ' . length($self->{in})
                              . ' bytes' });
    }
}


sub answers {
    my ($seconds, @clients) = @_;

    my $end = time() + scaled($seconds);
    my $select = IO::Select->new();
    my %of;

    for my $client (grep { !$_->{result} } @clients) {
        $select->add($client->{sock});
        $of{fileno $client->{sock}} = $client;
    }

    while (%of && time() < $end) {
        for my $sock ($select->can_read($end - time())) {
            my $client = $of{fileno $sock};

            $client->progress();

            next if !$client->{result};

            $select->remove($sock);
            delete $of{fileno $sock};

            # nginx lingers until we go
            close $sock if $client->{result}{close};
        }
    }

    return map { $_->{result} || { status => 0, headers => {}, body => '',
                                   what => 'no answer in time',
                                   error => 'no answer in time' } } @clients;
}


sub answer {
    my ($self, $seconds) = @_;

    return (answers($seconds || 60, $self))[0];
}


sub answered {
    my ($self) = @_;

    while (!$self->{result} && IO::Select->new($self->{sock})->can_read(0)) {
        $self->progress();
    }

    return $self->{result} ? 1 : 0;
}


sub leave {
    my ($self, $how) = @_;

    if ($how && $how eq 'reset') {
        setsockopt $self->{sock}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
    }

    close $self->{sock};
}


# how many answers of each kind: { '200' => 10, '504 TIMEOUT' => 1 }

sub kinds {
    my %kinds;

    $kinds{$_->{what}}++ for @_;

    return \%kinds;
}


1;
