package TB::Redis;

# A small RESP2 client for the tests: no dependency beyond core perl.
#
#   my $r = TB::Redis->connect(port => 6379, user => 'u', password => 'p');
#   $r->cmd('GET', 'key')         scalar, undef, array reference, or an
#                                 TB::Redis::Error; never dies on "-ERR"
#   $r->pipeline([...], [...])    the replies, in order
#   $r->ssubscribe('channel')
#   $r->message($seconds)         (channel, payload), or () after the time
#   $r->read($seconds)            any one reply

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Time::HiRes qw(time);


sub connect {
    my ($class, %opt) = @_;

    my $sock = $opt{unix}
        ? IO::Socket::UNIX->new(Peer => $opt{unix})
        : IO::Socket::INET->new(PeerAddr => $opt{host} // '127.0.0.1',
                                PeerPort => $opt{port}, Proto => 'tcp');

    die "can't connect to redis: $!\n" unless $sock;

    binmode $sock;
    $sock->autoflush(1);

    my $self = bless { sock => $sock, buf => '',
                       timeout => $opt{timeout} // 60 }, $class;

    if (defined $opt{user}) {
        my $reply = $self->cmd('AUTH', $opt{user}, $opt{password} // '');
        die "AUTH: $reply\n" if ref $reply;
    }

    return $self;
}


sub encode {
    my (@args) = @_;

    my $out = '*' . @args . "\r\n";

    for my $arg (@args) {
        my $bytes = "$arg";
        utf8::encode($bytes) if utf8::is_utf8($bytes);
        $out .= '$' . length($bytes) . "\r\n$bytes\r\n";
    }

    return $out;
}


sub send_cmd {
    my ($self, @args) = @_;

    my $out = encode(@args);

    while (length $out) {
        my $n = syswrite $self->{sock}, $out;
        die "write to redis: $!\n" unless defined $n;
        substr $out, 0, $n, '';
    }
}


sub cmd {
    my ($self, @args) = @_;

    $self->send_cmd(@args);

    return $self->read;
}


sub pipeline {
    my ($self, @commands) = @_;

    my @replies;

    # in parts that fit into socket buffers both ways

    while (my @part = splice @commands, 0, 100) {
        $self->send_cmd(@$_) for @part;
        push @replies, map { $self->read } @part;
    }

    return @replies;
}


sub fcall {
    my ($self, $name, $key, @args) = @_;

    return $self->cmd('FCALL', "tb_rpc_$name", 1, $key, @args);
}


sub ssubscribe {
    my ($self, @channels) = @_;

    for my $channel (@channels) {
        my $reply = $self->cmd('SSUBSCRIBE', $channel);
        die "SSUBSCRIBE: $reply\n" if ref $reply ne 'ARRAY';
    }
}


sub message {
    my ($self, $timeout) = @_;

    my $end = time + $timeout;

    while ((my $left = $end - time) > 0) {
        my $reply = eval { $self->read($left) };

        return if $@ =~ /^timeout/;
        die $@ if $@;

        next unless ref $reply eq 'ARRAY' && $reply->[0] =~ /^s?message$/;

        return @$reply[1, 2];
    }

    return;
}


sub fill {
    my ($self) = @_;

    my $left = $self->{end} - time;
    my $ready = IO::Select->new($self->{sock})->can_read($left > 0 ? $left
                                                                   : 0);

    die "timeout\n" unless $ready;

    my $n = sysread $self->{sock}, $self->{buf}, 65536, length $self->{buf};

    die "read from redis: $!\n" unless defined $n;
    die "redis closed the connection\n" unless $n;
}


# what comes before the end of a reply stays in the buffer when the time is
# over, so that the next read begins at a reply again

sub read {
    my ($self, $timeout) = @_;

    $self->{end} = time + ($timeout // $self->{timeout});

    my ($reply, $pos);

    until (($reply, $pos) = $self->parse(0)) {
        $self->fill;
    }

    substr $self->{buf}, 0, $pos, '';

    return $reply;
}


# () when the reply is not there to its end

sub parse {
    my ($self, $pos) = @_;

    my $nl = index $self->{buf}, "\r\n", $pos;

    return if $nl < 0;

    my $type = substr $self->{buf}, $pos, 1;
    my $line = substr $self->{buf}, $pos + 1, $nl - $pos - 1;

    $pos = $nl + 2;

    return ($line, $pos) if $type eq '+' || $type eq ':';
    return (TB::Redis::Error->new($line), $pos) if $type eq '-';

    if ($type eq '$') {
        return (undef, $pos) if $line < 0;
        return if length($self->{buf}) < $pos + $line + 2;
        return (substr($self->{buf}, $pos, $line), $pos + $line + 2);
    }

    die "not a reply of redis: $type$line\n" unless $type eq '*';

    return (undef, $pos) if $line < 0;

    my @list;

    for (1 .. $line) {
        my @one = $self->parse($pos);

        return unless @one;

        push @list, $one[0];
        $pos = $one[1];
    }

    return (\@list, $pos);
}


sub close {
    my ($self) = @_;

    close delete $self->{sock} if $self->{sock};
}


package TB::Redis::Error;

use strict;
use warnings;

use overload '""' => sub { $_[0]{message} }, fallback => 1;


sub new {
    my ($class, $message) = @_;

    return bless { message => $message }, $class;
}


1;
