# Lists of persistent records: parameters, pages, order, filters, whose they
# are, and that a large page streams.
#
# runs: side by side, 12 s

use TB 'no_plan';

use IO::Socket::INET;
use JSON::PP ();

device('d1', bridge => 'b1');
device('mine', customer => macro('customer'));
device('theirs', customer => macro('other_customer'));
device('foreign', tenant => macro('other_tenant'));
device('empty');
device('sorted');
device('each');
device('many');
device('large');
bridge();

my $redis = redis();
my $json = JSON::PP->new->utf8;
my $n = 0;

# a member that is given twice, and values with escapes
set_macro(list => '/api/rpc/persistent/device/' . macro('empty'));
set_macro(huge => '9' x 5000);


# commands that make a record

sub record {
    my ($device, %fields) = @_;

    my $id = macro($device);
    my $shard = TB::Bridge::shard($id);
    my $prefix = TB::Bridge::prefix($shard);
    my $rpc = sprintf '%08x-0000-1000-%04x-010203040506', ++$n,
                      0x8000 | $shard;
    my %all = (t => macro('tenant'), d => $id, c => $n, e => 1000 + $n, o => 0,
               m => '"m"', p => '1', s => 0, %fields);

    return (['HSET', "${prefix}rpc:$rpc", %all],
            ['ZADD', "${prefix}index:$id", $all{c}, $rpc],
            ['ZADD', "${prefix}index:$id:status",
             $all{s} * 2 ** 42 + $all{c}, $rpc]);
}


sub make {
    for my $reply ($redis->client()->pipeline(@_)) {
        die "$reply\n" if TB::Resp::is_error($reply);
    }
}

# names by their methods
make(record('sorted', m => '"B"', p => '{"x":1}', c => 1000, e => 9000),
     record('sorted', m => '"a"', p => '2', c => 2000, e => 7000, s => 3,
            R => '"z"'),
     record('sorted', m => '"a"', p => '1', c => 2000, e => 8000, s => 3,
            R => '"a"'),
     record('sorted', m => '"c"', p => '0', c => 3000, e => 6000, s => 6,
            R => '{"error":"x"}'),
     record('sorted', m => '"a"', p => '10', c => 4000, e => 5000));

make(map { record('each', s => $_, p => $_) } 0 .. 6);
make(map { record('many', s => $_ % 7) } 1 .. 5001);

no_shuffle();
run_tests();

my %tenant = ('X-Authorization' => 'Bearer %{token:tenant}');


sub list {
    my ($device, $args) = @_;

    my $r = http_get("/api/rpc/persistent/device/%{$device}?$args", %tenant);

    return eval { $json->decode($r->{body}) }
           || { data => [], totalElements => "$r->{status} $r->{body}" };
}


# the places, in order of creation, of the records listed

sub places {
    my ($args) = @_;

    return join ' ', map { (hex(substr $_->{id}{id}, 0, 8)) }
                         @{ list('sorted', "page=0&pageSize=10$args")->{data} };
}

for ('', '&sortProperty=createdTime', '&sortOrder=ASC', '&sortOrder=asc',
     '&sortProperty=createdTime&sortOrder=Asc', '&sortProperty=&sortOrder=',
     '&rpcStatus=&textSearch=', '&textSearch=nothing', '&x=1&sortBy=request')
{
    Test::More::is(places($_), '1 2 3 4 5', "by createdTime: \"$_\"");
}

# ties by rpcId, and missing responses last, both ways
my %order = ('createdTime DESC' => '5 4 2 3 1',
             'expirationTime ASC' => '5 4 2 3 1',
             'expirationTime DESC' => '1 3 2 4 5',
             'request ASC' => '1 3 5 2 4', 'request DESC' => '4 2 5 3 1',
             'response ASC' => '3 2 4 1 5', 'response DESC' => '4 2 3 1 5');

for (sort keys %order) {
    my ($property, $direction) = split;
    my $got = places("&sortProperty=$property&sortOrder=$direction");

    Test::More::is($got, $order{$_}, "by $_");
}

