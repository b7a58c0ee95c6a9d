# Behind one address is another Redis than before: commands and subscription
# are always on the same one.
#
# runs: side by side, 4 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;
use TB::RedisServer;

my @server = (redis(), TB::RedisServer->start());
my $device = device('e1', bridge => 'b1');
my $key = redis()->device_key($device);

$server[1]->fcall('tb_rpc_device_put', $key, macro('tenant'), '', 'name', 'e1',
                  'bridge', 'b1');

my @bridge = map { TB::FastBridge->start(name => 'b1',
                                         connect => { $_->access('bridge') }) }
             @server;
my $proxy = TB::Proxy->start(to => $server[0]{port});
my $nginx = TB::Nginx->start(redis_port => $proxy->{port},
                             redis => 'command_timeout '
                                      . scaled(1500) . 'ms;');
my $subscribed = qr/subscription connection to \S+ is ready/;


# Calls are answered, and no later than their subscribers are told: with a
# subscription elsewhere the answer is found when their time is over.

sub channels {
    return grep { /:reply:/ }
           @{ $server[$_[0]]->call('PUBSUB', 'SHARDCHANNELS') };
}


sub works {
    my ($what, $server) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $channels = 0;

    soon {
        ($channels = channels($server)) == 128
    } "$what: subscribed there", 30 or diag "$channels channels";

    # the other one may not have seen yet that its connection was closed
    soon { !$server[1 - $server]{pid} || !channels(1 - $server) }
         "$what: and nowhere else";

    my $answer = $nginx->call('e1', 'echo', '["ok"]', timeout => 20000);

    is($answer->{body}, '["ok"]', "$what: calls are answered")
        or diag $answer->{what};
}


works('first', 0);

# the command connection alone is cut, and comes to another server

$proxy->tell('next', $server[1]{port});
$proxy->tell('cut', 'cmd');
works('commands moved', 1);
like($nginx->error_log(), qr/\[notice\].*subscription moves from/,
     'commands moved: it is told');

# and once more

$proxy->tell('next', $server[0]{port});
$proxy->tell('cut', 'cmd');
works('and back', 0);

# the master becomes a replica of the other, and READONLY is what tells it

$proxy->tell('next', $server[1]{port});
$server[0]->call('REPLICAOF', '127.0.0.1', $server[1]{port});
works('a demoted master', 1);
$server[0]->call('REPLICAOF', 'NO', 'ONE');

# the subscription alone is cut while the address leads elsewhere: that is an
# error, not a subscription that hears nothing

my $before = length $nginx->error_log();

$proxy->tell('next', $server[0]{port});
$proxy->tell('cut', 'sub');
soon { $nginx->error_log() =~ /\[error\].*it is another server than/ }
     'subscription elsewhere: told';
is($nginx->call('e1', 'echo', '1')->{what}, '503 REDIS_UNAVAILABLE',
   'subscription elsewhere: 503');
$proxy->tell('next', $server[1]{port});
works('subscription back', 1);
like(substr($nginx->error_log(), $before), qr/\[error\].*$subscribed/,
     'subscription back: told to whom the loss was told');

# the same server again: the subscription stays

my $moves = $nginx->count_log(qr/subscription moves from/);

$proxy->tell('cut', 'cmd');
soon { $nginx->count_log(qr/\[error\].*command connection to \S+ is ready/)
       >= 4 } 'the same server: connected again';
works('the same server', 1);
is($nginx->count_log(qr/subscription moves from/), $moves,
   'the same server: no move');

# a server that does not say who it is: then it is better to move

$_->call('ACL', 'SETUSER', 'nginx', '-info') for @server;
$proxy->tell('cut', 'all');
works('INFO is denied', 1);
$proxy->tell('next', $server[0]{port});
$proxy->tell('cut', 'cmd');
works('INFO is denied, commands moved', 0);

$nginx->clean();

done_testing();
