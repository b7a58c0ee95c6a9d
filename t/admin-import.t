#!/usr/bin/perl

# tb-rpc-admin import, and the names that "device add" and "device del" keep.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Env qw(scratch file_in library scaled wait_for);
use TB::FakeRedis;
use TB::Mqtt qw(output spawn reap text_of);
use TB::RedisServer;

plan skip_all => 'no python3' if system('python3 -c 0 2> /dev/null');

my $TENANT = $TB::Mqtt::TENANT;
my $OTHER = '7e000000-0000-11ee-8000-00000000000b';
my $CUSTOMER = 'c0000000-0000-11ee-8000-00000000000a';
my $NONE = '13814000-1dd2-11b2-8080-808080808080';
my $redis = TB::RedisServer->start();
my $password = file_in('password', "$TB::RedisServer::PASSWORD{operator}\n");
my @admin = admin_at($redis->{port});
my ($status, $text);

sub admin_at {
    return (TB::Mqtt::admin(), '--redis', "redis://127.0.0.1:$_[0]",
            '--redis-user', 'operator', '--redis-password-file', $password);
}

sub id { return sprintf 'de000000-0000-11ee-8000-%012x', $_[0] }
sub field { return $redis->call('HGET', $redis->device_key($_[0]), $_[1]) }
sub token { return $redis->call('GET', 'tb:token:' . sha256_hex($_[0])) }
sub admin { return (($status, $text) = output(@admin, @_))[0] }

sub named {
    my ($name, $tenant) = @_;
    $tenant ||= $TENANT;
    return $redis->call('HGET', TB::Bridge::key('names', $tenant), $name);
}

# how often anything in Redis was changed

sub changes {
    my ($n) = $redis->call('INFO', 'persistence')
              =~ /rdb_changes_since_last_save:(\d+)/;
    return $n;
}

sub import_file {
    my ($content, @more) = @_;

    return admin('import', file_in('devices', $content), @more);
}

# what is said of rows, and all else but the summary

sub told { return [ $text =~ /^tb-rpc-admin import: (.*)$/mg ] }

# "new changed unchanged bad (names tokens)", and the exit code for that

sub counts {
    my ($want, $what) = @_;

    my ($rows, @n) = $text =~ /^(\d+)\ rows\ in\ [\d.]+\ s:\ (\d+)\ new,
                               \ (\d+)\ changed,\ (\d+)\ unchanged,
                               \ (\d+)\ bad\ \((\d+)\ names,
                               \ (\d+)\ tokens\)$/mx;
    @n = (0) x 6 if !defined $rows;

    is("@n[0 .. 3] ($n[4] $n[5])", $want, $what) or diag($text);
    is($rows, $n[0] + $n[1] + $n[2] + $n[3], 'they add up to all rows');
    is($status, $n[3] ? 1 : 0, 'the exit code');
}


# --- CSV --------------------------------------------------------------------

my $csv = join "\r\n",
    'name,id,tenantId,customer,accessToken,bridge,color',
    '"a ""quoted"", one",' . uc(id(1)) . ",$TENANT,$CUSTOMER,T1,,red",
    '', "caf\xc3\xa9 ," . id(2) . ",$TENANT", "c," . id(3)
    . ",$TENANT,,,b9,,,", ',,,,,,', '';

import_file($csv);
counts('3 0 0 0 (3 1)', 'CSV');
is_deeply(told(), ['columns that are not used: "color"'], 'nothing is said');
is(field(id(1), 'name'), 'a "quoted", one', 'a quoted name');
is(field(id(1), 'customerId'), $CUSTOMER, 'its customer');
is(field(id(1), 'tenantId'), $TENANT, 'its tenant');
is(token('T1'), id(1), 'its token');
is(named('a "quoted", one'), id(1), 'found by its name');
is(named("caf\xc3\xa9"), id(2), 'UTF-8');
is(field(id(3), 'bridge'), 'b9', 'a static route');
is($redis->call('HGET', 'tb:meta', 'shards'), 128, 'a new Redis gets shards');

my $before = changes();
import_file($csv);
counts('0 0 3 0 (3 1)', 'the same again');
is(changes(), $before, 'changes nothing at all');

# without a heading; a tenant for all; a byte order mark