my %status = (QUEUED => '1 5', SUCCESSFUL => '2 3', FAILED => '4', SENT => '',
              DELIVERED => '', TIMEOUT => '', EXPIRED => '');

for (sort keys %status) {
    Test::More::is(places("&rpcStatus=$_"), $status{$_}, "only $_");
}

# each status by its name, and shown by it

my @STATUS = qw(QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED FAILED);

for my $code (0 .. $#STATUS) {
    my @found = map { "$_->{request}{body}{params} $_->{status}" }
                @{ list('each', 'page=0&pageSize=10&rpcStatus='
                                . $STATUS[$code])->{data} };

    Test::More::is("@found", "$code $STATUS[$code]", "just $STATUS[$code]");
}

Test::More::is(places('&rpcStatus=SUCCESSFUL&sortProperty=expirationTime'),
               '2 3', 'a filter and an order');
Test::More::is(places('&rpcStatus=SUCCESSFUL&sortOrder=DESC'), '2 3',
               'and another');
Test::More::is(places('&rpcStatus=SUCCES%53FUL&sortOrder=%44ESC&sortProperty=request'),
               '2 3', 'values are decoded');
Test::More::is(places('&rpc%53tatus=SUCCESSFUL&%73ort%4frder=DESC&sort%50roperty=request'),
               '2 3', 'and the names of parameters');

# pages

sub page {
    my ($args) = @_;

    my $list = list('sorted', $args);

    return join ' ', scalar @{ $list->{data} },
                map { ref $list->{$_} ? $list->{$_} ? 'more' : 'last'
                                      : $list->{$_} }
                    qw(totalPages totalElements hasNext);
}

Test::More::is(page('page=0&pageSize=2'), '2 3 5 more', 'the first page');
Test::More::is(page('page=1&pageSize=2'), '2 3 5 more', 'the second');
Test::More::is(page('page=2&pageSize=2'), '1 3 5 last', 'the last');
Test::More::is(page('page=3&pageSize=2'), '0 3 5 last', 'past the end');
Test::More::is(page('page=0&pageSize=5'), '5 1 5 last', 'all on one');
Test::More::is(page('page=2147483647&pageSize=1'), '0 5 5 last', 'far away');
Test::More::is(page('page=0&pageSize=2147483647'), '5 1 5 last', 'huge');
Test::More::is(page('page=2147483647&pageSize=2147483647'), '0 1 5 last',
               'both');
Test::More::is(page('page=0&pageSize=1&rpcStatus=QUEUED'), '1 2 2 more',
               'of one status');
Test::More::is(page('page=1&pageSize=2&sortProperty=request'), '2 3 5 more',
               'sorted on demand');

# more records than one reply carries by number

my $list = list('many', 'page=0&pageSize=2147483647');

Test::More::is(scalar @{ $list->{data} }, 5001, 'all of many');
Test::More::is($list->{totalElements}, 5001, 'their number');
Test::More::is(join(',', map { $_->{createdTime} } @{ $list->{data} }),
               join(',', 13 .. 5013), 'each once, in order');

$list = list('many', 'page=4&pageSize=1000&sortOrder=DESC');
Test::More::is(join(',', map { $_->{createdTime} } @{ $list->{data} }),
               join(',', reverse 14 .. 1013), 'a page deep inside, backwards');

$list = list('many', 'page=0&pageSize=10&rpcStatus=SENT');
Test::More::is($list->{totalElements}, 715, 'of one status');

for my $property ('expirationTime', 'request', 'response') {
    my $r = http_get('/api/rpc/persistent/device/%{many}?page=0&pageSize=1'
                     . "&sortProperty=$property", %tenant);

    Test::More::is($r->{status}, 400, "too many to sort by $property");
    Test::More::like($r->{body},
        qr/"message":"too many records to sort by $property".*"errorCode":31/,
        'told so');
}

$list = list('many', 'page=0&pageSize=1&sortProperty=request&rpcStatus=SENT');
Test::More::is($list->{totalElements}, 715, 'of one status they are few');

# 1,024 records of 60 KB, which go through a worker that keeps a little

