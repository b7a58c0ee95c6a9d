# Lists sorted by status, which the thingsboard profile has: every page of
# records of all statuses against a sort of all of them, and what a page costs
# Redis.
#
# runs: side by side, 9 s

use strict;
use warnings;

use JSON::PP ();
use List::Util qw(sum);
use Test::More;

use TB::Env qw(free_port);
use TB::Fixture;
use TB::Nginx;

# in the order of their codes

my @STATUSES = qw(QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED FAILED);

my $json = JSON::PP->new->utf8->allow_nonref;
my $redis = redis();
my $nginx = TB::Nginx->start(
    http => 'tb_rpc_max_pending 100000; tb_rpc_ack_timeout 1h;',
    config => 'location /api/rpc/ { tb_rpc v2; tb_rpc_profile thingsboard; }'
              . ' location /openapi/rpc/ { tb_rpc v2; }');
my $n = 0;

# the settings are in Redis

$nginx->get('/api/rpc/persistent/' . uuid_of('nothing'));
soon { 128 == grep { redis()->call('HGET', TB::Bridge::prefix($_) . "config", 'stamp') }
                  0 .. 127 } 'configured';


sub fcalls {
    my @replies = $redis->client()->pipeline(map { ['FCALL', @$_] } @_);

    for (@replies) {
        die "$_\n" if TB::Resp::is_error($_);
    }

    return @replies;
}


# persistent calls of the device; [rpcId, createdTime], by Redis' clock

sub create {
    my ($key, @expiration) = @_;

    return map { [$_->[1], $_->[4]] } fcalls(map {
        ['tb_rpc_create', 1, $key,
         sprintf('%08x-0000-11ee-8000-010203040506', ++$n), '', 0, 1,
         macro('tenant'), '*', '"m"', '1', '', '', $_ ? ('', $_) : 600000]
    } @expiration);
}


# That many calls, each with the status that is named.  These are written into
# the records and their index: so many are never with a bridge at once.

sub records {
    my ($name, @statuses) = @_;

    my $key = $redis->device_key(device($name, bridge => "of_$name"));
    my $index = $key =~ s/:device:(.*)/:index:$1:status/r;
    my $record = $key =~ s/:device:.*/:rpc:/r;
    my %code = map { $STATUSES[$_] => $_ } 0 .. $#STATUSES;
    my %status;
    my @writes;

    while (my @part = splice @statuses, 0, 200) {
        my @calls = create($key, map { $_ eq 'EXPIRED' ? 1000 : 0 } @part);

        for my $i (0 .. $#part) {
            my ($id, $created) = @{ $calls[$i] };
            my $code = $code{ $part[$i] };

            $status{$id} = $part[$i];
            push @writes, ['HSET', "$record$id", 's', $code],
                          ['ZADD', $index, $code * 2 ** 42 + $created, $id]
                if $part[$i] !~ /QUEUED|EXPIRED/;
        }
    }

    is(scalar(grep { TB::Resp::is_error($_) }
              $redis->client()->pipeline(@writes)), 0, "$name: as it is meant")
        if @writes;

    return %status;
}


sub page {
    my ($name, $args) = @_;

    return $nginx->get("/api/rpc/persistent/device/%{$name}?$args")->{body};
}


sub list { return $json->decode(page(@_)) }


# id, createdTime and status of each; JSON::PP takes too long for thousands

sub rows {
    my ($page) = @_;

    my @rows;

    while ($page =~ /\{"id":\{"entityType":"RPC","id":"([^"]+)"\},
                     "createdTime":(\d+),.*?"status":"(\w+)",
                     "additionalInfo"/gx)
    {
        push @rows, { id => $1, created => $2, status => $3 };
    }

    return @rows;
}


# what each page must be, from a list by createdTime

sub ordered {
    my ($name, $direction) = @_;

    my @all = rows(page($name, 'page=0&pageSize=100000'));
    my $sign = $direction eq 'DESC' ? -1 : 1;

    # createdTime, then rpcId, the same both ways
    return map { $_->{id} }
           sort { $sign * ($a->{status} cmp $b->{status})
                  || $a->{created} <=> $b->{created}
                  || $a->{id} cmp $b->{id} } @all;
}


sub pages {
    my ($name, $direction, $size, $more) = @_;

    my ($n, $page, @got) = (0);

    do {
        $page = page($name, "page=$n&pageSize=$size&sortProperty=status"
                            . "&sortOrder=$direction" . ($more || ''));
        push @got, map { $_->{id} } rows($page);
        $n++;
    } while ($page =~ /"hasNext":true\}$/);

    return @got;
}