import_file("\xef\xbb\xbf" . id(4) . ",,,d,T4\n" . id(5) . ",$OTHER,,d\n",
            '--tenant', uc $TENANT, '--bridge', 'b8', '--strategy', 'burst');
counts('2 0 0 0 (2 1)', 'CSV without a heading');
is(field(id(4), 'tenantId'), $TENANT, '--tenant');
is(field(id(4), 'bridge'), 'b8', '--bridge');
is(field(id(4), 'strategy'), 'burst', '--strategy');
is(named('d'), id(4), 'a name');
is(named('d', $OTHER), id(5), 'and the same of another tenant');

# what the file does not say stays

import_file("id,tenant,name\n" . id(4) . ",$TENANT,dd\n");
counts('0 1 0 0 (1 0)', 'a new name');
is(named('dd'), id(4), 'it is found by that');
is(named('d'), undef, 'not by the old one');
is(field(id(4), 'bridge'), 'b8', 'what has no column stays');
import_file("id,customer,name\n" . id(1) . ",,new\n" . id(99) . ",,x\n");
counts('0 1 0 1 (1 0)', 'no tenants');
is_deeply(told(), ['line 3: the tenant is missing, and there is no --tenant'],
          'a known device keeps its own');
is(field(id(1), 'customerId'), $CUSTOMER, 'an empty cell changes nothing');
import_file("id,token\n" . id(1) . ",T1b\n");
counts('0 1 0 0 (0 1)', 'one more token');
is(token('T1b'), id(1), 'is there');
import_file("id,customer\n" . id(1) . ",$NONE\n");
counts('0 1 0 0 (0 0)', 'the null customer');
is(field(id(1), 'customerId'), '', 'is none');

# two devices exchange their names; a device moves to another tenant

import_file("id,name,tenant,customer\n" . id(1) . ",c,,$CUSTOMER\n"
            . id(3) . ",new\n" . id(2) . ",,$OTHER\n", '--move');
counts('0 3 0 0 (2 0)', 'names are exchanged');
is(named('c') . ' ' . named('new'), id(1) . ' ' . id(3), 'both are found');
is(named("caf\xc3\xa9", $OTHER), id(2), 'a name moves with its device');
is(named("caf\xc3\xa9"), undef, 'away from the old tenant');
import_file("id,tenant\n" . id(1) . ",$OTHER\n");
counts('0 0 0 1 (0 0)', "another tenant's device");
is_deeply(told(), ["line 2: the device is of tenant $TENANT, and there is no"
                   . ' --move'], 'does not move without a word');
import_file("id,tenant\n" . id(1) . ",$OTHER\n", '--move');
is(field(id(1), 'customerId'), '', 'the customer does not move with it');

# other separators, other spellings of headings

import_file("Device ID;Tenant_Id;NAME\n" . id(6) . ";$TENANT;semi,colon\n");
counts('1 0 0 0 (1 0)', 'semicolons');
is(named('semi,colon'), id(6), 'and a comma in a name');
import_file("\tid\ttenant\tname\n0\t" . id(7) . "\t$TENANT\ttab\n");
counts('1 0 0 0 (1 0)', 'tabs, and a column without a heading');
import_file("id,deviceId,tenant,tenantId\r17," . id(8) . ",Acme,$TENANT\r");
counts('1 0 0 0 (0 0)', 'deviceId is meant where there is id, too');


# --- bad rows ---------------------------------------------------------------

import_file(join "\n", 'id,tenant,customer,name,strategy,bridge,token',
    id(10), 'no-uuid,' . $TENANT, id(11) . ',x', id(12) . ",$TENANT,x",
    id(13) . ",$TENANT,,n,nosuch", id(14) . ",$TENANT,," . 'x' x 256,
    id(15) . ",$TENANT,,a\tb", id(16) . ",$TENANT,,,,,,,,8",
    id(17) . ",$TENANT,,\"two\nlines\"", id(19) . ",$TENANT,,e\xff",
    id(19) . ",$TENANT,,,,b/1", id(19) . ",$TENANT,,,,," . 't' x 256,
    id(19) . ",$TENANT,,,,,\x7f", "\"\e[31m\",$TENANT",
    id(18) . ",$TENANT,," . 'y' x 255 . ',,,' . 't' x 255, '');
