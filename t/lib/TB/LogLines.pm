package TB::LogLines;

# What module and bridge may write to their logs, from their sources.
#
#     for (TB::LogLines::lines('error', 'warn')) {
#         $_->{levels};      "alert", "crit", "error", "warn" and others that
#                            this line may have, in this order
#         $_->{text};        with "..." for what is put in
#         $_->{place};       "src/store/....c:172"
#     }

use strict;
use warnings;

use File::Find qw(find);

use TB::Env qw(root);

# where the format is among the arguments, the first being the level
my %format = (ngx_log_error => 3, ngx_conf_log_error => 3, tb_log => 1);

my %level = (ERR => 'error', map { $_ => lc } qw(EMERG ALERT CRIT ERROR WARN
                                                 NOTICE INFO DEBUG));

# nginx's words for system calls
my %word = (ngx_open_file_n => 'open()', ngx_close_file_n => 'close()',
            ngx_read_fd_n => 'read()', ngx_fd_info_n => 'fstat()',
            TB_VERSION => '...');


sub lines {
    my (@levels) = @_;

    my @lines;

    for my $file (sources()) {
        open my $fh, '<', root() . "/$file" or die "$file: $!\n";
        my $text = do { local $/; <$fh> };

        # comments, with as many lines as they had
        $text =~ s{("(?:[^"\\]|\\.)*")|/\*(.*?)\*/}
                  {defined $1 ? $1 : "\n" x ($2 =~ tr/\n//)}gse;

        while ($text =~ /\b(ngx_log_error|ngx_conf_log_error|tb_log)\(/g) {
            my $name = $1;
            my $before = substr $text, 0, $-[0];
            my @arguments = arguments(substr $text, pos $text);

            # a declaration or definition, not a call
            next if $arguments[0] =~ /^(?:int|ngx_uint_t)\b/
                    || $before =~ /#define \z/;

            my @of = levels($arguments[0], $before);

            next if !grep { my $l = $_; grep { $_ eq $l } @levels } @of;

            push @lines, {
                levels => join(' ', @of),
                text => message($arguments[$format{$name}]),
                place => "$file:" . (1 + ($before =~ tr/\n//)),
            };
        }
    }

    die "no log lines in the sources\n" if !@lines;

    return @lines;
}


sub sources {
    my @files = grep { -e root() . "/$_" } 'ngx_http_tb_rpc_module.c',
                'ngx_stream_tb_mqtt_module.c';

    find({ no_chdir => 1, wanted => sub {
        push @files, substr $_, 1 + length root()
            if /\.[ch]\z/ && !/demo-device/;
    } }, map { root() . "/$_" } qw(src bridge));

    return sort @files;
}


# the arguments of a call, from behind its parenthesis

sub arguments {
    my ($text) = @_;

    my ($depth, @arguments) = (0, '');

    while ($text =~ /\G("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|.)/gs) {
        my $token = $1;

        last if $token eq ')' && $depth == 0;

        $depth++ if $token eq '(';
        $depth-- if $token eq ')';

        if ($token eq ',' && $depth == 0) {
            push @arguments, '';

        } else {
            $arguments[-1] .= $token;
        }
    }

    s/^\s+//, s/\s+\z// for @arguments;

    return @arguments;
}


# a variable has its level from its last assignment

sub levels {
    my ($argument, $before) = @_;

    if ($argument =~ /^\w+\z/ && $argument !~ /^(?:NGX|TB)_LOG_/) {
        ($argument) = $before =~ /.*\b\Q$argument\E = ([^;]*);/s
            or die "the level \"$argument\" is not understood\n";
    }

    my %found = map { $level{$_} => 1 }
                $argument =~ /(?:NGX|TB)_LOG_(\w+)/g;

    return grep { $found{$_} }
           qw(emerg alert crit error warn notice info debug);
}


sub message {
    my ($argument) = @_;

    my $text = join '', map { /^"(.*)"\z/s ? $1 : $word{$_} // '...' }
                        $argument =~ /"(?:[^"\\]|\\.)*"|\w+/g;

    $text =~ s/\\(.)/$1/g;

    # those of nginx and of printf
    $text =~ s/%(?:\*s|0?\*?\d*u?[xXm]?(?:zu?|[VLMOiosdupcT])|zu|ui|uz)/.../g;
    $text =~ s/(?:\.\.\.){2,}/.../g;

    return $text;
}


1;
