#!/usr/bin/perl

# A device that throws whatever it can at tb-rpc-mqtt-bridge, on the topics that
# its access list lets it use: nothing happens to the bridge, nor to the calls
# of other devices and tenants, which are made and answered meanwhile.
#
#     TB_HOSTILE=10000000 prove -It/lib t/bridge-hostile.t       so many messages
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use List::Util qw(sum);
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Env qw(file_in scaled scratch wait_for);
use TB::Mqtt qw(child counter reap text_of);
use TB::MqttDevices;

my $MESSAGES = $ENV{TB_HOSTILE} || 0;
my $SECONDS = 10;
my $RATE = $ENV{TB_MODE} ? 1000 : 6000;
my $OTHER = '7e000000-0000-11ee-8000-00000000000b';

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my ($pid, $seen);


# --- who may do what ----------------------------------------------------------

my $evil = $mqtt->device(name => 'evil');
my @victims = map { $mqtt->device() } 1 .. 20;
my $behind = $mqtt->device(name => 'behind');
my $foreign = sprintf 'de000000-0000-11ee-b000-%012x', 1;

$redis->fcall('tb_rpc_device_put', $redis->device_key($foreign), $OTHER, '',
              name => 'foreign');
$mqtt->name('behind', $behind);
$mqtt->name('evil', $evil);
$mqtt->name('foreign', $foreign, $OTHER);

my $users = file_in('users', '');

system('mosquitto_passwd', '-b', $users, $_, 'secret') == 0 or die
    for $evil, 'bridge', 'others';

# a newer broker wants it to be its own
my @owner = $> == 0 ? getpwnam 'mosquitto' : ();
chown $owner[2], $owner[3], $users if @owner;
chmod 0600, $users;

my $acl = file_in('acl', <<"END");
user bridge
topic readwrite #
user others
topic readwrite #
user $evil
topic readwrite $TB::Mqtt::TENANT/$evil/#
topic readwrite gateways/$evil/#
END

chmod 0644, $acl;
$mqtt->broker("password_file $users\nacl_file $acl\n"
              . "max_queued_messages 0\nmax_inflight_messages 0\n");

my @common = ('--mqtt-user', 'bridge', '--mqtt-password-file',
              file_in('secret', "secret\n"), '--log-level', 'info');
my @topics = ('--request-topic', '{tenantId}/{deviceId}/in/{requestId}',
              '--response-topic', '{tenantId}/{deviceId}/out/{requestId}',
              '--presence-topic', '{tenantId}/{deviceId}/status',
              '--gateway', '--gateway-topic', 'gateways/{gateway}',
              '--tenant', $TB::Mqtt::TENANT, '--max-response', 65536);

$pid = $mqtt->bridge('bridge', @common, @topics, '--session-ttl', 60_000);


# --- connections of users ----------------------------------------------------

package Link;

use Time::HiRes qw(time);

sub new {
    my ($class, $user) = @_;

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $mqtt->{port})
        or die "broker: $!\n";
    my $self = bless { sock => $sock, in => '', mid => 0 }, $class;

    binmode $sock;
    $self->put(TB::MqttDevices::packet(0x10, pack('n/a* C C n', 'MQTT', 4,
                                                  0xc2, 0)
        . pack 'n/a* n/a* n/a*', "$user-" . ++$main::links, $user, 'secret'));
    $self->get(5);

    return $self;
}

sub put {
    my ($self, $bytes) = @_;

    while (length $bytes) {
        my $n = syswrite $self->{sock}, $bytes or return 0;

        substr $bytes, 0, $n, '';
    }

    return 1;
}

# packets that have come: [head, body]

sub get {
    my ($self, $seconds) = @_;

    my @packets;
    my $end = time() + $seconds;

    do {
        while (my ($head, $body) = TB::MqttDevices::take(\$self->{in})) {
            push @packets, [$head, $body];
        }

        my $r = '';

        vec($r, fileno $self->{sock}, 1) = 1;

        if (select $r, undef, undef, @packets ? 0 : $end - time() > 0
                                                    ? $end - time() : 0)
        {
            sysread($self->{sock}, $self->{in}, 65536, length $self->{in})
                or return @packets;
        }
    } while (!@packets && time() < $end);

    return @packets;
}

sub subscribe {
    my ($self, $filter) = @_;

    $self->put(TB::MqttDevices::packet(0x82, pack 'n n/a* C', 1, $filter, 1));
    $self->get(5);
}

