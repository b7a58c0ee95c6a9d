# tb_rpc_status of more workers than there are places to count in, over the
# killing of one and a reload; and over an upgrade of nginx' binary, whose
# counters begin anew, while the old one's go on with it.
#
# runs: side by side, 15 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(file_in scaled wait_for);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Metrics;
use TB::Nginx;

my %pids;

redis();
device('d1', bridge => 'b1');
device('off');
TB::FastBridge->start(connect => { redis()->access('bridge') });

my $nginx = TB::Nginx->start(
    # what AddressSanitizer needs in another binary
    main => join('', map { "env $_;\n" } qw(LD_PRELOAD ASAN_OPTIONS
                                            LSAN_OPTIONS UBSAN_OPTIONS)),
    workers => 40, connections => 128, http => 'tb_rpc_max_held 64;',
    listen => 'reuseport', config => <<'_EOC_');
location /api/rpc/ { tb_rpc  v2; }
location = /status  { tb_rpc_status; }
location = /metrics { tb_rpc_status  prometheus; }
location = /page    { tb_rpc_status  html; }
_EOC_


sub fetch {
    my ($path) = @_;

    my $client = TB::Client->new($nginx->{port},
                                 TB::Client::text('GET', $path));

    return $client->answer(60)->{body};
}

sub status { return JSON::PP::decode_json(fetch('/status')) }

sub numbers {
    return join ' ', map { $_->{worker} } @{ status()->{processes} };
}


# calls on connections of their own: the kernel spreads them

sub calls {
    my ($n) = @_;

    my $token = macro('token:tenant');
    my @answers = TB::Load::run(
        port => $nginx->{port}, parallel => 8, timeout => scaled(30),
        requests => [ map {
            TB::Load::post('/api/rpc/twoway/' . macro('d1'),
                           "{\"method\":\"echo\",\"params\":$_}",
                           'X-Authorization' => "Bearer $token",
                           'Connection' => 'close')
        } 1 .. $n ]);

    return scalar grep { ($_->{status} || 0) == 200 } @answers;
}

sub answered { return status()->{requests}{twoway}{ok} || 0 }


# workers that have their Redis, and are not leaving

sub ready {
    return scalar grep { $_->{shards} == 128 && !$_->{exiting} }
                       @{ status()->{processes} };
}


# --- forty of them ----------------------------------------------------------

soon { status()->{workers}{running} == 40 } '40 workers', 90;
soon { ready() == 40 } 'all have Redis', 90;
is(numbers(), join(' ', 0 .. 39), 'each once, in their order');
like(fetch('/page'), qr/Workers: 40\./, 'on the page, too');
is(join(' ', fetch('/page') =~ /^<tr><td>(\d+)<td>\d+<td>\d+<td>\d+<td>/mg),
   join(' ', 0 .. 39), 'and in the same order');

is(calls(400), 400, 'calls');
soon { answered() == 400 } 'each is counted, once'
    or diag(answered());

my @held = map { $nginx->open('off', 'm', $_, timeout => 60000) } 1 .. 30;

soon { status()->{held} == 30 } 'what is held by all of them', 90;
cmp_ok(scalar grep({ $_->{held} } @{ status()->{processes} }), '>', 5,
       'which several do');

my ($values, @errors) = TB::Metrics::parse(fetch('/metrics'));
my @gauges = grep { /^tb_rpc_held_calls\{worker="\d+"\}$/ } keys %$values;

is_deeply(\@errors, [], 'the page for Prometheus');
is(scalar @gauges, 40, 'has a gauge of each');
is(eval { my $n = 0; $n += $values->{$_} for @gauges; $n }, 30, 'of all');
$_->leave() for @held;
soon { status()->{held} == 0 } 'none is held any more';


# --- one beyond the 32 is killed --------------------------------------------

my ($victim) = grep { $_->{worker} == 37 } @{ status()->{processes} };

