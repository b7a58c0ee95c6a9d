#!/usr/bin/perl

# make install, and what is installed: it runs, and is complete.  The pages
# that are made of others are as script/tool-pages makes them.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Find ();
use Test::More;

use TB::Env qw(root build scratch);
use TB::Mqtt qw(output);
use TB::RedisServer;

my $to = scratch() . '/package';
my $out = scratch() . '/build';
my ($status, $text);

sub make {
    ($status, $text) = output('make', '-s', '-C', root(), "DESTDIR=$to",
                              "BUILD=$out", 'PREFIX=/opt/tb', @_);
    return $status;
}

sub files {
    my @files;

    File::Find::find(sub { push @files, $File::Find::name =~ s/^\Q$to\E//r
                               if -f }, $to) if -d $to;
    return sort @files;
}


# --- pages ------------------------------------------------------------------

($status, $text) = output(root() . '/script/tool-pages', '--check');
is($status, 0, 'man pages and completion are as script/tool-pages writes them')
    or diag($text);


# --- make install -----------------------------------------------------------

is(make('install'), 0, 'make install') or diag($text);

my @files = grep { !m{/tb_rpc_admin/\w+\.py$} } files();

is_deeply(\@files, [map { "/opt/tb/$_" } qw(
    bin/tb-rpc-admin
    bin/tb-rpc-mqtt-bridge
    lib/systemd/system/tb-rpc-mqtt-bridge.service
    lib/tb-rpc/tb_rpc.lua
    share/bash-completion/completions/tb-rpc-admin
    share/man/man1/tb-rpc-admin.1
    share/man/man1/tb-rpc-mqtt-bridge.1)], 'what is there');
is(sprintf('%o', (stat "$to/opt/tb/bin/$_")[2] & 07777), '755', "$_ runs")
    for qw(tb-rpc-admin tb-rpc-mqtt-bridge);

chomp(my $version = `${\ root() }/script/version`);

# it is made for /opt/tb, which is elsewhere here

my $admin = "$to/opt/tb/bin/tb-rpc-admin";

($status, $text) = output($admin, '--version');
is($status, 1, 'without its package');
like($text, qr/its package is not to be had/, 'it says so');
open my $fh, '<', $admin or die "$admin: $!\n";
my $launcher = do { local $/; <$fh> };
like($launcher, qr{^INSTALLED = "/opt/tb/lib/tb-rpc"$}m,
     'it looks where the package is to be');

is(make('uninstall'), 0, 'make uninstall') or diag($text);
is_deeply([files()], [], 'leaves nothing');

# for a folder that is there

is(make('install', 'DESTDIR=', "PREFIX=$to/usr"), 0, 'without DESTDIR')
    or diag($text);
$admin = "$to/usr/bin/tb-rpc-admin";

for ($admin, "$to/usr/bin/tb-rpc-mqtt-bridge") {
    ($status, $text) = output($_, '--version');
    like($text, qr/ \Q$version\E\n\z/, "$_ --version");
}

my $redis = TB::RedisServer->start(library => 0);
$ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};
my @admin = ($admin, '--redis', "redis://127.0.0.1:$redis->{port}");

($status, $text) = output(@admin, 'functions', 'load');
like($text, qr/^version \d+ loaded$/, 'the library came with it');
($status, $text) = output(@admin, 'device', 'add',
                          'de000000-0000-11ee-8000-000000000001', '--tenant',
                          $TB::Mqtt::TENANT);
is($status, 0, 'device add') or diag($text);
($status, $text) = output(@admin, 'check');
like($text, qr/^ok +call +a call through the functions/m, 'check');
is(scalar(grep { /\.pyc$/ } files()), 0, 'it leaves nothing behind');

open $fh, '<', "$to/usr/lib/systemd/system/tb-rpc-mqtt-bridge.service" or die;
like(join('', <$fh>), qr{^ExecStart=\Q$to\E/usr/bin/tb-rpc-mqtt-bridge }m,
     'the unit starts what was installed');


# --- completion -------------------------------------------------------------

sub completed {
    my (@words) = @_;

    my $file = "$to/usr/share/bash-completion/completions/tb-rpc-admin";

    (undef, my $said) = output('bash', '-c', '. "$1"; shift;'
        . ' COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tb_rpc_admin;'
        . ' printf "%s\n" "${COMPREPLY[@]}"', 'bash', $file, 'tb-rpc-admin',
        @words);
    return join ' ', split /\n/, $said;
}

is(completed('de'), 'device', 'a command');
is(completed('token', ''), 'add del list', 'its second word');
is(completed('--redis', 'x', 'device', 'ad'), 'add', 'behind an option');
is(completed('device', 'add', 'x', '--st'), '--strategy', 'an option');
is(completed('device', 'add', '--strategy', 'seq'),
   'sequential_on_ack sequential_on_response', 'a value');
is(completed('status', '--js'), '--json', 'an option of all');

# the module

is(make('install-module', "BUILD=${\ build() }"), 0, 'make install-module')
    or diag($text);
ok(-e "$to/usr/lib/nginx/modules/$_", "$_ is there")
    for 'ngx_http_tb_rpc_module.so', 'ngx_stream_tb_mqtt_module.so';

done_testing();
