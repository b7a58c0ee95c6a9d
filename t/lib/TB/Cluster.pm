package TB::Cluster;

# A real Redis Cluster on the loopback, each node with the users of
# docs/redis-schema.md.
#
#     my $cluster = TB::Cluster->new(masters => 3, replicas => 1);
#
#     $cluster->node($i)              a TB::RedisServer: {port}, log(),
#                                     connect('bridge'), access('nginx'), ...
#     $cluster->call($i, 'INFO')      as its administrator; dies on an error
#     $cluster->port($i)              the port with TLS, if there is one
#     $cluster->addr($i)              127.0.0.1, but with "net"
#     $cluster->urls()                redis:// or rediss:// of all that run
#     $cluster->master_of($key)       which node has this key's slot, or this
#                                     slot, now
#     $cluster->replicas_of($i)       the nodes that replicate it now
#     $cluster->kill($i);  $cluster->start($i);         kill -9; its data stay
#     $cluster->stop($i);  $cluster->cont($i);          SIGSTOP, SIGCONT
#     $cluster->failover($i);                           this replica becomes a
#     $cluster->failover($i, 'FORCE');                  master, and says so
#     $cluster->add_node();           its number: a master without slots
#     $cluster->add_node(replica_of => $i);
#     $cluster->reshard($from, $to, slots => 100);      as redis-cli does it
#     $cluster->reshard($from, $to, shards => [3, 7]);
#     $cluster->reshard($from, $to, list => [11097], hook => sub {
#         my ($stage, $slot) = @_;    "importing", "migrating", "moved" (after
#     });                             each batch of keys), "assigned"
#     $cluster->del_node($i);         without slots: the others forget it
#     $cluster->wait_ok($seconds);    all that run agree, replicas are in step
#     $cluster->cleanup();            all are stopped, as at the end anyway
#
# Nodes 0 .. masters - 1 are masters at first, and share the slots as redis-cli
# would deal them out; then come the replicas of 0, of 1, ...
#
# Options: masters (3), replicas (0), node_timeout (1500 ms), args (further
# arguments of each server), library (1: into each master), tls (a TB::Certs
# that has server.pem, server.key and ca.pem: all of it by TLS, ports without
# are there, too), endpoint ("hostname" or "unknown-endpoint", of CLUSTER SLOTS;
# hostname is the name), net (a TB::Net: each node on a host of its own).

use strict;
use warnings;

use TB::Bridge;
use TB::Env qw(free_port library wait_for);
use TB::RedisServer;
use TB::Resp;

my $SLOTS = 16384;


# CRC-16 (XMODEM) of the part that counts

sub slot {
    my ($key) = @_;

    my $tag = $key =~ /^[^{]*\{([^}]+)\}/ ? $1 : $key;
    my $crc = 0;

    for my $byte (unpack 'C*', $tag) {
        $crc ^= $byte << 8;
        $crc = ($crc << 1 ^ ($crc & 0x8000 ? 0x1021 : 0)) & 0xffff for 1 .. 8;
    }

    return $crc % $SLOTS;
}


sub slot_of_shard { return slot(TB::Bridge::prefix($_[0])) }


sub new {
    my ($class, %opt) = @_;

    my $self = bless { masters => 3, replicas => 0, node_timeout => 1500,
                       args => [], library => 1, hostname => 'localhost',
                       nodes => [], owner => $$, %opt }, $class;

    my $masters = $self->{masters};
    my $n = $masters * (1 + $self->{replicas});

    $self->spawn() for 1 .. $n;

    for my $i (0 .. $masters - 1) {
        $self->call($i, 'CLUSTER', 'ADDSLOTSRANGE',
                    int($i * $SLOTS / $masters + 0.5),
                    int(($i + 1) * $SLOTS / $masters + 0.5) - 1);
        $self->call($i, 'CLUSTER', 'SET-CONFIG-EPOCH', $i + 1);
        $self->load_library($i) if $self->{library};
    }

    # each with each: gossip takes its time

    for my $i (1 .. $n - 1) {
        $self->meet($i, $_) for 0 .. $i - 1;
    }

    $self->wait_known();

    for my $i ($masters .. $n - 1) {
        my $master = int(($i - $masters) / $self->{replicas});

        $self->replicate($i, $master);
    }

    $self->wait_ok(60);

    return $self;
}


