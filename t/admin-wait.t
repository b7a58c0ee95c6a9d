#!/usr/bin/perl

# tb-rpc-admin --redis-wait: what it changes is at so many replicas, or it says
# that it is not known; who was disabled stays so when the master is lost.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Cluster;
use TB::Env qw(file_in scaled);
use TB::Login;
use TB::Mqtt qw(output);
use TB::Nginx;
use TB::RedisServer;

my $TENANT = $TB::Mqtt::TENANT;
my $DEVICE = 'de000000-0000-11ee-8000-000000000001';
my @replication = (args => ['--masterauth', $TB::RedisServer::PASSWORD{admin}]);
my $master = TB::RedisServer->start(@replication);
my $replica = TB::RedisServer->start(@replication, library => 0);
my $secret = file_in('secret', "correct horse\n");
my @secret = ('--password-file', $secret, '--scrypt', 'ln=10,r=8,p=1');
my @operator = ('--redis-user', 'operator', '--redis-password-file',
                file_in('redis-password',
                        "$TB::RedisServer::PASSWORD{operator}\n"));
my @admin = (TB::Mqtt::admin(), @operator, '--redis',
             "redis://127.0.0.1:$master->{port}");
my $nginx = TB::Nginx->start(redis_port => $master->{port},
                             config => 'location /api/auth/ { tb_rpc_login; }');
my $login = TB::Login->new($nginx);
my $time = scaled(200);
my ($status, $text);

sub admin { return (($status, $text) = output(@admin, @_))[0] }


sub waits {
    my ($server) = @_;

    return ($server || $master)->call('INFO', 'commandstats')
           =~ /^cmdstat_wait:calls=(\d+)/m ? $1 : 0;
}


sub is_replicated { return $master->call('WAIT', 1, 200) == 1 }


$replica->call('REPLICAOF', '127.0.0.1', $master->{port});
soon { $master->call('SET', 'x', 1); is_replicated() } 'there is a replica', 60;

# enough --------------------------------------------------------------------------

my @commands = (
    ['device add', $DEVICE, '--tenant', $TENANT],
    ['token add', $DEVICE, 'a token'],
    ['token add', $DEVICE],
    ['token del', '--device', $DEVICE],
    ['device import', file_in('devices.csv', "id,name\n$DEVICE,pump 1\n"),
     '--tenant', $TENANT],
    ['calls purge', $DEVICE],
    ['device del', $DEVICE],
    ['api-key add', '--tenant', $TENANT],
    ['api-key disable', '-'], ['api-key enable', '-'], ['api-key del', '-'],
    ['user add', 'ann', '--tenant', $TENANT, @secret],
    ['user passwd', 'ann', @secret],
    ['user disable', 'ann'], ['user enable', 'ann'],
    ['user sessions', 'ann', '--end', 'all'],
    ['user del', 'ann']
);

# A key that was made before is on the standard input.  What each has printed.

sub each_with {
    my ($expected, @wait) = @_;

    my ($key, @printed) = '';

    for (@commands) {
        my ($words, @more) = @$_;

        # newer Redis have nothing to confirm where nothing was written
        admin('call', $DEVICE, 'x', '--persistent') if $words eq 'calls purge';
        $login->login('ann', 'correct horse') if $words eq 'user sessions';

        my $before = waits();

        ($status, $text) = output('bash', '-c', 'printf "%s\\n" "$0" | "$@"',
                                  $key, @admin, @wait, split(/ /, $words),
                                  @more);
        is($status, $expected, "$words: $expected") or diag $text;
        is(waits(), $before + 1, 'it asks for replicas');
        $key = $1 if $words eq 'api-key add' && $text =~ /^(tb_\S+)$/m;
        push @printed, $text;
    }

    return @printed;
}


each_with(0, '--redis-wait', '1:30000');

# too few -------------------------------------------------------------------------

admin(qw(user add bob --tenant), $TENANT, @secret);
soon { is_replicated() } 'the replica has bob', 60;
$replica->pause();

my $before = waits();

is(admin(qw(user disable bob)), 0, 'by default');
is(waits(), $before, 'nobody is asked');

my @printed = each_with(3, '--redis-wait', "1:$time");
my %printed = map { $commands[$_][0] => $printed[$_] } 0 .. $#commands;

for my $words ('device del', 'api-key disable', 'user disable', 'user del') {
    like($printed{$words}, qr/^tb-rpc-admin: it is done, but 0 of the 1[^\n]*\n\z/,
         "$words: not as if it were done");
}

