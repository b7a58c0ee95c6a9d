#!/usr/bin/perl

# tb-rpc-admin: tokens, API keys, JWTs; where its options come from; what it
# says to wrong usage.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use Test::More;

use TB::Bridge;
use TB::Env qw(root scratch file_in library);
use TB::Mqtt qw(output);
use TB::RedisServer;

my $TENANT = $TB::Mqtt::TENANT;
my $OTHER = '7e000000-0000-11ee-8000-00000000000b';
my $redis = TB::RedisServer->start();
my $password = file_in('password', "$TB::RedisServer::PASSWORD{operator}\n");
my @admin = (TB::Mqtt::admin(), '--redis',
             "redis://127.0.0.1:$redis->{port}", '--redis-user', 'operator',
             '--redis-password-file', $password);
my ($status, $text);

sub id { return sprintf 'de000000-0000-11ee-8000-%012x', $_[0] }
sub admin { return (($status, $text) = output(@admin, @_))[0] }
sub token { return $redis->call('GET', 'tb:token:' . sha256_hex($_[0])) }
sub key { return TB::Bridge::key(@_) }

sub json {
    admin('--json', @_);
    return map { JSON::PP::decode_json($_) } split /\n/, $text;
}

sub tokens {
    return { map { $_->{sha256} => $_ } json('token', 'list', @_) };
}


# --- tokens -----------------------------------------------------------------

is(admin(qw(token add), id(1), 'T1'), 1, 'a Redis that nobody has used');
like($text, qr/there is no tb:meta: no nginx was started/, 'is told');
admin(qw(device add), id($_), '--tenant', $TENANT, '--name', "n$_") for 1 .. 3;
is(admin(qw(token add), id(4), 'T1'), 1, 'a token of no device');
like($text, qr/there is no device/, 'is refused');
is(token('T1'), undef, 'and not there');
is(admin(qw(token add), id(1), 'T1', '--label', 'first one'), 0, 'token add');
is($text, '', 'says nothing');
is(admin(qw(token add n1 --tenant), $TENANT), 0, 'by the name of its device');
like($text, qr/^[\w-]{32}\n\z/, 'a new one is printed');
chomp(my $made = $text);

my $t = tokens(id(1));

is_deeply([sort keys %$t], [sort map { sha256_hex($_) } 'T1', $made],
          'token list has both');
is($t->{sha256_hex('T1')}{label}, 'first one', 'the label');
cmp_ok(abs($t->{sha256_hex($made)}{createdTime} / 1000 - time), '<', 100,
       'when it was made');
ok($t->{sha256_hex($made)}{admits}, 'it lets in');

is(admin(qw(token add), id(2), 'T1'), 1, "another device's token");
like($text, qr/the token is that of device @{[id(1)]}/, 'is refused');
is(token('T1'), id(1), 'and stays where it is');
is_deeply(tokens(id(2)), {}, 'nor is it listed');
is(admin(qw(token add), id(1), 'T1'), 0, 'again, for the same device');
is(tokens(id(1))->{sha256_hex('T1')}{label}, 'first one', 'keeps the label');
is(admin(qw(device add), id(2), '--tenant', $TENANT, '--name', 'other',
         '--token', 'T1'), 1,
   'device add does not take it either');
is($redis->call('HGET', key('device', id(2)), 'name'), 'n2',
   'and changes nothing');

# the order of the writes: listed first, and last

is(admin(qw(token del T1)), 0, 'token del');
is(token('T1'), undef, 'by its text');
is(admin(qw(token del T1)), 1, 'once');
admin(qw(token add), id(1), 'T2');
is(admin(qw(token del), sha256_hex('T2')), 0, 'by its SHA-256');
is(token('T2'), undef, 'is gone');
admin(qw(token add), id(1), $_) for 'T3', 'T4';
is(admin(qw(token del --device), id(1), substr sha256_hex('T3'), 0, 16), 0,
   'by the digits that $tb_rpc_key_id has');
is_deeply([map { token($_) } 'T3', 'T4', $made], [undef, id(1), id(1)],
          'that one only');
