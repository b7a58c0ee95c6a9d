# docs/answers.md: every row of its tables, asked of a real nginx; its
# examples, and that no way for a call to end is left out.
#
# runs: side by side, 20 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Encode ();
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use TB::Answers;
use TB::Env qw(free_port root scaled);
use TB::Fixture;
use TB::Load;
use TB::Login;
use TB::Nginx;
use TB::Token qw(jwt jwt_with $CUSTOMER $OTHER_CUSTOMER $OTHER_TENANT
                 $NULL_UUID);

# directives that are of http{} and, by Redis, of all that use it

my $SHARED = qr/^tb_rpc_max_(?:pending|records|response|held|retries)/;

binmode $_, ':encoding(UTF-8)'
    for map { Test::More->builder->$_ } qw(output failure_output todo_output);


# who and what the names in braces are ----------------------------------------

my %customer = (scopes => ['CUSTOMER_USER'], customerId => $CUSTOMER);
my %token = (
    'TENANT_ADMIN' => jwt(),
    'CUSTOMER_USER' => jwt(%customer),
    'CUSTOMER_USER of another customer' =>
        jwt(scopes => ['CUSTOMER_USER'], customerId => $OTHER_CUSTOMER),
    'TENANT_ADMIN of another tenant' => jwt(tenantId => $OTHER_TENANT),
    'SYS_ADMIN' => jwt(scopes => ['SYS_ADMIN'], tenantId => $NULL_UUID),
);
my %names = (
    'token' => $token{TENANT_ADMIN},
    "customer's token" => $token{CUSTOMER_USER},
    'expired token' => jwt(exp => time() - 60),
    'token with another signature' => jwt_with({ key => 'k' x 64 }),
    'token of another algorithm' => jwt_with({ alg => 'HS256' }),
    'refresh token' => jwt(scopes => ['REFRESH_TOKEN']),
    'expired refresh token' => jwt(scopes => ['REFRESH_TOKEN'],
                                   exp => time() - 60),
    'nobody' => 'nobody@example.com',
    'token for later' => jwt(nbf => int(time()) + 600),
    'token without exp' => jwt(exp => undef),
    'token without scopes' => jwt(scopes => undef),
    'token without tenantId' => jwt(tenantId => undef),
    'token of a disabled user' => jwt(enabled => JSON::PP::false),
    'API key' => api_key('a key'),
    'unknown API key' => 'tb_nobody',
    'disabled API key' => api_key('a disabled key', enabled => 0),
    'expired API key' => api_key('an expired key',
                                 expires => (int(time()) - 10) * 1000),
    'unknown' => uuid_of('nowhere'),
    'unknown token' => 'nobody',
    'unknown rpcId' => '12345678-1234-11ee-8003-010203040506',
    '70,000 bytes' => 'x' x 70000,
    '65 levels' => '[' x 65 . ']' x 65,
    'NUL' => "\0",
    'not UTF-8' => "\xff",
    'in 10 minutes' => (int(time()) + 600) . '000',
    'a name of 64 bytes' => 'n' x 64,
);
my %devices = (
    online => [bridge => 'b1'],
    offline => [],
    unclaimed => [bridge => 'nobody'],
    polling => [],
    mine => [bridge => 'b1', customer => $CUSTOMER],
    theirs => [bridge => 'b1', customer => $OTHER_CUSTOMER],
    foreign => [bridge => 'b1', tenant => $OTHER_TENANT],
);


# A name, for the rows of one table in one profile: these have devices of their
# own.

sub name_of {
    my ($run, $name) = @_;

    return $names{$name} if defined $names{$name};
    return $run->{seen}{$name} if defined $run->{seen}{$name};

    if ($name =~ /^token of (\w+)$/) {
        my $token = "token of $1 of $run->{id}";

        $token =~ tr/ /_/;
        redis()->call('SET', 'tb:token:' . sha256_hex($token),
                      name_of($run, $1));

        return $run->{seen}{$name} = $token;
    }

    if ($name =~ /^UUID \d$/) {
        return $run->{seen}{$name} = uuid_of("$name of $run->{id}");
    }

    if ($name =~ /^(?:disabled )?user$|^public customer$/) {
        my $id = uuid_of("$name of $run->{id}");

        user($id, $name eq 'user' ? ()
                  : $name eq 'disabled user' ? (enabled => 0)
                  : (hash => '', id => $NULL_UUID, customer => $id,
                     authority => 'CUSTOMER_USER'));

        return $run->{seen}{$name} = $id;
    }

    die "$run->{at}: nothing is named {$name}\n" if !$devices{$name};

    return $run->{seen}{$name} = device("$name of $run->{id}",
                                        @{ $devices{$name} });
}


