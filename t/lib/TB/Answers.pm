package TB::Answers;

# The tables of docs/answers.md, which are tests: each row is a request and
# what it gets back.
#
#     for my $table (TB::Answers::tables()) {
#         my @checks = TB::Answers::checks($table, $profile);
#         ...
#         my $wrong = TB::Answers::wrong($check, $answer, $seconds);
#     }
#
# A table with one of these columns is one of ours:
#
#     request    `METHOD path body`; "..." at the start of a path is /api, and
#                /api/plugins too in a table with the column "v1"
#     body       of a POST .../rpc/twoway/{online}
#     headers    of such a POST, each a code of its own; or of "request",
#                whose credential they follow
#     query      of a GET .../rpc/persistent/device/{offline}
#
# "caller" says who asks (a TENANT_ADMIN without it).  The answer is in
# "answer" (both profiles), in "openapi" and "thingsboard", or in "v2" and
# "v1".  In "thingsboard" an empty cell means the same answer, and beside v2
# and v1 "empty body" the same status with nothing in it.  All other columns
# are for people.
#
# An answer is STATUS, [`X-RPC-Result`], and one of
#
#                          nothing: no body
#     (CODE) `message`     an error body
#     text `...`           text/plain
#     `...`                application/json
#
# then headers, each as "+ `Name: value`", then ", at once" (before any time
# is over) or ", after N s".  "…" stands for anything.  What is true of every
# answer is checked as well: see wrong().
#
# The paragraph before the table says what it needs:
#
#     with `directive value`        in the server
#     in this order                 one row after the other, on the same devices
#     While ...:                    what the test has to see to

use strict;
use warnings;

use Encode ();
use JSON::PP ();

use TB::Env qw(root scaled);

my $json = JSON::PP->new->utf8->allow_nonref;

our $PAGE = root() . '/docs/answers.md';

my %REQUEST = map { $_ => 1 } qw(request body headers query);


sub page {
    open my $fh, '<:encoding(UTF-8)', $PAGE or die "$PAGE: $!\n";
    local $/;

    return scalar <$fh>;
}


sub tables {
    my (@tables, $table);
    my ($heading, $paragraph, $before, $n) = ('', '', '', 0);

    for my $line (split /\n/, page()) {
        $n++;

        if ($line =~ /^\|/) {
            my @cells = map { s/\\\|/|/gr }
                        $line =~ /\|\s*((?:\\\||[^|])*?)\s*(?=\|)/g;

            if (!$table) {
                $table = { heading => $heading, intro => $paragraph,
                           line => $n, columns => \@cells, rows => [] };
                push @tables, $table if grep { $REQUEST{$_} } @cells;

            } elsif ($cells[0] !~ /^-+$/) {
                die "$PAGE:$n: " . @cells . " cells, not "
                    . @{ $table->{columns} } . "\n"
                    if @cells != @{ $table->{columns} };

                my %row = (line => $n);

                @row{ @{ $table->{columns} } } = @cells;
                push @{ $table->{rows} }, \%row;
            }

            next;
        }

        undef $table;

        if ($line =~ /^#+ (.*)/) {
            $heading = $1;
            $paragraph = '';

        } elsif ($line =~ /\S/) {
            $paragraph = $before =~ /\S/ ? "$paragraph $line" : $line;
        }

        $before = $line;
    }

    for (@tables) {
        $_->{with} = [ $_->{intro} =~ /\b[Ww]ith `(tb_rpc_[^`]+)`/g ];
        $_->{in_order} = $_->{intro} =~ /\b[Ii]n this order\b/;
        ($_->{while}) = $_->{intro} =~ /\bWhile ([^:]*?):/;
    }

    return @tables;
}


# what one profile has to answer to the rows of a table

sub checks {
    my ($table, $profile) = @_;

    my @checks;

    for my $row (@{ $table->{rows} }) {
        my $where = "answers.md:$row->{line}, $profile";

        for my $api (defined $row->{v1} ? ('v2', 'v1') : ('')) {
            push @checks, {
                name => $api ? "$where, $api" : $where,
                caller => $row->{caller} || 'TENANT_ADMIN',
                anybody => !exists $row->{request} && exists $row->{headers},
                request($row, $api eq 'v1' ? '/api/plugins' : '/api'),
                expected($row, $profile, $api)
            };
        }
    }

    return @checks;
}


sub codes { return $_[0] =~ /`([^`]*)`/g }


sub request {
    my ($row, $prefix) = @_;

    my ($text, @headers) = 'POST .../rpc/twoway/{online}';

    if (defined $row->{query}) {
        my ($query) = codes($row->{query});

        $text = 'GET .../rpc/persistent/device/{offline}'
                . (defined $query ? "?$query" : '');

    } elsif (defined $row->{body}) {
        $text .= ' ' . join '', codes($row->{body});

    } elsif (defined $row->{request}) {
        $text = join ' ', codes($row->{request});

    } else {
        $text .= ' {"method":"echo","params":1}';
    }

    @headers = codes($row->{headers}) if defined $row->{headers};

    my ($method, $path, $body) = $text =~
        /^([A-Z]+) ((?:\{[^}]*\}|\S)+)(?: (.*))?$/s
        or die "answers.md:$row->{line}: no request: $text\n";

    $path =~ s/^\.\.\./$prefix/;

    return (method => $method, path => $path, body => $body,
            headers => \@headers);
}


sub expected {
    my ($row, $profile, $api) = @_;

    my $cell = $api ? $row->{$api}
             : defined $row->{answer} ? $row->{answer}
             : $profile eq 'thingsboard' && length $row->{thingsboard}
               ? $row->{thingsboard} : $row->{openapi};

    my ($status, $result, $code, $error, $text, $body, $rest) = $cell =~
        /^(\d{3}) (?: \  `([A-Z_]{6,})` )?
         (?: \  \( (\d+) \) \  `([^`]*)` | \  text \  `([^`]*)`
             | \  `([^`]*)` )?
         ( (?: \  \+ \  `[^`]*` )* (?: ,\ at\ once | ,\ after\ \d+\ s )? )$/x
        or die "answers.md:$row->{line}: no answer: $cell\n";

    if ($api && $profile eq 'thingsboard' && length($row->{thingsboard} || ''))
    {
        die "answers.md:$row->{line}: no answer: $row->{thingsboard}\n"
            if $row->{thingsboard} ne 'empty body';

        undef $_ for $code, $error, $text, $body;
    }

    return (status => $status, result => $result, code => $code,
            error => $error, text => $text, json => $body,
            more => [ codes($rest) ],
            at_once => $rest =~ /, at once$/ ? 1 : 0,
            after => $rest =~ /, after (\d+) s$/ ? $1 : undef);
}


