# A proxy that changes at random what Redis says, to nginx and to a bridge, with
# calls through both: none of the two ends, no caller is told what is not his,
# and once Redis is itself again all is well.
#
# TB_FUZZ_SECONDS is for how long, TB_FUZZ_SEED what a failure has told.
#
# runs: side by side, 25 s
# not with --redis-tls, --redis-cluster: a proxy reads along

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use TB::Client;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Mqtt qw(reap spawn text_of);
use TB::MqttDevices;
use TB::MutatingProxy;
use TB::Nginx;

my $seconds = $ENV{TB_FUZZ_SECONDS} || 8;
my $seed = $ENV{TB_FUZZ_SEED} || $$ * 7919 + int time();

my $mqtt = TB::Mqtt->new();
my $redis = $mqtt->{redis};
my @ids = map { $mqtt->device() } 0 .. 7;

set_macro("m$_" => $ids[$_]) for 0 .. $#ids;
$mqtt->broker();

my ($front, $back) = map { TB::MutatingProxy->start(to => $redis->{port},
                                                    seed => $seed + $_) } 0, 1;
my $nginx = TB::Nginx->start(workers => 2, redis_port => $front->{port},
                             redis => 'command_timeout 2s;',
                             http => 'tb_rpc_max_timeout 3s;');
my $pid = spawn('bridge.log', TB::Mqtt::program(), '--name', 'fuzz', '--redis',
                "redis://127.0.0.1:$back->{port}", '--redis-user', 'bridge',
                '--redis-password-file', $mqtt->{password}, '--broker',
                "mqtt://127.0.0.1:$mqtt->{port}");
my $devices = TB::MqttDevices->start(port => $mqtt->{port}, ids => \@ids);
my $next = 0;


# each call says who it is, and its answer says it again

sub calls {
    my ($n) = @_;

    my @marks = map { sprintf '%08x-%s', $$ * 65536 + ++$next, 'mark' } 1 .. $n;
    my @clients = map { $nginx->open('m' . $next++ % @ids, 'echo',
                                     "{\"mark\":\"$_\"}", timeout => 2000) }
                      @marks;
    my @answers = TB::Client::answers(20, @clients);

    return map { { mark => $marks[$_], %{ $answers[$_] } } } 0 .. $#answers;
}


# Whose answer it is.  A message that is cut goes on with the next one: a part
# of that is no answer.

sub whose {
    my ($call) = @_;

    return ($call->{body} =~ /^\{"device":"[0-9a-f-]{36}",
                              "got":\{"mark":"([0-9a-f]{8}-mark)"\}\}$/x)[0]
           // '';
}


sub well {
    my ($call) = @_;

    return $call->{status} == 200 && whose($call) eq $call->{mark};
}


ok(&wait_for(sub { well((calls(1))[0]) }, 60), 'a call goes through both')
    or diag substr text_of('bridge.log') . $nginx->error_log(), -3000;

diag("seed $seed");
$_->tell('mutate', 12) for $front, $back;

my (%issued, %status, @wrong);

# What Redis was told, past both proxies.  The reply to a GET does not say whose
# answer it is: where a reply was swallowed the next one is taken for it.

my $monitor = $redis->connect('admin');
my ($ends, %mark_of) = 0;

$monitor->command('MONITOR');


# the marks of calls whose answers were fetched since it was called last

sub fetched {
    my $end = 'end ' . ++$ends . '.';
    my %fetched;

    $redis->call('ECHO', $end);

    while ((my $line = $monitor->reply()) !~ /"ECHO" "\Q$end\E"/) {
        $mark_of{$1} = $2
            if $line =~ /"tb_rpc_create" "1" "[^"]*" "([0-9a-f-]{36})" .*
                         ([0-9a-f]{8}-mark)/x;
        $fetched{$mark_of{$1} // ''} = 1
            if $line =~ /"GET" "[^"]*:answer:([0-9a-f-]{36})"/;
    }

    return \%fetched;
}


sub changed { return $front->tell('changed') + $back->tell('changed') }
sub enough { return changed() > 10 && $status{200} }


my $end = time() + scaled($seconds);

# longer, where so little is done that there is nothing to see

while (time() < $end || time() < $end + 60 && !enough()) {
    my @calls = calls(16);
    my $fetched = fetched();

    for my $call (@calls) {
        $issued{$call->{mark}} = 1;
        $status{$call->{status}}++;

        my $whose = whose($call);

        push @wrong, $call->{what} if !$call->{status};
        push @wrong, "$call->{mark}: got $whose"
            if $whose ne $call->{mark} && $issued{$whose}
               && !$fetched->{$call->{mark}};
    }
}

my $changed = changed();

diag("$changed pieces changed: " . join ', ', map { "$status{$_} of $_" }
                                              sort keys %status);
cmp_ok($changed, '>', 10, 'what Redis says was changed');
is(join("\n", @wrong), '', 'each has an answer, and nobody another one\'s');
cmp_ok($status{200} || 0, '>', 0, 'some calls go through');

# a connection that was led astray is given up by timeouts, at the latest

$_->tell('mutate', 0) for $front, $back;
$_->tell('cut', 'all') for $front, $back;

my $since = time();

ok(&wait_for(sub { !grep { !well($_) } calls(8) }, 120), 'all is well after');
diag(sprintf 'after %.1f s', time() - $since);

is(waitpid($pid, POSIX::WNOHANG()), 0, 'the bridge lives');
is(reap($pid, 'TERM', 20), 0, 'and ends as it should')
    or diag substr text_of('bridge.log'), -3000;
$nginx->clean(qr/\[crit\]/);

done_testing();
