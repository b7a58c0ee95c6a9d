# Request headers that nginx's own filters act on, on every operation: what
# was asked for is done once and answered, or refused and not done.
#
# runs: side by side, 12 s

use strict;
use warnings;

use Compress::Raw::Zlib ();
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::More;

use TB::Bridge;
use TB::Env qw(scratch);
use TB::Fixture;
use TB::Nginx;

device('on', bridge => 'b1');
device('off');
device('http');
redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('http'));

my $bridge = bridge(log => scratch() . '/envelopes');
my $gunzip = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /gunzip/ ? 'gunzip on;' : '';

my $nginx = TB::Nginx->start(
    http => <<"_EOC_",
    gzip             on;
    gzip_types       application/json;
    gzip_min_length  1;
    gzip_proxied     any;
    etag             on;
    $gunzip
_EOC_
    config => <<'_EOC_');
    location /api/rpc/ { tb_rpc  v2; }
    location /api/v1/ { tb_rpc_device_api; }

    location /page/rpc/ {
        tb_rpc                   v2;
        tb_rpc_intercept_errors  on;
        error_page               504 =200 /late.html;
    }

    location /text/rpc/ {
        tb_rpc                   v2;
        tb_rpc_intercept_errors  on;
        error_page               504 =200 @late;
    }

    location @late {
        return  200 "late\n";
    }

    location = /accel {
        proxy_pass                  http://127.0.0.1:$server_port/ranges?id=$arg_id;
        proxy_pass_request_headers  off;
    }

    location = /ranges {
        add_header  X-Accel-Redirect  /api/rpc/persistent/$arg_id;
        add_header  Accept-Ranges     bytes;
        return      200;
    }
_EOC_

TB::Env::file_in("$nginx->{name}/html/late.html", "a late page\n");

my $bearer = 'Bearer ' . macro('token:tenant');
my $past = 'Thu, 01 Jan 1970 00:00:01 GMT';
my $future = 'Fri, 01 Jan 2100 00:00:00 GMT';


# headers, and the status if it is not 200; how: "1.0", "chunked"

my @rows = (
    ['nothing', ''],
    ['If-Match', "If-Match: \"x\"\n"],
    ['If-Match, any', "If-Match: *\n"],
    ['If-None-Match', "If-None-Match: \"x\"\n"],
    ['If-None-Match, any', "If-None-Match: *\n"],
    ['If-None-Match, weak', "If-None-Match: W/\"x\", \"y\"\n"],
    ['If-Modified-Since, past', "If-Modified-Since: $past\n"],
    ['If-Modified-Since, future', "If-Modified-Since: $future\n"],
    ['If-Modified-Since, no time', "If-Modified-Since: x\n"],
    ['If-Unmodified-Since, past', "If-Unmodified-Since: $past\n"],
    ['If-Unmodified-Since, future', "If-Unmodified-Since: $future\n"],
    ['If-Unmodified-Since, no time', "If-Unmodified-Since: x\n"],
    ['all of them', "If-Match: \"a\"\nIf-None-Match: *\n"
                    . "If-Modified-Since: $future\n"
                    . "If-Unmodified-Since: $past\n"
                    . "If-Range: \"x\"\nRange: bytes=0-0\n"],
    ['If-None-Match and gzip', "If-None-Match: *\nAccept-Encoding: gzip\n"],
    ['Range', "Range: bytes=0-0\n"],
    ['Range, more', "Range: bytes=0-0,2-3\n"],
    ['Range, suffix', "Range: bytes=-1\n"],
    ['Range, outside', "Range: bytes=999999-\n"],
    ['Range, invalid', "Range: bytes=3-1\n"],
    ['If-Range', "Range: bytes=0-0\nIf-Range: \"x\"\n"],
    ['If-Range, time', "Range: bytes=0-0\nIf-Range: $past\n"],
    ['Range and gzip', "Range: bytes=0-0\nAccept-Encoding: gzip\n"],
    ['Expect', "Expect: 100-continue\n"],
    ['Expect, else', "Expect: 200-ok\n"],
    ['TE', "TE: trailers\n"],
    ['TE, gzip', "TE: gzip, trailers\nConnection: TE\n"],
    ['Accept-Encoding', "Accept-Encoding: gzip\n"],
    ['Accept-Encoding, chosen', "Accept-Encoding: br;q=1, gzip;q=0.5\n"],
    ['Accept-Encoding, none', "Accept-Encoding: gzip;q=0, identity;q=0\n"],
    ['Accept-Encoding, any', "Accept-Encoding: *\n"],
    ['through a proxy', "Accept-Encoding: gzip\nVia: 1.1 x\n"],
    ['an old browser', "Accept-Encoding: gzip\n"
                       . "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0)\n"],
    ['Connection, close', "Connection: close\n"],
    ['Connection, keep-alive', "Connection: keep-alive\nKeep-Alive: 5\n"],
    ['Connection, upgrade', "Connection: Upgrade\nUpgrade: websocket\n"],
    ['Connection, h2c', "Connection: Upgrade, HTTP2-Settings\n"
                        . "Upgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n"],
    ['Transfer-Encoding', '', 200, 'chunked'],
    ['Transfer-Encoding, Expect', "Expect: 100-continue\n", 200, 'chunked'],
    ['Transfer-Encoding, Trailer', "Trailer: X-End\n", 200, 'chunked'],
    ['Transfer-Encoding, gzip', "Transfer-Encoding: gzip\n", 501],
    ['Transfer-Encoding, two', "Transfer-Encoding: gzip, chunked\n", 501],
    ['Transfer-Encoding, Content-Length',
     "Transfer-Encoding: chunked\nContent-Length: 5\n", 400],
    ['HTTP/1.0', '', 200, '1.0'],
    ['HTTP/1.0, keep-alive', "Connection: keep-alive\n", 200, '1.0'],
    ['HTTP/1.0, gzip', "Accept-Encoding: gzip\n", 200, '1.0'],
    ['HTTP/1.0, Expect', "Expect: 100-continue\n", 200, '1.0'],
    ['HTTP/1.0, If-None-Match', "If-None-Match: *\n", 200, '1.0'],
    ['HTTP/1.0, Transfer-Encoding', "Transfer-Encoding: chunked\n", 400,
     '1.0'],
    ['WebDAV', "Depth: infinity\nDestination: /x\nOverwrite: F\n"],
    ['Content-Encoding', "Content-Encoding: identity\nContent-MD5: x\n"],
    ['Content-Range', "Content-Range: bytes 0-3/9\n"],
    ['Cache-Control', "Cache-Control: only-if-cached, max-age=0\n"
                      . "Pragma: no-cache\n"],
    ['Upgrade-Insecure-Requests', "Upgrade-Insecure-Requests: 1\nDNT: 1\n"],
);


