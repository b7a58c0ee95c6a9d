package TB::Soak;

# Redis, nginx, a broker, bridges, devices and callers of all kinds, and
# something that is killed, stopped or cut off every second.
#
#     my $soak = TB::Soak->new(expires => 30);
#     $soak->run($seconds, sub { my ($totals) = @_; ... });   told every minute
#     my $totals = $soak->finish();       those of TB::Soak::Ledger, and faults
#     $soak->call_again();                callers go on, and nothing happens
#     my @lines = $soak->alerts();        of nginx' log
#
# Redis writes everything to its disk before it answers (appendfsync always), so
# that a kill loses nothing.  expires: seconds that a persistent call lives, give
# or take a half.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Env qw(scratch wait_for);
use TB::Fixture;
use TB::Mqtt;
use TB::MqttDevices;
use TB::Nginx;
use TB::Proxy;
use TB::RedisServer;
use TB::Soak::Callers;
use TB::Soak::Ledger;
use TB::Soak::Polls;

my %DEVICES = (scripted => 10, mqtt => 20, http => 10);

# how often each of them comes; "when" begins it and returns what ends it
my @FAULTS = (
    ['redis-kill', 3, \&redis_kill], ['redis-stop', 2, \&redis_stop],
    ['redis-cut', 2, \&redis_cut], ['net-nginx', 2, \&net_nginx],
    ['net-bridge', 2, \&net_bridge], ['net-broker', 2, \&net_broker],
    ['worker-kill', 3, \&worker_kill], ['reload', 2, \&reload],
    ['bridge-kill', 3, \&bridge_kill], ['bridge-stop', 2, \&bridge_stop],
    ['scripted-kill', 3, \&scripted_kill], ['broker-kill', 2, \&broker_kill],
    ['broker-stop', 2, \&broker_stop], ['devices-drop', 1, \&devices_drop],
);


sub new {
    my ($class, %opt) = @_;

    my $self = bless { expires => 30, faults => {}, healing => [], %opt },
                     $class;

    $self->{faults_log} = scratch() . '/faults.log';
    open $self->{faults_out}, '>>:raw', $self->{faults_log}
        or die "$self->{faults_log}: $!\n";

    $self->start_servers();
    $self->start_devices();

    $self->{ledger} = TB::Soak::Ledger->start(
        nginx => $self->{nginx}, redis => $self->{redis},
        devices => $self->{devices}, faults_log => $self->{faults_log},
        calls => scratch() . '/calls.log', logs => $self->{logs},
        expires => $self->{expires});
    $self->call_again();

    return $self;
}


sub call_again {
    my ($self) = @_;

    $self->{callers}->stop() if $self->{callers};
    $self->{callers} = TB::Soak::Callers->start(
        nginx => $self->{nginx}, devices => $self->{devices},
        log => scratch() . '/calls.log', expires => $self->{expires},
        first => 1_000_000 * $self->{rounds}++);
}


sub start_servers {
    my ($self) = @_;

    # a short file: its start is what holds up the next fault
    my $redis = redis(args => ['--appendfsync', 'always',
                               '--auto-aof-rewrite-min-size', '1mb']);

    $self->{redis} = $redis;

    # a restarted one has what it wrote itself, nothing else
    $redis->{library} = 0;

    $self->{mqtt} = TB::Mqtt->new(redis => $redis);
    $self->{net}{$_} = TB::Proxy->start(to => $redis->{port})
        for qw(nginx bridge);
    $self->{net}{broker} = TB::Proxy->start(to => $self->{mqtt}{port});
    $self->{nginx} = TB::Nginx->start(
        workers => 2, redis_port => $self->{net}{nginx}{port},
        http => 'tb_rpc_ack_timeout 2s; tb_rpc_record_ttl 4m;'
                . ' tb_rpc_events on;',
        config => 'location /api/rpc/ { tb_rpc v2; }'
                  . ' location /api/v1/ { tb_rpc_device_api; }');
    $self->{mqtt}->broker();
}