my $text = '"' . 'p' x 61440 . '"';

make(map { record('large', p => $text) } 1 .. 64) for 1 .. 16;

my $pid = do {
    open my $fh, '<', TB::server_root() . '/logs/nginx.pid' or die "pid: $!\n";
    <$fh> + 0;
};


sub resident {
    open my $fh, '<', "/proc/$pid/status" or return 0;

    return (map { /^VmHWM:\s+(\d+)/ ? $1 : () } <$fh>)[0];
}

my $before = resident();
my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                 PeerPort => $ENV{TEST_NGINX_PORT})
    or die "connect: $!\n";

print $sock expand("GET /api/rpc/persistent/device/%{large}?page=0"
                   . "&pageSize=1024 HTTP/1.1\r\nHost: localhost\r\n"
                   . "Connection: close\r\n"
                   . "X-Authorization: Bearer %{token:tenant}\r\n\r\n");
$sock->flush();

# a client that takes its time does not hold up others, nor fill the worker
my $answer = '';
sysread $sock, $answer, 65536;

Test::More::is(page('page=0&pageSize=1'), '1 5 5 more',
               'others are answered meanwhile');

alarm scaled(300);
1 while sysread $sock, $answer, 1048576, length $answer;
alarm 0;

my ($head, $body) = split /\r\n\r\n/, $answer, 2;

$body = TB::Fixture::unchunked($body)
    if $head =~ /Transfer-Encoding: chunked/i;

my $records = () = $body =~ /\{"id":\{"entityType":"RPC"/g;
my $whole = () = $body =~ /\\"p{61440}\\"/g;

Test::More::like($head, qr/^HTTP\/1\.1 200 /, 'a large page');
Test::More::is($records, 1024, 'all records');
Test::More::is($whole, 1024, 'each whole');
Test::More::like($body, qr/^\{"data":\[\{"id".*\}\],"totalPages":1,"totalElements":1024,"hasNext":false\}$/s,
                 'from the first to the last byte');

# of 60 MB; not with a sanitizer, which keeps what was freed
Test::More::cmp_ok(resident() - $before, '<', 8192,
                   'the worker needs little for it')
    if !$ENV{TB_MODE};
Test::More::unlike(error_log_text(), qr/\[(?:alert|crit|emerg)\]/,
                   'nothing bad in the log');

__DATA__

=== TEST 1: page and pageSize are mandatory integers
--- auth: tenant
--- requests
GET %{list}?page=0&pageSize=1             => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}
GET %{list}                               => 400 error 31 query parameter \\"pageSize\\" .*
GET %{list}?                              => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0                        => 400 error 31 .*\\"pageSize\\".*
GET %{list}?pageSize=10                   => 400 error 31 .*\\"page\\".*
GET %{list}?pageSize=&page=0              => 400 error 31 .*\\"pageSize\\".*
GET %{list}?pageSize&page=0               => 400 error 31 .*\\"pageSize\\".*
GET %{list}?pageSize=10&page=             => 400 error 31 .*\\"page\\".*
GET %{list}?page=0&pageSize=0             => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=-1            => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=-1&pageSize=1            => 400 error 31 .*\\"page\\".*
GET %{list}?page=0&pageSize=x             => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0x0&pageSize=1           => 400 error 31 .*\\"page\\".*
GET %{list}?page=0&pageSize=1.0           => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=1e3           => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=+1            => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=%201          => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=1%00          => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=2147483648    => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=%{huge}       => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=4294967296&pageSize=1    => 400 error 31 .*\\"page\\".*
GET %{list}?PAGE=0&pageSize=1             => 400 error 31 .*\\"page\\".*



=== TEST 2: what is legal
--- auth: tenant
--- requests
GET %{list}?page=0&pageSize=2147483647    => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}
GET %{list}?page=2147483647&pageSize=2147483647    => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}
GET %{list}?page=00&pageSize=010          => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}
GET %{list}?%26&&page=0&&pageSize=%31&    => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}



