# The state table of src/functions/machine.lua, cell by cell: an open call of
# each kind is brought into each state, and each event happens to it.  Where the
# table has an action, that is what is seen; where it has none, nothing changes,
# and a report is counted as ignored.
#
# runs: side by side, 6 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root);
use TB::Functions;

my $f = TB::Functions->new(clock => 1);
my $T = $TB::Functions::TENANT;
my $ACK = 2000;
my $RESPONSE = 5000;
my $LIFE = 60_000;

$f->config(ack_timeout => $ACK, response_timeout => $RESPONSE);


# the table, and what each kind has of it --------------------------------------

sub slurp {
    my ($file) = @_;

    open my $fh, '<', root() . "/src/functions/$file.lua"
        or die "$file.lua: $!\n";
    local $/;

    return scalar <$fh>;
}


my ($table) = slurp('machine') =~ /^local TABLE = \[\[\n(.*?)^\]\]/ms;
my ($first, @lines) = split /\n/, $table;
my @states = split ' ', $first;
my %cell;

for (@lines) {
    my ($event, @actions) = split ' ';

    is(scalar @actions, scalar @states, "$event has a cell for each state");
    @{ $cell{$event} }{@states} = @actions;
}

is("@states", 'p q s h d x', 'the states');

my %has = map {
    my $text = slurp($_ eq 'P' ? 'persistent' : 'light');

    ($_ => { map { $_ => 1 } $text =~ /^(?:function )?M\.(\w+)/mg });
} qw(P L);

my %used = map { $_ => 1 } map { values %$_ } values %cell;

for my $kind (qw(P L)) {
    is(join(' ', grep { !$used{$_} } sort keys %{ $has{$kind} }), '',
       "$kind: no action that is in no cell");
}


# a call in a state -------------------------------------------------------------

# what there is: device, bridge, call, its requestId, an ear

