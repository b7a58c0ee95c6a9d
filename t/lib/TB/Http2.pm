package TB::Http2;

# What a few lines of an HTTP/2 client are made of.
#
#     frame($type, $flags, $stream, $payload)
#     hpack($text)                    a string of HPACK, not compressed

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(frame hpack);


sub frame {
    my ($type, $flags, $stream, $payload) = @_;

    return substr(pack('N', length $payload), 1)
           . pack('CCN', $type, $flags, $stream) . $payload;
}


sub hpack {
    my ($text) = @_;

    my $length = length $text;

    return chr($length) . $text if $length < 127;

    my $out = chr 127;

    for ($length -= 127; $length > 127; $length >>= 7) {
        $out .= chr($length & 127 | 128);
    }

    return $out . chr($length) . $text;
}


1;
