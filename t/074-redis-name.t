# A name for Redis, with "resolve": it is looked up again in the worker, and
# the addresses known are used when nobody answers.
#
# runs: side by side, 14 s
# not with --redis-cluster: its names are of one server

use strict;
use warnings;

use Test::More;

use TB::Dns;
use TB::Env qw(scaled wait_for);
use TB::Fixture;
use TB::Nginx;

redis();
device('d1', bridge => 'b1');

my $port = macro('redis_port');
my $timeout = scaled(2) . 's';
my $dns = TB::Dns->start('127.0.0.2');
my $nginx = TB::Nginx->start(
    redis_server => "redis://localhost:$port resolve",
    redis        => 'command_timeout ' . scaled(3) . 's;',
    http         => "resolver  127.0.0.1:$dns->{port} ipv6=off valid=1s;"
                    . "resolver_timeout  $timeout;");


sub works {
    my ($what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $answer = {};

    soon {
        $answer = $nginx->call('d1', 'x', '1', persistent => 1);
        $answer->{status} == 200
    } "$what: a call is taken", 60 or diag $answer->{what};
}


# Redis is not there

soon { $nginx->error_log()
       =~ /command connection to 127\.0\.0\.2:$port failed: connect/ }
     'the address of the name server is tried', 30;

is($nginx->call('d1', 'x', '1', persistent => 1)->{what},
   '503 REDIS_UNAVAILABLE', 'it is not the address that the configuration had');

# it is at one of two

$dns->tell('say', '127.0.0.3', '127.0.0.1');
works('two addresses, Redis at one');
like($nginx->error_log(),
     qr/command connection to 127\.0\.0\.1:$port is ready/, 'the right one');
soon { $nginx->error_log()
       =~ /subscription connection to 127\.0\.0\.1:$port is ready/ }
     'and the subscription there, too';

# nobody knows the name, and still Redis is where it was

sub lost { return $nginx->count_log(qr/command connection .* is ready/) }

my $unresolved = qr/localhost could not be resolved .*, the addresses known/;

$dns->tell('say');

soon {
    my $before = lost();

    redis()->call('CLIENT', 'KILL', 'USER', 'nginx');
    wait_for { lost() > $before } 30;
    $nginx->count_log($unresolved)
} 'no answer: it is told', 60;

works('no answer');

# a worker that waits for an answer goes

my $asked = $dns->tell('asked');
my ($old) = $nginx->reload();

soon { $dns->tell('asked') > $asked } 'reload: the new worker asks';
($old) = $nginx->reload();
ok($nginx->gone($old), 'reload: it goes without an answer');

$dns->tell('say', '127.0.0.1');
works('reload');

$nginx->clean();

done_testing();