sub text_of {
    my ($row, $method, $path, $body) = @_;

    my ($name, $headers, $status, $how) = @$row;

    $how ||= '';
    $path = expand($path);
    $headers =~ s/\n/\r\n/g;

    my $text = "$method $path HTTP/" . ($how eq '1.0' ? '1.0' : '1.1')
               . "\r\nHost: localhost\r\nX-Authorization: $bearer\r\n"
               . $headers;

    if (defined $body && $how eq 'chunked') {
        my $half = int(length($body) / 2);

        return "${text}Transfer-Encoding: chunked\r\n\r\n"
               . join '', map { sprintf("%x\r\n", length) . "$_\r\n" }
                          substr($body, 0, $half), substr($body, $half), '';
    }

    $text .= 'Content-Length: ' . length($body) . "\r\n"
        if defined $body && $headers !~ /^Transfer-Encoding:.*chunked/m;

    return "$text\r\n" . (defined $body ? $body : '');
}


sub start_with { return TB::Client->new($nginx->{port}, text_of(@_)) }


# the answer as its reader sees it

sub plain {
    my ($r) = @_;

    if (($r->{headers}{'content-encoding'} || '') eq 'gzip') {
        my ($z) = Compress::Raw::Zlib::Inflate->new(
                      -WindowBits => Compress::Raw::Zlib::WANT_GZIP());
        my ($in, $out) = ($r->{body}, '');

        $z->inflate($in, $out) == Compress::Raw::Zlib::Z_STREAM_END()
            or $out = 'broken gzip';
        $r->{body} = $out;
        $r->{gzip} = 1;
    }

    return $r;
}


sub with { return plain(start_with(@_)->answer()) }
sub without { return with($rows[0], @_) }


sub body {
    my ($method) = @_;

    return "{\"method\":\"$method\",\"params\":\"of $method\"}";
}


sub create {
    my ($row, $method) = @_;

    my $r = with($row, 'POST', '/api/rpc/twoway/%{off}',
                 "{\"method\":\"$method\",\"params\":1,\"persistent\":true}");

    return ($r, $r->{body} =~ /"rpcId":"([-0-9a-f]{36})"/ ? $1 : undef);
}


# each gives the answer and whether it is right, and how often it was done

sub taken {
    my ($method) = @_;

    return scalar grep { $_->{method} eq $method } $bridge->envelopes();
}


sub stored {
    my ($method) = @_;

    my $list = without('GET', '/api/rpc/persistent/device/%{off}'
                              . "?page=0&pageSize=1000");

    return scalar(() = $list->{body} =~ /"method":"\Q$method\E"/g);
}


my $known;


