package TB::MqttPeer;

# Either end of an MQTT connection, packet by packet and byte by byte, so that
# it can send whatever there may be.
#
#     my $listen = TB::MqttPeer->listen();            a broker that is us
#     my $client = TB::MqttPeer->new(port => $port, version => 5);
#     $client->put(connect_packet(version => 5, id => 'x', user => 'token'));
#     my $broker = $listen->accept();                 undef: nobody came
#     my $packet = $broker->packet();                 { type, flags, body, ...
#                                                     fields by their names }
#                                                     undef: none in time
#     $broker->closed()                               it ends in time
#     $broker->silent()                               nothing comes
#
# Packets: connect_packet, connack_packet, publish_packet, subscribe_packet,
# unsubscribe_packet, suback_packet, unsuback_packet, ack_packet, simple_packet.
# Options: version (4), props (bytes, from property()), and the fields.  What
# has no option of its own is raw(HEAD, BODY).

use strict;
use warnings;

use Errno qw(EAGAIN EINTR);
use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use TB::Env qw(free_port scaled);

our @EXPORT = qw(raw varint string property connect_packet connack_packet
                 publish_packet subscribe_packet unsubscribe_packet
                 suback_packet unsuback_packet ack_packet simple_packet);

my @NAMES = qw(RESERVED CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP
               SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ PINGRESP
               DISCONNECT AUTH);
my %TYPE = map { $NAMES[$_] => $_ } 0 .. $#NAMES;

# of properties: a pack format, or what varies
my %FORMAT = (0x01 => 'C', 0x02 => 'N', 0x0b => 'v', 0x11 => 'N', 0x13 => 'n',
              0x17 => 'C', 0x18 => 'N', 0x19 => 'C', 0x21 => 'n', 0x22 => 'n',
              0x23 => 'n', 0x24 => 'C', 0x25 => 'C', 0x26 => 'pair',
              0x27 => 'N', 0x28 => 'C', 0x29 => 'C', 0x2a => 'C');


# --- bytes --------------------------------------------------------------------

sub varint {
    my ($n) = @_;

    my $bytes = '';

    while ($n > 127) {
        $bytes .= chr($n % 128 | 128);
        $n = int($n / 128);
    }

    return $bytes . chr $n;
}


sub string { return pack 'n/a*', $_[0] }
sub raw { return chr($_[0]) . varint(length $_[1]) . $_[1] }


sub property {
    my ($id, $value, $more) = @_;

    my $format = $FORMAT{$id} // 'string';

    return chr($id) . ($format eq 'v' ? varint($value)
                       : $format eq 'pair' ? string($value) . string($more)
                       : $format eq 'string' ? string($value)
                       : pack $format, $value);
}


