# tb_rpc_status while Redis is away, stopped and back: health, the state of its
# connections, and pages that come all the same.
#
# runs: side by side, 15 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Metrics;
use TB::Nginx;

if ($ENV{TB_REDIS_CLUSTER}) {
    plan skip_all => 'one Redis is stopped here';
}

redis();
device('d1');

my $nginx = TB::Nginx->start(
    redis => 'command_timeout ' . scaled(3000) . 'ms;', config => <<'_EOC_');
location /api/rpc/  { tb_rpc  v2; }
location = /status  { tb_rpc_status; }
location = /metrics { tb_rpc_status  prometheus; }
location = /health  { tb_rpc_status  health; }
_EOC_


sub fetch {
    my ($path) = @_;

    my $client = TB::Client->new($nginx->{port},
                                 TB::Client::text('GET', $path));

    return $client->answer(10);
}

sub status { return JSON::PP::decode_json(fetch('/status')->{body}) }
sub node { return status()->{processes}[0]{nodes}[0] }

sub health {
    my $r = fetch('/health');

    return "$r->{status} $r->{body}";
}

sub metric {
    my ($name) = @_;

    my ($values, @errors) = TB::Metrics::parse(fetch('/metrics')->{body});

    return @errors ? "@errors" : $values->{$name};
}


soon { health() eq "200 ok\r\n" } 'ready';
is(fetch('/health')->{headers}{'content-type'}, 'text/plain', 'a text');
soon { node()->{subscription} eq 'ready' } 'both connections';
is(node()->{reconnects}, 0, 'for the first time');
soon { status()->{processes}[0]{shards} == 128 } 'all shards';


# it goes

redis()->stop();

soon { health() =~ /^503 Redis is not ready/ } 'away: 503';
is(node()->{ready}, JSON::PP::false, 'its node is not ready');
soon { node()->{command} ne 'ready' } 'nor its connection';
is(status()->{processes}[0]{shards}, 0, 'no shard');
soon { metric('tb_rpc_redis_connection_failures_total'
              . '{connection="command"}') >= 2 } 'it is tried again';

my $r = $nginx->call('d1', 'm', '1', persistent => 1);

is($r->{status}, 503, 'a call');
soon { (status()->{requests}{persistent}{redis_unavailable} || 0) == 1 }
    'it is counted';
is(status()->{redis}{unsent}, 1, 'its command was not sent');


# it comes back

redis()->go();

soon { health() eq "200 ok\r\n" } 'back: 200';
is(node()->{reconnects}, 1, 'once more');
is(status()->{redis}{connected}{command}, 2, 'twice in all');
soon { status()->{processes}[0]{shards} == 128 } 'all shards again';


# it hangs: what was written has no reply

redis()->pause();

$r = $nginx->call('d1', 'm', '1', timeout => 100);
is($r->{status}, 504, 'a call to one that hangs');

my $since = time();

is(fetch('/status')->{status}, 200, 'the page');
is(fetch('/metrics')->{status}, 200, 'the other one');
cmp_ok(time() - $since, '<', scaled(3), 'they do not wait for it');
soon { status()->{redis}{lost} >= 1 } 'a command is lost';
soon { health() =~ /^503 / } 'and it is noticed';

redis()->resume();

soon { health() eq "200 ok\r\n" } 'it goes on';


# health alone

$nginx->configure(config => 'location = /health { tb_rpc_status  health; }');
$nginx->reload();

soon { health() eq "200 ok\r\n" } 'health needs no tb_rpc';

my $body = fetch('/health');
is($body->{headers}{'cache-control'}, 'no-store', 'it is not to be kept');

$nginx->clean();

done_testing();
