# docs/prometheus-alerts.yml and docs/grafana-dashboard.json: each metric and
# each value of a label in them is one that nginx or the bridge tells; and the
# dashboard is one that Grafana loads, by what its loader asks for (its types are
# in t/098-grafana.t; Grafana itself is not here).
#
# runs: side by side, 2 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(root);
use TB::Fixture;
use TB::Metrics;
use TB::Nginx;

redis();
device('off', bridge => 'b1');

my $nginx = TB::Nginx->start(config => 'location /api/rpc/ { tb_rpc  v2; }
location /api/auth/ { tb_rpc_login; }
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

    return $client->answer(60)->{body};
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

# those of MQTT devices, which are not there without stream{}

my $mqtt = text('src/status/ngx_http_tb_rpc_status_mqtt.c');

$there{"tb_rpc_$_"} = 1 for $mqtt =~ /_HEAD\("(\w+)"/g;

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

# what they count is there before it happens: Prometheus sees no increase in a
# series that begins with it

my @counted;

for my $labels (map { /\{(.*?\bresult=.*?)\}/g } @blocks) {
    my %of = $labels =~ /\b(operation|result)=~?"(.*?)"/g;

    for my $result (split /\|/, $of{result}) {
        push @counted, "operation=\"$_\",result=\"$result\""
            for split /\|/, $of{operation} || 'twoway';
    }
}

cmp_ok(scalar @counted, '>', 2, 'alerts of results');
is_deeply([grep { !exists $values->{"tb_rpc_requests_total{$_}"} } @counted],
          [], 'which are there from the start');

check('alerts', map { /expr:(.*?)^ {8}(?:for|labels):/ms } @blocks);
is(scalar grep({ !/summary: ["']/ || !/severity: (?:page|ticket)/ } @blocks), 0,
   'each has a summary and a severity');


# --- what Grafana needs to load a dashboard ---------------------------------

my $dashboard = JSON::PP::decode_json(text('docs/grafana-dashboard.json'));
my @panels = @{ $dashboard->{panels} };
my @variables = @{ $dashboard->{templating}{list} };
my @exprs = map { $_->{expr} } map { @{ $_->{targets} } } @panels;

check('dashboard', @exprs);


# what each of some has of a kind, if no two have the same

sub unique {
    my ($what, @values) = @_;

    my %seen;

    is_deeply([grep { !defined || $seen{$_}++ } @values], [], $what);
}


ok($dashboard->{schemaVersion} =~ /^\d+\z/ && $dashboard->{schemaVersion} >= 36
   && !ref $dashboard->{title} && length $dashboard->{title}
   && $dashboard->{uid} =~ /^[\w-]{1,40}\z/, 'it has a version and names');
ok(!exists $dashboard->{id}, 'and no id of the Grafana that it was made with');
unique('panels have ids of their own', map { $_->{id} } @panels);
unique('and titles', map { $_->{title} } @panels);
is_deeply([grep { $_->{type} !~ /^(?:stat|timeseries)\z/ || !@{ $_->{targets} }
                  || !length $_->{fieldConfig}{defaults}{unit} } @panels],
          [], 'and are of kinds that come with Grafana, with units');
unique("$_->{title}: its queries", map { $_->{refId} } @{ $_->{targets} })
    for @panels;

# none beside the 24 columns, none over another

my (%cells, @over);

for my $panel (@panels) {
    my ($x, $y, $w, $h) = @{ $panel->{gridPos} }{qw(x y w h)};

    push @over, "$panel->{title}: outside"
        if $x < 0 || $y < 0 || $w < 1 || $h < 1 || $x + $w > 24;

    for my $cell (map { my $c = $_; map { "$c $_" } $y .. $y + $h - 1 }
                  $x .. $x + $w - 1)
    {
        push @over, "$panel->{title}: over $cells{$cell}" if $cells{$cell};
        $cells{$cell} ||= $panel->{title};
    }
}

is_deeply(\@over, [], 'each panel has its place');

# whose Prometheus is asked is chosen by a variable, which is the first

is($variables[0]{type} . ' ' . $variables[0]{query}, 'datasource prometheus',
   'the data source can be chosen');
is_deeply([map { $_->{title} || $_->{name} }
           grep { ($_->{datasource}{type} || '') ne 'prometheus'
                  || $_->{datasource}{uid} ne "\${$variables[0]{name}}" }
           @panels, @variables[1 .. $#variables]], [], 'and all use it');

my %known = map { $_->{name} => 1 } @variables;

$known{__rate_interval} = 1;
is_deeply([grep { !$known{$_} }
           map { /\$\{?(\w+)/g } @exprs, map { $_->{query} } @variables], [],
          'its variables');
is_deeply([grep { !$there{$_} } map { /\b(tb_rpc_\w+)/g }
           map { $_->{query} } @variables], [], 'and what they ask for');

# a legend's labels are those that are left

my @legends = grep {
    my ($by) = $_->{expr} =~ /\bby \(([\w, ]*)\)/;
    my %left = map { $_ => 1 } split /, */, $by // '';

    grep { !$left{$_} } ($_->{legendFormat} // '') =~ /\{\{(\w+)\}\}/g;
} map { @{ $_->{targets} } } @panels;

is_deeply([map { $_->{expr} } @legends], [], 'its legends');

$nginx->clean();

done_testing();
