# The rooms of src and bridge: script/check-rooms finds nothing, and does find
# what it is for, each in a small house of its own.
#
# runs: side by side, 1 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(dirname);
use File::Path qw(make_path);
use Test::More;

use TB::Env qw(root scratch);
use TB::Mqtt qw(output);

my $check = root() . '/script/check-rooms';
my ($status, $text) = output($check);

is("$status$text", '0', 'src and bridge');


# a house of these files, and what is said of it

my $houses = 0;
my $rules = 'src';

sub house {
    my (%files) = @_;
    my $src = scratch() . '/house' . ++$houses;

    make_path($src);

    for my $name (keys %files) {
        make_path(dirname("$src/$name"));
        open my $fh, '>', "$src/$name" or die "$name: $!\n";
        print $fh $files{$name};
        close $fh or die "$name: $!\n";
    }

    return output($check, $rules, $src);
}


sub good {
    my ($name, %files) = @_;
    my ($rc, $said) = house(%files);

    is("$rc$said", '0', "allowed: $name");
}


sub bad {
    my ($name, $pattern, %files) = @_;
    my ($rc, $said) = house(%files);

    is($rc, 1, "refused: $name");
    like($said, $pattern, 'in words');
}


sub function_of {
    my ($lines) = @_;

    return "\nint\nf(int a,\n    int b)\n{\n" . "    b++;\n" x ($lines - 4)
           . "}\n";
}


my %headers = map { ("$_/$_.h" => '') }
              qw(json http store auth call record device front);

$headers{'redis/ngx_tb_redis.h'} = '';

good('each sees those before it', %headers, 'version.h' => '',
     'front/a.c' => join('', map { qq{#include "../$_/$_.h"\n} }
                             qw(json http store auth call)),
     'http/f.c' => qq{#include "../redis/ngx_tb_redis.h"\n},
     'redis/g.c' => qq{#include "ngx_tb_redis_private.h"\n},
     'redis/ngx_tb_redis_private.h' => '',
     'call/b.c' => qq{#include "../store/store.h"\n#include "call.h"\n},
     'store/c.c' => qq{#include <time.h>\n#include "ngx_http_tb_rpc_lua.h"\n},
     'json/d.c' => qq{#include "../version.h"\n},
     'functions/e.c' => '');

bad('a room below', qr{^http/a\.h:2: http must not see store, which is below},
    %headers, 'http/a.h' => qq{\n#include "../store/store.h"\n});
bad('the first sees none', qr{redis must not see json}, %headers,
    'redis/a.c' => qq{  #  include  "../json/json.h"\n});

for my $pair ([qw(auth call)], [qw(call auth)], [qw(record device)],
              [qw(device call)])
{
    my ($from, $to) = @{$pair};

    bad("$from and $to", qr{$from must not see $to, which is beside it},
        %headers, "$from/a.c" => qq{#include "../$to/$to.h"\n});
}

bad('a private header', qr{"\.\./redis/p\.h" is for redis alone}, %headers,
    'redis/p.h' => '', 'store/a.c' => qq{#include "../redis/p.h"\n});
bad('a circle', qr{store must not see front}, %headers,
    'front/front.h' => qq{#include "../store/store.h"\n},
    'store/store.h' => qq{#include "../front/front.h"\n});
bad('a prototype by hand', qr{^call/a\.c:1: .*has a header}, %headers,
    'call/a.c' => "extern int  front;\n");
bad('a header that is not there', qr{there is no "\.\./auth/none\.h"},
    %headers, 'front/a.c' => qq{#include "../auth/none.h"\n});
bad('an unknown room', qr{^cellar:0: .*does not know}, 'cellar/a.c' => '');
bad('a file in no room', qr{^a\.c:0: is in no room}, 'a.c' => '');

good('70 lines of a function', 'http/a.c' => function_of(70));
bad('71 lines', qr{^http/a\.c:3: the function has 71 lines},
    'http/a.c' => function_of(71));
good('600 lines of a file', 'http/a.c' => "\n" x 600);
bad('601 lines', qr{^http/a\.c:601: more than 600 lines},
    'http/a.c' => "\n" x 601);
good('200 lines of a header', 'http/a.h' => "\n" x 200);
bad('201 lines', qr{^http/a\.h:201: more than 200 lines},
    'http/a.h' => "\n" x 201);


# the bridge: its own order, and no circles of files

$rules = 'bridge';
%headers = map { ("$_.h" => '') } qw(base/log redis/command redis/conn
                                     redis/private mqtt/broker rpc/bridge
                                     rpc/calls app/metrics);

good('the rooms of the bridge', %headers, 'demo-device.c' => '',
     'app/main.c' => qq{#include "../rpc/bridge.h"\n#include "metrics.h"\n},
     'rpc/bridge.c' => qq{#include "bridge.h"\n#include "calls.h"\n}
                       . qq{#include "../redis/command.h"\n},
     'redis/command.c' => qq{#include "private.h"\n#include "conn.h"\n},
     'mqtt/broker.c' => qq{#include "../base/log.h"\n});

bad('what is above', qr{^mqtt/a\.c:1: mqtt must not see rpc, which is below},
    %headers, 'mqtt/a.c' => qq{#include "../rpc/bridge.h"\n});
bad('what is beside', qr{mqtt must not see redis, which is beside it},
    %headers, 'mqtt/a.c' => qq{#include "../redis/command.h"\n});
bad('what is not shown', qr{"\.\./redis/conn\.h" is for redis alone},
    %headers, 'rpc/a.c' => qq{#include "../redis/conn.h"\n});
bad('what is private', qr{"\.\./redis/private\.h" is for redis alone},
    %headers, 'rpc/a.c' => qq{#include "../redis/private.h"\n});
bad('a circle of files', qr{^rpc/bridge\.c:0: is in a circle of files}m,
    %headers, 'rpc/bridge.c' => qq{#include "calls.h"\n},
    'rpc/calls.c' => qq{#include "ask.h"\n}, 'rpc/ask.h' => '',
    'rpc/ask.c' => qq{#include "bridge.h"\n});
bad('another program', qr{^tool\.c:0: is in no room}, 'tool.c' => '');


# common is beside both houses, sees none of them and is seen by all

good('what is common', '../common/shard.h' => '',
     '../common/shard.c' => qq{#include "shard.h"\n},
     'redis/a.c' => qq{#include "../../common/shard.h"\n});
bad('a house seen by common',
    qr{^common/shard\.c:1: common must not see base, which is below it},
    'base/log.h' => '',
    '../common/shard.c' => qq{#include "../house${\ ($houses + 1) }/base/log.h"\n});

done_testing();
