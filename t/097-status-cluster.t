# tb_rpc_status of a Redis Cluster of which a part is away: health says that it
# is, and how much; JSON, the page and the metrics say which node.
#
# runs: side by side, 20 s
# not with --redis-tls, --redis-cluster: it has a cluster of its own

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Cluster;
use TB::Env qw(scaled);
use TB::Fixture;
use TB::Metrics;
use TB::Nginx;

plan skip_all => 'it has a cluster of its own'
    if $ENV{TB_REDIS_CLUSTER} || $ENV{TB_REDIS_TLS};

# without replicas nobody takes the place of one that is away
my $cluster = TB::Cluster->new(masters => 3, library => 0);
my $servers = join "\n", map { 'server ' . $cluster->url($_) . ';' } 1, 2;

my $nginx = TB::Nginx->start(
    workers => 2, redis_server => $cluster->url(0),
    redis => "$servers cluster on; command_timeout " . scaled(2000) . 'ms;',
    config => <<'_EOC_');
location /api/rpc/  { tb_rpc  v2; }
location = /status  { tb_rpc_status; }
location = /metrics { tb_rpc_status  prometheus; }
location = /page    { tb_rpc_status  html; }
location = /health  { tb_rpc_status  health; }
_EOC_


sub fetch {
    my ($path) = @_;

    return TB::Client->new($nginx->{port}, TB::Client::text('GET', $path))
                     ->answer(scaled(10));
}

sub status { return JSON::PP::decode_json(fetch('/status')->{body}) }

sub health {
    my $r = fetch('/health');

    return "$r->{status} $r->{body}";
}


# the nodes of a worker that are ready or not, with their shards

sub nodes {
    my ($process, $ready) = @_;

    return join ' ', sort map { "$_->{node} $_->{shards}" }
                          grep { $_->{ready} ? $ready : !$ready }
                          @{ $process->{nodes} };
}


# a cluster names its nodes by their addresses

sub addr { return '127.0.0.1:' . $cluster->port($_[0]) }

sub all {
    my ($what) = @_;

    my @all = @{ status()->{processes} };

    return @all == 2 && !grep { !$what->($_) } @all;
}


my @shards = (0) x 3;

$shards[$cluster->master_of(sprintf 'tb:{s%03o}:x', $_)]++ for 0 .. 127;

soon { health() eq "200 ok\r\n" } 'all masters are there', 30;
soon {
    all(sub { nodes($_[0], 1) eq join ' ', sort map { addr($_) . " $shards[$_]" }
                                                    0 .. 2 });
} 'each with its shards', 20 or diag(fetch('/status')->{body});
soon { all(sub { $_[0]{shards} == 128 }) } 'which are all';


# --- one is away ------------------------------------------------------------

$cluster->kill(1);

my $left = 128 - $shards[1];

soon { health() eq "200 ok, but Redis is ready for $left of 128 shards only\r\n" }
     'one master away: health says so, and lets callers come', 20
    or diag(health());
soon { all(sub { nodes($_[0], 0) eq addr(1) . " $shards[1]" }) }
     'JSON says which one, of each worker', 20
    or diag(fetch('/status')->{body});
soon { all(sub { $_[0]{shards} == $left }) } 'and how much is left';

my $page;

soon {
    $page = fetch('/page')->{body};
    $page =~ m{<b class="bad">Redis is ready for $left of 128 shards}
        && $page !~ m{<span class="bad">(?!${\ addr(1) }: )};
} 'the page says so first, and names no other one', 20 or diag($page);
like($page, qr{<span class="bad">${\ addr(1) }: }, 'but this one');

soon {
    my ($values, @errors) = TB::Metrics::parse(fetch('/metrics')->{body});
    my @down = grep { /^tb_rpc_redis_node_up\{.*connection="command"/
                      && !$values->{$_} } sort keys %$values;

    !@errors && 2 == grep({ index($_, addr(1)) > 0 } @down) && @down == 2
        && $values->{'tb_rpc_shards_ready{worker="0"}'} == $left;
} 'metrics do, of two workers', 20 or diag(fetch('/metrics')->{body});


# --- two, all, and back -----------------------------------------------------

$cluster->kill(2);
$left -= $shards[2];
soon { health() eq "200 ok, but Redis is ready for $left of 128 shards only\r\n" }
     'two masters away', 20 or diag(health());
$cluster->kill(0);
soon { health() =~ /^503 Redis is not ready/ } 'all of them: 503', 20;
soon { all(sub { $_[0]{shards} == 0 }) } 'no shard';
$cluster->start($_) for 0 .. 2;
soon { health() eq "200 ok\r\n" } 'all are back', 40;
soon { all(sub { nodes($_[0], 0) eq '' && $_[0]{shards} == 128 }) }
     'JSON has no other opinion', 20;
soon { fetch('/page')->{body} !~ /class="bad">/ } 'nor has the page', 20;

$nginx->clean();

done_testing();
