package TB::Faults;

# What happens to Redis, callers while it happens, and what has become of their
# calls.
#
#     my $r = TB::Faults::try($stage, 'kill');        a TB::Stage
#
# The names are those of bench/faults, whose heading says what they are and what
# the figures mean: { fault, mode, seconds, 200, 503, 504, other, lost, twice,
# again, gap, two_way, others, plain }.  Besides: results (how many of which kind
# were not answered 200), wrong (those of "other"), undone ({ what its record says
# => [ when each was answered, seconds since it happened ] }), moving (seconds that
# the slot took whose move took longest).

use strict;
use warnings;

use List::Util qw(max sum0);
use Time::HiRes qw(sleep time);

use TB::Callers;
use TB::Client;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Load;

my @faults = (
    [kill => 'cluster', \&kill_master], [failover => 'cluster', \&by_hand],
    [reshard => 'cluster', \&reshard], [node => 'cluster', \&node],
    [stop => 'cluster', \&stop_master], [isolated => 'cluster', \&isolated],
    [cut => 'cluster', \&cut_off], ['s-kill' => 'sentinel', \&s_kill],
    ['s-failover' => 'sentinel', \&s_by_hand],
    ['s-planned' => 'sentinel', \&s_planned], ['s-stop' => 'sentinel', \&s_stop],
);


# (name, what it happens to) of each

sub list { return map { [$_->[0], $_->[1]] } @faults }


sub try {
    my ($stage, $name) = @_;

    my ($fault) = grep { $_->[0] eq $name } @faults;

    $stage->settled();

    my $masters = $stage->masters();
    my ($victim) = sort keys %$masters;
    my %affected = map { $_ => 1 }
                   $name eq 'reshard' ? @{ $stage->{devices} }
                                      : @{ $masters->{$victim} };
    my $follower = $stage->follower();
    my $callers = TB::Callers->start(nginx => $stage->{nginx},
                                     devices => $stage->{devices});

    sleep 1.5;

    my $from = time();

    $fault->[2]->($stage, $victim, $masters->{$victim}[0]);

    my $over = time();

    sleep 3;

    my $to = time();
    my @calls = $callers->stop();
    my %plain = $follower->stop();

    $stage->settled();

    my @devices = grep { $affected{$stage->{devices}[$_]} }
                  0 .. $#{ $stage->{devices} };
    my @others = grep { !$affected{$stage->{devices}[$_]} }
                 0 .. $#{ $stage->{devices} };

    return {
        fault => $name, mode => $stage->{mode}, seconds => $over - $from,
        moving => delete $stage->{moving},
        counts(@calls), fate($stage, $from, @calls), taken($stage),
        gap => gap($from, $to, \@calls, 1, @devices),
        two_way => gap($from, $to, \@calls, 0, @devices),
        others => @others ? gap($from, $to, \@calls, 1, @others) : undef,
        plain => TB::Callers::gap($from, $to, map {
            $plain{$stage->{keys}{$_}} || [] } sort keys %affected),
    };
}


