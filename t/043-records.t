# GET and DELETE of persistent records, and what a hostile record in Redis can
# do to the JSON: nothing.
#
# runs: side by side, 2 s

use TB 'no_plan';

use JSON::PP ();

device('d1', bridge => 'b1');
device('mine', bridge => 'b1', customer => macro('customer'));
device('theirs', bridge => 'b1', customer => macro('other_customer'));
device('off');
device('hostile');
device('deleted');
bridge();

my $json = JSON::PP->new->utf8;
my %as = map { $_ => { 'X-Authorization' => "Bearer %{token:$_}" } }
             qw(tenant customer other_customer other_tenant sys);

no_shuffle();
run_tests();

sub make {
    my ($kind, $device, $body) = @_;

    my $r = http_post("/api/rpc/$kind/%{$device}", $body, %{ $as{tenant} });
    my ($id) = $r->{body} =~ /^\{"rpcId":"([-0-9a-f]{36})"\}$/
        or die "not created: $r->{status} $r->{body}\n";

    return $id;
}


sub get {
    my ($id, $who) = @_;

    return http_get("/api/rpc/persistent/$id", %{ $as{$who || 'tenant'} });
}


sub del {
    my ($id, $who) = @_;

    return TB::Fixture::http_request('DELETE', "/api/rpc/persistent/$id",
                                     undef, %{ $as{$who || 'tenant'} });
}


# "404 32"

sub short {
    my ($r) = @_;

    return $r->{status} . ($r->{body} =~ /"errorCode":(\d+)/ ? " $1" : '');
}


sub became {
    my ($id, $status) = @_;

    return wait_for {
        my $r = get($id);

        return $r->{body} =~ /"status":"$status","additionalInfo"/ ? $r
                                                                   : undef;
    };
}


# a record as it is shown, byte for byte

my $id = make('twoway', 'd1', '{"method":"m\u0022","params":{"a": "\"" },'
              . '"persistent":true,"retries":3,"timeout":60000,'
              . '"additionalInfo":{"k": [1.0]}}');
my $r = became($id, 'SUCCESSFUL');
my ($created) = $r->{body} =~ /"createdTime":(\d+)/;
my $ends = $created + 60000;
my ($tenant, $device) = (macro('tenant'), macro('d1'));
my $ids = qq({"entityType":"TENANT","id":"$tenant"},)
          . qq("deviceId":{"entityType":"DEVICE","id":"$device"});

Test::More::is($r->{body}, qq({"id":{"entityType":"RPC","id":"$id"},)
    . qq("createdTime":$created,"tenantId":$ids,"expirationTime":$ends,)
    . qq("request":{"id":"$id","tenantId":$ids,"oneway":false,)
    . qq("expirationTime":$ends,"body":{"method":"m\\u0022",)
    . q("params":"{\"a\": \"\\\\\"\" }"},"persisted":true,"retries":3},)
    . q("response":{"a": "\"" },"status":"SUCCESSFUL",)
    . q("additionalInfo":{"k": [1.0]}}), 'a record, byte for byte');
Test::More::is($r->{headers}{'content-type'}, 'application/json', 'its type');
Test::More::is($r->{headers}{'cache-control'}, 'no-store', 'Cache-Control');
Test::More::is($json->decode($json->decode($r->{body})
                             ->{request}{body}{params})->{a}, '"',
               'params is a string of JSON');

my $upper = uc $id;
Test::More::like(get($upper)->{body}, qr/^\{"id":\{"entityType":"RPC","id":"$id"/,
                 'an id in upper case');

# statuses and answers

$id = make('oneway', 'off', '{"method":"m","params":null,"persistent":true}');
Test::More::like(get($id)->{body}, qr/"oneway":true,.*"params":"null"\},"persisted":true,"retries":null\},"response":null,"status":"QUEUED","additionalInfo":null\}$/,
                 'QUEUED, all that is absent is null');

$id = make('oneway', 'd1', '{"method":"m","params":1,"persistent":true}');
Test::More::ok(scalar became($id, 'DELIVERED'), 'DELIVERED');

