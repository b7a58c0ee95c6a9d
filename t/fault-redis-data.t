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


sub persistent {
    my ($device, $params) = @_;

    return $nginx->call($device, 'x', $params // '1', persistent => 1,
                        timeout => 600_000);
}


sub id_of { return ($_[0]{body} =~ /([0-9a-f]{8}-[0-9a-f-]{27})/)[0] }


sub status {
    my ($id) = @_;

    my $r = $nginx->get("/api/rpc/persistent/$id");

    return $r->{status} == 200 ? ($r->{body} =~ /"status":"(\w+)"/)[0]
                               : $r->{status};
}


sub again {
    my ($row) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    soon { $nginx->call('e1', 'echo', '[1]', timeout => 1000)->{body}
           eq '[1]' } "$row->{name}: calls work again", 20;
}


# no file of Redis may be larger than it is now, or any size

sub disk {
    my ($full) = @_;

    my ($aof) = grep { /incr/ } glob "$_[1]{dir}/appendonlydir/*.aof";
    my $size = $full ? -s $aof : 'unlimited';

    return system('prlimit', '--pid', $_[1]{pid},
                  "--fsize=$size:unlimited") == 0;
}


again({ name => 'first' });

SKIP: {
    my $old = id_of(persistent('off'));
    my $row = TB::FaultRow->begin('the disk of Redis is full',
                                  nginx => $nginx, redis => redis());

    skip 'there is no "prlimit"', 8 if !disk(1, redis());

    soon { persistent('off')->{status} == 503 } 'noticed within a second';
    $row->told('two-way', $nginx->call('e1', 'x', '1'));
    $row->told('persistent', persistent('e1'));
    $row->kept('what was answered 200', status($old), 'QUEUED');
    disk(0, redis());
    again($row);

    my $new = id_of(persistent('off'));

    kill 'KILL', redis()->{pid};
    redis()->stop();
    redis()->go();
    again($row);
    $row->kept("$_, after a kill -9", status($_), 'QUEUED') for $old, $new;
    $row->end();
}

SKIP: {
    my $old = id_of(persistent('off'));
    my $row = TB::FaultRow->begin('the disk is full, with appendfsync always',
                                  nginx => $nginx, redis => redis());

    redis()->call('CONFIG', 'SET', 'appendfsync', 'always');
    skip 'there is no "prlimit"', 8 if !disk(1, redis());

    # it ends itself before it replies
    $row->told('persistent', persistent('off'));
    $row->told('persistent', persistent('off'));
    soon { kill 0, redis()->{pid} and waitpid redis()->{pid}, 1 } 'it has gone';
    redis()->stop();
    redis()->go();
    again($row);
    $row->kept('what was answered 200', status($old), 'QUEUED');
    $row->end();
}

{
    reconnect();

    my $held = $nginx->open('d1', 'x', '[7]', timeout => 3000);
    my $row = TB::FaultRow->begin('Redis comes back empty', nginx => $nginx);

    $bridge->take(1);

    my $id = id_of(persistent('off'));

    redis()->stop();
    redis()->wipe();
    redis()->go();
    soon { redis()->call('EXISTS', 'tb:{s127}:config') } 'nginx is back';
    $row->told('its device is not known', $nginx->call('e1', 'x', '1'));
    $row->told('held', $held->answer());
    provision();
    again($row);
    $row->kept('what was answered 200', status($id), 404);
    $row->end();
}

{
    reconnect();

    my $deleted = id_of(persistent('off'));
    my $open = id_of(persistent('d1', '[8]'));

    redis()->call('SAVE');
    copy(redis()->{dir} . '/dump.rdb', scratch() . '/old.rdb')
        or die "dump.rdb: $!\n";

    # what happens since

    my $later = id_of(persistent('off'));

    $nginx->get("/api/rpc/persistent/$deleted");
    is(TB::Client->new($nginx->{port}, TB::Client::text('DELETE',
           "/api/rpc/persistent/$deleted", undef, 'X-Authorization' =>
           'Bearer ' . macro('token:tenant')))->answer()->{status}, 200,
       'one is deleted');
    $bridge->answer($bridge->take(1));
    is(status($open), 'SUCCESSFUL', 'one is done');

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
    again($row);
    $row->told('since the backup',
               $nginx->get("/api/rpc/persistent/$later"));
    $row->kept('what was deleted is there again', status($deleted), 'QUEUED');
    $row->kept('what was done is open again', status($open), 'QUEUED');
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
