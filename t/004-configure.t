# The addon's "config": a library that is too old is told by name, before
# anything is compiled.  What nginx's own configure does around it is left
# out, its auto/feature is the real one.
#
# runs: side by side, 8 s
# not with --redis-tls, --redis-cluster: there is no Redis in it

use strict;
use warnings;

use Test::More;

use TB::Env qw(root scratch file_in);

my $auto = ($ENV{NGINX_SRC} || '/usr/share/nginx/src') . '/auto';

plan skip_all => "no $auto/feature" if !-e "$auto/feature";

my $tried = 0;


# what it says with the lines of $header behind those of the library's own
# header $name

sub configure {
    my ($name, @hidden) = @_;

    my $dir = 'try' . $tried++;
    my $include = '';

    if ($name) {
        file_in("$dir/include/$name", join "\n", "#include_next <$name>",
                @hidden, '');
        $include = '-I ' . scratch() . "/$dir/include";
    }

    file_in("$dir/auto/module", "echo MODULE \$ngx_module_libs\n");
    symlink "$auto/feature", scratch() . "/$dir/auto/feature";
    file_in("$dir/go", <<"_EOC_");
cd @{[ scratch() ]}/$dir
ngx_n= ngx_c= CC="\${CC:-cc}" CC_TEST_FLAGS="$include -Werror"
NGX_OBJS=. NGX_AUTOTEST=./autotest NGX_AUTOCONF_ERR=./err NGX_MAKEFILE=./make
OPENSSL=NONE ngx_module_link=DYNAMIC ngx_addon_dir=@{[ root() ]}
. \$ngx_addon_dir/config
_EOC_

    my $said = `/bin/sh @{[ scratch() ]}/$dir/go 2>&1`;

    return $? == 0 ? 'ok ' . ($said =~ /^MODULE (.*)/m ? $1 : '')
           : $said =~ /Not found or not usable:(.*)\./ ? "no$1" : $said;
}


my $sound = configure();

like($sound, qr/^ok (-Wl,--version-script=\S+ )?-ljansson .*hiredis.* -lcrypto$/,
     'all is there');

# jansson before 2.6, and before 2.7

is(configure('jansson.h', '#undef JSON_ALLOW_NUL'), 'no jansson',
   'jansson without JSON_ALLOW_NUL');
is(configure('jansson.h', '#define json_object_seed none'), 'no jansson',
   'jansson without json_object_seed()');
is(configure('jansson.h', '#define json_string_length none'), 'no jansson',
   'jansson without json_string_length()');

# the others

is(configure('hiredis/hiredis.h', '#define redisReaderFeed none'),
   'no hiredis', 'hiredis without its reader');
is(configure('openssl/evp.h', '#define EVP_DigestVerify none'),
   'no libcrypto', 'libcrypto without EVP_DigestVerify()');

# the version that is told is the one that README names

open my $readme, '<', root() . '/README.md' or die "README.md: $!\n";
open my $config, '<', root() . '/config' or die "config: $!\n";

my ($readme_text, $config_text) = map { local $/; scalar <$_> }
                                  $readme, $config;

for my $library ('jansson', 'hiredis', 'OpenSSL') {
    my ($version) = $config_text =~ /\b$library ([0-9.]+[0-9]) or newer/;

    like($readme_text, qr/^\| $library, \Q$version\E or newer /m,
         "README: $library $version");
}

done_testing();
