# Requests that are signed as they should be, and wrong in some other way:
# claims, bodies, paths, queries and headers that were changed at random.  Each
# gets an answer, none a 500, nobody sees what is another tenant's, and nginx
# lives on.
#
# TB_FUZZ_SECONDS is for how long, TB_FUZZ_SEED what a failure has told.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use TB::Client;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Mutate;
use TB::Nginx;
use TB::Token qw(jwt jwt_with $TENANT $OTHER_TENANT $CUSTOMER $USER
                 $NULL_UUID);

my $seconds = $ENV{TB_FUZZ_SECONDS} || 8;
my $seed = $ENV{TB_FUZZ_SEED} || $$ * 7919 + int time();
my $json = JSON::PP->new->canonical->utf8;
my $secret = 'nobody-elses-5ca1ab1e';

redis();
device('d1', bridge => 'b1', customer => $CUSTOMER);
device('d2');
device('f1', tenant => $OTHER_TENANT, bridge => 'b1');
bridge();

my $nginx = TB::Nginx->start(
    http => 'tb_rpc_api_keys on; tb_rpc_max_timeout 1s;',
    config => 'location /api/rpc/ { tb_rpc v2; }
               location /api/plugins/rpc/ { tb_rpc v1; }
               location /tb/rpc/ { tb_rpc v2; tb_rpc_profile thingsboard; }
               location /api/v1/ { tb_rpc_device_api; }
               location = /status { tb_rpc_status json; }');

# what is another tenant's, to be seen by nobody

my $foreign = TB::Client->new($nginx->{port},
    TB::Client::text('POST', '/api/rpc/oneway/' . macro('f1'),
                     $json->encode({ method => $secret, persistent => \1,
                                     params => { secret => $secret },
                                     additionalInfo => { of => $secret } }),
                     'X-Authorization' => 'Bearer '
                                          . jwt(tenantId => $OTHER_TENANT)));
$foreign = $foreign->answer();
is($foreign->{status}, 200, 'another tenant has a record')
    or diag $foreign->{what};

my $rpc = $json->decode($foreign->{body})->{rpcId};
my $mutate = TB::Mutate->new(seed => $seed, words => [
    qw(null true false {} [] "" method params timeout persistent retries
       expirationTime additionalInfo requestUUID TENANT_ADMIN CUSTOMER_USER
       SYS_ADMIN page=0 pageSize=1 sortOrder=DESC rpcStatus=QUEUED ../ // /rpc/
       /persistent/ /device/ oneway twoway ? & =),
    $rpc, macro('f1'), macro('d1'), macro('d2'), $TENANT, $CUSTOMER,
    $NULL_UUID]);


# --- one request ------------------------------------------------------------

sub claims {
    return $json->encode({
        sub => 'a@b.c', userId => $USER, tenantId => $TENANT,
        scopes => [$mutate->maybe(3) ? 'CUSTOMER_USER' : 'TENANT_ADMIN'],
        customerId => $CUSTOMER, exp => int(time()) + 900,
        enabled => \1, iss => 'thingsboard.io' });
}


sub body {
    return $json->encode({
        method => $mutate->pick(qw(echo text raw empty fail)),
        params => $mutate->pick({ pin => 7, of => 'x' x 20 }, 'text', 1.5,
                                [1, 2]),
        timeout => $mutate->pick(100, 300),
        $mutate->maybe(2) ? (persistent => \1, retries => 1) : (),
        $mutate->maybe(4) ? (additionalInfo => { a => [1] }) : (),
        $mutate->maybe(4) ? (requestUUID => uuid_of('r' . $mutate->below(9)))
                          : () });
}


sub path {
    my $root = $mutate->pick('/api/rpc', '/api/plugins/rpc', '/tb/rpc');
    my $device = macro($mutate->pick(qw(d1 d2 f1)));

    return $mutate->pick(
        [GET => "$root/persistent/device/$device?page=0&pageSize="
                . (1 + $mutate->below(20)) . '&rpcStatus='
                . $mutate->pick('', 'QUEUED', 'EXPIRED')
                . '&sortProperty=' . $mutate->pick('request', 'response')],
        [GET => "$root/persistent/$rpc"],
        [DELETE => "$root/persistent/$rpc"],
        [POST => "$root/oneway/$device"],
        [POST => "$root/twoway/$device"],
        [POST => "$root/twoway/$device"],
        [OPTIONS => "$root/twoway/$device"],
        [GET => "/api/v1/TOKEN-$seed/rpc?timeout=100"],
        [POST => "/api/v1/TOKEN-$seed/rpc/17"]);
}


# no line ends where another would begin, or it would be another request

sub line {
    my ($text) = @_;

    $text =~ s/[\r\n\0 ]/+/g;

    return $text;
}


sub request {
    my ($method, $path) = @{ path() };
    my $claims = claims();
    my $body = $method eq 'POST' ? body() : undef;
    my $what = $mutate->below(4);
    my %headers;

    $claims = $mutate->text($claims) if $what == 0;
    $body = $mutate->text($body) if defined $body && $what <= 1;
    ($path = line($mutate->text($path))) =~ s{^/?}{/} if $what >= 2;

    my $name = $mutate->pick('X-Authorization', 'Authorization');
    my $value = 'Bearer ' . jwt_with({ payload => $claims });

    $value = $mutate->text($value) if $what == 3 && $mutate->maybe(2);
    $value =~ s/[\r\n\0]/+/g;
    $headers{$name} = $value;
    $headers{'Content-Type'} = 'application/json' if defined $body;
    $headers{Connection} = 'close';

    return { text => TB::Client::text($method, $path, $body, %headers),
             theirs => scalar $claims =~ /$OTHER_TENANT/i };
}


# --- many -------------------------------------------------------------------

my ($n, %status, @wrong) = (0);
my $end = time() + scaled($seconds);

diag("seed $seed");

while (time() < $end && @wrong < 5) {
    my @requests = map { request() } 1 .. 16;
    my @answers = TB::Client::answers(
        60, map { TB::Client->new($nginx->{port}, $_->{text}) } @requests);

    for my $i (0 .. $#answers) {
        my $answer = $answers[$i];
        my $why = !$answer->{status} ? "no answer: $answer->{what}"
            : $answer->{status} == 500 && $answer->{body} !~ /RpcStatus: DEL/
                ? '500'
            : "$answer->{body}" =~ /$secret/ && !$requests[$i]{theirs}
                ? 'what is of another tenant' : '';

        push @wrong, "$why\n$requests[$i]{text}\n" if $why;
        $status{$answer->{status}}++;
        $n++;
    }
}

is(join('', @wrong), '', 'each has an answer, none a 500 or another tenant\'s');
diag("$n requests: " . join ', ', map { "$status{$_} of $_" }
                                  sort keys %status);
cmp_ok($n, '>', 50, 'they were many');
cmp_ok($status{200} || 0, '>', 0, 'some of them went through');
cmp_ok($status{400} || 0, '>', 0, 'some were refused');

my $last;

wait_for {
    $last = $nginx->call('d1', 'echo', '{"all":"well"}', timeout => 5000);
    $last->{status} == 200;
} 60;
is("$last->{status} $last->{body}", '200 {"all":"well"}', 'all is well after');
$nginx->clean();

done_testing();