counts('1 0 0 14 (1 1)', 'bad rows');
is_deeply(told(), [
    'line 2: the tenant is missing, and there is no --tenant',
    'line 3: the id is not a UUID: "no-uuid"',
    'line 4: the tenant is not a UUID: "x"',
    'line 5: the customer is not a UUID: "x"',
    'line 6: the strategy is not burst, sequential_on_ack or'
    . ' sequential_on_response: "nosuch"',
    'line 7: the name is longer than 255 bytes',
    'line 8: control characters in the name',
    'line 9: more columns than headings',
    'line 10: control characters in the name',
    'line 12: the name is not UTF-8',
    'line 13: the bridge is not 1 to 64 of A-Z a-z 0-9 . _ : @ -: "b/1"',
    'line 14: the token is longer than 255 bytes',
    'line 15: control characters in the token',
    'line 16: the id is not a UUID: "\u001b[31m"'], 'each by its line');
is(named('y' x 255), id(18), 'the good one is done');
is(named('n'), undef, 'a refused device gets no name');

# quotes that are none: each costs its own row only

import_file(join "\n", 'id,tenant,name,note', id(30) . ",$TENANT,thirty",
    id(31) . ",$TENANT,\"open", id(32) . ",$TENANT,\"q\",\"two\nlines\"",
    id(33) . ",$TENANT,\"a\"b", id(34) . ",$TENANT,5\" disk",
    id(35) . ",$TENANT," . 'l' x 2000000,
    id(36) . ",$TENANT,n36," . 'l' x 100000, id(37) . ",$TENANT,\"at the end",
    id(38) . ",$TENANT,n38");
counts('5 0 0 4 (5 0)', 'quotes that are none');
is_deeply([ map { /^line (\d+): not CSV: / ? $1 : $_ } @{ told() } ],
          ['columns that are not used: "note"', 3, 6, 8, 10],
          'are named by line, also behind a row of two lines');
is(named('q'), id(32), 'the row behind is done');
is(named('5" disk'), id(34), 'a quote in a name');
is(named('n38'), id(38), 'the last one');

# the same device, name or token twice

import_file(join "\n", 'id,tenant,name,token', id(40) . ",$TENANT,forty,T40",
    id(41) . ",$TENANT,forty", id(42) . ",$TENANT,n42,T40",
    id(40) . ",$TENANT,forty,T40", id(40) . ",$TENANT,other,T40",
    id(43) . ",$TENANT,n43,T1", id(44) . ",$OTHER,forty");
counts('2 0 1 4 (2 1)', 'what is there twice');
is_deeply(told(), ['line 3: the name is that of line 2, too',
                   'line 4: the token is that of line 2, too',
                   'line 6: the device is in line 2 already, and not the'
                   . ' same',
                   'line 7: the token is that of device ' . id(1)],
          'the first one has it');
is(token('T40') . ' ' . token('T1'), id(40) . ' ' . id(1),
   'nobody loses a token');
unlike($text, qr/T1|T40/, 'tokens are not shown');
is(field(id(41), 'tenantId'), undef, 'the others are left out');

admin(qw(device del), id(1));
import_file(id(43) . ",$TENANT,,n43,T1\n" . id(45) . ",$TENANT,,n42");
counts('2 0 0 0 (2 1)', 'the token of a deleted device');
is(token('T1'), id(43), 'is free');
import_file(id(46) . ",$TENANT,,n42");
is(named('n42'), id(46), 'a name is that of the device that came last');

# what Redis refuses

$redis->call('SET', $redis->device_key(id(47)), 'x');
import_file(id(48) . ",$TENANT,,n48,T48\n");
$redis->fcall('tb_rpc_create', $redis->device_key(id(48)),
              sprintf('00000001-0000-11ee-%04x-010000000000',
                      0x8000 | TB::Bridge::shard(id(48))),
              'w', 0, 1, $TENANT, '*', '"m"', '{}', '', '', 30000, '',
              60000, 'wait', '', '', '');
import_file("id,tenant,name,token\n" . id(48) . ",$OTHER,moved,T48b\n"
            . id(49) . ",$OTHER,n49\n", '--move');
counts('1 0 0 1 (1 0)', 'a row that Redis refuses');
is_deeply(told(), ['line 2: device ' . id(48) . ' has records or open calls'
                   . ' of another tenant'], 'says why');