is(admin(qw(token del --device), id(1), '00000000'), 1, 'digits of none');
is(admin(qw(token del --device), id(1)), 0, 'all of a device');
is_deeply([map { token($_) } 'T4', $made], [undef, undef], 'are gone');
is_deeply(tokens(id(1)), {}, 'none is listed');

# what else devices log in with over MQTT

my $basic_password = file_in('basic.password', "pass\n");
my $pair = 'basic:' . sha256_hex('-,4:user,4:pass,');

is(admin(qw(token add --basic --username user --password-file),
         $basic_password, id(1), '--label', 'door'), 0, 'MQTT Basic');
is($redis->call('GET', "tb:$pair"), id(1), 'as nginx looks for it');
is(tokens(id(1))->{$pair}{label}, 'door', 'listed');
is(admin(qw(token add --basic --username user --password-file),
         $basic_password, id(2)), 1, "another device's");
like($text, qr/the user name is that of device @{[id(1)]}/, 'is refused');
admin(qw(token add --basic --client-id c --username user), id(1));
is($redis->call('GET', 'tb:basic:' . sha256_hex('1:c,4:user,-,')), id(1),
   'client id and user name');

my $der = "\x30\x82\x01\x00" . 'x' x 256;
my $pem = file_in('cert.pem', "a text before\n-----BEGIN CERTIFICATE-----\n"
                  . encode_base64($der) . "-----END CERTIFICATE-----\n");
my $cert = 'cert:' . sha256_hex($der);
my $print = join ':', uc(sha256_hex($der)) =~ /../g;

is(admin(qw(token add --certificate), $pem, id(1)), 0, 'a certificate, PEM');
is($redis->call('GET', "tb:$cert"), id(1), 'by its fingerprint');
is(admin(qw(token add --certificate), file_in('cert.der', $der), id(1)), 0,
   'DER');
is(admin(qw(token add --fingerprint), $print, id(1)), 0,
   'the fingerprint alone');
is(scalar(keys %{tokens(id(1))}), 3, 'is the same one');

for ([[qw(--basic)], qr/needs --client-id, --username, or both/],
     [[qw(--username user)], qr/are for --basic/],
     [['--basic', '--client-id', 'c', '--password-file', $basic_password],
      qr/--password-file needs --username/],
     [[qw(--basic --username user --certificate), $pem],
      qr/--basic, --certificate or --fingerprint/],
     [['T9', '--certificate', $pem], qr/token add DEVICE/],
     [[qw(--fingerprint 12ab)], qr/64 hexadecimal digits/],
     [['--certificate', $basic_password], qr/no certificate in PEM or DER/])
{
    isnt(admin(qw(token add), id(1), @{ $_->[0] }), 0, "@{ $_->[0] }[0]: no");
    like($text, $_->[1], 'and why');
}

is(admin(qw(token del --device), id(1), substr $cert, 0, 21), 0,
   'taken away by its first digits');
is($redis->call('GET', "tb:$cert"), undef, 'is gone');
is(admin('token', 'del', $pair), 0, 'by all of them, without the device');
is($redis->call('GET', "tb:$pair"), undef, 'is gone');

$redis->call('SET', 'tb:basic:' . ('ab' x 32), id(1));
is(admin(qw(check --repair)) < 2, 1, 'one that is not listed');
like($text, qr/token basic:abababababababab of device .* is not listed/,
     'is found');
is(admin(qw(token del --device), id(1)), 0, 'all of them');
is($redis->call('GET', 'tb:basic:' . ('ab' x 32)), undef, 'are gone');

# a token that is somebody else's by now is not taken from him

admin(qw(token add), id(1), 'T5');
$redis->call('SET', 'tb:token:' . sha256_hex('T5'), id(2));
ok(!tokens(id(1))->{sha256_hex('T5')}{admits}, 'listed, and not its own');
admin(qw(token del --device), id(1));
is(token('T5'), id(2), 'stays with whom it is');

# device del takes them along

