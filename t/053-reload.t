# Reload, quit and stop while calls are held.
#
# runs: side by side, 9 s

use strict;
use warnings;

use Test::More;

use TB::FastBridge;
use TB::Fixture;
use TB::Nginx;

# valgrind and a thousand connections are not for each other
my $held = ($ENV{TB_MODE} || '') eq 'valgrind' ? 100 : 1000;

redis();
device("d$_", bridge => 'b1') for 1 .. 10;

my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
my $nginx = TB::Nginx->start();


sub hold {
    my ($n, @opt) = @_;

    return map { $nginx->open('d' . ($_ % 10 + 1), 'x', "{\"n\":$_}",
                              timeout => 60000, @opt) } 1 .. $n;
}


sub own_answers {
    my ($what, @clients) = @_;

    my $n = 0;
    my @wrong = grep { $_->{status} != 200 || $_->{wanted} ne $_->{body} }
                map { $_->{wanted} = '{"n":' . ++$n . '}'; $_ }
                TB::Client::answers(60, @clients);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_deeply(TB::Client::kinds(@wrong), {}, $what);
}


sub sum_queued {
    my $n = 0;

    $n += redis()->call('LLEN', $_)
        for @{ redis()->call('KEYS', 'tb:{*:queue:b1') };

    return $n;
}


# reload

my @clients = hold($held);
my @calls = $bridge->hold($held, 40);

is(scalar @calls, $held, "$held calls are held and acknowledged");

my ($old) = $nginx->reload();

my $new = $nginx->open('d1', 'x', '{"n":"new"}', timeout => 30000);
my @new = $bridge->take(1);

is(scalar @new, 1, 'a call to the new worker');
ok(kill(0, $old), 'while the old one holds calls');
is(join(' ', $bridge->answer(@new)), 1, 'answered');
is($new->answer()->{body}, '{"n":"new"}', 'the new worker answers');
ok(!(grep { $_->answered() } @clients[0, 1, -1]), 'the others are waiting');

is_deeply([ grep { $_ ne 1 } $bridge->answer(@calls) ], [],
          'the device answers all others');
own_answers("all $held are answered by the old worker", @clients);
ok($nginx->gone($old), 'the old worker has gone');
is_deeply([ grep { !/:(?:devices?|config|queues|taken|ticker)\b/ }
            @{ redis()->call('KEYS', 'tb:{*') } ],
          [ redis()->call('KEYS', 'tb:{*:due') ]->[0],
          'nothing is left in Redis but devices, settings, who ticks, the'
          . ' last batch');
is_deeply([ grep { !/^#/ } map { @{ redis()->call('ZRANGE', $_, 0, -1) } }
            @{ redis()->call('KEYS', 'tb:{*:due') } ], [],
          'and the queues that are looked at');
is(scalar @{ redis()->call('KEYS', '*:answer:*') }, 0, 'no answer is kept');
$nginx->clean();
unlike($nginx->error_log(), qr/open socket/, 'no "open socket left"');

# what is under way ends in time too: timeouts and leaving callers

@clients = map { $nginx->open('d1', 'x', $_, timeout => 5000) } 1 .. 16;
soon { sum_queued() == 16 } 'calls that nobody will take';
($old) = $nginx->reload();
$_->leave() for splice @clients, 0, 10;
is_deeply(TB::Client::kinds(TB::Client::answers(30, @clients)),
          { '504 NOT_CLAIMED' => 6 },
          'the old worker tells those that stayed');
ok($nginx->gone($old), 'and goes');
is(scalar @{ redis()->call('KEYS', '*:inflight:*') }, 0,
   'those of callers that left are withdrawn');

# an old worker that has lost Redis looks for it again

@clients = hold(20);
@calls = $bridge->take(20);
($old) = $nginx->reload();
redis()->call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'USER', 'nginx');
redis()->call('CLIENT', 'KILL', 'USER', 'nginx');
$bridge->answer(@calls);
own_answers('an old worker whose connections were killed', @clients);
ok($nginx->gone($old), 'and goes');

# worker_shutdown_timeout

$nginx->configure(main => 'worker_shutdown_timeout 1s;');
$nginx->reload();
ok($nginx->wait_log(qr/\[warn\].*worker_shutdown_timeout/),
   'too short a worker_shutdown_timeout is warned of');
@clients = hold(20);
is(scalar(my @claimed = $bridge->take(20)), 20,
   'worker_shutdown_timeout: 20 calls are held');
($old) = $nginx->reload();
my @cut = TB::Client::answers(30, @clients);
is_deeply(TB::Client::kinds(@cut), { '0 closed after 0 bytes' => 20 },
          'worker_shutdown_timeout: cut off');
ok($nginx->gone($old), 'worker_shutdown_timeout: the worker goes');
unlike($nginx->error_log(), qr/open socket/,
       'worker_shutdown_timeout: no "open socket left"');
$nginx->clean();
$bridge->answer(@claimed);

# QUIT

$nginx->configure(main => '');
$nginx->reload();
@clients = hold(50);
@calls = $bridge->take(50);
is(scalar @calls, 50, 'QUIT: 50 calls are held');
kill 'QUIT', $nginx->{pid};
ok($nginx->wait_log(qr/gracefully shutting down/), 'QUIT: going');
$bridge->answer(@calls);
own_answers('QUIT: all are answered', @clients);
ok($nginx->stop('QUIT', 30), 'QUIT: nginx has gone');
$nginx->clean();
unlike($nginx->error_log(), qr/open socket/, 'QUIT: no "open socket left"');

# TERM

$nginx = TB::Nginx->start();
@clients = hold(50);
@calls = $bridge->take(50);
is(scalar @calls, 50, 'TERM: 50 calls are held');

# a call that nginx has no reply about yet would be answered: UNKNOWN; replies
# come in turn
$nginx->get('/api/rpc/persistent/%{uuid:none}');
ok($nginx->stop('TERM', 30), 'TERM: nginx goes before they end');
is_deeply(TB::Client::kinds(TB::Client::answers(20, @clients)),
          { '0 closed after 0 bytes' => 50 },
          'TERM: callers see their connection close');
$nginx->clean();

soon { !grep { /\bname=tb-rpc-/ } split /\n/, redis()->call('CLIENT', 'LIST') }
     'nobody is connected any more';
is(redis()->mishaps(), '', 'nothing had to be put right');

done_testing();
