# The function library as files: what each must be like, how they are put
# together, and what is said of one that can't run.
#
# runs: side by side, 1 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(dirname);
use Test::More;

use TB::Env qw(root build file_in library);
use TB::Server qw(start_redis);

my $root = root();
my @files = map { s{.*/}{}r } glob "$root/src/functions/*.lua";
my %text = map { $_ => slurp("$root/src/functions/$_") } @files;


sub slurp {
    my ($path) = @_;

    open my $fh, '<', $path or die "$path: $!\n";
    local $/;

    return scalar <$fh>;
}


sub output {
    open my $out, '-|', @_ or die "$_[0]: $!\n";
    local $/;

    return scalar <$out>;
}


# the files

my @listed = output("$root/script/functions", '--files')
             =~ m{^src/functions/(.*)$}mg;

is_deeply([sort @listed], [sort @files], 'each file is in the list, once');

for my $file (@files) {
    my @lines = split /\n/, $text{$file}, -1;
    my ($start, @long);

    for my $i (0 .. $#lines) {
        $start = $i if $lines[$i] =~ /^local function/;
        push @long, $start + 1
            if $lines[$i] eq 'end' && defined $start && $i - $start >= 76;
        $start = undef if $lines[$i] eq 'end';
    }

    cmp_ok($#lines, '<=', 350, "$file is short");
    is("@long", '', "$file: no function is longer than 76 lines");
    is_deeply([grep { length > 80 } @lines], [], "$file: 80 columns");
}


# what another file takes as a field, and nobody looks at before it is needed

for my $file (@files) {
    my %table = $text{$file} =~ /^local (\w+) = use '(\w+)'$/mg;

    for my $name (sort keys %table) {
        my $other = $text{"$table{$name}.lua"};
        my ($given) = $other =~ /^return \{(.*?)\}/ms;
        my %given = map { $_ => 1 } defined $given
                    ? $given =~ /(\w+) =/g
                    : $other =~ /^(?:function )?M\.(\w+)/mg;
        my $code = $text{$file} =~ s/--.*//gr;
        my @missing = grep { !$given{$_} } $code =~ /\b$name\.(\w+)/g;

        is("@missing", '', "$file: $table{$name}.lua has what it uses");
    }
}


# entry points

while ($text{'register.lua'} =~ /^register\('(\w+)', '(\w+)', '(\w+)'/mg) {
    my ($name, $file, $entry) = ($1, $2, $3);
    my ($head) = $text{"$file.lua"}
                 =~ /((?:^--.*\n)+)\nlocal function $entry\(/m;

    like($head, qr/^-- tb_rpc_$name\b/, "tb_rpc_$name is described");

    for my $what (qw(keys arguments replies errors)) {
        like($head, qr/^-- (?:.*, )?$what\b|^-- keys,.* $what as tb_rpc_/m,
             "tb_rpc_$name: $what");
    }
}


# together, beside the module that is tested

my $built = ($ENV{TB_MODULE} ? dirname($ENV{TB_MODULE}) : build())
            . '/tb_rpc.lua';

SKIP: {
    skip 'nothing was built', 1 if !-e $built;
    ok(slurp($built) eq library(), 'the build has put the same together');
}

my $server = start_redis();
my $redis = $server->client;
my $loaded;


# loads the library with another text in place of one that is there once

sub load {
    my ($from, $to) = @_;
    my $text = library();
    my $n = () = $text =~ /\Q$from\E/g;

    is($n, 1, 'there once: ' . $from =~ s/\n.*//sr);
    $text =~ s/\Q$from\E/$to/;
    $loaded = file_in('changed.lua', $text);

    my $reply = $redis->cmd('FUNCTION', 'LOAD', 'REPLACE', $text);

    is("$reply", 'tb_rpc', 'is loaded');
}


sub version {
    return '' . $redis->cmd('FCALL', 'tb_rpc_version', 0);
}


sub place {
    my ($error) = @_;

    return output("$root/script/lua-line", '-f', $loaded, $error);
}


my $clock = "define('clock', function(use)\n";

load($clock, "${clock}error('no clock')\n");

for (1 .. 2) {
    like(version(), qr/user_function:\d+: no clock/,
         'a file that fails, each time');
}

like(place(version()), qr{src/functions/clock\.lua:1: no clock},
     'its name and line');
like($redis->cmd('FCALL', 'tb_rpc_tick', 1, 'tb:{s000}:due', 1) . '',
     qr/user_function:\d+: no clock/, 'a function that needs it');

load($clock, "${clock}local x = nothing\n");
like(place(version()), qr{src/functions/clock\.lua:1: .*nothing},
     'an error of Lua');

load($clock, "${clock}use 'context'\n");
like(version(), qr/tb_rpc: \w+\.lua uses itself, by way of others/,
     'a circle');

load($clock, "${clock}use('text', 'dec', 'nix')\n");
like(version(), qr/tb_rpc: text\.lua has no nix/, 'a name');

load($clock, "${clock}use 'nix'\n");
like(version(), qr/tb_rpc: there is no nix\.lua/, 'a file');


# with no right but FCALL: no file reads or writes when it is made

$redis->cmd('ACL', 'SETUSER', 'none', 'on', '>test', 'resetkeys', '-@all',
            '+fcall', '+auth', '+hello');
load('local VERSION = ', 'local VERSION = 100');

my $none = $server->client(user => 'none');

like($none->cmd('FCALL', 'tb_rpc_version', 0) . '', qr/^100\d+$/,
     'all files, and no command');


# the text of an error

my $lines = output("$root/script/lua-line", 'ERR user_function:4: x');

is($lines, "ERR src/functions/library.lua:2: x\n", 'script/lua-line: text');
is(output("$root/script/lua-line", 4), "src/functions/library.lua:2\n",
   'script/lua-line: number');
is(output("$root/script/lua-line", 999999), "user_function:999999\n",
   'script/lua-line: no such line');

done_testing();
