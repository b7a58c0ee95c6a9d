# A device that does not wait for the answer to its answer: its caller gets
# it all the same, however long its token had to be looked up.
#
# runs: side by side, 3 s

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use Test::More;

use TB::Env qw(free_port);
use TB::Fixture;
use TB::Http2 qw(frame hpack);
use TB::Nginx;

my $h2 = free_port();

redis();

my $nginx = TB::Nginx->start(
    server => "listen 127.0.0.1:$h2 http2;",
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api; }'
              . ' location /nocache/ { tb_rpc_device_api;'
              . ' tb_rpc_api_key_cache 0; }');

device('d1');
redis()->call('SET', 'tb:token:' . sha256_hex('T1'), macro('d1'));


sub device_text { return TB::Client::text(@_) }


# what was sent before, or ended, nginx has read when this is answered

sub read_by_nginx { $nginx->get('/none') }


# a call that the device has taken: its caller, its id

sub taken {
    my ($n) = @_;

    my $caller = $nginx->open('d1', 'x', $n, timeout => 20000);
    my $r = TB::Client->new($nginx->{port},
                device_text('GET', '/api/v1/T1/rpc?timeout=5000'))->answer();
    my ($id) = $r->{body} =~ /^\{"id":(\d+),/;

    ok(defined $id, "call $n: the device has it") or diag $r->{what};

    return ($caller, $id);
}


# while Redis is slow: nothing is answered before the device has left

my %ways = (
    'closes' => sub { $_[0]->leave() },
    'resets' => sub { $_[0]->leave('reset') },
    'shuts down' => sub { shutdown $_[0]{sock}, 1 },
);
my $n = 0;

for my $path ('/nocache/T1/rpc', '/api/v1/T1/rpc') {
    for my $way (sort keys %ways) {
        for my $parts (1, 2) {
            my $value = ++$n;
            my ($caller, $id) = taken($value);
            my $text = device_text('POST', "$path/$id", "\"of $value\"");

            redis()->pause();

            # the body at once, or behind the header

            my $client = TB::Client->new($nginx->{port});
            my $cut = $parts == 1 ? 0 : 9;

            $client->send(substr $text, 0, length($text) - $cut);

            if ($cut) {
                read_by_nginx();
                $client->send(substr $text, -$cut);
            }

            read_by_nginx();
            $ways{$way}->($client);
            read_by_nginx();
            redis()->resume();

            is($caller->answer()->{body}, "\"of $value\"",
               "$path, $parts parts: $way, its caller has the answer");
        }
    }
}

{
    my ($caller, $id) = taken('2');

    redis()->pause();

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $h2)
        or die "connect: $!\n";
    my $headers = join '', map { "\0" . hpack($_->[0]) . hpack($_->[1]) }
        [':method', 'POST'], [':scheme', 'http'], [':authority', 'localhost'],
        [':path', "/nocache/T1/rpc/$id"];

    syswrite $sock, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame(4, 0, 0, '')
                    . frame(1, 4, 1, $headers) . frame(0, 1, 1, '"of 2"');
    read_by_nginx();
    close $sock;
    read_by_nginx();
    redis()->resume();

    is($caller->answer()->{body}, '"of 2"', 'HTTP/2: its caller has it');
}

# a body that is cut off is no answer

{
    my ($caller, $id) = taken('3');
    my $client = TB::Client->new($nginx->{port},
        substr device_text('POST', "/nocache/T1/rpc/$id", '"cut off"'),
               0, -3);

    read_by_nginx();
    $client->leave();
    read_by_nginx();
    ok(!$caller->answered(), 'half an answer is none');
    TB::Client->new($nginx->{port},
                    device_text('POST', "/nocache/T1/rpc/$id", '"whole"'))
              ->answer();
    is($caller->answer()->{body}, '"whole"', 'a whole one is');
}

# a poll that leaves meanwhile is no poll

{
    redis()->pause();

    my $client = TB::Client->new($nginx->{port},
        device_text('GET', '/nocache/T1/rpc?timeout=20000'));

    read_by_nginx();
    $client->leave();
    read_by_nginx();
    redis()->resume();

    my ($caller, $id) = taken('4');

    TB::Client->new($nginx->{port},
                    device_text('POST', "/nocache/T1/rpc/$id", '"ok"'))
              ->answer();
    is($caller->answer()->{body}, '"ok"', 'a poll that has left takes none');
    unlike($nginx->error_log(), qr/did not reach device/,
           'and was given none');
}

$nginx->clean();

done_testing();
