# Redis is killed again and again in the middle of a stream of persistent
# calls: what was answered 200 is kept, once, and is delivered, once.  503
# means that there is no such call, 504 UNKNOWN that nobody knows.
#
# runs: side by side, 9 s
# not with --redis-cluster: it kills the one server

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Test::More;

use TB::Env qw(file_in scaled scratch wait_for);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;

my $CLIENTS = 3;            # processes
my $PARALLEL = 4;           # connections of each
my $KILLS = 6;

my $json = JSON::PP->new->utf8;

redis(args => ['--appendfsync', 'always']);

# a restarted Redis has what it wrote itself, nothing else
redis()->{library} = 0;

# half of the devices are offline, half have a queue

my @offline = map { "off$_" } 1 .. 3;
my @online = map { "on$_" } 1 .. 3;
my @devices = (@offline, @online);

device($_) for @offline;
device($_, bridge => 'b1') for @online;

my $nginx = TB::Nginx->start(
    workers => 2, redis => 'command_timeout ' . scaled(300) . 'ms;',
    http => 'tb_rpc_max_pending 100000; tb_rpc_max_queue 100000;'
            . 'tb_rpc_ack_timeout 10m;');
my @workers = $nginx->workers();

# as often as it takes: command_timeout is short for a beginning
my $uuid = uuid_of('first');

soon { $nginx->call('on1', 'x', '"first"', persistent => 1, uuid => $uuid,
                    timeout => 3_600_000)->{status} == 200 } 'the first call';


# the stream ------------------------------------------------------------------

# Each client makes calls until the file "stop" is there, and writes down how
# each one was answered: a number, the status, the result, the rpcId.

