#!/usr/bin/perl

# Bytes that are no MQTT, field by field, from the device and from the broker:
# the connection ends, and what was right before it in the same segment has
# gone on.  What MQTT allows and a device can't have is left out instead, and
# acknowledged.
#
# runs: side by side, 5 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(scaled wait_for);
use TB::MqttFront;
use TB::MqttPeer;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $listen->{port},
    mqtt_server => 'tb_mqtt_max_packet 64k; tb_mqtt_head_size 16k;');
my ($id, $token) = $front->device('a');
my $seen = 0;


sub session {
    my ($v, $on) = @_;

    $on ||= $front;

    my $client = TB::MqttPeer->new(port => $on->{port}, version => $v);

    $client->put(connect_packet(version => $v, user => $token));

    my $broker = $listen->accept() or die "no connection\n";

    $broker->packet() or die "no CONNECT\n";
    $broker->put(connack_packet(version => $v));
    $client->packet() or die "no CONNACK\n";

    return ($client, $broker);
}


sub here { return "v1/devices/me/$_[0]" }
sub there { return "v1/devices/$id/$_[0]" }


# --- what is wrong --------------------------------------------------------------

# [what, bytes, text in the log, reason code (MQTT 5)]

sub both {
    my ($v, $topic) = @_;

    my @v = (version => $v);
    my $publish = sub { return publish_packet(@v, topic => $topic, @_) };
    my $t = string($topic);
    my $p = $v == 5 ? "\0" : '';
    my $wrong = sub {
        my ($head, $body) = @_;

        return raw($head, $body);
    };

    return (
        ['type 0', "\0\0", qr/can't send/, 0x82],
        ['AUTH', $wrong->(0xf0, $v == 5 ? "\x18\0" : ''), qr/can't send/,
         0x82],
        ['a length of 5 bytes', "\x30\xff\xff\xff\xff\x7f",
         qr/more than 4 bytes/, 0x81],
        ['QoS 3', $wrong->(0x36, "$t\0\1$p"), qr/QoS 3/, 0x81],
        ['DUP with QoS 0', $wrong->(0x38, "$t$p"), qr/DUP/, 0x81],
        ['packet id 0', $wrong->(0x32, "$t\0\0$p"), qr/packet id of 0/, 0x82],
        ['no topic', $wrong->(0x30, "\0\0$p"), qr/invalid topic/, 0x90],
        ['a topic beyond its packet', $wrong->(0x30, "\0\x20abc"),
         qr/ends before its payload/, 0x81],
        ['no room for the packet id', $wrong->(0x32, $t),
         qr/ends before its payload/, 0x81],
        ['a topic of one byte', $wrong->(0x30, "\0"),
         qr/not that of its type/, 0x81],
        (map { ["topic with $_->[0]", $wrong->(0x30,
                 string($topic . $_->[1]) . $p), qr/invalid topic/, 0x90] }
             ['+', '/+'], ['#', '/#'], ['+ within', 'a+b'], ['NUL', "a\0b"],
             ['a surrogate', "\xed\xa0\x80"], ['half a character', "\xc3"],
             ['an overlong NUL', "\xc0\x80"], ['U+110000', "\xf4\x90\x80\x80"],
             ['0xff', "\xff"], ['# after a character', "\xc3\xa4#"]),
        (map { my $type = $_;
               ["$type with flags", chr(ord(ack_packet($type, 1)) ^ 2)
                . substr(ack_packet($type, 1), 1), qr/invalid flags/, 0x81],
               ["$type, too short", chr(ord(ack_packet($type, 1))) . "\1\0",
                qr/not that of its type/, 0x81],
               $v == 5 ? ()
                   : ["$type, too long", raw(ord(ack_packet($type, 1)),
                      "\0\1\0"), qr/not that of its type/, 0x81] }
             qw(PUBACK PUBREC PUBREL PUBCOMP)),
        $v != 5 ? () : (
            ['properties beyond their packet', $wrong->(0x30, "$t\x05\1"),
             qr/ends before its payload/, 0x81],
            ['a length of properties of 5 bytes', $wrong->(0x30,
             "$t\xff\xff\xff\xff\x7f" . 'x' x 10), qr/over 4 bytes/, 0x81],
            (map { ["property: $_->[0]", $wrong->(0x30,
                     $t . varint(length $_->[1]) . $_->[1]), $_->[2], 0x82] }
                 ['unknown', "\x04\0", qr/unknown or cut/],
                 ['above the last one', "\x2b\0", qr/unknown or cut/],
                 ['of another packet', property(0x21, 1), qr/can't have/],
                 ['cut number', "\x02\0\0\0", qr/unknown or cut/],
                 ['cut string', "\x03\0\x09abc", qr/unknown or cut/],
                 ['cut pair', "\x26\0\1a\0\2b", qr/unknown or cut/],
                 ['flag of 2', property(1, 2), qr/invalid value/],
                 ['alias 0', property(0x23, 0), qr/invalid value/],
                 ['twice', property(2, 1) x 2, qr/twice/],
                 ['response topic with #', property(8, 'a/#'),
                  qr/response topic/],
                 ['empty response topic', property(8, ''),
                  qr/response topic/]),
            ['alias above the maximum', $publish->(
             props => property(0x23, 256)), qr/above the maximum/, 0x94]),
    );
}


sub from_device {
    my ($v) = @_;

    my @v = (version => $v);
    my $p = $v == 5 ? "\0" : '';
    my @filters = map {
        ["filter $_->[0]", subscribe_packet(@v, filters => [here('ok'),
            $_->[1]]), qr/invalid filter/, 0x8f],
        ["filter $_->[0] to leave", unsubscribe_packet(@v,
            filters => [here('ok'), $_->[1]]), qr/invalid filter/, 0x8f]
    } ['empty', ''], ['a+', here('a+')], ['+a', here('+a')],
      ['a#', here('a#')], ['#/a', here('#/a')], ['NUL', here("\0")],
      ['no UTF-8', here("\xff")], ['##', '##'], ['prefix#', 'v1/devices/me#'];

    return (
        both($v, here('t')), @filters,
        ['CONNECT twice', connect_packet(@v, user => $token), qr/twice/,
         0x82],
        (map { ["$_->[0] of a device", $_->[1], qr/can't send/, 0x82] }
             ['CONNACK', connack_packet(@v)],
             ['SUBACK', suback_packet(@v, codes => [0])],
             ['UNSUBACK', unsuback_packet(@v, codes => [0])],
             ['PINGRESP', simple_packet('PINGRESP')]),
        ['SUBSCRIBE without its flag', raw(0x80, "\0\1$p" . string('a')
         . "\0"), qr/invalid flags/, 0x81],
        ['SUBSCRIBE with packet id 0', subscribe_packet(@v, id => 0,
         filters => ['a']), qr/packet id of 0/, 0x82],
        ['SUBSCRIBE without a filter', raw(0x82, "\0\1$p"),
         qr/not that of its type/, 0x81],
        ['UNSUBSCRIBE without a filter', raw(0xa2, "\0\1$p"),
         qr/not that of its type/, 0x81],
        ['SUBSCRIBE without options', raw(0x82, "\0\1$p" . string('abc')),
         qr/ends within a filter/, 0x81],
        ['SUBSCRIBE, cut filter', raw(0x82, "\0\1$p\0\x09abc"),
         qr/ends within a filter/, 0x81],
        ['SUBSCRIBE, QoS 3', subscribe_packet(@v, filters => [['a', 3]]),
         qr/invalid options/, 0x81],
        ['SUBSCRIBE, reserved bits', subscribe_packet(@v,
         filters => [['a', $v == 5 ? 0x40 : 4]]), qr/invalid options/, 0x81],
        ['PINGREQ with a body', raw(0xc0, 'x'), qr/not that of its type/,
         0x81],
        ['a packet above tb_mqtt_max_packet', publish_packet(@v,
         topic => here('t'), payload => 'x' x 65536), qr/too large/, 0x95],
        ['a topic above tb_mqtt_head_size', publish_packet(@v,
         topic => here('t' x 16384)), qr/head that is too large/, 0x95],
        ['SUBSCRIBE above tb_mqtt_head_size', subscribe_packet(@v,
         filters => [('a' x 1000) x 20]), qr/head that is too large/, 0x95],
        $v != 5 ? ['DISCONNECT with a body', raw(0xe0, "\0"),
                   qr/not that of its type/, 0x81]
            : (['a subscription id of a device', publish_packet(@v,
                topic => here('t'), props => property(0x0b, 1)),
                qr/subscription identifier/, 0x82],
               ['SUBSCRIBE, retain handling 3', subscribe_packet(@v,
                filters => [['a', 0x30]]), qr/invalid options/, 0x81],
               ['SUBSCRIBE, subscription id 0', subscribe_packet(@v,
                filters => ['a'], props => property(0x0b, 0)),
                qr/invalid value/, 0x82],
               ['SUBSCRIBE, properties beyond it', raw(0x82, "\0\1\x30abcd"),
                qr/ends within its properties/, 0x81]),
    );
}


sub from_broker {
    my ($v) = @_;

    my @v = (version => $v);

    return (
        both($v, there('t')),
        (map { ["$_->[0] of a broker", $_->[1], qr/can't send/] }
             ['CONNECT', connect_packet(@v)],
             ['SUBSCRIBE', subscribe_packet(@v, filters => ['a'])],
             ['UNSUBSCRIBE', unsubscribe_packet(@v, filters => ['a'])],
             ['PINGREQ', simple_packet('PINGREQ')]),
        ['CONNACK twice', connack_packet(@v), qr/twice/],
        ['SUBACK without a code', raw(0x90, "\0\1"), qr/not that of/],
        $v != 5 ? ['DISCONNECT of a broker', simple_packet('DISCONNECT'),
                   qr/DISCONNECT of a broker/]
            : (['DISCONNECT, cut properties', raw(0xe0, "\x8b\5\x1f\0\3a"),
                qr/ends within its properties/],
               ['DISCONNECT, a property that is none', raw(0xe0, "\0\2\x01\1"),
                qr/property that the packet can't have/],
               ['DISCONNECT with more', raw(0xe0, "\x8b\0x"),
                qr/more than its fields/]),
    );
}


# one after the other, each on a connection of its own

sub wrong {
    my ($v, $side, @cases) = @_;

    my $good = $side eq 'device'
        ? publish_packet(version => $v, topic => here('good'))
        : publish_packet(version => $v, topic => there('good'));
    my @bad;

    for my $case (@cases) {
        my ($what, $bytes, $text, $reason) = @$case;
        my ($client, $broker) = session($v);
        my ($from, $to) = $side eq 'device' ? ($client, $broker)
                                            : ($broker, $client);

        $from->put($good . $bytes);

        my $p = $to->packet();

        push @bad, "$what: what came before it"
            if !$p || $p->{topic} !~ /good$/;
        push @bad, "$what: the broker's stays" if !$broker->closed();
        push @bad, "$what: more has gone on: " . unpack 'H*', $to->{in}
            if length $to->{in} && $side eq 'device';

        # MQTT 5 has a reason for the device

        my $end = $v == 5 && $side eq 'device' ? $client->packet() : undef;

        push @bad, "$what: " . ($end ? unpack 'H*', $end->{body} : 'no reason')
            if $v == 5 && $side eq 'device'
               && (!$end || $end->{type} ne 'DISCONNECT'
                   || ord $end->{body} != $reason);
        push @bad, "$what: the device's stays" if !$client->closed();

        my $who = $side eq 'device' ? "device $id sent" : 'the broker sent';
        my $line;

        wait_for {
            ($line) = substr($front->error_log(), $seen)
                      =~ /^(.*tb_mqtt: .*sent.*\n)/m;
        };

        push @bad, "$what: logged is " . ($line // 'nothing')
            if ($line // '') !~ /\Q$who\E .*$text/;
        $seen = length $front->error_log();
    }

    is(join("\n", @bad), '', "MQTT $v, " . @cases . " things of a $side");
}


for my $v (3, 4, 5) {
    wrong($v, 'device', from_device($v));
    wrong($v, 'broker', from_broker($v));
}


# --- a broker that begins with something else -----------------------------------

for my $v (4, 5) {
    my $client = TB::MqttPeer->new(port => $front->{port}, version => $v);

    $client->put(connect_packet(version => $v, user => $token));

    my $broker = $listen->accept();

    $broker->packet();
    $broker->put(publish_packet(version => $v, topic => there('early')));
    ok($broker->closed(), "MQTT $v: PUBLISH before CONNACK");

    my $p = $client->packet();

    is($p ? "$p->{type} $p->{code}" : 'nothing',
       $v == 5 ? 'CONNACK 136' : 'CONNACK 3', 'the device is told');
}


# --- what the broker says of us ---------------------------------------------------

for ([4, 5, 3], [4, 4, 3], [4, 2, 3], [4, 1, 1], [4, 3, 3], [5, 0x86, 0x88],
     [5, 0x87, 0x88], [5, 0x85, 0x88], [5, 0x8c, 0x88], [5, 0x84, 0x84],
     [5, 0x97, 0x97], [5, 0x9a, 0x9a])
{
    my ($v, $code, $wanted) = @$_;
    my $client = TB::MqttPeer->new(port => $front->{port}, version => $v);

    $client->put(connect_packet(version => $v, user => $token));

    my $broker = $listen->accept();

    $broker->packet();
    $broker->put(connack_packet(version => $v, code => $code));
    $broker->close();
    is($client->packet()->{code}, $wanted,
       sprintf 'MQTT %d: 0x%02x of the broker', $v, $code);
    $client->closed();
}

{
    # one that knows nothing of MQTT 5

    my $client = TB::MqttPeer->new(port => $front->{port}, version => 5);

    $client->put(connect_packet(version => 5, user => $token));

    my $broker = $listen->accept();

    $broker->packet();
    $broker->put("\x20\x02\0\1");
    $broker->close();
    is($client->packet()->{code}, 1, 'a broker without MQTT 5');
    ok($front->wait_log(qr/the broker has refused device $id with code 1/),
       'which is logged');
}


# --- left out, not closed -----------------------------------------------------------

my $off = TB::MqttFront->start(broker_port => $listen->{port},
    mqtt_server => 'tb_mqtt_map v1/devices/me/ '
                   . 'v1/devices/$tb_mqtt_device_id/;'
                   . 'tb_mqtt_map v1/devices/me/secret/ off;'
                   . 'tb_mqtt_map "" off;');

for my $v (3, 4, 5) {
    my @v = (version => $v);
    my $five = $v == 5;
    my ($client, $broker) = session($v, $off);
    my $long = 'x' x 30000;

    for my $qos (0 .. 2) {
        $client->put(publish_packet(@v, topic => 'else', qos => $qos,
                                    id => 5 + $qos, payload => $long));
        next if !$qos;

        my $p = $client->packet();

        is("$p->{type} $p->{id} " . ($p->{reason} // 0),
           ($qos == 1 ? 'PUBACK' : 'PUBREC') . ' ' . (5 + $qos)
           . ($five ? ' 135' : ' 0'), "version $v: QoS $qos to what is off");
    }

    $client->put(publish_packet(@v, topic => here('secret/x'), qos => 1));
    is($client->packet()->{type}, 'PUBACK', "version $v: off within a map");

    $client->put(subscribe_packet(@v, id => 8, filters => ['#', '+/x',
                                                           here('secret/#')]));
    my $p = $client->packet();

    is_deeply($p->{codes}, [($five ? 0x87 : 0x80) x 3],
              "version $v: SUBSCRIBE to what is off");
    is($p->{id}, 8, 'its packet id');

    $client->put(subscribe_packet(@v, id => 9, filters => [
        '#', [here('a'), 1], '$share/g/x', ['$share/g/' . here('b'), 2]]));
    $p = $broker->packet();
    is_deeply($p->{filters}, [there('a'), '$share/g/' . there('b')],
              "version $v: what is left of one");
    is_deeply($p->{options}, [1, 2], 'with its options');

    # answers overtake each other, and come in pieces

    $client->put(subscribe_packet(@v, id => 10, filters => ['#', here('c')]));
    $broker->packet();

    my $props = property(0x1f, 'granted');

    $broker->put(suback_packet(@v, id => 10, codes => [1]));
    $p = $client->packet();
    is_deeply([$p->{id}, @{ $p->{codes} }], [10, $five ? 0x87 : 0x80, 1],
              "version $v: the later one's answer");

    for my $byte (split //, suback_packet(@v, id => 9, codes => [1, 0x80],
                                          props => $props))
    {
        $broker->put($byte);
    }

    $p = $client->packet();
    is_deeply([$p->{id}, @{ $p->{codes} }],
              [9, $five ? (0x87, 1, 0x87, 0x80) : (0x80, 1, 0x80, 0x80)],
              "version $v: the other one's");
    is($p->{props}, $five ? $props : '', 'with its properties');

    $client->put(unsubscribe_packet(@v, id => 11, filters => ['#',
                                                             here('a')]));
    is_deeply($broker->packet()->{filters}, [there('a')],
              "version $v: UNSUBSCRIBE");
    $broker->put(unsuback_packet(@v, id => 11, codes => $five ? [0] : []));
    is_deeply($client->packet()->{codes}, $five ? [0x11, 0] : [],
              'and its answer');
    $client->put(unsubscribe_packet(@v, id => 12, filters => ['#']));
    is_deeply($client->packet()->{codes}, $five ? [0x11] : [],
              "version $v: UNSUBSCRIBE of what is off alone");

    # the device's acknowledgement waits for the end of a delivery

    my $delivery = publish_packet(@v, topic => there('big'), payload => $long);

    $broker->put(substr $delivery, 0, 10000);
    wait_for { $client->more(1); length $client->{in} > 5000 };
    $client->put(publish_packet(@v, topic => 'else', qos => 1, id => 77)
                 . simple_packet('PINGREQ'));
    is($broker->packet()->{type}, 'PINGREQ', 'nginx has seen the PUBLISH');
    $broker->put(substr($delivery, 10000) . simple_packet('PINGRESP'));
    is(join(' ', map { ($client->packet() || {})->{type} // 'none' } 1 .. 3),
       'PUBLISH PUBACK PINGRESP', "version $v: in between two packets");

    # deliveries of what is not the device's

    for my $qos (0 .. 2) {
        $broker->put(publish_packet(@v, topic => 'v1/devices/other/x',
                                    qos => $qos, id => 20 + $qos,
                                    payload => $long));
        next if !$qos;

        $p = $broker->packet();
        is("$p->{type} $p->{id}", ($qos == 1 ? 'PUBACK ' : 'PUBREC ')
           . (20 + $qos), "version $v: a delivery of another's, QoS $qos");
    }

    $broker->put(simple_packet('PINGRESP'));
    is($client->packet()->{type}, 'PINGRESP', 'the device sees none of it');

    # a will that is off is none

    my $other = TB::MqttPeer->new(port => $off->{port}, version => $v);

    $other->put(connect_packet(@v, user => $token,
                               will => ['else', 'gone', 2, 1]));
    $p = $listen->accept()->packet();
    is($p->{connect_flags}, 2, "version $v: a will that is off");
    is($p->{left}, '', 'leaves nothing behind');
}

{
    # an alias of what was left out is left out, too, until it has another topic

    my ($client, $broker) = session(5, $off);
    my @v = (version => 5, qos => 1, props => property(0x23, 9));

    $client->put(publish_packet(@v, topic => 'else', id => 1)
                 . publish_packet(@v, topic => '', id => 2)
                 . publish_packet(@v, topic => here('x'), id => 3)
                 . publish_packet(@v, topic => '', id => 4)
                 . publish_packet(@v, topic => 'else', id => 5)
                 . publish_packet(@v, topic => '', id => 6)
                 . simple_packet('PINGREQ'));
    is(join(' ', map { my $p = $broker->packet(); $p->{id} // $p->{type} }
                 1 .. 3), '3 4 PINGREQ', 'aliases of what is off');
    is(join(' ', map { $client->packet()->{id} } 1 .. 4), '1 2 5 6',
       'are acknowledged');

    # a response topic that is off is none

    $client->put(publish_packet(version => 5, topic => here('x'),
        props => property(8, 'else') . property(9, 'c')));
    is($broker->packet()->{props}, property(9, 'c'),
       'a response topic that is off');

    # who takes no acknowledgements is not waited for, and costs no memory

    my $packet = publish_packet(version => 5, topic => 'else', qos => 1);
    my $before = $off->rss();
    my $n = 0;

    while ($n < 200_000 && $client->put($packet x 1000, 2)) { $n += 1000 }

    cmp_ok($off->rss() - $before, '<', 1000,
           'acknowledgements that nobody takes are bounded');
}

$off->clean();
$front->clean();
done_testing();
