#!/usr/bin/perl

# Directives of ngx_stream_tb_mqtt_module: what nginx -t takes and refuses, and
# how the module loads.
#
# runs: side by side, 5 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(file_in scratch);
use TB::Mqtt qw(output);
use TB::Nginx;

plan(skip_all => 'no stream module') if !TB::Nginx::has_stream();
plan(skip_all => 'they are no modules') if $ENV{TB_STATIC};

my @modules = split ' ', join ' ', TB::Nginx::stream_modules();
my $redis = 'tb_rpc_redis { server redis://127.0.0.1:1; }';
my $pass = 'proxy_pass 127.0.0.1:2;';
my $password = file_in('password', "secret\n");
my $empty = file_in('empty', "\n");
my ($status, $text);


# nginx -t with that in stream{}

sub try {
    my ($stream, %o) = @_;

    my $conf = file_in('nginx.conf', join '',
        (map { "load_module  $_;\n" } @{ $o{modules} || \@modules }),
        "events {}\npid nginx.pid;\nerror_log stderr;\n",
        defined $stream ? "stream {\n$stream\n}\n" : '');

    ($status, $text) = output(TB::Nginx::command(), '-t', '-e', 'stderr', '-p',
                              scratch() . '/', '-c', $conf);

    return $status;
}


sub taken { is(try($_[1], @_[2 .. $#_]), 0, $_[0]) or diag($text) }

sub server { return "$redis server { listen 3; $pass $_[0] }" }


# --- the module ------------------------------------------------------------------

my ($nginx, $ours) = @modules == 2 ? @modules : (undef, @modules);

taken('no stream{}', undef);
taken('stream{} without tb_mqtt', 'server { listen 3; proxy_pass 127.0.0.1:2; }');
taken('nothing but the block', "$redis server { listen 3; $pass }");

SKIP: {
    skip 'stream is no module', 4 if !$nginx;

    is(try(undef, modules => [$ours, $nginx]), 1, 'before nginx\'s own');
    like($text, qr/undefined symbol/, 'is told');
    my $http = $ours =~ s/stream_tb_mqtt/http_tb_rpc/r;
    taken('behind that of HTTP', undef, modules => [$nginx, $http, $ours]);
    taken('and before it', undef, modules => [$nginx, $ours, $http]);
}

my $names = `nm -D --defined-only $ours 2> /dev/null`;

SKIP: {
    skip 'no nm', 1 if !$names;
    is(join(' ', sort $names =~ / (\w+)$/mg),
       'ngx_module_names ngx_module_order ngx_modules',
       'it shows nothing else to others');
}

# --- taken -----------------------------------------------------------------------

taken('tb_mqtt alone', server('tb_mqtt b1;'));
taken('all directives', server(<<"_EOC_"));
    tb_mqtt               b1.x:y\@z-_;
    tb_mqtt_login         certificate basic token;
    tb_mqtt_map           v1/devices/me/  a/\$tb_mqtt_tenant_id/\$tb_mqtt_device_id/;
    tb_mqtt_map           x/              off;
    tb_mqtt_map           ""              b/\$tb_mqtt_client_id/;
    tb_mqtt_username      \$tb_mqtt_device_id;
    tb_mqtt_password_file $password;
    tb_mqtt_max_packet    0;
    tb_mqtt_head_size     4k;
    tb_mqtt_cache         0;
    tb_mqtt_refuse_delay  0;
_EOC_
taken('others may listen for datagrams',
      server('tb_mqtt b1;') . "server { listen 3 udp; $pass }");
taken('inherited from stream{}', 'tb_mqtt_session_ttl 5s; tb_mqtt_max_packet 1m;'
      . "tb_mqtt_map '' x/\$tb_mqtt_device_id/; tb_mqtt_username u;"
      . server('tb_mqtt b1;') . "server { listen 4; $pass tb_mqtt b2; }");

# --- refused ----------------------------------------------------------------------

for ([server('tb_mqtt a/b;'), qr/invalid bridge "a\/b"/],
     [server("tb_mqtt '';"), qr/invalid bridge ""/],
     [server('tb_mqtt ' . 'x' x 65 . ';'), qr/invalid bridge/],
     [server('tb_mqtt a; tb_mqtt b;'), qr/"tb_mqtt" directive is duplicate/],
     ["server { listen 3; $pass tb_mqtt a; }",
      qr/"tb_mqtt" needs a "tb_rpc_redis" block in stream\{\}/],
     [server('tb_mqtt a; tb_mqtt_login magic;'), qr/invalid value "magic"/],
     [server("tb_mqtt a; tb_mqtt_password_file $password;"),
      qr/"tb_mqtt_password_file" without "tb_mqtt_username"/],
     [server("tb_mqtt a; tb_mqtt_username u; tb_mqtt_password_file $empty;"),
      qr/no password in/],
     [server('tb_mqtt a; tb_mqtt_username u; tb_mqtt_password_file none;'),
      qr/none" failed/],
     [server('tb_mqtt a; tb_mqtt_head_size 100;'), qr/from 512 to 1m/],
     ['tb_mqtt_session_ttl 10ms;' . server('tb_mqtt a;'), qr/from 300ms to 1d/],
     [server('tb_mqtt a; tb_mqtt_session_ttl 5s;'), qr/is not allowed here/],
     ['tb_mqtt a;' . server(''), qr/is not allowed here/],
     ["$redis server { listen 3 udp; $pass tb_mqtt a; }",
      qr/"tb_mqtt" needs a "listen" without "udp" in \S+:\d/],
     ["$redis server { listen 3; listen 4 udp; tb_mqtt a; $pass }",
      qr/"tb_mqtt" needs a "listen" without "udp"/],
     [server('tb_mqtt a; tb_mqtt_map a/ "";'), qr/or "off"/],
     [server('tb_mqtt a; tb_mqtt_map a b/;'), qr/"tb_mqtt_map" "a" "b\/"/],
     [server('tb_mqtt a; tb_mqtt_map a/ b/; tb_mqtt_map a/ c/;'),
      qr/"tb_mqtt_map" "a\//],
     [server('tb_mqtt a; tb_mqtt_map a/ b/; tb_mqtt_map c/ b/d/;'),
      qr/"tb_mqtt_map" "/],
     [server('tb_mqtt a; tb_mqtt_map a/ b/$nothing/;'),
      qr/unknown "nothing" variable/],
     ['tb_rpc_redis { server redis://a.invalid:1 resolve; }'
      . "server { listen 3; $pass tb_mqtt a; }",
      qr/host not found|no "resolver" in stream\{\}/],
     ['tb_rpc_redis { }' . server('tb_mqtt a;') =~ s/\Q$redis\E//r,
      qr/no "server" in "tb_rpc_redis"/],
     ["$redis $redis", qr/"tb_rpc_redis" directive is duplicate/])
{
    is(try($_->[0]), 1, "refused: $_->[1]");
    like($text, $_->[1], 'and why');
}

# a server without a proxy_pass; nginx is to say so, newer ones do not

if (try("$redis server { listen 3; tb_mqtt a; }") == 0) {
    diag('nginx takes a server without a handler');
} else {
    like($text, qr/no handler for server/, 'refused: without a handler');
}

done_testing();
