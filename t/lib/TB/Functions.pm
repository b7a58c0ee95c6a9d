package TB::Functions;

# The function library as nginx, a bridge and an operator use it, each under
# its documented user.
#
#   my $f = TB::Functions->new;
#   my $f = TB::Functions->new(clock => 1);     time stands still, but for
#   $f->pass($ms);                              and $f->ticks($device, $ms)
#   $f->now                                     ms

use strict;
use warnings;

use JSON::PP ();
use Time::HiRes qw(sleep time);

use TB::Bridge;
use TB::Clock;
use TB::Server qw(start_redis);

our $TENANT = '11111111-2222-3333-4444-555555555555';
our $OTHER  = '99999999-2222-3333-4444-555555555555';

my $uuids = 0;
my @crc = map {
    my $c = $_;
    $c = $c & 1 ? ($c >> 1) ^ 0xEDB88320 : $c >> 1 for 1 .. 8;
    $c;
} 0 .. 255;


sub new {
    my ($class, %opt) = @_;

    my $server = start_redis(acl => 1, %opt);
    my $self = bless { server => $server, stamp => 0, clock => $opt{clock},
                       now => int(time * 1000), ticket => 0 }, $class;

    $server->load_library(user => 'tb-nginx', library => $opt{clock}
                                                  ? TB::Clock::library()
                                                  : undef);
    $self->connect;
    $self->pass(0) if $opt{clock};

    return $self;
}


sub connect {
    my ($self) = @_;

    $self->{$_} = $self->{server}->client(user => "tb-$_")
        for qw(nginx bridge admin);
    $self->{root} = $self->{server}->client;
}


sub server { $_[0]{server} }
sub root   { $_[0]{root} }


sub uuid {
    return sprintf '%08x-0000-1000-8000-%012x', ++$uuids, $$;
}


sub shard {
    my ($id) = @_;

    my $c = 0xFFFFFFFF;

    $c = ($c >> 8) ^ $crc[($c ^ $_) & 255] for unpack 'C*', $id;

    return ($c ^ 0xFFFFFFFF) % 128;
}


sub prefix { return TB::Bridge::prefix(shard($_[1])) }


sub key {
    my ($self, $device, $kind, @more) = @_;

    return $self->prefix($device) . join ':', $kind, @more;
}


sub dkey { return $_[0]->key($_[1], 'device', $_[1]) }


# settings of all shards

sub config {
    my ($self, %set) = @_;

    $self->{stamp}++;

    for my $n (0 .. 127) {
        my $reply = $self->{nginx}->fcall('config', TB::Bridge::prefix($n) . "config",
                                          $self->{stamp}, shards => 128, %set);
        die "config: $reply" if ref $reply ne 'ARRAY' || $reply->[0] != 1;
    }
}


sub device {
    my ($self, %field) = @_;

    my $id = delete $field{id} // uuid();
    my $tenant = delete $field{tenant} // $TENANT;
    my $customer = delete $field{customer} // '';
    my $reply = $self->{admin}->fcall('device_put', $self->dkey($id), $tenant,
                                      $customer, %field);

    die "device_put: $reply" if ref $reply;

    return $id;
}


