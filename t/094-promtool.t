# What Prometheus' own promtool says: of the metrics of nginx and of the bridge,
# of docs/prometheus-alerts.yml, and when these alerts begin
# (t/data/prometheus-alerts-test.yml); of each expression in
# docs/grafana-dashboard.json.
#
# runs: side by side, 16 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(root scratch file_in free_port scaled wait_for);
use TB::Fixture;
use TB::Login;
use TB::Metrics;
use TB::Mqtt qw(text_of);
use TB::Nginx;
use TB::Page;

plan skip_all => 'no promtool: script/bootstrap fetches it, where apt has the'
                 . ' package prometheus' if !TB::Metrics::promtool_binary();


sub file_text {
    my ($path) = @_;

    open my $fh, '<', root() . "/$path" or die "$path: $!\n";
    local $/;

    return scalar <$fh>;
}


# a file that it is to like

sub takes {
    my ($what, @arguments) = @_;

    my ($status, $said) = TB::Metrics::promtool(@arguments);

    is($status, 0, $what) or diag($said);

    return $said;
}


# --- metrics ----------------------------------------------------------------

redis();
device('off', bridge => 'b1');

my $nginx = TB::Nginx->start(workers => 2, config => '
location /api/rpc/ { tb_rpc  v2; }
location /api/auth/ { tb_rpc_login; }
location = /metrics { tb_rpc_status  prometheus; }');


sub fetch {
    my ($path) = @_;

    my $client = TB::Client->new($nginx->{port},
                                 TB::Client::text('GET', $path));

    return $client->answer(scaled(10))->{body};
}


sub metrics { return fetch('/metrics') }


is(TB::Metrics::check_metrics("a_total{x=\"1\"} 1\n") =~ /a_total/ ? 1 : 0, 1,
   'promtool finds what is wrong');
is(TB::Metrics::check_metrics(metrics()), '', 'nginx: nothing has happened');
is($nginx->call('off', 'm', '1', persistent => 1)->{status}, 200, 'a call');
$nginx->call('off', 'm', '1', timeout => 100);
fetch('/api/rpc/persistent/' . macro('off'));
is(TB::Login->new($nginx)->login('ann', 'wrong')->{status}, 401, 'a login');
soon { metrics() =~ /^tb_rpc_queue_calls\{bridge="b1"\} [12]$/m }
     'calls wait for a bridge';
is(TB::Metrics::check_metrics(metrics()), '', 'nginx: calls, and a login');

SKIP: {
    skip 'no mosquitto', 3 if !TB::Mqtt::mosquitto();
    skip 'the bridge has one Redis here', 3 if $ENV{TB_REDIS_CLUSTER};

    my $mqtt = bless { port => free_port(), redis => redis(), connects => {},
                       password => file_in('bridge.password',
                           "$TB::RedisServer::PASSWORD{bridge}\n") },
                     'TB::Mqtt';

    $mqtt->broker();
    $mqtt->subscribe('sub', 'v1/#');
    $mqtt->bridge('b1', '--static', '--metrics-file', scratch() . '/b1.prom');
    soon { metrics() =~ /^tb_rpc_queue_calls\{bridge="b1"\} 0$/m }
         'they are taken';

    # it is written every 10 s
    my $text = wait_for {
        my $now = text_of('b1.prom');
        $now =~ /^tb_rpc_bridge_taken_total\{bridge="b1"\} [12]$/m ? $now : '';
    } 60;

    isnt($text, '', 'the bridge: its file');
    is(TB::Metrics::check_metrics($text), '', 'the bridge: calls');
}

# what docs/operations.md has for Prometheus

my ($scrape) = map { $_->{text} } grep { $_->{file} eq 'prometheus.yml' }
               TB::Page->new('docs/operations.md')
                       ->blocks('Status and metrics');

takes('prometheus.yml', 'check', 'config', file_in('prometheus.yml', $scrape));


# --- alerts -----------------------------------------------------------------

my $alerts = root() . '/docs/prometheus-alerts.yml';
my $count = () = file_text('docs/prometheus-alerts.yml') =~ /- alert:/g;

like(takes('the alerts', 'check', 'rules', $alerts), qr/\b$count rules/,
     'all of them');
takes('when they begin', 'test', 'rules',
      root() . '/t/data/prometheus-alerts-test.yml');

my $test = file_text('t/data/prometheus-alerts-test.yml');

is_deeply([grep { $test !~ /alertname: $_\n.*\n +exp_alerts/ }
           file_text('docs/prometheus-alerts.yml') =~ /- alert: (\w+)/g], [],
          'each begins once');


# --- the dashboard: what it asks, as rules ----------------------------------

my $dashboard = JSON::PP::decode_json(file_text('docs/grafana-dashboard.json'));
my @exprs = map { $_->{expr} } map { @{ $_->{targets} || [] } }
            @{ $dashboard->{panels} };

# the values that Grafana puts there

for (@exprs) {
    s/\$__rate_interval\b/1m/g;
    s/\$instance\b/n1|n2/g;
}

is_deeply([grep { /\$/ } @exprs], [], 'the dashboard: all variables are known');

my $n = 0;
my $rules = JSON::PP::encode_json({ groups => [ {
    name => 'dashboard', rules => [ map { { record => 'panel:' . $n++,
                                            expr => $_ } } @exprs ] } ] });

like(takes('the dashboard: its expressions', 'check', 'rules',
           file_in('dashboard.yml', $rules)), qr/\b$n rules/, 'all of them');

$rules =~ s/sum by/sum bye/;
isnt((TB::Metrics::promtool('check', 'rules', file_in('wrong.yml', $rules)))[0],
     0, 'a wrong one is found');

$nginx->clean();

done_testing();
