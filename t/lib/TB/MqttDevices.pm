package TB::MqttDevices;

# Many MQTT devices in one process, each on a connection of its own (MQTT
# 3.1.1, QoS 1), as docs/mqtt-bridge.md wants them: last will, retained
# status, a session in the broker.  An answer is repeated after a reconnect
# until the broker has acknowledged it.
#
#     my $devices = TB::MqttDevices->start(port => $mqtt->{port},
#                                          ids => \@ids, delay => [0.1, 0.5]);
#     $devices->online(10);      all are there within so many seconds
#     $devices->drop();          every connection is closed, without a word;
#                                they come back within a second (pause)
#     $devices->count('waiting') answers that the broker does not have yet
#     $devices->deliveries();    what was received: { time (ms), device, id,
#                                dup, params }, the oldest first
#
#     TB::MqttDevices::publish($port, [$topic, $payload, $retain], ...);
#     TB::MqttDevices::settings($redis, ack_timeout => 500, ...);
#     my ($rpc, $command) = TB::MqttDevices::create($device, $params);
#                                for a pipeline: a persistent two-way call
#     my $history = TB::MqttDevices::history($redis);
#     my $claims = TB::MqttDevices::claims($redis, $monitor, $calls);
#
# Options: delay (seconds before an answer, from and to), pause (the longest
# before a device connects again), mute (a pattern of methods that get no
# answer).  The answer to params P is {"device":"<id>","got":P}.
#
# The devices are in several processes, 250 in each: select() has its limits.

use strict;
use warnings;

use IO::Handle;
use IO::Socket::INET;

use TB::Bridge;
use TB::Env qw(scratch scaled wait_for);
use TB::Mqtt;

my $started = 0;
my $stamp = 0;
my $created = 0;


sub start {
    my ($class, %opt) = @_;

    my @ids = @{ delete $opt{ids} };
    my $self = bless { parts => [] }, $class;

    while (my @part = splice @ids, 0, 250) {
        my $part = bless { delay => [0, 0], pause => 0.7, %opt,
                           ids => [@part],
                           log => scratch() . '/devices.' . $started++ },
                         'TB::MqttDevices::Part';

        push @{ $self->{parts} }, $part;
        $part->spawn(sub { $part->loop(@_) });
    }

    return $self;
}


sub tell {
    my ($self, @words) = @_;

    return map { $_->tell(@words) } @{ $self->{parts} };
}


sub stop { $_->stop() for @{ $_[0]{parts} } }
sub drop { $_[0]->tell('drop') }


# online: those that said so; waiting: answers that are to be given; both
# count when the broker has acknowledged it

sub count {
    my ($self, $what) = @_;

    my $n = 0;

    $n += $_ for $self->tell($what);

    return $n;
}


sub online {
    my ($self, $seconds) = @_;

    my $all = 0;

    $all += @{ $_->{ids} } for @{ $self->{parts} };

    return wait_for { $self->count('online') == $all } $seconds;
}


sub deliveries {
    my ($self) = @_;

    my @all;

    # whatever the broker has sent is read before it answers
    $self->tell('sync');

    for my $part (@{ $self->{parts} }) {
        open my $fh, '<:raw', $part->{log} or next;

        while (my $line = <$fh>) {
            chomp $line;
            my %d;
            @d{qw(time device id dup params)} = split /\t/, $line, 5;
            push @all, \%d;
        }
    }

    return sort { $a->{time} <=> $b->{time} } @all;
}


sub answer_to { return "{\"device\":\"$_[0]\",\"got\":$_[1]}" }


# --- MQTT -------------------------------------------------------------------

sub packet {
    my ($head, $body) = @_;

    my ($length, $size) = (length $body, '');

    do {
        $size .= chr($length & 127 | ($length > 127 ? 128 : 0));
        $length >>= 7;
    } while ($length);

    return chr($head) . $size . $body;
}


sub connect_packet {
    my ($id, %opt) = @_;

    my $flags = ($opt{clean} ? 2 : 0) | (defined $opt{will} ? 0x2c : 0);

    return packet(0x10, pack('n/a* C C n', 'MQTT', 4, $flags, 0)
                        . pack('n/a*', $id)
                        . (defined $opt{will}
                           ? pack 'n/a* n/a*', $opt{will}, 'offline' : ''));
}


