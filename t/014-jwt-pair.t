# Tokens signed with key pairs that openssl makes: RS256 and ES256, what is
# taken for a signature and what is not, and rotation.
#
# runs: side by side, 3 s

use TB 'no_plan';

use JSON::PP ();
use MIME::Base64 qw(encode_base64url);

Test::More::plan(skip_all => 'there is no openssl')
    if system('openssl version > /dev/null 2>&1') != 0;

device('d1', bridge => 'b1');
bridge();

my $made = 0;


sub openssl {
    my $log = scratch() . '/openssl.log';

    system("openssl @_ >> $log 2>&1") == 0 or die "openssl @_ failed\n";
}


# %{NAME.pub}: the public key

sub pair {
    my ($name, @how) = @_;

    my $file = scratch() . "/$name";

    openssl('genpkey', @how, '-out', "$file.key");
    openssl('pkey', '-in', "$file.key", '-pubout', '-out', "$file.pub");
    set_macro("$name.pub" => "$file.pub");
}


# the signature as openssl makes it

sub signature {
    my ($text, $pair, @options) = @_;

    my $in = file_in('signed.' . ++$made, $text);

    openssl('dgst', '-sha256', '-sign', scratch() . "/$pair.key", @options,
            '-out', "$in.signature", $in);

    open my $fh, '<:raw', "$in.signature" or die "$in.signature: $!\n";
    local $/;

    return <$fh>;
}


# of ECDSA: r and s, as wide as the curve

sub raw {
    my ($der) = @_;

    my ($r, $s) = unpack 'x2 x C/a x C/a', $der;

    return join '', map { s/^\0+//r =~ s/^/"\0" x (32 - length s|^\0+||r)/er }
                    $r, $s;
}


sub unsigned {
    my ($alg, @claims) = @_;

    return substr jwt_with({ alg => $alg, signature => '' }, @claims), 0, -1;
}


sub token {
    my ($name, $text, $signature) = @_;

    set_macro("t:$name" => "$text." . encode_base64url($signature));
}

my @rsa = ('-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048');
my @ec = ('-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256');

pair('rsa1', @rsa);
pair('rsa2', @rsa);
pair('ec1', @ec);
pair('ec2', @ec);
pair('p384', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384');

my $text = unsigned('RS256');
my $good = signature($text, 'rsa1');

token('rsa1' => $text, $good);
token('rsa2' => $text, signature($text, 'rsa2'));
token('rsa cut' => $text, substr $good, 0, 255);
token('rsa longer' => $text, "$good\0");
token('rsa flipped' => $text, $good ^ ("\0" x 100 . "\1"));
token('rsa zero' => $text, "\0" x 256);
token('rsa pss' => $text, signature($text, 'rsa1', '-sigopt',
                                    'rsa_padding_mode:pss'));
token('rsa other text' => unsigned('RS256', sub => 'mallory'), $good);
$text = unsigned('RS256', exp => time() - 5);
token('rsa expired' => $text, signature($text, 'rsa1'));

# the public key as the secret of an HMAC
{
    open my $fh, '<', macro('rsa1.pub') or die "rsa1.pub: $!\n";
    local $/;
    my $pem = <$fh>;

    set_macro('t:confused' => jwt_with({ alg => 'HS256', key => $pem }));
    set_macro('t:confused2' => jwt_with({ alg => 'HS256', key => $pem,
                                          header => { alg => 'RS256' } }));
}

set_macro('t:hs512' => jwt());
set_macro('t:none' => jwt_with({ alg => 'none' }));

$text = unsigned('ES256');
my $der = signature($text, 'ec1');
$good = raw($der);

Test::More::is(length $good, 64, 'a raw signature has 64 bytes');

token('ec1' => $text, $good);
token('ec2' => $text, raw(signature($text, 'ec2')));
token('ec der' => $text, $der);
token('ec cut' => $text, substr $good, 0, 63);
token('ec longer' => $text, "$good\0");
token('ec zero' => $text, "\0" x 64);
token('ec ones' => $text, "\xff" x 64);
token('ec r s of 1' => $text, ("\0" x 31 . "\1") x 2);
token('ec other text' => unsigned('ES256', sub => 'mallory'), $good);
token('ec as rs256' => unsigned('RS256'), $good);

run_tests();

__DATA__

=== TEST 1: RS256
--- more_config
    tb_rpc_jwt_alg  RS256;
    tb_rpc_jwt_key  %{rsa1.pub};
--- credentials
X-Authorization: Bearer %{t:rsa1}            => 200 "in"
X-Authorization: Bearer %{t:rsa2}            => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa cut}         => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa longer}      => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa flipped}     => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa zero}        => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa pss}         => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa other text}  => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa expired}     => 401 error 11 Token has expired
X-Authorization: Bearer %{t:ec as rs256}     => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:confused}        => 401 error 10 Invalid token
X-Authorization: Bearer %{t:confused2}       => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:hs512}           => 401 error 10 Invalid token
X-Authorization: Bearer %{t:ec1}             => 401 error 10 Invalid token
X-Authorization: Bearer %{t:none}            => 401 error 10 Invalid token



=== TEST 2: ES256
--- more_config
    tb_rpc_jwt_alg  ES256;
    tb_rpc_jwt_key  %{ec1.pub};
--- credentials
X-Authorization: Bearer %{t:ec1}            => 200 "in"
X-Authorization: Bearer %{t:ec2}            => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec der}         => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec cut}         => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec longer}      => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec zero}        => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec ones}        => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec r s of 1}    => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:ec other text}  => 401 error 10 Invalid token signature
X-Authorization: Bearer %{t:rsa1}           => 401 error 10 Invalid token
X-Authorization: Bearer %{t:hs512}          => 401 error 10 Invalid token



=== TEST 3: several public keys
--- more_config
    tb_rpc_jwt_alg  RS256;
    tb_rpc_jwt_key  %{rsa1.pub};
    tb_rpc_jwt_key  %{rsa2.pub};
--- credentials
X-Authorization: Bearer %{t:rsa1}     => 200 "in"
X-Authorization: Bearer %{t:rsa2}     => 200 "in"
X-Authorization: Bearer %{t:rsa cut}  => 401 error 10 Invalid token signature



=== TEST 4: a key of another kind than the algorithm
--- more_config
    tb_rpc_jwt_alg  RS256;
    tb_rpc_jwt_key  %{ec1.pub};
--- must_die
--- error_log
ec1.pub



=== TEST 5: another curve
--- more_config
    tb_rpc_jwt_alg  ES256;
    tb_rpc_jwt_key  %{p384.pub};
--- must_die
--- error_log
p384.pub



=== TEST 6: an HMAC key for RS256
--- more_config
    tb_rpc_jwt_alg  RS256;
--- must_die
--- error_log
jwt.key