=== TEST 3: a repeated parameter
--- auth: tenant
--- requests
GET %{list}?page=0&page=0&pageSize=1      => 400 error 31 .*\\"page\\".*
GET %{list}?page=0&pageSize=1&pageSize=2  => 400 error 31 .*\\"pageSize\\".*
GET %{list}?page=0&pageSize=1&sortOrder=ASC&sortOrder=ASC    => 400 error 31 .*\\"sortOrder\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=SENT&rpcStatus=SENT  => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&textSearch=a&textSearch=b      => 400 error 31 .*\\"textSearch\\".*
GET %{list}?page=0&pageSize=1&p%61ge=0                       => 400 error 31 .*\\"page\\" is given twice
GET %{list}?page=0&pageSize=1&pa%67eSize=1                   => 400 error 31 .*\\"pageSize\\" is given twice



=== TEST 4: status, property and order
--- auth: tenant
--- requests
GET %{list}?page=0&pageSize=1&rpcStatus=FOO           => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=queued        => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=DELETED       => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=0             => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&sortProperty=name       => 400 error 31 .*\\"sortProperty\\".*
GET %{list}?page=0&pageSize=1&sortProperty=created_time  => 400 error 31 .*\\"sortProperty\\".*
GET %{list}?page=0&pageSize=1&sortProperty=CREATEDTIME   => 400 error 31 .*\\"sortProperty\\".*
GET %{list}?page=0&pageSize=1&sortOrder=UP            => 400 error 31 .*\\"sortOrder\\".*
GET %{list}?page=0&pageSize=1&sortOrder=ASCENDING     => 400 error 31 .*\\"sortOrder\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=%22%0a        => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=SENT%20       => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&rpcStatus=+             => 400 error 31 .*\\"rpcStatus\\".*
GET %{list}?page=0&pageSize=1&sortProperty=status     => 400 error 31 .*\\"sortProperty\\".*



=== TEST 5: whose device it is, an administrator
--- auth: tenant
--- requests
GET /api/rpc/persistent/device/%{mine}?page=0&pageSize=1       => 200 json .*"totalElements":0,.*
GET /api/rpc/persistent/device/%{theirs}?page=0&pageSize=1     => 200 json .*"totalElements":0,.*
GET /api/rpc/persistent/device/%{foreign}?page=0&pageSize=1    => 401 error 20 User is not authorized.*
GET /api/rpc/persistent/device/%{uuid:none}?page=0&pageSize=1  => 401 error 20 User is not authorized.*



=== TEST 6: whose device it is, a customer
--- auth: customer
--- requests
GET /api/rpc/persistent/device/%{mine}?page=0&pageSize=1       => 200 json .*"totalElements":0,.*
GET /api/rpc/persistent/device/%{theirs}?page=0&pageSize=1     => 401 error 20 User is not authorized.*
GET /api/rpc/persistent/device/%{empty}?page=0&pageSize=1      => 401 error 20 User is not authorized.*
GET /api/rpc/persistent/device/%{foreign}?page=0&pageSize=1    => 401 error 20 User is not authorized.*



=== TEST 7: SYS_ADMIN, nobody, and order: the caller, the path, the parameters
--- auth: sys
--- requests
GET %{list}?page=0&pageSize=1             => 403 error 20 .*
GET /api/rpc/persistent/%{uuid:1}         => 403 error 20 .*
DELETE /api/rpc/persistent/%{uuid:1}      => 403 error 20 .*



=== TEST 8: nobody
--- requests
GET %{list}?page=0&pageSize=1             => 401 error 10 .*
GET %{list}                               => 401 error 10 .*



=== TEST 9: the path comes before the parameters
--- auth: tenant
--- requests
GET /api/rpc/persistent/device/x?page=x   => 400 error 31 Invalid UUID string: x
GET /api/rpc/persistent/device/%{foreign}?page=x  => 400 error 31 query parameter .*



=== TEST 10: for what follows
--- auth: tenant
--- requests
GET %{list}?page=0&pageSize=1             => 200 {"data":[],"totalPages":0,"totalElements":0,"hasNext":false}