sub client {
    my ($no) = @_;

    my $parent = $$;
    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    return $pid if $pid;

    my $out = '';
    my $n = $no * 1_000_000;

    until (-e scratch() . '/stop' || getppid() != $parent) {
        my @numbers = map { $n++ } 1 .. 10 * $PARALLEL;
        my @answers = TB::Load::run(
            port => $nginx->{port}, parallel => $PARALLEL,
            timeout => scaled(60),
            requests => [ map { $nginx->text($devices[$_ % @devices], 'x', $_,
                                             persistent => 1,
                                             timeout => 3_600_000) }
                          @numbers ]);

        for my $answer (@answers) {
            my ($id) = ($answer->{body} // '')
                       =~ /([0-9a-f]{8}-[0-9a-f-]{27})/;

            $out .= join(' ', shift @numbers, $answer->{status} || 0,
                         ($answer->{headers} || {})->{'x-rpc-result'} || '-',
                         $id // '-') . "\n";
        }
    }

    file_in("answers$no", $out);
    POSIX::_exit(0);
}


# how many calls there are in Redis

sub stored {
    my $n = 0;

    for my $device (@devices) {
        my $key = redis()->device_key(macro($device));

        $key =~ s/:device:/:index:/;
        $n += redis()->call('ZCARD', $key);
    }

    return $n;
}


sub count_access { return scalar grep { / $_[0] / }
                                 split /\n/, $nginx->access_log() }


sub some_more {
    my ($what) = @_;

    my $before = stored();

    return soon { stored() >= $before + 60 } "$what: calls are stored", 60;
}


my @clients = map { client($_) } 1 .. $CLIENTS;

for my $round (1 .. $KILLS) {
    some_more("kill $round") or last;

    my $refused = count_access(503);

    kill 'KILL', redis()->{pid};
    redis()->stop();

    # it is back at once, or when callers have been told

    if ($round % 2) {
        soon { count_access(503) > $refused } "kill $round: some get 503", 60;
    }

    redis()->go();
}

some_more('before the orderly restart');
redis()->stop();
redis()->go();
some_more('after the orderly restart');

file_in('stop', '');
waitpid $_, 0 for @clients;


# what the callers were told --------------------------------------------------

my (%told, %kinds);

for my $no (1 .. $CLIENTS) {
    open my $fh, '<', scratch() . "/answers$no" or die "answers$no: $!\n";

    while (<$fh>) {
        my ($n, $status, $result, $id) = split;

        $kinds{"$status $result"}++;
        $told{$n} = { status => $status, id => $id };
    }
}

diag(join ', ', map { "$_: $kinds{$_}" } sort keys %kinds);
is(join(', ', grep { !/^(?:200 -|503 REDIS_UNAVAILABLE|504 UNKNOWN)$/ }
              keys %kinds), '', 'each has a clear answer');
cmp_ok($kinds{'200 -'}, '>', 60 * ($KILLS + 2), 'most are taken');
is(scalar(grep { $_->{status} != 503 && $_->{id} eq '-' } values %told), 0,
   'with an rpcId');
is_deeply([ $nginx->workers() ], \@workers, 'the same workers');


# what there is ---------------------------------------------------------------

# nothing is killed any more, so there is time for each reply

$nginx->configure(redis => '');
$nginx->reload();

# all records of a device, page by page

sub records {
    my ($device) = @_;

    my @records;

    for (my $page = 0;; $page++) {
        my $answer = $nginx->get("/api/rpc/persistent/device/%{$device}"
                                 . "?pageSize=400&page=$page");
        my $list = $json->decode($answer->{body});

        push @records, @{ $list->{data} };

        next if $list->{hasNext};

        is($list->{totalElements}, scalar @records,
           "$device: totalElements, " . @records);
        return @records;
    }
}


my @records = map { records($_) } @devices;
my (%of, %id);

for my $r (@records) {
    $of{ $r->{request}{body}{params} }++;
    $id{ $r->{id}{id} } = $r->{request}{body}{params};
}

delete $of{'"first"'};

is(scalar(keys %id), scalar @records, 'each rpcId is listed once');
is(join(' ', grep { $of{$_} > 1 } keys %of), '', 'no call exists twice');
is(join(' ', grep { !$told{$_} } keys %of), '', 'none that nobody made');

my @kept = grep { $told{$_}{status} == 200 } keys %told;
my @unknown = grep { $told{$_}{status} == 504 } keys %told;

is(join(' ', grep { !$of{$_} } @kept), '', 'what was answered 200 exists');
is(join(' ', grep { $of{$_} && $told{$_}{status} == 503 } keys %told), '',
   'what was answered 503 does not');
is(join(' ', grep { ($id{ $told{$_}{id} } // '') ne $_ } @kept), '',
   'by the rpcId that was told');
is(join(' ', grep { $of{$_} && ($id{ $told{$_}{id} } // '') ne $_ } @unknown),
   '', 'what was answered 504 too, if it does');

my $exist = grep { $of{$_} } @unknown;

is(scalar @records, 1 + @kept + $exist, scalar(@kept) . " answered 200, $exist"
   . ' of ' . @unknown . ' answered 504, and the first: all there is');

# GET of each

my $token = macro('token:tenant');
my @got = TB::Load::run(
    port => $nginx->{port}, parallel => 8, timeout => scaled(60),
    requests => [ map { TB::Client::text('GET',
        "/api/rpc/persistent/$told{$_}{id}", undef,
        'X-Authorization' => "Bearer $token") } @kept ]);

is(scalar(grep { ($_->{status} || 0) == 200 } @got), scalar @kept,
   'GET finds each that was answered 200');
is(scalar(grep { ($_->{body} || '') =~ /"status":"QUEUED"/ } @got),
   scalar @kept, 'QUEUED');


# a bridge comes --------------------------------------------------------------

# all keys of that kind

sub keys_of { return @{ redis()->call('KEYS', "tb:{s*}:$_[0]") } }


my $bridge = TB::FastBridge->new(connect => { redis()->access('bridge') });
my (%seen, $answered);

redis()->fcall('tb_rpc_attach', redis()->device_key(macro($_)), 'b1', 's1',
               600_000) for @offline;

wait_for {
    my @calls = $bridge->pop('0.1');

    $seen{ $_->{rpcId} }++ for @calls;
    $answered += grep { $_ == 1 } $bridge->answer(@calls);

    return keys %seen >= @records && !@calls;
} 60;

my @lost = grep { !$seen{$_} } keys %id;

is("@lost", '', 'the bridge gets each call');
diag("$_: " . $nginx->get("/api/rpc/persistent/$_")->{body}
     . ", told " . ($told{ $id{$_} } || { status => '-' })->{status})
    for @lost;
is(join(' ', grep { !exists $id{$_} } keys %seen), '', 'and no other');
is(join(' ', grep { $seen{$_} > 1 } keys %seen), '', 'once');
is($answered, scalar @records, 'each is answered');

is(join(' ', keys_of('inflight:*'), keys_of('pending:*'), keys_of('queue:*')),
   '', 'nothing is open, waits, or is queued');

my @due = map { @{ redis()->call('ZRANGE', $_, 0, -1) } } keys_of('due');
my @old = map { @{ redis()->call('ZRANGE', $_, 0, -1) } } keys_of('old');

is(join(' ', sort @old), join(' ', sort keys %id),
   'old: the removal of each record, once');
is(join(' ', grep { !/^[\@#]/ } @due), '', 'no call is due');
is(redis()->counter('retries'), 0, 'none was pushed again');

for my $device (@devices) {
    my $of = grep { $_->{deviceId}{id} eq macro($device) } @records;
    my $answer = $nginx->get("/api/rpc/persistent/device/%{$device}"
                             . '?pageSize=1&page=0&rpcStatus=SUCCESSFUL');

    is($json->decode($answer->{body})->{totalElements}, $of,
       "$device: all are SUCCESSFUL");
}

$nginx->clean();

done_testing();
