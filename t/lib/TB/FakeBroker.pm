package TB::FakeBroker;

# An MQTT broker (3.1.1) that takes everything, passes nothing on, and
# acknowledges a message as late as it is told to, or never.
#
#     my $broker = TB::FakeBroker->start(ack => 0.1);      # seconds
#     $broker->{port};
#     $broker->tell('ack', '')             never from now on
#     $broker->in_flight();                for each message, how many had been
#                                          sent then and not acknowledged
#     $broker->topics();                   of all messages
#     $broker->connects();                 how often somebody connected
#
# With the option serial => 1 that is the time from one acknowledgement to the
# next.  With the option poison => TEXT a message whose topic has this in it makes the
# broker close the connection; what it has not acknowledged by then it never
# does.

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
                $self->{ack} = (split /\t/, $line)[1];
                $self->{ack} = '' if !defined $self->{ack};
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
                    my $id = $self->packet($log, $sock, $head >> 4, $body);

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
                    close $sock;
                }
            }
        }

        while (@acks && $acks[0][0] <= time()) {
            my (undef, $sock, $id) = @{ shift @acks };

            print $log "ack\n";
            syswrite $sock, pack('C C n', 0x40, 2, $id);
        }
    }
}


# the id of a message, which is to be acknowledged; 0 if it is poison

sub packet {
    my ($self, $log, $sock, $type, $body) = @_;

    syswrite $sock, "\x20\x02\0\0" if $type == 1;
    syswrite $sock, "\x90\x03" . substr($body, 0, 2) . "\x01" if $type == 8;
    syswrite $sock, "\xd0\0" if $type == 12;

    return if $type != 3;

    my ($topic, $id) = unpack 'n/a* n', $body;

    print $log "publish $topic\n";

    return defined $self->{poison} && index($topic, $self->{poison}) >= 0
           ? 0 : $id;
}


sub events {
    my ($self) = @_;

    open my $fh, '<', $self->{log} or return;

    return map { chomp; $_ } <$fh>;
}


sub topics { return map { /^publish (.*)/ ? $1 : () } $_[0]->events() }
sub connects { return scalar grep { $_ eq 'connect' } $_[0]->events() }


sub in_flight {
    my ($self) = @_;

    my $n = 0;

    return map {
        $n = /^publish/ ? $n + 1 : /^ack/ ? $n - 1 : 0;
        /^publish/ ? $n : ();
    } $self->events();
}


1;
