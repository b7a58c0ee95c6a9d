package TB::FakeRedis;

# A Redis that only says what the test wants it to.
#
#     my $fake = TB::FakeRedis->start(on => sub {
#         my ($mode, $conn, @argv) = @_;
#         return ...;
#     });
#     $fake->{port};
#     $fake->tell('mode', 'some text')         the handler's first argument
#     $fake->tell('seen', 'tb_rpc_create')     how often that was asked since
#
# The handler returns the bytes of the reply, or undef for the reply of a
# sound Redis with our library, as far as nginx asks for it.  '' is no reply.
# It is called without argv when somebody connects.  It may set:
#
#     $conn->{close} = 1       closed after the reply
#     $conn->{drip} = 1        sent byte by byte
#     $conn->{pace} = 0.1      this reply is sent 100 bytes at a time, so many
#                              seconds apart
#     $conn->{push} = BYTES    sent to all subscription connections
#
# and $conn->{sub} is true on those.

use strict;
use warnings;

use base 'TB::Child';

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use TB::Env qw(free_port library);


sub start {
    my ($class, %opt) = @_;

    my $self = bless { port => free_port(), mode => '', on => sub { undef },
                       %opt }, $class;
    my $listen;

    for (1 .. 100) {
        $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                        LocalPort => $self->{port},
                                        Listen => 128, ReuseAddr => 1)
            and last;
        select undef, undef, undef, 0.05;
    }

    die "fake Redis: $!\n" if !$listen;

    $self->spawn(sub { $self->loop($listen, @_) });
    close $listen;

    return $self;
}


sub version {
    my ($version) = library() =~ /^local VERSION = (\d+)/m;

    return $version;
}


sub bulk { return '$' . length($_[0]) . "\r\n$_[0]\r\n" }


sub sound {
    my ($conn, $command, @argv) = @_;

    my $what = lc $command;

    return "+PONG\r\n" if $what eq 'ping';
    return ":0\r\n" if $what eq 'hsetnx' || $what eq 'del';
    return "*2\r\n" . bulk('128') . bulk('2') if $what eq 'hmget';
    return "\$-1\r\n" if $what eq 'set';
    return "*2\r\n" . bulk(1700000000) . bulk(17) if $what eq 'time';
    return "\$-1\r\n" if $what eq 'get';
    return bulk("role:master\r\nmaxmemory_policy:noeviction\r\n"
                . "aof_enabled:1\r\n") if $what eq 'info';

    if ($what eq 'ssubscribe') {
        $conn->{sub} = 1;
        return "*3\r\n" . bulk('ssubscribe') . bulk($argv[0])
               . ':' . ++$conn->{count} . "\r\n";
    }

    if ($what eq 'fcall') {
        return ':' . version() . "\r\n" if $argv[0] eq 'tb_rpc_version';
        return "*1\r\n:1\r\n" if $argv[0] eq 'tb_rpc_config';
        return "*3\r\n:0\r\n:1000\r\n:0\r\n" if $argv[0] eq 'tb_rpc_tick';
        return "*1\r\n" . bulk('gone') if $argv[0] eq 'tb_rpc_cancel';
        return "*5\r\n" . bulk('queued') . bulk($argv[3])
               . ":7\r\n:1000\r\n:1\r\n" if $argv[0] eq 'tb_rpc_create';
    }

    return "+OK\r\n";
}


sub loop {
    my ($self, $listen, $control) = @_;

    my $select = IO::Select->new($listen, $control);
    my (%conns, %seen);

    for (;;) {
        my @late = grep { length $_->{out} } values %conns;
        my $wait = !@late ? 1 : (grep { !$_->{pace} } @late) ? 0.0001 : 0.01;

        for my $sock ($select->can_read($wait)) {
            if ($sock == $control) {
                my $n = sysread $control, my $line, 65536;

                return if !$n;

                chomp $line;
                my ($word, $what) = split /\t/, $line;

                if ($word eq 'mode') {
                    $self->{mode} = $what;
                    %seen = ();
                    syswrite $control, "ok\n";

                } else {
                    syswrite $control, ($seen{$what} || 0) . "\n";
                }

            } elsif ($sock == $listen) {
                my $new = $listen->accept() or next;

                my $conn = $conns{fileno $new} = { sock => $new, in => '' };
                my $greeting = $self->{on}->($self->{mode}, $conn);

                $conn->{out} = defined $greeting ? $greeting : '';
                $select->add($new);

            } else {
                my $conn = $conns{fileno $sock} or next;
                my $n = sysread $sock, $conn->{in}, 65536,
                                length $conn->{in};

                $conn->{close} = 2 if !$n;

                while (my @argv = command($conn)) {
                    $seen{$_}++ for @argv;

                    my $reply = $self->{on}->($self->{mode}, $conn, @argv);

                    $reply = sound($conn, @argv) if !defined $reply;
                    $conn->{out} .= $reply;
                    $conn->{slow} //= length $conn->{out} if $conn->{pace};

                    my $push = delete $conn->{push} or next;

                    $_->{out} .= $push for grep { $_->{sub} } values %conns;
                }
            }
        }

        for my $conn (values %conns) {
            if (length $conn->{out} && time() >= ($conn->{next} || 0)) {
                my $n = syswrite $conn->{sock}, $conn->{out},
                                 $conn->{drip} ? 1
                                 : $conn->{pace} ? 100 : length $conn->{out};

                $conn->{close} = 2 if !defined $n;
                substr $conn->{out}, 0, $n || 0, '';

                if ($conn->{pace}) {
                    $conn->{next} = time() + $conn->{pace};
                    delete @$conn{qw(pace next slow)}
                        if ($conn->{slow} -= $n || 0) <= 0;
                }
            }

            if ($conn->{close}
                && ($conn->{close} == 2 || !length $conn->{out}))
            {
                $select->remove($conn->{sock});
                delete $conns{fileno $conn->{sock}};
                close $conn->{sock};
            }
        }
    }
}


# takes one command off the input, if it is complete

sub command {
    my ($conn) = @_;

    my $pos = 0;

    $conn->{in} =~ /\G\*(\d+)\r\n/gc or return;
    $pos = $+[0];

    my ($n, @argv) = ($1);

    for (1 .. $n) {
        pos($conn->{in}) = $pos;
        $conn->{in} =~ /\G\$(\d+)\r\n/gc or return;
        $pos = $+[0];

        return if length $conn->{in} < $pos + $1 + 2;

        push @argv, substr $conn->{in}, $pos, $1;
        $pos += $1 + 2;
    }

    substr $conn->{in}, 0, $pos, '';

    return @argv;
}


1;
