package TB::FakeBroker;

# An MQTT broker (3.1.1 and 5) that takes everything, passes nothing on, and
# acknowledges a message as late as it is told to, or never.
#
#     my $broker = TB::FakeBroker->start(ack => 0.1);      # seconds
#     $broker->{port};
#     $broker->tell('ack', '')             never from now on
#     $broker->tell('reason', 0x97)        with that reason code (MQTT 5)
#     $broker->in_flight();                for each message, how many had been
#                                          sent then and not acknowledged
#     $broker->topics();                   of all messages
#     $broker->lives();                    topic => message expiry interval
#                                          (seconds), "none" if it has none
#     $broker->subscriptions();            filters, in their order
#     $broker->told(0x21);                 that property of the last CONNECT
#     $broker->connects();                 how often somebody connected
#
# Options: serial => 1: "ack" is the time from one acknowledgement to the next.
# poison => TEXT: a message whose topic has this in it makes the broker close
# the connection; what it has not acknowledged by then it never does.  old =>
# 1: it knows nothing of MQTT 5.  refuse => PATTERN: filters that nobody may
# subscribe to; tell('refuse', PATTERN) changes that, '' is none.  connack =>
# BYTES: properties of its CONNACK (MQTT 5).

use strict;
use warnings;

use base 'TB::Child';

use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use TB::Env qw(free_port scratch);
use TB::MqttDevices;

my $started = 0;


sub start {
    my ($class, %opt) = @_;

    my $self = bless { port => free_port(), ack => '', %opt,
                       log => scratch() . '/fake-broker.' . $started++ },
                     $class;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                       LocalPort => $self->{port},
                                       Listen => 5, ReuseAddr => 1)
        or die "fake broker: $!\n";

    $self->spawn(sub { $self->loop($listen, @_) });
    close $listen;

    return $self;
}


sub loop {
    my ($self, $listen, $control) = @_;

    my $select = IO::Select->new($listen, $control);
    my (%in, @acks);

    open my $log, '>>', $self->{log} or die "$self->{log}: $!\n";
    $log->autoflush(1);

    for (;;) {
        my $wait = @acks ? $acks[0][0] - time() : 1;

        for my $sock ($select->can_read($wait < 0 ? 0 : $wait)) {
            if ($sock == $control) {
                return if !sysread $control, my $line, 4096;

                chomp $line;
                my ($what, $value) = split /\t/, $line;
                $self->{$what} = defined $value ? $value : '';
                syswrite $control, "ok\n";

            } elsif ($sock == $listen) {
                $select->add($listen->accept());
                print $log "connect\n";

            } else {
                my $open = sysread $sock, $in{$sock}, 65536,
                                   length($in{$sock} || '');

                while ($open && (my ($head, $body)
                                 = TB::MqttDevices::take(\$in{$sock})))
                {
                    my $id = $self->packet($log, $sock, $head, $body);

                    my $from = $self->{serial} && @acks ? $acks[-1][0]
                                                        : time();

                    push @acks, [$from + $self->{ack}, $sock, $id]
                        if $id && length $self->{ack};
                    $open = 0 if defined $id && !$id;
                }

                if (!$open) {
                    $select->remove($sock);
                    @acks = grep { $_->[1] != $sock } @acks;
                    delete $in{$sock};
                    delete $self->{five}{$sock};
                    close $sock;
                }
            }
        }

        while (@acks && $acks[0][0] <= time()) {
            my (undef, $sock, $id) = @{ shift @acks };

            print $log "ack\n";
            syswrite $sock, $self->{reason}
                            ? pack 'C C n C', 0x40, 3, $id, $self->{reason}
                            : pack 'C C n', 0x40, 2, $id;
        }
    }
}


# the id of a message, which is to be acknowledged; 0: the connection is closed

