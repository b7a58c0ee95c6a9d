# A persistent create whose reply was lost is written again: when Redis then
# refuses it, nobody may say that the call was not taken.
#
# runs: side by side, 5 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::FakeRedis;
use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;
use TB::Proxy;

redis();
device('d1', bridge => 'b1');

my $proxy = TB::Proxy->start(to => redis()->{port});
my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
my $nginx = TB::Nginx->start(redis_port => $proxy->{port},
                             redis => 'command_timeout '
                                      . scaled(20) . 's;');


sub records { return map { /:rpc:(.*)/ } @{ redis()->call('KEYS', '*:rpc:*') } }


# refused from the first: then it is certain

soon { $nginx->call('d1', 'x', '1', persistent => 1)->{status} == 200 }
     'first';
is(scalar $bridge->take(1), 1, 'it is delivered');

my %before = map { $_ => 1 } records();

redis()->call('CONFIG', 'SET', 'maxmemory', '1');
is($nginx->call('d1', 'x', '1', persistent => 1)->{what},
   '503 REDIS_UNAVAILABLE', 'a full Redis, not executed: 503');
redis()->call('CONFIG', 'SET', 'maxmemory', '0');
is(scalar(grep { !$before{$_} } records()), 0, 'and it is not there');

# executed, its reply is lost, and refused when it comes again

$proxy->tell('refuse', 'all');
$proxy->tell('eat', 'tb_rpc_create');

my $client = $nginx->open('d1', 'x', '["full"]', persistent => 1);
my @made;

soon { @made = grep { !$before{$_} } records() } 'executed, no reply';
redis()->call('CONFIG', 'SET', 'maxmemory', '1');
$proxy->tell('refuse', 'none');

my $answer = $client->answer();

redis()->call('CONFIG', 'SET', 'maxmemory', '0');
is($answer->{what}, '504 UNKNOWN', 'a full Redis, executed before: 504');
like($answer->{body}, qr/, rpcId \Q$made[0]\E"/,
     'its id can be looked up');
is($nginx->get("/api/rpc/persistent/$made[0]")->{status}, 200,
   'and it is there');
is(scalar $bridge->take(2, 1), 1, 'and is delivered once');
like($nginx->error_log(),
     qr/\[error\].*when it is repeated: "OOM.*outcome is unknown/,
     'the log says why');
$nginx->clean();
$nginx->stop();

# whatever is said the second time: the first is closed without a reply

my %lost;
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if @argv < 2 || $argv[1] ne 'tb_rpc_create';

    my ($first, $error) = split /:/, $mode, 2;

    if ($first eq 'lost' && !$lost{$argv[4]}++) {
        $conn->{close} = 1;
        return '';
    }

    return "-$error\r\n";
});

$nginx = TB::Nginx->start(redis_port => $fake->{port},
                          redis => 'command_timeout '
                                   . scaled(20) . 's;');

for my $error ('OOM full', 'NOREPLICAS no', 'MISCONF no', 'LOADING', 'BUSY',
               'READONLY', 'NOPERM no', 'TRYAGAIN', 'ERR whatever')
{
    $fake->tell('mode', "first:$error");

    my $sure = $error =~ /^ERR/ ? '500' : '503 REDIS_UNAVAILABLE';

    is($nginx->call('d1', 'x', '1', persistent => 1)->{what}, $sure,
       "$error: $sure");
    $fake->tell('mode', "lost:$error");
    is($nginx->call('d1', 'x', '1', persistent => 1)->{what}, '504 UNKNOWN',
       "$error, after a lost reply: 504");
}

$nginx->clean();

done_testing();
