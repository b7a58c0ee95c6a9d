# The function library: users, tries to log in, sessions and their refresh
# tokens; who may call what, and a cluster that moves a user's slot.
#
# runs: side by side, 3 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha1_hex sha256_hex);
use Test::More;

use TB::Env qw(free_port wait_for);
use TB::Functions;
use TB::RedisServer;

my $f = TB::Functions->new(clock => 1);
my $T = $TB::Functions::TENANT;
my $ID = 'a0000000-0000-11ee-8000-00000000000a';
my $CUSTOMER = 'c0000000-0000-11ee-8000-00000000000a';
my $n = 0;

sub hash {
    my $key = $_[0] // 'a2V5';

    return '$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$' . $key . 'A' x (43 - length $key);
}


# what a try says of a password, whatever its hash is by now

sub seen { return sha1_hex(hash(@_)) }
sub key { return "tb:user:$_[0]" }
sub root { return $f->root->cmd(@_) }
sub session { return sprintf 'de000000-0000-41ee-8000-%012x', $_[0] }
sub sessions { return root('HGETALL', '{' . key($_[0]) . '}:sessions') }
sub nginx { my $name = shift; return $f->{nginx}->fcall(shift, key($name),
                                                        @_) }
sub admin { my $name = shift; return $f->{admin}->fcall(shift, key($name),
                                                        @_) }


