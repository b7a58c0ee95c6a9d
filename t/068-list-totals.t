# A list whose totals nobody can have counted.
#
# runs: side by side, 2 s
# not with --redis-tls, --redis-cluster: its Redis is a fake one

use strict;
use warnings;

use Test::More;

use TB::Client;
use TB::FakeRedis;
use TB::Fixture;
use TB::Nginx;

my $device = uuid_of('device d1');
my $fake = TB::FakeRedis->start(on => sub {
    my ($mode, $conn, @argv) = @_;

    return undef if @argv < 2 || $argv[1] ne 'tb_rpc_list';

    return "*3\r\n" . TB::FakeRedis::bulk('ok')
           . join '', map { ":$_\r\n" } split / /, $mode;
});
my $nginx = TB::Nginx->start(redis_port => $fake->{port});
my $token = macro('token:tenant');


sub page {
    my ($totals, $args) = @_;

    $fake->tell('mode', $totals);

    my $answer = TB::Client->new($nginx->{port}, TB::Client::text('GET',
        "/api/rpc/persistent/device/$device?$args", undef,
        'X-Authorization' => "Bearer $token"))->answer();

    return $answer->{status} == 200 ? $answer->{body} : $answer->{status};
}


my $last = 'page=2147483647&pageSize=2147483647';

is(page('0 0', 'page=0&pageSize=10'),
   '{"data":[],"totalPages":0,"totalElements":0,"hasNext":false}', 'none');
is(page('9007199254740992 0', $last),
   '{"data":[],"totalPages":4194305,"totalElements":9007199254740992,'
   . '"hasNext":false}', '2^53: as much as there may be');
is(page($_, $last), 500, "$_: invalid")
    for '9007199254740993 0', '9223372036854775807 0', '-1 0',
        '-9223372036854775808 0', '5 -1', '1 9223372036854775807';
is(page('9223372036854775807 0', 'page=0&pageSize=2'), 500,
   'a short page of them: invalid');
is($nginx->count_log(qr/\[error\].*invalid reply to tb_rpc_list/), 7,
   'each is told');
$nginx->clean();

done_testing();
