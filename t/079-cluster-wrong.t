# A cluster of which one node is set up wrongly, and Sentinels of which one
# lies: the log says what is wrong and where, in a line; calls to the shards of
# the others go on; nothing is half done; and it ends when that is mended.
#
# runs: side by side, 25 s
# not with --redis-tls, --redis-cluster: it has servers of its own

use strict;
use warnings;

use Test::More;

use TB::Bridge;
use TB::Certs;
use TB::Cluster;
use TB::Env qw(scaled scratch wait_for);
use TB::FakeRedis;
use TB::Fixture;
use TB::Nginx;
use TB::RedisServer;
use TB::Sentinel;

plan skip_all => 'no openssl' if !TB::Certs::available();

my $certs = TB::Certs->new(scratch());

$certs->authority($_) for qw(ca other);
$certs->certificate('server', 'ca', 'redis', 'DNS:localhost,IP:127.0.0.1');
$certs->certificate('elsewhere', 'ca', 'redis', 'DNS:redis.example');
$certs->certificate('stranger', 'other', 'redis', 'IP:127.0.0.1');

my $tls = TB::RedisServer::has_tls() ? $certs : undef;
my $cluster = TB::Cluster->new(masters => 3, $tls ? (tls => $tls) : ());
my (%device, %shard);

# one device on each master

for (my $n = 1; keys %device < 3; $n++) {
    my $id = sprintf 'de000000-0000-11ee-8000-%012x', $n;
    my $master = $cluster->master_of_shard(TB::Bridge::shard($id, 128));

    next if $device{$master};

    $device{$master} = "w$master";
    $shard{$master} = TB::Bridge::shard($id, 128);
    set_macro("w$master" => $id);
    $cluster->call($master, 'FCALL', 'tb_rpc_device_put', 1,
                   TB::Bridge::key('device', $id), macro('tenant'), '',
                   'bridge', 'b1');
}


sub nginx {
    my (%opt) = @_;

    my $trusted = $tls ? 'ssl_trusted_certificate ' . $certs->path('ca.pem')
                         . ';' : '';

    return TB::Nginx->start(
        redis_server => $cluster->url(0),
        redis => 'server ' . $cluster->url(2) . "; cluster on; $trusted"
                 . 'command_timeout ' . scaled(1) . 's;', %opt);
}


sub create {
    my ($nginx, $master) = @_;

    return $nginx->call($device{$master}, 'x', '1', persistent => 1);
}


