# Callers while a cluster's master is killed, stopped or cut off from the others,
# while all shards move, and while Sentinels make another master: what was
# answered 200 with "wait" is done, once; everybody else has a 503 or 504; and
# nobody waits longer than Redis makes a plain client wait.
#
# bench/faults has more of them, and the figures.
#
# runs: alone, 100 s
# not with --redis-tls, --redis-cluster: it has servers of its own

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(scaled);
use TB::Faults;
use TB::Net;
use TB::Stage;

my $why = TB::Net::alone();
my $net = $why ? undef : TB::Net->new();


sub happens {
    my ($stage, $name) = @_;

    my $r = TB::Faults::try($stage, $name);

    diag(sprintf '%s: %d answered 200, %d 503, %d 504; %.2f s without a'
                 . ' persistent call, %.2f without a two-way one, a plain'
                 . ' client %.2f', $name, @$r{qw(200 503 504 gap two_way
                                                 plain)});
    cmp_ok($r->{200}, '>', 100, "$name: calls are answered");
    is_deeply($r->{wrong}, {}, "$name: 200, 503 and 504 only");
    is_deeply($r->{undone}, {}, "$name: what was answered 200 is done");

    # not so much as half a second, where others use the machine

    cmp_ok($r->{gap}, '<', $r->{plain} + scaled(1.5),
           "$name: as long as Redis takes") if $name ne 'reshard';

    return $r;
}


my $stage = TB::Stage::Cluster->new($net ? (net => $net) : ());
my $r;

$stage->mode('wait');
$r = happens($stage, 'kill');
is($r->{503}, 0, 'kill: nobody is refused');
$r = happens($stage, 'stop');
is($r->{twice}, 0, 'stop: nothing is done twice');

SKIP: {
    skip "no hosts that can be cut off: $why", 3 if $why;

    happens($stage, 'isolated');
}

$r = happens($stage, 'reshard');
is($r->{503}, 0, 'reshard: nobody is refused');
is($r->{twice}, 0, 'reshard: nothing is done twice');
$stage->{nginx}->clean();
$stage->{nginx}->stop();

# two replicas: what both have the one has that becomes the master

$stage = TB::Stage::Sentinel->new();
$stage->mode('wait2');
happens($stage, 's-failover');

# by hand without losing anything, and without "wait"

$stage->mode('min');
happens($stage, 's-planned');
$stage->{nginx}->clean();

done_testing();
