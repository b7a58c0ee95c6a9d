#!/usr/bin/perl

# What packages are made of: one version and one user everywhere, the examples
# are taken by nginx and by the bridge as they stand, and the functions of
# Alpine's APKBUILD do what they should, with the few of abuild's own that they
# use.  The Debian packages themselves are tried by
# script/fresh --only package, on a bare Debian.
#
# runs: side by side, 35 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Find ();
use File::Path qw(make_path);
use Test::More;

use TB::Env qw(root build scratch file_in);
use TB::Mqtt qw(output);

my $alpine = root() . '/packaging/alpine';
my ($status, $text);


sub file_text {
    my ($path) = @_;

    open my $fh, '<', root() . "/$path" or die "$path: $!\n";
    local $/;
    return scalar <$fh>;
}


# --- versions and names -----------------------------------------------------

chomp(my $version = `${\ root() }/script/version`);

like(file_text('debian/changelog'), qr/\Atb-rpc \(\Q$version\E-\d+\) /,
     'the version of the Debian packages');
is((file_text('packaging/alpine/APKBUILD') =~ /^pkgver=(.*)/m)[0], $version,
   'and that of Alpine\'s');

my ($maintainer) = file_text('debian/control') =~ /^Maintainer: (.*)/m;

like(file_text('debian/changelog'), qr/^ -- \Q$maintainer\E  /m,
     'one maintainer');
like(file_text('packaging/alpine/APKBUILD'), qr/^# Maintainer: \Q$maintainer\E$/m,
     'of all');

my ($user) = file_text('bridge/tb-rpc-mqtt-bridge.service') =~ /^User=(.*)/m;

for (['debian/tb-rpc-mqtt-bridge.sysusers', qr/^u \Q$user\E /m],
     ['packaging/alpine/tb-rpc-mqtt-bridge.initd',
      qr/^command_user="\Q$user:$user\E"$/m],
     ['packaging/alpine/tb-rpc-mqtt-bridge.pre-install',
      qr/^addgroup -S \Q$user\E /m],
     ['packaging/Containerfile', qr/^USER \Q$user\E$/m],
     ['examples/tb-rpc-mqtt-bridge.conf', qr/chgrp \Q$user\E /])
{
    like(file_text($_->[0]), $_->[1], "the user of the unit: $_->[0]");
}

like(file_text('bridge/tb-rpc-mqtt-bridge.service'),
     qr{^ConditionPathExists=/etc/tb-rpc/mqtt-bridge\.conf$}m,
     'without a configuration nothing is started');


# --- script/package ---------------------------------------------------------

my $copy = scratch() . '/copy';

make_path("$copy/src", "$copy/debian");
output('cp', '-r', root() . '/script', $copy);
output('cp', root() . '/src/ngx_http_tb_rpc_version.h', "$copy/src");

open my $fh, '>', "$copy/debian/changelog" or die "$copy: $!\n";
print $fh "tb-rpc (9.9.9-1) unstable; urgency=medium\n";
close $fh or die;

SKIP: {
    skip 'no dpkg-buildpackage', 2
        if system('command -v dpkg-buildpackage > /dev/null');

    delete local $ENV{TB_BUILD};
    ($status, $text) = output("$copy/script/package");
    is($status, 1, 'script/package: a changelog of another version');
    like($text, qr/the newest entry of debian\/changelog is not of version \Q$version\E/,
         'is refused');
}

($status, $text) = output(root() . '/script/try-packages');
is($status, 1, 'script/try-packages');
like($text, qr{installs and purges packages of the system: run script/fresh},
     'is for a bare Debian alone');


# --- the examples -----------------------------------------------------------

my $etc = scratch() . '/etc';

make_path("$etc/snippets", "$etc/logs");
output('cp', root() . '/examples/nginx/tb-rpc.conf', "$etc/snippets");

open $fh, '>', "$etc/tb-rpc.key" or die "$etc: $!\n";
print $fh `${\ TB::Mqtt::admin() } keygen`;
close $fh or die;
chmod 0600, "$etc/tb-rpc.key" or die;

my $site = file_text('examples/nginx/tb-rpc-site.conf');

is($site =~ s{/etc/nginx/tb-rpc\.key}{tb-rpc.key}g, 2, 'the key is named');

my $module = $ENV{TB_MODULE} || build() . '/ngx_http_tb_rpc_module.so';

sub site_is_taken {
    my ($what, $site) = @_;

    open my $fh, '>', "$etc/nginx.conf" or die "$etc: $!\n";
    print $fh "load_module $module;\nworker_rlimit_nofile 20480;\n"
              . "events { worker_connections 10240; }\npid nginx.pid;\n"
              . "http {\n"
              . join('', map { "${_}_temp_path $etc/$_;\n" }
                         qw(client_body proxy fastcgi uwsgi scgi))
              . "access_log off;\n$site\n}\n";
    close $fh or die;

    ($status, $text) = output($ENV{TEST_NGINX_BINARY} || 'nginx', '-t', '-e',
                              'stderr', '-p', $etc, '-c', "$etc/nginx.conf");
    is($status, 0, "examples/nginx, $what: nginx -t");
    unlike($text, qr/\[(?:warn|error|crit|emerg)\]/, 'without a warning');
}