sub check {
    my ($name, @sizes) = @_;

    for my $direction ('ASC', 'DESC') {
        my @want = ordered($name, $direction);

        for my $size (@sizes) {
            my @got = pages($name, $direction, $size);

            ok("@got" eq "@want", "$name: $direction, pages of $size")
                or diag scalar(@got) . ' of ' . @want;
        }
    }
}


# few, all statuses in turn

my %status = records('mixed', map { $STATUSES[$_ % 7] } 0 .. 139);
my $list = list('mixed', 'page=0&pageSize=1000');

is_deeply({ map { $_->{id}{id} => $_->{status} } @{ $list->{data} } },
          \%status, 'the statuses are as they were made');
check('mixed', 1, 3, 7, 20, 139, 140, 1000);

$list = list('mixed', 'page=0&pageSize=3&sortProperty=status');
is($list->{totalElements}, 140, 'all are counted');
is($list->{totalPages}, 47, 'their pages too');
is($list->{data}[0]{status}, 'DELIVERED', 'by name: DELIVERED is the first');
is(list('mixed', 'page=0&pageSize=1&sortProperty=status&sortOrder=DESC')
       ->{data}[0]{status}, 'TIMEOUT', 'TIMEOUT the last');
is_deeply(list('mixed', 'page=47&pageSize=3&sortProperty=status')->{data}, [],
          'past the end');
is(scalar(@{ list('mixed', 'page=0&pageSize=2147483647&sortProperty=status')
                 ->{data} }), 140, 'a huge page');

# of one status: by createdTime, whatever the order

for my $status (@STATUSES) {
    my @want = map { $_->{id} }
               rows(page('mixed', "page=0&pageSize=1000&rpcStatus=$status"));

    is(scalar @want, 20, "$status: twenty");

    for my $direction ('ASC', 'DESC') {
        is(join(' ', pages('mixed', $direction, 7, "&rpcStatus=$status")),
           "@want", "$status, $direction");
    }
}

# without some of them, with one only, with none

records('finished', map { (qw(FAILED SUCCESSFUL EXPIRED))[$_ % 3] } 0 .. 29);
check('finished', 4, 100);
records('waiting', ('QUEUED') x 30);
check('waiting', 4, 100);
device('empty');
is_deeply(list('empty', 'page=0&pageSize=10&sortProperty=status'),
          { data => [], totalPages => 0, totalElements => 0,
            hasNext => JSON::PP::false }, 'none at all');

# more QUEUED ones than a reply of Redis has, among and after the others

records('many', map { $_ % 3 ? 'QUEUED' : $STATUSES[$_ / 3 % 7] } 0 .. 899);
check('many', 50, 128, 129, 401, 5000);

# the rule of the API

my $answer = $nginx->get('/openapi/rpc/persistent/device/%{mixed}?page=0'
                         . '&pageSize=1&sortProperty=status');

is($answer->{status}, 400, 'not under the openapi profile');

# a page costs Redis as many commands when there are twenty times as many

sub reply {
    my ($name, @args) = @_;

    my ($reply) = fcalls(['tb_rpc_list', 1, $redis->device_key(macro($name)),
                          macro('tenant'), '*', '', 'status', @args]);

    return $reply;
}


sub commands {
    my ($name, @args) = @_;

    $redis->call('CONFIG', 'RESETSTAT');
    reply($name, @args);

    return sum($redis->call('INFO', 'commandstats')
               =~ /^cmdstat_(?:z\w+|h\w+):calls=(\d+)/mg);
}

records('less', (map { $STATUSES[$_ % 7] } 0 .. 349), ('QUEUED') x 50);
records('more', (map { $STATUSES[$_ % 7] } 0 .. 6999), ('QUEUED') x 1000);
is(list('more', 'page=0&pageSize=1&sortProperty=status')->{totalElements},
   8000, 'not refused as too many');

# nobody else is to ask Redis meanwhile, as the ticker does

$nginx->stop();

for my $direction ('asc', 'desc') {
    for my $place (0, 0.2, 0.5, 0.9) {
        my $less = commands('less', $direction, 400 * $place, 10);
        my $more = commands('more', $direction, 8000 * $place, 10);

        # 0.5 is among the QUEUED ones, which are looked for
        cmp_ok($more, '<', 2 * $less + 200,
               "$direction at $place: $more commands for 8,000 records, $less"
               . ' for 400');
    }
}

is(reply('less', 'asc', 0, 4096, 1 << 24)->[2], 400, 'all in one reply');
is(reply('more', 'asc', 0, 4096, 1 << 24)->[2], 3 * 1000 + 128,
   'which ends with 128 QUEUED ones if there are more');

$nginx->clean();

done_testing();