sub start_devices {
    my ($self) = @_;

    for my $kind (qw(scripted mqtt http)) {
        for my $n (1 .. $DEVICES{$kind}) {
            my $name = "$kind$n";
            my $id = device($name, $kind eq 'scripted' ? (bridge => 'scripted')
                                                       : ());
            my $d = { name => $name, id => $id, kind => $kind,
                      shard => TB::Bridge::shard($id, 128) };

            push @{ $self->{devices} }, $d;
            next if $kind ne 'http';

            $d->{token} = "token-of-$name";
            $self->{redis}->call('SET', 'tb:token:' . sha256_hex($d->{token}),
                                 $id);
        }
    }

    my @of = map { my $kind = $_; [ grep { $_->{kind} eq $kind }
                                         @{ $self->{devices} } ] }
             qw(mqtt http);
    my $polls = scratch() . '/polls.log';
    my $mqtt = TB::MqttDevices->start(port => $self->{mqtt}{port},
                                      ids => [ map { $_->{id} } @{ $of[0] } ],
                                      delay => [0, 0.3]);

    $self->{mqtt_devices} = $mqtt;
    $self->{polls} = TB::Soak::Polls->start(port => $self->{nginx}{port},
                                            log => $polls, devices => $of[1]);
    $self->{logs} = { mqtt => [ map { $_->{log} } @{ $mqtt->{parts} } ],
                      http => [$polls], scripted => [scratch() . '/taken.log'] };

    $self->start_bridge();
    $self->start_scripted();
    $mqtt->online(30) or die "the devices have no broker\n";
}


sub start_bridge {
    my ($self) = @_;

    my $mqtt = $self->{mqtt};
    my $net = $self->{net};

    $self->{bridge} = TB::Mqtt::spawn('bridge.log', TB::Mqtt::program(),
        $mqtt->options('mqtt'), '--log-level', 'info', '--client-id', 'soak',
        '--redis', "redis://127.0.0.1:$net->{bridge}{port}",
        '--broker', "mqtt://127.0.0.1:$net->{broker}{port}",
        '--ack-timeout', 2000, '--session-ttl', 6000, '--presence-grace',
        2000);
}


# it waits for Redis, so that has to be whole; without it there is none yet

sub start_scripted {
    my ($self) = @_;

    $self->{scripted} = eval {
        TB::Bridge->start(name => 'scripted',
                          log => $self->{logs}{scripted}[0],
                          connect => { $self->{redis}->access('bridge') });
    };
}


# --- faults -------------------------------------------------------------------

sub between { return $_[0] + rand($_[1] - $_[0]) }


sub redis_kill {
    my ($self) = @_;

    my $redis = $self->{redis};

    kill 'KILL', $redis->{pid};
    $redis->stop();

    return between(0, 1), sub { $redis->go() };
}


sub redis_stop {
    my ($self) = @_;

    $self->{redis}->pause();

    return between(0.1, 3), sub { $self->{redis}->resume() };
}


sub redis_cut {
    my ($self) = @_;

    $self->{net}{$_}->tell('cut', 'all') for qw(nginx bridge);

    return;
}


sub held {
    my ($proxy) = @_;

    $proxy->tell('hold', 'on');

    return between(0.1, 3), sub { $proxy->tell('hold', 'off') };
}


sub net_nginx { return held($_[0]{net}{nginx}) }
sub net_bridge { return held($_[0]{net}{bridge}) }
sub net_broker { return held($_[0]{net}{broker}) }


sub worker_kill {
    my ($self) = @_;

    my @workers = $self->{nginx}->workers();

    kill 'KILL', $workers[rand @workers] if @workers;

    return;
}


sub reload {
    my ($self) = @_;

    kill 'HUP', $self->{nginx}{pid};

    return;
}


sub bridge_kill {
    my ($self) = @_;

    TB::Mqtt::reap($self->{bridge}, 'KILL');

    return between(0, 1), sub { $self->start_bridge() };
}


