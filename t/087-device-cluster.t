# Devices that poll, with Redis as a cluster: a master that is silent stands in
# the way of its own devices only, and polls go where their shard goes.
#
# runs: side by side, 60 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Client;
use TB::Cluster;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Nginx;

# more than nginx tells a node of at once
my $many = 600;

# ms, of polls that are not to end by themselves
my $long = 300000;

# nobody but us makes a replica a master
my $cluster = TB::Cluster->new(masters => 3, replicas => 1, library => 0,
                               node_timeout => 60000);
my $servers = join "\n", map { 'server ' . $cluster->url($_) . ';' } 1, 2;


sub nginx {
    my ($command_timeout) = @_;

    return TB::Nginx->start(
        redis_server => $cluster->url(0),
        redis => "$servers cluster on; command_timeout $command_timeout;",
        config => 'location /api/rpc/ { tb_rpc v2; }'
                  . ' location /api/v1/ { tb_rpc_device_api;'
                  . ' tb_rpc_api_key_cache 0; }');
}


# --- devices ----------------------------------------------------------------

# whose a slot is at first
my @owner;

for my $i (0 .. 2) {
    $owner[$_] = $i for $cluster->slots_of($i);
}


# One whose shard is at this master, and its token at that one: it has id, name
# and token.

my $made = 0;

sub make {
    my ($shard_at, $token_at) = @_;

    my ($id, $token);

    do {
        $id = sprintf 'de000000-0000-11ee-8000-%012x', ++$made;
    } until $owner[TB::Cluster::slot(TB::Bridge::key('device', $id))]
            == $shard_at;

    for (my $n = 0; ; $n++) {
        $token = "token_${made}_$n";
        last if $owner[TB::Cluster::slot('tb:token:' . sha256_hex($token))]
                == $token_at;
    }

    set_macro("device$made" => $id);

    return { id => $id, name => "device$made", token => $token,
             key => TB::Bridge::key('device', $id), at => $shard_at,
             token_at => $token_at };
}


# commands, [master, argument, ...], at once for each master; their replies

sub at_masters {
    my @commands = @_;

    my (%of, @replies);

    push @{ $of{$commands[$_][0]} }, $_ for 0 .. $#commands;

    for my $i (keys %of) {
        my @which = @{ $of{$i} };

        @replies[@which] = $cluster->node($i)->client()->pipeline(
            map { my (undef, @argv) = @{ $commands[$_] }; \@argv } @which);
    }

    return @replies;
}


sub put {
    my @devices = @_;

    my @replies = at_masters(map {
        ([$_->{at}, 'FCALL', 'tb_rpc_device_put', 1, $_->{key},
          macro('tenant'), '', 'name', $_->{name}],
         [$_->{token_at}, 'SET', 'tb:token:' . sha256_hex($_->{token}),
          $_->{id}])
    } @devices);

    die "$_\n" for grep { TB::Resp::is_error($_) } @replies;
}


# how many of their polls Redis knows

sub known {
    return scalar grep { defined && !TB::Resp::is_error($_) && length }
                  at_masters(map { [$_->{at}, 'HGET', $_->{key}, 'poll'] } @_);
}


sub get {
    my ($nginx, $device, $tail, $method, $body) = @_;

    return TB::Client->new($nginx->{port},
                           TB::Client::text($method || 'GET',
                                            "/api/v1/$device->{token}/rpc$tail",
                                            $body));
}


sub poll {
    my ($nginx, $device) = @_;

    $device->{poll} = get($nginx, $device, "?timeout=$long");
}


# a call to one that polls, and its answer: what the caller gets

sub called {
    my ($nginx, $device) = @_;

    my $caller = $nginx->open($device->{name}, 'echo', "\"$device->{name}\"",
                              timeout => 60000);
    my $got = (delete $device->{poll})->answer(60);

    return "the poll: $got->{what}" if $got->{status} != 200;

    my $call = JSON::PP->new->utf8->allow_nonref->decode($got->{body});
    my $said = get($nginx, $device, "/$call->{id}", 'POST',
                   "[\"$call->{params}\"]")->answer();

    return "the answer: $said->{what}" if $said->{status} != 200;

    return $caller->answer(60)->{body};
}


# the devices poll, and each gets a call; how many seconds that took

sub serve {
    my ($nginx, $what, @devices) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $start = time();

    for (grep { !$_->{poll} } @devices) {
        poll($nginx, $_);
    }

    ok(&wait_for(sub { known(@devices) == @devices }, 120),
       "$what: Redis knows the polls")
        or diag(known(@devices) . ' of ' . @devices);

    my $took = time() - $start;

    is(join(', ', map { called($nginx, $_) } @devices),
       join(', ', map { "[\"$_->{name}\"]" } @devices),
       "$what: each gets its call");
    diag(sprintf '%s: known after %.3f s, all answered after %.3f s', $what,
         $took, time() - $start);

    return time() - $start;
}


# --- all three masters ------------------------------------------------------

my $nginx = nginx('120s');

soon { $nginx->count_log(qr/function library, version \d+, loaded/) == 3 }
     'each master gets the functions', 60;

my @few = map { my $at = $_; map { make($at, $_) } 0 .. 2 } 0 .. 2;

