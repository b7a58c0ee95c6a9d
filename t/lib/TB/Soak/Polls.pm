package TB::Soak::Polls;

# Devices that poll over HTTP, each on a connection of its own: what they get is
# written down and answered, as TB::MqttDevices do.
#
#     TB::Soak::Polls->start(port => $nginx->{port}, log => $path,
#                            devices => [{ id, token }]);
#
# A line of the log: time (ms), device, id of the request, 0, params.  An answer
# is given again until it was taken.

use strict;
use warnings;

use base 'TB::Child';

use Errno qw(EAGAIN EINTR);
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use TB::Client;
use TB::Env qw(scaled);
use TB::Load;
use TB::MqttDevices;

my $POLL = 5000;            # ms


sub start {
    my ($class, %opt) = @_;

    my $self = bless { %opt }, $class;

    return $self->spawn(sub { $self->loop(@_) });
}


sub loop {
    my ($self, $control) = @_;

    my @devices = map { { %$_, next => 0 } } @{ $self->{devices} };

    @$self{qw(select of)} = (IO::Select->new($control), {});
    open $self->{out}, '>>:raw', $self->{log} or die "$self->{log}: $!\n";

    for (;;) {
        my $now = time();

        for my $d (@devices) {
            $self->ask($d) if !$d->{asked} && $d->{next} <= $now;
            $self->shut($d)
                if $d->{asked} && $now - $d->{asked} > $POLL / 1000 + scaled(8);
        }

        for my $sock ($self->{select}->can_read(0.02)) {
            return if $sock == $control && !sysread $control, my $line, 4096;
            $self->readable($self->{of}{fileno $sock}) if $sock != $control;
        }
    }
}


# what is to be answered goes first

sub ask {
    my ($self, $d) = @_;

    if (!$d->{sock}) {
        $d->{sock} = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                           PeerPort => $self->{port});
        return $d->{next} = time() + 0.1 if !$d->{sock};

        $self->{select}->add($d->{sock});
        $self->{of}{fileno $d->{sock}} = $d;
    }

    my $text = $d->{answer}
        ? TB::Client::text('POST', "/api/v1/$d->{token}/rpc/$d->{answer}[0]",
                           $d->{answer}[1])
        : TB::Client::text('GET', "/api/v1/$d->{token}/rpc?timeout=$POLL");

    @$d{qw(in asked)} = ('', time());
    $self->shut($d) if (syswrite($d->{sock}, $text) // 0) != length $text;
}


sub readable {
    my ($self, $d) = @_;

    my $n = sysread $d->{sock}, $d->{in}, 65536, length $d->{in};

    return if !defined $n && ($! == EAGAIN || $! == EINTR);

    my $answer = $d->{asked} && TB::Load::parse($d->{in}, !$n);

    if ($answer) {
        $d->{asked} = 0;
        $self->told($d, $answer);
        $self->shut($d) if $answer->{close} || !$n;

    } elsif (!$n) {
        $self->shut($d);
    }
}


sub told {
    my ($self, $d, $answer) = @_;

    # Redis is away, or does not know yet
    $d->{next} = time() + 0.2 if $answer->{status} !~ /^(?:200|408)$/;

    if ($d->{answer}) {
        delete $d->{answer} if $answer->{status} == 200;

    } elsif ($answer->{status} == 200) {
        my ($id, $params) = $answer->{body}
            =~ /^\{"id":(\d+),"method":"run","params":(.*)\}$/;

        syswrite $self->{out}, sprintf "%.3f\t%s\t%s\t0\t%s\n",
                 time() * 1000, $d->{id}, $id // 0,
                 $params // "($answer->{body})";
        $d->{answer} = [$id, TB::MqttDevices::answer_to($d->{id}, $params)];
    }
}


sub shut {
    my ($self, $d) = @_;

    my $sock = delete $d->{sock} or return;

    delete $self->{of}{fileno $sock};
    $self->{select}->remove($sock);
    close $sock;
    @$d{qw(asked next)} = (0, time() + 0.05);
}


1;
