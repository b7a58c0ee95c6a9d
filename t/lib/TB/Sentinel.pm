package TB::Sentinel;

# A real Sentinel that watches a TB::RedisServer.
#
#     my $sentinel = TB::Sentinel->start(master => $redis, name => 'main',
#                                        after => 1000, password => '...');
#     $sentinel->{port}
#     $sentinel->call('SENTINEL', 'FAILOVER', 'main')
#     $sentinel->stop(); $sentinel->go();
#     TB::Sentinel::settled($redis, @sentinels)   within two minutes
#
# after: ms of silence until the master counts as down.  quorum: 1; where more may
# find that out by themselves, they would make two masters after each other.
# more: further lines of its configuration.

use strict;
use warnings;

use POSIX ();

use TB::Env qw(scratch file_in free_port wait_for);
use TB::RedisServer;
use TB::Resp;

my $started = 0;


sub start {
    my ($class, %opt) = @_;

    my $self = bless { name => 'main', after => 1000, quorum => 1, more => '',
                       port => free_port(),
                       owner => $$, dir => 'sentinel' . $started++, %opt },
                     $class;

    $self->{conf} = file_in("$self->{dir}/sentinel.conf", <<_EOC_);
port $self->{port}
bind 127.0.0.1
dir @{[scratch()]}/$self->{dir}
sentinel monitor $self->{name} 127.0.0.1 $self->{master}{port} $self->{quorum}
sentinel auth-pass $self->{name} $TB::RedisServer::PASSWORD{admin}
sentinel down-after-milliseconds $self->{name} $self->{after}
sentinel failover-timeout $self->{name} 5000
$self->{more}
_EOC_

    if (defined $self->{password}) {
        open my $fh, '>>', $self->{conf} or die "$self->{conf}: $!\n";
        print $fh "requirepass $self->{password}\n";
        close $fh;
    }

    $self->go();

    return $self;
}


sub go {
    my ($self) = @_;

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', scratch() . "/$self->{dir}/log";
        open STDERR, '>&', \*STDOUT;
        setpgrp;
        { exec TB::RedisServer::server_binary(), $self->{conf}, '--sentinel' }
        POSIX::_exit(127);
    }

    $self->{pid} = $pid;
    undef $self->{client};

    wait_for {
        my $client = TB::Resp->connect(port => $self->{port},
                                       password => $self->{password})
            or return 0;
        my $pong = $client->command('PING');

        !TB::Resp::is_error($pong);
    } 30 or die "the Sentinel did not start\n";
}


sub call {
    my ($self, @argv) = @_;

    $self->{client} ||= TB::Resp->connect(port => $self->{port},
                                          password => $self->{password});

    return $self->{client}->call(@argv);
}


# how many replicas it could make a master

sub replicas {
    my ($self) = @_;

    return scalar grep { my %r = @$_; ($r{'master-link-status'} // '') eq 'ok' }
                  @{ $self->call('SENTINEL', 'REPLICAS', $self->{name}) };
}


# they know each other and a replica of this master, and nothing is under way

sub settled {
    my ($master, @sentinels) = @_;

    return wait_for {
        for my $s (@sentinels) {
            my $addr = $s->call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main');
            my %master = @{ $s->call('SENTINEL', 'MASTER', 'main') };

            return 0 if $addr->[1] != $master->{port}
                        || $master{flags} ne 'master' || !$s->replicas()
                        || $master{'num-other-sentinels'} != @sentinels - 1;
        }

        1;
    } 120;
}


sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid};

    return if !$pid || $self->{owner} != $$;

    kill 'KILL', $pid;
    waitpid $pid, 0;
}


sub DESTROY {
    my ($self) = @_;

    local ($@, $?, $!);

    $self->stop();
}


1;