$id = make('twoway', 'd1', '{"method":"sent","params":1,"persistent":true}');
Test::More::ok(scalar became($id, 'SENT'), 'SENT');

$id = make('twoway', 'd1', '{"method":"fail","params":{},"persistent":true}');
Test::More::like(became($id, 'FAILED')->{body},
                 qr/"response":\{"error":"device on fire"\},"status":"FAILED"/,
                 'FAILED, with the reason');

$id = make('twoway', 'd1', '{"method":"text","params":1,"persistent":true}');
Test::More::like(became($id, 'SUCCESSFUL')->{body},
                 qr/"response":\{"error":"plain text"\}/,
                 'an answer that is not JSON');

$id = make('twoway', 'd1', '{"method":"raw","persistent":true,'
           . '"params":"a\"\u0001\u00e9b"}');
Test::More::like(became($id, 'SUCCESSFUL')->{body},
                 qr/"response":\{"error":"a\\"\\u0001\xc3\xa9b"\}/,
                 'with what must be escaped');

$id = make('oneway', 'off', '{"method":"m","params":1,"persistent":true,'
           . '"expirationTime":1000}');
Test::More::like(get($id)->{body}, qr/"expirationTime":1000,.*"status":"EXPIRED"/,
                 'EXPIRED');

# whose it is: the device's current customer decides

$id = make('oneway', 'mine', '{"method":"m","params":1,"persistent":true}');

Test::More::is(short(get($id)), '200', "the tenant's administrator");
Test::More::is(short(get($id, 'customer')), '200', "the customer's user");
Test::More::is(short(get($id, 'other_customer')), '404 32', 'another customer');
Test::More::is(short(get($id, 'other_tenant')), '404 32', 'another tenant');
Test::More::is(short(get($id, 'sys')), '403 20', 'SYS_ADMIN');
Test::More::is(short(del($id, 'sys')), '403 20', 'SYS_ADMIN may not delete');
Test::More::is(short(del($id, 'customer')), '403 20', 'nor may a customer');
Test::More::is(short(del($id, 'other_tenant')), '404 32',
               'another tenant finds nothing to delete');

device('mine', bridge => 'b1', customer => macro('other_customer'));
Test::More::is(short(get($id, 'customer')), '404 32', 'a former customer');
Test::More::is(short(get($id, 'other_customer')), '200', 'the present one');

$r = get($id, 'other_tenant');
my $other = get(uuid_of('nothing'), 'other_tenant');
s/[-0-9a-f]{36}|"timestamp":\d+//g for $r->{body}, $other->{body};
Test::More::is($r->{body}, $other->{body},
               'a foreign record looks as one that does not exist');

# deleted

$r = del($id);
Test::More::is($r->{status}, 200, 'deleted');
Test::More::is($r->{body}, '', 'no body');
Test::More::is($r->{headers}{'content-length'}, '0', 'Content-Length: 0');
Test::More::is($r->{headers}{'content-type'}, undef, 'no Content-Type');
Test::More::is(short(del($id)), '404 32', 'and again');
Test::More::is(short(get($id)), '404 32', 'it is gone');

# a device that is gone: its records are the administrator's

$id = make('oneway', 'deleted', '{"method":"m","params":1,"persistent":true}');
redis()->fcall('tb_rpc_device_del', redis()->device_key(macro('deleted')));
Test::More::like(get($id)->{body}, qr/"status":"FAILED"/,
                 'of a deleted device');
Test::More::is(short(get($id, 'customer')), '404 32', 'not for customers');
Test::More::is(short(del($id)), '200', 'it can be deleted');

# requestUUID: either id

my $uuid = uuid_of('request');
$id = make('twoway', 'off', '{"method":"m","params":1,"persistent":true,'
           . "\"requestUUID\":\"$uuid\"}");

Test::More::isnt($id, $uuid, 'the id is ours');
Test::More::is(make('twoway', 'off', '{"method":"m","params":1,'
                    . "\"persistent\":true,\"requestUUID\":\"$uuid\"}"), $id,
               'the same request again: the same call');
Test::More::like(get($uuid)->{body}, qr/^\{"id":\{"entityType":"RPC","id":"$id"/,
                 'found by the requestUUID, shown with our id');
Test::More::is(short(get($uuid, 'other_tenant')), '404 32',
               'not by another tenant');
Test::More::is(short(del($uuid, 'other_tenant')), '404 32',
               'which can not delete it');
Test::More::is(short(del($uuid)), '200', 'deleted by it');
Test::More::is(short(get($uuid)), '404 32', 'then it is unknown');
Test::More::is(short(get($id)), '404 32', 'by either id');

$r = make('twoway', 'off', '{"method":"other","params":1,"persistent":true,'
          . "\"requestUUID\":\"$uuid\"}");
Test::More::isnt($r, $id, 'and may be used again');

# the same requestUUID with anything else: not the same call

my %call = (method => '"m"', params => '1', retries => 1, timeout => 60000,
            additionalInfo => '{"a":1}', persistent => 'true',
            requestUUID => '"' . uuid_of('another request') . '"');
my %other = (method => '"n"', params => '2', retries => 2, timeout => 60001,
             additionalInfo => '{"a":2}');


sub body_of {
    my %members = (%call, @_);

    return '{' . join(',', map { "\"$_\":$members{$_}" }
                           sort keys %members) . '}';
}

$id = make('twoway', 'off', body_of());
Test::More::is(make('twoway', 'off', body_of()), $id, 'the same once more');

for my $member (sort keys %other) {
    Test::More::is(short(http_post('/api/rpc/twoway/%{off}',
                                   body_of($member => $other{$member}),
                                   %{ $as{tenant} })), '409 31',
                   "another $member: 409");
}

Test::More::is(short(http_post('/api/rpc/oneway/%{off}', body_of(),
                               %{ $as{tenant} })), '409 31', 'one-way: 409');

# one shard can't be asked: that is not the answer of them all

$uuid = uuid_of('nowhere');
Test::More::is(short(get($uuid)), '404 32', 'a requestUUID nobody has used');
redis()->call('HSET', "tb:{s003}:uuid:$uuid", 'x', 1);
Test::More::is(short(get($uuid)), '503 2', 'in one shard nobody knows: 503');
redis()->call('DEL', "tb:{s003}:uuid:$uuid");


# records written by hand

my $shard = TB::Bridge::shard(macro('hostile'));
my $prefix = TB::Bridge::prefix($shard);
my $n = 0;
my @good = (t => macro('tenant'), d => macro('hostile'), c => 1000, e => 2000,
            o => 0, m => '"m"', p => '1', s => 0);


sub hostile {
    my @fields = @_;

    my $id = sprintf '%08x-0000-1000-%04x-010203040506', ++$n, 0x8000 | $shard;

    redis()->call('HSET', "${prefix}rpc:$id", @good, @fields);
    redis()->call('ZADD', "${prefix}index:" . macro('hostile'), $n, $id);

    return $id;
}


# what is shown of it, as JSON

sub shown {
    my ($id) = @_;

    my $r = get($id);
    my $value = $r->{status} == 200 ? eval { $json->decode($r->{body}) } : 0;

    Test::More::ok($value, "valid JSON: $r->{status} $r->{body}");

    return $value || {};
}

my $bytes = join '', map { chr } 0 .. 255;

$r = shown(hostile());
Test::More::is($r->{createdTime}, 1000, 'a record by hand');

$r = shown(hostile(m => '"a","x":"'));
Test::More::is_deeply([sort keys %$r],
    [sort qw(id createdTime tenantId deviceId expirationTime request response
             status additionalInfo)], 'a method can not add members');
Test::More::is($r->{request}{body}{method}, '', 'it is shown as none');

for my $method ('', 'm', '"', '"\x"', "\"\xff\"", '5', '{}', "\"\0\"", $bytes) {
    shown(hostile(m => $method));
}

for my $text ('"', '\\', '"}}', "\n\r\t\0\x7f", "\xff\xfe", "\xe2\x82",
              $bytes)
{
    my $r = shown(hostile(p => $text));

    Test::More::ok(!ref $r->{request}{body}{params}, 'params is text');

    $r = shown(hostile(R => $text, s => 3));
    Test::More::ok(defined $r->{response}{error}, 'the response is an error');

    $r = shown(hostile(a => $text));
    Test::More::is($r->{additionalInfo}, undef, 'additionalInfo is null');
}

$r = shown(hostile(R => "a\xffb\xe2\x82"));
Test::More::like($r->{response}{error}, qr/^a\x{fffd}+b\x{fffd}+$/,
                 'invalid UTF-8 is shown as U+FFFD');

# what UTF-8 forbids: surrogates, longer forms than needed, beyond the end; and
# what is next to it

for (["\xed\xa0\x80", 3], ["\xed\xbf\xbf", 3], ["\xe0\x80\x80", 3],
     ["\xe0\x9f\xbf", 3], ["\xf0\x80\x80\x80", 4], ["\xf0\x8f\xbf\xbf", 4],
     ["\xf4\x90\x80\x80", 4], ["\xf5\x80\x80\x80", 4], ["\xc0\x80", 2],
     ["\xc1\xbf", 2], ["\xed\x9f\xbf"], ["\xee\x80\x80"],
     ["\xe0\xa0\x80"], ["\xf0\x90\x80\x80"], ["\xf4\x8f\xbf\xbf"],
     ["\xc2\x80"])
{
    my ($text, $wrong) = @$_;
    my $id = hostile(R => "a${text}b", s => 3);
    my $shown = $wrong ? "\xef\xbf\xbd" x $wrong : $text;

    Test::More::like(get($id)->{body},
                     qr/"response":\{"error":"a\Q$shown\Eb"\},/,
                     'UTF-8: ' . unpack 'H*', $text);
}

for my $value ('', '-1', '1e5', '0x10', '"', 'x' x 30, '9' x 40, "1,\"a\":1",
               '01', '1.5', 'NaN')
{
    for my $field ('c', 'e', 'n', 'o') {
        shown(hostile($field => $value));
    }
}

for my $value ('"' . 'x' x 35, '}' x 36, "\0" x 36) {
    my $r = shown(hostile(d => $value));

    Test::More::like($r->{deviceId}{id} || '', qr/^[-0-9a-f]{36}$/,
                     'an id is always one');
}

# more than a record can be without: an error, but a good one
my @broken = map { [ hostile(@$_) ] }
    [s => ''], [s => '9'], [s => '"'], [s => '33'], [t => ''], [d => ''];

for my $id (map { @$_ } @broken) {
    my $r = get($id);

    Test::More::like($r->{status}, qr/^(?:200|404|500)$/,
                     'a broken record is answered');
    Test::More::ok(eval { $json->decode($r->{body}); 1 } || $r->{status} == 500,
                   "it can not break JSON: $r->{status}");
}

my $string = sprintf '%08x-0000-1000-%04x-010203040506', ++$n, 0x8000 | $shard;
redis()->call('SET', "${prefix}rpc:$string", 'x');
redis()->call('ZADD', "${prefix}index:" . macro('hostile'), $n, $string);
Test::More::like(get($string)->{status}, qr/^50[03]$/, 'not even a hash');
redis()->call('DEL', "${prefix}rpc:$string");

# the list of all of them, that one missing
$r = http_get('/api/rpc/persistent/device/%{hostile}?page=0&pageSize=1000',
              %{ $as{tenant} });
my $list = eval { $json->decode($r->{body}) };
Test::More::ok($list, "the list of them is JSON: $@");
Test::More::cmp_ok(scalar @{ $list->{data} || [] }, '>=', $n - @broken - 1,
                   'with all that can be shown');
Test::More::unlike(error_log_text(), qr/\[(?:alert|crit|emerg)\]/,
                   'nothing bad in the log');

__DATA__

=== TEST 1: for what follows
--- auth: tenant
--- requests
GET /api/rpc/persistent/%{uuid:nothing}     => 404 error 32 Rpc with id \[%{uuid:nothing}\] is not found
DELETE /api/rpc/persistent/%{uuid:nothing}  => 404 error 32 Rpc with id \[%{uuid:nothing}\] is not found
