package TB::Env;

# Where things are, and which ports are free.  script/test sets the
# environment; without it, "prove -I t/lib t/x.t" works with what
# script/build left in build/.

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use File::Spec ();
use File::Temp ();
use IO::Socket::INET;

our @EXPORT_OK = qw(root build scratch free_port file_in scaled wait_for
                    library);

my $root = $ENV{TB_ROOT} || abs_path(dirname(__FILE__) . '/../../..');
my $build = $ENV{TB_BUILD} || "$root/build";
my $owner = $$;
my $scratch;
my $locks = File::Spec->tmpdir() . '/tb-rpc-ports';
my %locks;
my $library;


# a machine's own settings of tb-rpc-admin are not ours

$ENV{TB_RPC_CONFIG} = '/dev/null';


sub root { return $root }
sub build { return $build }


# The function library, as nginx's build puts it together from src/functions;
# TB_RPC_LUA names another one.

sub library {
    $library //= do {
        open my $fh, '-|', $ENV{TB_RPC_LUA} ? ('cat', $ENV{TB_RPC_LUA})
                                            : ("$root/script/functions")
            or die "script/functions: $!\n";
        local $/;
        my $text = <$fh>;

        close $fh or die "the library can't be read\n";
        $text;
    };

    return $library;
}


BEGIN {
    # Test::Nginx may have been unpacked aside by script/bootstrap

    my $top = $ENV{TB_BUILD}
              || abs_path(dirname(__FILE__) . '/../../..') . '/build';

    unshift @INC, grep { -d } "$top/deps/perl/usr/share/perl5",
                              "$top/deps/perl/lib/perl5";
}


# A folder of this test file alone, removed at the end.

sub scratch {
    return $scratch if defined $scratch;

    my $parent = $ENV{TB_SCRATCH} || File::Spec->tmpdir();
    my $name = basename($0);

    $name =~ s/\.t$//;
    $scratch = File::Temp::tempdir("$name.XXXXXX", DIR => $parent);
    chmod 0755, $scratch;

    return $scratch;
}


# A file in the scratch folder with this content; its path.

sub file_in {
    my ($name, $content) = @_;

    my $path = scratch() . "/$name";

    make_path(dirname($path));
    open my $fh, '>:raw', $path or die "$path: $!\n";
    print $fh $content;
    close $fh or die "$path: $!\n";

    return $path;
}


# A loopback port that nobody listens on and that no other test file gets, of
# whatever run: below the ports that the kernel gives to clients.
# TB_PORTS="from-to" narrows the choice.

sub free_port {
    my ($from, $to) = ($ENV{TB_PORTS} || '20000-31999') =~ /^(\d+)-(\d+)$/;

    for (1 .. 2000) {
        # who is the last one of all removes it
        mkdir $locks and chmod 01777, $locks;

        my $port = $from + int rand($to - $from + 1);

        # left over by a killed test: not for ever
        rmdir "$locks/$port" if -d "$locks/$port" && -M _ > 1 / 24;

        mkdir "$locks/$port" or next;
        $locks{$port} = "$locks/$port";

        return $port if IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                              LocalPort => $port,
                                              Listen => 1);
    }

    die "no free port between $from and $to\n";
}


# Seconds that are enough also where everything is slower.

sub scaled {
    my ($seconds) = @_;

    my $mode = $ENV{TB_MODE} || '';

    return $mode eq 'valgrind' ? $seconds * 10
         : $mode eq 'asan' ? $seconds * 3 : $seconds;
}


# wait_for { condition } [seconds]: what the condition gave, or nothing.  The
# seconds are those of a busy machine: only what fails takes them.

sub wait_for (&;$) {
    my ($condition, $seconds) = @_;

    my $end = time() + scaled($seconds || 20);

    for (;;) {
        my $value = $condition->();

        return $value if $value;
        return if time() > $end;

        select undef, undef, undef, 0.02;
    }
}


END {
    if ($$ == $owner) {
        local $?;

        rmdir for values %locks, $locks;

        if (defined $scratch && !$ENV{TEST_NGINX_NO_CLEAN}) {
            remove_tree($scratch, { error => \my $ignored });
        }
    }
}


1;