sub publish {
    my ($self, $topic, $payload, $retain) = @_;

    $self->put(TB::MqttDevices::packet(0x30 | ($retain ? 1 : 0),
                                       pack('n/a*', $topic) . $payload));
}

package main;

our $links = 0;


# --- honest devices, and their calls -----------------------------------------

sub tenant_of { return $_[0] eq $foreign ? $OTHER : $TB::Mqtt::TENANT }

my @honest = (@victims, $foreign);

child(sub {
    my $link = Link->new('others');

    $link->subscribe('+/+/in/+');
    $link->subscribe('gateways/honest/rpc');
    $link->publish(tenant_of($_) . "/$_/status", "online:$_", 1) for @honest;
    $link->publish('gateways/honest/connect', '{"device":"behind"}');

    for (;;) {
        for my $packet ($link->get(1)) {
            my ($head, $body) = @$packet;

            next if $head >> 4 != 3;

            my ($topic, $rest) = unpack 'n/a* a*', $body;
            my $mid = $head & 6 ? substr $rest, 0, 2, '' : '';

            $link->put(TB::MqttDevices::packet(0x40, $mid)) if length $mid;

            if ($topic =~ m{^(.*)/in/(\d+)$}) {
                $link->publish("$1/out/$2", "\"of $topic\"");

            } elsif ($rest =~ /"id":(\d+),"method"/) {
                $link->publish('gateways/honest/rpc',
                               "{\"device\":\"behind\",\"id\":$1,"
                               . '"data":"of behind"}');
            }
        }
    }
});

$mqtt->attached($_, 'bridge') or die "no $_\n" for @honest, $behind;


# --- what is thrown ------------------------------------------------------------

# The topics of the device, which is a gateway as well, and some that it may
# not use.  A gateway may connect any device of its tenant by its name, so it
# is none of the honest ones that it names.

my @ids = (1, 2, 5, 0, -1, 2147483647, 2147483648, 4294967296, 'x', '1x',
           '00000000001');
my @names = ('Behind', 'evil', 'foreign', 'nobody', '', 'a' x 300, "\xff\xfe",
             '\u0000', '"', 'behind\u0000', "ev\\u0069l");


sub pick { return $_[int rand @_] }
sub bytes { return join '', map { chr int rand 256 } 1 .. $_[0] }
sub id { return rand() < 0.5 ? 1 + int rand 2147483646 : pick(@ids) }


sub payload {
    my $way = rand;

    return '' if $way < 0.05;
    return bytes(int rand 64) if $way < 0.15;
    return pick('online', 'offline', '1', '0', 'true', 'online:' . bytes(5),
                'offline:x', 'online:' . 'x' x 65, '{"online":true}',
                '{"online":true,"session":"' . 'y' x int(rand 80) . '"}',
                '{"state":"online"}', '{"online":1}') if $way < 0.4;
    return '[' x int(rand 3000) if $way < 0.45;
    return 'x' x int(rand 200_000) if $way < 0.452;

    # those of a gateway, sometimes with a byte that is another

    my $text = '{"device":"' . pick(@names) . '"'
               . (rand() < 0.7 ? ',"id":' . id() : '')
               . (rand() < 0.7 ? ',"data":' . pick('1', '"x"', '{}', '[1,{}]',
                                                   'null', '1e999', '{"a":',
                                                   '"\ud800"') : '')
               . (rand() < 0.2 ? ',"error":"e"' : '')
               . (rand() < 0.1 ? ',"device":"evil"' : '') . '}';

    substr $text, rand(length $text), 1, bytes(1) if rand() < 0.3;

    return $text;
}


sub topic {
    # what is not allowed: mosquitto closes the connection

    return pick("$OTHER/$foreign/out/" . id(), "$OTHER/$evil/status",
                "$TB::Mqtt::TENANT/$victims[0]/status",
                "gateways/honest/disconnect") if rand() < 0.001;

    return pick("$TB::Mqtt::TENANT/$evil/out/" . id(),
                "$TB::Mqtt::TENANT/$evil/status",
                "$TB::Mqtt::TENANT/$evil/out/" . 'x' x int(rand 500),
                "$TB::Mqtt::TENANT/$evil/in/" . id(),
                "gateways/$evil/connect", "gateways/$evil/disconnect",
                "gateways/$evil/rpc", "gateways/$evil/status");
}


# a byte for each call that was answered
my $answered = file_in('answered', '');