sub counts {
    my (@calls) = @_;

    my (%count, %kinds);

    for (@calls) {
        $count{$_->{status}}++;
        $kinds{join ' ', $_->{persistent} ? 'persistent' : 'two-way',
               $_->{status}, $_->{result} // ()}++ if $_->{status} ne '200';
    }

    my %wrong = map { $_ => $count{$_} } grep { !/^(?:200|503|504)$/ }
                keys %count;

    return ((map { $_ => $count{$_} || 0 } 200, 503, 504),
            other => sum0(values %wrong), wrong => \%wrong, results => \%kinds);
}


sub fate {
    my ($stage, $from, @calls) = @_;

    my %ids = map { $_->{id} => $_ } grep { defined $_->{id} } @calls;
    my $undone = undone($stage, keys %ids);
    my %by;

    push @{ $by{$undone->{$_}} }, $ids{$_}{end} - $from for keys %$undone;

    return (lost => scalar keys %$undone, undone => \%by);
}


# of what the bridges took since they were looked at last

sub taken {
    my ($stage) = @_;

    my ($twice, $again) = (0, 0);

    for my $log (@{ $stage->{logs} }) {
        open my $fh, '<', $log or next;
        seek $fh, $stage->{read}{$log} // 0, 0;

        while (my $line = <$fh>) {
            $twice++ if $stage->{taken}{$line}++;
            $again++ if $line !~ / 1$/;
        }

        $stage->{read}{$log} = tell $fh;
    }

    return (twice => $twice, again => $again);
}


sub gap {
    my ($from, $to, $calls, $persistent, @devices) = @_;

    return TB::Callers::gap($from, $to, map {
        TB::Callers::times($calls, $persistent, $_)
    } @devices);
}


# --- what has become of it --------------------------------------------------

# those of the persistent calls that are not done: { id => what its record says }

sub undone {
    my ($stage, @ids) = @_;

    my %left = map { $_ => '' } @ids;

    wait_for {
        my @left = sort keys %left;
        my @results = TB::Load::run(
            port => $stage->{nginx}{port}, parallel => 8, timeout => 60,
            requests => [ map {
                TB::Client::text('GET', "/api/rpc/persistent/$_", undef,
                                 'X-Authorization' => 'Bearer '
                                                      . macro('token:tenant'))
            } @left ]);

        for my $i (0 .. $#left) {
            my $r = $results[$i];
            my ($status) = ($r->{body} // '') =~ /"status":"(\w+)"/;

            $left{$left[$i]} = $status // $r->{status} // $r->{error};
            delete $left{$left[$i]} if ($status // '') eq 'SUCCESSFUL';
        }

        # what is not there will not come
        !grep { $_ ne '404' } values %left;
    } 60;

    return \%left;
}


# --- faults -----------------------------------------------------------------

# another master than this one has the slots of that device

sub taken_over {
    my ($stage, $master, $name) = @_;

    my $cluster = $stage->{cluster};

    wait_for {
        my $now = $cluster->master_of_shard($stage->{shard}{$name});

        defined $now && $now != $master && $cluster->is_master($now);
    } 60 or die "no other master\n";
}


sub kill_master {
    my ($stage, $master, $name) = @_;

    $stage->{cluster}->kill($master);
    taken_over(@_);
    sleep 1;
    $stage->{cluster}->start($master);
}


sub by_hand {
    my ($stage, $master) = @_;

    $stage->{cluster}->failover(($stage->{cluster}->replicas_of($master))[0]);
}


# how long it took to move the slot that took longest

sub timed {
    my ($stage) = @_;

    my $since;

    return sub {
        my ($what) = @_;

        $since = time() if $what eq 'migrating';
        $stage->{moving} = max($stage->{moving} // 0, time() - $since)
            if $what eq 'assigned';
    };
}


sub reshard {
    my ($stage) = @_;

    my $cluster = $stage->{cluster};
    my %of;

    push @{ $of{$cluster->master_of_shard($_)} }, $_ for 0 .. 127;

    my @masters = sort keys %of;
    my %next = map { $masters[$_] => $masters[($_ + 1) % @masters] }
               0 .. $#masters;

    my @timed = (hook => timed($stage));

    $cluster->reshard($_, $next{$_}, shards => $of{$_}, @timed) for @masters;
    $cluster->reshard($next{$_}, $_, shards => $of{$_}, @timed) for @masters;
}


sub node {
    my ($stage, $master, $name) = @_;

    my $cluster = $stage->{cluster};
    my @shards = grep { $cluster->master_of_shard($_) == $master } 0 .. 127;
    my $new = $cluster->add_node();

    # no replica can say for "wait" that it has something, and
    # min-replicas-to-write would refuse

    $cluster->add_node(replica_of => $new);
    $cluster->call($_, 'CONFIG', 'SET', 'min-replicas-to-write',
                   $stage->{mode} eq 'min' ? 1 : 0) for $new, $new + 1;
    my @timed = (hook => timed($stage));

    $cluster->reshard($master, $new, shards => \@shards, @timed);
    sleep 0.5;
    $cluster->reshard($new, $master, shards => \@shards, @timed);
    wait_for { !$cluster->is_master($new) || !$cluster->slots_of($new) } 20;
    $cluster->del_node($_) for $new + 1, $new;
}


sub stop_master {
    my ($stage, $master) = @_;

    $stage->{cluster}->stop($master);
    taken_over(@_);
    sleep 1;
    $stage->{cluster}->cont($master);
}


sub isolated {
    my ($stage, $master) = @_;

    my ($host, @others) = map { $stage->{cluster}->node($_)->{host} }
        $master, grep { $_ != $master } $stage->{cluster}->running();

    $stage->{net}->cut($host, @others);
    taken_over(@_);
    sleep 2;
    $stage->{net}->heal();
}


sub cut_off {
    my ($stage, $master) = @_;

    $stage->{net}->cut($stage->{cluster}->node($master)->{host});
    taken_over(@_);
    sleep 2;
    $stage->{net}->heal();
}


sub s_taken_over {
    my ($stage, $old) = @_;

    wait_for { my $now = $stage->master(); $now && $now != $old } 60
        or die "no other master\n";
}


sub s_kill {
    my ($stage) = @_;

    my $old = $stage->master();

    kill 'KILL', $old->{pid};
    $old->stop();
    s_taken_over($stage, $old);
    sleep 1;
    $old->{library} = 0;
    $old->go();
}


sub s_by_hand {
    my ($stage) = @_;

    my $old = $stage->master();

    $stage->{sentinel}[0]->call('SENTINEL', 'FAILOVER', 'main');
    s_taken_over($stage, $old);
}


# what is written after the replica became a master would be lost

sub s_planned {
    my ($stage) = @_;

    $stage->master()->call('CLIENT', 'PAUSE', 5000, 'WRITE');
    s_by_hand($stage);
}


sub s_stop {
    my ($stage) = @_;

    my $old = $stage->master();

    $old->pause();
    s_taken_over($stage, $old);
    sleep 1;
    $old->resume();
}


1;