# at the second master: the shards of some, the tokens of others
my @silent = map { make(1, $_ % 2 ? 0 : 2) } 1 .. $many;
my @unfound = map { make($_ % 2 ? 0 : 2, 1) } 1 .. $many;

put(@few, @silent, @unfound);
serve($nginx, 'three masters', @few);


# --- one of them is silent --------------------------------------------------

my @others = grep { $_->{at} != 1 && $_->{token_at} != 1 } @few;
my ($replica) = $cluster->replicas_of(1);

$cluster->call(1, 'WAIT', 1, 10000);
$cluster->stop(1);
poll($nginx, $_) for @silent, @unfound;
cmp_ok(serve($nginx, 'one is silent', @others), '<', scaled(60),
       'one is silent: the others don\'t wait for it');
is(scalar(grep { $_->{poll}->answered() } @silent, @unfound), 0,
   'one is silent: its own devices do');

# its replica takes over

$cluster->failover($replica, 'FORCE');
$_->{at} = $replica for grep { $_->{at} == 1 } @few, @silent;
$_->{token_at} = $replica for grep { $_->{token_at} == 1 } @few, @unfound;
soon { known(@silent, @unfound) == 2 * $many }
     'another master: all polls are known', 120
    or diag(known(@silent) . ' and ' . known(@unfound));
serve($nginx, 'another master', @silent[0, 1, -2, -1],
       @unfound[0, 1, -2, -1]);
is(scalar(grep { $_->{poll} && $_->{poll}->answered() } @silent, @unfound), 0,
   'another master: no poll has ended');

# and by hand, with all of them open

$cluster->cont(1);
$cluster->wait_ok(60);
$cluster->failover(1);
$_->{at} = 1 for grep { $_->{at} == $replica } @few, @silent;
$_->{token_at} = 1 for grep { $_->{token_at} == $replica } @few, @unfound;
$cluster->wait_ok(60);
serve($nginx, 'by hand', @silent[2, 3, -4, -3]);


# --- a shard moves ----------------------------------------------------------

my ($moves) = grep { $_->{at} == 0 && $_->{token_at} == 2 } @few;
my ($same, $stays) = map {
    my $same = $_;
    grep { $_->{poll} && $_->{at} == 0
           && !($same xor TB::Bridge::shard($_->{id})
                          == TB::Bridge::shard($moves->{id})) } @unfound
} 1, 0;
my @open = ($moves, $same, $stays);

poll($nginx, $moves);
soon { known(@open) == 3 } 'a shard moves: polls are open';
$cluster->reshard(0, 2, shards => [TB::Bridge::shard($moves->{id})],
                  keys => 1);
$_->{at} = 2 for grep { TB::Bridge::shard($_->{id})
                        == TB::Bridge::shard($moves->{id}) } @few, @unfound;
$owner[TB::Cluster::slot($moves->{key})] = 2;
serve($nginx, 'a shard moves', @open);
$nginx->clean();


# --- nobody has a slot -------------------------------------------------------

ok($nginx->stop('QUIT', 60), 'it ends');
$nginx = nginx('10s');


# as its owner and all others see it, and back

sub lose {
    my ($i, $slot) = @_;

    $cluster->call($_, 'CLUSTER', 'DELSLOTS', $slot)
        for $i, grep { $_ != $i } $cluster->running();
}


my ($refused, $late) = grep { $_->{at} == 0 && $_->{token_at} == 0 } @few,
                       map { make(0, 0) } 1 .. 2;
my ($homeless) = grep { $_->{at} == 0 } @unfound;
my @slots = ((map { TB::Cluster::slot('tb:token:' . sha256_hex($_->{token})) }
              $refused, $late), TB::Cluster::slot($homeless->{key}));

put($refused, $late);
lose(0, $_) for @slots;
ok($nginx->wait_log(qr/3 slots of the cluster have no master/),
   'slots without a master: the log says so');

# one behind the other

my $start = time();

poll($nginx, $_) for $refused, $late, $homeless;
$cluster->call(0, 'CLUSTER', 'ADDSLOTS', @slots[1, 2]);
soon { known($late, $homeless) == 2 } 'they get one: these go on';
ok(!$refused->{poll}->answered(), 'without: it waits');

my $got = $refused->{poll}->answer(60);

is($got->{what}, '503 REDIS_UNAVAILABLE', 'without: and is refused');
cmp_ok(time() - $start, '>', 9.9, 'without: after command_timeout');
serve($nginx, 'slots that were nobody\'s', $late, $homeless);
$cluster->call(0, 'CLUSTER', 'ADDSLOTS', $slots[0]);
$cluster->wait_ok();
soon { known(@few, @unfound, @silent) == 0 } 'nobody polls';


# --- a worker goes while one is silent --------------------------------------

poll($nginx, $_) for @silent, @others;
soon { known(@silent, @others) == @silent + @others } 'all poll', 120
    or diag(join ', ', known(@silent), known(@others));
$cluster->stop(1);

$start = time();

ok($nginx->stop('QUIT', 120), 'one is silent: it ends');
diag(sprintf 'it has ended after %.1f s', time() - $start);

my @answers = TB::Client::answers(60, map { $_->{poll} } @silent, @others);

is_deeply(TB::Client::kinds(@answers), { 408 => @silent + @others },
          'one is silent: all polls are answered');
soon { known(@others) == 0 }
     'one is silent: the others know that they are over';
$cluster->cont(1);

done_testing();
