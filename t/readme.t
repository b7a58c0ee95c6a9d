#!/usr/bin/perl

# What README.md tells a newcomer to paste works, as it stands there: from
# nothing to an answer.  Only the ports are others, and bootstrap and build
# have been run.  Its minimal nginx.conf is taken without a warning.
#
# runs: side by side, 4 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;

use TB::Env qw(root build scratch free_port file_in scaled);
use TB::Mqtt qw(output);
use TB::Nginx qw(soon);

# README.md names build/: nothing else is tried
plan skip_all => 'of the usual build alone' if $ENV{TB_MODE};

for my $program (qw(mosquitto_sub mosquitto_pub curl)) {
    plan skip_all => "no $program"
        if system("command -v $program > /dev/null");
}

my $readme = do {
    open my $fh, '<', root() . '/README.md' or die "README.md: $!\n";
    local $/;
    <$fh>;
};


# the code of a section, without its indentation

sub code {
    my ($heading) = @_;

    my ($section) = $readme =~ /^## \Q$heading\E\n(.*?)(?=^## )/ms
        or die "README.md has no section \"$heading\"\n";
    my $code = join '', $section =~ /^((?: {4}.*)?\n)/mg;

    $code =~ s/^ {4}//mg;
    $code =~ s/\n{3,}/\n\n/g;

    return $code;
}


sub replaced {
    my ($text, $from, $to) = @_;

    my $n = $$text =~ s/$from/$to/g;

    is($n, 1, "once: $from");
}


# --- from nothing to an answer ----------------------------------------------

my $code = code('From nothing to an answer');
my @ports = map { free_port() } 1 .. 3;

replaced(\$code, qr{^script/bootstrap demo\nscript/build\n}m, '');
replaced(\$code, qr{^REDIS=6390 MQTT=1890 HTTP=8090$}m,
         "REDIS=$ports[0] MQTT=$ports[1] HTTP=$ports[2]");

# before it is all stopped: nothing was warned of
replaced(\$code, qr{^(?=kill )}m,
         "echo; grep -h 'warn\\|error' \$DIR/error.log \$DIR/bridge.log\n");

if (! -e root() . '/build/bin/redis-server') {
    system(root() . '/script/bootstrap', 'demo');
}

my $script = file_in('readme.sh', $code);
my ($status, $text) = output('bash', '-c', 'cd "$1" && export TMPDIR="$2" &&'
                             . ' exec timeout "$3" bash -s < "$4"', 'bash',
                             root(), scratch(), scaled(180), $script);

# the rest ends with its process group, if it was too slow
for (glob scratch() . '/tmp.*/nginx.pid') {
    open my $fh, '<', $_ or next;
    kill 'TERM', scalar <$fh>;
}

is($status, 0, 'all of it can be pasted');
like($text, qr/^the device was told: \{"method":"getTemperature",/m,
     'the device gets the call');
like($text, qr/^HTTP\/1\.1 200 OK\r$/m, 'the caller gets 200');
like($text, qr/^\r\n\{"temperature":21\.5\}$/m, 'and the answer');
unlike($text, qr/\[(?:warn|error|alert|crit)\]| (?:warn|error): /,
       'nothing is warned of')
    or diag($text);

for my $port (@ports) {
    soon { !IO::Socket::INET->new("127.0.0.1:$port") } 'all is stopped', 30;
}

is(join(' ', glob scratch() . '/tmp.*'), '', 'and removed');

diag($text) if !Test::More->builder->is_passing();


# --- the minimal nginx.conf -------------------------------------------------

my $conf = code('A minimal nginx.conf');
my $key = file_in('jwt.key', (output(TB::Mqtt::admin(), 'keygen'))[1]);
chmod 0600, $key or die "$key: $!\n";
my $module = $ENV{TB_MODULE} || build() . '/ngx_http_tb_rpc_module.so';

replaced(\$conf, qr{modules/ngx_http_tb_rpc_module\.so}, $module);
replaced(\$conf, qr{/etc/nginx/tb-jwt\.key}, $key);

($status, $text) = output($ENV{TEST_NGINX_BINARY} || 'nginx', '-t', '-p',
                          scratch(), '-e', 'stderr', '-g', 'pid nginx.pid;',
                          '-c', file_in('minimal.conf', $conf));

is($status, 0, 'the minimal nginx.conf is one') or diag($text);
unlike($text, qr/\[(?:warn|emerg)\]/, 'without a warning') or diag($text);

done_testing();
