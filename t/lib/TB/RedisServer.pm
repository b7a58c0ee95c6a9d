package TB::RedisServer;

# A private redis-server with the users that docs/redis-schema.md gives to
# nginx, bridges and operators.
#
#     my $redis = TB::RedisServer->start();         # with the library loaded
#     my $redis = TB::RedisServer->start(library => 0, args => ['--save', '']);
#
#     $redis->call('HGETALL', $key)           # as administrator; dies on error
#     $redis->command(...)                    # an error reply is returned
#     $redis->fcall('tb_rpc_attach', $key, 'b1', 's1', 60000)
#     $redis->counter('retries'); $redis->mishaps()
#
#     $redis->stop();  $redis->go();          # data is kept (append-only file)
#     $redis->stop();  $redis->wipe();  $redis->go();     # comes back empty
#     $redis->pause(); $redis->resume();      # SIGSTOP, SIGCONT
#     $redis->wait_written();                 # with appendfsync everysec, whose
#                                               kill loses what is not
#
# With TB_REDIS_TLS, a folder that has ca.pem, server.pem and server.key, it has a
# port with TLS besides ({tls}), and TB::Fixture lets nginx use that one.
#
# host => $net->host() puts it there (TB::Net); its administrator reaches it by a
# socket in the file system, so whatever is cut.
#
# All sockets are of this process: after a fork the child must connect anew
# ($redis->connect('bridge')).

use strict;
use warnings;

use File::Path qw(make_path remove_tree);
use POSIX ();

use TB::Bridge;
use TB::Env qw(root build scratch free_port wait_for library);
use TB::Resp;

our %PASSWORD = (nginx => 'nginx-secret', bridge => 'bridge-secret',
                 operator => 'operator-secret', admin => 'admin-secret');

# Used while the documentation has no "ACL SETUSER" lines.

my $inner = '+time +type +exists +del +unlink +expire +pexpire +pexpireat +pttl'
            . ' +set +get +setnx +incr'
            . ' +hset +hsetnx +hget +hmget +hgetall +hdel +hexists +hlen'
            . ' +hincrby +hscan +hkeys'
            . ' +zadd +zrem +zscore +zcard +zcount +zrange +zrevrange'
            . ' +zrangebyscore +zpopmin +rpush +lpop +lrem +ltrim +lindex +llen'
            . ' +lrange'
            . ' +spublish +xadd +fcall +fcall_ro +ping +auth +hello'
            . ' +select +client|setname +role +wait'
            . ' +cluster|slots +cluster|info';

my %default = (
    nginx => "~tb:* &tb:* -\@all $inner +info +function|load"
             . ' +ssubscribe +sunsubscribe',
    bridge => "~tb:* &tb:* -\@all $inner +ssubscribe +sunsubscribe",
    operator => "~tb:* &tb:* -\@all $inner +function|load +function|list"
                . ' +info +keys +scan',
);

my %running;
my %by_port;
my $started = 0;


sub server_binary {
    return $ENV{TB_REDIS_SERVER} if $ENV{TB_REDIS_SERVER};

    for my $kind (qw(redis valkey)) {
        for my $dir (split(/:/, $ENV{PATH}), build() . '/bin') {
            return "$dir/$kind-server" if -x "$dir/$kind-server";
        }

        # Debian's redis-tools has the server under this name
        for my $dir (split /:/, $ENV{PATH}) {
            if (-x "$dir/$kind-check-rdb") {
                symlink "$dir/$kind-check-rdb", scratch() . "/$kind-server";
                return scratch() . "/$kind-server";
            }
        }
    }

    die "there is no redis-server (script/bootstrap)\n";
}


# "ACL SETUSER name rules" of the documentation, continued with "\"

