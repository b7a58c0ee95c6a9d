# The page of tb_rpc_status html as Chromium shows it: on its own, without a
# complaint, with its plots; to be read at a glance, on a desk and on a phone,
# by day and by night; with logins and MQTT devices where there are any, and
# without them elsewhere.  Without Chromium it is skipped: script/bootstrap does
# not install that, it is large.
#
# runs: side by side, 40 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use TB::Chromium;
use TB::Env qw(scaled);
use TB::Fixture;
use TB::Login;
use TB::MqttFront;
use TB::MqttPeer;
use TB::Nginx;

if ($ENV{TB_REDIS_CLUSTER}) {
    plan skip_all => 'one Redis is stopped here';
}

plan skip_all => TB::Chromium::missing() if TB::Chromium::missing();

redis();
device("off$_", bridge => "bridge-with-a-long-name-$_") for 1 .. 3;
device('http');
redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('http'));

my $config = <<'_EOC_';
location /api/rpc/ { tb_rpc  v2; }
location /api/v1/ { tb_rpc_device_api; }
location = /page { tb_rpc_status  html; }
_EOC_
my $nginx = TB::Nginx->start(workers => 2, config => $config,
                             http => 'tb_rpc_max_timeout 10m;');
my $url = "http://127.0.0.1:$nginx->{port}/page";
my $chromium;


sub page {
    return TB::Client->new($nginx->{port}, TB::Client::text('GET', '/page'))
                     ->answer(scaled(10))->{body};
}


sub request {
    my ($path, %headers) = @_;

    return TB::Client->new($nginx->{port}, TB::Client::text('GET', $path,
                                                            undef, %headers));
}


# what Chromium has asked for beside the page, which it loads every 5 s

sub foreign { return grep { !/^data:,/ && $_ ne $url } $chromium->requests() }


# one of each that makes a long line

soon { page() =~ /Redis is ready\./ } 'Redis is ready';
$nginx->call("off$_", 'm', '1', persistent => 1) for 1 .. 3;
$nginx->call("off$_", 'm', '1', timeout => 100) for 1 .. 3;
request('/api/rpc/persistent/' . uuid_of('none'), 'X-Authorization' => $_)
    ->answer(scaled(10))
    for 'Bearer x', 'Bearer ' . macro('token:tenant');

# and of what is open for as long as we look

my $poll = request('/api/v1/T1/rpc?timeout=300000');
my $held = $nginx->open('off1', 'm', '1', timeout => 600000);

soon { page() =~ /L\d+ \d+L\d+ \d+/ } 'a plot has two points', 90;


# --- on its own -------------------------------------------------------------

$chromium = TB::Chromium->start();

$chromium->screen(1280, 800, 'light');
$chromium->load($url);
is(join(' ', foreign()), '', 'it asks for nothing else');
is_deeply([$chromium->complaints()], [], 'nothing on the console');
is($chromium->eval('document.compatMode'), 'CSS1Compat', 'standard HTML');
$chromium->reloaded();
is(join(' ', foreign()), '', 'nor when it comes again');
cmp_ok(scalar(grep { $_ eq $url } $chromium->requests()), '>=', 2,
       'as it does');


# --- as it is seen ----------------------------------------------------------

# functions for the page: what is on it, where, in which colors; a phone's
# innerWidth grows with what is too wide, so the screen's own is given

my $functions = <<'_EOC_';
(function (width, height) {
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
        wide: document.documentElement.scrollWidth > width,
        outside: all('body *').filter(e => box(e).right > width + 1
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
        seen: all('figure').filter(e => box(e).bottom <= height).length,
        state: box(document.querySelector('.ok, .bad')).bottom,
        texts: all('p, b, small, th, td, h1, h2, figcaption')
               .map(e => contrast(style(e).color)).sort((a, b) => a - b)[0],
        line: contrast(style(document.querySelector('path')).stroke),
        small: all('body *').filter(e => e.children.length == 0
                   && e.textContent.trim() != ''
                   && parseFloat(style(e).fontSize) < 10)
               .map(e => e.outerHTML),
    };
})
_EOC_


