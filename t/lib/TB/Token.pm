package TB::Token;

# JSON Web Tokens as ThingsBoard makes them.
#
#     jwt()                                   TENANT_ADMIN of $TENANT, HS512
#     jwt(scopes => ['CUSTOMER_USER'], customerId => $CUSTOMER)
#     jwt(exp => time() - 10)                 expired
#     jwt(userId => undef)                    without that claim
#     jwt_with({ alg => 'HS256', key => $bytes }, scopes => [...])
#
# In jwt_with, header => {...} replaces members of the header, payload => TEXT
# the whole of the claims, and signature => BYTES the signature.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256 hmac_sha384 hmac_sha512 sha256_hex);
use Exporter 'import';
use JSON::PP ();
use MIME::Base64 qw(encode_base64 encode_base64url);

our @EXPORT_OK = qw(jwt jwt_with $KEY key_text sha256_hex
                    $TENANT $OTHER_TENANT $CUSTOMER $OTHER_CUSTOMER $USER
                    $NULL_UUID);

our $TENANT = '7e000000-0000-11ee-8000-00000000000a';
our $OTHER_TENANT = '7e000000-0000-11ee-8000-00000000000b';
our $CUSTOMER = 'c0000000-0000-11ee-8000-00000000000a';
our $OTHER_CUSTOMER = 'c0000000-0000-11ee-8000-00000000000b';
our $USER = 'a0000000-0000-11ee-8000-00000000000a';
our $NULL_UUID = '13814000-1dd2-11b2-8080-808080808080';

# 64 bytes, all different
our $KEY = join '', map { chr(($_ * 167 + 13) & 0xff) } 0 .. 63;

my $json = JSON::PP->new->canonical->utf8;
my %hmac = (HS256 => \&hmac_sha256, HS384 => \&hmac_sha384,
            HS512 => \&hmac_sha512);


# as tb_rpc_jwt_key wants it

sub key_text {
    my ($key) = @_;

    return encode_base64(defined $key ? $key : $KEY, '');
}


sub jwt {
    return jwt_with({}, @_);
}


sub jwt_with {
    my ($how, %claims) = @_;

    my $alg = $how->{alg} || 'HS512';
    my $now = time();
    my %all = (sub => 'user@example.com', userId => $USER,
               scopes => ['TENANT_ADMIN'], sessionId => $USER,
               iss => 'thingsboard.io', iat => $now, exp => $now + 9000,
               enabled => JSON::PP::true, isPublic => JSON::PP::false,
               tenantId => $TENANT, customerId => $NULL_UUID, %claims);

    delete @all{ grep { !defined $all{$_} } keys %all };

    my %header = (alg => $alg, %{ $how->{header} || {} });
    my $payload = defined $how->{payload} ? $how->{payload}
                                          : $json->encode(\%all);
    my $signed = encode_base64url($json->encode(\%header)) . '.'
                 . encode_base64url($payload);
    my $signature = $how->{signature};

    if (!defined $signature) {
        my $key = defined $how->{key} ? $how->{key} : $KEY;

        $signature = $hmac{$alg} ? $hmac{$alg}->($signed, $key) : '';
    }

    return "$signed." . encode_base64url($signature);
}


1;
