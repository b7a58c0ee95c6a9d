# No part takes more shards than nginx does.
#
# runs: side by side, 2 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(root build);
use TB::Fixture;
use TB::Resp;

redis();


sub config {
    my ($shards) = @_;

    return redis()->command('FCALL', 'tb_rpc_config', 1, 'tb:{s000}:config',
                            1000, 'shards', $shards);
}


# the functions

ok(!TB::Resp::is_error(config($_)), "functions: $_ shards") for 1, 16, 512;
like(config($_), qr/^ERR tb_rpc: shards .* is not a number in its range/,
     "functions: not $_") for 513, 1024, 16384, -1, 'x';

# bridge and tools, by option and by what "tb:meta" says

sub says {
    my (@command) = @_;

    open my $fh, '-|', 'sh', '-c', 'timeout 120 "$@" 2>&1', 'sh', @command
        or die "sh: $!\n";
    local $/;

    return <$fh>;
}


my $bridge = $ENV{TB_BRIDGE} || build() . '/tb-rpc-mqtt-bridge';
my $port = redis()->{port};
my @admin = (root() . '/tools/tb-rpc-admin', '--redis',
             "redis://127.0.0.1:$port");

like(says($bridge, '--name', 'b1', '--shards', '513'),
     qr/shards must be a number from 1 to 512/, 'bridge: not 513');
like(says(@admin, '--shards', '513', 'device', 'list'),
     qr/--shards must be 1 to 512/, 'tb-rpc-admin: not 513');

redis()->call('HSET', 'tb:meta', 'shards', '513', 'schema', '2');

$ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};

for (['device', 'add', uuid_of('d'), '--tenant', uuid_of('t')],
     ['import', '/dev/null'])
{
    like(says(@admin, @$_), qr/tb:meta has a wrong number of shards: "?513/,
         "tb-rpc-admin $_->[0]: not 513 in tb:meta");
}

done_testing();