admin(qw(token add), id(3), $_) for 'T6', 'T7';
is(admin(qw(device del n3 --tenant), $TENANT), 0, 'device del');
like($text, qr/^device @{[id(3)]} deleted, and 2 tokens$/, 'says so');
is_deeply([map { token($_) } 'T6', 'T7'], [undef, undef], 'they are gone');
is($redis->call('EXISTS', key('tokens', id(3))), 0, 'the list, too');
is(admin(qw(device del), id(3)), 1, 'an unknown device');
like($text, qr/there is no device @{[id(3)]}/, 'is told');

# of a device that is gone it is free

$redis->call('SET', 'tb:token:' . sha256_hex('T8'), id(9));
is(admin(qw(token add), id(1), 'T8'), 0, 'the token of a device that is gone');
is(token('T8'), id(1), 'is free');

# secrets by other ways than the command line

for (['standard input', "printf 'T9\\n' |", '-'],
     ['file', '', '--token-file', file_in('token', "T9\r\n")])
{
    my (undef, $pipe, @more) = @$_;

    ($status, $text) = output('bash', '-c', "$pipe \"\$@\"", 'bash', @admin,
                              'token', 'add', id(1), @more);
    is("$status$text", '0', "token add: $_->[0]");
    is(token('T9'), id(1), 'the line is the token');
    admin(qw(token del T9));
}


# --- API keys ---------------------------------------------------------------

admin(qw(api-key add --tenant), $TENANT, '--label', 'bill ing', '--expires',
      '90d');
like($text, qr/^tb_[\w-]{86}\n\z/, 'api-key add');
chomp(my $key = $text);
my $sha = sha256_hex($key);
my ($known) = json(qw(api-key show), substr $sha, 0, 16);

is($known->{label}, 'bill ing', 'found by 16 digits: its label');
cmp_ok(abs($known->{expirationTime} / 1000 - time - 90 * 86400), '<', 100,
       'its end');
is($known->{state}, 'enabled', 'its state');
is_deeply([map { (json('api-key', 'show', $_))[0]{sha256} } $sha, $key],
          [$sha, $sha], 'found by SHA-256 and by itself');
admin(qw(api-key add --tenant), $OTHER);
is(scalar(json('api-key', 'list')), 2, 'api-key list');
is_deeply([map { $_->{sha256} } json(qw(api-key list --tenant), $TENANT)],
          [$sha], 'of a tenant');
is(admin(qw(api-key disable), substr $sha, 0, 16), 0, 'disable');
is($redis->call('HGET', "tb:apikey:$sha", 'enabled'), 0, 'it is');
is((json(qw(api-key show), $sha))[0]{state}, 'disabled', 'and says so');
is(admin(qw(api-key enable), $sha), 0, 'enable');
is($redis->call('HGET', "tb:apikey:$sha", 'enabled'), 1, 'it is');
is(admin(qw(api-key del), substr $sha, 0, 12), 0, 'del by digits');
is($redis->call('EXISTS', "tb:apikey:$sha"), 0, 'gone');
is($redis->call('ZSCORE', 'tb:apikeys', $sha), undef, 'from the list, too');

for my $word (qw(enable disable del show)) {
    is(admin('api-key', $word, $sha), 1, "$word: no such key");
}

is($redis->call('EXISTS', "tb:apikey:$sha"), 0, 'it does not come back');
is(admin(qw(api-key show 0123)), 1, 'too few digits are a key');

for ('1700000000', '2001-01-01', 'tomorrow', '1000000000000',
     '99999999999999999')
{
    is(admin(qw(api-key add --tenant), $TENANT, '--expires', $_), 2,
       "--expires $_");
}

like($text, qr/--expires/, 'says what is wrong');


# --- ended in the middle ----------------------------------------------------

# The order of the writes: whatever is not done any more, nobody is let in whom
# no list has.

sub without {
    my ($right, @command) = @_;

    $redis->call('ACL', 'SETUSER', 'operator', "-$right");
    is(admin(@command), 1, "@command[0, 1] without $right");
    like($text, qr/NOPERM.* ACL lines of docs/, 'fails, in words');
    $redis->call('ACL', 'SETUSER', 'operator', "+$right");
}

