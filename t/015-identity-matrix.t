# Who somebody is does not depend on when it was looked at: each source of an
# identity, with each reader of its variables before, in and after the ACCESS
# phase, under each "satisfy".  A customer stays a customer, and who was not
# authenticated is nobody.
#
# runs: side by side, 4 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(scaled);
use TB::FastBridge;
use TB::Fixture;
use TB::Load;
use TB::Nginx;

device('mine', bridge => 'b1', customer => macro('customer'));
device('tenants', bridge => 'b1');
device('off', customer => macro('customer'));
api_key('customer key', authority => 'CUSTOMER_USER',
        customer => macro('customer'));
api_key('admin key');
set_macro(null => '13814000-1dd2-11b2-8080-808080808080');
TB::FastBridge->start(connect => { redis()->access('bridge') });


# what the authentication service says, by X-Who

my $SERVICE = <<'_EOC_';
    map $http_x_who $says_tenant {
        customer  %{tenant};
        admin     %{tenant};
        silent    %{tenant};
    }

    map $http_x_who $says_customer {
        customer  %{customer};
        admin     %{null};
    }

    map $http_x_who $says_authority {
        customer  CUSTOMER_USER;
        admin     TENANT_ADMIN;
        silent    CUSTOMER_USER;
    }
_EOC_

my $WHO = <<'_EOC_';
        location = /check {
            internal;
            proxy_pass               http://127.0.0.1:$server_port/who;
            proxy_pass_request_body  off;
            proxy_set_header         Content-Length  "";
        }

        location = /who {
            if ($says_tenant = "") {
                return  401;
            }

            add_header  X-Tenant     $says_tenant;
            add_header  X-Customer   $says_customer;
            add_header  X-Authority  $says_authority;
            return      204;
        }
_EOC_

my $AUTH_REQUEST = <<'_EOC_';
            tb_rpc_auth       off;
            auth_request      /check;
            auth_request_set  $tenant     $upstream_http_x_tenant;
            auth_request_set  $customer   $upstream_http_x_customer;
            auth_request_set  $authority  $upstream_http_x_authority;
_EOC_

my $MAPS = <<'_EOC_';
    map $customer $same_customer {
        default  $customer;
    }

    map $customer $customer_or_null {
        ""       %{null};
        default  $customer;
    }

    map $customer $volatile_or_null {
        volatile;
        ""       %{null};
        default  $customer;
    }

    map $customer $is_admin {
        ""         TENANT_ADMIN;
        "%{null}"  TENANT_ADMIN;
        default    CUSTOMER_USER;
    }

    map $tb_rpc_customer_id $kind {
        ""       admins;
        default  customers;
    }
_EOC_


# where an identity comes from; "silent" is somebody of whose customer the
# service says nothing

my %sources = (
    values => "$AUTH_REQUEST tb_rpc_identity  tenant=\$tenant"
              . ' customer=$customer;',
    static => "$AUTH_REQUEST tb_rpc_identity  tenant=%{tenant};",
    fixed => "$AUTH_REQUEST tb_rpc_identity  tenant=%{tenant}"
             . ' customer=$customer;',
    map => "$AUTH_REQUEST tb_rpc_identity  tenant=%{tenant}"
           . ' customer=$same_customer;',
    null => "$AUTH_REQUEST tb_rpc_identity  tenant=\$tenant"
            . ' customer=$customer_or_null;',
    fallback => "$AUTH_REQUEST tb_rpc_identity  tenant=%{tenant}"
                . ' customer=$customer_or_null;',
    volatile => "$AUTH_REQUEST tb_rpc_identity  tenant=\$tenant"
                . ' customer=$volatile_or_null;',
    authority => "$AUTH_REQUEST tb_rpc_identity  tenant=%{tenant}"
                 . ' customer=$customer authority=$authority;',
    mapped => "$AUTH_REQUEST tb_rpc_identity  tenant=%{tenant}"
              . ' customer=$customer authority=$is_admin;',
    jwt => '',
    key => 'tb_rpc_api_keys  on;'
);

# who looks at it, and when

