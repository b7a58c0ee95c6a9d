#!/usr/bin/perl

# tb-rpc-admin and a Redis that is not one plain server: TLS, a Cluster, whose
# slots move meanwhile, and Sentinels.
#
# runs: side by side, 25 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::More;

use TB::Bridge;
use TB::Env qw(scratch file_in free_port wait_for);
use TB::Mqtt qw(output spawn);
use TB::RedisServer;

plan skip_all => 'no openssl' if system('openssl version > /dev/null 2>&1');

my $TENANT = $TB::Mqtt::TENANT;
my ($status, $text);

$ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};

sub id { return sprintf 'de000000-0000-11ee-8000-%012x', $_[0] }

sub admin {
    return (($status, $text) = output(TB::Mqtt::admin(), @_))[0];
}


# --- TLS --------------------------------------------------------------------

my $dir = scratch();

sub openssl { system("openssl @_ > /dev/null 2>&1") == 0 or die "openssl @_\n" }

sub certificate {
    my ($name, $extension) = @_;

    openssl("req -newkey rsa:2048 -nodes -keyout $dir/$name.key -out"
            . " $dir/$name.csr -subj /CN=$name");
    file_in("$name.ext", "$extension\nauthorityKeyIdentifier=keyid\n");
    openssl("x509 -req -days 2 -CA $dir/ca.crt -CAkey $dir/ca.key"
            . " -CAcreateserial -in $dir/$name.csr -out $dir/$name.crt"
            . " -extfile $dir/$name.ext");
    chmod 0644, "$dir/$name.key";
}

# newer Pythons want to be told what a key is for, and who has signed

for my $name (qw(ca other)) {
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name -addext"
            . " keyUsage=critical,keyCertSign,cRLSign -keyout $dir/$name.key"
            . " -out $dir/$name.crt");
}

certificate('server', 'subjectAltName=IP:127.0.0.1');
certificate('client', 'extendedKeyUsage=clientAuth');

my $tls_port = free_port();
my $tls = eval { TB::RedisServer->start(args => [
    '--tls-port', $tls_port, '--tls-cert-file', "$dir/server.crt",
    '--tls-key-file', "$dir/server.key", '--tls-ca-cert-file',
    "$dir/ca.crt"]) };

