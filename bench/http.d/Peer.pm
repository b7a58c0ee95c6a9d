package Peer;

# An nginx with its Lua module, whether installed or unpacked into build/deps
# by script/bootstrap bench; peer.conf is its configuration.

use strict;
use warnings;

use FindBin;

use TB::Env qw(build);
use TB::Fixture;
use TB::Nginx;

our @ISA = ('TB::Nginx');

my $aside = build() . '/deps/modules/usr';
my @modules = qw(ndk_http_module.so ngx_http_lua_module.so);


sub module {
    my ($name) = @_;

    my ($path) = grep { -e } map { "$_/lib/nginx/modules/$name" } '/usr',
                                                                  $aside;

    return $path;
}


# nothing where one of its parts is missing: why is on stderr

sub start {
    my ($class) = @_;

    my ($lib) = grep { -e "$_/lua/5.1/cjson.so" } map { glob "$_/lib/*" }
                                                      '/usr', $aside;
    my ($lua) = grep { -e "$_/nginx/redis.lua" } "/usr/share/lua/5.1",
                                                 "$aside/share/lua/5.1";

    if (!$lib || !$lua || grep { !module($_) } @modules) {
        warn "no row \"lua\": nginx's Lua module, lua-nginx-redis or lua-cjson"
             . " is missing (script/bootstrap bench)\n";
        return;
    }

    local $ENV{LD_LIBRARY_PATH} = join ':', $lib, $ENV{LD_LIBRARY_PATH} || ();

    set_macro(peer_main => join('', $> == 0 ? 'user root;' : '',
                                map { 'load_module ' . module($_) . ';' }
                                    @modules),
              peer_code => "$FindBin::Bin/http.d", peer_lua => $lua,
              peer_lib => "$lib/lua/5.1");

    return $class->SUPER::start();
}


sub conf_text {
    my ($self) = @_;

    set_macro(peer_port => $self->{port});

    open my $fh, '<', "$FindBin::Bin/http.d/peer.conf"
        or die "peer.conf: $!\n";
    local $/;

    return expand(scalar <$fh>);
}


1;
