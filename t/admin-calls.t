#!/usr/bin/perl

# tb-rpc-admin: what an operator sees of devices, calls, records and bridges,
# and does to them; that nothing is missing (check), and that lists are put
# right.
#
# runs: side by side, 23 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use TB::Bridge;
use TB::Env qw(scratch file_in wait_for);
use TB::Fixture;
use TB::Mqtt qw(output spawn reap text_of);
use TB::Nginx;
use TB::Token qw(jwt key_text);

my $TENANT = $TB::Token::TENANT;
my $OTHER = $TB::Token::OTHER_TENANT;

redis();

my $password = file_in('password', "$TB::RedisServer::PASSWORD{operator}\n");
my @root = (TB::Mqtt::admin(), '--redis',
            'redis://127.0.0.1:' . redis()->{port});
my @admin = (@root, '--redis-user', 'operator', '--redis-password-file',
             $password);
my ($status, $text);

sub admin { return (($status, $text) = output(@admin, @_))[0] }
sub id { return sprintf 'de000000-0000-11ee-8000-%012x', $_[0] }
sub key { return TB::Bridge::key(@_) }

sub json {
    admin('--json', @_);
    return map { JSON::PP->new->allow_nonref->decode($_) }
           grep { /^[{\["]/ } split /\n/, $text;
}

sub state_of {
    my ($check, @more) = @_;

    return join ' ', map { $_->{state} } grep { $_->{check} eq $check }
                     json('check', @more);
}


# --- before nginx's first start ---------------------------------------------

redis()->call('FUNCTION', 'FLUSH');
is(admin(qw(device add), id(1), '--tenant', $TENANT), 1,
   'device add without the functions');
like($text, qr/tb-rpc-admin functions load/, 'says what to do');
is(redis()->call('EXISTS', 'tb:meta'), 0, 'and leaves the Redis new');
is(admin('import', file_in('none.csv', '')), 1, 'import, too');
is(redis()->call('EXISTS', 'tb:meta'), 0, 'does');
redis()->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
is(state_of('library'), 'failed', 'check says it as well');
is(admin(qw(functions load)), 0, 'which needs no file');
like($text, qr/^version \d+ loaded$/, 'and does it');
is(admin(qw(status)), 1, 'status: warnings');
like($text, qr/WARNING +no settings: no nginx/, 'which it names');

my $nginx = TB::Nginx->start(http => 'tb_rpc_events on;');
my $bridge = bridge();


# --- devices ----------------------------------------------------------------

admin(qw(device add), id($_), '--tenant', $TENANT, '--name', "pump $_",
      '--bridge', $_ == 3 ? 'gone' : 'b1') for 1 .. 3;
admin(qw(device add), id(4), '--tenant', $TENANT, '--name', 'valve/1');
admin(qw(device add), id(5), '--tenant', $OTHER, '--name', 'pump 1');
admin(qw(device add), id(6), '--tenant', $TENANT, '--name', "caf\xc3\xa9 \"x,");

sub listed { return join ' ', map { hex substr $_->{id}, -2 }
                              json('device', 'list', @_) }

is(listed(), '6 1 2 3 4 5', 'device list: by tenants and names');
is(listed('--tenant', $TENANT, '--name', 'pump*'), '1 2 3', 'by a prefix');
is(listed('--tenant', $TENANT, '--name', 'pump 1'), '1', 'by a name');
is(listed('--tenant', $TENANT, '--name', 'valve/1'), '4', 'with a slash');
is(listed('--tenant', $TENANT, '--name', 'valve'), '', 'not by half of it');
is(listed('--online'), '1 2 3', '--online');
is(listed('--bridge', 'gone'), '3', '--bridge');
is(listed('--limit', '2'), '6 1', '--limit');

my ($d) = json(qw(device show), 'pump 2', '--tenant', $TENANT);

is($d->{id}, id(2), 'device show, by name');
ok($d->{online}, 'is online');
is($d->{shard}, TB::Bridge::shard(id(2)), 'its shard');
is(admin(qw(device show), 'pump 9', '--tenant', $TENANT), 1, 'no such name');
like($text, qr/there is no device named "pump 9"/, 'is told');
is(admin(qw(device show), id(99)), 1, 'no such id');

($status, my $csv) = output('bash', '-c', '"$@" 2> /dev/null', 'bash', @admin,
                            qw(device export));
is($csv, "id,tenant,customer,name,strategy,bridge\n"
         . id(6) . ",$TENANT,,\"caf\xc3\xa9 \"\"x,\",,\n"
         . join('', map { id($_) . ",$TENANT,,pump $_,,"
                          . ($_ == 3 ? 'gone' : 'b1') . "\n" } 1 .. 3)
         . id(4) . ",$TENANT,,valve/1,,\n" . id(5) . ",$OTHER,,pump 1,,\n",
   'device export');
admin('import', file_in('again.csv', $csv));
like($text, qr/: 0 new, 0 changed, 6 unchanged, 0 bad/, 'is what import reads');


# what a device, or whoever put it there, said is harmless on a terminal

redis()->call('HSET', key('device', id(4)), 'name', "e\xff\e[31m");
admin('device', 'show', id(4));
like($text, qr/^name +e\\xff\\x1b\[31m$/m, 'a name of any bytes');
admin('--json', 'device', 'show', id(4));
like($text, qr/"name": "e\\udcff\\u001b\[31m"/, 'and in JSON');
redis()->call('HSET', key('device', id(4)), 'name', 'valve/1');


# --- one call ---------------------------------------------------------------

sub said {
    ($status, $text) = output('bash', '-c', '"$@" 2> /dev/null', 'bash',
                              @admin, @_);
    return "$status $text";
}

is(said('call', 'pump 1', 'echo', '{"a":1.10}', '--tenant', $TENANT),
   "0 {\"a\":1.10}\n", 'call: the answer, byte for byte');
is(said('call', id(1), 'echo', '--oneway'), '0 ', 'one-way');

my ($c) = json('call', id(1), 'big', '{"size":30000}');

is(length $c->{answer}, 29998, 'an answer that is too large to be published');
is(admin('call', id(1), 'fail', '{"text":"no"}'), 1, 'failed by its bridge');
like($text, qr/no answer after .*: no$/, 'says so');

for ([id(4), 'x', qr/the device is offline \(NO_ACTIVE/],
     [id(3), 'x', qr/did not take it \(NOT_CLAIMED/],
     [id(1), 'mute', qr/the device did not answer \(TIMEOUT/])
{
    is(admin('call', @$_[0, 1], '--timeout', '2'), 1, "$_->[1]: no answer");
    like($text, $_->[2], 'says why');
}

is(scalar(json('calls', 'list', $_)), 0, 'nothing is left open')
    for id(1), id(3), id(4);
is(admin('call', id(4), 'x', '--now'), 1, '--now');
like($text, qr/refused: the device is offline/, 'is refused at once');
is(admin('call', id(1), 'echo', '1', '--persistent', '--wait'), 0,
   'a persistent call');
like($text, qr/^status +SUCCESSFUL$/m, 'is followed');
is(admin('call', id(3), 'x', '--persistent', '--wait', '--timeout', '1'), 1,
   'one that expires');
like($text, qr/^status +EXPIRED$/m, 'is seen to');

# through nginx

my $url = "http://127.0.0.1:$nginx->{port}/api/rpc";
my @with = ('--url', $url, '--token-file', file_in('jwt', jwt() . "\n"));

is(said('call', id(1), 'echo', '{"b":1.0}', @with), "0 {\"b\":1.0}\n",
   'call --url');
like(said('call', id(1), 'echo', '--oneway', @with), qr/^0 $/, 'one-way');
is(admin('call', id(4), 'x', '--timeout', '1', @with), 1, 'no answer');
like($text, qr/HTTP status 504, NO_ACTIVE_CONNECTION/, 'and why');
is(admin('call', id(1), 'x', '--url', $url, '--token-file',
         file_in('no', "x\n")), 1, 'a wrong token');
like($text, qr/HTTP status 401/, 'is refused');
is(admin('call', id(1), 'x', '--url', 'http://127.0.0.1:1/', '--token-file',
         file_in('no', "x\n")), 1, 'no nginx');
like($text, qr/127\.0\.0\.1:1.*refused/, 'is told');

# left in the middle

my $pid = spawn('left.log', @admin, 'call', id(4), 'x', '--timeout', '60');

soon { scalar json('calls', 'list', id(4)) } 'a call waits';
is(reap($pid, 'INT', 30), 130, 'its caller leaves: exit code 130');
is(scalar(json('calls', 'list', id(4))), 0, 'it is cancelled');
unlike(text_of('left.log'), qr/Traceback/, 'in words');


# --- open calls -------------------------------------------------------------

sub send_to {
    my ($n, @more) = @_;

    my ($call) = json('call', id($n), 'sent', '{"n":1}', '--persistent',
                      '--timeout', '300', @more);
    return $call;
}

my $waits = send_to(4);
my $queued = send_to(3);
my $sent = send_to(2);

soon { (json('calls', 'list', id(2)))[0]{state} eq 'sent' } 'taken';
is((json('calls', 'list', id(3)))[0]{state}, 'queued', 'queued');

my ($call) = json('calls', id(4));

is($call->{state}, 'waiting', 'calls DEVICE: waiting');
is($call->{rpcId}, $waits->{rpcId}, 'its rpcId');
is("$call->{method} $call->{params}{n}", 'sent 1', 'method and params');
admin('calls', id(4));
like($text, qr/^REQUEST .*\n\d+ +waiting .* persistent +0 +sent +[\w-]{36}$/m,
     'as people read it');

is(admin('calls', 'cancel', id(2), $sent->{requestId}), 0,
   'calls cancel, by requestId');
is((json('record', 'show', $sent->{rpcId}))[0]{status}, 'FAILED',
   'one that was sent is FAILED');
is(admin('calls', 'cancel', id(2), $sent->{requestId}), 1, 'once');
is(admin('calls', 'cancel', id(4), $waits->{rpcId}), 0, 'by rpcId');
is(admin('record', 'show', $waits->{rpcId}), 1,
   'one that never left is removed');
send_to(3) for 1 .. 3;
is(admin('calls', 'purge', id(3)), 0, 'calls purge');
like($text, qr/^4 calls ended$/, 'ends all');
is(scalar(json('calls', id(3))), 0, 'none is left');

# the caller of a lightweight one is told at once

$pid = spawn('told.log', @admin, 'call', id(2), 'sent', '--timeout', '60');
soon { ((json('calls', 'list', id(2)))[0] || {})->{state} } 'one is held';
soon { (json('calls', 'list', id(2)))[0]{state} eq 'sent' } 'and sent';
admin('calls', 'purge', id(2));
is(reap($pid, 0, 30), 1, 'its caller is told');
like(text_of('told.log'), qr/cancelled by an operator/, 'by whom');


# one that can't be understood

redis()->call('HSET', key('inflight', id(4)), 7, 'Psx');
is(admin('calls', id(4)), 0, 'an open call that is none');
redis()->call('DEL', key('inflight', id(4)));


# --- records ----------------------------------------------------------------

is(scalar(json('record', 'list', id(3))), 5, 'record list');
is(scalar(json('record', 'list', id(3), '--status', 'EXPIRED')), 1,
   '--status');
is(scalar(json('record', 'list', id(3), '--limit', '2')), 2, '--limit');

my ($record) = json('record', 'list', 'pump 1', '--tenant', $TENANT);

is($record->{response}, 1, 'a response');
is(admin('record', 'delete', $record->{rpcId}), 0, 'record delete');
is(admin('record', 'delete', $record->{rpcId}), 1, 'once');
is(scalar(json('record', 'list', id(1))), 0, 'none is left');

my $uuid = 'aaaaaaaa-0000-4000-8000-00000000000a';

set_macro(d4 => id(4));
like($nginx->call('d4', 'm', '{}', oneway => 1, persistent => 1,
                  uuid => $uuid, timeout => 60000)->{body}, qr/"rpcId"/,
     'a call with a requestUUID');
is((json('record', 'show', $uuid))[0]{requestUUID}, $uuid,
   'is found by that');


# --- events -----------------------------------------------------------------

$pid = spawn('watch.log', @admin, '--json', 'watch', '--device', id(1));
my $shown = '';
wait_for {
    admin('call', id(1), 'echo', '--persistent', '--wait');
    $shown = join ' ', text_of('watch.log') =~ /"event": "(\w+)"/g;
    $shown =~ /QUEUED SENT (?:DELIVERED )?SUCCESSFUL/;
} 60;
like($shown, qr/QUEUED SENT (?:DELIVERED )?SUCCESSFUL/, 'watch');
is(reap($pid, 'INT', 30), 130, 'until it is interrupted');


# --- bridges ----------------------------------------------------------------

admin(qw(call), id(3), qw(x --persistent --timeout 300));

my %b = map { $_->{name} => $_ } json('bridge', 'list');

is(join(' ', sort keys %b), 'b1 gone', 'bridge list');
is("$b{b1}{online} $b{b1}{routed} $b{b1}{waiting} $b{b1}{state}",
   '2 2 0 listens', 'one that is there');
is("$b{gone}{waiting} $b{gone}{listeners} $b{gone}{state}",
   '1 0 dead queue', 'one that nobody is');
cmp_ok($b{gone}{oldest}, '<', 60000, 'since when it waits');
admin('calls', 'purge', id(3));


# --- status and check -------------------------------------------------------

soon { admin('status') == 0 } 'status: no warnings', 60;

my ($s) = json('status');

is($s->{shards} . ' ' . $s->{settings}{events}, '128 1', 'shards, settings');
is($s->{devices}, 6, 'devices');
like($s->{ticker}, qr/\S/, 'who ticks');
cmp_ok($s->{counters}{ignored_failed} // 0, '>=', 0, 'counters');

my $key_file = file_in('jwt.key', key_text() . "\n");

is(state_of('call'), 'ok', 'check: a call');
is(state_of('nginx', '--url', $url, '--key', $key_file), 'ok',
   'through nginx, too');
is(state_of('nginx', @with), 'ok', 'with a token');
is(state_of('nginx', '--url', "$url/nosuch", '--key', $key_file), 'failed',
   'a wrong URL');
chmod 0644, $key_file;
is(state_of('key', '--key', $key_file), 'warning', 'a key that all can read');
chmod 0600, $key_file;
is(state_of('key', '--key', $key_file), 'ok', 'that one can read');
is(state_of('key', '--key', file_in('short', "AAAA\n")), 'failed', 'a short one');
is(scalar(@{ redis()->call('KEYS', 'tb:{s*}:device:*') }), 6,
   'its devices are gone');
is(state_of('rights'), 'skipped skipped skipped',
   'rights are not for everybody to see');

{
    local $ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};
    my @users = map { ("--$_->[0]-user", $_->[1]) }
                ['nginx', 'nginx'], ['bridge', 'bridge'],
                ['admin', 'operator'];
    my @before = @admin;

    @admin = @root;
    is(state_of('rights', @users), 'ok ok ok', 'the documented ACL lines');
    redis()->call('ACL', 'SETUSER', 'bridge', '-spublish');
    is(state_of('rights', @users), 'ok failed ok', 'a right that is missing');
    like($text, qr/bridge may not: spublish/, 'is named');
    redis()->call('ACL', 'SETUSER', 'bridge', '+spublish', '%R~tb:token:*');
    is(state_of('rights', @users), 'ok warning ok', 'one too many');
    @admin = @before;
}

# lists

admin(qw(token add), id(1), 'T1', '--label', 'x');
admin(qw(api-key add --tenant), $TENANT);
is(state_of('lists', '--lists'), 'ok', 'the lists agree');

my $sha = sha256_hex('T9');
my $api = sha256_hex('A9');

redis()->call('DEL', TB::Bridge::prefix(TB::Bridge::shard(id(1))) . 'devices');
redis()->call('HDEL', key('names', $TENANT), 'pump 2');
redis()->call('ZADD', TB::Bridge::prefix(TB::Bridge::shard(id(2))) . 'devices',
              0, "$OTHER/old/" . id(2));
redis()->call('SET', "tb:token:$sha", id(1));
redis()->call('HSET', key('tokens', id(2)), sha256_hex('T8'), '1 lost');
redis()->call('HSET', key('tokens', id(2)), sha256_hex('T7'),
              int(time() * 1000) . ' just added');
redis()->call('HSET', "tb:apikey:$api", qw(enabled 1 tenantId), $TENANT);
redis()->call('ZADD', 'tb:apikeys', 0, sha256_hex('A8'));
is(state_of('lists', '--lists'), 'failed', 'they do not');
my ($n) = $text =~ /"text": "(\d+) differences/;
cmp_ok($n, '>=', 7, "all of them are found: $n");
is(state_of('lists', '--repair'), 'repaired', '--repair');
is(state_of('lists', '--lists'), 'ok', 'has put them right');
is(listed('--tenant', $TENANT, '--name', 'pump*'), '1 2 3', 'devices');
is(redis()->call('HGET', key('names', $TENANT), 'pump 2'), id(2), 'a name');
ok(redis()->call('HEXISTS', key('tokens', id(1)), $sha), 'a token');
ok(!redis()->call('HEXISTS', key('tokens', id(2)), sha256_hex('T8')),
   'no token that is none');
ok(redis()->call('HEXISTS', key('tokens', id(2)), sha256_hex('T7')),
   'but one that may be being added');
is(admin(qw(api-key show), substr $api, 0, 16), 0, 'an API key');
is(admin(qw(api-key show), substr sha256_hex('A8'), 0, 16), 1, 'none of none');
is(redis()->call('HGET', key('device', id(1)), 'route'), 'b1',
   'devices are as they were');

# devices of a version without lists: importing them again does it

redis()->call('DEL', $_) for @{ redis()->call('KEYS', 'tb:{s*}:devices') };
admin('import', file_in('again.csv', $csv));
like($text, qr/: 0 new, 6 changed, 0 unchanged, 0 bad/, 'import lists, too');
is(listed(), '6 1 2 3 4 5', 'all of them');

done_testing();