my %readers = (
    none => '',
    tenant => 'limit_req  zone=tenant burst=1000 nodelay;',
    customer => 'limit_req  zone=customer burst=1000 nodelay;',
    authority => 'limit_req  zone=authority burst=1000 nodelay;',
    service => 'limit_req  zone=service burst=1000 nodelay;',
    volatile => 'limit_req  zone=volatile burst=1000 nodelay;',
    map => 'limit_req  zone=kind burst=1000 nodelay;',
    conn => 'limit_conn  conns 1000;',
    set => 'set  $seen  $tb_rpc_customer_id$tb_rpc_authority;',
    if => 'if ($tb_rpc_authority = nobody) { return  418; }',
    header => 'add_header  X-Authority  $tb_rpc_authority  always;',
    log => 'access_log  seen.log  seen;',
);

$readers{all} = join "\n", map { $readers{$_} } sort keys %readers;

my $ZONES = <<'_EOC_';
    limit_req_zone   $tb_rpc_tenant_id    zone=tenant:1m     rate=1000r/s;
    limit_req_zone   $tb_rpc_customer_id  zone=customer:1m   rate=1000r/s;
    limit_req_zone   $tb_rpc_authority    zone=authority:1m  rate=1000r/s;
    limit_req_zone   $customer            zone=service:1m    rate=1000r/s;
    limit_req_zone   $volatile_or_null    zone=volatile:1m   rate=1000r/s;
    limit_req_zone   $kind                zone=kind:1m       rate=1000r/s;
    limit_conn_zone  $tb_rpc_customer_id  zone=conns:1m;

    log_format  seen  '$request_uri <$tb_rpc_tenant_id $tb_rpc_customer_id '
                      '$tb_rpc_authority $tb_rpc_user_id>';
_EOC_

my %satisfies = (
    all => '',
    denied => 'satisfy  any; deny  all;',
    allowed => 'satisfy  any; allow  all;',
);


# and what each may do

my @whos = qw(customer admin silent nobody);
my @does = (
    ['own', 'POST', 'twoway/%{mine}', '{"method":"m","params":1}'],
    ['other', 'POST', 'twoway/%{tenants}', '{"method":"m","params":1}'],
    ['read', 'GET', 'persistent/%{record}'],
    ['delete', 'DELETE', 'persistent/%{record}'],
    ['unknown', 'DELETE', 'persistent/%{uuid:unknown}'],
);

my $CUSTOMER = '200 401/20 200 403/20 403/20';
my $ADMIN = '200 200 200 - 404/32';
my $NOBODY = '401 401 401 401 401';


sub expected {
    my ($source, $satisfy, $who) = @_;

    # a token is a token however the address was judged
    if ($source eq 'jwt' || $source eq 'key') {
        return $who eq 'customer' ? $CUSTOMER
               : $who eq 'admin' ? $ADMIN : $NOBODY;
    }

    # one identity for all who were let in
    return $who eq 'nobody' && $satisfy ne 'allowed' ? $NOBODY : $ADMIN
        if $source eq 'static';

    # the same, until the service says more: too early a look must not count
    return $ADMIN if $source eq 'fallback' && $satisfy eq 'allowed';

    return $NOBODY if $who eq 'nobody';

    # the address is enough: the service was not asked
    return $NOBODY if $satisfy eq 'allowed';

    return $CUSTOMER if $who eq 'customer';
    return $ADMIN if $who eq 'admin';

    # what the configuration says in so many words
    return $source =~ /^(?:null|volatile|fallback)$/ ? $ADMIN : $NOBODY;
}


my (@locations, $config);

for my $source (sort keys %sources) {
    for my $reader (sort keys %readers) {
        for my $satisfy (sort keys %satisfies) {
            push @locations, [$source, $reader, $satisfy];

            $config .= <<"_EOC_";
        location /$source-$reader-$satisfy/rpc/ {
            tb_rpc  v2;
            $satisfies{$satisfy}
            $sources{$source}
            $readers{$reader}
        }
_EOC_
        }
    }
}

# a rewrite takes along what was looked at where it came from