is(named('moved', $OTHER), undef, 'it gets no new name');
is(named('n48'), id(48), 'and keeps the old one');
is(token('T48b'), undef, 'nor a token');
import_file(id(47) . ",$TENANT\n" . id(50) . ",$TENANT\n");
counts('1 0 0 1 (0 0)', 'a key of another type');
is_deeply(told(), ['line 1: its key in Redis is of another type'],
          'is only one bad row');

# what is no such file

for (['nonsense', qr/line 1: neither a device id nor a heading with "id"/],
     ["\n\nname,label\nx,y", qr/line 3: neither a device id/],
     ["id,name,Name\n", qr/line 1: two columns "name"/],
     ["\xff\xfei\0d\0", qr/UTF-16/],
     ['{"x":1}', qr/line 1: neither a list of devices nor a device$/m],
     ['{"status":401,"message":"Authentication failed"}',
      qr/nor a device: "Authentication failed"$/m],
     ['[{]', qr/line 1: not JSON: /], ['[{"id":"x"}', qr/not JSON: .*missing/],
     ["[\n{\"id\":1},\n]", qr/line 3: not JSON: "," before "]"/],
     ['[1 2]', qr/line 1: not JSON: "," or "]" is missing/],
     ['{"data":[]} x', qr/line 1: not JSON: "\{" is missing/],
     ["{\"data\":[\n\n{\"id\":\"\n\"}]}", qr/line 3: not JSON: Invalid/],
     ['{"data":[' . '[' x 100000, qr/not JSON/])
{
    import_file($_->[0]);
    is($status, 1, 'refused: ' . substr $_->[0], 0, 30);
    like($text, $_->[1], 'with the reason');
    unlike($text, qr/Traceback/, 'of ours');
}

is(import_file(''), 0, 'an empty file is no mistake');
counts('0 0 0 0 (0 0)', 'it has no rows');
is(import_file('[]{"data":[]}'), 0, 'neither are empty lists');


# --- the JSON of a ThingsBoard server ---------------------------------------

sub page {
    my ($more, @devices) = @_;

    return '{"totalPages":2,"totalElements":7,"data":['
           . join(",\n", @devices) . '],"hasNext":' . $more . '}';
}

sub thing {
    my ($n, $name, $more) = @_;

    return '{"id":{"entityType":"DEVICE","id":"' . id($n) . '"},'
           . "\"tenantId\":{\"entityType\":\"TENANT\",\"id\":\"$TENANT\"},"
           . "\"name\":\"$name\"" . ($more || '') . '}';
}

import_file(<<END);
{"totalPages":1,"totalElements":2,
 "data":[
  {"id":{"entityType":"DEVICE","id":"@{[id(60)]}"},"createdTime":1,
   "tenantId":{"entityType":"TENANT","id":"$TENANT"},
   "customerId":{"entityType":"CUSTOMER","id":"$NONE"},
   "name":"JSON \\u00e9 \xc3\xa9","type":"default","label":null,
   "additionalInfo":{"data":[1],"n":@{['9' x 5000]}},"customerTitle":null},
  {"id":{"id":"@{[id(61)]}"},"tenantId":{"id":"$TENANT"},
   "customerId":{"id":"$CUSTOMER"},"name":"B","customerTitle":"Acme"},
  {"id":{"id":7}},
  "x", {"id":{"entityType":"ASSET","id":"@{[id(62)]}"}}
 ],"hasNext":false}
END
counts('2 0 0 3 (2 0)', 'the JSON of a device list');
is_deeply(told(), ['line 10, device 3: the id is not a text',
                   'line 11, device 4: not an object',
                   'line 11, device 5: not a device, but "ASSET"'],
          'bad ones are named by line');
is(named("JSON \xc3\xa9 \xc3\xa9"), id(60), 'by name');
is(field(id(60), 'customerId'), '', 'the null customer is none');
is(field(id(61), 'customerId'), $CUSTOMER, 'a customer');

# pages one after another, of which the last one may not be the last

my @pages = (page('true', thing(63, 'p1'), thing(64, 'p2')),
             page('true', thing(65, 'p3')));
import_file(join '', @pages);
counts('3 0 0 0 (3 0)', 'pages one after another');
is_deeply(told(), ['the last page says that there are more, 7 in all: get'
                   . ' them with page=1, page=2 and so on'], 'more are there');