sub throw {
    my ($until, $number) = @_;

    my ($n, $start, $link) = (0, time());

    srand $$;
    local $SIG{PIPE} = 'IGNORE';

    while (time() < $until || $n < $number) {
        $link ||= Link->new($evil);

        my $bytes = '';

        for (1 .. 50) {
            # a broker closes the connection for what is no MQTT
            my $topic = topic();

            $bytes .= TB::MqttDevices::packet(0x30 | (rand() < 0.1 ? 1 : 0),
                                              pack('n/a*', $topic)
                                              . payload());
        }

        $n += 50;
        $link->put($bytes) or undef $link;
        $link->get(0) if $link;

        # Unless it is told how many, no more than the bridge can read: a
        # broker hands over what comes first, and honest answers wait behind.
        next if $number;

        my $ahead = $n / $RATE - (time() - $start);

        sleep($ahead) if $ahead > 0;

        # on a machine that is slower than that: for each answer so many
        sleep(0.01) while $n > 6000 + 5000 * (-s $answered || 0)
                          && time() < $until;
    }

    return $n;
}


# --- both at a time ----------------------------------------------------------

my $rss = sub {
    open my $fh, '<', "/proc/$pid/status" or return 0;

    return join('', <$fh>) =~ /VmRSS:\s*(\d+)/ ? $1 / 1024 : 0;
};
my $started = time();
my $ready = scratch() . '/thrown';

child(sub {
    my $n = throw($started + scaled($SECONDS), $MESSAGES);

    file_in('thrown', $n);
});

open my $tell, '>>', $answered or die "$answered: $!\n";

my (@wrong, $calls, $first_rss);

for (my $i = 0; !-e $ready || $i < 20 && !$MESSAGES; $i++) {
    my $device = (@honest, $behind)[$i % (@honest + 1)];
    my $tenant = tenant_of($device);
    my $shard = TB::Bridge::shard($device);
    my $rpc = sprintf '%08x-0000-11ee-%04x-0a0000000000', $i, 0x8000 | $shard;
    my $reply = $redis->fcall('tb_rpc_create', $redis->device_key($device),
                              $rpc, 'w1', 0, 0, $tenant, '*', '"m"', '{}', '',
                              '', 60_000, '', '60000', 'wait', '', '', '');
    my $right = $device eq $behind
                ? 'A"of behind"' : "A\"of $tenant/$device/in/$reply->[2]\"";
    my $answer = $mqtt->answer($device, $rpc, 60) || 'none';

    syswrite $tell, '.';

    # with so many that it has expired meanwhile
    next if $MESSAGES && $answer eq 'none';

    push @wrong, "$device: @$reply[0, 2]: $answer" if $answer ne $right;
    $calls++;
    $first_rss ||= $rss->() if time() > $started + scaled($SECONDS) / 2;
    last if @wrong > 5 || !kill 0, $pid;
}

my $thrown = text_of('thrown');

is_deeply(\@wrong, [], 'each call has the answer of its own device');
cmp_ok($calls, '>=', $MESSAGES ? 1 : 20,
       "$calls calls beside $thrown messages");
is($redis->call('HGET', $redis->device_key($_), 'bridge') || '', 'bridge',
   "$_ is online") for @victims[0, 1], $foreign, $behind;
is($redis->call('HGET', $redis->device_key($_), 'session'), $_,
   'in its own session') for @victims, $foreign;

# what comes behind all that is handled as before

my $link = Link->new($evil);

$link->publish("$TB::Mqtt::TENANT/$evil/status", 'online:end', 1);
$seen = wait_for {
    ($redis->call('HGET', $redis->device_key($evil), 'session') || '') eq 'end'
} 20;
ok($seen, 'and the bridge listens to that device as well');

SKIP: {
    skip 'not its own memory', 1 if $ENV{TB_MODE};
    cmp_ok($rss->(), '<', ($first_rss || 20) + 20,
           sprintf 'in %d MB', $rss->());
}

my %refused = map { $_ => counter('bridge', $pid, $_) }
              qw(answers_late answers_bad presence_bad gateway_bad
                 names_unknown);
my $refused = sum(values %refused);

diag(join ', ', map { "$refused{$_} $_" } sort keys %refused);
cmp_ok($refused, '>=', 1000, "$refused messages were refused");
is(reap($pid, 'TERM', 20), 0, 'exit 0');
unlike(text_of('bridge.log'), qr/AddressSanitizer|runtime error|==ERROR/,
       'and nothing to report');

done_testing();
