# tb_rpc_status html: one page that needs nothing else, with what was counted,
# and plots of the last 15 minutes; who may see it is for nginx to say.
#
# runs: side by side, 13 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(file_in scaled);
use TB::Fixture;
use TB::Nginx;

if ($ENV{TB_REDIS_CLUSTER}) {
    plan skip_all => 'one Redis is stopped here';
}

redis();
device('off', bridge => 'b1');

my $nginx = TB::Nginx->start(config => <<"_EOC_");
location /api/rpc/ { tb_rpc  v2; }
location = /page   { tb_rpc_status  html; }
location = /basic  {
    tb_rpc_status         html;
    auth_basic            operators;
    auth_basic_user_file  @{[ file_in('operators', "op:{PLAIN}secret\n") ]};
}
location = /any    {
    tb_rpc_status         html;
    satisfy               any;
    allow                 127.0.0.1;
    deny                  all;
    auth_basic            operators;
    auth_basic_user_file  @{[ file_in('operators', "op:{PLAIN}secret\n") ]};
}
_EOC_


sub fetch {
    my ($path, %headers) = @_;

    my $client = TB::Client->new($nginx->{port},
        TB::Client::text('GET', $path, undef, %headers));

    return $client->answer();
}

sub page { return fetch('/page')->{body} }


is(fetch('/page')->{headers}{'content-type'}, 'text/html; charset=utf-8',
   'its type');

soon { page() =~ /Redis is ready\./ } 'Redis is ready';
is($nginx->call('off', 'm', '1', persistent => 1)->{status}, 200, 'a call');
$nginx->call('off', 'm', '1', timeout => 100);
soon { page() =~ m{<td>twoway<td>1<td>[^<]*<td>[^<]*<td>not_claimed 1} }
    'it is on the page';
soon { page() =~ m{<td><span>b1</span><td>[12]<td>\d+\.\d s} } 'what waits for its bridge';

# two samples make a line

soon { page() =~ m{<path d="M\d+ \d+L\d+ \d+"} } 'a plot begins', 60;

my $page = page();
my @plots = $page =~ m{<path d="([^"]*)"}g;

is(scalar @plots, 6, 'six plots');
is(scalar grep({ !/^(?:[ML]\d+ \d+)*$/ } @plots), 0, 'of nothing but numbers');
is(scalar grep({ $_ > 60 } map { /[ML]\d+ (\d+)/g } @plots), 0,
   'inside of their frame');

# every element that is opened is closed, and nothing comes from elsewhere

my %open;

my $element = qr/(html|head|body|section|figure|svg|table|style|h2|p)\b/;

$open{$_}++ for $page =~ m{<$element}g;
$open{$_}-- for $page =~ m{</$element}g;
is_deeply([grep { $open{$_} } sort keys %open], [], 'its elements');
unlike($page, qr/<(?:script|img|iframe)|url\(|https?:/, 'one file');
like($page, qr/content-security-policy" content="default-src 'none';/,
     'which browsers see to');
is_deeply([$page =~ /<link (.*?)>/g], ['rel="icon" href="data:,"'],
          'no icon is asked for');
like($page, qr/prefers-color-scheme:dark/, 'light and dark');
like($page, qr/http-equiv="refresh" content="5"/, 'it reloads itself');

is(fetch('/basic')->{status}, 401, 'auth_basic is asked');
is(fetch('/basic', Authorization => 'Basic b3A6c2VjcmV0')->{status}, 200,
   'and lets in');
is(fetch('/any')->{status}, 200, 'satisfy any');

# Redis goes: the page says so first

redis()->stop();
soon { page() =~ m{<b class="bad">Redis is ready for 0 of 128 shards} }
    'without Redis';
soon { page() =~ /Not known\./ } 'nobody knows what waits';

$nginx->clean();

done_testing();
