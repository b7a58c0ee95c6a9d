package TB::ClusterClient;

# A TB::Resp for a Redis Cluster: each command goes to the master of its key,
# MOVED is followed, what was not executed is repeated.
#
#     my $redis = TB::Resp->connect(ports => [7001, 7002], user => 'bridge',
#                                   password => 'secret');
#
# Without a key, all masters are asked: lists and texts are put together,
# numbers added up, and of anything else it is the first error, or the first
# reply.  Keys of several slots are taken apart for DEL, UNLINK and EXISTS.
#
# Subscriptions of several slots are on a connection each; reply() is the next
# one of any.

use strict;
use warnings;

use Time::HiRes qw(time);

use TB::Env qw(scaled);
use TB::Resp;

our @ISA = ('TB::Resp');

my $NOT_EXECUTED = qr/^(?:ASK|TRYAGAIN|CLUSTERDOWN|LOADING|READONLY
                         |MASTERDOWN)/x;
my %all = map { $_ => 1 } qw(ACL CLIENT CLUSTER CONFIG DBSIZE DEBUG FLUSHALL
                             FUNCTION INFO KEYS PING ROLE SCRIPT SELECT SLOWLOG
                             TIME);


sub connect {
    my ($class, %opt) = @_;

    my $self = bless { opt => \%opt, ports => $opt{ports}, links => {} },
                     $class;

    return eval { $self->refresh(); 1 } ? $self : undef;
}


sub link {
    my ($self, $port) = @_;

    my $opt = $self->{opt};

    return $self->{links}{$port} ||= TB::Resp->connect(
        port => $port, user => $opt->{user}, password => $opt->{password})
        || die "no Redis at port $port\n";
}


# from any that answers

sub refresh {
    my ($self) = @_;

    for my $port (@{ $self->{ports} }) {
        my $slots = eval { $self->link($port)->call('CLUSTER', 'SLOTS') };

        if (!$slots || !@$slots) {
            delete $self->{links}{$port};
            next;
        }

        $self->{ranges} = [ map { [$_->[0], $_->[1], $_->[2][1]] } @$slots ];
        return;
    }

    die "no Redis at ports @{ $self->{ports} }\n";
}


sub masters {
    my ($self) = @_;

    my %ports = map { $_->[2] => 1 } @{ $self->{ranges} };

    return sort keys %ports;
}


sub port_of {
    my ($self, $key) = @_;

    my $slot = TB::Cluster::slot($key);

    for (@{ $self->{ranges} }) {
        return $_->[2] if $slot >= $_->[0] && $slot <= $_->[1];
    }

    die "nobody has slot $slot\n";
}


# nothing for one that all are asked

sub key_of {
    my ($command, @argv) = @_;

    $command = uc $command;

    return if $all{$command};
    return $argv[1] =~ /^[1-9]/ ? $argv[2] : undef
        if $command =~ /^(?:FCALL|EVAL)(?:_RO|SHA)?$/;
    return $argv[1] if $command =~ /^(?:PUBSUB|OBJECT|MEMORY|XINFO)$/;

    if ($command eq 'XREAD') {
        my ($at) = grep { uc $argv[$_] eq 'STREAMS' } 0 .. $#argv;

        return $argv[$at + 1];
    }

    return $argv[0];
}


sub together {
    my (@replies) = @_;

    for (@replies) {
        return $_ if TB::Resp::is_error($_);
    }

    return [ map { @$_ } @replies ] if ref $replies[0];
    return $replies[0] if @replies == 1 || !defined $replies[0]
                          || $replies[0] eq 'OK';

    if ($replies[0] =~ /^\d+$/) {
        my $sum = 0;

        $sum += $_ for @replies;
        return $sum;
    }

    return $replies[0] =~ /\n/ ? join '', @replies : $replies[0];
}


sub pipeline {
    my ($self, @commands) = @_;

    my @at;

    # written first, as those who wait for many at once expect

    for my $command (@commands) {
        my $key = key_of(@$command);
        my $apart = uc $command->[0] =~ /^(?:DEL|UNLINK|EXISTS)$/
                    && @$command > 2;
        my $port = defined $key && !$apart ? $self->port_of($key) : undef;

        push @at, $port;
        $self->link($port)->send($command) if defined $port;
    }

    # all are read before one is repeated, or replies would be mistaken

    my @replies = map { defined $_ ? $self->link($_)->reply() : undef } @at;

    for my $n (0 .. $#commands) {
        $replies[$n] = $self->at_all(@{ $commands[$n] }) if !defined $at[$n];
        $replies[$n] = $self->again(@{ $commands[$n] })
            if refused($replies[$n]);
    }

    return @replies;
}


sub refused {
    return TB::Resp::is_error($_[0])
           && ("$_[0]" =~ $NOT_EXECUTED || "$_[0]" =~ /^MOVED/);
}


sub at_all {
    my ($self, @argv) = @_;

    if ($argv[0] =~ /^(?:DEL|UNLINK|EXISTS)$/i) {
        my ($command, @keys) = @argv;

        return together(map { $self->command($command, $_) } @keys);
    }

    my @ports = $self->masters();

    $self->link($_)->send(\@argv) for @ports;

    return together(map { $self->link($_)->reply() } @ports);
}


sub again {
    my ($self, @argv) = @_;

    my $end = time() + scaled(15);
    my $reply;

    do {
        select undef, undef, undef, 0.02;
        $self->refresh();
        $reply = eval {
            my $key = key_of(@argv);

            defined $key ? $self->link($self->port_of($key))->command(@argv)
                         : $self->at_all(@argv);
        };

        # one that has gone
        $self->{links} = {} if $@;
    } while (time() < $end && (!defined $reply && $@ || refused($reply)));

    die $@ if !defined $reply && $@;

    return $reply;
}


sub send {
    my ($self, @commands) = @_;

    $self->link($self->port_of(key_of(@$_)))->send($_) for @commands;
}


sub readable {
    my ($self, $seconds) = @_;

    my $set = '';

    for (values %{ $self->{links} }) {
        return 1 if length $_->{in};
        vec($set, fileno $_->{sock}, 1) = 1;
    }

    return select($set, undef, undef, $seconds) > 0;
}


sub reply {
    my ($self) = @_;

    for (;;) {
        for (values %{ $self->{links} }) {
            return $_->reply() if $_->readable(0);
        }

        $self->readable(1);
    }
}


1;