sub bridge_stop {
    my ($self) = @_;

    kill 'STOP', $self->{bridge};

    return between(0.1, 3), sub { kill 'CONT', $self->{bridge} };
}


sub scripted_kill {
    my ($self) = @_;

    # heal() starts another one
    (delete $self->{scripted})->stop() if $self->{scripted};

    return;
}


sub broker_kill {
    my ($self) = @_;

    TB::Mqtt::reap($self->{mqtt}{broker}, 'KILL');

    return between(0, 1), sub { $self->{mqtt}->broker() };
}


sub broker_stop {
    my ($self) = @_;

    my $pid = $self->{mqtt}{broker};

    kill 'STOP', $pid;

    return between(0.1, 3), sub { kill 'CONT', $pid };
}


sub devices_drop { $_[0]{mqtt_devices}->drop(); return }


# --- the run -------------------------------------------------------------------

sub note {
    my ($self, $name) = @_;

    syswrite $self->{faults_out}, sprintf "%.3f %s\n", time(), $name;
}


# what it happens to is whole now; parts are what names begin with

sub free {
    my ($self, $name) = @_;

    my ($part) = $name =~ /^(\w+)/;

    return !grep { $_->[1] eq $name
                   || $part ne 'net' && $_->[1] =~ /^$part-/ }
           @{ $self->{healing} };
}


sub fault {
    my ($self) = @_;

    my @all = map { my $f = $_; map { $f } 1 .. $f->[1] }
              grep { $self->free($_->[0]) } @FAULTS;
    my ($name, undef, $begin) = @{ $all[rand @all] };

    $self->{faults}{$name}++;
    $self->note($name);

    my ($seconds, $end) = $begin->($self);

    push @{ $self->{healing} }, [time() + $seconds, $name, $end] if $end;
}


# ends what is to end by then

sub heal {
    my ($self, $until) = @_;

    my @now = grep { $_->[0] <= $until } @{ $self->{healing} };

    @{ $self->{healing} } = grep { $_->[0] > $until } @{ $self->{healing} };

    # Redis first: others want it when they start
    for my $f (sort { $b->[1] cmp $a->[1] } @now) {
        $f->[2]->();
        $self->note($f->[1]);
    }

    $self->start_scripted() if !$self->{scripted} && !$self->redis_is_away();
}


sub redis_is_away {
    my ($self) = @_;

    return scalar grep { $_->[1] =~ /^redis/ } @{ $self->{healing} };
}


sub run {
    my ($self, $seconds, $tell) = @_;

    my $start = time();
    my $minute = $start + 60;

    for (my $next = $start + 1; time() < $start + $seconds; ) {
        if (time() >= $next) {
            $self->fault();
            $next = time() + 1;
        }

        $self->heal(time());

        # the ledger waits for a Redis that is stopped, and only we let it go on

        if (time() >= $minute && !$self->redis_is_away()) {
            $minute += 60;
            $tell->({ %{ $self->{ledger}->totals() },
                      faults => $self->{faults} });
        }

        sleep(0.05);
    }

    $self->heal(9e9);
}


# All is whole: each call that is not over yet ends.

sub finish {
    my ($self) = @_;

    my $totals;
    my @problems;

    wait_for { $self->{callers}->tell('stop') == 0 } 20;
    $self->{ledger}->tell('whole');

    wait_for {
        sleep(0.5);
        $totals = $self->{ledger}->totals();
        push @problems, @{ $totals->{problems} };
        $totals->{open} == 0;
    } 2 * $self->{expires} + 90;

    return { %$totals, faults => $self->{faults}, problems => \@problems };
}


sub alerts {
    my ($self) = @_;

    open my $fh, '<', "$self->{nginx}{dir}/error.log" or return 'no log';

    return grep { / \[(?:alert|crit|emerg)\] |exited on signal/
                  && !/exited on signal 9$/ } <$fh>;
}


1;