sub publish_packet {
    my ($mid, $topic, $payload, $flags) = @_;

    return packet(0x32 | ($flags || 0), pack('n/a* n', $topic, $mid)
                                        . $payload);
}


# the first packet of a buffer, taken out: (first byte, body), or nothing

sub take {
    my ($in) = @_;

    my ($length, $pos) = (0, 1);

    for (my $shift = 0; ; $shift += 7) {
        return if length $$in <= $pos;

        my $byte = ord substr $$in, $pos++, 1;

        $length |= ($byte & 127) << $shift;
        last if $byte < 128;
    }

    return if length $$in < $pos + $length;

    my $head = ord $$in;
    my $body = substr $$in, $pos, $length;

    substr $$in, 0, $pos + $length, '';

    return ($head, $body);
}


# publishes all with QoS 1; returns when the broker has acknowledged them

sub publish {
    my ($port, @messages) = @_;

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $port)
        or die "broker: $!\n";
    my ($in, $mid, $acked, $total) = ('', 0, 0, scalar @messages);

    binmode $sock;
    print $sock connect_packet("publisher-$$-" . $started++, clean => 1);
    $sock->flush();

    local $SIG{ALRM} = sub { die "the broker does not acknowledge\n" };
    alarm scaled(300);

    for (my $connected = 0; $acked < $total; ) {
        sysread($sock, $in, 65536, length $in) or die "broker: closed\n";

        while (my ($head) = take(\$in)) {
            $connected = 1 if $head >> 4 == 2;
            $acked++ if $head >> 4 == 4;
        }

        # no more under way than the broker queues without ado
        while ($connected && @messages && $mid - $acked < 100) {
            my ($topic, $payload, $retain) = @{ shift @messages };

            print $sock publish_packet($mid++ % 65535 + 1, $topic, $payload,
                                       $retain ? 1 : 0);
        }

        $sock->flush();
    }

    alarm 0;
    syswrite $sock, packet(0xe0, '');
    close $sock;
}


# --- what Redis knows -------------------------------------------------------

# settings of all shards, as a newer configuration

sub settings {
    my ($redis, %set) = @_;

    $stamp++;
    $redis->fcall('tb_rpc_config', TB::Bridge::prefix($_) . "config", $stamp, shards => 128,
                  %set) for 0 .. 127;
}


sub create {
    my ($device, $params) = @_;

    my $rpc = sprintf '%08x-0000-11ee-%04x-030000000000', ++$created,
                      0x8000 | TB::Bridge::shard($device);

    return ($rpc, ['FCALL', 'tb_rpc_create', 1,
                   TB::Bridge::key('device', $device), $rpc, '', 0, 1,
                   $TB::Mqtt::TENANT, '*', '"run"', $params, '', '', 600000,
                   '', '', 'wait', '', '', '']);
}


# The life of every persistent call, of the events: for each rpcId
# { sent, claims admitted; late, those of them after its answer; taken, when
# (ms) its answer was }.

sub history {
    my ($redis) = @_;

    my %history;

    for my $shard (0 .. 127) {
        my $events = $redis->call('XRANGE', TB::Bridge::prefix($shard) . "events", '-', '+');

        for (@$events) {
            my %e = @{ $_->[1] };
            my $h = $history{$e{rpcId}} ||= { sent => 0, late => 0 };

            if ($e{event} eq 'SENT') {
                $h->{defined $h->{taken} ? 'late' : 'sent'}++;

            } elsif ($e{event} eq 'SUCCESSFUL') {
                $h->{taken} = $e{time};
            }
        }
    }

    return \%history;
}


# A call that is sent again, since the connection broke, makes no event: Redis
# is asked whether it is still open.  So each command is looked at, as a
# connection saw them on which MONITOR was said before: { rpcId => how often it
# was taken, or asked about, before its answer }; calls have device, id, rpc.

