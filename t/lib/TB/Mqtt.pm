package TB::Mqtt;

# What tests of tb-rpc-mqtt-bridge share: programs as children, a real
# mosquitto, calls made by the functions that nginx uses.
#
#     my $mqtt = TB::Mqtt->new();            # with a Redis (or redis => that
#                                            # one); skips without tools
#     my $mqtt = TB::Mqtt->new(redis => $redis);          # with that one
#     $mqtt->broker("max_packet_size 2000\n");
#     my $pid = $mqtt->bridge('b1', '--qos', 0);     # waits for its connection
#     $mqtt->subscribe('d1.log', 'v1/#');            # waits until it hears
#     my ($rpc, $id) = $mqtt->call($device, '"echo"', '{}');
#     is($mqtt->answer($device, $rpc), 'A{}');
#
# All children are gone at the end.

use strict;
use warnings;

use Exporter 'import';
use IO::Socket::INET;
use POSIX ();
use Test::More ();

use TB::Bridge;
use TB::Env qw(root build scratch file_in free_port wait_for);
use TB::RedisServer;

our @EXPORT_OK = qw(spawn reap child output text_of counter ignored);
our $TENANT = '7e000000-0000-11ee-8000-00000000000a';
my %children;
my $serial = 0;


sub program { return $ENV{TB_BRIDGE} || build() . '/tb-rpc-mqtt-bridge' }
sub device_program { return $ENV{TB_DEVICE} || build() . '/tb-rpc-demo-device' }
sub admin { return root() . '/tools/tb-rpc-admin' }


sub mosquitto {
    my ($path) = grep { -x } map { "$_/mosquitto" }
                 split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';

    return $path;
}


sub new {
    my ($class, %opt) = @_;

    Test::More::plan(skip_all => 'no mosquitto') if !mosquitto();
    Test::More::plan(skip_all => 'no ' . program()) if !-x program();

    my $self = bless { port => free_port(), connects => {},
                       redis => $opt{redis} || TB::RedisServer->start() },
                     $class;

    $self->{redis}->call('HSET', 'tb:meta', 'shards', 128, 'schema', 2);
    $self->{password} = file_in('bridge.password',
                                "$TB::RedisServer::PASSWORD{bridge}\n");

    return $self;
}


# --- children ---------------------------------------------------------------

sub spawn {
    my ($log, @command) = @_;

    # one Redis of its own takes the place of that of options()

    my @redis = grep { $command[$_] eq '--redis' } 0 .. $#command;

    splice @command, $redis[0], 2
        if @redis > 1 && !grep { /^--redis-(?:cluster|sentinel)$/ } @command;

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', scratch() . "/$log";
        open STDERR, '>&', \*STDOUT;
        setpgrp;

        # a shell lets what it runs in the background ignore them

        $SIG{$_} = 'DEFAULT' for qw(INT QUIT);
        { exec @command }
        POSIX::_exit(127);
    }

    $children{$pid} = 1;

    return $pid;
}


# the exit status, or "signal N"; undef if it would not go

sub reap {
    my ($pid, $signal, $seconds) = @_;

    kill $signal, $pid if $signal;

    my $status;
    my $gone = wait_for {
        my $got = waitpid $pid, POSIX::WNOHANG();
        $status = $?;
        $got == $pid;
    } $seconds;

    return undef if !$gone;

    delete $children{$pid};

    return $status & 127 ? 'signal ' . ($status & 127) : $status >> 8;
}


# a child that runs a sub of ours

sub child {
    my ($code) = @_;

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        $SIG{PIPE} = 'IGNORE';
        eval { $code->() };
        POSIX::_exit(0);
    }

    $children{$pid} = 1;

    return $pid;
}


END {
    my $status = $?;

    for (keys %children) {
        kill 'KILL', $_;
        waitpid $_, 0;
    }

    $? = $status;
}


# status and output of a program that ends by itself

sub output {
    my (@command) = @_;

    my $pid = open my $out, '-|';
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        { exec @command }
        POSIX::_exit(127);
    }

    local $/;
    my $text = <$out>;
    close $out;

    return ($? >> 8, defined $text ? $text : '');
}


sub text_of {
    open my $fh, '<', scratch() . "/$_[0]" or return '';
    local $/;

    my $text = <$fh>;

    return defined $text ? $text : '';
}


# --- broker -----------------------------------------------------------------

sub broker {
    my ($self, $more, %opt) = @_;

    file_in('mosquitto.conf', "listener $self->{port} 127.0.0.1\n"
            . "allow_anonymous true\npersistence false\n"
            . "max_queued_messages 10000\n" . ($more || ''));

    $self->{broker} = spawn('mosquitto.log', mosquitto(), '-c',
                            scratch() . '/mosquitto.conf');

    wait_for {
        IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}")
    } 30 or die "mosquitto did not start\n" . text_of('mosquitto.log');
}


sub publish {
    my ($self, $topic, $payload, @more) = @_;

    my @command = ('mosquitto_pub', '-h', '127.0.0.1', '-p', $self->{port},
                   '-q', 1, '-t', $topic, @more,
                   '-f', file_in('payload', $payload));

    return system(@command) == 0;
}


