# Two calls with one requestUUID are the same call if the same was sent,
# whatever the clock, the limits and the defaults have made of it.
#
# runs: side by side, 2 s

use strict;
use warnings;

use Test::More;

use TB::Client;
use TB::Fixture;
use TB::Nginx;

redis();
device('d1');

my $nginx = TB::Nginx->start(http => 'tb_rpc_default_timeout 20s;');
my $token = macro('token:tenant');


# the rpcId, or the status

sub create {
    my ($uuid, $more) = @_;

    my $body = '{"method":"m","params":1,"persistent":true,"requestUUID":"'
               . uuid_of("call $uuid") . '"' . ($more ? ",$more" : '') . '}';
    my $answer = TB::Client->new($nginx->{port},
        TB::Client::text('POST', expand('/api/rpc/oneway/%{d1}'), $body,
                         'X-Authorization' => "Bearer $token"))->answer();


    return $answer->{body} =~ /"rpcId":"([^"]+)"/ ? $1 : $answer->{status};
}


my @sent = ('', '"timeout":9007199254740991', '"timeout":9007199254740992',
            '"timeout":1e400', '"timeout":1', '"timeout":-5',
            '"timeout":30000', '"expirationTime":' . (time() + 600) . '000',
            '"retries":3', '"timeout":7000,"retries":0');
my @ids = map { create($_, $_) } @sent;

like($ids[$_], qr/^[0-9a-f]{8}-/, "{$sent[$_]}: taken") for 0 .. $#sent;

# the clock goes on

select undef, undef, undef, 0.01;

is(create($_, $_), shift @ids, "{$_}: once more, the same") for @sent;

# other limits and defaults

@ids = map { create($_, $_) } @sent;
$nginx->configure(http => 'tb_rpc_default_timeout 40s;');
$nginx->reload();
is(create($_, $_), shift @ids, "{$_}: after a reload, the same") for @sent;

# another call is another call

create('other', '"timeout":20000');
is(create('other', $_), 409, "{$_}: not that of {\"timeout\":20000}")
    for '"timeout":20001', '', '"timeout":20000,"retries":0',
        '"timeout":9007199254740991';

# a timeout without end has one that any clock can add to its time

for my $timeout ('9007199254740991', '9007199254740992', '1e400') {
    my $id = create("long $timeout", "\"timeout\":$timeout");
    my $record = $nginx->get("/api/rpc/persistent/$id")->{body};
    my ($created) = $record =~ /"createdTime":(\d+)/;
    my ($expires) = $record =~ /"expirationTime":(\d+)/;

    is($expires - $created, 4503599627370496, "timeout $timeout: 2^52 ms");
}

$nginx->clean();

done_testing();
