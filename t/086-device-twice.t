# A poll whose worker has subscribed again may get its call twice, by a message
# and by a reply.  While it is being answered the second one gives nothing
# back: the device would have the call twice.
#
# runs: side by side, 6 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep);

use TB::Bridge;
use TB::Env qw(free_port scaled);
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

my $slow = free_port();

redis();

my $proxy = TB::Proxy->start(to => redis()->{port});

# what is not read stays in nginx

my $nginx = TB::Nginx->start(
    redis_port => $proxy->{port},
    server => "listen 127.0.0.1:$slow sndbuf=4k;",
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api; }');

device('d1');
redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('d1'));

my $key = redis()->device_key(macro('d1'));
my $large = '"' . 'x' x 15000 . '"';


sub poll_of { return (redis()->call('HGET', $key, 'poll') || '') }


# a device that does not read its answer, until it is told to

sub slow_poll {
    my $client = bless { in => '', port => $slow }, 'TB::Client';

    socket my $sock, Socket::PF_INET(), Socket::SOCK_STREAM(), 0 or die $!;
    setsockopt $sock, SOL_SOCKET, SO_RCVBUF, 2048 or die $!;
    connect $sock, Socket::pack_sockaddr_in($slow,
                                            Socket::inet_aton('127.0.0.1'))
        or die $!;
    $client->{sock} = $sock;
    $client->send(TB::Client::text('GET', '/api/v1/T1/rpc?timeout=20000'));

    return $client;
}


sub another_poll {
    my ($ms) = @_;

    return TB::Client->new($nginx->{port},
        TB::Client::text('GET', "/api/v1/T1/rpc?timeout=$ms"))->answer();
}


sub state_of {
    my ($rid) = @_;

    my $inflight = $key;

    $inflight =~ s/:device:/:inflight:/;

    return substr redis()->call('HGET', $inflight, $rid) || '--', 1, 1;
}


# the device gets the call once: here and nowhere else

sub once {
    my ($name, $client, $caller) = @_;

    my $r = another_poll(500);

    is($r->{status}, 408, "$name: another poll gets nothing")
        or diag substr $r->{body}, 0, 60;

    $r = $client->answer();
    is($r->{status}, 200, "$name: the slow one has it");

    my ($id) = $r->{body} =~ /^\{"id":(\d+),/;

    soon { state_of($id) eq 'd' } "$name: and that is told";
    is(length($r->{body}), length("{\"id\":$id,\"method\":\"x\",\"params\":}")
                           + length $large, "$name: whole");
    TB::Client->new($nginx->{port},
                    TB::Client::text('POST', "/api/v1/T1/rpc/$id", '"got"'))
              ->answer();
    is($caller->answer()->{body}, '"got"', "$name: its caller has the answer");
}


# the message comes again

{
    my $client = slow_poll();

    soon { poll_of() } 'a slow poll';

    my ($worker, $session) = split / /, poll_of();
    my $caller = $nginx->open('d1', 'x', $large, timeout => 20000);

    soon { !poll_of() } 'it was given the call';

    my ($rid) = redis()->call('HGET', $key, 'handed') =~ /(\d+)$/;
    my $channel = TB::Bridge::prefix(TB::Bridge::shard(macro('d1')))
                  . "reply:$worker";
    my $id = macro('d1');

    sleep 0.2;
    is(state_of($rid), 'h', 'it is being sent');
    redis()->call('SPUBLISH', $channel, "${id}P$session $rid 1 {}");
    redis()->call('SPUBLISH', $channel, "${id}P$session $rid 1");
    once('a message', $client, $caller);

    # an earlier attempt, or another call, is none of its business

    redis()->call('SPUBLISH', $channel, "${id}P$session 77 1 {}");
    soon { $nginx->error_log() =~ /request 77 did not reach/ }
         'another call is given back';
}

# the message and the reply of a poll that is told of again: together, or the
# message first

for my $n (1 .. 6) {
    my $client = slow_poll();

    soon { poll_of() } "$n: a slow poll";

    my $subscribed = $nginx->count_log(qr/subscription connection.* is ready/);

    # Redis executes neither before both are there

    redis()->call('CLIENT', 'PAUSE', 20000, 'WRITE');

    my $caller = $nginx->open('d1', 'x', $large, timeout => 20000);

    sleep 0.1;
    redis()->call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'USER', 'nginx');
    soon { $nginx->count_log(qr/subscription connection.* is ready/)
           > $subscribed } "$n: subscribed again";
    sleep 0.1;
    $proxy->tell('mute', 'cmd') if $n % 2;
    redis()->call('CLIENT', 'UNPAUSE');
    soon { !poll_of() } "$n: it was given the call";

    if ($n % 2) {
        sleep 0.1;
        $proxy->tell('mute', 'none');
    }

    once($n, $client, $caller);
}

is($nginx->count_log(qr/did not reach device/), 1,
   'nothing but the other call was given back');

# a poll that has left while its call was on the way gives it back

{
    my $client = slow_poll();

    soon { poll_of() } 'a poll that will leave';
    redis()->call('CLIENT', 'PAUSE', 20000, 'WRITE');

    my $caller = $nginx->open('d1', 'x', '7', timeout => 20000);

    sleep 0.1;
    $client->leave();
    sleep 0.1;
    redis()->call('CLIENT', 'UNPAUSE');

    my $r = another_poll(5000);
    my ($id) = $r->{body} =~ /^\{"id":(\d+),.*"params":7\}$/;

    ok(defined $id, 'the next one has the call');
    TB::Client->new($nginx->{port},
                    TB::Client::text('POST', "/api/v1/T1/rpc/$id", '"got"'))
              ->answer();
    is($caller->answer()->{body}, '"got"', 'its caller has the answer');
}

# a device that leaves in the middle of its answer

{
    my $client = slow_poll();

    soon { poll_of() } 'a poll that will break off';

    my $caller = $nginx->open('d1', 'x', $large, timeout => 20000);

    soon { !poll_of() } 'it was given the call';
    $client->leave('reset');

    my $r = another_poll(5000);
    my ($id) = $r->{body} =~ /^\{"id":(\d+),/;

    ok(defined $id, 'the next one has the call');
    TB::Client->new($nginx->{port},
                    TB::Client::text('POST', "/api/v1/T1/rpc/$id", '"got"'))
              ->answer();
    is($caller->answer()->{body}, '"got"', 'its caller has the answer');
}

$nginx->clean();

done_testing();