sub create {
    my ($self, $device, %o) = @_;

    my $persistent = $o{persistent} // 1;

    return $self->{nginx}->fcall('create', $self->dkey($device),
        $o{id} // uuid(), $o{worker} // ($persistent ? '' : 'w1'),
        $o{oneway} // 0, $persistent, $o{tenant} // $TENANT,
        $o{customer} // '*', $o{method} // '"setGpio"',
        $o{params} // '{"pin":7,"value":1}', $o{info} // '',
        $o{retries} // '',
        $o{timeout} // (defined $o{expiration} ? '' : 60000),
        $o{expiration} // '', $o{hold} // '', $o{offline} // 'wait',
        $o{uuid} // '', $o{hash} // '', $o{trace} // '');
}


sub report {
    my ($self, $name, $device, @args) = @_;

    return $self->{bridge}->fcall($name, $self->dkey($device), @args);
}


# tb_rpc_take as it is: {left, envelope ...} or an error.  Each batch has the
# next ticket, unless one is given.

sub take {
    my ($self, $device, $bridge, %o) = @_;

    return $self->{bridge}->fcall('take', $self->key($device, 'queue', $bridge),
                                  $o{claimer} // 'test',
                                  $o{ticket} // ++$self->{ticket},
                                  $o{max} // 256);
}


# an envelope, decoded; "raw" is its text

sub envelope {
    my ($raw) = @_;

    my $e = JSON::PP->new->utf8->decode($raw);
    $e->{raw} = $raw;

    return $e;
}


# claims all that waits in the queue

sub take_all {
    my ($self, $device, $bridge, %o) = @_;

    my @items;

    for (my $left = 1; $left; ) {
        my $reply = $self->take($device, $bridge, %o);

        die "take: $reply" if ref $reply ne 'ARRAY';

        ($left, my @more) = @$reply;
        push @items, map { envelope($_) } @more;
    }

    return @items;
}


# claims the first call that waits there, if one does

sub take_one {
    my ($self, $device, $bridge) = @_;

    for (my $left = 1; $left; ) {
        my $reply = $self->take($device, $bridge, max => 1);

        die "take: $reply" if ref $reply ne 'ARRAY';

        ($left, my $raw) = @$reply;

        return envelope($raw) if defined $raw;
    }

    return;
}


# what an open call is like, or nothing: kind and state as letters, then

sub open_call {
    my ($self, $device, $rid) = @_;

    my $text = $self->{root}->cmd('HGET', $self->key($device, 'inflight',
                                                     $device), $rid);

    return if !defined $text;

    my %c;

    @c{qw(kind state oneway id attempt wrap time waited rest)}
        = $text =~ /^([PL])(.)([01])(\S+) (\d+) (\d+) (\d+) (\d+)(.*)$/
        or die "no open call: $text";

    return \%c;
}


# its state, one letter, or "gone"

sub state_of {
    my ($self, $device, $rid) = @_;

    my $c = $self->open_call($device, $rid);

    return $c ? $c->{state} : 'gone';
}


sub tick {
    my ($self, $device, $max) = @_;

    return $self->{nginx}->fcall('tick', $self->key($device, 'due'),
                                 $max // 100);
}


sub now { return $_[0]{clock} ? $_[0]{now} : int(time * 1000) }


# the clock is moved

sub pass {
    my ($self, $ms) = @_;

    $self->{now} += $ms;
    $self->{root}->cmd('SET', $TB::Clock::KEY, $self->{now});
}


# ticks until the time is over, as a worker does

sub ticks {
    my ($self, $device, $ms) = @_;

    if ($self->{clock}) {
        for (my $left = $ms; $left > 0; $left -= 10) {
            $self->pass($left < 10 ? $left : 10);
            my $reply = $self->tick($device);
            die "tick: $reply" if ref $reply ne 'ARRAY';
        }

        return;
    }

    my $end = time + $ms / 1000;

    while (time < $end) {
        my $reply = $self->tick($device);
        die "tick: $reply" if ref $reply ne 'ARRAY';
        sleep 0.01;
    }
}


sub record {
    my ($self, $device, $id) = @_;

    my $reply = $self->{nginx}->fcall('get', $self->key($device, 'rpc', $id),
                                      $TENANT, '*');

    return if ref $reply ne 'ARRAY' || shift @$reply ne 'ok';

    return { @$reply };
}


sub status {
    my ($self, $device, $id) = @_;

    my $r = $self->record($device, $id) or return 'GONE';

    return (qw(QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED FAILED))
        [$r->{s}];
}


# what there is of a device besides itself: nothing, once its records are gone

sub left {
    my ($self, $device) = @_;

    my $r = $self->{root};
    my $p = $self->prefix($device);
    my @left;

    for my $key (@{ $r->cmd('KEYS', "$p*") }) {
        my $name = substr $key, length $p;

        next if $name eq "device:$device";

        if ($name =~ /\Q$device\E/) {
            push @left, $name;

        } elsif ($name =~ /^rpc:/) {
            push @left, $name if $r->cmd('HGET', $key, 'd') eq $device;

        } elsif ($name =~ /^uuid:/) {
            push @left, $name if $r->cmd('GET', $key) =~ /\Q$device\E/;

        } elsif ($name =~ /^queue:/) {
            push @left, map { "$name=$_" } grep { /\Q$device\E/ }
                @{ $r->cmd('LRANGE', $key, 0, -1) };

        } elsif ($name eq 'devices') {
            next if $r->cmd('EXISTS', $self->dkey($device));
            push @left, map { "$name=$_" } grep { /\Q$device\E$/ }
                @{ $r->cmd('ZRANGE', $key, 0, -1) };

        } elsif ($name eq 'due' || $name eq 'old') {
            push @left, map { "$name=$_" } grep {
                /\Q$device\E/ || (/^[0-9a-f]/ && !m{/}
                                  && !$r->cmd('EXISTS', "${p}rpc:$_"))
            } @{ $r->cmd('ZRANGE', $key, 0, -1) };
        }
    }

    return join ' ', sort @left;
}


sub stats {
    my ($self, $device, $name) = @_;

    return $self->{root}->cmd('HGET', $self->key($device, 'stats'), $name)
        // 0;
}


1;
