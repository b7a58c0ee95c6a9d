package Requests;

# What the rows of bench/http send.  Each of create(), answered(), ... makes
# new devices, and records if it needs some, and returns
#
#     requests            texts, to be used in turn
#     text                what is in the body of every answer
#     check               a function, or none, that looks afterwards whether
#                         Redis has what the requests should have left; dies
#
# Their first argument is how many requests there will be.

use strict;
use warnings;

use Exporter 'import';
use List::Util qw(sum0);

use Programs;
use TB::Bridge;
use TB::Client;
use TB::Env qw(file_in);
use TB::Fixture;
use TB::RedisServer;
use TB::Resp;
use TB::Token qw($TENANT);

our @EXPORT_OK = qw($WINDOW many devices count request in_file create answered
                    delivered list get removed held);

# of a device, calls or records; a queue takes twice as many
our $WINDOW = 8;

my $call = '{"method":"setGpio","params":{"pin":7,"value":1}';
my $persistent = "$call,\"persistent\":true,"
                 . '"expirationTime":' . (time() + 86400) . '000}';
my $big = $persistent =~ s/"value":1/'"value":"' . 'x' x 60000 . '"'/er;
my $ids = 0;
my %auth;


sub many {
    my (@commands) = @_;

    my @replies;

    while (my @some = splice @commands, 0, 64) {
        push @replies, redis()->client()->pipeline(@some);
    }

    my ($error) = grep { TB::Resp::is_error($_) } @replies;
    die "$error\n" if $error;

    return @replies;
}


# new devices that are online, behind this bridge

sub devices {
    my ($bridge, $count) = @_;

    my @devices = map { sprintf 'de000000-0000-11ee-8000-%012x', ++$ids }
                  1 .. $count;

    many(map { ['FCALL', 'tb_rpc_device_put', 1,
                TB::Bridge::key('device', $_), $TENANT, '', bridge => $bridge]
         } @devices);

    return @devices;
}


# what these devices have of a kind, "index": records

sub count {
    my ($command, $kind, @devices) = @_;

    return sum0(many(map { [$command, TB::Bridge::key($kind, $_)] } @devices));
}


sub request {
    my ($method, $path, $body, $auth) = @_;

    $auth{jwt} //= 'Bearer ' . macro('token:tenant');
    $auth{key} //= 'ApiKey ' . api_key('bench');

    return TB::Client::text($method, $path, $body,
                            'Content-Type' => 'application/json',
                            'X-Authorization' => $auth{$auth || 'jwt'});
}


# a file as the load generator reads it

sub in_file {
    my ($name, @requests) = @_;

    return file_in($name, join '', map { length($_) . "\n$_" } @requests);
}


# where: the location; auth, devices, big

sub create {
    my ($n, $where, %opt) = @_;

    my @devices = devices('away', $opt{devices} || $n / $WINDOW);
    my @requests = map { request('POST', "$where/rpc/twoway/$_",
                                 $opt{big} ? $big : $persistent, $opt{auth}) }
                   @devices;

    return (\@requests, '') if $where eq '/bare';

    return (\@requests, '{"rpcId":"', sub {
        my $created = count('ZCARD', 'index', @devices);

        die "there are $created records, not $n\n" if $created != $n;
    });
}


sub called {
    my ($n, $way, $text) = @_;

    my $bridge = Programs->start('bridge', redis()->{port}, 'bridge',
                                 $TB::RedisServer::PASSWORD{bridge}, 'b1',
                                 128);
    my @devices = devices('b1', 256);

    return ([map { request('POST', "/api/rpc/$way/$_", "$call}") } @devices],
            $text, sub {
        my $got = $bridge->finish();

        die "the bridge has taken and reported $got calls of $n\n"
            if $got ne "$n $n\n";
    });
}


sub answered { return called($_[0], 'twoway', '{"ok":true}') }
sub delivered { return called($_[0], 'oneway', '') }


# calls that nobody takes

sub held {
    my @devices = devices('away', $_[0] / $WINDOW);

    return ([map { request('POST', "/api/rpc/twoway/$_",
                           "$call,\"timeout\":60000}") } (@devices) x $WINDOW],
            \@devices);
}


# records: of each device their ids

sub records {
    my ($n) = @_;

    my %devices;

    for my $device (devices('away', $n / $WINDOW)) {
        # nginx finds the shard in it
        my $shard = 0x8000 | TB::Bridge::shard($device);

        $devices{$device} = [map { sprintf '%08x-0000-11ee-%04x-0123456789ab',
                                           ++$ids, $shard } 1 .. $WINDOW];
    }

    many(map { my $device = $_;
               map { ['FCALL', 'tb_rpc_create', 1,
                      TB::Bridge::key('device', $device), $_, '', 0, 1,
                      $TENANT, '*', '"setGpio"', '{"pin":7,"value":1}', '',
                      '', 86400000] } @{ $devices{$device} }
         } sort keys %devices);

    return %devices;
}


# pages with all records of a device

sub list {
    my %devices = records($_[0]);

    return ([map { request('GET', "/api/rpc/persistent/device/$_"
                                  . "?page=0&pageSize=$WINDOW") }
                 sort keys %devices],
            "\"totalElements\":$WINDOW,");
}


sub get {
    my %devices = records($_[0]);

    return ([map { request('GET', "/api/rpc/persistent/$_") }
                 map { @$_ } values %devices], '"status":"QUEUED"');
}


sub removed {
    my %devices = records($_[0]);

    return ([map { request('DELETE', "/api/rpc/persistent/$_") }
                 map { @$_ } values %devices], '', sub {
        my $left = count('ZCARD', 'index', keys %devices);

        die "$left records are still there\n" if $left;
    });
}


1;