for my $source (sort keys %sources) {
    push @locations, [$source, 'rewrite', 'all'];

    $config .= <<"_EOC_";
        location /$source-rewrite-all/rpc/ {
            tb_rpc   v2;
            $sources{$source}
            set      \$seen  \$tb_rpc_customer_id\$tb_rpc_authority;
            rewrite  ^/$source-rewrite-all/(.*)\$  /$source-tenant-all/\$1  last;
        }
_EOC_
}

my $nginx = TB::Nginx->start(
    http => join("\n", 'limit_req_log_level  info;', $SERVICE, $MAPS, $ZONES),
    config => "$WHO\n$config\nlocation /api/rpc/ { tb_rpc  v2; }\n");

my %tokens = map { $_ => 'Bearer ' . macro("token:$_") } qw(customer tenant);

# a record that must be there at the end

my $made = $nginx->call('off', 'm', 1, persistent => 1);

set_macro(record => $made->{json} ? $made->{json}{rpcId}
                                  : ($made->{body} =~ /"rpcId":"([^"]+)"/)[0]);


sub headers {
    my ($source, $who) = @_;

    if ($source eq 'jwt') {
        return $who eq 'customer' ? ('X-Authorization' => $tokens{customer})
               : $who eq 'admin' ? ('X-Authorization' => $tokens{tenant})
               : ();
    }

    if ($source eq 'key') {
        return $who eq 'customer' || $who eq 'admin'
               ? ('X-Authorization' => 'ApiKey ' . macro("$who key")) : ();
    }

    return ('X-Who' => $who);
}


my (@requests, @of);

for my $location (@locations) {
    my ($source, $reader, $satisfy) = @$location;

    for my $who (@whos) {
        my $expected = expected($source, $satisfy, $who);

        for my $i (0 .. $#does) {
            my ($name, $method, $path, $body) = @{ $does[$i] };

            # the record stays for all others
            next if $name eq 'delete' && $expected eq $ADMIN;

            push @requests,
                 TB::Client::text($method,
                                  expand("/$source-$reader-$satisfy/rpc/"
                                         . $path),
                                  $body, headers($source, $who));
            push @of, ["$source-$reader-$satisfy $who", $i];
        }
    }
}

my @answers = TB::Load::run(port => $nginx->{port}, requests => \@requests,
                            parallel => 20, timeout => scaled(60));
my %got;

for my $i (0 .. $#answers) {
    my ($name, $what) = @{ $of[$i] };
    my $answer = $answers[$i];
    my $text = $answer->{status} || $answer->{error};

    # who is nobody may be refused by nginx or by us
    $text .= "/$1" if ($answer->{body} || '') =~ /"errorCode":(\d+)/
                      && $1 != 10;

    $got{$name}[$what] = $text;
}

for my $location (@locations) {
    my ($source, $reader, $satisfy) = @$location;

    is(join("\n", map {
           my $name = "$source-$reader-$satisfy $_";

           "$_: " . join ' ', map { defined $_ ? $_ : '-' }
                              @{ $got{$name} }[0 .. $#does];
       } @whos),
       join("\n", map {
           my $expected = expected($source, $satisfy, $_);

           "$_: $expected";
       } @whos),
       "$source, read by $reader, satisfy $satisfy");
}

is($nginx->get('/api/rpc/persistent/%{record}')->{status}, 200,
   'the record that nobody was to delete is there');

# what was logged is what was decided

my $log = $nginx->file_text('seen.log');
my $tenant = macro('tenant');
my $customer = macro('customer');
my %lines;

for (split /\n/, $log) {
    $lines{$1}{$2}++ if m{^/(\w+)-log-all/rpc/\S+ <(.*) \S+>$};
}

for my $source (grep { !/^(?:static|fallback)$/ } sort keys %sources) {
    is(join("\n", sort keys %{ $lines{$source} }),
       join("\n", sort "$tenant $customer CUSTOMER_USER",
                       "$tenant - TENANT_ADMIN", '- - -'),
       "the log of $source: customers, administrators, nobody");
}

$nginx->clean();

done_testing();