import_file(join "\n", @pages, page('false', thing(64, 'p2'), thing(66, 'p')));
counts('1 0 4 0 (4 0)', 'a device that is on two pages');
is_deeply(told(), [], 'is no mistake');

# other forms: a list, devices one after another; credentials

import_file('[' . thing(67, 'l1', ',"accessToken":"J1"') . ','
            . thing(68, 'l2', ',"credentialsType":"X509_CERTIFICATE",'
                              . '"credentialsId":"J2"') . "]\n"
            . thing(69, 'l3', ',"credentialsId":"J3"') . "\n"
            . '{"device":' . thing(70, 'l4') . ',"credentials":'
            . '{"credentialsType":"ACCESS_TOKEN","credentialsId":"J4"}}');
counts('4 0 0 0 (4 3)', 'lists, single devices');
is_deeply([ map { token("J$_") } 1 .. 4 ], [id(67), undef, id(69), id(70)],
          'tokens, but none of a certificate');
import_file('{"id":{"id":"ca000000-0000-11ee-8000-000000000001"},'
            . '"deviceId":{"entityType":"DEVICE","id":"' . id(68) . '"},'
            . '"credentialsType":"ACCESS_TOKEN","credentialsId":"J5",'
            . '"credentialsValue":null}');
counts('0 1 0 0 (0 1)', 'credentials of a device that is known');
is(token('J5'), id(68), 'are its token');

# in small pieces, from a pipe

my $long = page('false', map { thing(1000 + $_, "caf\xc3\xa9 $_",
                               ',"x":"' . 'y' x ($_ % 700) . '"') } 1 .. 900);
($status, $text) = output('bash', '-c', 'for ((i = 0; i < 6; i++)); do'
    . ' tail -c +$((i * 77777 + 1)) "$0" | head -c 77777; sleep 0.05; done'
    . ' | "$@" -', file_in('long', $long), @admin, 'import');
is(length $long < 6 * 77777 ? 1 : 0, 1, 'a long page, piped in pieces');
counts('900 0 0 0 (900 0)', 'all of it');
is(named("caf\xc3\xa9 900"), id(1900), 'to its end');


# --- as a program -----------------------------------------------------------

($status, $text) = output(TB::Mqtt::admin(), 'import', '--help');
is($status, 0, '--help');
like($text, qr/FILE.*--tenant UUID/s, 'shows the usage, without a Redis');

for ([[], qr/FILE/], [[qw(x y)], qr/unrecognized/],
     [[qw(x --tenant y)], qr/--tenant must be a UUID: "y"/],
     [[qw(x --bridge a/b)], qr/--bridge must be/],
     [[qw(x --strategy y)], qr/--strategy/], [[qw(x --ten y)], qr/ten/])
{
    is(admin('import', @{ $_->[0] }), 2, "wrong usage: @{ $_->[0] }");
    like($text, $_->[1], 'with the reason');
}

is(admin('import', '/nonexistent'), 1, 'no such file');
like($text, qr{/nonexistent: No such file}, 'it says which');
is(admin('import', '/'), 1, 'a directory');
is(admin(qw(--shards 8 import), file_in('devices', '')), 1, 'other shards');
like($text, qr/tb:meta says 128 shards, not 8/, 'are refused');

# of another version: not even its function library is touched

$redis->call('HSET', 'tb:meta', 'schema', 1);

my $code = $redis->call('FUNCTION', 'LIST', 'WITHCODE');
my $changes = changes();

for (['import', file_in('devices', id(1) . ",$TENANT\n")],
     ['device', 'add', id(1), '--tenant', $TENANT],
     ['functions', 'load', file_in('tb_rpc.lua', library()
                                   =~ s/VERSION = \d+/VERSION = 99/r)])
{
    is(admin(@$_), 1, "schema 1: $_->[0] is refused");
    like($text, qr/tb:meta says schema "?1"?, not 2: this Redis is of another (?#
                  )version; use another --prefix or an empty Redis$/,
         'in words');
}

is(changes(), $changes, 'schema 1: nothing was written');
is_deeply($redis->call('FUNCTION', 'LIST', 'WITHCODE'), $code,
          'schema 1: the function library is the one that was there');
$redis->call('HSET', 'tb:meta', 'schema', 2);