sub call_in {
    my ($state, %o) = @_;

    my $b = 'cell' . ++$o{n}[0];
    my $d = $f->device(strategy => $o{strategy} // 'burst');
    my $ear = $f->server->client(user => 'tb-nginx');
    my $w = { d => $d, b => $b, ear => $ear, %o };

    $f->report('attach', $d, $b, 's1', 10 ** 8) if $state ne 'h';

    my $r = $f->create($d, persistent => $o{kind} eq 'P' ? 1 : 0,
                       oneway => $o{oneway}, timeout => $LIFE);

    @$w{qw(id rid)} = @$r[1, 2];

    # p: was pushed, and came back

    $f->report('detach', $d, 's1') if $state eq 'p';
    $f->take($d, $b, claimer => $b, ticket => 1) if $state =~ /[sdx]/;
    $f->{nginx}->fcall('poll', $f->dkey($d), 'w2', 1, 1000) if $state eq 'h';
    $f->report('delivered', $d, $w->{rid}) if $state eq 'd';
    $f->report('timeout', $d, $w->{rid}) if $state eq 'x';

    die "not in $state\n" if $f->state_of($d, $w->{rid}) ne $state;

    # a one-way caller that was answered has forgotten it

    $f->root->cmd('DEL', $f->key($d, 'answer', $w->{id}));
    $ear->ssubscribe($f->key($d, 'reply', 'w1'));
    $f->pass(10);

    return $w;
}


sub status { return $_[0]{kind} eq 'P' ? $f->status(@{ $_[0] }{qw(d id)}) : '' }


# all that is seen of the call: "<state> <attempt> <status> <answer>"

sub seen {
    my ($w) = @_;

    my $c = $f->open_call($w->{d}, $w->{rid});
    my $answer = '-';

    # other calls of the shard may end in the meantime

    while (defined(my $said = ($w->{ear}->message(0.02))[1])) {
        $answer = substr $said, 36 if substr($said, 0, 36) eq $w->{id};
    }

    return join ' ', $c ? "$c->{state}$c->{attempt}" : 'gone', status($w) || '-',
                     $answer;
}


# everything that is stored about the device

sub all {
    my ($w) = @_;

    my $keys = $f->root->cmd('KEYS', $f->prefix($w->{d}) . '*');

    return join "\n", map { "$_ " . unpack 'H*', $f->root->cmd('DUMP', $_) }
                      sort grep { !/:(?:stats|clock-test|due|taken:.*)$/ } @$keys;
}


# events ------------------------------------------------------------------------

sub report {
    my ($name, @args) = @_;

    return sub {
        my ($w) = @_;

        return $f->report($name, $w->{d}, $w->{rid}, @args);
    };
}


# a reference to it is in the queue, wherever it came from

sub reference {
    my ($w) = @_;

    my $c = $f->open_call($w->{d}, $w->{rid});

    return "$w->{rid} $c->{attempt} " . substr($w->{id}, 0, 8) . " $w->{d}";
}


sub refer {
    my ($w) = @_;

    my $key = $f->key($w->{d}, 'queue', $w->{b});

    $f->root->cmd('RPUSH', $key, reference($w))
        if !$f->root->cmd('LLEN', $key);
}


sub due_now {
    my ($w) = @_;

    $f->root->cmd('ZADD', $f->key($w->{d}, 'due'), 'XX', $f->now,
                  $w->{kind} eq 'P' ? $w->{id} : "$w->{d}/$w->{rid}");
    $f->tick($w->{d});
}


my %event = (
    taken => sub { my ($w) = @_; refer($w);
                   $w->{got} = $f->take($w->{d}, $w->{b}, claimer => 'new') },
    again => sub { my ($w) = @_;
                   $f->root->cmd('SET', $f->key($w->{d}, 'taken', $w->{b}),
                                 "1\n" . reference($w));
                   $w->{got} = $f->take($w->{d}, $w->{b}, ticket => 1,
                                        claimer => $w->{b}) },
    delivered => report('delivered', ''), timeout => report('timeout', ''),
    respond => report('respond', '"r"'), failed => report('failed', '"f"'),
    return => sub { my ($w) = @_;
                    return $f->report('return', $w->{d}, $w->{rid}, 1, 's1') },
    moved => sub { my ($w) = @_; $f->report('detach', $w->{d}, 's1') },
    cancel => sub { my ($w) = @_;
                    $f->{nginx}->fcall('cancel', $f->dkey($w->{d}),
                                       @$w{qw(id rid)}) },
    deleted => sub { my ($w) = @_;
                     $f->{nginx}->fcall('delete', $f->key($w->{d}, 'rpc',
                                                          $w->{id}), $T) },
    orphaned => sub { my ($w) = @_;
                      $f->{admin}->fcall('device_del', $f->dkey($w->{d})) },
    overdue => sub { my ($w) = @_;
                     $f->pass($w->{state} eq 'd' ? $RESPONSE : $ACK);
                     due_now($w) },
    expired => sub { my ($w) = @_; $f->pass($LIFE + 3000); due_now($w) }
);

is_deeply([sort keys %event], [sort keys %cell], 'the events of the table');


# actions: what is seen afterwards ------------------------------------------------

# was its one-way caller answered before?

sub answered {
    my ($w) = @_;

    return $w->{kind} eq 'L' && $w->{oneway} && $w->{state} !~ /[pqh]/;
}


# by kind; a one-way call may differ

my %action = (
    claim => { P => 's1 SENT -', L => 's1 - -', L1 => 's1 - S' },
    claim_again => { P => 's1 SENT -', L => 's1 - -' },
    ack => { P => 'd1 DELIVERED -', P1 => 'gone DELIVERED -', L => 'd1 - -',
             L1 => 'gone - S' },
    retry => { P => 'q2 TIMEOUT -', L => 'x1 - -', L1 => 'gone - -' },
    answered => { P => 'gone SUCCESSFUL -', L => 'gone - A"r"',
                  L1 => 'gone - S' },
    give_up => { P => 'gone FAILED -', L => 'gone - F"f"' },
    put_back => { P => 'p1 QUEUED -', L => 'p1 - -' },
    recover => { P => 'p1 QUEUED -' },
    withdraw => { L => 'gone - -' },
    drop => { P => 'gone GONE -' },
    orphan => { P => 'gone FAILED -', L => 'gone - D' },
    unheard => { P => 'q2 TIMEOUT -', L => 'x1 - -', L1 => 'gone - -' },
    unsure => { P => 'p1 QUEUED -', L => 'p1 - -' },
    unanswered => { P => 'gone FAILED -', L => 'x1 - -' },
    expire => { P => 'gone EXPIRED -', L => 'gone - X' }
);

is_deeply([sort keys %action], [sort grep { $_ ne '-' } keys %used],
          'the actions of the table');

my %word = (p => 'offline', q => 'queued', s => 'sent', h => 'sent',
            d => 'sent', x => 'sent');


sub wanted {
    my ($w, $action) = @_;

    my $want = $action{$action}{ $w->{kind} . ($w->{oneway} ? 1 : '') }
               // $action{$action}{ $w->{kind} };

    $want =~ s/ \S+$/ -/ if answered($w);
    $want .= $word{ $w->{state} } if $want =~ /X$/;

    return $want;
}


# reports that are ignored are counted by the name of the event

my %counted = map { $_ => 1 } qw(delivered timeout respond failed return);


sub check {
    my ($event, %o) = @_;

    # one-way calls end where they are acknowledged, persistent ones have no x

    return if $o{state} =~ /[dx]/ && $o{oneway};
    return if $o{state} eq 'x' && $o{kind} eq 'P';

    # a lightweight one has no record that could be deleted; nobody cancels a
    # persistent one, and that a one-way caller is answered is the end of it

    return if $event eq 'deleted' && $o{kind} eq 'L';

    $o{strategy} = $event ne 'overdue' ? 'burst'
                 : $o{state} eq 'd' ? 'sequential_on_response'
                 : 'sequential_on_ack';

    my $w = call_in($o{state}, %o);
    my $action = $cell{$event}{ $o{state} };
    my $name = "$event, $o{state}, $o{kind}" . ($o{oneway} ? ', one-way' : '');

    $action = '-' if !$has{ $o{kind} }{$action}
                     || ($event eq 'cancel' && answered($w));

    # it is not expired while its turn lasts: first it is overdue

    $action = 'unheard' if $event eq 'expired' && answered($w);

    $w->{was} = status($w);
    refer($w) if $event eq 'taken';

    my ($before, $all) = (seen($w), all($w));
    my $ignored = $f->stats($w->{d}, "ignored_$event");

    $event{$event}->($w);

    my $count = $f->stats($w->{d}, "ignored_$event") - $ignored;

    if ($action ne '-') {
        is(seen($w), wanted($w, $action), "$name: $action");
        is($count, 0, "$name: not ignored");
        is(scalar @{ $w->{got} }, 2, "$name: its envelope") if $w->{got};
        return;
    }

    # what is left alone by an event that is about the whole device

    is(seen($w), $before, "$name: nothing");
    is($count, $counted{$event} ? 1 : 0, "$name: counted");
    is(scalar @{ $w->{got} }, 1, "$name: no envelope") if $w->{got};

    if ($event !~ /taken|moved|overdue/) {
        is(all($w), $all, "$name: not a byte has changed");
    }

    if ($event eq 'overdue') {
        my $moment = $f->root->cmd('ZSCORE', $f->key($w->{d}, 'due'),
            $w->{kind} eq 'P' ? $w->{id} : "$w->{d}/$w->{rid}");

        cmp_ok($moment, '>', $f->now, "$name: it is looked at later");
    }
}


my @n = (0);

for my $event (sort keys %cell) {
    for my $state (@states) {
        for my $kind (qw(P L)) {
            check($event, n => \@n, state => $state, kind => $kind,
                  oneway => $_) for 0, 1;
        }
    }
}

done_testing();
