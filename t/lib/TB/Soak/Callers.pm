package TB::Soak::Callers;

# Callers of all kinds in one process, one for each device: what each does next
# is left to chance.
#
#     my $callers = TB::Soak::Callers->start(nginx => $nginx, log => $path,
#                                            devices => [{ name, id, kind }],
#                                            expires => 30, first => 0);
#     $callers->tell('stop');         no more calls; how many are under way
#
# A line of the log is a call that has ended: its fields are in @FIELDS.  what:
# two, one: lightweight calls; ptwo, pone: persistent ones; get, list, del: of the
# last persistent call that its caller was told of.  n names a call, and is its
# params.  status: as HTTP said it, or why there is none; "wrong" behind a 200
# that can't be.

use strict;
use warnings;

use base 'TB::Child';

use Errno qw(EAGAIN EINTR);
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use TB::Client;
use TB::Env qw(scaled);
use TB::Fixture;
use TB::Load;
use TB::MqttDevices;

our @FIELDS = qw(what n device start end status result id);

my $TIMEOUT = 4000;         # of a two-way call, ms
my $PATIENCE = 6;           # seconds that an answer may be late

# what a caller does, and how often
my @todo = ((map { 'two' } 1 .. 4), (map { 'one' } 1 .. 2),
            (map { 'ptwo' } 1 .. 4), 'pone', 'pone', 'get', 'list', 'del');


sub start {
    my ($class, %opt) = @_;

    my $self = bless { pause => 0.4, %opt }, $class;

    return $self->spawn(sub { $self->loop(@_) });
}


sub loop {
    my ($self, $control) = @_;

    my $select = IO::Select->new($control);
    my @callers = map { { device => $_, next => time() + rand 1 } }
                  0 .. $#{ $self->{devices} };

    open $self->{out}, '>>:raw', $self->{log} or die "$self->{log}: $!\n";
    @$self{qw(select of n token)} = ($select, {}, $self->{first},
                                     macro('token:tenant'));
    srand;

    for (;;) {
        my $now = time();

        for my $c (@callers) {
            $self->next_call($c) if !$c->{call} && !$self->{stopped}
                                    && $c->{next} <= $now;
            $self->lost($c, 'hangs')
                if $c->{call} && $now - $c->{call}{start}
                                 > $TIMEOUT / 1000 + scaled($PATIENCE);
        }

        $self->{out}->flush();

        for my $sock ($select->can_read(0.02)) {
            if ($sock != $control) {
                $self->readable($self->{of}{fileno $sock});
                next;
            }

            return if !sysread $control, my $lines, 4096;

            $self->{stopped} = 1;
            syswrite $control, scalar(grep { $_->{call} } @callers) . "\n";
        }
    }
}


sub next_call {
    my ($self, $c) = @_;

    my $what = $todo[rand @todo];
    my $d = $self->{devices}[$c->{device}];

    $what = 'ptwo' if $what =~ /^(?:get|list|del)$/ && !$c->{last};

    $c->{call} = { what => $what, n => ++$self->{n}, device => $c->{device},
                   start => time(), id => '' };
    $c->{call}{id} = $c->{last} if $what =~ /^(?:get|list|del)$/;

    # gone for whom it has asked to be deleted
    delete $c->{last} if $what eq 'del';

    $self->write($c, $what eq 'list'
                     ? $self->request('GET', "device/$d->{id}?pageSize=50&page"
                                             . '=0&sortProperty=createdTime'
                                             . '&sortOrder=DESC')
                     : $what eq 'get' || $what eq 'del'
                     ? $self->request($what eq 'get' ? 'GET' : 'DELETE',
                                      $c->{call}{id})
                     : $self->{nginx}->text($d->{name}, 'run', $self->{n},
                           oneway => $what =~ /one/ ? 1 : 0,
                           $what =~ /^p/ ? (persistent => 1, expires =>
                                            $self->{expires} * (0.5 + rand))
                                         : (timeout => $TIMEOUT)));
}


sub request {
    my ($self, $method, $what) = @_;

    return TB::Client::text($method, "/api/rpc/persistent/$what", undef,
                            'X-Authorization' => "Bearer $self->{token}");
}


sub write {
    my ($self, $c, $text) = @_;

    $c->{in} = '';

    if (!$c->{sock}) {
        $c->{sock} = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                           PeerPort => $self->{nginx}{port});
        return $self->ended($c, "connect: $!") if !$c->{sock};

        $self->{select}->add($c->{sock});
        $self->{of}{fileno $c->{sock}} = $c;
    }

    $self->lost($c, 'closed')
        if (syswrite($c->{sock}, $text) // 0) != length $text;
}


sub readable {
    my ($self, $c) = @_;

    my $n = sysread $c->{sock}, $c->{in}, 65536, length $c->{in};

    return if !defined $n && ($! == EAGAIN || $! == EINTR);

    my $answer = $c->{call} && TB::Load::parse($c->{in}, !$n);

    if ($answer) {
        $self->answered($c, $answer);
        $self->shut($c) if $answer->{close} || !$n;

    } elsif (!$n) {
        $self->lost($c, 'closed');
    }
}


sub answered {
    my ($self, $c, $answer) = @_;

    my $call = $c->{call};
    my $body = $answer->{body};
    my $status = $answer->{status};

    $call->{result} = $answer->{headers}{'x-rpc-result'};

    if ($call->{what} =~ /^p/) {
        $call->{id} = $1 if $body =~ /([0-9a-f]{8}-[0-9a-f-]{27})/;
        $status .= ' wrong' if $status == 200 && $body !~ /^\{"rpcId":"/;
        $c->{last} = $call->{id} if $status eq '200';

    } elsif ($status == 200) {
        $status .= ' wrong' if !$self->fits($call, $body);
    }

    $self->ended($c, $status);
}


sub fits {
    my ($self, $call, $body) = @_;

    my $d = $self->{devices}[$call->{device}];

    return $body eq TB::Soak::Callers::answer_of($d, $call->{n})
        if $call->{what} eq 'two';

    return $body =~ /^\{"id":\{[^{}]*"id":"$call->{id}"/
        if $call->{what} eq 'get';

    # the newest 50 of its device, and its caller makes one at a time
    return $body =~ /"id":"$call->{id}"/ if $call->{what} eq 'list';

    return $body eq '';
}


sub answer_of {
    my ($device, $n) = @_;

    return $device->{kind} eq 'scripted'
           ? $n : TB::MqttDevices::answer_to($device->{id}, $n);
}


sub lost {
    my ($self, $c, $why) = @_;

    $self->shut($c);
    $self->ended($c, $why) if $c->{call};
}


sub ended {
    my ($self, $c, $status) = @_;

    my $call = delete $c->{call};

    @$call{qw(status end)} = ($status, time());
    $c->{next} = $call->{end} + rand $self->{pause};
    print { $self->{out} } join("\t", map { $_ // '' } @$call{@FIELDS}), "\n";
}


sub shut {
    my ($self, $c) = @_;

    my $sock = delete $c->{sock} or return;

    delete $self->{of}{fileno $sock};
    $self->{select}->remove($sock);
    close $sock;
}


1;