# a subscriber that writes "topic payload" lines into a file

sub subscribe {
    my ($self, $log, $filter, @more) = @_;

    my $pid = spawn($log, 'mosquitto_sub', '-h', '127.0.0.1', '-p',
                    $self->{port}, '-q', 1, '-v', '-t', 'probe', '-t',
                    $filter, @more);

    wait_for {
        $self->publish('probe', 'probe');
        text_of($log) =~ /probe/;
    } 30 or die "no subscriber\n";

    return $pid;
}


# --- the bridge -------------------------------------------------------------

sub options {
    my ($self, $name) = @_;

    return ('--name', $name, '--redis',
            "redis://127.0.0.1:$self->{redis}{port}", '--redis-user',
            'bridge', '--redis-password-file', $self->{password}, '--broker',
            "mqtt://127.0.0.1:$self->{port}", '--log-level', 'debug');
}


sub bridge {
    my ($self, $name, @more) = @_;

    my @valgrind = ($ENV{TB_MODE} || '') eq 'valgrind'
        ? qw(valgrind -q --error-exitcode=99 --leak-check=full
             --errors-for-leak-kinds=definite) : ();

    # what is used after it was freed is not what it was (glibc)
    local $ENV{MALLOC_PERTURB_} = 165;

    my $pid = spawn("$name.log", @valgrind, program(),
                    $self->options($name), @more);
    my $times = ++$self->{connects}{$name};

    wait_for {
        my @seen = text_of("$name.log") =~ /mqtt: connected/g;
        @seen >= $times;
    } 30 or Test::More::diag("no bridge $name:\n" . text_of("$name.log"));

    return $pid;
}


sub counter {
    my ($name, $pid, $counter) = @_;

    my $before = () = text_of("$name.log") =~ /counters:/g;

    kill 'USR1', $pid;

    my $all = wait_for {
        my @lines = text_of("$name.log") =~ /(counters: .*)\n/g;
        @lines > $before ? $lines[-1] : undef;
    };

    return ($all || '') =~ /\b$counter=(\d+)/ ? $1 : -1;
}


# Reports that Redis had no use for: '' where each is made once and in time;
# otherwise "ignored_respond 2, ...".

sub ignored {
    my ($redis) = @_;

    return join ', ', map { my $n = $redis->counter("ignored_$_");
                            $n ? "ignored_$_ $n" : () }
                      qw(sent delivered timeout failed respond detach return);
}


# --- devices and calls ------------------------------------------------------

sub device {
    my ($self, @fields) = @_;

    my $id = sprintf 'de000000-0000-11ee-8000-%012x', ++$serial;

    $self->{redis}->fcall('tb_rpc_device_put',
                          TB::RedisServer->device_key($id), $TENANT, '',
                          @fields);

    return $id;
}


# a name among those of the tenant

sub name {
    my ($self, $name, $id, $tenant) = @_;

    $tenant ||= $TENANT;

    $self->{redis}->call('HSET', TB::Bridge::key('names', $tenant), $name,
                         $id);
}


# an rpcId of that shard; (rpcId, requestId, word)

sub call {
    my ($self, $device, $method, $params, %opt) = @_;

    my $shard = TB::Bridge::shard($device);
    my $rpc = sprintf '%08x-0000-11ee-%04x-010000000000', ++$serial,
                      0x8000 | $shard;
    my $reply = $self->{redis}->fcall('tb_rpc_create',
        TB::RedisServer->device_key($device), $rpc, 'w1',
        $opt{oneway} ? 1 : 0, $opt{persistent} ? 1 : 0, $TENANT, '*',
        $method, $params, '', defined $opt{retries} ? $opt{retries} : '',
        $opt{timeout} || 30000, '', '60000', 'wait', '', '', '');

    return ($rpc, $reply->[2], $reply->[0]);
}


# kind and payload of the answer to a lightweight call

sub answer {
    my ($self, $device, $rpc, $seconds) = @_;

    my $key = sprintf 'tb:{s%03o}:answer:%s', TB::Bridge::shard($device),
                      $rpc;

    return wait_for { $self->{redis}->call('GET', $key) } $seconds;
}


# status of a persistent call

sub status {
    my ($self, $device, $rpc) = @_;

    my $code = $self->{redis}->call('HGET', sprintf('tb:{s%03o}:rpc:%s',
                   TB::Bridge::shard($device), $rpc), 's');

    return 'GONE' if !defined $code;

    return (qw(QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED FAILED))[$code];
}


# what nginx does all the time

sub tick {
    my ($self, $device) = @_;

    $self->{redis}->fcall('tb_rpc_tick', TB::Bridge::prefix(
                              TB::Bridge::shard($device)) . 'due', 8);
}


sub attached {
    my ($self, $device, $bridge) = @_;

    return wait_for {
        my $now = $self->{redis}->call('HGET',
                      TB::RedisServer->device_key($device), 'bridge');
        ($now || '') eq ($bridge || '');
    } 15;
}


1;
