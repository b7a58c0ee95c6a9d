package TB::Fixture;

# What a test needs to be in Redis and behind it, and the names %{...} that
# its blocks use.  Exported by TB.
#
#     redis()                         the file's TB::RedisServer, started on demand
#     device('d1')                    a device of the default tenant, offline;
#                                     %{d1} is its id, which is returned
#     device('d2', bridge => 'b1')    always online behind that bridge
#     device('d3', attach => 'b1', session => 's1', ttl => 60000)
#     device('d4', tenant => ID, customer => ID, name => .., strategy => ..)
#     bridge(...)                     a TB::Bridge named b1 on our Redis
#     api_key('k1', authority => 'TENANT_ADMIN', ...)
#                                     %{k1} is the key, which is returned
#     set_macro(name => value)        macro('name')    expand('..%{name}..')
#     uuid_of('text')                 always the same id for the same text
#     served($text)                   a configuration in which our Redis is what
#                                     script/test asks for: by TLS, or a cluster
#     http_get('/path', header => value, ...)
#     http_post('/path', $body, header => value, ...)
#                                     outside of blocks: { status, headers,
#                                     body } from the nginx that is running

use strict;
use warnings;

use Digest::SHA qw(sha1_hex sha256_hex);
use Exporter 'import';
use IO::Socket::INET;

use TB::Bridge;
use TB::Env qw(scratch file_in scaled);
use TB::RedisCluster;
use TB::RedisServer;
use TB::Token qw(jwt key_text $TENANT $OTHER_TENANT $CUSTOMER $OTHER_CUSTOMER
                 $USER);

our @EXPORT = qw(redis bridge device api_key set_macro macro expand served
                 uuid_of http_get http_post);

my $redis;
my %macros = (tenant => $TENANT, other_tenant => $OTHER_TENANT,
              customer => $CUSTOMER, other_customer => $OTHER_CUSTOMER,
              user => $USER);
my %claims = (
    tenant => {},
    customer => { scopes => ['CUSTOMER_USER'], customerId => $CUSTOMER },
    other_customer => { scopes => ['CUSTOMER_USER'],
                        customerId => $OTHER_CUSTOMER },
    other_tenant => { tenantId => $OTHER_TENANT },
    sys => { scopes => ['SYS_ADMIN'],
             tenantId => '13814000-1dd2-11b2-8080-808080808080' },
);


sub redis {
    if (!$redis) {
        $redis = $ENV{TB_REDIS_CLUSTER}
            ? TB::RedisCluster->start(masters => $ENV{TB_REDIS_CLUSTER}, @_)
            : TB::RedisServer->start(@_);
        $macros{redis_port} = $redis->{port};
        $macros{redis_socket} = $redis->{path};
    }

    return $redis;
}


sub bridge {
    return TB::Bridge->start(connect => { redis()->access('bridge') }, @_);
}


sub uuid_of {
    my ($text) = @_;

    my $hex = sha1_hex($text);

    substr $hex, 12, 1, '5';
    substr $hex, 16, 1, '8';

    return join '-', $hex =~ /^(.{8})(.{4})(.{4})(.{4})(.{12})/;
}


sub device {
    my ($name, %opt) = @_;

    my $id = $opt{id} || uuid_of("device $name");
    my $key = redis()->device_key($id);
    my @fields = (name => $opt{name} || $name);

    push @fields, map { $_ => $opt{$_} }
                  grep { defined $opt{$_} } qw(strategy bridge);

    redis()->fcall('tb_rpc_device_put', $key, $opt{tenant} || $TENANT,
                   defined $opt{customer} ? $opt{customer} : '', @fields);

    if ($opt{attach}) {
        redis()->fcall('tb_rpc_attach', $key, $opt{attach},
                       $opt{session} || 's1', $opt{ttl} || 3600000);
    }

    $macros{$name} = $id;

    return $id;
}


sub api_key {
    my ($name, %opt) = @_;

    my $key = $opt{key} || 'tb_' . sha256_hex("key $name");

    redis()->fcall('tb_rpc_api_key_put', 'tb:apikey:' . sha256_hex($key),
                   defined $opt{tenant} ? $opt{tenant} : $TENANT,
                   defined $opt{customer} ? $opt{customer} : '',
                   defined $opt{user} ? $opt{user} : $USER,
                   $opt{authority} || 'TENANT_ADMIN',
                   defined $opt{enabled} ? $opt{enabled} : 1,
                   $opt{expires} || 0);

    $macros{$name} = $key;

    return $key;
}


sub set_macro {
    my (%values) = @_;

    @macros{keys %values} = values %values;
}


sub macro {
    my ($name) = @_;

    if ($name =~ /^token:(\w+)$/) {
        die "no token for \"$1\"\n" if !$claims{$1};

        return jwt(%{ $claims{$1} });
    }

    return uuid_of($1) if $name =~ /^uuid:(.*)$/;

    redis() if $name =~ /^redis_/;

    if ($name eq 'jwt_key' && !$macros{jwt_key}) {
        $macros{jwt_key} = file_in('jwt.key', key_text() . "\n");
        chmod 0600, $macros{jwt_key};
    }

    die "%{$name} is not defined\n" if !defined $macros{$name};

    return $macros{$name};
}


sub expand {
    my ($text) = @_;

    $text =~ s/%\{([\w:. -]+)\}/macro($1)/ge;

    return $text;
}


sub served {
    my ($text) = @_;

    $text =~ s{(\bserver\s+redis://127\.0\.0\.1:(\d+)(?:/0)?;)}
              {TB::RedisServer::server_lines($2)
               || TB::RedisCluster::server_lines($2) || $1}gex;

    return $text;
}


sub http_get {
    my ($path, %headers) = @_;

    return http_request('GET', $path, undef, %headers);
}


sub http_post {
    my ($path, $body, %headers) = @_;

    return http_request('POST', $path, $body, %headers);
}


sub http_request {
    my ($method, $path, $body, %headers) = @_;

    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $ENV{TEST_NGINX_PORT},
                                     Timeout => 5)
        or return { status => 0, headers => {}, body => "connect: $!" };

    $headers{Host} ||= 'localhost';
    $headers{Connection} ||= 'close';
    $headers{'Content-Length'} = length $body if defined $body;

    binmode $sock;
    print $sock expand(join "\r\n", "$method $path HTTP/1.1",
                       (map { "$_: $headers{$_}" } sort keys %headers),
                       '', '');
    print $sock $body if defined $body;
    $sock->flush();

    my $answer = '';

    eval {
        local $SIG{ALRM} = sub { die "no answer in time\n" };

        alarm scaled(70);
        1 while sysread $sock, $answer, 65536, length $answer;
        alarm 0;
    };

    my ($head, $text) = split /\r\n\r\n/, $answer, 2;
    my ($line, @lines) = split /\r\n/, defined $head ? $head : '';
    my %got = map { /^([^:]+):\s*(.*)$/ ? (lc $1, $2) : () } @lines;
    my ($status) = ($line || '') =~ m{^HTTP/1\.\d (\d+)};

    $text = unchunked($text)
        if defined $text && ($got{'transfer-encoding'} || '') eq 'chunked';

    return { status => $status || 0, headers => \%got,
             body => defined $text ? $text : '' };
}


sub unchunked {
    my ($text) = @_;

    my ($pos, $body) = (0, '');

    while (substr($text, $pos, 20) =~ /^([0-9a-f]+)\r\n/i) {
        my $length = hex $1;

        return $body if $length == 0;

        $pos += 2 + length $1;
        $body .= substr $text, $pos, $length;
        $pos += $length + 2;
    }

    return "$body ... cut off";
}


1;
