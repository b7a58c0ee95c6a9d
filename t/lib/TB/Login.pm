package TB::Login;

# Users of tb_rpc_login, and what a client asks and is answered.
#
#     user('ann', password => 'a password', ln => 10, enabled => 0, ...)
#                                 of the default tenant, made by a function
#     hash_of($password, $ln, $r, $p)
#     my $login = TB::Login->new($nginx)
#     my $r = $login->login('ann', 'a password')     a TB::Client's answer, with
#                                                    token and refreshToken
#     my $r = $login->ask('POST', 'token', $body, $token, more headers)
#     my $c = $login->open(...)   the same as a TB::Client: answered later
#     login_is($r, '401 10 Invalid username or password', 'name')
#     claims($token)              what a JWT says
#
# An answer is STATUS and "empty", or CODE and the message of an error, or a
# pattern of all of the body.

use strict;
use warnings;

use Exporter 'import';
use IPC::Open2 qw(open2);
use JSON::PP ();
use MIME::Base64 qw(decode_base64url);
use Test::More ();
use Time::HiRes qw(time);

use TB::Client;
use TB::Fixture qw(redis);
use TB::Token qw($TENANT $USER);

our @EXPORT = qw(user hash_of login_is claims json_text);

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my %hashes;


sub json_text { return $json->encode($_[0]) }


# by another implementation than nginx's

sub hash_of {
    my ($password, $ln, $r, $p) = @_;

    ($ln, $r, $p) = ($ln || 10, $r || 8, $p || 1);

    return $hashes{"$ln $r $p $password"} ||= do {
        my $pid = open2(my $out, my $in, '/usr/bin/python3', '-c', <<'_EOC_',
import base64, hashlib, os, sys
ln, r, p = map(int, sys.argv[1:])
salt = os.urandom(16)
text = lambda data: base64.b64encode(data).rstrip(b'=').decode()
key = hashlib.scrypt(sys.stdin.buffer.read(), salt=salt, n=1 << ln, r=r, p=p,
                     maxmem=1 << 30, dklen=32)
print('$scrypt$ln=%d,r=%d,p=%d$%s$%s' % (ln, r, p, text(salt), text(key)))
_EOC_
                        $ln, $r, $p);

        print $in $password;
        close $in;
        chomp(my $hash = <$out>);
        waitpid $pid, 0;

        $hash;
    };
}


sub user {
    my ($name, %o) = @_;

    my $hash = defined $o{hash} ? $o{hash}
                                : hash_of($o{password} || 'a password',
                                          @o{qw(ln r p)});
    my $key = 'tb:user:' . lc $name;

    redis()->fcall('tb_rpc_user_del', $key);
    redis()->fcall('tb_rpc_user_put', $key, $o{id} || $USER,
                   $o{tenant} || $TENANT, $o{customer} || '',
                   $o{authority} || 'TENANT_ADMIN',
                   defined $o{enabled} ? $o{enabled} : 1, $name, $hash,
                   $o{first} || '', $o{last} || '');

    return $key;
}


sub new {
    my ($class, $nginx, %opt) = @_;

    return bless { port => ref $nginx ? $nginx->{port} : $nginx,
                   path => '/api/auth/', %opt }, $class;
}


sub request {
    my ($self, $method, $what, $body, $token, %headers) = @_;

    $body = json_text($body) if ref $body;
    $headers{'X-Authorization'} = "Bearer $token" if defined $token;

    return TB::Client::text($method, $what =~ m{^/} ? $what
                                                    : "$self->{path}$what",
                            $body, %headers);
}


sub open {
    my ($self, @request) = @_;

    return TB::Client->new($self->{port}, $self->request(@request));
}


sub answered {
    my ($client, $seconds) = @_;

    my $r = $client->answer($seconds || 120);

    if ($r->{body} =~ /^\{"token"/) {
        my $pair = $json->decode($r->{body});

        @$r{keys %$pair} = values %$pair;
    }

    return $r;
}


sub ask {
    my ($self, @request) = @_;

    my $start = time();
    my $client = $self->open(@request);
    my $r = answered($client);

    $r->{seconds} = time() - $start;
    $client->leave();

    return $r;
}


sub login {
    my ($self, $name, $password, %headers) = @_;

    return $self->ask('POST', 'login', { username => $name,
                                         password => $password },
                      undef, %headers);
}


sub refresh {
    my ($self, $token) = @_;

    return $self->ask('POST', 'token', { refreshToken => $token });
}


sub wrong {
    my ($r, $status, $what) = @_;

    my %h = %{ $r->{headers} };
    my $auth = $status == 401 ? 'Bearer' : 'none';

    return "status $r->{status}, not $status: $r->{body}"
        if $r->{status} != $status;
    return 'Cache-Control' if ($h{'cache-control'} || '') ne 'no-store';
    return 'WWW-Authenticate' if ($h{'www-authenticate'} || 'none') ne $auth;
    return 'Retry-After' if $status == 503 && !$h{'retry-after'};

    if ($what eq 'empty') {
        return length $r->{body} || defined $h{'content-type'} ? 'body' : '';
    }

    return "Content-Type" if ($h{'content-type'} || '') ne 'application/json';

    if ($what =~ /^(\d+) (.*)\z/s) {
        my ($code, $message) = ($1, $2);
        my $error = eval { $json->decode($r->{body}) } || {};

        return join(' ', map { defined $_ ? $_ : 'none' }
                             @$error{qw(status errorCode message)})
               eq "$status $code $message" ? '' : "body: $r->{body}";
    }

    return $r->{body} =~ /^(?:$what)\z/s ? '' : "body: $r->{body}";
}


sub login_is {
    my ($r, $expected, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($status, $what) = $expected =~ /^(\d{3}) (.*)\z/s
        or die "no answer: $expected\n";

    return Test::More::is(wrong($r, $status, $what), '', $name);
}


sub claims {
    my ($token) = @_;

    return $json->decode(decode_base64url((split /\./, $token)[1]));
}


1;
