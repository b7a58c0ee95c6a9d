#!/usr/bin/perl

# No device reaches another one's topics, nor hears them: every topic and filter
# of up to four levels is sent through nginx, and what the broker gets of it is
# one of the device's own; then with a real mosquitto, where one device
# publishes to all of them, and others have subscribed to everything.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(wait_for);
use TB::Fixture;
use TB::Mqtt;
use TB::MqttFront;
use TB::MqttPeer;

my $listen = TB::MqttPeer->listen();
my $front = TB::MqttFront->start(broker_port => $listen->{port},
                                 mqtt_server => 'tb_mqtt_max_packet 256k;'
                                                . 'tb_mqtt_head_size 64k;');
my ($a, $token) = $front->device('a');
my ($b, $other) = $front->device('b');


sub own {
    my ($id) = @_;

    return map { "v1/$_/$id/" } qw(devices gateways others);
}

sub session {
    my ($v, $token) = @_;

    my $client = TB::MqttPeer->new(port => $front->{port}, version => $v);

    $client->put(connect_packet(version => $v, user => $token));

    my $broker = $listen->accept() or die "no connection\n";

    $broker->packet() or die "no CONNECT\n";
    $broker->put(connack_packet(version => $v));
    $client->packet() or die "no CONNACK\n";

    return ($client, $broker);
}


# all of so many levels, of these words

sub levels {
    my ($n, @words) = @_;

    return @words if $n == 1;
    return map { my $rest = $_; map { "$_/$rest" } @words }
               levels($n - 1, @words);
}

sub up_to { my ($n, @words) = @_; return map { levels($_, @words) } 1 .. $n }


my @words = ('', 'v1', 'devices', 'gateway', 'me', $a, $b, 'x', '$SYS',
             '$share');
my @topics = grep { length } up_to(4, @words),
                  map { ("v1/devices/$_", "v1/devices/$_/rpc/request/1") }
                      up_to(2, 'me', $b, '', '..', '.');
