package TB::Bridge;

# A bridge whose devices do as they are told by the method of the call, in a
# process of its own.
#
#     my $bridge = TB::Bridge->start(connect => { port => ..., user => ...,
#                                                 password => ... });
#     ...
#     $bridge->stop();          # at the end it is stopped anyway
#
# Options: name ("b1"), shards (128), delay (seconds before each answer),
# log (a file that gets one line a call: the envelope),
# handler (sub ($call, $bridge): replaces all that follows).
#
# One-way calls are acknowledged.  Two-way calls, by method:
#
#     echo, or any other   answered with params, byte for byte
#     mute                 acknowledged, never answered
#     sent                 taken, neither acknowledged nor answered
#     fail                 tb_rpc_failed with params.text or "device on fire"
#     text                 answered "plain text", which is no JSON
#     empty                answered with nothing
#     raw                  answered with the string params (JSON-decoded)
#     big                  answered with a JSON string of params.size bytes
#                          (20000)
#     slow                 answered with params after params.ms (500)
#     twice                answered with params, then with "second"
#     late                 as slow, but after 2 s

use strict;
use warnings;

use Compress::Raw::Zlib ();
use IO::Handle;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time);

use TB::Resp;
use TB::Started;
use TB::Taker;

our @ISA = ('TB::Taker', 'TB::Started');

my $json = JSON::PP->new->utf8->allow_nonref;


sub shard {
    my ($device, $shards) = @_;

    return Compress::Raw::Zlib::crc32(lc $device) % ($shards || 128);
}


# all keys of a shard begin with it

sub prefix { return sprintf 'tb:{s%03o}:', $_[0] }


sub key {
    my ($kind, $device, $shards) = @_;

    return prefix(shard($device, $shards)) . "$kind:$device";
}


sub start {
    my ($class, %opt) = @_;

    my $self = bless { name => 'b1', shards => 128, delay => 0, %opt }, $class;

    pipe my $ready, my $tell or die "pipe: $!\n";

    my $pid = fork();
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        close $ready;
        $self->child($tell);
    }

    close $tell;
    sysread $ready, my $byte, 1 or die "the scripted bridge did not start\n";

    return $self->started($pid);
}


# what the log option has collected: decoded envelopes

sub envelopes {
    my ($self) = @_;

    open my $fh, '<:raw', $self->{log} or return;

    return map { $json->decode($_) } <$fh>;
}


sub child {
    my ($self, $tell) = @_;

    $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD);
    $SIG{PIPE} = 'IGNORE';
    $0 = 'scripted bridge';

    my $parent = getppid();

    # a Redis that goes away is looked for again
    while (getppid() == $parent) {
        eval {
            $self->{later} = [];
            $self->listen();

            if ($tell) {
                syswrite $tell, '.';
                close $tell;
                undef $tell;
            }

            $self->loop($parent);
        };

        print STDERR "scripted bridge: $@" if $@ && ($tell || $ENV{TB_VERBOSE});

        # no tests, no END blocks in this process
        POSIX::_exit(1) if $tell;
        select undef, undef, undef, 0.05;
    }

    POSIX::_exit(0);
}


sub loop {
    my ($self, $parent) = @_;

    while (getppid() == $parent) {
        my $now = time();
        my @due = grep { $_->[0] <= $now } @{ $self->{later} };

        if (@due) {
            @{ $self->{later} } = grep { $_->[0] > $now } @{ $self->{later} };
            $self->commands(map { $_->[1] } @due);
        }

        my ($next) = sort { $a <=> $b } map { $_->[0] - time() }
                                            @{ $self->{later} };
        $next = 0.2 if !defined $next || $next > 0.2;

        my @shards = $self->rung($next < 0 ? 0 : $next) or next;
        my @envelopes = $self->envelopes_of(@shards);

        $self->taken(@envelopes) if @envelopes;
    }
}


# many calls at once: one write for all that is said about them

sub taken {
    my ($self, @envelopes) = @_;

    my @out;

    if (defined $self->{log}) {
        open my $fh, '>>:raw', $self->{log} or die "$self->{log}: $!\n";
        print $fh "$_\n" for @envelopes;
        close $fh;
    }

    for my $envelope (@envelopes) {
        my $call = $json->decode($envelope);

        ($call->{raw}) = $envelope =~ /"params":(.*),"oneway":/s;
        $call->{key} = key('device', $call->{deviceId}, $self->{shards});

        if ($self->{handler}) {
            $self->{handler}->($call, $self);

        } else {
            push @out, $self->answer($call);
        }
    }

    $self->commands(@out);
}


sub commands {
    my ($self, @commands) = @_;

    return if !@commands;

    for my $reply ($self->{redis}->pipeline(@commands)) {
        print STDERR "scripted bridge: $reply\n" if TB::Resp::is_error($reply);
    }
}


sub respond {
    my ($self, $call, $payload) = @_;

    return ['FCALL', 'tb_rpc_respond', 1, $call->{key}, $call->{requestId},
            $payload];
}


# commands to send now; what is for later is put aside

sub answer {
    my ($self, $call) = @_;

    my $method = $call->{method};
    my $params = ref $call->{params} eq 'HASH' ? $call->{params} : {};
    my @ack = ['FCALL', 'tb_rpc_delivered', 1, $call->{key},
               $call->{requestId}, $call->{attempt}];
    my $delay = $self->{delay};
    my @answers;

    return () if $method eq 'sent';
    return @ack if $call->{oneway} || $method eq 'mute';

    if ($method eq 'fail') {
        my $text = $params->{text};

        $text = 'device on fire' if !defined $text;
        @answers = ['FCALL', 'tb_rpc_failed', 1, $call->{key},
                    $call->{requestId}, $text, $call->{attempt}];
        @ack = ();

    } elsif ($method eq 'text') {
        @answers = $self->respond($call, 'plain text');

    } elsif ($method eq 'empty') {
        @answers = $self->respond($call, '');

    } elsif ($method eq 'raw') {
        my $bytes = $call->{params} // '';

        utf8::encode($bytes) if utf8::is_utf8($bytes);
        @answers = $self->respond($call, $bytes);

    } elsif ($method eq 'big') {
        my $size = $params->{size} || 20000;

        @answers = $self->respond($call, '"' . 'x' x ($size - 2) . '"');

    } elsif ($method eq 'twice') {
        @answers = ($self->respond($call, $call->{raw}),
                    $self->respond($call, '"second"'));

    } else {
        @answers = $self->respond($call, $call->{raw});
        $delay = ($params->{ms} || 500) / 1000 if $method eq 'slow';
        $delay = 2 if $method eq 'late';
    }

    return (@ack, @answers) if !$delay;

    push @{ $self->{later} }, map { [time() + $delay, $_] } @answers;

    return @ack;
}


1;