sub packet {
    my ($self, $log, $sock, $head, $body) = @_;

    my $type = $head >> 4;

    return $self->connected($log, $sock, $body) if $type == 1;

    syswrite $sock, "\xd0\0" if $type == 12;
    $self->subscribed($log, $sock, $type, $body) if $type == 8 || $type == 10;

    return if $type != 3;

    my ($topic, $rest) = unpack 'n/a* a*', $body;
    my $id = $head & 6 ? unpack 'n', substr $rest, 0, 2, '' : undef;

    print $log defined $id ? '' : "qos0 $topic\n", "publish $topic\n";
    printf $log "life %s %s\n", $topic, life($rest) if $self->{five}{$sock};

    return defined $self->{poison} && index($topic, $self->{poison}) >= 0
           ? 0 : $id;
}


sub connected {
    my ($self, $log, $sock, $body) = @_;

    my $five = unpack('x6 C', $body) == 5;

    if ($five && $self->{old}) {
        syswrite $sock, "\x20\x02\0\x01";
        return 0;
    }

    # Session Expiry Interval, Receive Maximum, Maximum Packet Size
    my %size = (0x11 => 'N', 0x21 => 'n', 0x27 => 'N');
    my $told = $five ? unpack 'x10 C/a*', $body : '';

    while ($told =~ s/^(.)//s && (my $format = $size{ord $1})) {
        my $n = unpack $format, $told;

        printf $log "told 0x%02x %d\n", ord $1, $n;
        substr $told, 0, length pack($format, 0), '';
    }

    $self->{five}{$sock} = $five;
    syswrite $sock, TB::MqttDevices::packet(0x20,
        "\0\0" . ($five ? pack 'C/a*', $self->{connack} // '' : ''));

    return;
}


# SUBSCRIBE, UNSUBSCRIBE

sub subscribed {
    my ($self, $log, $sock, $type, $body) = @_;

    my $five = $self->{five}{$sock};
    my $id = substr $body, 0, 2, '';
    my $codes = '';

    substr $body, 0, 1 + ord $body, '' if $five;

    while (length $body) {
        my $filter = unpack 'n/a*', $body;

        substr $body, 0, 2 + length($filter) + ($type == 8), '';
        print $log $type == 8 ? '' : 'un', "subscribe $filter\n";

        my $no = length($self->{refuse} // '') && $filter =~ $self->{refuse};

        $codes .= $type == 10 ? "\0" : !$no ? "\x01"
                  : $five ? "\x87" : "\x80";
    }

    $codes = '' if $type == 10 && !$five;
    syswrite $sock, TB::MqttDevices::packet($type == 8 ? 0x90 : 0xb0,
                                            $id . ($five ? "\0" : '')
                                            . $codes);
}


# what the properties of a PUBLISH say of its life

sub life {
    my ($rest) = @_;

    my ($length, $shift) = (0, 0);

    for (;;) {
        my $byte = ord substr $rest, 0, 1, '';

        $length |= ($byte & 127) << $shift;
        $shift += 7;
        last if $byte < 128;
    }

    my $properties = substr $rest, 0, $length;

    while (length $properties) {
        my $name = ord substr $properties, 0, 1, '';

        return unpack 'N', $properties if $name == 2;

        # a response topic and correlation data have a length of two bytes
        substr $properties, 0, $name == 1 ? 1
                               : 2 + unpack('n', $properties), '';
    }

    return 'none';
}


sub events {
    my ($self) = @_;

    open my $fh, '<', $self->{log} or return;

    return map { chomp; $_ } <$fh>;
}


sub topics { return map { /^publish (.*)/ ? $1 : () } $_[0]->events() }
sub lives { return map { /^life (.*) (\w+)$/ ? ($1, $2) : () } $_[0]->events() }
sub told {
    my ($self, $property) = @_;

    return (map { /^told (\S+) (\d+)/ && hex $1 == $property ? $2 : () }
            $self->events())[-1];
}


sub subscriptions { return map { /^subscribe (.*)/ ? $1 : () }
                           $_[0]->events() }
sub connects { return scalar grep { $_ eq 'connect' } $_[0]->events() }


sub in_flight {
    my ($self) = @_;

    my $n = 0;

    return map {
        $n = /^publish/ ? $n + 1 : /^ack/ ? $n - 1 : /^connect/ ? 0 : $n;
        /^publish/ ? $n : ();
    } $self->events();
}


1;