sub claims {
    my ($redis, $monitor, $calls) = @_;

    my %rpc = map { ("$_->{device} $_->{id}" => $_->{rpc}) } @$calls;
    my (%claims, %taken);

    $redis->call('ECHO', 'no more');

    for (;;) {
        my $line = $monitor->reply();

        if ($line =~ /lua\] "XADD" .* "rpcId" "([^"]+)" "event" "(\w+)/) {
            $taken{$1} = 1 if $2 eq 'SUCCESSFUL';
            $claims{$1}++ if $2 eq 'SENT' && !$taken{$1};

        } elsif ($line =~ /\] "HEXISTS" "[^"]+:([^":]+)" "(\d+)"/) {
            my $rpc = $rpc{"$1 $2"};

            $claims{$rpc}++ if $rpc && !$taken{$rpc};
        }

        last if $line =~ /"ECHO" "no more"/;
    }

    return \%claims;
}


# --- a process of devices ---------------------------------------------------

package TB::MqttDevices::Part;

use strict;
use warnings;

use base 'TB::Child';

use Errno qw(EAGAIN EINPROGRESS EINTR);
use IO::Handle;
use Socket;
use Time::HiRes qw(time);


sub loop {
    my ($self, $control) = @_;

    open $self->{out}, '>>:raw', $self->{log} or die "$self->{log}: $!\n";

    $0 = 'mqtt devices';
    srand;
    $self->{due} = [];
    $self->{devices} = [ map { { id => $_, retry => 0, mid => 0,
                                 unacked => {} } } @{ $self->{ids} } ];

    for (;;) {
        my ($read, $write) = ('', '');
        my $now = time();

        $self->answers($now);

        vec($read, fileno $control, 1) = 1;

        for my $d (@{ $self->{devices} }) {
            $self->connect($d) if !$d->{sock} && $d->{retry} <= $now;
            next if !$d->{sock};

            vec($read, $d->{fd}, 1) = 1;
            vec($write, $d->{fd}, 1) = 1
                if (length $d->{put} || !$d->{up}) && !$d->{broken};
        }

        next if select($read, $write, undef, $self->wait($now)) <= 0;

        for my $d (@{ $self->{devices} }) {
            next if !$d->{sock};

            my $fd = $d->{fd};

            $self->readable($d) if vec $read, $fd, 1;
            $self->flush($d) if $d->{sock} && vec $write, $fd, 1;
        }

        $self->{out}->flush();

        if (vec $read, fileno $control, 1) {
            return if !sysread $control, my $lines, 4096;
            syswrite $control, $self->obey($_) . "\n" for split /\n/, $lines;
        }
    }
}


# seconds until something is to be done

sub wait {
    my ($self, $now) = @_;

    my $wait = 0.1;
    my $first = $self->{due}[0];

    $wait = $first->[0] - $now if $first && $first->[0] - $now < $wait;

    return $wait > 0.001 ? $wait : 0.001;
}


sub obey {
    my ($self, $word) = @_;

    if ($word eq 'drop') {
        $self->lost($_) for grep { $_->{sock} } @{ $self->{devices} };

    } elsif ($word eq 'online') {
        return scalar grep { $_->{online} } @{ $self->{devices} };

    } elsif ($word eq 'waiting') {
        my $n = @{ $self->{due} };

        $n += keys %{ $_->{unacked} } for @{ $self->{devices} };
        return $n;
    }

    return 'ok';
}


sub connect {
    my ($self, $d) = @_;

    socket $d->{sock}, PF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    $d->{sock}->blocking(0);
    $d->{fd} = fileno $d->{sock};
    setsockopt $d->{sock}, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1;

    @$d{qw(in up ready online broken)} = ('', 0, 0, 0, 0);
    $d->{put} = TB::MqttDevices::connect_packet($d->{id},
                    will => "v1/devices/$d->{id}/status");

    if (!CORE::connect($d->{sock}, sockaddr_in($self->{port},
                                               INADDR_LOOPBACK))
        && $! != EINPROGRESS)
    {
        $self->lost($d);
    }
}


sub lost {
    my ($self, $d) = @_;

    close delete $d->{sock};
    $d->{online} = 0;
    $d->{retry} = time() + rand $self->{pause};
}