without('hset', qw(token add), id(1), 'M1');
is(token('M1'), undef, 'not in the list: it lets nobody in');
without('set', qw(token add), id(1), 'M1');
is(token('M1'), undef, 'nor does it then');
ok(!tokens(id(1))->{sha256_hex('M1')}{admits}, 'and is seen in the list');
is(admin(qw(token add), id(1), 'M1'), 0, 'again');
is(token('M1'), id(1), 'it is done');
without('hdel', qw(token del M1));
is(token('M1'), undef, 'taken away before it leaves the list');
ok(exists tokens(id(1))->{sha256_hex('M1')}, 'where it still is');

admin(qw(token add), id(1), 'M2');
without('fcall', qw(device del), id(1));
is(token('M2'), undef, 'tokens go before their device');
ok($redis->call('EXISTS', key('device', id(1))), 'which is still there');

sub api_keys { return scalar @{ $redis->call('KEYS', 'tb:apikey:*') } }

my $keys = api_keys();

without('zadd', qw(api-key add --tenant), $TENANT);
is(api_keys(), $keys, 'not in the list: there is no key');
without('fcall', qw(api-key add --tenant), $TENANT);
is(api_keys(), $keys, 'nor is there then');
is(scalar(grep { $_->{state} eq 'missing' } json(qw(api-key list))), 1,
   'and that is seen');
admin(qw(api-key add --tenant), $TENANT);
chomp($key = $text);
without('zrem', qw(api-key del), $key);
is($redis->call('EXISTS', 'tb:apikey:' . sha256_hex($key)), 0,
   'ended before it leaves the list');


# --- JWTs -------------------------------------------------------------------

my $file = file_in('jwt.key', (output(@admin, 'keygen'))[1]);
my $wrong = file_in('wrong.key', (output(@admin, 'keygen'))[1]);
my @verify = ('jwt', 'verify', '--key', $file);

sub jwt {
    admin('jwt', '--key', $file, '--tenant', $TENANT, @_);
    chomp $text;
    return $text;
}

sub claims {
    my (%more) = @_;

    my $claims = { sub => 's', userId => 'u', scopes => ['TENANT_ADMIN'],
                   exp => time + 100, tenantId => $TENANT, %more };
    delete $claims->{$_} for grep { !defined $claims->{$_} } keys %$claims;
    return signed({ alg => 'HS512' }, $claims);
}

sub signed {
    my ($header, $claims) = @_;

    open my $fh, '<', $file or die;
    my $secret = MIME::Base64::decode_base64(<$fh>);
    my $input = join '.', map { MIME::Base64::encode_base64url(
                                    JSON::PP->new->canonical->encode($_)) }
                              $header, $claims;
    return "$input." . MIME::Base64::encode_base64url(
        Digest::SHA::hmac_sha512($input, $secret));
}

