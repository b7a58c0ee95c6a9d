# A worker remembers the tokens that it has verified: to a caller that makes no
# difference.  Expiry, other keys and other locations count at once, and a
# flood of tokens leaves the memory bounded.
#
# runs: side by side, 8 s

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use TB::Client;
use TB::Env qw(file_in);
use TB::Fixture;
use TB::Load;
use TB::Nginx;
use TB::Token qw(jwt jwt_with key_text $TENANT $CUSTOMER $OTHER_CUSTOMER);

my $new_key = 'n' x 64;
my $new_file = file_in('new.key', key_text($new_key));

device('mine', customer => $CUSTOMER);
device('theirs', customer => $OTHER_CUSTOMER);

my $locations = <<"_EOC_";
location /api/rpc/ { tb_rpc  v2; }

location /other {
    rewrite             ^/other(.*)  \$1 break;
    tb_rpc              v2;
    tb_rpc_jwt_key      $new_file;
}

location /issuer {
    rewrite             ^/issuer(.*)  \$1 break;
    tb_rpc              v2;
    tb_rpc_jwt_issuer   elsewhere;
}
_EOC_

my $nginx = TB::Nginx->start(config => $locations, http => <<'_EOC_');
log_format  who  '$status $tb_rpc_tenant_id $tb_rpc_customer_id'
                 ' $tb_rpc_user_id $tb_rpc_authority';
access_log  who.log  who;
_EOC_


sub get_text {
    my ($token, $before) = @_;

    return TB::Client::text('GET', ($before // '')
                            . '/api/rpc/persistent/' . uuid_of('nothing'),
                            undef, 'X-Authorization' => "Bearer $token");
}


# 404: let in, and there is no such call

sub status {
    my ($token, $before) = @_;

    my $c = TB::Client->new($nginx->{port}, get_text($token, $before));
    my $answer = $c->answer();

    $c->leave();

    return "$answer->{status}" . ($answer->{body} =~ /"Token has expired"/
                                  ? ' expired' : '');
}


# the same again and again

my $token = jwt();

is(status($token), '404', "let in, time $_") for 1 .. 3;
is(status($token, '/other'), '401', 'not with another key');
is(status($token, '/issuer'), '401', 'nor where another issuer is asked for');
is(status($token), '404', 'here it is still good');

my $of_new = jwt_with({ key => $new_key });

is(status($of_new, '/other'), '404', "the other way round, time $_") for 1, 2;
is(status($of_new), '401', 'not here');

# nearly the same

my ($head, $claims, $signature) = split /\./, $token;
my $flipped = ($signature =~ /^A/ ? 'B' : 'A') . substr $signature, 1;

my %bad = (
    'another signature'     => "$head.$claims.$flipped",
    'a shorter one'         => substr($token, 0, -1),
    'a longer one'          => "${token}A",
    'no signature'          => "$head.$claims.",
    'claims of another one' => join('.', $head, (split /\./, jwt(
                                   tenantId => uuid_of('tenant')))[1],
                                   $signature)
);

is(status($bad{$_}), '401', $_) for sort keys %bad;
is(status($token), '404', 'the good one again');


# who is calling is remembered with it

{
    my %who = (tenant => jwt(), customer => jwt(scopes => ['CUSTOMER_USER'],
                                                customerId => $CUSTOMER));

    for my $turn (1 .. 3) {
        for my $who (sort keys %who) {
            my @status = map {
                my $c = TB::Client->new($nginx->{port}, TB::Client::text('POST',
                    expand("/api/rpc/oneway/%{$_}"),
                    '{"method":"m","params":{},"persistent":true}',
                    'X-Authorization' => "Bearer $who{$who}"));
                my $answer = $c->answer();

                $c->leave();
                $answer->{status};
            } qw(mine theirs);

            is("@status", $who eq 'tenant' ? '200 200' : '200 401',
               "$who, time $turn");
        }
    }

    my %seen = map { $_ => 1 } split /\n/, $nginx->file_text('who.log');
    my @customer = grep { /^[24]\S+ \S+ \Q$CUSTOMER\E/ } keys %seen;

    is(scalar(@customer), 2, 'a 200 and a 401, with one identity')
        or diag(join "\n", sort keys %seen);
    like($_, qr/^\S+ \Q$TENANT\E \S+ \S+ CUSTOMER_USER$/, $_) for @customer;
}


# expiry, to the second

{
    my $exp = int(time) + 3;
    my $short = jwt(exp => $exp);
    my ($good, $late, $early, $last) = (0, 0, 0);

    do {
        my $before = time;

        $last = status($short);
        $good++ if $last eq '404';
        $late++ if $last eq '404' && $before >= $exp + 0.1;
        $early++ if $last ne '404' && time < $exp;
        sleep 0.02;
    } while (time < $exp + 0.5);

    cmp_ok($good, '>', 2, "let in $good times");
    is($late, 0, 'never after its second');
    is($early, 0, 'always before it');
    is($last, '401 expired', 'it has expired');
    is(status($short), '401 expired', 'and stays so');
}


# a flood

{
    my $flood = sub {
        my ($from, $n) = @_;

        # refused without Redis, but not before it is known who calls

        my @results = TB::Load::run(port => $nginx->{port}, parallel => 4,
            timeout => 300, requests => [map { TB::Client::text('POST',
                                   '/api/rpc/oneway/' . uuid_of('nothing'), '',
                                   'X-Authorization' => 'Bearer '
                                       . jwt(sessionId => "s$_")) }
                         $from .. $from + $n - 1]);

        return scalar grep { ($_->{status} // 0) != 400 } @results;
    };

    is($flood->(0, 3000), 0, '3,000 tokens');

    my $before = $nginx->rss();

    is($flood->(3000, 6000), 0, '6,000 more');

    SKIP: {
        skip "memory means nothing under $ENV{TB_MODE}", 1 if $ENV{TB_MODE};
        cmp_ok($nginx->rss() - $before, '<', 1024, 'take no more memory');
    }

    is(status($token), '404', 'the first one is still good');
}


# other keys

{
    my $both = jwt();

    is(status($both), '404', 'the old key');
    is(status($of_new), '401', 'not yet the new one');

    $nginx->configure(config => "tb_rpc_jwt_key $new_file;\n$locations");
    $nginx->reload();
    is(status($both), '401', 'after a reload the old one is gone');
    is(status($of_new), '404', 'and the new one is good');

    $nginx->configure(config => 'tb_rpc_jwt_key ' . macro('jwt_key')
                                . ";\ntb_rpc_jwt_key $new_file;\n$locations");
    $nginx->reload();
    is(status($_), '404', 'with both, both are') for $both, $of_new;
}

$nginx->clean();

done_testing();
