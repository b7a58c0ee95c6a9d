# A Redis that is too old is told in one clear line, as is any other failure
# of the setup, and that it is over is told to the same operator.
#
# runs: side by side, 15 s
# not with --redis-tls, --redis-cluster: its Redis is a fake one

use strict;
use warnings;

use Test::More;

use TB::FakeRedis;
use TB::Fixture;
use TB::Nginx;

my $device = uuid_of('device d1');
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if !@argv;

    my ($version, $functions, $info, $role) = split /\|/, $mode;

    return undef if !defined $version;

    my $what = lc $argv[0];

    if ($what eq 'info') {
        return "-NOPERM this user has no permissions to run 'info'\r\n"
            if $info eq 'denied';
        return TB::FakeRedis::bulk("\n# Server\r\nredis_version:$version\r\n"
                                   . "run_id:" . 'a' x 40 . "\r\n\r\n"
                                   . "role:$role\r\n");
    }

    return "-ERR unknown command `FCALL`, with args beginning with:"
           . " `tb_rpc_version`, `0`, \r\n"
        if $what eq 'fcall' && $functions eq 'no';

    return "-NOREPLICAS Not enough good replicas to write.\r\n"
        if $what eq 'fcall' && $functions eq $argv[1];

    return undef;
});


# The setup fails again and again until a sound Redis is there; what is
# logged, once.

sub told {
    my ($name, $mode, $expected, $asked) = @_;

    $fake->tell('mode', $mode);

    my $nginx = TB::Nginx->start(redis_port => $fake->{port});

    soon { $fake->tell('seen', $asked || 'INFO') >= 4 } "$name: tried again";
    like(TB::Client->new($nginx->{port}, TB::Client::text('POST',
             "/api/rpc/oneway/$device", '{"method":"m","params":1}',
             'X-Authorization' => 'Bearer ' . macro('token:tenant')))
             ->answer()->{what}, qr/^503 REDIS_UNAVAILABLE/, "$name: 503");

    my $log = $nginx->error_log();
    my @lines = grep { !/its setup did not succeed/ }
                $log =~ /\[(?:error|crit|alert)\] \S+ (.*)/g;

    is(scalar @lines, 1, "$name: one line") or diag join "\n", @lines;
    like($lines[0], $expected, "$name: a clear one");
    $fake->tell('mode', '7.0.0|yes|yes|master');
    ok($nginx->wait_log(qr/\[error\].*command connection to \S+ is ready/),
       "$name: that it is over is an [error] too");
    $nginx->clean();
    $nginx->stop();
}


told('Redis 6', '6.2.14|no|yes|master',
     qr/failed: Redis 7\.0 or newer is needed, this is 6\.2\.14; it is tried/);
told('Redis 5', '5.0.3|no|yes|master',
     qr/failed: Redis 7\.0 or newer is needed, this is 5\.0\.3; it is tried/);
told('Redis 6, INFO is denied', '6.2.14|no|denied|master',
     qr/tb_rpc_version failed in \S+ "ERR unknown command `FCALL`": (?#
        )Redis 7\.0 or newer is needed; it is tried again/);
told('no replicas', '7.2.4|tb_rpc_config|yes|master',
     qr/tb_rpc_config failed in \S+ "NOREPLICAS .*"; it is tried again/);
told('a replica', '7.2.4|yes|yes|slave',
     qr/Redis is a replica, the master is needed; it is tried again/);

# what is new enough, or says nothing that can be understood

for my $version ('7.0.0', '7.2.4', '10.0.1', '255.255.255', '', 'x', '.6',
                 '6', 'six.0', '9' x 99 . '.1', "7.\x01")
{
    $fake->tell('mode', "$version|yes|yes|master");

    my $nginx = TB::Nginx->start(redis_port => $fake->{port});

    ok($nginx->wait_log(qr/command connection to \S+ is ready/),
       "version \"$version\": used");
    like($nginx->error_log(), qr/\[notice\].*command connection to \S+ is ready/,
         "version \"$version\": nothing is over, hence no [error]");
    $nginx->clean();
    $nginx->stop();
}

done_testing();