SKIP: {
    skip 'nginx has AddressSanitizer in its module only', 4
        if $ENV{TB_MODE};

    site_is_taken('as it stands', $site);

    $site =~ s{/etc/nginx/tb-rpc\.redis}{tb-rpc.key};
    is($site =~ s/# (username|password_file) /$1 /g, 2, 'with a password');
    site_is_taken('with a password', $site);
}

# all options of the example are known: what the bridge refuses is the line
# that is put behind them

my $options = file_text('examples/tb-rpc-mqtt-bridge.conf');
my $secret = file_in('secret', "secret\n");

is($options =~ s/^#(\S)/$1/mg, 5, 'the example of the bridge has more options');
$options =~ s{/etc/tb-rpc/mqtt-bridge\.\w+$}{$secret}mg;
my $last = 1 + ($options =~ tr/\n//);

($status, $text) = output(TB::Mqtt::program(), '--config',
                          file_in('bridge.conf', $options . "wrong 1\n"));
is($status, 2, 'a wrong one behind them');
like($text, qr/line $last\b|:$last\b/, 'is all that is wrong');


# --- Alpine -----------------------------------------------------------------

for my $file (glob "$alpine/*") {
    ($status, $text) = output('sh', '-n', $file);
    is($status, 0, "sh -n $file") or diag($text);
}

# abuild's part: what it sets and has, as far as this file uses it

my $source = '/usr/share/nginx/src';
my $work = scratch() . '/alpine';
my $abuild = <<'END';
set -e

default_prepare() { :; }
error() { echo "ERROR: $*" >&2; }

amove() {
    local path

    for path in "$@"; do
        mkdir -p "$subpkgdir/$(dirname "$path")"
        mv "$pkgdir/$path" "$subpkgdir/$path"
    done
}

srcdir=$1 startdir=$2 CARCH=x86_64
export CFLAGS=-O0 CPPFLAGS= LDFLAGS= MAKEFLAGS=-s
. "$startdir/APKBUILD"
builddir=$srcdir/$pkgname-$pkgver
pkgdir=$srcdir/pkg/$pkgname
shift 2

case $1 in
    prepare|build|check|package)  cd "$builddir" ;;
    *)  subpkgname=$1 subpkgdir=$srcdir/pkg/$1
        mkdir -p "$subpkgdir"; shift ;;
esac

"$1"
END

my $driver = file_in('abuild', $abuild);
my $shell = system('command -v busybox > /dev/null') ? 'sh' : 'busybox sh';

sub abuild {
    my (@step) = @_;

    ($status, $text) = output(split(/ /, $shell), $driver, $work, "$work/start",
                              @step);
    is($status, 0, "APKBUILD: @step") or diag($text);
}

sub files {
    my ($package) = @_;

    my $dir = "$work/pkg/$package";
    my @files;

    File::Find::find(sub { push @files, $File::Find::name =~ s{^\Q$dir\E/}{}r
                               if -f }, $dir) if -d $dir;
    return join "\n", grep { !m{/tb_rpc_admin/\w+\.py$} } sort @files;
}

SKIP: {
    my ($nginx) = `nginx -v 2>&1` =~ m{nginx/([\d.]+)};

    skip 'no nginx-dev', 12 if !-e "$source/configure" || !$nginx;
    skip 'only once', 12 if $ENV{TB_MODE};

    my $tree = "$work/tb-rpc-$version";

    make_path("$work/start", $tree);
    output('cp', glob("$alpine/*"), "$work/start");
    output('cp', "$alpine/tb-rpc-mqtt-bridge.initd", $work);
    output('cp', '-RL', $source, "$work/nginx-$nginx");

    for my $path (glob root() . '/*') {
        symlink $path, "$tree/" . $path =~ s{.*/}{}r or die "$path: $!\n"
            if $path !~ m{/build$};
    }

    output('sed', '-i', 's/^_nginxver=.*/_nginxver=0.0.1/',
           "$work/start/APKBUILD");
    ($status, $text) = output(split(/ /, $shell), $driver, $work,
                              "$work/start", 'prepare');
    is($status, 1, 'APKBUILD: another nginx');
    is($text, "ERROR: nginx is $nginx here: _nginxver must be the same\n",
       'is told');
    output('sed', '-i', "s/^_nginxver=.*/_nginxver=$nginx/",
           "$work/start/APKBUILD");

    abuild($_) for qw(prepare build check package);
    abuild('nginx-mod-stream-tb-mqtt', '_stream');
    abuild('nginx-mod-http-tb-rpc', '_module');
    abuild('tb-rpc-mqtt-bridge-openrc', '_openrc');
    abuild('tb-rpc-mqtt-bridge', '_bridge');
    abuild('tb-rpc-tools', '_tools');

    is(files('nginx-mod-http-tb-rpc'), join("\n", qw(
        etc/nginx/modules/http_tb_rpc.conf
        etc/nginx/snippets/tb-rpc.conf
        usr/lib/nginx/modules/ngx_http_tb_rpc_module.so)), 'the module');
    is(files('nginx-mod-stream-tb-mqtt'), join("\n", qw(
        etc/nginx/modules/stream_tb_mqtt.conf
        usr/lib/nginx/modules/ngx_stream_tb_mqtt_module.so)),
       'that of stream');
    is(files('tb-rpc-mqtt-bridge-openrc'), 'etc/init.d/tb-rpc-mqtt-bridge',
       'the service');
    is(files('tb-rpc-mqtt-bridge'), 'usr/bin/tb-rpc-mqtt-bridge', 'the bridge');
    is(files('tb-rpc-tools'),
       "usr/bin/tb-rpc-admin\nusr/share/tb-rpc/tb_rpc.lua", 'the tools');
    is(join("\n", grep { !m{^usr/share/(?:doc|man|bash-completion)/} }
                  split /\n/, files('tb-rpc')), '',
       'and nothing but documentation is left for the rest');
}

done_testing();
