package TB::Clock;

# A Redis whose function library takes the time from a key, so that a test
# moves it without sleeping.  All else of the library is as it is.
#
# For its shard s0 alone; TB::Functions->new(clock => 1) has all shards.
#
#   my $r = TB::Clock->start;        a server, with the library
#   $r->load(window => 2)            the library anew, with another constant
#   $r->{now}                        ms; set by $r->at($ms), $r->pass($ms)
#   $r->{redis}                      its TB::Redis
#   $r->fcall($function, $key, @arguments)

use strict;
use warnings;

use TB::Server qw(start_redis);

our $PREFIX = 'tb:{s000}:';

our $KEY = "${PREFIX}clock-test";


# TIME is called in one place, the function server_time(), and nowhere else

sub library {
    my $text = TB::Server::library();

    my $all = () = $text =~ /['"]TIME['"]/g;

    die "TIME is called $all times in the library, not once\n" if $all != 1;

    my $now = "call('GET', '$KEY')";
    my $fake = "{ sub($now, 1, -4), sub($now, -3) .. '000' }";

    my $done = $text =~ s/^(local\ function\ server_time\(\)\n
                            [ ]+return\ )call\('TIME'\)\n/$1$fake\n/mx;

    die "server_time() of the library is not as this test knows it\n"
        if !$done || $text =~ /['"]TIME['"]/;

    return $text;
}


sub start {
    my ($class, %opt) = @_;

    my $server = start_redis(%opt);
    my $self = bless {
        server => $server, redis => $server->client, now => 0, set => -1,
        stamp => 0
    }, $class;

    $self->load;
    $self->at(1_700_000_000_000);

    return $self;
}


# it forgets what it has in its memory

sub load {
    my ($self, %set) = @_;

    my $text = $self->{text} //= library();

    for my $name (keys %set) {
        my $n = $text =~ s/^([ ]+\U$name\E = )\d+,/$1$set{$name},/mg;

        die "$name is there $n times, not once\n" if $n != 1;
    }

    my $reply = $self->{redis}->cmd('FUNCTION', 'LOAD', 'REPLACE', $text);

    die "FUNCTION LOAD: $reply\n" if ref $reply;
}


sub key { return $PREFIX . join ':', @_[1 .. $#_] }


sub at {
    my ($self, $now) = @_;

    $self->{now} = $now;
    $self->{redis}->cmd('SET', $KEY, $now);
}


sub pass {
    my ($self, $ms) = @_;

    $self->at($self->{now} + $ms);
}


sub fcall {
    my ($self, $name, $key, @args) = @_;

    return $self->{redis}->fcall($name, $key, @args);
}


sub config {
    my ($self, %set) = @_;

    my $reply = $self->fcall('config', $self->key('config'),
                             ++$self->{stamp}, %set);

    die "config: $reply\n" if ref $reply ne 'ARRAY' || $reply->[0] != 1;
}


# nothing of what was, but the library

sub clear {
    my ($self, $now) = @_;

    $self->{redis}->cmd('FLUSHALL');
    $self->at($now);
}


# until nothing is due any more

sub tick {
    my ($self, $max) = @_;

    for (1 .. 2000) {
        my $reply = $self->fcall('tick', $self->key('due'), $max);

        return $reply if ref $reply ne 'ARRAY' || $reply->[1] > 0;
    }

    return TB::Redis::Error->new('tick finds no end');
}


1;
