# The page of tb_rpc_status html as Chromium shows it: on its own, without a
# complaint, with its plots; to be read at a glance, on a desk and on a phone,
# by day and by night.  Without Chromium it is skipped: script/bootstrap does
# not install that, it is large.
#
# runs: side by side, 25 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::Chromium;
use TB::Env qw(scaled);
use TB::Fixture;
use TB::Nginx;

if ($ENV{TB_REDIS_CLUSTER}) {
    plan skip_all => 'one Redis is stopped here';
}

plan skip_all => TB::Chromium::missing() if TB::Chromium::missing();

redis();
device("off$_", bridge => "bridge-with-a-long-name-$_") for 1 .. 3;
device('http');
redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('http'));

my $nginx = TB::Nginx->start(workers => 2, config => <<'_EOC_');
location /api/rpc/ { tb_rpc  v2; }
location /api/v1/ { tb_rpc_device_api; }
location = /page { tb_rpc_status  html; }
_EOC_
my $url = "http://127.0.0.1:$nginx->{port}/page";


sub page {
    return TB::Client->new($nginx->{port}, TB::Client::text('GET', '/page'))
                     ->answer(scaled(10))->{body};
}


sub request {
    my ($path, %headers) = @_;

    return TB::Client->new($nginx->{port}, TB::Client::text('GET', $path,
                                                            undef, %headers));
}


# one of each that makes a long line

soon { page() =~ /Redis is ready\./ } 'Redis is ready';
$nginx->call("off$_", 'm', '1', persistent => 1) for 1 .. 3;
$nginx->call("off$_", 'm', '1', timeout => 100) for 1 .. 3;
request('/api/rpc/persistent/' . uuid_of('none'), 'X-Authorization' => $_)
    ->answer(scaled(10))
    for 'Bearer x', 'Bearer ' . macro('token:tenant');

my $poll = request('/api/v1/T1/rpc?timeout=60000');
my $held = $nginx->open('off1', 'm', '1', timeout => 60000);

soon { page() =~ /L\d+ \d+L\d+ \d+/ } 'a plot has two points', 40;


# --- on its own -------------------------------------------------------------

my $chromium = TB::Chromium->start();

$chromium->screen(1280, 800, 'light');
$chromium->load($url);
is_deeply([grep { !/^data:,/ } $chromium->requests()], [$url],
          'it asks for nothing else');
is_deeply([$chromium->complaints()], [], 'nothing on the console');
is($chromium->eval('document.compatMode'), 'CSS1Compat', 'standard HTML');
$chromium->reloaded();
is_deeply([grep { !/^data:,/ } $chromium->requests()], [$url, $url],
          'it comes again');


# --- as it is seen ----------------------------------------------------------

# functions for the page: what is on it, where, in which colors

my $functions = <<'_EOC_';
(function () {
    const all = s => Array.from(document.querySelectorAll(s));
    const color = c => c.match(/[\d.]+/g).slice(0, 3).map(Number);
    const light = c => color(c).map(v => (v /= 255) <= .03928 ? v / 12.92
                                         : ((v + .055) / 1.055) ** 2.4)
                       .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
    const back = getComputedStyle(document.body).backgroundColor;
    const contrast = c => {
        const l = [light(c), light(back)].sort((a, b) => b - a);
        return (l[0] + .05) / (l[1] + .05);
    };
    const style = e => getComputedStyle(e);
    const box = e => e.getBoundingClientRect();
    const hits = (a, b) => a.left < b.right && b.left < a.right
                           && a.top < b.bottom && b.top < a.bottom;
    const figures = all('figure').map(box);

    return {
        dark: light(back) < .5,
        wide: document.documentElement.scrollWidth > innerWidth,
        outside: all('body *').filter(e => box(e).right > innerWidth + 1
                     && e.tagName != 'TITLE').map(e => e.outerHTML),
        over: figures.some((a, i) => figures.some((b, k) => i < k
                                                         && hits(a, b))),
        paths: all('svg path').map(p => p.getTotalLength()),
        sizes: all('svg').map(e => [box(e).width, box(e).height]),
        drawn: all('svg path').every(p => {
            const a = box(p), b = box(p.ownerSVGElement);
            return a.left >= b.left - 3 && a.right <= b.right + 3
                   && a.top >= b.top - 3 && a.bottom <= b.bottom + 3;
        }),
        seen: all('figure').filter(e => box(e).bottom <= innerHeight).length,
        state: box(document.querySelector('.ok, .bad')).bottom,
        texts: all('p, b, small, th, td, h1, h2, figcaption')
               .map(e => contrast(style(e).color)).sort((a, b) => a - b)[0],
        line: contrast(style(document.querySelector('path')).stroke),
        small: all('body *').filter(e => e.children.length == 0
                   && e.textContent.trim() != ''
                   && parseFloat(style(e).fontSize) < 10)
               .map(e => e.outerHTML),
    };
})()
_EOC_


sub look {
    my ($name, $width, $height, $scheme, $plots) = @_;

    $chromium->screen($width, $height, $scheme);
    $chromium->load($url);

    my $seen = $chromium->eval($functions);

    is($seen->{dark} ? 'dark' : 'light', $scheme, "$name: its colors");
    ok(!$seen->{wide}, "$name: nothing to be pushed aside");
    is_deeply($seen->{outside}, [], "$name: nothing beside the screen");
    ok(!$seen->{over}, "$name: no plot over another");
    is(scalar grep({ $_ > 0 } @{ $seen->{paths} }), 6, "$name: six lines");
    ok($seen->{drawn}, "$name: in their frames");
    is(scalar grep({ $_->[0] >= 100 && $_->[1] >= 40 } @{ $seen->{sizes} }), 6,
       "$name: large enough");
    cmp_ok($seen->{state}, '<', 150, "$name: Redis comes first");
    cmp_ok($seen->{seen}, '>=', $plots, "$name: plots that are seen at once");
    cmp_ok($seen->{texts}, '>=', 4.5, "$name: texts stand out");
    cmp_ok($seen->{line}, '>=', 3, "$name: and lines");
    is_deeply($seen->{small}, [], "$name: no text is too small");
    note($chromium->screenshot("$name.png"));
}


look('desk', 1280, 800, 'light', 6);
look('desk by night', 1280, 800, 'dark', 6);
look('phone', 390, 844, 'light', 4);
look('phone by night', 390, 844, 'dark', 4);
look('small phone', 320, 568, 'light', 2);

like($chromium->eval('document.body.innerText'), qr/not_claimed.3/,
     'what has happened');


# --- Redis is away ----------------------------------------------------------

redis()->stop();
soon { page() =~ /Redis is ready for 0 of/ } 'Redis is away';
$chromium->screen(390, 844, 'light');
$chromium->load($url);
is($chromium->eval('getComputedStyle(document.querySelector("p b")).color'),
   'rgb(207, 34, 46)', 'it is told in red');
like($chromium->eval('document.querySelector("p").innerText'),
     qr/Redis is ready for 0 of 128 shards/, 'and in words');
ok(!$chromium->eval($functions)->{wide}, 'nothing to be pushed aside');
is_deeply([$chromium->complaints()], [], 'nothing on the console');

$held->leave();
$poll->leave();

done_testing();
