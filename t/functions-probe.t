# The function library while a cluster moves a shard: every function that writes
# asks first whether the shard is all here, answers TRYAGAIN if not, and has
# changed nothing.
#
# The answers of the questions are made here: EXISTS is an error in a cluster when
# its key is of another shard, and when one of its two keys is elsewhere.  Of keys
# of two shards it is not asked then: Valkey 9.1 does not get over that.
# functions-moving.t has a real one.
#
# runs: side by side, 2 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root);
use TB::Functions;

my $f = TB::Functions->new(clock => 1);
my $T = $TB::Functions::TENANT;

$f->config(ack_timeout => 100);

my $d = $f->device;
my $b = 'b1';
my $expired = $f->create($d, timeout => 10);

$f->report('attach', $d, $b, 's1', 10 ** 8);

my $done = $f->create($d);

$f->take_all($d, $b);
$f->report('respond', $d, $done->[2], '1');

my ($p, $l) = map { $f->create($d, persistent => $_) } 1, 0;

$f->take($d, $b, max => 1);
$f->create($d);
$f->{nginx}->fcall('poll', $f->dkey($d), 'w1', 1, 10 ** 6);
$f->pass(1000);


# the library, moving

my $text = TB::Clock::library();

for ([q{pcall_redis('EXISTS', other)}, q({ err = 'ERR Script attempted' })],
     [q{pcall_redis('EXISTS', none, other)}, q(error('both are asked for'))],
     [q{pcall_redis('EXISTS', none, none2)},
      q({ err = 'TRYAGAIN Multiple keys request' })])
{
    my ($ask, $answer) = @$_;
    my $places = () = $text =~ /\Q$ask\E/g;

    is($places, 1, "$ask: in one place");
    $text =~ s/\Q$ask\E/$answer/;
}

$f->server->load_library(library => $text);


sub all {
    my $keys = $f->root->cmd('KEYS', '*');

    return join "\n", map { "$_ " . unpack 'H*', $f->root->cmd('DUMP', $_) }
                      sort @$keys;
}


my $key = $f->dkey($d);
my $due = $f->key($d, 'due');

my %call = (
    create => [$key, TB::Functions::uuid(), '', 0, 1, $T, '*', '"m"', '{}', '',
               '', 1000],
    cancel => [$key, $l->[1], $l->[2]],
    delivered => [$key, $p->[2], 1], timeout => [$key, $p->[2], 1],
    failed => [$key, $p->[2], 'x'], respond => [$key, $p->[2], '1'],
    return => [$key, $p->[2], 1], attach => [$key, 'b2', 's2', 1000],
    detach => [$key, 's1'], poll => [$key, 'w1', 2, 1000],
    unpoll => [$key, 'w1', 1],
    take => [$f->key($d, 'queue', $b), 'other', 1, 16],
    heartbeat => [$due, 10 ** 9, $d, 's1'], tick => [$due, 8],
    device_put => [$key, $T, '', 'bridge', 'b3'], device_del => [$key],
    delete => [$f->key($d, 'rpc', $p->[1]), $T],
    config => [$f->key($d, 'config'), 10 ** 6, 'max_retries', 1]
);

my %reads = (
    get => [$f->key($d, 'rpc', $done->[1]), $T, '*'],
    list => [$key, $T, '*', '', 'createdTime', 'asc', 0, 10],
    uuid => [$f->key($d, 'uuid', TB::Functions::uuid())],
    queues => [$f->key($d, 'queues')]
);

# all that there are, but those that have no shard

open my $fh, '<', root() . '/src/functions/register.lua' or die "$!\n";
my @names = sort grep { !/^(?:version|api_key_|user_|login_)/ }
            map { /^register\('(\w+)'/ } <$fh>;

is_deeply([sort keys %call, keys %reads], \@names, 'every function');

my $before = all();

for my $name (sort keys %call) {
    like($f->root->fcall($name, @{ $call{$name} }),
         qr/^TRYAGAIN tb_rpc: the shard \S+ is not all here, try again/,
         "$name: TRYAGAIN");
    is(all(), $before, "$name: nothing has changed");
}

for my $name (sort keys %reads) {
    is(ref $f->root->fcall($name, @{ $reads{$name} }), 'ARRAY',
       "$name only reads");
}

# it has moved

$f->server->load_library(library => TB::Clock::library());

for my $name (grep { !/^(?:device_del|delete|detach)$/ } sort keys %call) {
    unlike($f->root->fcall($name, @{ $call{$name} }), qr/TRYAGAIN/,
           "$name: goes on");
}

is($f->status($d, $expired->[1]), 'EXPIRED', 'tick has done its work');

done_testing();
