# Redis can't write to its disk, comes back without its data, and with older ones:
# what callers are told, what is kept, counted and logged is what docs/faults.md
# says.
#
# runs: side by side, 25 s
# not with --redis-cluster: it is the data of one server

use strict;
use warnings;

use File::Copy qw(copy);
use Test::More;

use TB::Env qw(scaled scratch);
use TB::FastBridge;
use TB::FaultCalls;
use TB::FaultRow;
use TB::Fixture;
use TB::Nginx;

# a limit of a file's size is a full disk to who ignores this signal, as the
# server does that inherits it

$SIG{XFSZ} = 'IGNORE';

redis(args => ['--appendfsync', 'everysec']);
redis()->{library} = 0;

my $nginx = TB::Nginx->start(
    http => 'tb_rpc_ack_timeout 1s;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location = /metrics { tb_rpc_status prometheus; }');
my $calls = TB::FaultCalls->new(nginx => $nginx, works => 'e1');
my $bridge;


sub provision {
    device('e1', bridge => 'b1');
    device('d1', bridge => 'b2');
    device('off');
}


sub reconnect {
    $bridge = TB::FastBridge->new(name => 'b2',
                                  connect => { redis()->access('bridge') });
}


provision();
reconnect();
TB::FastBridge->start(connect => { redis()->access('bridge') });


# no file of Redis may be larger than it is now, or any size

sub disk {
    my ($full) = @_;

    my ($aof) = grep { /incr/ } glob "$_[1]{dir}/appendonlydir/*.aof";
    my $size = $full ? -s $aof : 'unlimited';

    return system('prlimit', '--pid', $_[1]{pid},
                  "--fsize=$size:unlimited") == 0;
}


$calls->again();

SKIP: {
    my $old = id_of($calls->persistent('off'));
    my $row = TB::FaultRow->begin('the disk of Redis is full',
                                  nginx => $nginx, redis => redis());

    skip 'there is no "prlimit"', 8 if !disk(1, redis());

    soon { $calls->persistent('off')->{status} == 503 }
         'noticed within a second';
    $row->told('two-way', $nginx->call('e1', 'x', '1'));
    $row->told('persistent', $calls->persistent('e1'));
    $row->kept('what was answered 200', $calls->status($old), 'QUEUED');
    disk(0, redis());
    $calls->again($row);

    my $new = id_of($calls->persistent('off'));

    redis()->wait_written();
    kill 'KILL', redis()->{pid};
    redis()->stop();
    redis()->go();
    $calls->again($row);
    $row->kept("$_, after a kill -9", $calls->status($_), 'QUEUED')
        for $old, $new;
    $row->end();
}

SKIP: {
    my $old = id_of($calls->persistent('off'));
    my $row = TB::FaultRow->begin('the disk is full, with appendfsync always',
                                  nginx => $nginx, redis => redis());

    redis()->call('CONFIG', 'SET', 'appendfsync', 'always');
    skip 'there is no "prlimit"', 8 if !disk(1, redis());

    # it ends itself before it replies
    $row->told('persistent', $calls->persistent('off'));
    $row->told('persistent', $calls->persistent('off'));
    soon { kill 0, redis()->{pid} and waitpid redis()->{pid}, 1 } 'it has gone';
    redis()->stop();
    redis()->go();
    $calls->again($row);
    $row->kept('what was answered 200', $calls->status($old), 'QUEUED');
    $row->end();
}

{
    reconnect();

    my $held = $nginx->open('d1', 'x', '[7]', timeout => 8000);
    my $row = TB::FaultRow->begin('Redis comes back empty', nginx => $nginx);

    $bridge->take(1);

    my $id = id_of($calls->persistent('off'));

    redis()->stop();
    redis()->wipe();
    redis()->go();
    soon { redis()->call('EXISTS', 'tb:{s127}:config') } 'nginx is back';
    $row->told('its device is not known', $nginx->call('e1', 'x', '1'));
    $row->told('held', $held->answer());
    provision();
    $calls->again($row);
    $row->kept('what was answered 200', $calls->status($id), 404);
    $row->end();
}

{
    reconnect();

    my $deleted = id_of($calls->persistent('off'));
    my $open = id_of($calls->persistent('d1', '[8]'));

    redis()->call('SAVE');
    copy(redis()->{dir} . '/dump.rdb', scratch() . '/old.rdb')
        or die "dump.rdb: $!\n";

    # what happens since

    my $later = id_of($calls->persistent('off'));

    $nginx->get("/api/rpc/persistent/$deleted");
    is(TB::Client->new($nginx->{port}, TB::Client::text('DELETE',
           "/api/rpc/persistent/$deleted", undef, 'X-Authorization' =>
           'Bearer ' . macro('token:tenant')))->answer()->{status}, 200,
       'one is deleted');
    $bridge->answer($bridge->take(1));
    is($calls->status($open), 'SUCCESSFUL', 'one is done');

    my $row = TB::FaultRow->begin('Redis has an old backup', nginx => $nginx);
    my @args = @{ redis()->{args} };

    redis()->stop();
    redis()->wipe();
    copy(scratch() . '/old.rdb', redis()->{dir} . '/dump.rdb')
        or die "dump.rdb: $!\n";
    redis()->{args} = ['--appendonly', 'no'];
    redis()->go();
    redis()->{args} = \@args;
    redis()->call('CONFIG', 'SET', 'appendonly', 'yes');
    $calls->again($row);
    $row->told('since the backup',
               $nginx->get("/api/rpc/persistent/$later"));
    $row->kept('what was deleted is there again', $calls->status($deleted),
               'QUEUED');
    $row->kept('what was done is open again', $calls->status($open),
               'QUEUED');
    reconnect();

    my @calls = $bridge->take(1);

    $row->kept('and is done again', "$calls[0]{params} $calls[0]{attempt}",
               '[8] 1');
    $bridge->answer(@calls);
    $row->told('what is done now', $nginx->get("/api/rpc/persistent/$open"));
    $row->end();
}

is(scalar(grep { /start worker process / } split /\n/, $nginx->error_log()), 1,
   'the same worker');
$nginx->clean();

done_testing();
