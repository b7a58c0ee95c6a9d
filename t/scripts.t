#!/usr/bin/perl

# What scripts and tools say to a Redis that is too old, or none; what CI runs.
#
# runs: side by side, 4 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root scratch file_in library);
use TB::FakeRedis;
use TB::Mqtt qw(output);

my ($status, $text);


# --- the server that scripts start ------------------------------------------

# a program that says this about its version

sub server {
    my $path = file_in('server', "#!/bin/sh\necho '$_[0]'\n");

    chmod 0755, $path or die "$path: $!\n";
    return $path;
}


for (['Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64',
      qr/Redis 7\.0 or newer is needed, this is 6\.0\.16 \(\//],
     ['memcached 1.6.18', qr/is no Redis and no Valkey, set TB_REDIS_SERVER/],
     ['', qr/is no Redis and no Valkey/])
{
    my $path = server($_->[0]);

    for my $script ('. script/common.sh; check_redis_server "$1"',
                    'TB_REDIS_SERVER=$1 exec script/test --no-build t/version.t')
    {
        ($status, $text) = output('bash', '-c', 'cd ' . root() . "; $script",
                                  'bash', $path);
        is($status, 1, "\"$_->[0]\" is refused");
        like($text, $_->[1], 'in words');
    }
}

for ('Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64',
     'Redis server v=10.0.1 sha=00000000:1', 'Valkey server v=8.1.1 sha=0',
     'valkey server v=7.2.5 sha=0')
{
    ($status, $text) = output('bash', '-c', 'cd ' . root()
                              . '; . script/common.sh; check_redis_server "$1"',
                              'bash', server($_));
    is("$status$text", '0', "\"$_\" is taken");
}


# --- the server that tools talk to ------------------------------------------

my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, $command, @argv) = @_;

    return undef if !defined $command;
    return "-ERR unknown command `$command`, with args beginning with: \r\n"
        if $command =~ /^(?:FCALL|FUNCTION)$/;
    return TB::FakeRedis::bulk("# Server\r\nredis_version:$mode\r\n")
        if $command eq 'INFO';
    return TB::FakeRedis::bulk($argv[1] eq 'schema' ? 2 : 128)
        if $command eq 'HGET';
    return undef;
});

my @admin = (TB::Mqtt::admin(), '--redis',
             "redis://127.0.0.1:$fake->{port}");
my $id = 'de000000-0000-11ee-8000-000000000001';

for my $command (['functions', 'load', file_in('tb_rpc.lua', library())],
                 ['device', 'del', $id])
{
    $fake->tell('mode', '6.2.14');
    ($status, $text) = output(@admin, @$command);
    is($status, 1, "@$command[0, 1] at an old Redis");
    like($text, qr/Redis 7\.0 or newer is needed, this is 6\.2\.14$/,
         'says what is wrong');

    $fake->tell('mode', '7.0.15');
    ($status, $text) = output(@admin, @$command);
    is($status, 1, 'at a new one where the command is renamed');
    like($text, qr/unknown command/, 'says that');
}


# --- the pictures ------------------------------------------------------------

sub lines_of {
    my ($file) = @_;

    open my $fh, '<', root() . "/$file" or die "$file: $!\n";
    return join '', <$fh>;
}


is(`${\ root() }/script/lifecycle`, lines_of('docs/lifecycle.dot'),
   'docs/lifecycle.dot is what script/lifecycle prints');
is(`${\ root() }/script/check-rooms --dot src`, lines_of('docs/rooms.dot'),
   'docs/rooms.dot is what script/check-rooms prints');
is(`${\ root() }/script/check-rooms --dot bridge`,
   lines_of('docs/bridge-rooms.dot'), 'docs/bridge-rooms.dot, too');

# each edge of a text is in its picture, and no other

for my $name (qw(architecture bridge-rooms call lifecycle rooms)) {
    my @edges = lines_of("docs/$name.dot") =~ /^ +(\w+ -> \w+)\b/mg;
    my %drawn = map { s/&#45;&gt;/ -> /r => 1 }
                lines_of("docs/$name.svg") =~ /<title>(\w+&#45;&gt;\w+)</g;

    cmp_ok(scalar(@edges), '>', 5, "docs/$name.dot: " . @edges . ' edges');
    is(join(', ', grep { !$drawn{$_} } @edges), '', 'all are drawn');
    delete @drawn{@edges};
    is(join(', ', sort keys %drawn), '', 'and no other');
}


# --- CI ---------------------------------------------------------------------

open my $fh, '<', root() . '/.ci/run' or die ".ci/run: $!\n";
is(join('', <$fh>), "#!/bin/bash\n\n"
                    . 'exec "$(dirname "$0")/../script/test"' . "\n",
   'CI does what a person does: script/test, which installs what it needs');

done_testing();
