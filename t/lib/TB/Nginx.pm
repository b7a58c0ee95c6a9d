package TB::Nginx;

# An nginx with a master process, for tests that reload it, run several
# workers, kill something or hold many calls: where a block of Test::Nginx
# is too small.
#
#     my $nginx = TB::Nginx->start(workers => 2, redis => 'shards 8;',
#                                  http => 'tb_rpc_max_held 3;');
#
#     $nginx->post('/api/rpc/twoway/%{d1}', $body)      TB::Client::request()
#     $nginx->call('d1', 'echo', $params, %more)        a two-way call
#     $nginx->open('d1', 'echo', $params, %more)        a TB::Client: it is
#                                                       answered later
#     $nginx->text('d1', 'echo', $params, %more)        the request's bytes
#     $nginx->reload();  $nginx->stop('QUIT');
#     $nginx->workers();                                pids, lowest first
#     $nginx->gone($pid)                                it exits in time
#     $nginx->rss($pid)                                 KB
#     $nginx->error_log();  $nginx->wait_log(qr/../);
#     $nginx->clean(qr/allowed/)                        is() of what is wrong
#
# Options: main, events, http, server, config replace or extend that part of
# the configuration; keys (tb_rpc_jwt_key); listen (parameters of it);
# redis_port or redis_server (a URL), redis (settings of tb_rpc_redis); workers;
# connections (of a worker, 10240); stream (a sub that gives what is in stream{}).
# What call() and open() take: oneway, persistent, timeout, v1, uuid, expires
# (seconds from now).

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More ();

use Exporter 'import';

use TB::Client;
use TB::Env qw(build scratch free_port file_in scaled wait_for);
use TB::Fixture qw(expand macro served);

our @EXPORT = qw(soon);

my %running;
my $started = 0;


# a test that a condition comes true:  soon { condition } 'name', seconds;

sub soon (&$;$) {
    my ($condition, $name, $seconds) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return Test::More::ok(&wait_for($condition, $seconds), $name);
}


# the module in use, and AddressSanitizer or valgrind for nginx alone

sub command {
    my @command = $ENV{TEST_NGINX_BINARY} || 'nginx';

    if (defined $ENV{TEST_NGINX_LD_PRELOAD}) {
        unshift @command, 'env', "LD_PRELOAD=$ENV{TEST_NGINX_LD_PRELOAD}";
    }

    if ($ENV{TEST_NGINX_USE_VALGRIND}) {
        unshift @command, 'valgrind',
                split ' ', $ENV{TEST_NGINX_USE_VALGRIND};
    }

    return @command;
}


sub modules {
    my ($self) = @_;

    # of script/build --static, named by TEST_NGINX_BINARY: they are in it
    return '' if $ENV{TB_STATIC};

    my $modules = $ENV{TEST_NGINX_LOAD_MODULES} || $ENV{TB_MODULE}
                  || build() . '/ngx_http_tb_rpc_module.so';
    my $stream = $self->{stream} ? join ' ', stream_modules() : '';

    return join '', map { "load_module  $_;\n" } split ' ',
                    "$stream $modules";
}


# nginx's own, if it is a module, and ours beside that of HTTP

sub stream_modules {
    my $ours = $ENV{TB_MODULE} || build() . '/ngx_http_tb_rpc_module.so';

    $ours =~ s/ngx_http_tb_rpc_module/ngx_stream_tb_mqtt_module/;

    return (stream_module() || (), $ours);
}


# script/test tells; a bench that is started by itself has Debian's

sub stream_module {
    my $debian = '/usr/lib/nginx/modules/ngx_stream_module.so';

    return $ENV{TB_STREAM_MODULE} // (-e $debian ? $debian : undef);
}


sub has_stream {
    return stream_module()
           || `@{[command()]} -V 2>&1` =~ /--with-stream(?:\s|$)/;
}


sub conf_text {
    my ($self) = @_;

    my %o = (main => '', events => '', http => '', server => '', redis => '',
             listen => '', connections => 10240,
             keys => 'tb_rpc_jwt_key %{jwt_key};',
             config => "location /api/rpc/ { tb_rpc  v2; }\n"
                       . "location /api/plugins/rpc/ { tb_rpc  v1; }\n",
             %$self);
    my $user = $> == 0 ? "user  root;\n" : '';
    my $redis = $o{redis_server} || 'redis://127.0.0.1:'
                                    . ($o{redis_port} || macro('redis_port'));

    my $stream = $self->{stream}
                 ? "stream {\n" . $self->{stream}->($self) . "}\n" : '';

    return $self->modules() . served(expand(<<"_EOC_"));
${user}daemon            off;
worker_processes  $o{workers};
error_log         error.log info;
pid               nginx.pid;
$o{main}

events {
    worker_connections  $o{connections};
    $o{events}
}

http {
    access_log                access.log;
    keepalive_requests        100000;
    variables_hash_max_size   2048;
    client_body_temp_path     body_temp;
    proxy_temp_path           proxy_temp;
    fastcgi_temp_path         fastcgi_temp;
    uwsgi_temp_path           uwsgi_temp;
    scgi_temp_path            scgi_temp;

    tb_rpc_redis {
        server    $redis;
        username  nginx;
        password  nginx-secret;
        $o{redis}
    }

    $o{keys}
    tb_rpc_min_timeout  100ms;
    $o{http}

    server {
        listen  127.0.0.1:$self->{port} backlog=4096 $o{listen};
        $o{server}

        $o{config}
    }
}

$stream
_EOC_
}