sub documented {
    my %rules;

    open my $fh, '<', root() . '/docs/redis-schema.md' or return %default;
    my $text = do { local $/; <$fh> };

    $text =~ s/\\\n\s*/ /g;

    while ($text =~ /^\s*ACL SETUSER ["']?(\S*?)["']? (.*?)\s*$/mg) {
        my ($user, $rule) = ($1, $2);

        for (keys %default) {
            next if index(lc $user, $_) < 0
                    && !($_ eq 'operator' && lc $user =~ /admin/);
            $rules{$_} = join ' ', grep { !/^(?:on|off|reset|nopass|["']?>.*)$/ }
                                   split ' ', $rule;
            $rules{$_} =~ s/['"]//g;
        }
    }

    return (%default, %rules);
}


sub start {
    my ($class, %opt) = @_;

    my $dir = scratch() . '/redis' . $started++;

    make_path($dir);
    chmod 0755, $dir;

    my $self = bless { port => free_port(), dir => $dir, library => 1,
                       path => "$dir/redis.sock", args => [], owner => $$,
                       %opt }, $class;

    $self->add_tls($ENV{TB_REDIS_TLS})
        if $ENV{TB_REDIS_TLS} && !grep { $_ eq '--tls-port' }
                                       @{ $self->{args} };
    $self->go();

    return $self;
}


sub add_tls {
    my ($self, $certs) = @_;

    $self->{tls} = free_port();
    $self->{args} = [@{ $self->{args} }, '--tls-port', $self->{tls},
                     '--tls-auth-clients', 'no',
                     '--tls-cert-file', "$certs/server.pem",
                     '--tls-key-file', "$certs/server.key",
                     '--tls-ca-cert-file', "$certs/ca.pem"];
    $by_port{$self->{port}} = $self;
}


# what nginx is to write into its block instead of the server of this port;
# nothing if it has no other one

sub server_lines {
    my ($port) = @_;

    my $self = $by_port{$port} or return;

    return "server rediss://127.0.0.1:$self->{tls};\n"
           . "ssl_trusted_certificate $ENV{TB_REDIS_TLS}/ca.pem;";
}


sub go {
    my ($self) = @_;

    my %rules = documented();
    my $acl = "user default on >$PASSWORD{admin} ~* &* +\@all\n";

    for my $user (sort keys %rules) {
        $acl .= "user $user on >$PASSWORD{$user} $rules{$user}\n";
    }

    open my $fh, '>', "$self->{dir}/users.acl" or die "users.acl: $!\n";
    print $fh $acl;
    close $fh;

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/redis.log";
        open STDERR, '>&', \*STDOUT;
        chdir $self->{dir};
        # no terminal's Ctrl-C before nginx has gone
        setpgrp;
        { exec $self->{host} ? ('nsenter', '-t', $self->{host}{pid}, '-n') : (),
               server_binary(), '--port', $self->{port},
               '--bind', $self->{host} ? $self->{host}{addr} : (), '127.0.0.1',
               '--unixsocket', $self->{path}, '--unixsocketperm', '777',
               '--dir', $self->{dir}, '--aclfile', "$self->{dir}/users.acl",
               '--save', '', '--appendonly', 'yes', '--appendfsync', 'no',
               '--maxmemory-policy', 'noeviction', '--daemonize', 'no',
               @{ $self->{args} } }
        POSIX::_exit(127);
    }

    $self->{pid} = $pid;
    $running{$pid} = $self;
    undef $self->{client};

    wait_for {
        my $client = eval { $self->connect('admin') } or return 0;
        my $pong = $client->command('PING');
        return !TB::Resp::is_error($pong);
    } 30 or die "redis-server did not start:\n" . $self->log();

    $self->load_library() if $self->{library};
}


sub log {
    my ($self) = @_;

    open my $fh, '<', "$self->{dir}/redis.log" or return '';
    local $/;

    return <$fh>;
}


# whether the server that there is can do TLS

sub has_tls {
    my $self = __PACKAGE__->start(library => 0);
    my $reply = $self->command('CONFIG', 'SET', 'tls-protocols', 'TLSv1.3');

    $self->stop();

    return !TB::Resp::is_error($reply);
}


sub load_library {
    my ($self) = @_;

    $self->call('FUNCTION', 'LOAD', 'REPLACE', library());
}


sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid};

    return if !$pid || $self->{owner} != $$;

    delete $running{$pid};
    kill 'CONT', $pid;
    kill 'TERM', $pid;

    my $gone = wait_for { waitpid($pid, POSIX::WNOHANG()) != 0 } 10;

    if (!$gone) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }

    undef $self->{client};
}


sub wipe {
    my ($self) = @_;

    remove_tree("$self->{dir}/appendonlydir");
    unlink "$self->{dir}/appendonly.aof", "$self->{dir}/dump.rdb";
}


sub pause { kill 'STOP', $_[0]{pid} }
sub resume { kill 'CONT', $_[0]{pid} }


# While its disk is busy with an fsync, "everysec" holds what was answered back
# for up to two seconds.

sub wait_written {
    my ($self) = @_;

    return wait_for {
        $self->call('INFO', 'persistence') =~ /^aof_buffer_length:0\r?$/m
    };
}


sub connect {
    my ($self, $user) = @_;

    return TB::Resp->connect($self->access($user));
}


# for TB::Resp->connect() and TB::Bridge->start(connect => ...)

sub access {
    my ($self, $user) = @_;

    return ($self->{host} ? $user eq 'admin' ? (path => $self->{path})
                                             : (host => $self->{host}{addr})
                          : (),
            port => $self->{port},
            user => $user eq 'admin' ? 'default' : $user,
            password => $PASSWORD{$user});
}


# the certificate of a TB::Certs that it shows from now on, and whether clients
# need one ("no")

sub shows {
    my ($self, $certs, $name, $clients) = @_;

    $self->call('CONFIG', 'SET', 'tls-cert-file', $certs->path("$name.pem"),
                'tls-key-file', $certs->path("$name.key"),
                'tls-auth-clients', $clients || 'no');
}


sub client {
    my ($self) = @_;

    return $self->{client} ||= $self->connect('admin')
                               || die "no connection to Redis\n";
}


sub command { my $self = shift; return $self->client()->command(@_) }
sub call { my $self = shift; return $self->client()->call(@_) }


sub fcall {
    my ($self, $function, $key, @args) = @_;

    return $self->call('FCALL', $function, 1, $key, @args);
}


# how many share the keys: more in a TB::RedisCluster

sub masters { return 1 }


# tb:{s<n>}:device:<id>

sub device_key { return TB::Bridge::key('device', $_[1]) }


# What the library has counted, in all shards.

sub counter {
    my ($self, $name) = @_;

    my $n = 0;

    $n += $self->call('HGET', $_, $name) || 0
        for @{ $self->call('KEYS', 'tb:{s*}:stats') };

    return $n;
}


# Of what is counted, that which a second guard has put right: '' where nothing
# goes wrong; otherwise "unconfirmed 2, ...".

sub mishaps {
    my ($self, @allowed) = @_;

    my %allowed = map { $_ => 1 } @allowed;

    return join ', ', map { my $n = $self->counter($_); $n ? "$_ $n" : () }
                      grep { !$allowed{$_} }
                      qw(unconfirmed lost_polls lapsed lapsed_polls
                         superseded broken retries);
}


END {
    local $?;

    $_->stop() for values %running;
}


1;
