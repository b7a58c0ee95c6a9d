#!/usr/bin/perl

# A PUBLISH as large as MQTT has it, 256 MB, from a device and to one: it passes,
# and nginx has never more of it than its buffers hold.
#
# runs: alone, 10 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5;
use Errno qw(EAGAIN);
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled);
use TB::MqttFront;
use TB::MqttPeer;

my $MAX = 268_435_455;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $listen->{port},
                                 mqtt_server => 'tb_mqtt_max_packet 0;');
my ($id, $token) = $front->device('a');
my ($here, $there) = ('v1/devices/me/t', "v1/devices/$id/t");

my $chunk = join '', map { chr($_ * 31 % 256) } 1 .. 262_139;


# KB: the most that the worker has ever had

sub peak {
    open my $fh, '<', '/proc/' . $front->worker() . '/status' or return 0;

    return (map { /^VmHWM:\s+(\d+)/ ? $1 : () } <$fh>)[0];
}


sub session {
    my ($version) = @_;

    my $client = TB::MqttPeer->new(port => $front->{port}, version => $version);

    $client->put(connect_packet(version => $version, user => $token));

    my $broker = $listen->accept() or die "nobody came to the broker\n";

    $broker->packet();
    $broker->put(connack_packet(version => $version));
    $client->packet();

    return ($client, $broker);
}


# PUBLISH up to its payload, of so many bytes

sub head {
    my ($version, $topic, $size) = @_;

    my $more = string($topic) . ($version == 5 ? "\0" : '');

    return "\x30" . varint(length($more) + $size) . $more;
}


sub part { return substr $chunk, 0, $_[0] < length $chunk ? $_[0] : length $chunk }


# the MD5 of a head, so much payload and what is behind it

sub digest {
    my ($head, $size, $behind) = @_;

    my $md5 = Digest::MD5->new();

    $md5->add($head);

    while ($size) {
        my $part = part($size);

        $md5->add($part);
        $size -= length $part;
    }

    return $md5->add($behind)->hexdigest();
}


# All of it from one to the other; the MD5 of the so many bytes that come.

sub through {
    my ($from, $to, $head, $size, $behind, $wanted) = @_;

    my $out = $head;
    my $md5 = Digest::MD5->new();
    my $end = time() + scaled(100);

    while ($wanted && time() < $end) {
        my ($read, $write) = ('', '');

        vec($read, fileno $to->{sock}, 1) = 1;
        if (!length $out) {
            $out = $size ? part($size) : $behind;
            $size ? ($size -= length $out) : ($behind = '');
        }

        vec($write, fileno $from->{sock}, 1) = 1 if length $out;
        next if select($read, $write, undef, 1) <= 0;

        if (vec $write, fileno $from->{sock}, 1) {
            my $n = syswrite $from->{sock}, $out;

            return "write: $!" if !defined $n && !$!{EAGAIN};
            substr $out, 0, $n // 0, '';
        }

        next if !vec $read, fileno $to->{sock}, 1;

        my $n = sysread $to->{sock}, my $in, 262_144;

        return 'the end' if defined $n && $n == 0;
        next if !$n;

        $md5->add($in);
        $wanted -= $n;
    }

    return $md5->hexdigest();
}


for my $v (4, 5) {
    my ($client, $broker) = session($v);
    my $size = $MAX - 2 - length($there) - ($v == 5 ? 1 : 0);

    # whatever there is for packets of any size

    through($client, $broker, head($v, $here, 1e6), 1e6, '', 1e6
         + length head($v, $there, 1e6));

    for (['to the broker', $client, $broker, $here, $there,
          simple_packet('PINGREQ')],
         ['to the device', $broker, $client, $there, $here,
          simple_packet('PINGRESP')])
    {
        my ($name, $from, $to, $sent, $seen, $ping) = @$_;
        my $before = peak();
        my $head = head($v, $seen, $size);

        is(through($from, $to, head($v, $sent, $size), $size, $ping,
                length($head) + $size + length $ping),
           digest($head, $size, $ping),
           "MQTT $v, 256 MB $name: each byte, and what is behind it");
        cmp_ok(peak() - $before, '<', 500, 'nginx has not grown by them');
    }

    # one byte more, which only the broker's topic makes too large

    $client->put(head($v, $here, $size + 1));

    if ($v == 5) {
        my $packet = $client->packet();

        is($packet && "$packet->{type} " . ord $packet->{body},
           'DISCONNECT ' . 0x95, 'one byte more: too large');
    }

    ok($client->closed(), 'one that gets too large at the broker ends it');
    $broker->close();
}

ok($front->wait_log(qr/too large with its topic at the broker/),
   'which is logged');
$front->clean();

done_testing();