kill 'KILL', $victim->{pid};
soon {
    my $new = status();

    $new->{workers}{running} == 40 && $new->{workers}{lost} == 1;
} 'another one takes its place', 50;
is(numbers(), join(' ', 0 .. 39), 'with its number');
cmp_ok(answered(), '==', 400, 'what it had counted stays');


# --- a reload ---------------------------------------------------------------

$nginx->reload();
soon {
    my $workers = status()->{workers};

    $workers->{running} == 40 && $workers->{exiting} == 0;
} '40 others', 50;
soon { ready() == 40 } 'all have Redis', 90;
is(calls(100), 100, 'calls');
soon { answered() == 500 } 'they are added' or diag(answered());
is(status()->{workers}{lost}, 1, 'none was lost in it');


$nginx->clean(qr/exited on signal 9/);
$nginx->stop('QUIT');


# --- another binary ---------------------------------------------------------

# As a service has it: who started it has gone, or it ignores the signal.

sub daemon {
    $nginx->configure(workers => 2, listen => '');

    my $conf = $nginx->file_text('nginx.conf');

    is($conf =~ s/^daemon +off;/daemon on;/m, 1, 'a daemon');
    file_in("$nginx->{name}/nginx.conf", $conf);
    is(system(TB::Nginx::command(), '-p', "$nginx->{dir}/", '-e', 'error.log',
              '-c', 'nginx.conf'), 0, 'is started');
    soon { master() } 'it has written its pid';

    # what ends it at the end of the test
    $pids{$nginx->{pid} = master()} = 1;
}


sub master { return ($nginx->file_text('nginx.pid') =~ /^(\d+)/)[0] || 0 }

END {
    local $?;

    kill 'TERM', keys %pids;
}


# both answer: what they have counted, and how many workers they have

sub both {
    my %seen;

    for (1 .. 40) {
        my $now = status();

        $seen{$now->{requests}{twoway}{ok} || 0} = $now->{workers}{running};
    }

    return \%seen;
}


sub gone { return !kill(0, $_[0]) }


SKIP: {
    skip 'valgrind does not follow it', 1
        if ($ENV{TB_MODE} || '') eq 'valgrind';

    daemon();

    my $old = master();

    is(calls(20), 20, 'calls');
    soon { answered() == 20 } 'are counted';

    my $since = status()->{since};
    my $held = $nginx->open('off', 'm', '1', timeout => 60000);

    soon { status()->{held} == 1 } 'a call is held';

    # the new one is known by its workers

    my $conf = $nginx->file_text('nginx.conf');

    $conf =~ s/^(worker_processes +)\d+/${1}3/m;
    file_in("$nginx->{name}/nginx.conf", $conf);
    select undef, undef, undef, 1.1;        # "since" is in seconds
    kill 'USR2', $old;
    soon { master() && master() != $old } 'a new master', 90;

    my $new = master();

    $pids{$new} = 1;
    soon {
        my $seen = both();

        ($seen->{0} || 0) == 3 && ($seen->{20} || 0) == 2;
    } 'the new binary counts from zero, the old one goes on', 90;

    kill 'WINCH', $old;
    soon { join(' ', sort keys %{ both() }) eq '0' } 'the new one alone', 50;
    cmp_ok(status()->{since}, '>', $since, 'it says since when');
    is(calls(50), 50, 'calls');
    soon { answered() == 50 } 'are counted by the new one';
    is($held->answered() ? 1 : 0, 0, 'the old one still holds a call');

    kill 'QUIT', $old;
    $held->leave();
    soon { gone($old) } 'and leaves when that is over', 90;
    is(answered(), 50, 'which changes nothing');
    is(status()->{workers}{lost}, 0, 'nobody was lost');

    kill 'QUIT', $new;
    soon { gone($new) } 'the new one ends as it should', 90;
    delete @pids{$old, $new};
}

unlike($nginx->error_log(), qr/exited on signal (?!9)|AddressSanitizer/,
       'nothing has crashed');

done_testing();