sub tls_args {
    my ($self) = @_;

    my $certs = $self->{tls};

    return ('--tls-cert-file', $certs->path('server.pem'),
            '--tls-key-file', $certs->path('server.key'),
            '--tls-ca-cert-file', $certs->path('ca.pem'),
            '--tls-auth-clients', 'no',
            '--tls-cluster', 'yes', '--tls-replication', 'yes');
}


# one that knows nobody

sub spawn {
    my ($self) = @_;

    my $bus = free_port();
    my $tls = $self->{tls} ? free_port() : undef;
    my @args = ('--cluster-enabled', 'yes', '--cluster-port', $bus,
                '--cluster-node-timeout', $self->{node_timeout},
                '--cluster-require-full-coverage', 'no',
                '--repl-ping-replica-period', 1, '--repl-diskless-sync-delay',
                0, '--masterauth', $TB::RedisServer::PASSWORD{admin});

    push @args, '--tls-port', $tls, $self->tls_args() if $tls;
    push @args, '--cluster-announce-hostname', $self->{hostname},
                '--cluster-preferred-endpoint-type', $self->{endpoint}
        if $self->{endpoint};

    my $node = TB::RedisServer->start(
        library => 0, bus => $bus, tls => $tls,
        $self->{net} ? (host => $self->{net}->host()) : (),
        args => [@args, @{ $self->{args} }]);

    $node->{id} = $node->call('CLUSTER', 'MYID');
    push @{ $self->{nodes} }, $node;

    return $#{ $self->{nodes} };
}


sub node { return $_[0]{nodes}[$_[1]] }
sub count { return scalar @{ $_[0]{nodes} } }


sub call {
    my ($self, $i, @argv) = @_;

    return $self->node($i)->call(@argv);
}


sub port {
    my ($self, $i) = @_;

    my $node = $self->node($i);

    return $node->{tls} || $node->{port};
}


sub addr {
    my ($self, $i) = @_;

    my $host = $self->node($i)->{host};

    return $host ? $host->{addr} : '127.0.0.1';
}


sub url {
    my ($self, $i) = @_;

    return ($self->{tls} ? 'rediss' : 'redis') . '://' . $self->addr($i) . ':'
           . $self->port($i);
}


sub urls { return map { $_[0]->url($_) } $_[0]->running() }


# numbers of those that answer

sub running {
    my ($self) = @_;

    return grep { $self->node($_)->{pid} && !$self->node($_)->{stopped} }
           0 .. $#{ $self->{nodes} };
}


sub load_library {
    my ($self, $i) = @_;

    $self->call($i, 'FUNCTION', 'LOAD', 'REPLACE', library());
}


sub meet {
    my ($self, $i, $other) = @_;

    $self->call($i, 'CLUSTER', 'MEET', $self->addr($other), $self->port($other),
                $self->node($other)->{bus});
}


sub replicate {
    my ($self, $i, $master) = @_;

    my $id = $self->node($master)->{id};

    wait_for {
        !TB::Resp::is_error($self->node($i)->command('CLUSTER', 'REPLICATE',
                                                     $id));
    } 20 or die "node $i does not replicate node $master\n";
}


# CLUSTER NODES of one: { id => { flags, master, epoch, link, slots } }