sub created {
    my ($nginx, $master, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $answer;

    soon { $answer = create($nginx, $master); $answer->{status} == 200 }
         $what, 60
        or diag($answer->{what}, substr $nginx->error_log(), -2000);
}


# all that is stored for the device of this master

sub stored {
    my ($master) = @_;

    my $key = sprintf 'tb:{s%03o}:rpc:*', $shard{$master};

    return scalar @{ $cluster->call($master, 'KEYS', $key) };
}


my $nginx = nginx();

created($nginx, $_, "node $_ works") for 0 .. 2;


# breaks node 1 for nginx, which runs (its connections are cut) or starts

sub wrong {
    my ($what, $line, $break, $mend) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $name = $cluster->addr(1) . ':' . $cluster->port(1);
    my $before = length $nginx->error_log();

    # both at once: a tick between them would be the first to find out

    $cluster->call(1, 'MULTI');
    $break->();
    $cluster->call(1, 'CLIENT', 'KILL', 'USER', 'nginx');
    $cluster->call(1, 'EXEC');

    soon { substr($nginx->error_log(), $before) =~ $line }
         "$what: the log says so", 60
        or diag(substr $nginx->error_log(), $before);

    my $stored = stored(1);
    my $refused = create($nginx, 1);

    is($refused->{what}, '503 REDIS_UNAVAILABLE', "$what: 503 there");
    created($nginx, $_, "$what: node $_ works") for 0, 2;
    is(stored(1), $stored, "$what: nothing is stored there");

    my @lines = grep { /\[(?:warn|error|crit|alert)\]/ && /tb_rpc/ }
                split /\n/, substr $nginx->error_log(), $before;

    # cut off, then why it does not come back: of each connection

    cmp_ok(scalar @lines, '<=', 5, "$what: the log does not say it again")
        or diag(join "\n", @lines);
    is(scalar(grep { !/\Q$name\E/ } @lines), 0, "$what: it names the node")
        or diag(join "\n", @lines);

    my $new = nginx();

    ok($new->wait_log($line, 60), "$what: so does an nginx that starts")
        or diag($new->error_log());
    created($new, $_, "$what: there node $_ works") for 0, 2;
    is(create($new, 1)->{status}, 503, "$what: and 503 for the other");
    $new->clean();
    $new->stop();

    $mend->();
    created($nginx, 1, "$what: mended");
}


sub user { $cluster->call(1, 'ACL', 'SETUSER', 'nginx', @_) }

wrong('another password', qr/command connection to \S+ failed: .*WRONGPASS/,
      sub { user('resetpass', '>other') },
      sub { user('resetpass', ">$TB::RedisServer::PASSWORD{nginx}") });
wrong('no such user', qr/command connection to \S+ failed: .*WRONGPASS/,
      sub { $cluster->call(1, 'ACL', 'DELUSER', 'nginx') },
      sub { $cluster->call(1, 'ACL', 'LOAD') });
wrong('no right to functions', qr/"NOPERM.*; it is tried again until/,
      sub { user('-fcall') }, sub { user('+fcall') });

# who ticks finds out by himself

my $node = $cluster->addr(1) . ':' . $cluster->port(1);

user('-fcall');
ok($nginx->wait_log(qr/tb_rpc_tick failed in \Q$node\E: "NOPERM/, 60),
   'no right to tick: the log says so, and where') or diag $nginx->error_log();
user('+fcall');
created($nginx, 1, 'no right to tick: mended');

SKIP: {
    skip 'a Redis without TLS', 1 if !$tls;

    my $show = sub {
        my ($name) = @_;

        $cluster->call(1, 'CONFIG', 'SET', 'tls-cert-file',
                       $certs->path("$name.pem"), 'tls-key-file',
                       $certs->path("$name.key"));
    };

    wrong('a certificate for another name',
          qr/certificate is not for "127\.0\.0\.1"/,
          sub { $show->('elsewhere') }, sub { $show->('server') });
    wrong('a certificate of another authority', qr/certificate is refused: /,
          sub { $show->('stranger') }, sub { $show->('server') });
}


# --- a slot that nobody has -------------------------------------------------

my $slot = TB::Cluster::slot_of_shard($shard{1});

$cluster->call($_, 'CLUSTER', 'DELSLOTS', $slot) for 0 .. 2;
ok($nginx->wait_log(qr/tb_rpc_redis: 1 slots of the cluster have no/, 60),
   'a slot of nobody: the log says so') or diag $nginx->error_log();
is(create($nginx, 1)->{status}, 503, 'a slot of nobody: 503');
created($nginx, $_, "a slot of nobody: node $_ works") for 0, 2;
is($nginx->count_log(qr/slots of the cluster have no master/), 1,
   'a slot of nobody: said once');
$cluster->call(1, 'CLUSTER', 'ADDSLOTS', $slot);
created($nginx, 1, 'a slot of nobody: it has a master');
ok($nginx->wait_log(qr/all slots of the cluster have a master/),
   'a slot of nobody: and the log says so');
$nginx->clean();
$nginx->stop();


# --- a Sentinel that lies among others --------------------------------------

my $admin = $TB::RedisServer::PASSWORD{admin};
my @redis = map { TB::RedisServer->start(args => ['--masterauth', $admin]) }
            0 .. 2;

# what it names: a replica, another master without devices, nobody

$redis[1]->call('REPLICAOF', '127.0.0.1', $redis[0]{port});
$redis[0]->fcall('tb_rpc_device_put', $redis[0]->device_key(macro('w0')),
                 macro('tenant'), '', 'bridge', 'b1');

my $sentinel = TB::Sentinel->start(master => $redis[0]);
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if !@argv || uc $argv[0] ne 'SENTINEL';
    return "*2\r\n\$9\r\n127.0.0.1\r\n\$" . length($mode) . "\r\n$mode\r\n";
});

$fake->tell('mode', $redis[1]{port});

$nginx = TB::Nginx->start(
    redis_server => "redis://127.0.0.1:$fake->{port}",
    redis => "server redis://127.0.0.1:$sentinel->{port}; sentinel main;");
created($nginx, 0, 'a Sentinel names a replica: the other one is asked');
is($nginx->count_log(qr/it is a replica, and not the master/), 1,
   'a Sentinel names a replica: the log says so once');
$nginx->clean();
$nginx->stop();

$redis[1]->stop();
$nginx = TB::Nginx->start(
    redis_server => "redis://127.0.0.1:$fake->{port}",
    redis => "server redis://127.0.0.1:$sentinel->{port}; sentinel main;");
created($nginx, 0, 'a Sentinel names nobody: the other one is asked');
$nginx->clean();

done_testing();
