package TB::Net;

# Hosts that can be cut off from each other: network namespaces on a bridge,
# in a namespace of this program's own, which go with it.
#
#     TB::Net::alone();               first of all: runs the program once more,
#                                     in its own; or returns why it can't
#     my $net = TB::Net->new();
#     my $host = $net->host();        { pid, addr }: nsenter -t PID -n
#     $net->cut($host, $other, ...);  no packet passes between them, silently;
#                                     without others: from all, us included
#     $net->heal();
#
# We are 10.77.0.1, and a host by that address.

use strict;
use warnings;

use POSIX ();

my $US = '10.77.0.1';


sub alone {
    return if $ENV{TB_NET_ALONE};
    return 'it needs root' if $> != 0;
    return 'there is no "unshare", "nsenter" or "ip"'
        if grep { my $c = $_; !grep { -x "$_/$c" } split /:/, $ENV{PATH} }
                qw(unshare nsenter ip);
    return 'there are no network namespaces here'
        if system('unshare -n ip link add name br0 type bridge 2> /dev/null')
           != 0;

    local $ENV{TB_NET_ALONE} = 1;

    exec 'unshare', '-n', $^X, (map { "-I$_" } grep { !ref } @INC), $0, @ARGV;
}


sub run {
    my (@argv) = @_;

    system(@argv) == 0 or die "failed: @argv\n";
}


sub new {
    my ($class) = @_;

    my $self = bless { hosts => [], owner => $$ }, $class;

    run(qw(ip link set lo up));
    run(qw(ip link add name br0 type bridge));
    run('ip', 'addr', 'add', "$US/24", 'dev', 'br0');
    run(qw(ip link set br0 up));

    return $self;
}


# Its namespace is that of a process that ends with us.

sub host {
    my ($self) = @_;

    my $n = @{ $self->{hosts} };
    my $host = { addr => '10.77.0.' . ($n + 10), cut => [] };

    pipe my $read, my $write or die "pipe: $!\n";

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        setpgrp;
        open STDIN, '<&', $read;
        close $write;
        { exec 'unshare', '-n', 'sh', '-c', 'exec cat > /dev/null' }
        POSIX::_exit(127);
    }

    @$host{qw(pid pipe)} = ($pid, $write);
    push @{ $self->{hosts} }, $host;

    # another one than ours

    my $ours = readlink '/proc/self/ns/net';

    select undef, undef, undef, 0.01
        while (readlink("/proc/$pid/ns/net") // die "no namespace\n") eq $ours;

    run('ip', 'link', 'add', "v$n", 'type', 'veth', 'peer', 'name', "p$n");
    run('ip', 'link', 'set', "p$n", 'netns', $pid);
    run('ip', 'link', 'set', "v$n", 'master', 'br0', 'up');
    inside($host, qw(ip link set lo up));
    inside($host, 'ip', 'addr', 'add', "$host->{addr}/24", 'dev', "p$n");
    inside($host, 'ip', 'link', 'set', "p$n", 'up');

    # rules of ours are to come before this one

    inside($host, qw(ip rule add pref 100 lookup local));
    inside($host, qw(ip rule del pref 0));

    return $host;
}


sub inside {
    my ($host, @argv) = @_;

    run('nsenter', '-t', $host->{pid}, '-n', @argv);
}


# what comes in from there is dropped, at both ends

sub cut {
    my ($self, $host, @others) = @_;

    @others = ({ addr => $US }, grep { $_ != $host } @{ $self->{hosts} })
        if !@others;

    for my $other (@others) {
        for (grep { $_->[0]{pid} } [$host, $other], [$other, $host]) {
            my ($at, $from) = @$_;
            my @rule = ('from', $from->{addr}, 'pref', 10);

            inside($at, 'ip', 'rule', 'add', @rule, 'blackhole');
            push @{ $at->{cut} }, \@rule;
        }
    }
}


sub heal {
    my ($self) = @_;

    for my $host (@{ $self->{hosts} }) {
        inside($host, 'ip', 'rule', 'del', @$_) for @{ $host->{cut} };
        $host->{cut} = [];
    }
}


sub DESTROY {
    my ($self) = @_;

    return if $self->{owner} != $$;

    local ($@, $?, $!);

    for my $host (@{ $self->{hosts} }) {
        close $host->{pipe};
        kill 'KILL', $host->{pid};
        waitpid $host->{pid}, 0;
    }
}


1;
