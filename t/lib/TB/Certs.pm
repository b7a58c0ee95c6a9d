package TB::Certs;

# Certificates in a folder, made by openssl.
#
#     my $certs = TB::Certs->new($dir);             # dies without openssl
#     $certs->authority('ca');                      # ca.pem, ca.key
#     $certs->certificate('server', 'ca', 'broker',
#                         'DNS:localhost,IP:127.0.0.1', $days);
#     $certs->path('server.pem')

use strict;
use warnings;

use TB::Env qw(file_in);


sub available { return system('openssl version > /dev/null 2>&1') == 0 }


sub new {
    my ($class, $dir) = @_;

    die "there is no openssl\n" if !available();

    return bless { dir => $dir }, $class;
}


sub path { return "$_[0]{dir}/$_[1]" }


sub openssl {
    my ($self, @args) = @_;

    my $pid = open my $out, '-|';
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        exec 'openssl', @args or exit 127;
    }

    my $text = join '', <$out>;

    close $out or die "openssl @args: $text\n";
}


sub authority {
    my ($self, $name) = @_;

    $self->openssl(qw(req -x509 -newkey ec
                      -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2
                      -subj), "/CN=$name", '-keyout', $self->path("$name.key"),
                   '-out', $self->path("$name.pem"));
}


# valid for so many days, 2; with -1 it has ended

sub certificate {
    my ($self, $name, $ca, $subject, $san, $days) = @_;

    $self->openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
                      -nodes -subj), "/CN=$subject",
                   '-keyout', $self->path("$name.key"),
                   '-out', $self->path("$name.csr"));
    # where a negative number of days is refused, dates are known

    my @life = ('-days', $days // 2);

    @life = qw(-not_before 20200101000000Z -not_after 20200102000000Z)
        if ($days // 2) < 0 && `openssl x509 -help 2>&1` =~ /-not_after/;

    $self->openssl(qw(x509 -req), @life, '-CAcreateserial',
                   '-in', $self->path("$name.csr"),
                   '-CA', $self->path("$ca.pem"),
                   '-CAkey', $self->path("$ca.key"),
                   '-out', $self->path("$name.pem"), '-extfile',
                   file_in("$name.ext", "subjectAltName=$san\n"));
    chmod 0644, $self->path("$name.key");
}


1;
