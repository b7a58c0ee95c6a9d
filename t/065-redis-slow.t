# A Redis that is slow is waited for; one that has gone deaf is not.
#
# runs: side by side, 16 s
# not with --redis-tls, --redis-cluster: its Redis is a fake one

use strict;
use warnings;

use Test::More;
use Time::HiRes ();

use TB::Env qw(scaled);
use TB::FakeRedis;
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

set_macro(d1 => uuid_of('device d1'));

my $timeout = 'command_timeout ' . scaled(1000) . 'ms;';
my $get = '/api/rpc/persistent/00000001-0000-1000-8000-010203040506';


sub record {
    my %fields = (t => uuid_of('tenant'), d => macro('d1'), c => 1000,
                  e => 2000, o => 0, m => '"m"', s => 3, @_);
    my @list = ('ok', %fields);

    return '*' . @list . "\r\n"
           . join '', map { TB::FakeRedis::bulk($_) } @list;
}


my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    if ($mode eq 'slow' && @argv > 1 && $argv[1] eq 'tb_rpc_get') {
        $conn->{pace} = scaled(0.2);

        return "*2\r\n" . TB::FakeRedis::bulk('ok')
               . TB::FakeRedis::bulk('x' x 2000);
    }

    if (@argv > 1 && $argv[1] eq 'tb_rpc_get') {
        my ($n) = $argv[3] =~ /:rpc:0{7}(\d)/;

        # five pieces
        $conn->{pace} = scaled(0.3) if $mode eq 'late' && $n == 1;

        return record(p => "[$n]", R => '"' . 'x' x 200 . '"');
    }

    return '' if $mode eq 'hang' && @argv;

    return "-READONLY You can't write against a read only replica.\r\n"
        if $mode eq 'replica' && @argv > 1 && $argv[1] eq 'tb_rpc_create';

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

soon { ready() >= 2 } 'nginx is connected';

my $failed = failures();

$fake->tell('mode', 'slow');

my $begin = Time::HiRes::time();
my $slow = $nginx->get($get);

is($slow->{status}, 503, 'a slow reply: 503');
soon { $nginx->call('d1', 'x', '1', persistent => 1)->{status} == 200 }
     'it has come to its end: calls work', 40;
cmp_ok(Time::HiRes::time() - $begin, '>', scaled(3),
       'which took many times command_timeout');
is($nginx->count_log(qr/no reply/), 0, 'but was not taken for death');
is(failures(), $failed, 'no connection was closed');
# a subscription that has nothing to say is asked by PING

is($fake->tell('seen', 'CLIENT'), 0, 'nor made');

# a reply that comes too late is not that of the next command

my $other = $get =~ s/00000001/00000002/r;
my ($wrong, $good) = (0, 0);

for (1 .. 10) {
    $fake->tell('mode', 'late');
    is($nginx->get($get)->{status}, 503, 'too late');

    my $answer = $nginx->get($other);

    $good++ if $answer->{body} =~ /"params":"\[2\]"/;
    $wrong++ if $answer->{status} == 200
                && $answer->{body} !~ /"params":"\[2\]"/;
    $fake->tell('mode', 'sound');
    soon { $nginx->get($other)->{body} =~ /"params":"\[2\]"/ }
         'and nobody is confused';
    last if $good;
}

is($wrong, 0, 'no record of another command');
ok($good, 'but the right one');
is(failures(), $failed, 'on the same connection');

# a channel is dropped: that one is asked for again, on the same connection

$fake->tell('mode', 'drop');
$nginx->call('d1', 'x', '1', timeout => 100);
soon { $fake->tell('seen', 'SSUBSCRIBE') } 'dropped: asked for again';
$fake->tell('mode', 'sound');
soon { $nginx->call('d1', 'x', '1', timeout => 100);
       $fake->tell('seen', 'tb_rpc_create') } 'dropped: calls work';
is($fake->tell('seen', 'SSUBSCRIBE'), 0, 'dropped: just the one channel');
is(failures(), $failed, 'dropped: the connection stays');

# what was the master is a replica: nothing more is asked of it

my $before = ready();

$fake->tell('mode', 'replica');
is($nginx->call('d1', 'x', '1', persistent => 1)->{what},
   '503 REDIS_UNAVAILABLE', 'read-only: 503');
ok($nginx->wait_log(qr/command connection to \S+ failed: it is a read-only/),
   'read-only: left');
$fake->tell('mode', 'sound');
soon { $nginx->call('d1', 'x', '1', persistent => 1)->{status} == 200 }
     'read-only: no more', 40;
cmp_ok(ready(), '>', $before, 'by another connection');

# one that says nothing any more is left when the first call has waited for
# command_timeout twice, whatever else is on its way for how long

my $creates = $fake->tell('seen', 'tb_rpc_create');
my $held = $nginx->open('d1', 'x', '1', timeout => 60000);

soon { $fake->tell('seen', 'tb_rpc_create') > $creates } 'hangs: a caller';
$fake->tell('mode', 'hang');
$held->leave();
soon { $fake->tell('seen', 'tb_rpc_cancel') } 'hangs: who leaves';
$begin = Time::HiRes::time();
$nginx->call('d1', 'x', '1', persistent => 1);
ok($nginx->wait_log(qr/command connection to \S+ failed: no reply/, 40),
   'hangs: left');
cmp_ok(Time::HiRes::time() - $begin, '<', scaled(8), 'hangs: soon');
$fake->tell('mode', 'sound');
soon { $nginx->call('d1', 'x', '1', persistent => 1)->{status} == 200 }
     'hangs: no more', 40;
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
                    40), 'deaf: noticed');
$proxy->tell('mute', 'none');
soon { $nginx->call('d1', 'echo', '[2]', timeout => 1000)->{body} eq '[2]' }
     'deaf: calls work again', 40;
$nginx->clean();

done_testing();
