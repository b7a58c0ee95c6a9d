# How many calls a worker holds, and how many a device may have.
#
# runs: side by side, 6 s

use strict;
use warnings;

use Test::More;

use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;

redis();
device('d1', bridge => 'b1');
device('d2', bridge => 'b1');

my $inflight = redis()->device_key(macro('d1'));
my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
my $nginx = TB::Nginx->start(http => 'tb_rpc_max_held 3;');

$inflight =~ s/:device:/:inflight:/;


sub open_calls { return redis()->call('HLEN', $inflight) }


sub fill {
    my ($how, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @clients = map { $nginx->open('d1', 'x', $_, %opt) } 1 .. 3;

    soon { open_calls() == 3 } "$how: 3 calls are held";

    my $more = $nginx->call('d2', 'x', '4', timeout => 100);

    is($more->{what}, '503 TOO_MANY_HELD', "$how: not a fourth");
    is($more->{headers}{'retry-after'}, '1', "$how: Retry-After");
    like($more->{body}, qr/^\{"status":503,.*"errorCode":2,/, "$how: body");

    return @clients;
}


my @clients = fill('answers');

is($nginx->call('d2', 'x', '5', persistent => 1)->{status}, 200,
   'persistent calls are not held');
is($nginx->call('d2', 'x', '6', oneway => 1)->{what}, '503 TOO_MANY_HELD',
   'one-way calls are');

my @calls = grep { $_->{params} < 4 } $bridge->take(4);

is(join(' ', $bridge->answer(@calls)), '1 1 1', 'answered');
is(join(' ', map { "$_->{status} $_->{body}" }
             TB::Client::answers(20, @clients)),
   '200 1 200 2 200 3', 'slots come back: answers');

# held for long enough to be seen
@clients = fill('timeouts', timeout => 3000);
is_deeply(TB::Client::kinds(TB::Client::answers(20, @clients)),
          { '504 NOT_CLAIMED' => 3 }, 'slots come back: timeouts');

@clients = fill('aborts');
$_->leave() for @clients;
soon { open_calls() == 0 } 'all have left';

@clients = fill('refusals');
$_->leave() for @clients;
soon { open_calls() == 0 } 'all have left';

# what ends before it is held takes no slot for long
is($nginx->call('d2', 'x', '1', timeout => 100)->{what}, '504 NOT_CLAIMED',
   'one by one: in time') for 1 .. 2;
set_macro(nobody => uuid_of('nobody'));
is($nginx->call('nobody', 'x', '1')->{status}, 401,
   'one by one: refused by create') for 1 .. 5;
@clients = fill('after refusals');
$_->leave() for @clients;
soon { open_calls() == 0 } 'all have left';

like($nginx->error_log(), qr/\[warn\].* 3 calls are held already/,
     'and the log says so');

# per device; the settings are Redis', by the newest configuration

$nginx->configure(http => 'tb_rpc_max_pending 2;');
$nginx->reload();
is($nginx->call('d2', 'x', '1', timeout => 100)->{what}, '504 NOT_CLAIMED',
   'max_pending: the new configuration is in force');

@clients = map { $nginx->open('d1', 'x', $_) } 1 .. 2;
soon { open_calls() == 2 } 'max_pending: 2 calls are open';

for my $how ([], [oneway => 1], [persistent => 1]) {
    my $more = $nginx->call('d1', 'x', '3', @$how);

    is($more->{what}, '429 TOO_MANY_PENDING', "max_pending: no third @$how");
    is($more->{headers}{'retry-after'}, '1', 'max_pending: Retry-After');
    like($more->{body}, qr/"errorCode":33,/, 'max_pending: errorCode');
}

is($nginx->call('d2', 'x', '1', timeout => 100)->{what}, '504 NOT_CLAIMED',
   'max_pending: another device');

@calls = grep { $_->{params} < 4 } $bridge->take(9, 1);
$bridge->answer(@calls);
is_deeply(TB::Client::kinds(TB::Client::answers(20, @clients)), { 200 => 2 },
          'max_pending: answered');
is($nginx->call('d1', 'x', '1', timeout => 100)->{what}, '504 NOT_CLAIMED',
   'max_pending: there is room again');

is(redis()->mishaps(), '', 'nothing had to be put right');
$nginx->clean();

done_testing();