sub user {
    my ($name, %o) = @_;

    return admin($name, 'user_put', $o{id} // $ID, $T, $o{customer} // '',
                 $o{authority} // 'TENANT_ADMIN', $o{enabled} // 1,
                 $o{name} // $name, $o{hash} // hash(), 'Ann', 'Other');
}


sub ended { return nginx($_[0], 'login_try_end', 3, 60000, $_[1]) }
sub try { return nginx($_[0], 'login_try', 3, 60000, 100, 250) }


sub done {
    my ($name, $session, $jti, %o) = @_;

    return nginx($name, 'login_done', session($session), sha256_hex($jti),
                 $o{ttl} // 60000, $o{max} // 3, $o{seen} // seen(),
                 exists $o{hash} ? $o{hash} : (),
                 $o{only} ? (exists $o{hash} ? () : '', 1) : ());
}


sub refresh {
    my ($name, $session, $old, $new) = @_;

    return nginx($name, 'login_refresh', session($session),
                 sha256_hex($old), sha256_hex($new), 60000);
}


# users -----------------------------------------------------------------------

is(user('ann@example.com', name => 'Ann@Example.com'), 1, 'user_put');
is(user('ann@example.com', id => session(1)), 0, 'once');
is(root('HGET', key('ann@example.com'), 'id'), $ID, 'nothing has changed');
like(user('Ann'), qr/^ERR tb_rpc: 1 key is needed/, 'a name in capitals');
like(user('a{b'), qr/^ERR tb_rpc/, 'a name with a brace');
like(user("a\nb"), qr/^ERR tb_rpc/, 'a name with a line feed');
like(user('x' x 256), qr/^ERR tb_rpc/, 'a name that is too long');
like(user('bob', name => 'rob'), qr/name is not that of the key/,
     'another name');
like(user('bob', hash => 'secret'), qr/^ERR tb_rpc: the hash is not/,
     'a password instead of a hash');
like(user('bob', hash => '$scrypt$' . $_), qr/^ERR tb_rpc: the hash is not/,
     "a hash that nginx can't compute: $_")
    for 'ln=9,r=8,p=1$c2FsdHNhbHQ$' . 'A' x 43,
        'ln=21,r=1,p=1$c2FsdHNhbHQ$' . 'A' x 43,
        'ln=14,r=33,p=1$c2FsdHNhbHQ$' . 'A' x 43,
        'ln=14,r=8,p=17$c2FsdHNhbHQ$' . 'A' x 43,
        'ln=20,r=8,p=1$c2FsdHNhbHQ$' . 'A' x 43,
        'ln=14,r=8,p=1$c2FsdHM$' . 'A' x 43,
        'ln=14,r=8,p=1$c2FsdHNhbHQ$' . 'A' x 42;
like(user('bob', hash => ''), qr/public customer/, 'no hash');
like(user('bob', authority => 'ROOT'), qr/authority "ROOT"/, 'no authority');
like(user('bob', authority => 'CUSTOMER_USER'), qr/needs a customerId/,
     'no customer');
like(user('bob', enabled => 2), qr/enabled is 0 or 1/, 'enabled 2');
is(root('EXISTS', key('bob')), 0, 'none of these is there');

for my $who (qw(nginx bridge)) {
    my $reply = $f->{$who}->fcall('user_put', key('eve'), $ID, $T, '',
                                  'TENANT_ADMIN', 1, 'eve', hash());

    # nginx writes hashes, too: its rights don't tell one from the other
    $who eq 'nginx' ? is($reply, 1, 'nginx could')
                    : like($reply, qr/NOPERM/, 'a bridge may not');
}

admin('eve', 'user_del');

for my $name ('zoe', 'user:zoe') {
    my $key = "my-user:user:$name";

    is(root('FCALL', 'tb_rpc_user_put', 1, $key, $ID, $T, '', 'TENANT_ADMIN',
            1, $name, hash()), 1, "$key: a prefix may have user:");
    root('DEL', $key);
}

# tries -----------------------------------------------------------------------

for my $name ('ann@example.com', 'nobody') {
    my @r = map { my $r = try($name); ended($name, 1); $r } 1 .. 5;

    is_deeply([map { $_->[0] } @r], [('ok') x 3, ('locked') x 2],
              "$name: three tries");
    is_deeply([map { $_->[1] } @r[0 .. 2]], [0, 100, 200],
              'each waits longer');
    is($r[3][1], 60000, 'then a lock');
    is(scalar @{ $r[0] }, $name eq 'nobody' ? 2 : 13, 'and who it is');
    $f->pass(59999);
    is_deeply(try($name), ['locked', 1], 'until its end');
    $f->pass(1);
    is(try($name)->[0], 'ok', 'and no longer');
    cmp_ok(root('PTTL', '{' . key($name) . '}:tries'), '<=', 60000,
           'it is forgotten by itself');
}

is_deeply([@{ try('ann@example.com') }[2 .. 12]],
          [hash(), 1, seen(), $ID, 'Ann@Example.com', $T, '', 'TENANT_ADMIN', 'Ann',
           'Other', root('HGET', key('ann@example.com'), 'createdTime')],
          'all that a token says');
is(done('ann@example.com', 1, 'j1')->[0], 'ok', 'a try that was good');
ended('ann@example.com', 0);
is(root('EXISTS', '{' . key('ann@example.com') . '}:tries'), 0,
   'clears the tries');
is(try('ann@example.com')->[1], 0, 'the next one waits for nothing');
like(nginx('x', 'login_try', 0, 1, 1, 1), qr/^ERR tb_rpc/, 'max 0');
like(nginx('x', 'login_try', 1, 1, 1), qr/^ERR tb_rpc/, 'no max delay');
is(nginx('zero', 'login_try', 9, 1000, 0, 0)->[1] // '', 0, 'no delay at all');
is(nginx('zero', 'login_try', 9, 1000, 0, 0)->[1] // '', 0, 'nor then');

# addresses

{
    my $a = 'tb:login:7f000001';
    my $from = sub { $f->{nginx}->fcall('login_address', $a, 3, 60000) };
    my $end = sub { $f->{nginx}->fcall('login_address_end', $a, 3, 60000,
                                       @_) };

    is($end->(0), 1, 'an address that is not known');
    is(root('EXISTS', $a), 0, 'stays so');
    is_deeply([map { $from->()[0] } 1 .. 4], [qw(ok ok ok busy)],
              'three tries from an address at a time');
    is($end->(0), 1, 'one was good');
    is($from->()[0], 'ok', 'that gives one try back');
    is_deeply($from->(), ['busy'], 'and no more');
    root('PEXPIRE', $a, 40000);
    $end->(1);
    cmp_ok(root('PTTL', $a), '>', 50000, 'failures are known for so long');
    root('PEXPIRE', $a, 40000);
    $end->(1);
    is_deeply($from->(), ['busy'], 'two have failed, one is under way');
    $end->(0);
    is($from->()[0], 'ok', 'and one more');
    cmp_ok(root('PTTL', $a), '<=', 40000,
           'from the first one on, whatever comes then');
    $end->(1);
    cmp_ok(root('PTTL', $a), '>', 50000, 'but a lock is as long');
    is_deeply($from->(), ['locked', 60000], 'the third one locks');
    $end->(1);
    $f->pass(59999);
    is_deeply($from->(), ['locked', 1], 'for so long');
    $f->pass(1);
    is($from->()[0], 'ok', 'and then no more');
    $end->(0);
    is(root('EXISTS', $a), 0, 'all good: nothing is kept');
    like($f->{nginx}->fcall('login_address_end', $a, 3, 60000), qr/^ERR tb_rpc/,
         'has it failed?');

    for ('tb:login:', 'tb:login:xy', 'tb:{s000}:login:7f') {
        like($f->{admin}->fcall('login_address', $_, 3, 60000),
             qr/^(?:ERR tb_rpc|NOPERM)/, "$_ is no address");
    }
}

# sessions --------------------------------------------------------------------

{
    my $u = 'ben';

    user($u);
    is_deeply(done($u, 1, 'j1', seen => seen('b3RoZXI')), ['changed'],
              'another password meanwhile');
    admin($u, 'user_enable', 0);
    is_deeply(done($u, 1, 'j1'), ['changed'], 'disabled meanwhile');
    admin($u, 'user_enable', 1);
    is_deeply(done('nobody', 1, 'j1'), ['changed'], 'gone meanwhile');
    is_deeply(sessions($u), [], 'no session');

    is_deeply(done($u, 1, 'j1'), ['ok'], 'a session');
    unlike(join(' ', @{ sessions($u) }), qr/j1/, 'without its jti');
    is_deeply(done($u, 1, 'j1'), ['ok'], 'and again, as nginx may ask');
    is(scalar @{ sessions($u) }, 2, 'is the same one');

    my $r = refresh($u, 1, 'j1', 'j2');

    is_deeply([@$r[0, 1, 2]], ['ok', $ID, 'ben'], 'refreshed');
    is(refresh($u, 1, 'j1', 'j2')->[0], 'ok', 'the same command once more');
    is_deeply(refresh($u, 1, 'j1', 'j3'), ['used'], 'an old token');
    is_deeply(refresh($u, 1, 'j2', 'j3'), ['unknown'], 'ends the session');
    is_deeply(refresh($u, 2, 'j2', 'j3'), ['unknown'], 'no such session');
    is_deeply(refresh('nobody', 1, 'j2', 'j3'), ['unknown'], 'no such user');

    # a session that is used last goes last
    for (1 .. 3) { done($u, $_, "j$_"); $f->pass(10) }
    refresh($u, 1, 'j1', 'j1b');
    $f->pass(10);
    done($u, 4, 'j4');
    is_deeply([sort keys %{ { @{ sessions($u) } } }],
              [map { session($_) } 1, 3, 4], 'three of them at most');
    $f->pass(60000);
    done($u, 5, 'j5');
    is_deeply([keys %{ { @{ sessions($u) } } }], [session(5)],
              'what is over is dropped');
    cmp_ok(root('PTTL', '{' . key($u) . '}:sessions'), '>', 50000,
           'all of it goes by itself');
    done($u, 6, 'j6', ttl => 1000);
    cmp_ok(root('PTTL', '{' . key($u) . '}:sessions'), '>', 50000,
           'not before the last one is over');
    $f->pass(1000);
    is_deeply(refresh($u, 6, 'j6', 'j7'), ['unknown'], 'which is over');

    is(nginx($u, 'login_logout', session(5)), 1, 'logout');
    is(nginx($u, 'login_logout', session(5)), 0, 'once');
    is_deeply(refresh($u, 5, 'j5', 'j7'), ['unknown'], 'it is over');

    done($u, $_, "j$_") for 1, 2;
    is(admin($u, 'user_enable', 0), 1, 'disabled');
    is_deeply(sessions($u), [], 'sessions end');
    is_deeply(refresh($u, 1, 'j1', 'j7'), ['unknown'], 'at once');
    is(nginx($u, 'login_user')->[2], 0, 'login_user says so');
    admin($u, 'user_enable', 1);
    done($u, 1, 'j1');
    root('HSET', key($u), 'enabled', 0);
    is_deeply(refresh($u, 1, 'j1', 'j7'), ['disabled'],
              'by whatever means that came');
    root('HSET', key($u), 'enabled', 1);

    # a better hash, and a new password
    done($u, $_, "j$_") for 1, 2;
    is_deeply(done($u, 3, 'j3', hash => hash('bmV3')), ['ok'],
              'a better hash of the same password');
    is(root('HGET', key($u), 'hash'), hash('bmV3'), 'is kept');
    is(try($u)->[4], seen(), 'and is of the same password');
    ended($u, 0);
    is_deeply(done($u, 7, 'j7', hash => hash('bmV4'), max => 9),
              ['ok'],
              'two at the same time');
    is(nginx($u, 'login_logout', session(7)), 1, 'are both let in');
    done($u, 3, 'j3', hash => hash('bmV3'));
    is(scalar @{ sessions($u) }, 6, 'and ends no session');
    is_deeply(done($u, 3, 'j3', hash => hash('bmV3')), ['ok'],
              'the same command once more');
    is_deeply(done($u, 4, 'j4', hash => hash('bmV4'), only => 1), ['ok'],
              'another password');
    is_deeply(done($u, 4, 'j4', hash => hash('bmV4'), only => 1), ['ok'],
              'the same command once more');
    is_deeply(done($u, 5, 'j5'), ['changed'], 'the old one is over');
    is(try($u)->[4], seen('bmV4'), 'this is another one');
    ended($u, 0);
    is_deeply([keys %{ { @{ sessions($u) } } }], [session(4)],
              'ends the other sessions');
    is(admin($u, 'user_password', hash()), 1, "an operator's");
    is_deeply(sessions($u), [], 'ends all');
    done($u, 1, 'j1');
    done($u, 2, 'j2');
    is(admin($u, 'login_logout'), 2, 'all sessions of a user');
    is(admin($u, 'user_del'), 1, 'user_del');
    is(admin($u, 'user_del'), 0, 'once');
    is(admin($u, 'user_enable', 1), 0, 'user_enable makes none');
    is(admin($u, 'user_password', hash()), 0, 'nor does user_password');
    is_deeply(nginx($u, 'login_user'), ['unknown'], 'there is none');
    is(scalar @{ root('KEYS', '*user:ben*') }, 0, 'nothing is left');
}

# a public customer

is(user($CUSTOMER, hash => '', customer => $CUSTOMER,
        authority => 'CUSTOMER_USER'), 1, 'a public customer');
is_deeply([@{ nginx($CUSTOMER, 'login_user') }[0 .. 2]], ['ok', 1, 1],
          'is told apart');
is(scalar @{ try($CUSTOMER) }, 2, 'and has no password to try');
is(done($CUSTOMER, 1, 'j1', seen => $_)->[0], 'changed', 'nor a session')
    for '', sha1_hex('');
is(admin($CUSTOMER, 'user_password', hash()), 0, 'nor does it get one');

# keys of another type, a full Redis

root('SET', '{tb:user:odd}:sessions', 'x');
user('odd');
like(user('odd2') && done('odd', 1, 'j1'), qr/^ERR tb_rpc: the user, the tries or the sessions/,
     'a key of another type');
is(root('EXISTS', key('odd')), 0, 'is met before anything is written');
root('DEL', '{tb:user:odd}:sessions');
user('full');
done('full', 1, 'j1');
root('CONFIG', 'SET', 'maxmemory', 1);
like(try('full'), qr/^OOM/, 'a full Redis: no more tries');
is(refresh('full', 1, 'j1', 'j2')->[0], 'ok', 'sessions go on');
is(admin('full', 'user_enable', 0), 1, 'and end');
root('CONFIG', 'SET', 'maxmemory', 0);


# a slot that moves -----------------------------------------------------------

{
    my ($from, $to) = map {
        TB::RedisServer->start(args => ['--cluster-enabled', 'yes',
                                        '--cluster-port', free_port(),
                                        '--appendonly', 'no']);
    } 1, 2;

    $from->call('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
    $from->call('CLUSTER', 'MEET', '127.0.0.1', $to->{port},
                ($to->call('CONFIG', 'GET', 'cluster-port'))->[1]);
    ok(wait_for(sub {
        return 2 == grep { $_->call('CLUSTER', 'INFO')
                               =~ /^cluster_state:ok\r.*^cluster_known_nodes:2\r/ms }
                         $from, $to;
    }, 30), 'two nodes');

    my $key = key('mov');
    my $slot = $from->call('CLUSTER', 'KEYSLOT', $key);
    my %name = map { $_ => $_->call('CLUSTER', 'MYID') } $from, $to;

    is($from->call('CLUSTER', 'KEYSLOT', "{$key}:tries"), $slot,
       'all of a user is in a slot');
    $from->fcall('tb_rpc_user_put', $key, $ID, $T, '', 'TENANT_ADMIN', 1,
                 'mov', hash());
    is($from->fcall('tb_rpc_login_try', $key, 3, 60000, 0, 0)->[0], 'ok',
       'a try');
    $to->call('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $name{$from});
    $from->call('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $name{$to});
    $from->call('MIGRATE', '127.0.0.1', $to->{port}, '', 0, 5000, 'AUTH',
                $TB::RedisServer::PASSWORD{admin}, 'KEYS', "{$key}:tries");

    for (['login_try', 3, 60000, 0, 0], ['user_enable', 0],
         ['login_logout'])
    {
        my ($name, @args) = @$_;
        my $reply = $from->command('FCALL', "tb_rpc_$name", 1, $key, @args);

        like($reply, qr/^TRYAGAIN tb_rpc/, "$name: TRYAGAIN");
        unlike($reply, qr/mov/, 'without the name');
    }

    is($from->call('HGET', $key, 'enabled'), 1, 'nothing was changed');
}

done_testing();
