#!/usr/bin/perl

# What scripts and tools say to a Redis that is too old, or none; what CI runs,
# and what of it on another Debian.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root scratch file_in free_port library);
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


# --- what script/test makes of another Debian --------------------------------

# script/test where no test says anything, and what it calls writes down how

my $tree = scratch() . '/tree';
my $test = lines_of('script/test');

mkdir $_ or die "$_: $!\n" for $tree, "$tree/script", "$tree/t";
symlink root() . '/t/lib', "$tree/t/lib" or die "t/lib: $!\n";

file_in("tree/$_", "# Nothing.\n#\n# runs: side by side, 1 s\n\n"
                   . "print qq{1..1\nok 1\n};\n")
    for do { my %seen; grep { !$seen{$_}++ } $test =~ m{\bt/[\w-]+\.t\b}g };


# script NAME TEXT: in that tree

sub script {
    my ($name, $is) = @_;

    my $path = file_in("tree/script/$name", $is);

    chmod 0755, $path or die "$path: $!\n";
    return $path;
}

script('common.sh', lines_of('script/common.sh'));
script('test', $test);
script($_, "#!/bin/sh\n") for 'bootstrap', 'build';

my ($named) = $test =~ /^on_other=\((.*?)\)/ms;
my @named = split ' ', $named;

cmp_ok(scalar @named, '>', 30, 'files for another Debian');
is_deeply([grep { !-e root() . "/$_" } @named], [], 'they are there');


# summary of a run, and whether it went well, when script/fresh does that

sub other {
    my ($ci, $fresh, @argv) = @_;

    script('fresh', "#!/bin/sh\necho \"called: \$*\"\n$fresh\n");

    return output('env', "CI=$ci", "$tree/script/test", '--no-matrix', @argv);
}


($status, $text) = other('true', 'exit 0');
is($status, 0, 'with another Debian');
like($text, qr/^called: --dir \S+ trixie -- --few \Q@named\E$/m,
     'which is Debian 13');
like($text, qr/^  ok       Debian 13: ${\ scalar @named } files \(\d+ s\)$/m,
     'told at the end');

($status, $text) = other('true', 'echo x; echo "there is no moon"; exit 77');
is($status, 0, 'where none can be made');
like($text, qr/^  skipped  Debian 13: there is no moon$/m, 'which is told');

($status, $text) = other('true', 'echo "not ok 1 - this"; exit 1');
is($status, 1, 'with a failure there');
like($text, qr/^not ok 1 - this$/m, 'which is shown');
like($text, qr/^  FAILED   Debian 13 \(\d+ s\)$/m, 'and told');

($status, $text) = other('true', 'exit 1', "$tree/t/000-load.t");
is($status, 0, 'one file');
unlike($text, qr/called:/, 'is tried here only');

($status, $text) = other('', 'exit 1', '--other', 'bookworm',
                         "$tree/t/000-load.t");
is($status, 1, 'unless it is asked for');
like($text, qr/^called: .* bookworm -- /m, 'by name');

($status, $text) = other('', 'exit 1');
is($status, 0, 'a whole run that is not of CI');
unlike($text, qr/called:/, 'is here only, too');

# --- what it makes of a file that fails --------------------------------------

# A file that passes or fails by its turn, of two: how often it ran, whether the
# run went well, and its end.

sub turns {
    my ($turns, @also) = @_;

    my $count = scratch() . '/count';
    my $file = file_in('tree/t/turns.t', <<"END");
# Its turn.
#
# runs: side by side, 1 s

open my \$count, '>>', '$count' or die;
print \$count 'x';
close \$count;
print "1..1\n", substr('$turns', (-s '$count') - 1, 1) eq 'f' ? 'not ' : '',
      "ok 1 - sunny\n";
END

    unlink $count;

    my ($status, $text) = output('env', 'CI=', "$tree/script/test", $file,
                                 @also);

    return (-s $count, $status, $text =~ /\n((?: .*\n)+)\z/);
}


my $steady = "$tree/t/000-load.t";
my $ok = qr/^  ok       tests side by side /m;
my $failed = qr/^  FAILED   tests side by side /m;

my ($times, $end);

($times, $status, $end) = turns('f.', $steady);
is("$times $status", '3 0', 'failed once, and not by itself');
like($end, qr/^  unsteady: turns\.t\n +not ok 1 - sunny\n/, 'told with what');
like($end, $ok, 'is no failure');

($times, $status, $end) = turns('ff', $steady);
is("$times $status", '2 1', 'failed by itself, too');
like($end, qr/^  failed: turns\.t\n +not ok 1 - sunny\n/, 'told with what');
like($end, $failed, 'is one');

($times, $status, $end) = turns('f.f', $steady);
is("$times $status", '3 1', 'failed by itself the second time');
like($end, $failed, 'is one');

($times, $status, $end) = turns('.', $steady);
is("$times $status", '1 0', 'did not fail');
unlike($end, qr/turns/, 'is not told');

($times, $status, $end) = turns('f.');
is("$times $status", '1 1', 'the only file runs once');

($times, $status, $end) = turns('f.', $steady,
    map { file_in("tree/t/bad$_.t", "# Bad.\n#\n# runs: side by side, 1 s\n\n"
                                    . "print qq{1..1\nnot ok 1\n};\n") } 1 .. 4);
is("$times $status", '1 1', 'no second time where much fails');
like($end, qr/^  failed: turns\.t\n/m, 'all told');
like($end, qr/^  failed: bad4\.t\n/m, 'at the end');


# of script/fresh, what it says where it can't do anything

my @fresh = (script('fresh', lines_of('script/fresh')), '--dir', scratch(),
             '--only', 'demo', 'trixie');

SKIP: {
    skip 'not by root', 7 if $>;

    ($status, $text) = output('setpriv', '--reuid', 65534, '--clear-groups',
                              @fresh);
    is($status, 77, 'script/fresh of somebody');
    like($text, qr/error: only root can make a bare Debian$/, 'says why');

    skip 'no debootstrap', 5 if !-x '/usr/sbin/debootstrap';
    skip 'no namespaces', 5
        if (output('unshare', '--mount', '--pid', '--fork', 'true'))[0];

    # a mirror that is not reached

    delete local @ENV{qw(http_proxy no_proxy HTTP_PROXY NO_PROXY)};
    local $ENV{APT_CONFIG} = file_in('apt.conf',
        'Acquire::http::Proxy "http://127.0.0.1:' . free_port() . "\";\n");

    ($status, $text) = output(@fresh);
    is($status, 77, 'without a mirror');
    like($text, qr/^there is no trixie: \S.*\n\z/m, 'says why, at the end');
    is_deeply([glob scratch() . '/tb-rpc-fresh.*'], [], 'and leaves nothing');

    # a Debian that was made, in which our own steps fail: it is empty

    my $made = scratch() . '/made';

    mkdir $made;
    chmod 0755, file_in("made/$_", "#!/bin/sh\nexit 0\n")
        for qw(debootstrap chroot);

    local $ENV{PATH} = "$made:$ENV{PATH}";

    ($status, $text) = output(@fresh);
    is($status, 1, 'what fails behind debootstrap is a failure');
    like($text, qr/^ok +trixie +debootstrap .*\nFAILED +trixie +settings /m,
         'which is told');
}

done_testing();
