#!/usr/bin/perl

# The MQTT filter packet by packet: we are the device, and the broker behind
# nginx as well.  Every type of packet in all three versions, in one piece, all
# together, cut at each byte and byte by byte, in both directions; what CONNECT
# and CONNACK become; lengths at their borders; 20 MB to a reader that stalls.
#
# runs: side by side, 35 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5;
use IO::Select;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;

use TB::Env qw(scaled wait_for);
use TB::MqttFront;
use TB::MqttPeer;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $listen->{port},
                                 username => 'nginx', password => 'secret');
my ($id, $token) = $front->device('a');
my ($other, $others) = $front->device('b');

# a connection that nothing happens on, but that what was sent on another one
# before is read by nginx
my ($sync, $sync_broker) = session(version => 4, user => $others);


# a device's connection and the broker's end of it

sub session {
    my (%o) = (version => 4, id => 'me', user => $token, @_);

    my $client = TB::MqttPeer->new(port => $front->{port},
                                   version => $o{version});

    $client->put(connect_packet(%o));

    my $broker = $listen->accept() or die 'no connection: '
                                          . $front->error_log();
    my $connect = $broker->packet() or die "no CONNECT\n";

    $broker->put(connack_packet(version => $o{version},
                                props => $o{connack} // ''));

    my $connack = $client->packet() or die "no CONNACK\n";

    return ($client, $broker, $connect, $connack);
}


sub sync {
    $sync->put(simple_packet('PINGREQ'));
    $sync_broker->packet() or die "nginx is gone\n";
}


# the same topics on either side

sub here { return "v1/devices/me/$_[0]" }
sub there { return "v1/devices/$id/$_[0]" }
sub other { return "v1/others/$id/$_[0]" }


# --- every packet -------------------------------------------------------------

# [name, what the device sends, what the broker gets]

sub from_device {
    my ($v) = @_;

    my @v = (version => $v);
    my @packets;
    my $publish = sub {
        my ($name, $from, $to, @more) = @_;

        push @packets, ["PUBLISH $name",
                        publish_packet(@v, topic => $from, @more),
                        publish_packet(@v, topic => $to, @more)];
    };

    for my $qos (0 .. 2) {
        $publish->("QoS $qos", here('telemetry'), there('telemetry'),
                   qos => $qos, id => 0x1234, payload => "{\"q\":$qos}");
    }

    $publish->('retained', here('attributes'), there('attributes'),
               qos => 1, retain => 1, payload => 'x' x 40);
    $publish->('again', here('attributes'), there('attributes'),
               qos => 2, dup => 1, id => 65535, payload => "\0\xff\x10");
    $publish->('empty', here('x'), there('x'), retain => 1);
    $publish->('of a gateway', 'v1/gateway/connect',
               "v1/gateways/$id/connect", payload => 'y' x 600);
    $publish->('not mapped', 'sensors/1', other('sensors/1'), qos => 1);
    $publish->('to another one', "v1/devices/$other/x",
               other("v1/devices/$other/x"));
    $publish->('prefix alone', here(''), there(''));
    $publish->('near the prefix', 'v1/devices/me', other('v1/devices/me'));
    $publish->('unicode', here("\xc3\xa4\xf0\x9f\x98\x80"),
               there("\xc3\xa4\xf0\x9f\x98\x80"));
    $publish->('of 513 bytes', here('t'), there('t'), payload => 'z' x 513);

    for my $type (qw(PUBACK PUBREC PUBREL PUBCOMP)) {
        push @packets, [$type, (ack_packet($type, 77)) x 2];
        push @packets, ["$type with a reason", (ack_packet($type, 78, 0x10))
                                               x 2] if $v == 5;
    }

    push @packets, ['SUBSCRIBE',
        subscribe_packet(@v, id => 9, filters => [
            [here('rpc/request/+'), 1], [here('#'), 2], ['#', 0],
            ['+/+', 1], ['v1/devices/+/rpc/request/+', 1],
            ['$share/g/' . here('x/+'), 1], ['$share/g/#', 0],
            ['$SYS/#', 0], ['$share/g', 0], ['$share//x', 0], ['/', 0]]),
        subscribe_packet(@v, id => 9, filters => [
            [there('rpc/request/+'), 1], [there('#'), 2], [other('#'), 0],
            [other('+/+'), 1], [other('v1/devices/+/rpc/request/+'), 1],
            ['$share/g/' . there('x/+'), 1], ['$share/g/' . other('#'), 0],
            [other('$SYS/#'), 0], [other('$share/g'), 0],
            [other('$share//x'), 0], [other('/'), 0]])];
    push @packets, ['UNSUBSCRIBE',
        unsubscribe_packet(@v, id => 10, filters => [
            here('rpc/request/+'), '$share/g/' . here('x/+'), '#']),
        unsubscribe_packet(@v, id => 10, filters => [
            there('rpc/request/+'), '$share/g/' . there('x/+'), other('#')])];
    push @packets, ['PINGREQ', (simple_packet('PINGREQ')) x 2];

    return (@packets, $v == 5 ? five_from_device(@v) : ());
}


sub five_from_device {
    my (@v) = @_;

    my @packets;
    my $all = property(1, 1) . property(2, 3600) . property(3, 'text/plain')
              . property(9, "\0cor") . property(0x26, 'a', 'b') x 2;

    push @packets, ['PUBLISH with properties', map {
        publish_packet(@v, topic => $_->[0], qos => 1, payload => 'p',
                       props => $all . property(8, $_->[1])
                                . property(0x26, 'c', 'd'))
    } [here('t'), here('answer/1')], [there('t'), there('answer/1')]];
    push @packets, ['PUBLISH with a foreign response topic', map {
        publish_packet(@v, topic => $_->[0], props => property(8, $_->[1]))
    } [here('t'), "v1/devices/$other/x"],
      [there('t'), other("v1/devices/$other/x")]];
    push @packets, ['PUBLISH with an alias', map {
        publish_packet(@v, topic => $_, props => property(0x23, 7))
    } here('aliased'), there('aliased')];
    push @packets, ['PUBLISH by its alias', (publish_packet(@v, topic => '',
        qos => 2, payload => 'p', props => property(0x23, 7))) x 2];
    push @packets, ['PUBLISH with long properties', map {
        publish_packet(@v, topic => $_->[0], payload => 'p' x 700,
                       props => property(0x26, 'k' x 70, 'v' x 4000)
                                . property(8, $_->[1]))
    } [here('t'), 'else'], [there('t'), other('else')]];
    push @packets, ['SUBSCRIBE with properties', map {
        subscribe_packet(@v, id => 11, filters => [[$_, 0x2d]],
                         props => property(0x0b, 268435455)
                                  . property(0x26, 'a', 'b'))
    } here('s'), there('s')];
    push @packets, ['UNSUBSCRIBE with properties', map {
        unsubscribe_packet(@v, id => 12, filters => [$_],
                           props => property(0x26, 'a', 'b'))
    } here('s'), there('s')];
    push @packets, ['PUBACK with properties',
        (raw(0x40, pack('n C', 5, 0x80) . varint(6) . property(0x1f, 'bad')))
        x 2];

    return @packets;
}


sub from_broker {
    my ($v) = @_;

    my @v = (version => $v);
    my @packets;

    for my $qos (0 .. 2) {
        push @packets, ["delivery, QoS $qos", map {
            publish_packet(@v, topic => $_, qos => $qos, id => 300 + $qos,
                           retain => 1, dup => $qos, payload => 'd' x 30)
        } there('rpc/request/1'), here('rpc/request/1')];
    }

    push @packets, ['delivery of 5 KB', map {
        publish_packet(@v, topic => $_, payload => 'd' x 5000)
    } "v1/gateways/$id/rpc", 'v1/gateway/rpc'];
    push @packets, ['delivery of what is not mapped', map {
        publish_packet(@v, topic => $_, qos => 1, payload => '')
    } other('a/b'), 'a/b'];
    push @packets, [$_, (ack_packet($_, 99)) x 2]
        for qw(PUBACK PUBREC PUBREL PUBCOMP);
    push @packets, ['SUBACK', (suback_packet(@v, id => 9, codes =>
        [0, 1, 2, $v == 5 ? 0x87 : 0x80])) x 2];
    push @packets, ['UNSUBACK', (unsuback_packet(@v, id => 9, codes =>
        $v == 5 ? [0, 0x11] : [])) x 2];
    push @packets, ['PINGRESP', (simple_packet('PINGRESP')) x 2];

    return @packets if $v != 5;

    push @packets, ['delivery with properties', map {
        publish_packet(@v, topic => $_->[0], payload => 'p' x 600,
                       props => property(0x0b, 3) . property(0x0b, 200)
                                . property(8, $_->[1]) . property(9, 'c')
                                . property(2, 9) . property(0x26, 'a', 'b'))
    } [there('x'), there('y')], [here('x'), here('y')]];
    push @packets, ['delivery with a foreign response topic', map {
        publish_packet(@v, topic => $_, props => property(8, 'replies/1'))
    } there('x'), here('x')];
    push @packets, ['delivery with an alias', map {
        publish_packet(@v, topic => $_, props => property(0x23, 255))
    } there('al'), here('al')];
    push @packets, ['delivery by its alias', (publish_packet(@v,
        topic => '', props => property(0x23, 255), payload => 'x')) x 2];
    push @packets, ['SUBACK with properties', (suback_packet(@v, codes => [1],
        props => property(0x1f, 'fine') . property(0x26, 'a', 'b'))) x 2];

    return @packets;
}


# $bytes on one side is $wanted on the other, and no more

sub passes {
    my ($to, $wanted) = @_;

    my $end = time() + scaled(30);

    while (length $to->{in} < length $wanted && time() < $end) {
        my $n = $to->more(1);

        last if defined $n && $n == 0;
    }

    sync() if length $to->{in} == length $wanted;
    $to->more(0);

    my $same = $to->{in} eq $wanted;

    $same or diag(unpack('H200', $to->{in}) . ' is not '
                  . unpack('H200', $wanted));
    $to->{in} = '';

    return $same;
}


sub check {
    my ($name, $from, $to, @packets) = @_;

    is(join(', ', grep { length } map {
        $from->put($_->[1]);
        passes($to, $_->[2]) ? '' : $_->[0];
    } @packets), '', "$name: each by itself");

    $from->put(join '', map { $_->[1] } @packets);
    ok(passes($to, join '', map { $_->[2] } @packets), "$name: all together");

    my @wrong;

    for my $packet (@packets) {
        my (undef, $bytes, $wanted) = @$packet;

        for my $at (1 .. length($bytes) - 1) {
            # of a long payload, not each byte
            next if $at > 200 && $at < length($bytes) - 20 && $at % 97;

            $from->put(substr $bytes, 0, $at);
            sync();
            $from->put(substr $bytes, $at);

            push @wrong, "$packet->[0] at $at" if !passes($to, $wanted);
        }
    }

    is(join(', ', @wrong), '', "$name: cut at each byte");

    my @short = grep { length $_->[1] < 300 } @packets;

    for my $byte (split //, join '', map { $_->[1] } @short) {
        $from->put($byte);
        sync();
    }

    ok(passes($to, join '', map { $_->[2] } @short), "$name: byte by byte");
}


for my $v (3, 4, 5) {
    my ($client, $broker) = session(version => $v);

    check("version $v, device", $client, $broker, from_device($v));
    check("version $v, broker", $broker, $client, from_broker($v));

    my $end = $v == 5 ? raw(0xe0, "\x04" . varint(5) . property(0x11, 9))
                      : simple_packet('DISCONNECT');

    $client->put($end);
    ok(passes($broker, $end), "version $v: DISCONNECT");
    $client->close();
    ok($broker->closed(), "version $v: closed");
}

{
    my ($client, $broker) = session(version => 5);
    my $end = raw(0xe0, "\x8e" . varint(7) . property(0x1f, 'gone'));

    $broker->put($end);
    ok(passes($client, $end), 'DISCONNECT of the broker');
    $broker->close();
    ok($client->closed(), 'closed by the broker');
}


# --- CONNECT and CONNACK ------------------------------------------------------

for my $v (3, 4, 5) {
    my $five = $v == 5;
    my $props = property(0x11, 60) . property(0x21, 20)
                . property(0x26, 'a', 'b');
    my $will = property(0x18, 5) . property(9, 'c');
    my ($client, undef, $p)
        = session(version => $v, id => 'mine', password => 'unused',
                  keepalive => 321, clean => 0, props => $props,
                  will => [here('will'), "go\0ne", 2, 1,
                           $will . property(8, here('answer'))]);

    is("$p->{name} $p->{level} $p->{keepalive}",
       ($v == 3 ? 'MQIsdp' : 'MQTT') . " $v 321", "version $v: protocol");
    is("$p->{id} $p->{user} $p->{password}", "$id nginx secret",
       "version $v: who");
    is($p->{connect_flags}, 0xc0 | 0x04 | 2 << 3 | 0x20,
       "version $v: flags");
    is("$p->{will_topic} $p->{will_payload}", there('will') . " go\0ne",
       "version $v: will");
    is($p->{props}, $five ? $props : '', "version $v: properties");
    is($p->{will_props}, $five ? $will . property(8, there('answer')) : '',
       "version $v: of the will");
    is($p->{left}, '', "version $v: no more");
}

{
    my (undef, undef, $p, $ack) = session(version => 5, id => '');

    is($p->{id}, $id, 'without a client id');
    is($ack->{props}, property(0x12, $id) . property(0x27, 65536),
       'the device is told its client id, and the largest packet');

    (undef, undef, $p, $ack) = session(version => 5,
        props => property(0x22, 65535) . property(0x27, 1000),
        connack => property(0x22, 1000) . property(0x27, 30000)
                   . property(0x13, 30) . property(0x12, 'of the broker'));

    is($p->{props}, property(0x22, 255) . property(0x27, 1000),
       'aliases of the broker: no more than are remembered');

    my $grows = 2 * (length(there('')) - length(here('')));
    my $other = 2 * length other('');

    is($ack->{props}, property(0x22, 255)
       . property(0x27, 30000 - 6 - ($grows > $other ? $grows : $other))
       . property(0x13, 30),
       'the largest packet of the broker: what topics grow by is left');
}


# --- a reader that stalls -----------------------------------------------------

# bytes that have come for nginx, and it has not read

sub unread {
    my ($peer) = @_;

    my $row = join ' ', map { sprintf '0100007F:%04X', $_ }
              $peer->{sock}->peerport(), $peer->{sock}->sockport();

    open my $fh, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!\n";

    return (map { /^\s*\d+: $row 01 \S+:(\S+)/ ? hex $1 : () } <$fh>)[0] // 0;
}


sub stalled {
    my ($name, $from, $to, $topic, $wanted) = @_;

    my $payload = join '', map { pack 'N', $_ } 1 .. 5_242_880;
    my $bytes = publish_packet(topic => $topic, payload => $payload);
    my $digest = Digest::MD5::md5_hex(publish_packet(topic => $wanted,
                                                     payload => $payload));
    my $before = $front->rss();
    my $at = 0;

    # nor does the reader's socket take what it does not read
    setsockopt $to->{sock}, SOL_SOCKET, SO_RCVBUF, 262144;

    # as much as all sockets hold
    while ($at < length $bytes) {
        my $n = syswrite $from->{sock}, $bytes, 65536, $at;

        if (!defined $n) {
            last if !IO::Select->new($from->{sock})->can_write(0.5);
            next;
        }

        $at += $n;
    }

    # the kernel may take all of it from the writer, nginx does not
    wait_for { !unread($from) } 1;
    cmp_ok(unread($from), '>', 0, "$name: it is not read either");

    my $grown = $front->rss() - $before;

    cmp_ok($grown, '<', 300, "$name: nginx keeps nothing ($grown KB)");

    my $md5 = Digest::MD5->new();
    my $left = length($bytes) + length($wanted) - length($topic);

    while ($left > 0) {
        my $n = syswrite $from->{sock}, $bytes, 65536, $at;

        $at += $n if $n;
        $to->more(defined $n && $n ? 0 : 0.01);
        $left -= length $to->{in};
        $md5->add($to->{in});
        $to->{in} = '';
    }

    is($md5->hexdigest(), $digest, "$name: all of it arrives");
}

{
    my $big = TB::MqttFront->start(broker_port => $listen->{port},
                                   mqtt_server => 'tb_mqtt_max_packet 256m;');

    ($front, my $small) = ($big, $front);

    my ($client, $broker) = session();

    stalled('20 MB to the broker', $client, $broker, here('x'), there('x'));
    stalled('20 MB to the device', $broker, $client, there('x'), here('x'));

    # many small ones, which are copied

    my $n = 0;
    my $packet = publish_packet(topic => 'a', payload => 'x' x 60);
    my $wanted = publish_packet(topic => other('a'), payload => 'x' x 60);
    my $before = $front->rss();

    while (IO::Select->new($client->{sock})->can_write(0.5)) {
        my $k = syswrite $client->{sock}, $packet x 1000, 65536,
                         $n % length $packet;

        $n += $k if $k;
    }

    my $grown = $front->rss() - $before;

    SKIP: {
        skip "memory means nothing under $ENV{TB_MODE}", 1 if $ENV{TB_MODE};

        cmp_ok($grown, '<', 600,
               "small ones: no more than a buffer ($grown KB)");
    }

    my $all = int($n / length $packet) * length $wanted;
    my $got = 0;

    while ($got < $all && $broker->more(30)) {
        my $whole = int(length($broker->{in}) / length $wanted);

        last if substr($broker->{in}, 0, $whole * length $wanted, '')
                ne $wanted x $whole;
        $got += $whole * length $wanted;
    }

    is($got, $all, 'small ones: all of them arrive');

    $client->put(substr $packet, $n % length $packet) if $n % length $packet;
    $broker->packet() if $n % length $packet;

    # lengths grow and shrink by a byte

    my @wrong;

    for my $border (127, 128, 16383, 16384, 2097151, 2097152) {
        for my $by (-70 .. 3) {
            next if $border > 20000 && $by % 20;

            my $n = $border + $by;
            my @more = (qos => 1, payload => 'b' x $n);

            for ([$client, $broker, here('l'), there('l')],
                 [$broker, $client, there('l'), here('l')])
            {
                my ($from, $to, $sent, $wanted) = @$_;

                $from->put(publish_packet(topic => $sent, @more));
                push @wrong, $n
                    if !passes($to, publish_packet(topic => $wanted, @more));
            }
        }
    }

    is("@wrong", '', 'lengths of one byte more or less');
    $big->clean();
    $front = $small;
}

$front->clean();
done_testing();