sub reason {
    my ($token, @more) = @_;

    my ($said) = json(@verify, @more, '--token-file',
                      file_in('a.jwt', "$token\n"));
    return ($said->{reason} // 'valid') . " $status";
}

require MIME::Base64;

is(reason(jwt()), 'valid 0', 'a token of ours');
is(reason(jwt('--alg', 'HS256'), '--alg', 'HS256'), 'valid 0', 'HS256');
is(reason(jwt('--alg', 'HS256')), 'alg 1', 'another algorithm');
is(reason(jwt(), '--key', $wrong), 'valid 0', 'two keys, one of which fits');
@verify[3] = $wrong;
is(reason(jwt()), 'signature 1', 'another key');
@verify[3] = $file;
is(reason('x.y'), 'malformed 1', 'two parts');
is(reason(substr jwt(), 1), 'malformed 1', 'cut off');
is(reason(jwt('--ttl', '0')), 'expired 1', 'an old one');
is(reason(jwt('--ttl', '0'), '--leeway', '60'), 'valid 0', 'leeway');
is(reason(claims(nbf => time + 100)), 'nbf 1', 'not yet');
is(reason(jwt(), '--issuer', 'me'), 'issuer 1', 'another issuer');
is(reason(jwt('--issuer', 'me'), '--issuer', 'me'), 'valid 0', 'that issuer');
is(reason(claims(scopes => ['ROOT'])), 'authority 1', 'an unknown authority');
is(reason(claims(scopes => undef)), 'authority 1', 'none');
is(reason(claims(tenantId => undef)), 'claims 1', 'no tenant');
is(reason(claims(tenantId => undef, scopes => ['SYS_ADMIN'])), 'valid 0',
   'which a system administrator does not need');
is(reason(claims(exp => undef)), 'claims 1', 'no exp');
is(reason(claims(exp => 'x')), 'claims 1', 'exp is a text');
is(reason(claims(enabled => JSON::PP::false())), 'disabled 1', 'disabled');
is(reason(claims(sub => undef)), 'claims 1', 'no sub');

for (['RS256', 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048'],
     ['ES256', 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'])
{
    my ($alg, $make) = @$_;
    my $dir = scratch();

    system("cd $dir && openssl $make -out $alg.key 2> /dev/null"
           . " && openssl pkey -in $alg.key -pubout -out $alg.pem") == 0
        or die "openssl\n";

    my $input = join '.', map { MIME::Base64::encode_base64url(
        JSON::PP->new->encode($_)) } { alg => $alg },
        { sub => 's', userId => 'u', scopes => ['TENANT_ADMIN'],
          exp => time + 100, tenantId => $TENANT };
    my $signature = `printf %s '$input' | openssl dgst -sha256 -sign $dir/$alg.key`;

    if ($alg eq 'ES256') {
        my ($n, $rest) = $signature =~ /^\x30.\x02(.)(.*)$/s;
        my $r = substr $rest, 0, ord $n, '';
        my $s = substr $rest, 2;

        $signature = join '', map { my $x = s/^\0+//r;
                                    "\0" x (32 - length $x) . $x } $r, $s;
    }

    my $token = "$input." . MIME::Base64::encode_base64url($signature);

    @verify[3] = "$dir/$alg.pem";
    is(reason($token, '--alg', $alg), 'valid 0', $alg);
    is(reason(claims(), '--alg', $alg), 'alg 1', "$alg: not by its public key");
    substr($token, 40, 1) = substr($token, 40, 1) eq 'A' ? 'B' : 'A';
    isnt(reason($token, '--alg', $alg), 'valid 0', "$alg: changed");
}

for (['a private key', "RS256", '--key', scratch() . '/RS256.key',
      qr/holds a private key/],
     ['of the other kind', 'ES256', '--key', scratch() . '/RS256.pem',
      qr/curve P-256/],
     ['a secret', 'RS256', '--key', $file, qr/no PEM public key/],
     ['a public key', 'HS512', '--key', scratch() . '/RS256.pem',
      qr/is a public key/],
     ['the default', 'HS512', '--key',
      file_in('default', "thingsboardDefaultSigningKey\n"), qr/default key/])
{
    is(admin('jwt', 'verify', 'x', '--alg', @$_[1 .. 3]), 1,
       "key file: $_->[0]");
    like($text, $_->[4], 'is refused');
}


# --- where options come from ------------------------------------------------

my $conf = file_in('admin.conf', <<END);
# a comment
redis                redis://127.0.0.1:$redis->{port}
redis-user           operator
redis-password-file  $password
tenant               $OTHER
END

sub bare { return (($status, $text) = output(TB::Mqtt::admin(), @_))[0] }

is(bare('--config', $conf, qw(device add), id(20)), 0, '--config');
is($redis->call('HGET', key('device', id(20)), 'tenantId'), $OTHER,
   'the tenant is that of the file');

{
    local $ENV{TB_RPC_CONFIG} = $conf;
    local $ENV{TB_RPC_TENANT} = $TENANT;

    is(bare(qw(device add), id(21)), 0, 'by the environment');
    is($redis->call('HGET', key('device', id(21)), 'tenantId'), $TENANT,
       'which counts more than the file');
    is(bare(qw(device add), id(22), '--tenant', $OTHER), 0, 'an option');
    is($redis->call('HGET', key('device', id(22)), 'tenantId'), $OTHER,
       'counts more than both');
    is(bare(qw(device list --json --limit 1)), 0,
       'options behind the command');
    like($text, qr/^\{"id": /, 'count as well');

    is(bare(qw(calls --json list), id(21)), 0, 'also between its words');

    local $ENV{TB_RPC_JSON} = 'yes';
    bare(qw(device list --limit 1));
    like($text, qr/^\{"id": /, 'a switch in the environment');
    local $ENV{TB_RPC_REDIS} = 'redis://127.0.0.1:1';
    is(bare(qw(device list)), 1, 'another Redis');
    like($text, qr/127\.0\.0\.1:1: Connection refused/, 'says where');
}

for (["nosuch x\n", qr/line 1: unknown option "nosuch"/],
     ["json perhaps\n", qr/line 1 must be on or off: "perhaps"/],
     ["\nshards 999\n", qr/--shards must be 1 to 512/],
     ["redis redis://u:p\@x\n", qr/must not carry a user or password/])
{
    is(bare('--config', file_in('bad.conf', $_->[0]), qw(device list)), 2,
       'a wrong line');
    like($text, $_->[1], 'is named');
}

is(bare('--config', '/nonexistent', 'device', 'list'), 1, 'no such file');


# --- usage ------------------------------------------------------------------

for ([], ['nosuch'], ['device'], ['device', 'nosuch'], ['token', 'add'],
     [qw(token del)], [qw(token del x --token-file y)], [qw(jwt --tenant x)],
     [qw(jwt make)], [qw(jwt verify x)], [qw(device show nobody)],
     [qw(--redis http://x status)], [qw(--redis redis://a --redis redis://b
     status)], [qw(--redis-cluster --redis-sentinel m status)],
     [qw(--redis-cert x status)], [qw(shard x)], [qw(call x m [)],
     [qw(record show x)], [qw(check --url http://x/)])
{
    is(bare(@$_), 2, "wrong usage: @$_");
    unlike($text, qr/Traceback/, 'in words');
}

is(bare('--help'), 0, '--help');
my @commands = $text =~ /^  (\w[\w-]*(?: \w+)?)  +\S/mg;
cmp_ok(scalar(@commands), '>', 25, 'lists ' . @commands . ' commands');

for my $command (@commands) {
    is(bare(split(/ /, $command), '--help'), 0, "$command --help");
    like($text, qr/^example:\n  .*\Q$command\E|import|jwt|calls/m,
         'has an example');
}

# only what is asked for is loaded, and that is all of it

for my $word (qw(device calls token)) {
    bare($word, '--help');
    is(join(', ', $text =~ /^  (\w+ \w+)  +\S/mg),
       join(', ', grep { /^$word / } @commands), "$word --help");
}

($status, $text) = output('/usr/bin/python3', '-X', 'importtime',
                          TB::Mqtt::admin(), qw(token --help));
is(join(' ', sort $text =~ /tb_rpc_admin\.(devices|jwt|status|tokens)$/mg),
   'tokens', 'a command loads no other');

# what a shell can give as well

for (['--name', "e\xff", qr/--name is not UTF-8/],
     ['--name', "e\n", qr/control characters in --name/],
     ['--bridge', 'a/b', qr/--bridge must be/],
     ['--strategy', 'x', qr/--strategy must be/])
{
    is(admin('device', 'add', id(1), '--tenant', $TENANT, @$_[0, 1]), 2,
       "$_->[0] that is none");
    like($text, $_->[2], 'is named');
}

is(admin(qw(token add), id(1), '--label', 'x' x 65), 2, 'a long label');

# nobody reads, or nobody can write

($status, $text) = output('bash', '-c', '"$@" | true; echo ${PIPESTATUS[0]}',
                          'bash', @admin, 'device', 'list');
is($text, "0\n", 'an output that nobody reads is no mistake');
($status, $text) = output('bash', '-c', '"$@" > /dev/full; echo $?', 'bash',
                          @admin, 'device', 'list');
like($text, qr/the standard output: No space left on device\n1\n\z/,
     'one that is full is');
($status, $text) = output('bash', '-c', '"$@" 1>&-; echo $?', 'bash', @admin,
                          'device', 'list');
is($text, "0\n", 'there may be none');

done_testing();