sub put {
    my ($self, $d, $bytes) = @_;

    $d->{put} .= $bytes;
    $self->flush($d) if $d->{up} && !$d->{broken};
}


sub flush {
    my ($self, $d) = @_;

    $d->{up} = 1;

    while (length $d->{put}) {
        my $n = syswrite $d->{sock}, $d->{put};

        if (!defined $n) {
            # what there is to read is read to its end
            $d->{broken} = 1 if $! != EAGAIN && $! != EINTR;
            return;
        }

        substr $d->{put}, 0, $n, '';
    }
}


sub readable {
    my ($self, $d) = @_;

    my $n = sysread $d->{sock}, $d->{in}, 65536, length $d->{in};

    return if !defined $n && ($! == EAGAIN || $! == EINTR);
    return $self->lost($d) if !$n;

    while (my ($head, $body) = TB::MqttDevices::take(\$d->{in})) {
        $self->received($d, $head, $body);
    }
}


sub received {
    my ($self, $d, $head, $body) = @_;

    my $type = $head >> 4;

    if ($type == 2) {
        # who can hear calls says that it is there, not before
        $self->put($d, TB::MqttDevices::packet(0x82,
            pack 'n n/a* C', $self->mid($d), "v1/devices/$d->{id}/rpc/"
                                             . 'request/+', 1));

    } elsif ($type == 9) {
        $d->{status} = $self->mid($d);
        $self->put($d, TB::MqttDevices::publish_packet($d->{status},
            "v1/devices/$d->{id}/status", 'online', 1));

        # what the connection before this one took with it
        $self->put($d, TB::MqttDevices::publish_packet($_,
            @{ $d->{unacked}{$_} }, 8))
            for sort { $a <=> $b } keys %{ $d->{unacked} };
        $d->{ready} = 1;

    } elsif ($type == 4) {
        my $mid = unpack 'n', $body;

        delete $d->{unacked}{$mid};
        $d->{online} = 1 if $mid == ($d->{status} || 0);

    } elsif ($type == 3) {
        $self->called($d, $head, $body);
    }
}


sub called {
    my ($self, $d, $head, $body) = @_;

    my ($topic, $payload) = unpack 'n/a* a*', $body;
    my $mid = $head & 6 ? substr $payload, 0, 2, '' : '';
    my ($id) = $topic =~ m{/request/(\d+)$};
    my ($method, $params) = $payload
        =~ /^\{"method":"((?:[^"\\]|\\.)*)","params":(.*)\}$/s;

    # a call that was answered has been acknowledged before
    $self->put($d, TB::MqttDevices::packet(0x40, $mid)) if length $mid;

    $params = "($payload)" if !defined $params;
    printf { $self->{out} } "%.3f\t%s\t%s\t%d\t%s\n", time() * 1000,
        $d->{id}, $id, $head & 8 ? 1 : 0, $params;

    return if defined $self->{mute} && $method =~ $self->{mute};

    my ($from, $to) = @{ $self->{delay} };
    my $due = $self->{due};
    my $at = time() + $from + rand($to - $from);
    my $i = @$due;

    # nearly always near the end
    $i-- while $i && $due->[$i - 1][0] > $at;
    splice @$due, $i, 0, [$at, $d, $id,
                          TB::MqttDevices::answer_to($d->{id}, $params)];
}


sub answers {
    my ($self, $now) = @_;

    while (@{ $self->{due} } && $self->{due}[0][0] <= $now) {
        my (undef, $d, $id, $answer) = @{ shift @{ $self->{due} } };
        my $mid = $self->mid($d);

        $d->{unacked}{$mid} = ["v1/devices/$d->{id}/rpc/response/$id",
                               $answer];

        $self->put($d, TB::MqttDevices::publish_packet($mid,
            @{ $d->{unacked}{$mid} })) if $d->{sock} && $d->{ready};
    }
}


sub mid {
    my ($self, $d) = @_;

    do {
        $d->{mid} = $d->{mid} % 65535 + 1;
    } while $d->{unacked}{$d->{mid}};

    return $d->{mid};
}


1;