($status, $text) = output(admin_at(1), 'import', file_in('devices', ''));
is($status, 1, 'no Redis');
like($text, qr/127\.0\.0\.1:1: Connection refused/, 'it says where');

my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, $command, @argv) = @_;

    return undef if !defined $command;
    return "-$mode\r\n" if $mode =~ /^[A-Z]/ && $command eq 'FCALL'
                           || $mode =~ /^(?:MOVED|CLUSTER|LOAD)/
                              && $command ne 'AUTH';
    return $mode eq 'close' ? do { $conn->{close} = 1; '' }
         : $mode eq 'garbage' ? "HTTP/1.1 400 Bad Request\r\n" : undef
        if $mode !~ /^[A-Z]/ && $command eq 'HGET';
    return TB::FakeRedis::bulk($argv[1] eq 'schema' ? 2 : 128)
        if $command eq 'HGET';
    return '*5' . "\r\n\$-1" x 5 . "\r\n" if $command eq 'HMGET';
    return undef;
});

for (['MOVED 7 127.0.0.1:7001', qr/MOVED 7.*a node of a cluster/],
     ['CLUSTERDOWN Hash slot not served', qr/a node of a cluster/],
     ['LOADING Redis is loading', qr/: LOADING/],
     ['OOM command not allowed', qr/Redis: OOM/],
     ['ERR Function not found', qr/tb-rpc-admin functions load/],
     ['ERR unknown command `FCALL`, with args beginning with: `tb_rpc_x`',
      qr/Redis 7\.0 or newer is needed/],
     ['close', qr/Redis: the connection was closed/],
     ['garbage', qr/no reply of a Redis/])
{
    $fake->tell('mode', $_->[0]);
    ($status, $text) = output(admin_at($fake->{port}), 'import',
                              file_in('devices', id(1) . ",$TENANT\n"));
    is($status, 1, "Redis says: $_->[0]");
    like($text, $_->[1], 'and so do we');
    unlike($text, qr/Traceback/, 'in words');
}

# nobody reads what it says

my $bad = file_in('bad', "id,tenant\n" . "x,y\n" x 20000 . id(80)
                         . ",$TENANT\n");
($status, $text) = output('bash', '-c', '"$@" 2>&1 > /dev/null | head -n 1;'
                                        . ' echo ${PIPESTATUS[0]}',
                          'bash', @admin, 'import', $bad);
like($text, qr/\A[^\n]*line 2: [^\n]*\n1\n\z/, 'a broken pipe');
is(field(id(80), 'tenantId'), $TENANT, 'does not end it');
($status, $text) = output('bash', '-c', '"$@" | true; echo ${PIPESTATUS[0]}',
                          'bash', @admin, 'import', file_in('devices', ''));
is($text, "0\n", 'nor does a summary that nobody reads');
($status, $text) = output('bash', '-c', '"$@" 2>&-; echo $?',
                          'bash', @admin, 'import', $bad);
like($text, qr/\A20001 rows in [^\n]*\n1\n\z/,
     'what is said goes nowhere when there is no standard error');


# --- ended in the middle ----------------------------------------------------

# it waits for more to come through the pipe

sub reads_on {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/wchan" or return 1;
    return <$fh> =~ /pipe/;
}

# an import that is in the middle: it has taken 500 devices of 700

sub in_the_middle {
    my ($first) = @_;

    my $path = scratch() . "/fifo$first";
    POSIX::mkfifo($path, 0600) or die "mkfifo: $!\n";

    my $pid = spawn("fifo$first.log", @admin, 'import', $path);
    open my $fh, '>', $path or die "$path: $!\n";
    select((select($fh), $| = 1)[0]);
    print $fh map { id($first + $_) . ",$TENANT,,f" . ($first + $_) . "\n" }
              1 .. 700;
    wait_for { named('f' . ($first + 500)) && reads_on($pid) } 20;

    return ($pid, $fh);
}

my ($pid, $fh) = in_the_middle(3000);
my $seen = join "\0", map {
    open my $of, '<', "/proc/$pid/$_" or die; local $/; <$of> } 'cmdline';
like($seen, qr/tb-rpc-admin/, 'the process');
unlike($seen, qr/$TB::RedisServer::PASSWORD{operator}/, 'shows no password');
is(reap($pid, 'INT', 10), 130, 'interrupted');
$text = text_of('fifo3000.log');
like($text, qr/: interrupted\n.*: not all was done;.*\n500 rows in/s,
     'it says what was done');
