# tb_rpc_docs: the OpenAPI document and the page for people: what a server
# answers is in them, by the tables of docs/answers.md, and no more; valid
# OpenAPI, as a validator of npm has it.
#
# runs: side by side, 6 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Client;
use TB::Env qw(build file_in free_port root);
use TB::Fixture;
use TB::Mqtt qw(output);
use TB::Nginx;

redis();

my $other = free_port();
my $nginx = TB::Nginx->start(
    http => <<"_EOC_",
    server {
        listen 127.0.0.1:$other;
        tb_rpc_api_keys on;

        location /v3/api-docs { tb_rpc_docs https://rpc.example.com/x"y; }
        location /docs        { tb_rpc_docs html 'https://<rpc>.example.com'; }
        location /api/plugins/rpc/ { tb_rpc v1; tb_rpc_jwt_key %{jwt_key}; }
        location /keys/       { tb_rpc v1; }
    }
_EOC_
    config => <<'_EOC_');
    location /v3/api-docs { tb_rpc_docs; limit_except GET { deny all; } }
    location /docs        { tb_rpc_docs html; }
    location /named       { tb_rpc_docs json; if ($arg_x) { set $x 1; } }
    location /api/rpc/    { tb_rpc v2; }
    location /api/plugins/rpc/ { tb_rpc v1; }
    location /api/auth/   { tb_rpc_login; }
    location /api/v1/     { tb_rpc_device_api; }
_EOC_

sub ask {
    my ($port, $method, $path) = @_;

    my $client = TB::Client->new($port, TB::Client::text($method, $path));
    my $r = $client->answer();

    $client->leave();

    return $r;
}

sub document {
    my ($port, $path) = @_;

    my $r = ask($port, 'GET', $path);

    is("$r->{status} $r->{headers}{'content-type'}", '200 application/json',
       "a document at $path");

    return JSON::PP->new->utf8->decode($r->{body});
}

# all that there is

my $all = document($nginx->{port}, '/v3/api-docs');
my ($version) = output(root() . '/script/version');
(undef, $version) = output(root() . '/script/version');
chomp $version;

is($all->{openapi}, '3.1.0', 'OpenAPI');
is($all->{info}{version}, $version, 'its version is ours');
is_deeply($all->{servers}, [{ url => 'http://localhost' }], 'its server');
is_deeply([sort keys %{ $all->{paths} }], [sort qw(
    /api/auth/login /api/auth/login/public /api/auth/token /api/auth/logout
    /api/auth/user /api/auth/changePassword
    /api/rpc/oneway/{deviceId} /api/rpc/twoway/{deviceId}
    /api/rpc/persistent/{rpcId} /api/rpc/persistent/device/{deviceId}
    /api/plugins/rpc/oneway/{deviceId} /api/plugins/rpc/twoway/{deviceId}
    /api/v1/{token}/rpc /api/v1/{token}/rpc/{requestId})], 'every path');
is_deeply([sort keys %{ $all->{components}{securitySchemes} }],
          ['Jwt', 'LoginForm'], 'who calls');
is_deeply($all->{security}, [{ Jwt => [] }, { LoginForm => [] }],
          'by one of these');
like($all->{paths}{'/api/rpc/persistent/{rpcId}'}{get}{responses}{404}
         {description}, qr/^\* \(32\) Rpc with id \[.*\] is not found/m,
     'answers of docs/answers.md');
is(JSON::PP->new->canonical->encode(document($nginx->{port}, '/named?x=1')),
   JSON::PP->new->canonical->encode($all), 'with "if" in its location');
is(ask($nginx->{port}, 'POST', '/v3/api-docs')->{status}, 403, 'limit_except');
is(ask($nginx->{port}, 'POST', '/docs')->{status}, 405, 'POST');

# another server has less

my $less = document($other, '/v3/api-docs');

is_deeply([sort keys %{ $less->{paths} }],
          ['/api/plugins/rpc/oneway/{deviceId}',
           '/api/plugins/rpc/twoway/{deviceId}'], 'what another server has');
is_deeply([map { $_->{name} } @{ $less->{tags} }], ['rpc-v-1-controller'],
          'and its tag');
is_deeply([sort keys %{ $less->{components}{securitySchemes} }],
          ['ApiKey', 'Jwt'], 'other callers');
is($less->{servers}[0]{url}, 'https://rpc.example.com/x"y', 'its address');

# the page

my $page = ask($nginx->{port}, 'GET', '/docs');

is($page->{headers}{'content-type'}, 'text/html; charset=utf-8', 'a page');

for my $path (sort keys %{ $all->{paths} }) {
    like($page->{body}, qr/<code>\Q$path\E<\/code>/, "has $path");
}

like($page->{body}, qr/<li>\(32\) Rpc with id/, 'and answers');
like($page->{body}, qr{At <code>http://localhost</code>}, 'and the server');
unlike($page->{body}, qr/<script|<link|<img|\bsrc=|\bhref=|\@import|url\(/i,
       'and nothing from elsewhere');
like($page->{body}, qr/content-security-policy" content="default-src 'none';/,
     'by a policy, too');
like(ask($other, 'GET', '/docs')->{body},
     qr{At <code>https://&lt;rpc&gt;\.example\.com</code>}, 'escaped');

{
    my @open;

    # each element that is opened is closed
    for ($page->{body} =~ m{<(/?[a-z]\w*)}g) {
        next if /^(?:meta)$/;
        if (m{^/(.*)}) {
            my $is = pop @open;
            is($is, $1, "</$1>"), last if $is ne $1;
        } else {
            push @open, $_;
        }
    }

    is("@open", '', 'its elements are closed');
}

# the source of it

is((output(root() . '/script/openapi', '--check'))[0], 0,
   'script/openapi would write the same');

# a validator

SKIP: {
    my $modules = build() . '/node_modules';

    local $ENV{NODE_PATH} = join ':', grep { defined && length }
                            $ENV{NODE_PATH}, $modules;
    my ($status) = output('node', '-e',
                          'require.resolve("@apidevtools/swagger-parser")');

    skip 'no swagger-parser (script/bootstrap test)', 3 if $status;

    my $script = file_in('validate.cjs', <<'_EOC_');
const { createRequire } = require('module');
const at = require.resolve('@apidevtools/swagger-parser');
import(at).then(async (module) => {
    const Parser = module.default.default || module.default;
    for (const file of process.argv.slice(2)) {
        await Parser.validate(file);
        console.log('valid');
    }
}).catch((error) => { console.log(String(error)); process.exit(1); });
_EOC_
    my @files = map { file_in("openapi$_->[0].json", $_->[1]) }
                [1, ask($nginx->{port}, 'GET', '/v3/api-docs')->{body}],
                [2, ask($other, 'GET', '/v3/api-docs')->{body}
                    =~ s/x\\"y/xy/r];
    my ($code, $text) = output('node', $script, @files);

    is("$code $text", "0 valid\nvalid\n", 'both documents are valid');
    ($code, $text) = output('node', $script, file_in('bad.json',
        '{"openapi":"3.1.0","info":{"title":"x"},"paths":{}}'));
    is($code, 1, 'a bad one is not');
}

$nginx->clean();
$nginx->stop();

done_testing();
