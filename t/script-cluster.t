# script/cluster: several servers of Redis by which everything works, one of
# them killed, nothing lost; and nothing is left of it afterwards.
#
# runs: side by side, 45 s

use strict;
use warnings;

use POSIX ();
use Test::More;

use TB::Env qw(root scratch wait_for);
use TB::Mqtt qw(output);
use TB::RedisServer;

plan skip_all => 'no mosquitto' if !TB::Mqtt::mosquitto();

$ENV{TMPDIR} = scratch();

my @script = (root() . '/script/cluster', '--no-bootstrap');


sub left { return join ' ', glob scratch() . '/tb-rpc-cluster.*' }


sub runs {
    my ($what, @options) = @_;

    my ($status, $text) = output(@script, @options);

    is($status, 0, "$what: it works") or diag substr $text, -6000;
    like($text, qr/^  Redis \d has taken over; the longest call took \d+ ms$/m,
         "$what: a master was killed, another one is there");

    my ($accepted, $there) =
        $text =~ /^  (\d+) calls were accepted, (\d+) of them are there;/m;

    cmp_ok($accepted // 0, '>', 60, "$what: calls were accepted");
    is($there, $accepted, "$what: and none is lost");
    is(left(), '', "$what: nothing is left");

    return $text;
}


runs('Sentinels', '--sentinel', TB::RedisServer::has_tls() ? '--tls' : ());

my $text = runs('cluster');

my %masters = map { $_ => 1 } $text =~ /its calls are in Redis (\d)$/mg;

is(scalar(keys %masters), 3, 'cluster: devices of all masters');


# an end by hand in the middle of it

my $log = scratch() . '/log';
my $pid = fork() // die "fork: $!\n";

if ($pid == 0) {
    # whoever runs the tests in the background ignores it, and so would bash

    $SIG{INT} = 'DEFAULT';
    setpgrp;
    open STDOUT, '>', $log;
    open STDERR, '>&', \*STDOUT;
    { exec @script, '--sentinel', '--keep' }
    POSIX::_exit(127);
}

my ($folder) = (wait_for {
    my ($dir) = glob scratch() . '/tb-rpc-cluster.*';

    $dir && -s "$dir/nginx/nginx.pid" && $dir;
} 180);

ok($folder, 'it is under way');
kill 'INT', -$pid;
ok(wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 120), 'it ends');
is($? >> 8, 130, 'by the signal');
is(left(), '', 'nothing is left');
is(join(' ', grep { (readlink("$_/cwd") // '') =~ m{^\Q$folder\E(?:/|$)} }
             glob '/proc/[0-9]*'), '', 'nor runs');

done_testing();
