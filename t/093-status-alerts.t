# docs/prometheus-alerts.yml and docs/grafana-dashboard.json: each metric and
# each value of a label in them is one that nginx or the bridge tells.
#
# runs: side by side, 2 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(root scaled);
use TB::Fixture;
use TB::Metrics;
use TB::Nginx;

redis();
device('off', bridge => 'b1');

my $nginx = TB::Nginx->start(config => 'location /api/rpc/ { tb_rpc  v2; }
location = /metrics { tb_rpc_status  prometheus; }');


sub text {
    my ($path) = @_;

    open my $fh, '<', root() . "/$path" or die "$path: $!\n";
    local $/;

    return scalar <$fh>;
}

sub metrics {
    my $client = TB::Client->new($nginx->{port},
                                 TB::Client::text('GET', '/metrics'));

    return $client->answer(scaled(10))->{body};
}


is($nginx->call('off', 'm', '1', persistent => 1)->{status}, 200, 'a call');
soon { metrics() =~ /^tb_rpc_queue_calls\{bridge="b1"\} 1$/m } 'it waits';

my ($values) = TB::Metrics::parse(metrics());
my %there = map { (/^(\w+)/)[0] => 1 } keys %$values;

# those of the bridge, by their table

$there{"tb_rpc_bridge_$_"} = 1
    for text('bridge/app/metrics.c') =~ /tb_metrics_gauge\(m, f, "(\w+)"/g;
$there{"tb_rpc_bridge_${_}_total"} = 1
    for text('bridge/app/metrics.c') =~ /TB_COUNTER\((\w+), *(?:\n *)?"/g;

# values of labels that are constants of the module; results have their own
# table in capitals

my $names = text('src/count/ngx_http_tb_rpc_count.c')
            . lc text('src/http/ngx_http_tb_rpc_outcome.c')
            . '"ok" "hit" "miss"';

sub check {
    my ($what, @exprs) = @_;

    cmp_ok(scalar @exprs, '>', 5, "$what: expressions");

    my @metrics = map { /\b(tb_rpc_\w+)/g } @exprs;
    my @labels = map { split /\|/ }
                 map { /\b(?:operation|result|cause)(?:=~|!~|!=|=)\\?"(.*?)\\?"/g }
                 @exprs;

    is_deeply([grep { !$there{$_} } @metrics], [], "$what: its metrics");
    is_deeply([grep { $names !~ /"\Q$_\E"/ } @labels], [],
              "$what: its values of labels");
}


my $alerts = text('docs/prometheus-alerts.yml');
my @blocks = split /^      - alert:/m, $alerts;

shift @blocks;
check('alerts', map { /expr:(.*?)^ {8}(?:for|labels):/ms } @blocks);
is(scalar grep({ !/summary: "/ || !/severity: (?:page|ticket)/ } @blocks), 0,
   'each has a summary and a severity');

SKIP: {
    skip 'promtool is not installed', 1
        if system('command -v promtool > /dev/null') != 0;

    my $said = `promtool check rules @{[ root() ]}/docs/prometheus-alerts.yml`;

    is($?, 0, 'promtool takes them') or diag($said);
}

my $dashboard = JSON::PP::decode_json(text('docs/grafana-dashboard.json'));
my @panels = @{ $dashboard->{panels} };
my %ids = map { $_->{id} => 1 } @panels;

is(scalar keys %ids, scalar @panels, 'panels have ids of their own');
check('dashboard', map { $_->{expr} } map { @{ $_->{targets} } } @panels);

$nginx->clean();

done_testing();
