package TB::Rows;

# Tables of requests in one block, and answers in one line.
#
#     --- bodies                          POST of the body to "path"
#     {"method":"echo","params":1}  => 200 1
#     {"params":1}                  => 400 error 31 .*"method" is missing
#
#     --- credentials                     POST of an echo with these headers
#     X-Authorization: Basic YTpi   => 401 error 10 Authentication failed
#
#     --- requests
#     GET /api/rpc/x                => 404 error 32 There is no such resource
#     POST /api/rpc/oneway/%{d1} {"method":"x","params":1} => 200 empty
#
#     --- answer: 504 TIMEOUT empty       of the block's own request
#
# Empty lines and lines with "#" are left out; " | " stands between headers.
# "path" is /api/rpc/twoway/%{d1} unless the block has one.
#
# An answer is STATUS [X-RPC-RESULT] and one of
#
#     empty               no body, no Content-Type, Content-Length: 0
#     error CODE PATTERN  an error body with this code and message
#     json PATTERN        application/json that matches in whole
#     text TEXT           text/plain, exactly that
#     BODY                application/json, exactly that
#
# and means all of this: Cache-Control: no-store; the result's header, or none;
# WWW-Authenticate: Bearer with the codes 10 and 11 and nowhere else;
# Retry-After with 429 and 503 and nowhere else.

use strict;
use warnings;

use TB::Fixture ();


sub convert {
    my ($block) = @_;

    my (@requests, @headers, @answers);

    if (defined $block->bodies) {
        my $path = defined $block->path ? $block->path
                                        : '/api/rpc/twoway/%{d1}';

        $path =~ s/\s+\z//;

        for (rows($block->bodies)) {
            push @requests, "POST $path\n$_->[0]";
            push @answers, $_->[1];
        }

    } elsif (defined $block->credentials) {
        for (rows($block->credentials)) {
            push @requests, "POST /api/rpc/twoway/%{d1}\n"
                            . '{"method":"echo","params":"in"}';
            push @headers, join '', map { "$_\n" } split / \| /, $_->[0];
            push @answers, $_->[1];
        }

    } elsif (defined $block->requests) {
        for (rows($block->requests)) {
            my ($line, $body) = TB::Fixture::expand($_->[0])
                                =~ /^(\S+ \S+)(?: (.*))?$/s;

            push @requests, defined $body ? "$line\n$body" : $line;
            push @answers, $_->[1];
        }

    } elsif (defined $block->answer) {
        push @answers, $block->answer;
    }

    return if !@answers;

    # a list only if there are several, as Test::Nginx wants it
    my $set = sub {
        my ($section, @values) = @_;

        $block->set_value($section, @values > 1 ? \@values : $values[0]);
    };

    $set->('request', @requests) if @requests;
    $set->('more_headers', @headers) if @headers;

    my @expected = map { expected($_) } @answers;

    $set->('error_code', map { $_->{status} } @expected);
    $set->('response_body_like', map { $_->{body} } @expected);

    my $more = defined $block->response_headers ? $block->response_headers
                                                : '';

    $set->('response_headers', map { $_->{headers} . $more } @expected);
}


sub rows {
    my ($text) = @_;

    return map { /^(.*?)\s+=>\s+(.*?)\s*$/s ? [$1, $2]
                                           : die "no answer in \"$_\"\n" }
           grep { !/^\s*(?:#|$)/ } split /\n/, $text;
}


sub expected {
    my ($answer) = @_;

    my ($status, $result, $rest) =
        $answer =~ /^(\d{3})(?:\s+([A-Z_]{6,}))?\s+(.*?)\s*$/s
        or die "no answer: \"$answer\"\n";
    my @headers = ('Cache-Control: no-store');
    my $body;
    my $code = 0;

    if ($rest eq 'empty') {
        $body = '\A\z';
        push @headers, '! Content-Type', 'Content-Length: 0';

    } elsif ($rest =~ /^error (\d+) (.*)$/s) {
        $code = $1;
        $body = "\\A\\{\"status\":$status,\"message\":\"(?:$2)\","
                . "\"errorCode\":$code,\"timestamp\":[0-9]{13}\\}\\z";
        push @headers, 'Content-Type: application/json';

    } elsif ($rest =~ /^json (.*)$/s) {
        $body = "\\A(?:$1)\\z";
        push @headers, 'Content-Type: application/json';

    } elsif ($rest =~ /^text (.*)$/s) {
        $body = '\A' . quotemeta(TB::Fixture::expand($1)) . '\z';
        push @headers, 'Content-Type: text/plain';

    } else {
        $body = '\A' . quotemeta(TB::Fixture::expand($rest)) . '\z';
        push @headers, 'Content-Type: application/json';
    }

    push @headers, $result ? "X-RPC-Result: $result" : '! X-RPC-Result';
    push @headers, $code == 10 || $code == 11 ? 'WWW-Authenticate: Bearer'
                                              : '! WWW-Authenticate';
    push @headers, $status == 429 || $status == 503 ? 'Retry-After: 1'
                                                    : '! Retry-After';

    return { status => $status, body => $body,
             headers => join '', map { "$_\n" } @headers };
}


1;
