#!/usr/bin/perl

# One version: of the source, in the module's log, of bridge and tools, in
# README.md and at the head of CHANGELOG.md.
#
# runs: side by side, 2 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root);
use TB::Mqtt qw(output);
use TB::Nginx;
use TB::RedisServer;


sub file_text {
    my ($path) = @_;

    open my $fh, '<', root() . "/$path" or die "$path: $!\n";
    local $/;
    return scalar <$fh>;
}


my $redis = TB::RedisServer->start();
my ($status, $text) = output(root() . '/script/version');

is($status, 0, 'script/version');
like($text, qr/\A\d+\.\d+\.\d+\n\z/, 'prints it');
chomp(my $version = $text);

for (['bridge', TB::Mqtt::program()], ['tools', TB::Mqtt::admin()]) {
    ($status, $text) = output($_->[1], '--version');
    is($status, 0, "$_->[0]: --version");
    like($text, qr/ \Q$version\E\n\z/, 'is the same');
}

my $nginx = TB::Nginx->start(redis_port => $redis->{port});

like($nginx->error_log(),
     qr/\[notice\] .* ngx_http_tb_rpc_module \Q$version\E$/m,
     'the module tells it when nginx starts');
$nginx->stop();

is((file_text('README.md') =~ /^Version ([\d.]+), /m)[0], $version,
   'README.md');
is((file_text('CHANGELOG.md') =~ /^## (\S+)/m)[0], $version,
   'the newest of CHANGELOG.md');

($status) = output(root() . '/script/version', '0.2');
is($status, 2, 'no version');
($status, $text) = output(root() . '/script/version', '99.0.0');
is($status, 1, 'one that CHANGELOG.md does not know');
like($text, qr/CHANGELOG\.md has no heading "## 99\.0\.0"/, 'is refused');

done_testing();