# the pattern of a text with "…"

sub pattern {
    my ($text) = @_;

    return join '.*', map { quotemeta } split /\x{2026}/, $text, -1;
}


# what of an answer is not as it must be; '' if all is

sub wrong {
    my ($c, $got, $seconds) = @_;

    my %h = %{ $got->{headers} };
    my %want = ('cache-control' => 'no-store', 'x-rpc-result' => $c->{result},
                allow => undef, 'content-type' => undef);
    my @wrong;

    push @wrong, "status $got->{status}, not $c->{status}"
        if $got->{status} != $c->{status};

    $want{'www-authenticate'} = defined $c->{code}
                                && $c->{code} =~ /^1[01]$/ ? 'Bearer' : undef;
    $want{'retry-after'} = $c->{status} =~ /^(?:429|503)$/ ? 1 : undef;

    if (defined $c->{text}) {
        $want{'content-type'} = 'text/plain';

    } elsif (defined $c->{json} || defined $c->{code}) {
        $want{'content-type'} = 'application/json';

    } elsif ($c->{status} != 204 && $c->{method} ne 'HEAD') {
        $want{'content-length'} = 0;
    }

    delete $want{'content-type'} if $c->{method} eq 'HEAD';

    for (@{ $c->{more} }) {
        my ($name, $value) = /^([\w-]+): (.*)$/ or die "no header: $_\n";

        $want{lc $name} = $value;
    }

    for (sort keys %want) {
        my ($is, $must) = map { defined $_ ? $_ : 'none' } $h{$_}, $want{$_};

        push @wrong, "$_: $is, not $must" if $is ne $must;
    }

    push @wrong, wrong_body($c, $got->{body});
    # the time of a call or poll that is answered at once is 9 s or more
    push @wrong, sprintf 'after %.1f s', $seconds
        if $c->{at_once} && $seconds > scaled(8)
           || defined $c->{after} && $seconds < $c->{after} - 0.1;

    return join '; ', @wrong;
}


sub wrong_body {
    my ($c, $body) = @_;

    my $must = defined $c->{text} ? $c->{text}
             : defined $c->{json} ? $c->{json} : '';

    if (defined $c->{code} && $c->{method} ne 'HEAD') {
        my ($text) = $body =~ /^\{"status":$c->{status},"message":(".*"),
                                "errorCode":$c->{code},
                                "timestamp":\d{13}\}$/x
            or return "body: $body";

        ($must, $body) = ($c->{error}, $json->decode($text));

    } else {
        $body = Encode::decode('UTF-8', $body);
    }

    my $pattern = pattern($must);

    return $body =~ /^$pattern\z/s ? () : "body: $body, not $must";
}


1;