my @filters = grep { length && !m{#/} }
                   up_to(4, qw(v1 devices me), $b, 'others', '+', '#',
                         '$share', ''),
                   up_to(2, '$SYS', '$queue', '$share', '$exclusive', 'v1',
                         '+', '#'),
                   map { ("\$share/g/$_", "v1/devices/me/$_") }
                       up_to(3, 'v1', 'devices', $b, '+', '#', '..', '');

@filters = grep { !m{#/} } @filters;


# --- by enumeration -------------------------------------------------------------

# what all that begins so is, and the topic of the last level without its "/"

my @foreign = map { my $own = $_; map { "$own$_" } '', 'x', 'x/y', '$SYS',
                                                   'v1/devices/me/x' } own($b);

push @foreign, map { s{/$}{}r } own($b);
push @foreign, qw($SYS/broker/version x v1/devices/x);


# does a filter match a topic, as MQTT says it

sub matches {
    my ($filter, $topic) = @_;

    return 0 if $topic =~ /^\$/ && $filter =~ /^[+#]/;

    my $p = join '', map { $_ eq '+' ? '[^/]*' : $_ eq '/' ? '/'
                           : quotemeta } split m{(/)}, $filter, -1;

    $p =~ s{(?:^|/)\\#$}{(?:/.*)?};
    $p = '.*' if $filter eq '#';

    return $topic =~ /^$p$/s;
}

ok(matches('+/+/#', 'v1/devices') && matches('#', 'a') && matches('a/#', 'a')
   && !matches('a/#', 'ab') && !matches('a/+', 'a/b/c') && !matches('#', '$a'),
   'the matching of this test');


for my $v (4, 5) {
    my ($client, $broker) = session($v, $token);
    my $own = join '|', map { quotemeta } own($a);
    my ($seen, @bad) = (0);

    # packets of 100, sent together

    my @left = @topics;

    while (my @some = splice @left, 0, 100) {
        $client->put(join '', map {
            publish_packet(version => $v, topic => $_,
                           props => $v == 5 ? property(8, $_) : '') } @some);

        for my $topic (@some) {
            my $p = $broker->packet() or last;

            $seen++;
            push @bad, "$topic: $p->{topic}" if $p->{topic} !~ /^(?:$own)./s
                && !($topic =~ m{^v1/(?:devices/me|gateway)/$}
                     && $p->{topic} =~ /^(?:$own)$/)
                || $v == 5 && $p->{props} ne property(8, $p->{topic});
        }
    }

    is(join(', ', @bad), '', "version $v: topics of a PUBLISH stay below the"
                             . " device's own");
    is($seen, scalar @topics, "all $seen of them");

    for my $type (8, 10) {
        ($seen, @bad) = (0);
        @left = @filters;

        while (my @some = splice @left, 0, 100) {
            $client->put($type == 8
                ? subscribe_packet(version => $v, filters => \@some)
                : unsubscribe_packet(version => $v, filters => \@some));

            my $p = $broker->packet() or last;

            for my $i (0 .. $#some) {
                my $filter = $p->{filters}[$i] // 'nothing';

                $seen++;
                $filter =~ s{^\$share/[^/+#]+/}{};
                push @bad, "$some[$i]: $filter"
                    if $filter !~ /^(?:$own)/
                       || grep { matches($filter, $_) } @foreign;
            }
        }

        is(join(', ', @bad), '',
           "version $v: filters of " . ($type == 8 ? 'SUBSCRIBE'
                                                   : 'UNSUBSCRIBE')
           . " match nothing of another one's");
        is($seen, scalar @filters, "all $seen of them");
    }

    # what only a broker that has lost its way delivers

    @bad = ();

    # or what would be a topic that another map has

    for my $topic (@foreign, map { "v1/others/$a/$_/x" }
                             qw(v1/devices/me v1/gateway))
    {
        $broker->put(publish_packet(version => $v, topic => $topic));
    }

    $broker->put(simple_packet('PINGRESP'));
    is($client->packet()->{type}, 'PINGRESP',
       "version $v: nothing of another one's is delivered");

    # wills

    for my $topic ('x', "v1/devices/$b/x", '$SYS/x', 'v1/devices/me/x') {
        my $other = TB::MqttPeer->new(port => $front->{port}, version => $v);

        $other->put(connect_packet(version => $v, user => $token,
                                   will => [$topic, 'gone']));
        my $p = $listen->accept()->packet();

        like($p->{will_topic}, qr/^(?:$own)./, "version $v: a will, $topic");
    }
}

$front->clean();
$front->stop();


# --- with a real broker ---------------------------------------------------------

my $mqtt = TB::Mqtt->new(redis => redis());

$mqtt->broker("max_queued_messages 0\n");
$front = TB::MqttFront->start(broker_port => $mqtt->{port},
                              mqtt_server => 'tb_mqtt_max_packet 256k;'
                                             . 'tb_mqtt_head_size 64k;');


sub login {
    my ($token, %o) = (@_ % 2 ? @_ : (), version => 4);
    my $client = TB::MqttPeer->new(port => $front->{port},
                                   version => $o{version});

    $client->put(connect_packet(%o, user => $token));

    my $p = $client->packet() or die 'no CONNACK: ' . $front->error_log();

    is($p->{code}, 0, 'logged in');

    return ($client, $p);
}

sub subscribed {
    my ($client, @some) = @_;

    $client->put(subscribe_packet(version => $client->{version},
                                  filters => \@some));

    return scalar grep { $_ < 0x80 } @{ $client->packet()->{codes} };
}

# whoever connects to the broker itself, with a session that is kept

sub straight {
    my ($id) = @_;

    my $client = TB::MqttPeer->new(port => $mqtt->{port});

    $client->put(connect_packet(id => $id, clean => 0));
    $client->packet();

    return $client;
}


my $before = straight($a);

is(subscribed($before, '#', '$SYS/#'), 2,
   "somebody has subscribed to everything under the device's client id");
$before->put(simple_packet('DISCONNECT'));
$before->closed();

my $all = straight('all');

is(subscribed($all, '#'), 1, 'one who hears everything');

my ($alice, $connack) = login($token, clean => 0);

is($connack->{present}, 1, 'the device has that session now');

my $n = 0;

for (my @left = @filters; my @some = splice @left, 0, 200;) {
    $n += subscribed($alice, @some);
}

is($n, scalar @filters, 'and has subscribed to all that there is');

my ($bob) = login($other, will => ['v1/devices/me/will', 'gone', 1]);

$bob->put(join '', map { publish_packet(topic => $_, payload => 'of b',
                                        retain => !($n++ % 7)) } @topics);
$bob->put(publish_packet(topic => 'v1/devices/me/end', qos => 1,
                         payload => 'of b'));

my $p = $bob->packet(30);

is($p ? $p->{type} : 'nothing', 'PUBACK', 'another one has published to all');
close $bob->{sock};

# what it was for the broker, up to its will

my ($count, $will, @bad) = (0);
my $own = join '|', map { quotemeta } own($b);

while (!$will && ($p = $all->packet(20))) {
    next if $p->{type} ne 'PUBLISH' || $p->{topic} =~ /^\$/;

    $count++;
    push @bad, $p->{topic} if $p->{topic} !~ /^(?:$own)/;
    $will = $p->{topic} eq "v1/devices/$b/will";
}

is(join(', ', @bad), '', 'all of it was below its own topics');
is($count, @topics + 2, "$count messages");
ok($will, 'its will, too');

# that comes through, and nothing before it

$alice->put(publish_packet(topic => 'v1/devices/me/x/y', payload => 'of a'));

my @got;

while ($p = $alice->packet()) {
    last if $p->{type} eq 'PUBLISH' && $p->{payload} eq 'of a';
    push @got, "$p->{type} " . ($p->{topic} // '');
}

is(join(', ', @got), '', 'the first one has heard none of it');
is($p->{topic}, 'v1/devices/me/x/y', 'but itself');

# retained ones neither

$alice->put(simple_packet('DISCONNECT'));
$alice->closed();
($alice) = login($token, version => 5);
subscribed($alice, @$_) for ['#', "v1/devices/$b/#", '+/+/+/+', '$SYS/#'];
$alice->put(simple_packet('PINGREQ'));
@got = ();
push @got, $p->{topic} while ($p = $alice->packet()) && $p->{type} eq 'PUBLISH';
is(join(', ', @got), '', 'nor is anything retained for it');
is($p->{type}, 'PINGRESP', 'it is still connected');

$front->clean();
done_testing();
