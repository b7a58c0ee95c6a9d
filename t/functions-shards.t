# No part takes more shards than nginx does.
#
# runs: side by side

use strict;
use warnings;

use Test::More;

use TB::Fixture;
use TB::Resp;

redis();


sub config {
    my ($shards) = @_;

    return redis()->command('FCALL', 'tb_rpc_config', 1, 'tb:{s0}:config',
                            1000, 'shards', $shards);
}


# the functions

ok(!TB::Resp::is_error(config($_)), "functions: $_ shards") for 1, 16, 1024;
like(config($_), qr/^ERR tb_rpc: shards .* is not a number in its range/,
     "functions: not $_") for 1025, 16384, -1, 'x';

done_testing();
