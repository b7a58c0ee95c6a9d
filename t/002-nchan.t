# Nchan brings a hiredis of its own and exports it; nginx loads modules with
# RTLD_GLOBAL.  Whichever comes first, each must go on using its own.
#
# runs: side by side, 1 s
# not with --redis-cluster: Nchan is given the one server

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More;

use TB::Env qw(build file_in free_port scratch wait_for);
use TB::Fixture;

my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $ours = $ENV{TB_MODULE} || build() . '/ngx_http_tb_rpc_module.so';
my ($nchan) = grep { defined && -e } $ENV{TB_NCHAN_MODULE},
              '/usr/lib/nginx/modules/ngx_nchan_module.so',
              build() . '/deps/modules/usr/lib/nginx/modules/'
              . 'ngx_nchan_module.so';

plan skip_all => 'nginx has no Nchan here' if !defined $nchan;

redis();
device('d1', bridge => 'b1');
bridge();

# AddressSanitizer's library, for nginx alone
my @preload = defined $ENV{TEST_NGINX_LD_PRELOAD}
    ? ('env', "LD_PRELOAD=$ENV{TEST_NGINX_LD_PRELOAD}") : ();

my %order = (before => [$nchan, $ours], after => [$ours, $nchan]);

for my $where (sort keys %order) {
    my $port = $ENV{TEST_NGINX_PORT} = free_port();
    my $dir = scratch() . "/$where";
    my $conf = file_in("$where/nginx.conf", expand(<<"_EOC_"));
load_module  $order{$where}[0];
load_module  $order{$where}[1];

daemon     off;
error_log  error.log info;
pid        nginx.pid;

events {
    worker_connections  10240;
}

http {
    access_log               off;
    variables_hash_max_size  2048;

    tb_rpc_redis {
        server    redis://127.0.0.1:%{redis_port};
        username  nginx;
        password  nginx-secret;
    }

    tb_rpc_jwt_key  %{jwt_key};

    upstream nchan {
        nchan_redis_server  "redis://:admin-secret\@127.0.0.1:%{redis_port}";
    }

    server {
        listen  127.0.0.1:$port;

        location /api/rpc/ {
            tb_rpc  v2;
        }

        location /pub {
            nchan_publisher;
            nchan_channel_id  \$arg_id;
            nchan_redis_pass  nchan;
        }
    }
}
_EOC_

    my @command = (@preload, $nginx, '-p', $dir, '-c', $conf, '-e', 'error.log');

    is(system("@command -t -q 2> /dev/null"), 0, "Nchan $where: nginx -t");

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        { exec @command }
        POSIX::_exit(127);
    }

    wait_for { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $port) };

    for my $n (1 .. 3) {
        my $r = http_post('/api/rpc/twoway/%{d1}',
                          "{\"method\":\"echo\",\"params\":{\"n\":$n}}",
                          'X-Authorization' => 'Bearer %{token:tenant}');

        is($r->{status}, 200, "Nchan $where: call $n");
        is($r->{body}, "{\"n\":$n}", "Nchan $where: answer $n");
    }

    my $r = wait_for {
        my $r = http_post('/pub?id=1', 'message');
        return $r->{status} =~ /^20/ ? $r : undef;
    };

    ok($r, "Nchan $where: it publishes through Redis");

    kill 'QUIT', $pid;
    waitpid $pid, 0;
    is($?, 0, "Nchan $where: clean exit");

    open my $fh, '<', "$dir/error.log" or die "error.log: $!\n";
    my @bad = grep { /\[(?:alert|crit|emerg)\]/ } <$fh>;

    is("@bad", '', "Nchan $where: nothing bad in the log");
}

done_testing();
