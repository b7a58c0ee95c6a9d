package TB::Taker;

# How a bridge takes calls: the bells of all shards on a connection of its own,
# tb_rpc_take on the other one.  TB::Bridge and TB::FastBridge are takers.
#
#     $self->listen();                connects; name, shards, connect are there
#     $self->rung($seconds);          shards to take from: where a bell rang or
#                                     something was left; all at first
#     $self->envelopes_of(@shards);   what was taken there

use strict;
use warnings;

use Time::HiRes qw(time);

use TB::Resp;

my $SWEEP = 5;          # seconds until a shard is looked at without a bell


sub listen {
    my ($self) = @_;

    my @shards = map { sprintf 'tb:{s%03o}:', $_ } 0 .. $self->{shards} - 1;

    $self->{redis} = TB::Resp->connect(%{ $self->{connect} })
        or die "no Redis\n";
    $self->{bell} = TB::Resp->connect(%{ $self->{connect} })
        or die "no Redis\n";

    # of its own for each connection: what was taken by the one before is not
    # asked for again

    $self->{claimer} = sprintf '%s:%d:%08x', $self->{name}, $$, rand 2 ** 32;
    $self->{ticket} = int(time() * 1000) * 1000;
    $self->{again} = {};
    $self->{taken_at} = { map { $_ => time() } @shards };

    $self->{bell}->send(map { ['SSUBSCRIBE', "${_}bell:$self->{name}"] }
                        @shards);
}


sub rung {
    my ($self, $seconds) = @_;

    my $end = time() + $seconds;

    for (;;) {
        while ($self->{bell}->readable(0)) {
            my $push = $self->{bell}->reply();

            die "SSUBSCRIBE: $push\n" if TB::Resp::is_error($push);

            $self->{again}{$1} = 1 if $push->[1] =~ /^(.*:)bell:/;
        }

        my $now = time();

        for my $shard (grep { $now - $self->{taken_at}{$_} > $SWEEP }
                       keys %{ $self->{taken_at} })
        {
            $self->{again}{$shard} = 1;
        }

        my @shards = sort keys %{ $self->{again} };

        return @shards if @shards;

        return if $now >= $end;

        $self->{bell}->readable($end - $now);
    }
}


sub envelopes_of {
    my ($self, @shards) = @_;

    my @envelopes;
    my @replies = $self->{redis}->pipeline(map {
        ['FCALL', 'tb_rpc_take', 1, $_ . "queue:$self->{name}",
         $self->{claimer}, ++$self->{ticket}, 256]
    } @shards);

    for my $shard (@shards) {
        my $reply = shift @replies;

        die "tb_rpc_take: $reply\n" if TB::Resp::is_error($reply);

        my ($left, @taken) = @$reply;

        $self->{taken_at}{$shard} = time();
        delete $self->{again}{$shard} if !$left;
        push @envelopes, @taken;
    }

    return @envelopes;
}


1;
