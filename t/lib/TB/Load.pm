package TB::Load;

# Many HTTP requests at once over keep-alive connections, by one process and
# without any module from CPAN.  Every request is answered exactly once in
# the result, by its index, whatever the server did to the connection.

use strict;
use warnings;

use Errno qw(EAGAIN EWOULDBLOCK EINPROGRESS EINTR);
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);


# run(port => N, requests => [ "POST ...", ... ], parallel => N,
#     timeout => seconds)
#
# Each request is the full text of an HTTP/1.1 request.  Returns a list of
# { status, headers, body, time } or { error } in the order of the requests.

sub run {
    my (%opt) = @_;

    my $requests = $opt{requests};
    my $parallel = $opt{parallel} || 1;
    my $end = time() + ($opt{timeout} || 60);
    my @results;
    my $next = 0;
    my %conns;
    my $readers = IO::Select->new();

    my $give = sub {
        my ($c) = @_;

        while ($next < @$requests) {
            my $i = $next++;

            if (!$c->{sock}) {
                $c->{sock} = IO::Socket::INET->new(
                    PeerAddr => '127.0.0.1', PeerPort => $opt{port},
                    Proto => 'tcp');

                if (!$c->{sock}) {
                    $results[$i] = { error => "connect: $!" };
                    next;
                }

                binmode $c->{sock};
                $conns{fileno $c->{sock}} = $c;
                $readers->add($c->{sock});
            }

            $c->{index} = $i;
            $c->{in} = '';
            $c->{start} = time();

            my $n = syswrite $c->{sock}, $requests->[$i];

            if (!defined $n || $n != length $requests->[$i]) {
                $results[$i] = { error => "write: $!" };
                shut($c, \%conns, $readers);
                next;
            }

            return 1;
        }

        return 0;
    };

    my $busy = 0;

    for (1 .. $parallel) {
        $busy++ if $give->({});
    }

    while ($busy && time() < $end) {
        for my $sock ($readers->can_read(0.5)) {
            my $c = $conns{fileno $sock} or next;
            my $n = sysread $sock, $c->{in}, 65536, length $c->{in};

            if (!defined $n) {
                next if $! == EAGAIN || $! == EINTR;
            }

            my $r = parse($c->{in}, !$n);

            next if !$r && $n;

            $r ||= { error => "closed after " . length($c->{in}) . " bytes" };
            $r->{time} = time() - $c->{start};
            $results[$c->{index}] = $r;

            if (!$n || $r->{close}) {
                shut($c, \%conns, $readers);
            }

            $busy-- if !$give->($c);
        }
    }

    for my $c (values %conns) {
        $results[$c->{index}] ||= { error => "no answer in time" };
        close $c->{sock} if $c->{sock};
    }

    $results[$_] ||= { error => "not sent" } for 0 .. $#$requests;

    return @results;
}


sub shut {
    my ($c, $conns, $readers) = @_;

    delete $conns->{fileno $c->{sock}};
    $readers->remove($c->{sock});
    close $c->{sock};
    $c->{sock} = undef;
}


# A complete answer, or undef.

sub parse {
    my ($in, $eof) = @_;

    # 100 Continue comes before it
    $in =~ s{^HTTP/1\.\d 1\d\d .*?\r\n\r\n}{}s;

    my $head = index $in, "\r\n\r\n";

    return undef if $head < 0;

    my ($line, @lines) = split /\r\n/, substr($in, 0, $head);
    my ($status) = $line =~ m{^HTTP/1\.\d (\d\d\d)} or return undef;
    my %headers;

    for (@lines) {
        $headers{lc $1} = $2 if /^([^:]+):\s*(.*)$/;
    }

    my $body = substr $in, $head + 4;
    my $close = ($headers{connection} || '') eq 'close';

    if (defined $headers{'content-length'}) {
        return undef if length $body < $headers{'content-length'};

    } elsif (($headers{'transfer-encoding'} || '') eq 'chunked') {
        my ($text, $rest) = ('', $body);

        for (;;) {
            return undef if $rest !~ s/^([0-9a-fA-F]+)\r\n//;

            my $len = hex $1;

            return undef if length $rest < $len + 2;

            last if $len == 0;

            $text .= substr $rest, 0, $len;
            $rest = substr $rest, $len + 2;
        }

        $body = $text;

    } elsif ($status != 204 && $status != 304 && !$eof) {
        return undef;
    }

    return { status => $status, headers => \%headers, body => $body,
             close => $close };
}


# The text of a POST with a JSON body.

sub post {
    my ($path, $body, %headers) = @_;

    my $lines = join '', map { "$_: $headers{$_}\r\n" } sort keys %headers;

    return "POST $path HTTP/1.1\r\nHost: localhost\r\n$lines"
           . "Content-Type: application/json\r\n"
           . "Content-Length: " . length($body) . "\r\n\r\n$body";
}


1;