sub view {
    my ($self, $i) = @_;

    my %nodes;

    for my $line (split /\n/, $self->call($i, 'CLUSTER', 'NODES')) {
        my ($id, undef, $flags, $master, undef, undef, $epoch, $link, @slots)
            = split ' ', $line;

        $nodes{$id} = {
            flags => { map { $_ => 1 } split /,/, $flags }, master => $master,
            epoch => $epoch, link => $link,
            # not those that are on their way: [11097->-...
            slots => [ grep { !/^\[/ } @slots ] };
    }

    return \%nodes;
}


sub info {
    my ($self, $i, @section) = @_;

    my @argv = @section ? ('INFO', @section) : ('CLUSTER', 'INFO');

    return { $self->call($i, @argv) =~ /^(\w+):(.*?)\r?$/mg };
}


sub number {
    my ($self, $id) = @_;

    return (grep { $self->node($_)->{id} eq $id } 0 .. $#{ $self->{nodes} })[0];
}


# to whom a slot belongs, as far as one knows: (id, epoch)

sub owner {
    my ($self, $i, $slot) = @_;

    my $view = $self->view($i);

    for my $id (keys %$view) {
        for (@{ $view->{$id}{slots} }) {
            my ($from, $to) = split /-/;

            return ($id, $view->{$id}{epoch})
                if $slot >= $from && $slot <= ($to // $from);
        }
    }

    return;
}


# as the one says who knows the newest; nothing if nobody has it

sub master_of {
    my ($self, $what) = @_;

    my $slot = $what =~ /^\d+$/ ? $what : slot($what);
    my ($best, $newest) = (undef, -1);

    for my $i ($self->running()) {
        my ($id, $epoch) = $self->owner($i, $slot) or next;

        ($best, $newest) = ($id, $epoch) if $epoch > $newest;
    }

    return defined $best ? $self->number($best) : undef;
}


sub master_of_shard { return $_[0]->master_of(slot_of_shard($_[1])) }


sub is_master {
    my ($self, $i) = @_;

    return $self->call($i, 'ROLE')->[0] eq 'master';
}


sub replicas_of {
    my ($self, $i) = @_;

    my $id = $self->node($i)->{id};
    my $view = $self->view($i);

    return grep { ($view->{$self->node($_)->{id}}{master} // '') eq $id }
           $self->running();
}


# nobody is still being met

sub wait_known {
    my ($self, $seconds) = @_;

    my @running = $self->running();

    wait_for {
        for my $i (@running) {
            my $view = $self->view($i);

            for my $id (map { $self->node($_)->{id} } @running) {
                my $node = $view->{$id} or return 0;

                return 0 if $node->{flags}{handshake}
                            || !$node->{flags}{myself}
                               && $node->{link} ne 'connected';
            }
        }

        1;
    } $seconds || 30 or die "the nodes don't know each other:\n"
                            . $self->call($running[0], 'CLUSTER', 'NODES');
}


# what one that runs says of those that run, as a text; nothing while it is
# not well

sub opinion {
    my ($self, $i, @running) = @_;

    my $view = $self->view($i);
    my @lines;

    return if $self->info($i)->{cluster_state} ne 'ok';

    for my $id (sort map { $self->node($_)->{id} } @running) {
        my $node = $view->{$id} or return;

        return if grep { $node->{flags}{$_} } qw(fail fail? handshake noaddr);

        push @lines, join ' ', $id, $node->{flags}{master} ? 'master' : 'slave',
                     $node->{master}, @{ $node->{slots} };
    }

    return join "\n", @lines;
}


sub in_step {
    my ($self, $i) = @_;

    my $info = $self->info($i, 'replication');

    return $info->{role} eq 'master' || $info->{master_link_status} eq 'up';
}


sub wait_ok {
    my ($self, $seconds) = @_;

    my @running = $self->running();

    wait_for {
        my %said;

        for my $i (@running) {
            my $opinion = eval { $self->opinion($i, @running) } // return 0;

            $said{$opinion} = 1;

            return 0 if keys %said > 1 || !$self->in_step($i);
        }

        1;
    } $seconds || 30 or die "the cluster is not well:\n"
                            . join "\n", map { $self->call($_, 'CLUSTER',
                                                           'NODES') } @running;
}


sub kill {
    my ($self, $i) = @_;

    my $node = $self->node($i);

    CORE::kill 'KILL', $node->{pid} if $node->{pid};
    $node->stop();
    delete $node->{stopped};
}


sub start {
    my ($self, $i) = @_;

    $self->node($i)->go() if !$self->node($i)->{pid};
}


sub stop {
    my ($self, $i) = @_;

    $self->node($i)->pause();
    $self->node($i)->{stopped} = 1;
}


sub cont {
    my ($self, $i) = @_;

    $self->node($i)->resume();
    delete $self->node($i)->{stopped};
}


sub failover {
    my ($self, $i, @how) = @_;

    # one that has not come about within 5 s is given up by Redis

    wait_for {
        $self->node($i)->command('CLUSTER', 'FAILOVER', @how);
        wait_for { $self->is_master($i) } 6;
    } 60 or die "node $i did not become a master\n";
}


sub add_node {
    my ($self, %opt) = @_;

    my ($known) = $self->running();
    my $i = $self->spawn();

    $self->meet($known, $i);
    $self->wait_known();
    $self->replicate($i, $opt{replica_of}) if defined $opt{replica_of};
    $self->load_library($i) if $opt{library};
    $self->wait_ok();

    return $i;
}


sub slots_of {
    my ($self, $i) = @_;

    return map { my ($from, $to) = split /-/; $from .. $to // $from }
           @{ $self->view($i)->{$self->node($i)->{id}}{slots} };
}


sub reshard {
    my ($self, $from, $to, %opt) = @_;

    my @slots = $opt{list}   ? @{ $opt{list} }
              : $opt{shards} ? map { slot_of_shard($_) } @{ $opt{shards} }
              : $self->slots_of($from);

    splice @slots, $opt{slots} if defined $opt{slots} && $opt{slots} < @slots;

    $self->move_slot($from, $to, $_, $opt{hook} || sub { }, $opt{keys} || 10)
        for @slots;
    $self->wait_ok();

    return @slots;
}


sub move_slot {
    my ($self, $from, $to, $slot, $hook, $keys) = @_;

    my ($source, $target) = map { $self->node($_) } $from, $to;
    my @auth = ('AUTH', $TB::RedisServer::PASSWORD{admin});

    $target->call('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $source->{id});
    $hook->('importing', $slot);
    $source->call('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $target->{id});
    $hook->('migrating', $slot);

    while (my @keys = @{ $source->call('CLUSTER', 'GETKEYSINSLOT', $slot,
                                       $keys) })
    {
        $source->call('MIGRATE', $self->addr($to), $self->port($to), '', 0, 60000,
                      @auth, 'KEYS', @keys);
        $hook->('moved', $slot);
    }

    # the new owner first, or a slot may end up with nobody

    for my $i ($to, $from, grep { $_ != $to && $_ != $from }
                           $self->running())
    {
        next if $i != $to && !$self->is_master($i);

        # with its last slot it becomes a replica, maybe by itself

        my $reply = $self->node($i)->command('CLUSTER', 'SETSLOT', $slot,
                                             'NODE', $target->{id});

        die "CLUSTER SETSLOT: $reply\n"
            if TB::Resp::is_error($reply) && $reply !~ /only with masters/;
    }

    $hook->('assigned', $slot);
}


sub del_node {
    my ($self, $i) = @_;

    die "node $i has slots\n"
        if $self->is_master($i) && $self->slots_of($i);

    my $id = $self->node($i)->{id};

    $self->node($i)->stop();
    $self->call($_, 'CLUSTER', 'FORGET', $id) for $self->running();
}


sub cleanup {
    my ($self) = @_;

    return if $self->{owner} != $$;

    $_->stop() for grep { defined } @{ $self->{nodes} };
}


sub DESTROY {
    my ($self) = @_;

    # TB::RedisServer has stopped all of them
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';

    local ($@, $?, $!);

    $self->cleanup();
}


1;