SKIP: {
    skip 'this Redis has no TLS', 1 if !$tls;

    my @redis = ('--redis', "rediss://127.0.0.1:$tls_port");
    my @ca = (@redis, '--redis-ca', "$dir/ca.crt");
    my @all = (@ca, '--redis-cert', "$dir/client.crt", '--redis-key',
               "$dir/client.key");

    is(admin(@all, qw(device add), id(1), '--tenant', $TENANT, '--token',
             'T1'), 0, 'TLS') or diag($text);
    is($tls->call('GET', 'tb:token:' . sha256_hex('T1')), id(1), 'is written');
    is(admin(@all, 'call', id(1), 'x', '--now'), 1, 'a second connection');
    like($text, qr/the device is offline/, 'with TLS, too');
    is(admin(@ca, 'status'), 1, 'without a certificate of ours');
    like($text, qr/(?:TLS: |reset).*--redis-cert/, 'it is refused');

    for ([\@redis, 'the authorities of the system'],
         [[@redis, '--redis-ca', "$dir/other.crt"], 'another authority'],
         [['--redis', "rediss://localhost:$tls_port", @all[2 .. $#all]],
          'another name'])
    {
        is(admin(@{ $_->[0] }, 'device', 'list'), 1, "$_->[1]: refused");
        like($text, qr/the server's certificate: .*--redis-ca/, 'with the reason');
        unlike($text, qr/Traceback/, 'in words');
    }

    is(admin('--redis', "rediss://127.0.0.1:$tls->{port}", 'status'), 1,
       'TLS to a port without it');
    $tls->stop();
}


# --- Cluster ----------------------------------------------------------------

my @nodes = map {
    TB::RedisServer->start(library => 0, args => [
        '--cluster-enabled', 'yes', '--cluster-port', free_port(),
        '--cluster-node-timeout', 5000])
} 1 .. 3;

my @from = (0, 5461, 10923, 16384);

for my $n (0 .. 2) {
    $nodes[$n]->call('CLUSTER', 'ADDSLOTSRANGE', $from[$n], $from[$n + 1] - 1);
    $nodes[0]->call('CLUSTER', 'MEET', '127.0.0.1', $nodes[$n]{port},
                    $nodes[$n]->call('CONFIG', 'GET', 'cluster-port')->[1])
        if $n;
}

ok(wait_for(sub {
    3 == grep { $_->call('CLUSTER', 'INFO') =~ /^cluster_state:ok\r/m
                && $_->call('CLUSTER', 'INFO')
                   =~ /^cluster_known_nodes:3\r/m } @nodes
}, 60), 'three masters');

my @cluster = ('--redis-cluster', '--redis',
               "redis://127.0.0.1:$nodes[1]{port}", '--redis',
               "redis://127.0.0.1:$nodes[2]{port}");

is(admin(@cluster, 'functions', 'load'), 0, 'functions load') or diag($text);
like($text, qr/^version \d+ loaded into 3 masters$/, 'into all masters');
is(admin(@cluster, 'functions', 'load'), 0, 'again');
like($text, qr/nothing to do/, 'nothing to do');
$nodes[2]->call('FUNCTION', 'FLUSH');
admin(@cluster, 'functions', 'load');
like($text, qr/^version \d+ loaded$/, 'into the one that lacks it');

my $csv = file_in('many.csv', "id,tenant,name,token,bridge\n" . join '', map {
    id($_) . ",$TENANT,device $_,token $_,b1\n" } 1 .. 1000);

is(admin(@cluster, 'import', $csv), 0, 'import') or diag($text);
like($text, qr/^1000 rows .* 1000 new, .* 0 bad /m, 'all of them');
is(scalar(grep { $_ > 100 } map { $_->call('DBSIZE') } @nodes), 3,
   'on all masters');
admin(@cluster, 'import', $csv);
like($text, qr/ 0 new, 0 changed, 1000 unchanged/, 'are found again');
admin(@cluster, '--json', 'device', 'list', '--tenant', $TENANT);
is(scalar(() = $text =~ /^\{/mg), 1000, 'device list');
is(admin(@cluster, 'device', 'show', 'device 77', '--tenant', $TENANT), 0,
   'by name');
is(admin(@cluster, 'token', 'del', '--device', id(5)), 0, 'token del');
is(admin(@cluster, 'call', id(7), 'x', '--timeout', '1'), 1, 'call');
like($text, qr/NOT_CLAIMED/, 'a call of its own shard');
is(admin(@cluster, 'call', id(8), 'x', '--persistent', '--timeout', '100'), 0,
   'a persistent call');
admin(@cluster, 'calls', id(8));
like($text, qr/ queued .* persistent /, 'calls');
is(admin(@cluster, 'bridge', 'list'), 0, 'bridge list') or diag($text);
like($text, qr/^b1 +dead queue +1000 +1000 +1000 +1 /m, 'of all shards');
is(admin(@cluster, 'api-key', 'add', '--tenant', $TENANT), 0, 'api-key add');
is(admin(@cluster, 'check', '--lists'), 0, 'check') or diag($text);
like($text, qr/^ok +call /m, 'a call');
like($text, qr/^ok +lists /m, 'the lists of all masters');
is(admin(@cluster, 'watch', '--seconds', '1'), 0, 'watch') or diag($text);

# each node has users of its own

$nodes[2]->call('ACL', 'SETUSER', 'bridge', '-cluster|slots');
admin(@cluster, 'check', '--nginx-user', 'nginx', '--bridge-user', 'bridge',
      '--admin-user', 'operator');
like($text, qr/^ok +rights +nginx has/m, 'rights at all masters');
like($text, qr/^failed +rights +bridge may not: cluster slots /m,
     'one that is missing at one of them');
$nodes[2]->call('ACL', 'DELUSER', 'bridge');
admin(@cluster, 'check', '--bridge-user', 'bridge');
like($text, qr/^failed +rights +some masters have no user bridge/m,
     'a user that is missing at one of them');

# a slot that has moved, and a seed that is gone

my $shard = TB::Bridge::prefix(TB::Bridge::shard(id(9)));
my $slot = $nodes[0]->call('CLUSTER', 'KEYSLOT', $shard);
my ($old) = grep { $slot < $from[$_ + 1] } 0 .. 2;
my $new = ($old + 1) % 3;
my @ids = map { $_->call('CLUSTER', 'MYID') } @nodes;

$nodes[$new]->call('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $ids[$old]);
$nodes[$old]->call('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $ids[$new]);

my $pid = spawn('moving.log', TB::Mqtt::admin(), @cluster, 'device', 'add',
                id(9), '--tenant', $TENANT, '--name', 'moved');

# it was told to try again

ok(wait_for(sub { $nodes[$old]->call('INFO', 'errorstats')
                  =~ /^errorstat_TRYAGAIN:count=[1-9]/m }, 60),
   'a shard that moves');
$nodes[$old]->call('MIGRATE', '127.0.0.1', $nodes[$new]{port}, '', 0, 5000,
                   'AUTH', $ENV{REDISCLI_AUTH}, 'KEYS',
                   @{ $nodes[$old]->call('CLUSTER', 'GETKEYSINSLOT', $slot,
                                         1000) });
$_->call('CLUSTER', 'SETSLOT', $slot, 'NODE', $ids[$new])
    for $nodes[$new], $nodes[$old];
is(TB::Mqtt::reap($pid, 0, 60), 0, 'device add while its shard moves')
    or diag(TB::Mqtt::text_of('moving.log'));
is(admin(@cluster, 'device', 'show', 'moved', '--tenant', $TENANT), 0,
   'it is there');
is(admin('--redis', "redis://127.0.0.1:$nodes[0]{port}", 'import', $csv), 1,
   'without --redis-cluster');
like($text, qr/MOVED.*--redis-cluster/, 'it says what is missing');
$_->stop() for @nodes;


# --- Sentinel ---------------------------------------------------------------

my $master = TB::RedisServer->start();
my $port = free_port();
my $conf = file_in('sentinel.conf', <<END);
port $port
bind 127.0.0.1
dir $dir
sentinel monitor main 127.0.0.1 $master->{port} 1
sentinel auth-pass main $TB::RedisServer::PASSWORD{admin}
requirepass sentinel-secret
END

spawn('sentinel.log', TB::RedisServer::server_binary(), $conf, '--sentinel');

my @sentinel = ('--redis', 'redis://127.0.0.1:1', '--redis',
                "redis://127.0.0.1:$port", '--redis-sentinel', 'main');
my @with = ('--redis-sentinel-password-file',
            file_in('sentinel.password', "sentinel-secret\n"));

ok(wait_for(sub { admin(@sentinel, @with, 'device', 'add', id(1), '--tenant',
                        $TENANT) == 0 }, 60), 'Sentinel') or diag($text);
is($master->call('HGET', TB::Bridge::key('device', id(1)), 'tenantId'),
   $TENANT, 'names the master');
is(admin(@sentinel, 'status'), 1, 'without its password');
like($text, qr/Sentinel/, 'it says whose');
is(admin(@sentinel[0 .. 4], 'other', @with, 'status'), 1, 'an unknown name');
like($text, qr/Sentinel: .*other/, 'is told');

done_testing();