unlike($text, qr/Traceback/, 'in words');
close $fh;

($pid, $fh) = in_the_middle(4000);
$redis->stop();
$SIG{PIPE} = 'IGNORE';
print $fh map { id(4000 + $_) . ",$TENANT,,f" . (4000 + $_) . "\n" }
          701 .. 1500;
close $fh;
is(reap($pid, 0, 10), 1, 'Redis has gone');
like(text_of('fifo4000.log'), qr/: Redis: .*\n.*: not all was done;.*\n500 /s,
     'it says what was done');
$redis->go();
import_file(join '', map { id(4000 + $_) . ",$TENANT,,f" . (4000 + $_) . "\n" }
                     1 .. 1500);
counts('1000 0 500 0 (1500 0)', 'again: only the rest is new');


# --- device add, device del -------------------------------------------------

is(admin(qw(device add), id(90), '--tenant', $TENANT, '--name', 'ninety'), 0,
   'device add');
is(named('ninety'), id(90), 'keeps the name');
admin(qw(device add), id(90), '--tenant', $TENANT, '--name', 'ninety-one');
is(named('ninety'), undef, 'another name');
is(named('ninety-one'), id(90), 'replaces it');
is(admin(qw(device add), id(90), '--tenant', $OTHER), 1, 'another tenant');
like($text, qr/is of tenant $TENANT; --move makes it one of $OTHER/,
     'is refused');
is(field(id(90), 'tenantId'), $TENANT, 'and nothing moves');
is(admin(qw(device add), id(90), '--tenant', $OTHER, '--move'), 0, '--move');
is(named('ninety-one', $OTHER), id(90), 'it moves with the device');
is(named('ninety-one'), undef, 'to another tenant');
is(admin(qw(device add), id(90), '--tenant', $OTHER, '--name', 'x' x 300), 1,
   'a name that is refused');
is(named('ninety-one', $OTHER), id(90), 'takes no other away');
admin(qw(device add), id(91), '--tenant', $OTHER, '--name', 'ninety-one');
admin(qw(device add), id(90), '--tenant', $OTHER, '--strategy', 'burst');
is(named('ninety-one', $OTHER), id(91), 'another device has it now');
is(admin(qw(device del), id(90)), 0, 'device del');
is(named('ninety-one', $OTHER), id(91), 'leaves it there');
admin(qw(device add), id(91), '--tenant', $OTHER, '--name', '');
is(named('ninety-one', $OTHER), undef, 'an empty name is none');
admin(qw(device add), id(91), '--tenant', $OTHER, '--name', 'again');
admin(qw(device del), id(91));
is(named('again', $OTHER), undef, 'device del takes the name away');


# --- many -------------------------------------------------------------------

my $many = ($ENV{TB_MODE} || '') ? 10000 : 30000;

open $fh, '>', scratch() . '/many.csv' or die;
print $fh "id,tenant,customer,name,token\n";
printf $fh "%s,%s,,device %d,token-%d\n", id(10000 + $_), $TENANT, $_, $_
    for 1 .. $many;
close $fh;

# seconds of processors that it and Redis need; others may use them meanwhile

sub used {
    my @times = times;
    my $info = $redis->call('INFO', 'cpu');

    return $times[2] + $times[3]
           + ($info =~ /used_cpu_sys:([\d.]+)/)[0]
           + ($info =~ /used_cpu_user:([\d.]+)/)[0];
}

my $start = time();
my $used = used();
admin('import', scratch() . '/many.csv');
my $took = time() - $start;
$used = used() - $used;
counts("$many 0 0 0 ($many $many)", "$many devices");
cmp_ok($used, '<', scaled(9), sprintf 'in %.1f s of CPU', $used);
cmp_ok($took, '<', scaled(72), sprintf 'in %.1f s', $took);
like($text, qr/: \d+ rows, \d+ %\n/, 'with progress') if $took > 4;
is(named("device $many"), id(10000 + $many), 'the last one');
is(token("token-$many"), id(10000 + $many), 'with its token');

$before = changes();
admin('import', scratch() . '/many.csv');
counts("0 0 $many 0 ($many $many)", 'again');
is(changes(), $before, 'nothing is written');

done_testing();