sub id_of { return $_[0]{body} =~ /^\{"id":(\d+),/ ? $1 : undef }


# the device is asked, without the headers, for what it has not got

sub device_gets {
    my ($how) = @_;

    my $r = without('GET', '/api/v1/T1/rpc?timeout=30000');
    my $id = id_of($r);

    without('POST', "/api/v1/T1/rpc/$id", '"asked again"') if defined $id;

    return $r->{status};
}


my %operations = (
    oneway => sub {
        my ($row, $method) = @_;

        my $r = with($row, 'POST', '/api/rpc/oneway/%{on}', body($method));

        # the caller is answered as soon as the bridge has taken it

        TB::Env::wait_for { taken($method) } if $r->{status} == 200;

        return ($r, $r->{body} eq '', taken($method));
    },

    twoway => sub {
        my ($row, $method) = @_;

        my $r = with($row, 'POST', '/api/rpc/twoway/%{on}', body($method));

        return ($r, $r->{body} eq "\"of $method\"", taken($method));
    },

    create => sub {
        my ($row, $method) = @_;

        my ($r, $id) = create($row, $method);

        return ($r, defined $id, stored($method));
    },

    get => sub {
        my ($row) = @_;

        my $r = with($row, 'GET', "/api/rpc/persistent/$known");

        return ($r, $r->{body} =~ /^\{"id":\{"id":"$known".*\}$/
                    || $r->{body} =~ /^\{.*"$known".*\}$/);
    },

    list => sub {
        my ($row) = @_;

        my $r = with($row, 'GET', '/api/rpc/persistent/device/%{off}'
                                  . '?page=0&pageSize=1000');

        return ($r, eval { JSON::PP::decode_json($r->{body}) }
                    && $r->{body} =~ /"hasNext":false\}$/);
    },

    delete => sub {
        my ($row, $method) = @_;

        my ($made, $id) = create($rows[0], $method);
        my $r = with($row, 'DELETE', "/api/rpc/persistent/$id");

        return ($r, $r->{body} eq '', stored($method) ? 0 : 1);
    },

    poll => sub {
        my ($row, $method) = @_;

        my $caller = $nginx->open('http', $method, 1);
        my $r = with($row, 'GET', '/api/v1/T1/rpc?timeout=30000');

        return told($caller, $r, $method);
    },

    'held poll' => sub {
        my ($row, $method) = @_;

        my $key = redis()->device_key(macro('http'));
        my $before = redis()->call('HGET', $key, 'poll') || '';
        my $client = start_with($row, 'GET', '/api/v1/T1/rpc?timeout=30000');

        TB::Env::wait_for {
            (redis()->call('HGET', $key, 'poll') || '') ne $before
            || $client->answered()
        };

        my $caller = $nginx->open('http', $method, 1);

        return told($caller, plain($client->answer()), $method);
    },

    answer => sub {
        my ($row, $method) = @_;

        my $caller = $nginx->open('http', $method, 1);
        my $call = without('GET', '/api/v1/T1/rpc?timeout=30000');
        my $id = id_of($call);
        my $r = with($row, 'POST', "/api/v1/T1/rpc/$id", '"with"');

        without('POST', "/api/v1/T1/rpc/$id", '"without"')
            if $r->{status} != 200;

        my $got = $caller->answer();

        return ($r, $r->{body} eq '', $got->{body} eq '"with"' ? 1 : 0);
    },
);


# what the caller of a polled call hears: one device had it

sub told {
    my ($caller, $r, $method) = @_;

    my $id = id_of($r);
    my $ok = $r->{body} =~ /"method":"\Q$method\E","params":1\}$/;

    if ($ok) {
        without('POST', "/api/v1/T1/rpc/$id", '"polled"');

    } else {
        device_gets();
    }

    my $got = $caller->answer();

    return ($r, $ok, $got->{body} eq '"polled"' ? 1 : 0);
}


(undef, $known) = create($rows[0], 'known');

my $n = 0;

for my $row (@rows) {
    my ($name, $headers, $status) = @$row;

    $status ||= 200;

    for my $operation (sort keys %operations) {
        my $method = 'm' . $n++;
        my ($r, $ok, $done) = $operations{$operation}->($row, $method);

        is($r->{what}, $status, "$name: $operation");

        if ($status == 200) {
            ok($ok, "$name: $operation: the answer is whole")
                or diag $r->{body};
        }

        is($done, $status == 200 ? 1 : 0, "$name: $operation: done")
            if defined $done;

        ok($r->{gzip}, "$name: $operation: gzip")
            if $name =~ /gzip$|^Accept-Encoding(?:, chosen)?$/
               && $name !~ m{^HTTP/1.0|^TE|^Transfer}
               && length $r->{body};
    }
}


# errors that became pages: the call was made all the same

for my $row (grep { $_->[0] =~ /^If-|^all/ } @rows) {
    for (['page', "a late page\n"], ['text', "late\n"]) {
        my $r = with($row, 'POST', "/$_->[0]/rpc/twoway/%{off}",
                     '{"method":"m","params":1,"timeout":100}');
        my $expected = $_->[1];

        is("$r->{status} $r->{body}", "200 $expected",
           "$row->[0]: error_page, a $_->[0]");
    }
}

# ranges that another location has allowed

for my $row (grep { $_->[0] =~ /Range|^all/ } @rows) {
    my $r = with($row, 'GET', "/accel?id=$known");

    is($r->{status}, 200, "$row->[0]: X-Accel-Redirect");
    like($r->{body}, qr/^\{.*\}$/, 'whole');
    is($r->{headers}{'content-range'}, undef, 'no range');
}

my %stats = @{ redis()->call('HGETALL', TB::Bridge::prefix(
                   TB::Bridge::shard(macro('http'))) . 'stats') };

is_deeply(\%stats, {}, 'no call of a poll was lost, late or told of twice');

$nginx->clean();

done_testing();
