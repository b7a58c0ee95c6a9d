package TB::Resp;

# A blocking Redis connection in plain Perl.  An error reply is an object
# whose text is its message, so that a test can look at it:
#
#     my $redis = TB::Resp->connect(port => 6379, user => 'bridge',
#                                   password => 'secret');
#     my $reply = $redis->command('HGET', 'key', 'field');
#     die $reply if TB::Resp::is_error($reply);
#     my @replies = $redis->pipeline(['PING'], ['TIME']);
#
# With ports => [...] it is a cluster, see TB::ClusterClient.

use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;


sub connect {
    my ($class, %opt) = @_;

    if ($opt{ports}) {
        require TB::Cluster;
        require TB::ClusterClient;
        return TB::ClusterClient->connect(%opt);
    }

    my $sock = defined $opt{path}
        ? IO::Socket::UNIX->new(Peer => $opt{path})
        : IO::Socket::INET->new(PeerAddr => $opt{host} || '127.0.0.1',
                                PeerPort => $opt{port}, Proto => 'tcp');

    return undef if !$sock;

    binmode $sock;
    my $self = bless { sock => $sock, in => '' }, $class;

    if (defined $opt{password}) {
        my $reply = $self->command('AUTH',
                                   defined $opt{user} ? $opt{user} : (),
                                   $opt{password});
        die "AUTH: $reply\n" if is_error($reply);
    }

    return $self;
}


sub is_error { return ref $_[0] eq 'TB::Resp::Error' }


# the reply; dies if it is an error

sub call {
    my $self = shift;
    my $reply = $self->command(@_);

    die "$_[0] $_[1]: $reply\n" if is_error($reply);

    return $reply;
}


sub command {
    my $self = shift;

    return ($self->pipeline([@_]))[0];
}


sub pipeline {
    my ($self, @commands) = @_;

    $self->send(@commands);

    return map { $self->reply() } @commands;
}


sub send {
    my ($self, @commands) = @_;

    my $out = join '', map {
        my @argv = map { my $s = "$_"; utf8::encode($s) if utf8::is_utf8($s);
                         $s } @$_;

        '*' . @argv . "\r\n"
        . join '', map { '$' . length($_) . "\r\n$_\r\n" } @argv;
    } @commands;

    while (length $out) {
        my $n = syswrite $self->{sock}, $out;

        die "Redis: write: $!\n" if !defined $n;
        substr $out, 0, $n, '';
    }
}


sub reply {
    my ($self) = @_;

    my $line = $self->line();
    my $type = substr $line, 0, 1, '';

    if ($type eq '+') {
        return $line;
    }

    if ($type eq ':') {
        return $line;
    }

    if ($type eq '-') {
        return bless \$line, 'TB::Resp::Error';
    }

    if ($type eq '$') {
        return undef if $line < 0;
        return $self->bytes($line);
    }

    if ($type eq '*') {
        return undef if $line < 0;
        return [ map { $self->reply() } 1 .. $line ];
    }

    die "Redis: unknown reply \"$type$line\"\n";
}


sub fill {
    my ($self) = @_;

    my $n = sysread $self->{sock}, $self->{in}, 65536, length $self->{in};

    die 'Redis: ' . (defined $n ? "closed\n" : "read: $!\n") if !$n;
}


sub line {
    my ($self) = @_;

    my $i;

    while (($i = index $self->{in}, "\r\n") < 0) {
        $self->fill();
    }

    my $line = substr $self->{in}, 0, $i;
    substr $self->{in}, 0, $i + 2, '';

    return $line;
}


sub bytes {
    my ($self, $len) = @_;

    while (length $self->{in} < $len + 2) {
        $self->fill();
    }

    my $bytes = substr $self->{in}, 0, $len;
    substr $self->{in}, 0, $len + 2, '';

    return $bytes;
}


# something to read within that many seconds

sub readable {
    my ($self, $seconds) = @_;

    return 1 if length $self->{in};

    my $set = '';
    vec($set, fileno $self->{sock}, 1) = 1;

    return select($set, undef, undef, $seconds) > 0;
}


package TB::Resp::Error;

use overload '""' => sub { ${$_[0]} }, 'bool' => sub { 1 }, fallback => 1;


1;