sub look {
    my ($name, $width, $height, $scheme, $plots, $all) = (@_, 6);

    $chromium->screen($width, $height, $scheme);
    $chromium->load($url);

    my $seen = $chromium->eval("$functions($width, $height)");

    is($seen->{dark} ? 'dark' : 'light', $scheme, "$name: its colors");
    ok(!$seen->{wide}, "$name: nothing to be pushed aside");
    is_deeply($seen->{outside}, [], "$name: nothing beside the screen");
    ok(!$seen->{over}, "$name: no plot over another");
    is(scalar grep({ $_ > 0 } @{ $seen->{paths} }), $all, "$name: $all lines");
    ok($seen->{drawn}, "$name: in their frames");
    is(scalar grep({ $_->[0] >= 100 && $_->[1] >= 40 } @{ $seen->{sizes} }),
       $all, "$name: large enough");
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
ok(!$chromium->eval("$functions(390, 844)")->{wide}, 'nothing to be pushed aside');
is_deeply([$chromium->complaints()], [], 'nothing on the console');

$held->leave();
$poll->leave();


# --- logins and MQTT devices -------------------------------------------------

my $text = 'document.body.innerText';

unlike($chromium->eval($text), qr/Login|MQTT|Password/i,
       'nobody logs in, and no device by MQTT: nothing of them');

SKIP: {
    skip 'no stream module', 1 if !TB::Nginx::has_stream();

    redis()->go();

    my $listen = TB::MqttPeer->listen();
    my $front = TB::MqttFront->start(
        workers => 2, broker_port => $listen->{port},
        http => 'tb_rpc_login_scrypt ln=10 r=8 p=1;'
                . ' tb_rpc_login_failures user=3 delay=0;',
        config => "$config location /api/auth/ { tb_rpc_login; }");
    my $http = TB::Login->new($front->{http_port});
    my @tokens = map { ($front->device($_))[1] } 'm1', 'm2';
    my @ends;

    $nginx = { port => $front->{http_port} };
    $url = "http://127.0.0.1:$nginx->{port}/page";

    # two that are connected, and who is not let in, here and there
    user('ann');
    soon { page() =~ /Redis is ready\./ } 'Redis is back';

    for my $user (@tokens, 'nobody') {
        my $client = TB::MqttPeer->new(port => $front->{port});

        $client->put(connect_packet(id => 'c', user => $user));

        if ($user ne 'nobody') {
            push @ends, $client, $listen->accept();
            $ends[-1]->put(connack_packet());
        }

        $client->packet();
        push @ends, $client;
    }

    my $pair = $http->login('ann', 'a password');

    $http->refresh($pair->{refreshToken}) for 1, 2;
    $http->login('eve', 'x') for 1 .. 4;
    $http->ask('POST', 'changePassword', { currentPassword => 'a password',
               newPassword => 'b password' },
               $http->login('ann', 'a password')->{token});

    soon { page() =~ /MQTT devices: 2\..*locked 1/s } 'all of it is counted';
    soon { page() =~ /logins refused.*?L\d+ \d+L\d+ \d+/s }
         'a plot has two points', 90;

    look('all, desk', 1280, 900, 'light', 9, 9);
    look('all, desk by night', 1280, 900, 'dark', 9, 9);
    look('all, phone', 390, 844, 'light', 4, 9);
    look('all, phone by night', 390, 844, 'dark', 4, 9);
    look('all, small phone', 320, 568, 'light', 2, 9);

    $chromium->screen(1280, 900, 'light');
    $chromium->load($url);
    like($chromium->eval($text), $_->[0], $_->[1])
        for [qr/MQTT devices: 2\. Passwords being computed: 0, lined up: 0\.\n/,
             'what is now'],
            [qr/MQTT devices\s+2\s/, 'a plot of MQTT devices'],
            [qr/\nlogin\s+6\s.*ok 2, wrong 3, locked 1/, 'logins'],
            [qr/\nrefresh\s+2\s.*ok 1, reused 1/, 'refresh tokens'],
            [qr/\npassword\s+1\s.*ok 1/, 'a change of a password'],
            [qr/\n2\s+\d+\s+\d+\s+\d+\s+accepted 2, unknown 1/,
             'logins of MQTT devices'];
    is_deeply([$chromium->complaints()], [], 'nothing on the console');
    $_->close() for @ends;
}

done_testing();
