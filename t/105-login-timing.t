# tb_rpc_login: how long an unknown user, a wrong password and a disabled user
# take is the same: medians of 1,000 tries each, taken in turns; and so it is
# with a user whose hash is an older one.
#
# runs: alone, 40 s

use strict;
use warnings;

use Test::More;

use TB::Fixture;
use TB::Login;
use TB::Nginx;

plan skip_all => 'times under AddressSanitizer or valgrind' if $ENV{TB_MODE};

my $TRIES = 1000;

redis();

my $nginx = TB::Nginx->start(
    http => <<'_EOC_',
    tb_rpc_login_scrypt   ln=11 r=8 p=1;
    tb_rpc_login_failures user=1000000 address=1000000 delay=0;
_EOC_
    config => 'location /api/auth/ { tb_rpc_login; }');
my $http = TB::Login->new($nginx);

user('wrong', ln => 11);
user('disabled', ln => 11, enabled => 0);
user('older', ln => 10);

# one connection for each

my %client;
my %password = (disabled => 'a password');


sub try {
    my ($name) = @_;

    my $text = $http->request('POST', 'login',
                              { username => $name, password =>
                                    $password{$name} || 'not a password' });
    my $start = Time::HiRes::time();

    if ($client{$name}) {
        $client{$name}->send($text);
    } else {
        $client{$name} = TB::Client->new($nginx->{port}, $text);
    }

    my $r = $client{$name}->answer(10);

    die "$name: $r->{status} $r->{body}\n" if $r->{status} != 401;

    return Time::HiRes::time() - $start;
}


sub median {
    my @sorted = sort { $a <=> $b } @_;

    return $sorted[@sorted / 2];
}


my %seconds;
my @names = ('wrong', 'unknown', 'disabled', 'older');

for my $n (1 .. $TRIES) {

    # nobody is always behind the same one
    push @names, shift @names;
    push @{ $seconds{$_} }, try($_) for @names;
}

my %median = map { $_ => median(@{ $seconds{$_} }) } @names;

# what two halves of the same tries differ by is noise

my @half = ([], []);

push @{ $half[$_ & 1] }, $seconds{wrong}[$_] for 0 .. $TRIES - 1;

my $noise = abs(median(@{ $half[0] }) - median(@{ $half[1] }));
my $allowed = 0.02 * $median{wrong} + 3 * $noise;

diag(join ', ', map { sprintf '%s %.3f ms', $_, 1000 * $median{$_} }
                sort @names);

cmp_ok(abs($median{$_} - $median{wrong}), '<=', $allowed,
       "$_: as a wrong password, within " . sprintf '%.0f us', 1e6 * $allowed)
    for 'unknown', 'disabled';

# what is computed for nothing comes near
cmp_ok(abs($median{older} - $median{wrong}), '<=', 0.15 * $median{wrong},
       'nor does an older hash tell much');

# while a right one may: it is told apart anyway

$nginx->clean();
$nginx->stop();

done_testing();
