# docs/grafana-dashboard.json, seen by Grafana's own types: those of its packages
# @grafana/schema (the dashboard, each kind of panel) and grafana-foundation-sdk
# (what a panel asks Prometheus, units).  t/data/grafana.ts says what is made of
# them; tsc finds each name that is not there and each value that may not be.
#
# runs: side by side, 8 s

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use TB::Env qw(root build scratch file_in);
use TB::Mqtt qw(output);

my @packages = ('@grafana/schema/package.json',
                '@grafana/grafana-foundation-sdk/dashboard', 'typescript');
my $json = JSON::PP->new->canonical->pretty->allow_nonref;

local $ENV{NODE_PATH} = join ':', grep { defined && length }
                        $ENV{NODE_PATH}, build() . '/node_modules';

my ($missing, $modules) = output('node', '-e', <<'_EOC_', @packages);
const path = require('path');
const at = process.argv.slice(1).map((name) => require.resolve(name));
console.log(at.map((p) => p.replace(/(.*[/]node_modules)[/].*/, '$1'))
              .join('\n'));
console.log(require('@grafana/schema').defaultDashboard.schemaVersion);
_EOC_

plan skip_all => "no node, or not @packages[0, 1, 2] (script/bootstrap test)"
    if $missing;

my ($schema, $sdk, $typescript, $newest) = split /\n/, $modules;

mkdir scratch() . '/node_modules' or die "node_modules: $!\n";
mkdir scratch() . '/node_modules/@grafana' or die "\@grafana: $!\n";
symlink "$schema/\@grafana/schema", scratch() . '/node_modules/@grafana/schema'
    or die "schema: $!\n";
symlink "$sdk/\@grafana/grafana-foundation-sdk",
    scratch() . '/node_modules/@grafana/grafana-foundation-sdk'
    or die "grafana-foundation-sdk: $!\n";
symlink root() . '/t/data/grafana.ts', scratch() . '/grafana.ts'
    or die "grafana.ts: $!\n";


sub text {
    my ($path) = @_;

    open my $fh, '<', root() . "/$path" or die "$path: $!\n";
    local $/;

    return scalar <$fh>;
}


# A dashboard as TypeScript: the frame, each variable and each panel a literal
# of its type, as tsc looks for names too many in literals only.

my %type = (stat => 'StatPanel', timeseries => 'TimeSeriesPanel');

sub typescript {
    my ($dashboard) = @_;

    my %frame = %$dashboard;
    my @panels = @{ delete $frame{panels} };
    my @variables = @{ delete($frame{templating})->{list} };
    my $text = "import type { Frame, Variable, StatPanel, TimeSeriesPanel }"
               . " from './grafana';\n"
               . "export const frame: Frame = " . $json->encode(\%frame);

    $text .= "export const variable_$_->{name}: Variable = "
             . $json->encode($_) for @variables;
    $text .= "export const panel_$_->{id}: "
             . ($type{ $_->{type} } || "'$_->{type}'") . ' = '
             . $json->encode($_) for @panels;

    return $text;
}


# a change of it, to be found by these words

sub wrong {
    my ($change) = @_;

    my $dashboard = JSON::PP::decode_json(text('docs/grafana-dashboard.json'));

    $change->($dashboard, @{ $dashboard->{panels} });

    return typescript($dashboard);
}

my @wrong = (
    ['a name of the dashboard', qr/'"schemaversion"' does not exist/,
     sub { $_[0]{schemaversion} = 38 }],
    ['its time', qr/'"form"' does not exist/, sub { $_[0]{time} = { form => 'now-1h',
                                                   to => 'now' } }],
    ['no title', qr/'title' is missing/, sub { delete $_[0]{title} }],
    ['a kind of variable', qr/'"querry"' is not assignable/,
     sub { $_[0]{templating}{list}[1]{type} = 'querry' }],
    ['when a variable is asked for', qr/'7' is not assignable/,
     sub { $_[0]{templating}{list}[1]{refresh} = 7 }],
    ['a name of a panel', qr/'"gridpos"' does not exist/,
     sub { $_[1]{gridpos} = $_[1]{gridPos} }],
    ['a place that is text', qr/'string' is not assignable to type 'number'/,
     sub { $_[1]{gridPos}{x} = '0' }],
    ['a unit', qr/'"requests"' is not assignable/,
     sub { $_[5]{fieldConfig}{defaults}{unit} = 'requests' }],
    ['a name of a query', qr/'"legendformat"' does not exist/,
     sub { $_[5]{targets}[0]{legendformat} = 'x' }],
    ['the format of a query', qr/'"table_"' is not assignable/,
     sub { $_[5]{targets}[0]{format} = 'table_' }],
    ['no query', qr/'expr' is missing/,
     sub { delete $_[5]{targets}[0]{expr} }],
    ['an option of another kind of panel', qr/'"legend"' does not exist/,
     sub { $_[1]{options} = { legend => { showLegend => JSON::PP::true } } }],
    ['a value of an option', qr/'"squares"' is not assignable/,
     sub { $_[1]{options} = { graphMode => 'squares' } }],
    ['how a series is drawn', qr/'"lines"' is not assignable/,
     sub { $_[5]{fieldConfig}{defaults}{custom} = { drawStyle => 'lines' } }],
    ['its name', qr/'"drawstyle"' does not exist/,
     sub { $_[5]{fieldConfig}{defaults}{custom} = { drawstyle => 'line' } }],
    ['a kind of panel', qr/not assignable to type '"graph"'/,
     sub { $_[5]{type} = 'graph' }],
);

# and what is right, but is not in the dashboard

my $right = wrong(sub {
    $_[0]{templating}{list}[1]{sort} = 1;
    $_[1]{options} = { graphMode => 'area', colorMode => 'background' };
    $_[5]{fieldConfig}{defaults}{custom} = { drawStyle => 'line',
                                             stacking => { mode => 'normal' } };
    $_[5]{options} = { legend => { displayMode => 'table',
                                   showLegend => JSON::PP::true,
                                   calcs => ['last'], placement => 'right' } };
    $_[5]{targets}[0]{format} = 'time_series';
});

file_in('dashboard.ts', wrong(sub {}));
file_in('right.ts', $right);
file_in("wrong$_.ts", wrong($wrong[$_][2])) for 0 .. $#wrong;
file_in('tsconfig.json', JSON::PP::encode_json({
    compilerOptions => {
        strict => JSON::PP::true, noEmit => JSON::PP::true,
        skipLibCheck => JSON::PP::true, preserveSymlinks => JSON::PP::true,
        target => 'es2022', module => 'esnext', moduleResolution => 'bundler',
        types => [] },
    include => ['*.ts'] }));

my ($status, $said) = output("$typescript/typescript/bin/tsc", '--pretty',
                             'false', '-p', scratch());
my %said;

# what goes on is indented

for ($said =~ /^\S.*\n(?: .*\n)*/mg) {
    my ($file) = m{([\w.]+)\(\d+,\d+\): error };

    $said{ $file // '' } .= $_;
}

my $version = JSON::PP::decode_json(text('docs/grafana-dashboard.json'))
              ->{schemaVersion};

cmp_ok($version, '<=', $newest, 'Grafana knows its version');
is($said{'grafana.ts'}, undef, 'the types are there');
is($said{'dashboard.ts'}, undef, 'docs/grafana-dashboard.json is a dashboard');
is($said{'right.ts'}, undef, 'with more in it, too');
is($said{''}, undef, 'and that is all that tsc says');
like($said{"wrong$_.ts"}, $wrong[$_][1], "$wrong[$_][0]: found")
    for 0 .. $#wrong;

done_testing();