like($printed{'device del'},
     qr/ replicas of redis:\S+ that --redis-wait asks for had it after $time ms: /,
     'why');
like($printed{'api-key add'}, qr/^tb_\S+\n/, 'a new key is told all the same');
like($printed{'token add'}, qr/^\S+\n.*replicas/s, 'so is a new token');
like($printed{'device import'}, qr/1 rows? .*\n.*replicas/s,
     'and how an import went');

$before = waits();
is(admin('--redis-wait', "1:$time", qw(user list)), 0, 'who only looks');
is(waits(), $before, 'does not ask');
is(admin('--redis-wait', "1:$time", qw(user del nobody)), 1,
   'what is not there');
like($text, qr/there is no user "nobody"/, 'in words');

# where it may be said: what is nearer counts more

{
    local $ENV{TB_RPC_CONFIG} = file_in('admin.conf', "redis-wait  1:$time\n");

    is(admin(qw(user disable bob)), 3, 'in a file');
    is(admin(qw(--redis-wait 0 user disable bob)), 0, 'not this time');

    local $ENV{TB_RPC_REDIS_WAIT} = '0';

    is(admin(qw(user disable bob)), 0, 'in the environment');
}

for my $wrong ('x', '101', '1:', '1:0', '1:30001', '-1', '1:1s', ':5') {
    is(admin("--redis-wait=$wrong", qw(user list)), 2, "--redis-wait $wrong");
    like($text, qr/--redis-wait\S* (?:N:MS )?must be a number from/, 'in words');
}

$replica->resume();
soon { is_replicated() } 'the replica is back', 60;
is(admin('--redis-wait', '2:' . scaled(3000), qw(user disable bob)), 3,
   'one of two');
like($text, qr/ 1 of the 2 replicas /, 'in words');

# it is not known -----------------------------------------------------------------

$master->call('ACL', 'SETUSER', 'operator', '-wait');
is(admin('--redis-wait', "1:$time", qw(user enable bob)), 3,
   'without the right to');
like($text, qr/not known whether replicas have it: .*NOPERM/, 'in words');

# seen by one who may see rights
{
    local $ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};
    my @check = (TB::Mqtt::admin(), '--redis', $admin[-1], 'check',
                 '--admin-user', 'operator');

    unlike((output(@check))[1], qr/operator may not/, 'check');
    like((output(@check, '--redis-wait', '1'))[1],
         qr/^failed +rights +operator may not: wait 0 1 /m, 'check --redis-wait');
}

$master->call('ACL', 'SETUSER', 'operator', '+wait');

# the master is lost --------------------------------------------------------------

is(admin('--redis-wait', '1:30000', qw(user disable bob)), 0, 'disabled');
kill 'KILL', $master->{pid};
$master->stop();
$replica->call('REPLICAOF', 'NO', 'ONE');
is($replica->call('HGET', 'tb:user:bob', 'enabled'), 0,
   'and stays so when the master is lost');
$replica->stop();

# a cluster: those are asked that were written to ---------------------------------

my $cluster = TB::Cluster->new(masters => 3, node_timeout => 30000);
# "add" looks at PREFIXmeta as well

my ($prefix) = grep { $cluster->master_of("${_}meta")
                      != $cluster->master_of("${_}users") }
               map { "tb:$_:" } 'a' .. 'z';
my $index = $cluster->master_of("${prefix}users");
my ($there) = grep { $cluster->master_of("${prefix}user:$_") == $index }
              'a' .. 'z';
my ($away) = grep { $cluster->master_of("${prefix}user:$_") != $index }
             'a' .. 'z';

# which the operator has no right to
local $ENV{REDISCLI_AUTH} = $TB::RedisServer::PASSWORD{admin};

@admin = (TB::Mqtt::admin(), '--redis-cluster', '--redis',
          'redis://127.0.0.1:' . $cluster->node(0)->{port}, '--prefix', $prefix);

for ([1, 'add', $there, '--tenant', $TENANT, @secret], [1, 'del', $there],
     [2, 'add', $away, '--tenant', $TENANT, @secret], [2, 'del', $away])
{
    my ($masters, @command) = @$_;
    my @before = map { waits($cluster->node($_)) } 0 .. 2;

    is(admin('--redis-wait', "1:$time", 'user', @command), 3,
       "a cluster without replicas: user @command[0, 1]");
    is(scalar(grep { waits($cluster->node($_)) == $before[$_] + 1 } 0 .. 2),
       $masters, "$masters of its masters asked");
}

$cluster->cleanup();

done_testing();
