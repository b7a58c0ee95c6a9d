# A Redis that is slow is waited for; one that has gone deaf is not.
#
# runs: side by side, 20 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::FakeRedis;
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

set_macro(d1 => uuid_of('device d1'));

my $timeout = 'command_timeout ' . scaled(300) . 'ms;';
my $get = '/api/rpc/persistent/00000001-0000-1000-8000-010203040506';
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    if ($mode eq 'slow' && @argv > 1 && $argv[1] eq 'tb_rpc_get') {
        $conn->{pace} = scaled(0.1);

        return "*2\r\n" . TB::FakeRedis::bulk('ok')
               . TB::FakeRedis::bulk('x' x 2000);
    }

    if ($mode eq 'drop' && @argv > 5 && $argv[1] eq 'tb_rpc_create') {
        my ($shard) = $argv[3] =~ /^(tb:\{s\d+\}:)/;

        $conn->{push} = "*3\r\n" . TB::FakeRedis::bulk('sunsubscribe')
                        . TB::FakeRedis::bulk("${shard}reply:$argv[5]")
                        . ":0\r\n";
    }

    return undef;
});
my $nginx = TB::Nginx->start(redis_port => $fake->{port}, redis => $timeout);


sub ready { return $nginx->count_log(qr/ connection to \S+ is ready/) }
sub failures { return $nginx->count_log(qr/ connection to \S+ failed/) }


# bytes that come are a sign of life, however late the reply is

soon { ready() == 2 } 'nginx is connected';
$fake->tell('mode', 'slow');

my $begin = Time::HiRes::time();
my $slow = $nginx->get($get);

is($slow->{status}, 503, 'a slow reply: 503');
soon { $nginx->call('d1', 'x', '1', persistent => 1)->{status} == 200 }
     'it has come to its end: calls work', 15;
cmp_ok(Time::HiRes::time() - $begin, '>', scaled(1.5),
       'which took many times command_timeout');
is($nginx->count_log(qr/no reply/), 0, 'but was not taken for death');
is(failures(), 0, 'no connection was closed');
is($fake->tell('seen', 'PING'), 0, 'nor made');

# a channel is dropped: that one is asked for again, on the same connection

$fake->tell('mode', 'drop');
$nginx->call('d1', 'x', '1', timeout => 100);
soon { $fake->tell('seen', 'SSUBSCRIBE') } 'dropped: asked for again';
$fake->tell('mode', 'sound');
soon { $nginx->call('d1', 'x', '1', timeout => 100);
       $fake->tell('seen', 'tb_rpc_create') } 'dropped: calls work';
is($fake->tell('seen', 'SSUBSCRIBE'), 0, 'dropped: just the one channel');
is(failures(), 0, 'dropped: the connection stays');
$nginx->clean();
$nginx->stop();

# a subscription on which nothing comes any more is made anew

device('d1', bridge => 'b1');
TB::FastBridge->start(connect => { redis()->access('bridge') });

my $proxy = TB::Proxy->start(to => redis()->{port});

$nginx = TB::Nginx->start(redis_port => $proxy->{port}, redis => $timeout);
is($nginx->call('d1', 'echo', '[1]')->{body}, '[1]', 'calls work');
$proxy->tell('mute', 'sub');
ok($nginx->wait_log(qr/subscription connection to \S+ failed: no reply to PING/,
                    20), 'deaf: noticed');
$proxy->tell('mute', 'none');
soon { $nginx->call('d1', 'echo', '[2]', timeout => 1000)->{body} eq '[2]' }
     'deaf: calls work again', 20;
$nginx->clean();

done_testing();