sub props {
    my ($o) = @_;

    return '' if ($o->{version} // 4) != 5;

    my $props = $o->{props} // '';

    return varint(length $props) . $props;
}


# will => [TOPIC, PAYLOAD, QOS, RETAIN, PROPS]

sub connect_packet {
    my (%o) = (version => 4, id => '', keepalive => 60, clean => 1, @_);

    my $will = $o{will};
    my $flags = $o{flags} // ($o{clean} ? 2 : 0)
        | ($will ? 4 | ($will->[2] // 0) << 3 | ($will->[3] ? 0x20 : 0) : 0)
        | (defined $o{user} ? 0x80 : 0) | (defined $o{password} ? 0x40 : 0);

    return raw(0x10, string($o{name} // ($o{version} == 3 ? 'MQIsdp' : 'MQTT'))
        . pack('C C n', $o{version}, $flags, $o{keepalive}) . props(\%o)
        . string($o{id})
        . ($will ? props({ version => $o{version}, props => $will->[4] })
                   . string($will->[0]) . string($will->[1]) : '')
        . (defined $o{user} ? string($o{user}) : '')
        . (defined $o{password} ? string($o{password}) : ''));
}


sub connack_packet {
    my (%o) = (code => 0, present => 0, @_);

    return raw(0x20, pack('C C', $o{present}, $o{code}) . props(\%o));
}


sub publish_packet {
    my (%o) = (qos => 0, payload => '', id => 1, @_);

    return raw(0x30 | ($o{dup} ? 8 : 0) | $o{qos} << 1 | ($o{retain} ? 1 : 0),
               string($o{topic}) . ($o{qos} ? pack('n', $o{id}) : '')
               . props(\%o) . $o{payload});
}


# filters => [FILTER or [FILTER, OPTIONS], ...]

sub subscribe_packet {
    my (%o) = (id => 1, @_);

    return raw(0x82, pack('n', $o{id}) . props(\%o)
               . join '', map { ref ? string($_->[0]) . chr $_->[1]
                                    : string($_) . "\0" } @{ $o{filters} });
}


sub unsubscribe_packet {
    my (%o) = (id => 1, @_);

    return raw(0xa2, pack('n', $o{id}) . props(\%o)
               . join '', map { string($_) } @{ $o{filters} });
}


sub suback_packet {
    my (%o) = (id => 1, @_);

    return raw(0x90, pack('n', $o{id}) . props(\%o)
               . join '', map { chr } @{ $o{codes} });
}


sub unsuback_packet {
    my (%o) = (id => 1, codes => [], @_);

    return raw(0xb0, pack('n', $o{id}) . props(\%o)
               . join '', map { chr } @{ $o{codes} });
}


# PUBACK, PUBREC, PUBREL, PUBCOMP; reason: MQTT 5

sub ack_packet {
    my ($type, $id, $reason) = @_;

    return raw($TYPE{$type} << 4 | ($type eq 'PUBREL' ? 2 : 0),
               pack('n', $id) . (defined $reason ? chr $reason : ''));
}


sub simple_packet { return raw($TYPE{ $_[0] } << 4, '') }


# --- reading them -------------------------------------------------------------

sub take_string {
    my ($body) = @_;

    my $s = unpack 'n/a*', $$body;

    substr $$body, 0, 2 + length $s, '';

    return $s;
}


sub take_varint {
    my ($body) = @_;

    my ($n, $shift) = (0, 0);

    for (;;) {
        my $byte = ord substr $$body, 0, 1, '';

        $n |= ($byte & 127) << $shift;
        $shift += 7;
        return $n if $byte < 128;
    }
}


sub take_props {
    my ($self, $body) = @_;

    return '' if $self->{version} != 5 || !length $$body;

    my $n = take_varint($body);

    return substr $$body, 0, $n, '';
}


# its fields, into the packet

sub fields {
    my ($self, $p) = @_;

    my $body = $p->{body};

    if ($p->{type} eq 'CONNECT') {
        $p->{name} = take_string(\$body);
        @$p{qw(level connect_flags keepalive)} = unpack 'C C n', $body;
        substr $body, 0, 4, '';
        $self->{version} = $p->{level};
        $p->{props} = $self->take_props(\$body);
        $p->{id} = take_string(\$body);

        if ($p->{connect_flags} & 4) {
            $p->{will_props} = $self->take_props(\$body);
            $p->{will_topic} = take_string(\$body);
            $p->{will_payload} = take_string(\$body);
        }

        $p->{user} = take_string(\$body) if $p->{connect_flags} & 0x80;
        $p->{password} = take_string(\$body) if $p->{connect_flags} & 0x40;

    } elsif ($p->{type} eq 'CONNACK') {
        @$p{qw(present code)} = unpack 'C C', substr $body, 0, 2, '';
        $p->{props} = $self->take_props(\$body);

    } elsif ($p->{type} eq 'PUBLISH') {
        $p->{topic} = take_string(\$body);
        $p->{qos} = $p->{flags} >> 1 & 3;
        $p->{id} = unpack 'n', substr $body, 0, 2, '' if $p->{qos};
        $p->{props} = $self->take_props(\$body);
        $p->{payload} = $body;
        $body = '';

    } elsif ($p->{type} =~ /SUB/) {
        $p->{id} = unpack 'n', substr $body, 0, 2, '';
        $p->{props} = $self->take_props(\$body);

        if ($p->{type} =~ /ACK/) {
            $p->{codes} = [map { ord } split //, $body];
            $body = '';
        }

        while (length $body) {
            my $filter = take_string(\$body);

            push @{ $p->{filters} }, $filter;
            push @{ $p->{options} }, ord substr $body, 0, 1, ''
                if $p->{type} eq 'SUBSCRIBE';
        }

    } elsif (length $body >= 2 && $p->{type} =~ /^PUB/) {
        $p->{id} = unpack 'n', substr $body, 0, 2, '';
        $p->{reason} = ord $body if length $body;
        $body = '';
    }

    $p->{left} = $body;

    return $p;
}


# --- connections --------------------------------------------------------------

sub listen {
    my ($class, %o) = @_;

    my $port = $o{port} || free_port();
    my $sock = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                     LocalPort => $port, Listen => 4096,
                                     ReuseAddr => 1)
        or die "port $port: $!\n";

    return bless { sock => $sock, port => $port }, $class;
}


sub accept {
    my ($self, $seconds) = @_;

    return if !IO::Select->new($self->{sock})
                         ->can_read(scaled($seconds || 30));

    my $sock = $self->{sock}->accept() or return;

    return ref($self)->over($sock);
}


sub over {
    my ($class, $sock, %o) = @_;

    $sock->blocking(0);
    $sock->setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
        if $sock->isa('IO::Socket::INET');

    return bless { sock => $sock, in => '', version => 4, %o }, $class;
}


sub new {
    my ($class, %o) = @_;

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $o{port})
        or die "port $o{port}: $!\n";

    return $class->over($sock, %o);
}


# 1 if all of it was taken in time

sub put {
    my ($self, $bytes, $seconds) = @_;

    my $end = time() + scaled($seconds || 10);
    my $at = 0;

    local $SIG{PIPE} = 'IGNORE';

    while ($at < length $bytes) {
        my $n = syswrite $self->{sock}, $bytes, 65536, $at;

        if (defined $n) {
            $at += $n;

        } elsif ($! != EAGAIN && $! != EINTR || time() > $end) {
            return 0;

        } else {
            IO::Select->new($self->{sock})->can_write(0.1);
        }
    }

    return 1;
}


# what has come is in $self->{in}; 0: the end, undef: nothing in time

sub more {
    my ($self, $seconds) = @_;

    return if !IO::Select->new($self->{sock})->can_read($seconds);

    my $n = sysread $self->{sock}, $self->{in}, 262144, length $self->{in};

    return $n // ($! == EAGAIN || $! == EINTR ? undef : 0);
}


# no regular expression, which would copy all that has come

sub whole {
    my ($self) = @_;

    my $start = 1;
    my $n = 0;

    for (;;) {
        return if length $self->{in} <= $start;

        my $byte = ord substr $self->{in}, $start, 1;

        $n |= ($byte & 127) << 7 * ($start++ - 1);
        last if $byte < 128;
        die "a remaining length of 5 bytes\n" if $start > 4;
    }

    return if length $self->{in} < $start + $n;

    my $head = ord substr $self->{in}, 0, $start, '';

    return $self->fields({ type => $NAMES[$head >> 4], flags => $head & 15,
                           body => substr $self->{in}, 0, $n, '' });
}


sub packet {
    my ($self, $seconds) = @_;

    my $end = time() + scaled($seconds || 30);

    for (;;) {
        my $packet = $self->whole();

        return $packet if $packet;

        my $wait = $end - time();

        return if $wait <= 0;

        my $n = $self->more($wait);

        return if defined $n && $n == 0;
    }
}


sub closed {
    my ($self, $seconds) = @_;

    my $end = time() + scaled($seconds || 30);

    while ((my $wait = $end - time()) > 0) {
        my $n = $self->more($wait);

        return 1 if defined $n && $n == 0;
    }

    return 0;
}


# Nothing has come that was not taken, after both sides had what was before.

sub silent {
    my ($self, $seconds) = @_;

    my $n = $self->more($seconds || 0);

    return !length $self->{in} && !defined $n;
}


sub close { CORE::close($_[0]{sock}) }


1;
