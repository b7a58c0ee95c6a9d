# script/soak for 20 seconds: what is answered 200 is kept, nothing runs twice
# within an attempt; and it does see both where they happen.
#
# runs: side by side, 60 s
# not with --redis-tls, --redis-cluster: nginx reaches Redis by a proxy

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(sum0);
use Test::More;

use TB::Env qw(scratch wait_for);
use TB::Soak;

my $soak = TB::Soak->new(expires => 8);

# of this there has to be enough, which a slow machine takes longer for

sub faults { return sum0(values %{ $soak->{faults} }) }


sub calls {
    open my $fh, '<', scratch() . '/calls.log' or return 0;

    return scalar(() = <$fh>);
}


for (1 .. 5) {
    $soak->run(20);
    last if faults() >= 10 && calls() > 220;
}

my $t = $soak->finish();
my $faults = faults();


diag(join ', ', map { "$_: $t->{answers}{$_}" } sort keys %{ $t->{answers} });
diag(join ', ', map { "$_: $t->{faults}{$_}" } sort keys %{ $t->{faults} });
cmp_ok($t->{calls}, '>', 200, 'calls are made');
cmp_ok($t->{answers}{200}, '>', $t->{calls} / 3, 'many are answered 200');
cmp_ok($faults, '>=', 10, 'something happens every second');
is($t->{open}, 0, 'all have come to their end');
is($t->{$_}, 0, $_) for qw(losses doubles wrong);
is(join('', @{ $t->{problems} }), '', 'nothing else to say');
is(join('', $soak->alerts()), '', 'no alert in the log of nginx');


# what it must see: a record that vanishes, a call that is got twice, and one
# that another device gets

my $redis = $soak->{redis};
my ($taken) = @{ $soak->{logs}{scripted} };


sub lines {
    open my $fh, '<', $taken or return;

    return my @lines = <$fh>;
}


my $before = lines();

$soak->call_again();

# those of which the ledger has not asked yet

my @lines;

wait_for {
    @lines = grep { /"persistent":true/ && /"oneway":false/ }
             (lines())[$before .. lines() - 1];
    @lines >= 10;
} 20;

my ($again, $other, @gone) = @lines[-5 .. -1];

for (@gone) {
    my ($rpc, $device) = /"rpcId":"([^"]+)","deviceId":"([^"]+)"/;

    $redis->call('DEL', TB::Bridge::key('rpc', $device) =~ s/[^:]+$/$rpc/r);
}

open my $fh, '>>', $taken or die "$taken: $!\n";
syswrite $fh, $again;
syswrite $fh, $other =~ s/"deviceId":"\w{8}/"deviceId":"00000000/r
                     =~ s/"attempt":1/"attempt":2/r;

$t = $soak->finish();

for (['losses', 'it is not there', 'a loss'],
     ['doubles', 'the same attempt twice', 'a double'],
     ['wrong', 'another device has got it', 'a call of another device'])
{
    my ($kind, $text, $name) = @$_;

    cmp_ok($t->{$kind}, '>=', 1, "$name is seen");
    ok(scalar(grep { /^$kind: $text/ } @{ $t->{problems} }), 'and told');
}

done_testing();