sub expanded {
    my ($run, $text) = @_;

    return $text if !defined $text;

    $text =~ s/\{([A-Za-z0-9][\w', -]*)\}/name_of($run, $1)/ge;

    return $text;
}


# asking ----------------------------------------------------------------------

sub request_text {
    my ($run, $c) = @_;

    $run->{at} = $c->{name};

    my @headers = map { expanded($run, $_) } @{ $c->{headers} };
    my $body = $c->{body};

    # bytes, before some are put in that are no characters
    $body = expanded($run, Encode::encode('UTF-8', $body)) if defined $body;
    my $caller = $c->{caller} eq 'the user'
                     ? jwt(sub => name_of($run, 'user'))
                     : $token{ $c->{caller} };

    push @headers, "X-Authorization: Bearer $caller"
        if !$c->{anybody} && $c->{path} !~ m{^/api/v1/};
    push @headers, 'Content-Length: ' . length $body if defined $body;

    return join "\r\n", "$c->{method} " . expanded($run, $c->{path})
                        . ' HTTP/1.1', "Host: $run->{host}",
                'Connection: close', @headers, '',
                defined $body ? $body : '';
}


sub ask {
    my ($run, $c) = @_;

    my $text = defined $c->{bytes} ? $c->{bytes} : request_text($run, $c);

    @$c{qw(run start in)} = ($run, time(), '');
    $c->{sock} = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                       PeerPort => $run->{port})
        or die "connect: $!\n";

    local $SIG{PIPE} = 'IGNORE';

    while (length $text) {
        my $n = syswrite $c->{sock}, $text or last;

        substr $text, 0, $n, '';
    }

    return $c;
}


sub answered {
    my ($c) = @_;

    my ($run, $in) = @$c{qw(run in)};
    my $seconds = time() - $c->{start};

    # what HEAD has is only told of
    $in =~ s/^Content-Length: .*\r\n//m if $c->{method} eq 'HEAD';

    my $got = TB::Load::parse($in, 1)
              || { status => 0, headers => {}, body => $in };

    $run->{seen}{$1} = $2 while $got->{body} =~ /"(rpcId|id|refreshToken)":"?([\w.-]+)/g;

    my %expected = map { $_ => expanded($run, $c->{$_}) }
                       qw(error text json);
    my $wrong = TB::Answers::wrong({ %$c, %expected }, $got, $seconds);

    is($wrong, '', "$c->{name}: " . substr "$c->{method} $c->{path} "
       . ($c->{body} // ''), 0, 80);
}


# Runs of tables side by side; the rows of one that needs an order one after
# the other.

sub run_all {
    my @runs = @_;

    my $select = IO::Select->new();
    my %open;

    my $next = sub {
        my ($run) = @_;

        my $c = ask($run, shift @{ $run->{checks} });

        $open{ fileno $c->{sock} } = $c;
        $select->add($c->{sock});
    };

    for my $run (@runs) {
        $next->($run) for $run->{in_order} ? 1 : 1 .. @{ $run->{checks} };
    }

    my $end = time() + scaled(180);

    while (%open && time() < $end) {
        for my $sock ($select->can_read(1)) {
            my $c = $open{ fileno $sock };
            my $n = sysread $sock, $c->{in}, 65536, length $c->{in};

            next if $n;

            $select->remove($sock);
            delete $open{ fileno $sock };
            close $sock;
            answered($c);
            $next->($c->{run}) if $c->{run}{in_order}
                                  && @{ $c->{run}{checks} };
        }
    }

    fail("$_->{name}: answered") for values %open;
}


# servers ---------------------------------------------------------------------

my ($ids, $hosts) = (0, 0);


sub locations {
    return <<'_EOC_';
        location /api/rpc/          { tb_rpc v2; }
        location /api/plugins/rpc/  { tb_rpc v1; }
        location /anything/         { tb_rpc v2; }
        location /api/v1/           { tb_rpc_device_api; }
        location /api/auth/         { tb_rpc_login; }
_EOC_
}


# both profiles

sub runs_of {
    return map {
        my $table = $_;

        map {
            { id => ++$ids, in_order => $table->{in_order}, seen => {},
              checks => [ TB::Answers::checks($table, $_) ], profile => $_,
              with => $table->{with} }
        } 'openapi', 'thingsboard'
    } @_;
}


sub shared { return map { grep { /$SHARED/ } @{ $_->{with} } } @_ }


# an nginx with a server for each run

sub serve {
    my ($runs, %opt) = @_;

    my $port = free_port();
    my %shared = map { ("$_;\n" => 1) } shared(@$runs);
    my $http = join '', "server_names_hash_max_size 4096;\n", keys %shared;

    for my $run (@$runs) {
        my @with = map { "$_;" } grep { !/$SHARED/ } @{ $run->{with} };

        @$run{qw(host port)} = ('host' . ++$hosts, $port);
        $http .= "server { listen 127.0.0.1:$port;"
                 . " server_name $run->{host};"
                 . ' client_body_buffer_size 64k;'
                 . " tb_rpc_profile $run->{profile}; tb_rpc_min_timeout 5s;"
                 . " @with " . locations() . " }\n";
    }

    return TB::Nginx->start(port => $port, http => $http, %opt);
}


# the same, once Redis has its settings

sub serve_shared {
    my ($runs) = @_;

    my $old = redis()->call('HGET', 'tb:{s000}:config', 'stamp') || 0;
    my $nginx = serve($runs);

    $nginx->get('/api/rpc/persistent/' . uuid_of('nothing'));
    soon { 128 == grep { (redis()->call('HGET', TB::Bridge::prefix($_) . "config",
                                          'stamp')
                         || 0) > $old } 0 .. 127 } 'configured';

    return $nginx;
}


sub finish {
    my ($nginx) = @_;

    $nginx->clean();
    $nginx->stop();
}


# what a table that says "While" needs

my %while = (
    'another caller is held' => sub {
        my ($runs) = @_;

        my $nginx = serve_shared($runs);
        my $key = redis()->device_key(device('held', bridge => 'b1'));
        my $held = $nginx->open('held', 'mute', 1, timeout => 60000);

        $key =~ s/:device:/:inflight:/;
        soon { redis()->call('HLEN', $key) } 'one is held';
        run_all(@$runs);
        $held->leave();

        return $nginx;
    },

    'Redis is not there' => sub {
        my ($runs) = @_;

        my $nginx = serve($runs, redis_port => free_port());

        run_all(@$runs);

        return $nginx;
    },

    'Redis does not reply' => sub {
        my ($runs) = @_;

        my $nginx = serve($runs);

        for my $run (@$runs) {
            $_->{bytes} = request_text($run, $_) for @{ $run->{checks} };
        }

        # subscribed, too
        device('first', bridge => 'b1');
        is($nginx->call('first', 'echo', 1)->{body}, 1, 'Redis replies');
        redis()->pause();
        run_all(@$runs);
        redis()->resume();

        return $nginx;
    },
);


# the page --------------------------------------------------------------------

my @tables = TB::Answers::tables();
my @simple = grep { !$_->{while} } @tables;
my $bridge = bridge();

cmp_ok(scalar @tables, '>', 20, 'there are tables');

# all that can be asked at the same time

{
    my @runs = runs_of(grep { !shared($_) } @simple);
    my $nginx = serve(\@runs);

    run_all(@runs);
    finish($nginx);
}

for my $table (grep { shared($_) } @simple) {
    my @runs = runs_of($table);
    my $nginx = serve_shared(\@runs);

    run_all(@runs);
    finish($nginx);
}

for my $table (grep { $_->{while} } @tables) {
    my @runs = runs_of($table);
    my $stage = $while{ $table->{while} }
        or die "line $table->{line}: while $table->{while}?\n";

    finish($stage->(\@runs));
}

# its examples

my $page = TB::Answers::page();


# the indented lines that begin so, as one, without what is new each time

sub example {
    my ($start) = @_;

    my ($text) = $page =~ /^( +\Q$start\E.*\n(?: {5,}.*\n)*)/m
        or die "no example $start\n";

    return timeless($text =~ s/^ +|\n//mgr);
}


sub timeless {
    my ($text) = @_;

    $text =~ s/[0-9a-f]{8}-[0-9a-f-]{27}/ID/g;
    $text =~ s/\b\d{13}\b/TIME/g;

    return $text;
}


{
    my ($headers) = $page =~ /^((?: +add_header .*;\n)+)/m;
    my $nginx = TB::Nginx->start(server => $headers);
    my $text = TB::Client::text('POST', '/api/rpc/oneway/'
        . device('example'), '{"method":"setGpio","params":{"pin":7},'
        . '"persistent":true,"additionalInfo":{"by":"me"}}',
        'X-Authorization' => "Bearer $token{TENANT_ADMIN}");
    my $made = TB::Client->new($nginx->{port}, $text)->answer();
    my ($id) = $made->{body} =~ /"rpcId":"([^"]+)"/;

    is(timeless($nginx->get("/api/rpc/persistent/$id")->{body}),
       example('{"id":{"entityType":"RPC"'), 'the record');

    my $missing = $nginx->get("/api/rpc/persistent/$names{unknown}");

    is(timeless($missing->{body}), example('{"status":404'), 'the error');

    my $nobody = TB::Client->new($nginx->{port},
        TB::Client::text('GET', '/api/rpc/x'))->answer();

    is("$made->{status} $missing->{status} $nobody->{status}", '200 404 401',
       'answers of three kinds');

    my @names = map { lc } $headers =~ /add_header +(\S+)/g;

    is(scalar @names, 5, 'headers to add');

    for my $name (@names) {
        is(scalar(grep { length($_->{headers}{$name} // '') }
                       $made, $missing, $nobody), 3, "$name is added");
    }

    # what nginx itself makes of header lines, and of its log

    my $secret = 'abcdefgh';
    my $ask = sub {
        my $client = TB::Client->new($nginx->{port},
            "GET /api/rpc/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            . join('', map { "$_: Bearer $secret\r\n" } @_) . "\r\n");

        return $client->answer()->{status};
    };

    is($ask->('X_Authorization'), 401, 'X_Authorization is ignored');
    is($ask->('Authorization', 'Authorization'), 400,
       'two Authorization lines are refused');

    for my $what ('invalid', 'duplicate') {
        like($nginx->error_log(),
             qr/\[info\].* client sent $what header line: .*$secret/,
             "$what header lines are logged whole");
    }

    finish($nginx);
}

# nothing that a call can end with is left out

{
    open my $fh, '<', root() . '/src/http/ngx_http_tb_rpc_outcome.c'
        or die "outcome.c: $!\n";
    my $source = do { local $/; <$fh> };
    my ($list, $logged) = $source =~ /_results\[\] = \{(.*?)\n\n(.*?)\n\};/s;
    my ($outcomes) = $source =~ /_outcomes\[\] = \{(.*?)\n\};/s;
    my ($table) = $page =~ /^(\| X-RPC-Result (?:.+\n)+)/m;
    my %told = map { $_ => 1 } $table =~ /^\| `([A-Z_]+)` \|/mg;
    my %results = map { $_ => 1 } $list =~ /"(\w+)"/g;
    my %rows = map { $_ => 1 }
               map { my $row = $_; map { $row->{$_} // '' }
                         qw(answer openapi thingsboard v1 v2) }
               map { @{ $_->{rows} } } @tables;
    my $rows = join "\n", keys %rows;

    is(join(' ', sort keys %told), join(' ', sort keys %results),
       'each X-RPC-Result is told of');
    like($page, qr/`\L$_`/, "\L$_\E, which only the log knows, is told of")
        for $logged =~ /"(\w+)"/g;

    for my $result (sort keys %results) {
        like($rows, qr/^\d{3} `$result`/m, "$result is in a table");
    }

    for my $outcome ($outcomes =~ /\{ (.*?) \}/sg) {
        my ($v1, $v2) = $outcome =~ /^(\d+), (\d+)/;
        my $text = join '', $outcome =~ /"(.*)"/g;

        next if $v1 == 500;

        like($rows, qr/^$_ .*`\Q$text\E/m, "$_ $text") for $v1, $v2;
    }
}

done_testing();
