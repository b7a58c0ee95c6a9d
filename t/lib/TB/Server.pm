package TB::Server;

# Private servers for the tests: each in a folder and on a port of its own.
#
#   my $s = start_redis(acl => 1, appendonly => 1, config => { ... });
#   $s->port  $s->dir  $s->client(user => 'tb-nginx')
#   $s->stop  $s->restart  $s->kill9
#
# acl: the users of docs/redis-schema.md; their password is "test".  The
# default user stays, for what a test itself must look at.

use strict;
use warnings;

use Exporter qw(import);
use File::Temp qw(tempdir);
use POSIX ();
use Time::HiRes qw(sleep time);

use TB::Env qw(free_port root scratch library);
use TB::Redis;

our @EXPORT_OK = qw(start_redis library documented_acl);


sub slurp {
    my ($path) = @_;

    open my $fh, '<:raw', $path or die "can't open $path: $!\n";
    local $/;

    return scalar <$fh>;
}


# the ACL SETUSER lines of the documentation, as lines of an ACL file

sub documented_acl {
    my $text = slurp(root() . '/docs/redis-schema.md');
    my @users;

    $text =~ s/\\\n\s*/ /g;

    while ($text =~ /^\s*ACL SETUSER (tb-(?:nginx|bridge|admin)) (.*)$/mg) {
        my ($user, $rules) = ($1, $2);

        $rules =~ s/>\S+/>test/;
        push @users, "user $user $rules";
    }

    die "docs/redis-schema.md has " . @users . " users, not 3\n"
        if @users != 3;

    return @users;
}


sub binary {
    my ($dir) = @_;

    return $ENV{TB_REDIS_SERVER} if $ENV{TB_REDIS_SERVER};

    for my $kind (qw(redis valkey)) {
        for my $path (split /:/, $ENV{PATH}) {
            return "$path/$kind-server" if -x "$path/$kind-server";
        }

        # redis-tools has the server under another name: it looks at its own

        for my $path (split(/:/, $ENV{PATH}), '/usr/bin') {
            next unless -x "$path/$kind-check-rdb";
            symlink "$path/$kind-check-rdb", "$dir/$kind-server"
                unless -e "$dir/$kind-server";
            return "$dir/$kind-server";
        }
    }

    die "no redis-server: install redis-tools or set TB_REDIS_SERVER\n";
}


sub start_redis {
    my (%opt) = @_;

    my $dir = tempdir('tb-redis-XXXXXX', DIR => scratch(), CLEANUP => 1);

    my $self = bless {
        dir => $dir, opt => \%opt, owner => $$,
        port => $opt{port} || free_port(), binary => binary($dir)
    }, __PACKAGE__;

    $self->write_config;
    $self->start;

    return $self;
}


sub write_config {
    my ($self) = @_;

    my %opt = %{ $self->{opt} };
    my $dir = $self->{dir};

    my %config = (
        port => $self->{port}, bind => '127.0.0.1', dir => $dir,
        daemonize => 'no', save => '""', 'protected-mode' => 'no',
        'maxmemory-policy' => 'noeviction', logfile => "$dir/redis.log",
        appendonly => $opt{appendonly} ? 'yes' : 'no',
        %{ $opt{config} || {} }
    );

    if ($opt{acl}) {
        my @lines = ref $opt{acl} ? @{ $opt{acl} } : documented_acl();

        open my $fh, '>', "$dir/users.acl" or die "users.acl: $!\n";
        print $fh "user default on nopass ~* &* +\@all\n",
                  map { "$_\n" } @lines;
        close $fh;

        $config{aclfile} = "$dir/users.acl";
    }

    open my $fh, '>', "$dir/redis.conf" or die "redis.conf: $!\n";
    print $fh map { "$_ $config{$_}\n" } sort keys %config;
    close $fh;
}


sub start {
    my ($self) = @_;

    my $pid = fork;

    die "fork: $!\n" unless defined $pid;

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', "$self->{dir}/stderr.log";
        exec { $self->{binary} } 'redis-server', "$self->{dir}/redis.conf"
            or POSIX::_exit(127);
    }

    $self->{pid} = $pid;

    for (my $end = time + 30; time < $end; sleep 0.02) {
        my $r = eval { $self->client };

        return if $r && ($r->cmd('PING') // '') eq 'PONG';

        if (waitpid($pid, POSIX::WNOHANG()) == $pid) {
            delete $self->{pid};
            last;
        }
    }

    my $log = eval { slurp("$self->{dir}/redis.log") } // '';
    $log .= eval { slurp("$self->{dir}/stderr.log") } // '';

    $self->stop;

    die "redis-server did not start:\n$log\n";
}


sub port { return $_[0]{port} }
sub dir  { return $_[0]{dir} }
sub pid  { return $_[0]{pid} }


sub client {
    my ($self, %opt) = @_;

    $opt{password} //= 'test' if defined $opt{user};

    return TB::Redis->connect(port => $self->{port}, %opt);
}


sub load_library {
    my ($self, %opt) = @_;

    my $text = delete $opt{library} // library();
    my $reply = $self->client(%opt)->cmd('FUNCTION', 'LOAD', 'REPLACE',
                                         $text);

    die "FUNCTION LOAD: $reply\n" if ref $reply;
}


sub signal {
    my ($self, $signal) = @_;

    my $pid = delete $self->{pid} or return;

    kill $signal, $pid;

    for (my $end = time + 10; time < $end; sleep 0.01) {
        return if waitpid($pid, POSIX::WNOHANG()) != 0;
    }

    kill 'KILL', $pid;
    waitpid $pid, 0;
}


sub stop  { $_[0]->signal('TERM') }
sub kill9 { $_[0]->signal('KILL') }


sub restart {
    my ($self) = @_;

    $self->stop;
    $self->start;
}


sub DESTROY {
    my ($self) = @_;

    # a forked child of the test leaves the server alone

    return if $self->{owner} != $$;

    local ($@, $?, $!);

    $self->signal('KILL');
}


1;