sub start {
    my ($class, %opt) = @_;

    my $name = 'nginx' . $started++;
    my $self = bless { port => free_port(), workers => 1, owner => $$,
                       dir => scratch() . "/$name", name => $name, %opt },
                     $class;

    $self->configure();

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/stderr";
        open STDERR, '>&', \*STDOUT;
        # no terminal's Ctrl-C
        setpgrp;
        { exec command(), '-p', "$self->{dir}/", '-e', 'error.log',
               '-c', 'nginx.conf' }
        POSIX::_exit(127);
    }

    $self->{pid} = $pid;
    $running{$pid} = $self;

    wait_for {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                              PeerPort => $self->{port})
        && $self->workers() >= $self->{workers}
    } 30 or die "nginx did not start:\n" . substr $self->error_log(), -4000;

    return $self;
}


# writes the configuration, with other values if there are some

sub configure {
    my ($self, %opt) = @_;

    @$self{keys %opt} = values %opt;

    file_in("$self->{name}/nginx.conf", $self->conf_text());
}


# Returns when new workers are there and the old ones take no connection any
# more; those of before.

sub reload {
    my ($self) = @_;

    my @before = $self->workers();
    my %old = map { $_ => 1 } @before;

    kill 'HUP', $self->{pid};

    wait_for {
        my $log = $self->error_log();

        return $self->{workers} <= grep({ !$old{$_} } $self->workers())
               && !grep { $log !~ /\] $_#.*: gracefully shutting down/ }
                        @before;
    } 30 or die "nginx did not reload:\n" . substr $self->error_log(), -4000;

    return @before;
}


# a signal to the master; 1 if it went in time

sub stop {
    my ($self, $signal, $seconds) = @_;

    my $pid = $self->{pid};

    return 1 if !$pid || $self->{owner} != $$;

    kill $signal || 'TERM', $pid;

    my $gone = wait_for { waitpid($pid, POSIX::WNOHANG()) != 0 }
                        $seconds || 10;

    return 0 if !$gone && $seconds;

    # those that it has now: an older pid may be somebody else's by then

    if (!$gone) {
        kill 'KILL', $pid, $self->workers();
        waitpid $pid, 0;
    }

    delete $self->{pid};
    delete $running{$pid};

    return $gone ? 1 : 0;
}


END {
    local $?;

    $_->stop() for values %running;
}


sub workers {
    my ($self) = @_;

    open my $fh, '<', "/proc/$self->{pid}/task/$self->{pid}/children"
        or return $self->workers_by_ps();
    my $line = <$fh>;

    my @pids = sort { $a <=> $b } split ' ', defined $line ? $line : '';

    return @pids;
}


sub workers_by_ps {
    my ($self) = @_;

    my @pids = sort { $a <=> $b }
               map { /^\s*(\d+)\s+$self->{pid}\s*$/ ? $1 : () }
               `ps -e -o pid= -o ppid=`;

    return @pids;
}


sub worker { return ($_[0]->workers())[0] }


# a worker exits in time

sub gone {
    my ($self, $pid, $seconds) = @_;

    return wait_for {
        !grep { $_ == $pid } $self->workers()
    } $seconds;
}


sub rss {
    my ($self, $pid) = @_;

    open my $fh, '<', "/proc/" . ($pid || $self->worker()) . "/status"
        or return 0;
    my ($kb) = map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$fh>;

    return $kb || 0;
}


sub file_text {
    my ($self, $name) = @_;

    open my $fh, '<:raw', "$self->{dir}/$name" or return '';
    local $/;

    return scalar <$fh>;
}


sub error_log { return $_[0]->file_text('error.log') }
sub access_log { return $_[0]->file_text('access.log') }


sub wait_log {
    my ($self, $pattern, $seconds) = @_;

    return wait_for { $self->error_log() =~ $pattern } $seconds;
}


sub count_log {
    my ($self, $pattern) = @_;

    my @found = $self->error_log() =~ /$pattern/g;

    return scalar @found;
}


# nothing that a server must not do

sub clean {
    my ($self, $allowed) = @_;

    my @bad = grep { / \[(?:alert|crit|emerg)\] /
                     || /exited on signal|exited with code [1-9]/ }
              split /\n/, $self->error_log();

    @bad = grep { $_ !~ $allowed } @bad if $allowed;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return Test::More::is(join("\n", @bad), '', 'a clean error log');
}


sub path {
    my ($self, $device, $opt) = @_;

    return ($opt->{v1} ? '/api/plugins/rpc/' : '/api/rpc/')
           . ($opt->{oneway} ? 'oneway/' : 'twoway/') . macro($device);
}


sub text {
    my ($self, $device, $method, $params, %opt) = @_;

    my $body = "{\"method\":\"$method\",\"params\":"
               . (defined $params ? $params : '{}');

    $body .= ",\"timeout\":$opt{timeout}" if defined $opt{timeout};
    $body .= ',"persistent":true' if $opt{persistent};
    $body .= ',"expirationTime":' . int((time() + $opt{expires}) * 1000)
        if $opt{expires};
    $body .= ",\"requestUUID\":\"$opt{uuid}\"" if defined $opt{uuid};
    $self->{token} ||= macro('token:tenant');

    return TB::Client::text('POST', $self->path($device, \%opt), "$body}",
                            'X-Authorization' => "Bearer $self->{token}");
}


sub open {
    my $self = shift;

    return TB::Client->new($self->{port}, $self->text(@_));
}


sub call {
    my $self = shift;

    return $self->open(@_)->answer();
}


sub get {
    my ($self, $path) = @_;

    return TB::Client->new($self->{port},
                           TB::Client::text('GET', expand($path), undef,
                               'X-Authorization' =>
                                   'Bearer ' . macro('token:tenant')))
                     ->answer();
}


1;
