#!/usr/bin/perl

# What docs/runbook.md tells an operator to do, done as it stands there, with
# callers at work meanwhile: keys and passwords are changed without a refused
# call; a backup is restored, and means what the page says; Redis moves to
# another server and nothing that was accepted is lost; a bridge is down, Redis
# is full.
#
# runs: side by side, 30 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use File::stat ();
use JSON::PP ();
use POSIX ();
use Test::More;

use TB::Env qw(scratch free_port file_in scaled wait_for);
use TB::Bridge;
use TB::FastBridge;
use TB::Fixture;
use TB::Mqtt qw(child reap output text_of);
use TB::MqttDevices;
use TB::Nginx;
use TB::Page;
use TB::Proxy;
use TB::RedisServer;
use TB::Shell;

# the servers change places, so each is let in by the other
my @replica = ('--masteruser', 'default', '--masterauth',
               $TB::RedisServer::PASSWORD{admin}, '--repl-diskless-sync-delay',
               0);
my $page = TB::Page->new('docs/runbook.md');
my $dir = scratch();
my $json = JSON::PP->new->utf8;

plan skip_all => 'no mosquitto' if !TB::Mqtt::mosquitto();

my $old = redis(args => \@replica);
my %port = (6379 => $old->{port}, 6380 => free_port());
my ($mqtt, $bridge);

# a group that may be given to a file, and is not that of what is made
my ($group) = map { scalar getgrgid $_ }
              (grep({ $_ != $( + 0 } split ' ', $> == 0 ? '1' : $( ), $( + 0);

# the address that can be moved
my $proxy = TB::Proxy->start(to => $old->{port});

my $nginx = TB::Nginx->start(
    redis_port => $proxy->{port},
    http => 'tb_rpc_api_keys on; tb_rpc_api_key_cache 1s;'
            . ' tb_rpc_max_timeout 10m;',
    config => 'location /api/rpc/ { tb_rpc v2; }'
              . ' location /api/v1/ { tb_rpc_device_api; }'
              . ' location /api/auth/ { tb_rpc_login; }');
my $shell = shell();


# --- the page's commands ----------------------------------------------------

# Programs as an operator has them: with his server and user.

sub shell {
    my @binary = TB::Nginx::command();
    my ($cli) = grep { !system("command -v $_ > /dev/null") }
                qw(redis-cli valkey-cli);
    my $password = file_in('operator.password', 'operator-secret');

    file_in('redis.password', "nginx-secret\n");

    return TB::Shell->new("cd $dir",
        "export REDISCLI_AUTH=$TB::RedisServer::PASSWORD{admin}",
        "redis-cli() { command $cli -p $port{6379} \"\$@\"; }",
        'redis-server() { exec ' . TB::RedisServer::server_binary()
            . " --aclfile $old->{dir}/users.acl --bind 127.0.0.1 \"\$@\"; }",
        "nginx() { command @binary -p $nginx->{dir}/ -e error.log -c nginx.conf"
            . ' "$@"; }',
        'systemctl() { echo "$1" > "told.$2"; }',
        'tb-rpc-admin() { ' . TB::Mqtt::admin() . ' --redis'
            . " redis://127.0.0.1:$proxy->{port} --redis-user operator"
            . " --redis-password-file $password \"\$@\"; }");
}


sub local_text {
    my ($text) = @_;

    $text =~ s{/etc/nginx/tb-jwt\.key}{macro('jwt_key')}ge;
    $text =~ s{/etc/(?:nginx|tb-rpc|mosquitto)/}{$dir/}g;
    $text =~ s/\b(63(?:79|80|81))\b/$port{$1}/g;

    # the group of the bridge's unit need not be here
    $text =~ s/\b_tb-rpc\b/$group/g;

    # the users have shorter names here
    $text =~ s/\btb-(nginx|bridge)\b/$1/g;

    return $text;
}


# what systemd would do

sub services {
    if (unlink "$dir/told.mosquitto") {
        kill 'HUP', $mqtt->{broker};
    }

    if (unlink "$dir/told.tb-rpc-mqtt-bridge") {
        restart_bridge();
    }
}


sub restart_bridge {
    my (@more) = @_;

    reap($bridge, 'TERM') if $bridge;
    $bridge = $mqtt->bridge('b1', '--config', "$dir/mqtt-bridge.conf",
                            '--redis', "redis://127.0.0.1:$proxy->{port}",
                            @more);
}


sub run {
    my ($text) = @_;

    for (TB::Page::transcript($text, '$ ')) {
        my ($command, $want) = @$_;

        s/\n+\z// for $command, $want;

        my $got = $shell->run(local_text($command));
        my $pattern = quotemeta $want;

        # mosquitto's own programs may have an opinion on who owns a file
        $got =~ s/Warning:\ File\ \S+\ [^.]*\.\ Future\ versions\ [^.]*\.\s*
                  (?:To\ fix\ this,\ use\ `[^`]*`\.\s*)?//gx;

        $got =~ s/\n+\z//;

        # what is left out may be whole lines
        if ($pattern =~ s/\\\.\\\.\\\./.*/g) {
            $pattern =~ s/\\\n/\\n(?:.*\\n)?/g;
        }

        like($got, qr/\A$pattern\s*\z/s, "\$ $command");
        unlike($got, qr/^tb-rpc-admin: /m, 'which can be done');
        services();
    }
}


# The next block of a section, as many as are told; nginx.conf is changed.

my %left;


sub step {
    my ($heading, $n) = @_;

    $left{$heading} ||= [ $page->blocks($heading) ];

    for (1 .. $n || 1) {
        my $block = shift @{ $left{$heading} }
            or return fail("$heading: it goes on");

        if ($block->{file} eq '') {
            run($block->{text});

        } else {
            conf($block->{file}, local_text($block->{text}));
        }
    }
}


sub ends {
    my ($heading) = @_;

    is(scalar @{ $left{$heading} }, 0, "$heading: all of it was done");
}


my %replaced = ('nginx.conf' => qr/^ *tb_rpc_jwt_key .*\n(?:.*jwt_key.*\n)*/m,
                'nginx.conf, in tb_rpc_redis' => qr/^ *password .*\n/m,
                '/etc/tb-rpc/mqtt-bridge.conf' => qr/^mqtt-.*\nmqtt-.*\n/m);


sub conf {
    my ($file, $text) = @_;

    my $name = $file =~ /^nginx/ ? "$nginx->{name}/nginx.conf"
                                 : $file =~ s{.*/}{}r;
    my $conf = text_of($name);

    is($conf =~ s/$replaced{$file}/$text/, 1, "$file is changed");
    file_in($name, $conf);
}


# nginx was told to reload: the workers of before are leaving

sub reloaded {
    my ($before) = @_;

    my %old = map { $_ => 1 } @$before;

    soon { !grep { $old{$_} } $nginx->workers() } 'the old workers have gone',
         60;
}


# --- callers at work --------------------------------------------------------

# Calls until they are told to stop; what they got, as often as they got it.
# The callers' tokens are the lines of a file, which may change.

sub load {
    my ($name, $during, %opt) = @_;

    my $stop = "$dir/$name.stop";
    my $pid = child(sub {
        my (%kinds, @made, $n);

        while (!-e $stop) {
            my @tokens = split /\n/, text_of('tokens');
            my @requests = map {
                my $token = $tokens[$_ % @tokens];
                my $device = macro('d' . (1 + ++$n % 8));
                my $body = "{\"method\":\"echo\",\"params\":$n"
                           . ($opt{persistent} && $n % 2
                              ? ',"persistent":true,"timeout":60000}' : '}');

                [ $token, $n, TB::Load::post("/api/rpc/twoway/$device", $body,
                      'X-Authorization' => "Bearer $token",
                      'Connection' => 'close'),
                  TB::MqttDevices::answer_to($device, $n) ];
            } 1 .. 40;
            my @answers = TB::Load::run(
                port => $nginx->{port}, parallel => 8, timeout => scaled(30),
                requests => [ map { $_->[2] } @requests ]);

            for my $i (0 .. $#answers) {
                my $answer = $answers[$i];
                my $what = join ' ', grep { defined } $answer->{status},
                           $answer->{headers}{'x-rpc-result'},
                           $answer->{error};

                if (($answer->{body} || '') =~ /"rpcId":"([^"]+)"/) {
                    push @made, $1;

                } elsif ($what eq '200'
                         && $answer->{body} ne $requests[$i][3])
                {
                    $what = 'the answer of another call';
                }

                $kinds{$what}++;
                $kinds{'by ' . substr sha256_hex($requests[$i][0]), 0, 8}++
                    if $what eq '200';
            }

            at_once("$name.result", $json->encode({ kinds => \%kinds,
                                                    made => \@made }));
        }
    });

    $during->(sub { return result($name)->{kinds} });
    file_in("$name.stop", '');
    TB::Mqtt::reap($pid, undef, 120);

    return result($name);
}


# a file that others read meanwhile

sub at_once {
    my ($name, $text) = @_;

    rename file_in("$name.new", $text), "$dir/$name" or die "$name: $!\n";
}


sub result {
    my $text = text_of("$_[0].result");

    return $text eq '' ? { kinds => {}, made => [] } : $json->decode($text);
}


sub by { return 'by ' . substr sha256_hex($_[0]), 0, 8 }


# so many more calls are answered

sub goes_on {
    my ($kinds, $what, $by) = @_;

    my $before = $kinds->()->{$by || 200} || 0;

    soon { ($kinds->()->{$by || 200} || 0) >= $before + 100 }
         "$what: calls are answered", 60;
}


sub refused {
    my ($result) = @_;

    return join ', ', map { "$_: $result->{kinds}{$_}" }
                      grep { !/^(?:200$|by )/ } sort keys %{ $result->{kinds} };
}


# devices on a broker, and the bridge

my @ids = map { device("d$_") } 1 .. 8;
my $held = device('held');
my @owner = $> == 0 ? getpwnam 'mosquitto' : ();

$mqtt = bless { port => free_port(), redis => $old, connects => {},
                password => file_in('bridge.password', "bridge-secret\n") },
              'TB::Mqtt';
file_in('mqtt.password', "mqtt-secret\n");
file_in('passwd', "bridge:mqtt-secret\n");
file_in('mqtt-bridge.conf', "client-id b1\nmqtt-user bridge\n"
        . "mqtt-password-file $dir/mqtt.password\n");
system('mosquitto_passwd', '-U', "$dir/passwd") == 0 or die 'mosquitto_passwd';
chown $owner[2], $owner[3], "$dir/passwd" if @owner;
$mqtt->broker("password_file $dir/passwd\n");
restart_bridge();

my $devices = TB::MqttDevices->start(port => $mqtt->{port}, mute => qr/^x$/,
                                     ids => [ @ids, $held ],
                                     delay => [0, 0.01]);

ok($devices->online(60), 'the devices are there');
my $token = macro('token:tenant');

at_once('tokens', "$token\n");


# --- a new key for JWTs -----------------------------------------------------

my $heading = 'A new key for JWTs';
my @before;
my $new_token;

my $result = load('jwt', sub {
    my ($kinds) = @_;

    goes_on($kinds, 'the old key');
    @before = $nginx->workers();
    step($heading, 3);
    reloaded(\@before);

    my $tenant = macro('tenant');

    ($new_token) = $shell->run("tb-rpc-admin jwt --key tb-jwt-new.key"
                               . " --tenant $tenant") =~ /^(\S+)/;
    file_in('new-token.txt', "$new_token\n");
    step($heading);
    at_once('tokens', "$token\n$new_token\n");
    goes_on($kinds, 'both keys, the old one', by($token));
    goes_on($kinds, 'both keys, the new one', by($new_token));

    at_once('tokens', "$new_token\n");

    # what was begun with the old one is over
    goes_on($kinds, 'the new key') for 1 .. 2;
    @before = $nginx->workers();
    step($heading, 2);
    reloaded(\@before);
    goes_on($kinds, 'the new key alone');
});

ends($heading);
is(refused($result), '', 'a new key for JWTs: no call is refused');


sub call_by {
    my ($with, $device, $body, $path) = @_;

    return http('POST', ($path || '/api/rpc/twoway/') . macro($device), $body,
                'X-Authorization' => "Bearer $with");
}


sub http {
    return TB::Client->new($nginx->{port}, TB::Client::text(@_))->answer(120);
}


is(call_by($token, 'd1', '{"method":"echo","params":1}')->{status}, 401,
   'the old key is none any more');


# --- a new password ---------------------------------------------------------

$heading = 'A new password';
$result = load('password', sub {
    my ($kinds) = @_;

    goes_on($kinds, 'the old password');
    @before = $nginx->workers();
    step($heading, 3);
    reloaded(\@before);
    goes_on($kinds, 'both passwords');
    step($heading);
    goes_on($kinds, 'the new password');

    step($heading, 3);
    goes_on($kinds, 'another user at the broker');
});

ends($heading);
is(refused($result), '', 'a new password: no call is refused');
is(join(' ', map { sprintf('%o', $_->mode & 07777), scalar getgrgid $_->gid }
                 File::stat::stat("$dir/mqtt-new.password")), "640 $group",
   'the bridge\'s user can read its new password, others not');
soon { text_of('mosquitto.log') =~ /reloading config.*reloading config/is }
     'the broker has heard of it';
isnt((output('mosquitto_pub', '-p', $mqtt->{port}, '-u', 'bridge', '-P',
             'mqtt-secret', '-t', 'x', '-m', 'x'))[0], 0,
     'the old user of the broker is none any more');
is(TB::Resp->connect(port => $old->{port})
           ->command('AUTH', 'nginx', 'nginx-secret') =~ /WRONGPASS/ ? 1 : 0,
   1, 'the old password is none any more');
$old->call('CLIENT', 'KILL', 'USER', 'nginx');
soon { call_by($new_token, 'd1', '{"method":"echo","params":1}')->{status}
       == 200 } 'who is thrown out comes back with the new one';


# --- a device is stolen -----------------------------------------------------

$heading = 'A device is stolen';
device('stolen', id => 'de000000-0000-11ee-8000-000000000001');
$shell->run('ID=' . macro('stolen'));
$shell->run('tb-rpc-admin token add $ID > token.txt');
(my $secret = text_of('token.txt')) =~ s/\n//;


sub poll {
    return http('GET', "/api/v1/$secret/rpc?timeout=100", undef)->{status};
}


is(poll(), 408, 'the device polls');
step($heading);
soon { poll() == 401 } 'its token is revoked';
$shell->run('tb-rpc-admin token add $ID');
step($heading, 2);
is(call_by($new_token, 'stolen', '{"method":"echo","params":1}')->{status},
   401, 'its callers are told so');
ends($heading);


# --- an API key has leaked --------------------------------------------------

$heading = 'An API key has leaked';


sub api_call {
    my ($key, $method, $path, $body) = @_;

    return http($method, $path, $body, 'X-Authorization' => "ApiKey $key");
}


sub api_status {
    return api_call($_[0], 'POST', '/api/rpc/twoway/' . macro('d1'),
                    '{"method":"echo","params":1}')->{status};
}


my ($key, $kept) = map {
    $shell->run('tb-rpc-admin api-key add --tenant ' . macro('tenant'))
    =~ /^(\S+)\n\z/ ? $1 : die "no key\n";
} 1 .. 2;
my $key_id = substr sha256_hex($key), 0, 16;

is(api_status($key), 200, 'an API key');
is(api_status($kept), 200, 'another one');
$shell->run("KEY_ID=$key_id");
like($shell->run('tb-rpc-admin api-key list'), qr/^$key_id/m, 'are listed');

step($heading, 2);
soon { api_status($key) == 401 } 'is refused';
step($heading);
soon { api_status($key) == 401 } 'is revoked';
unlike($shell->run('redis-cli --scan --pattern "tb:apikey:*"'), qr/$key_id/,
       'and gone');
ends($heading);


# --- a user is to be kept out -----------------------------------------------

$heading = 'A user is to be kept out';


sub login {
    return http('POST', '/api/auth/login', $json->encode({
               username => 'ann@example.com', password => $_[0] }))->{status};
}


file_in("$_.txt", "the $_ password\n") for 'old', 'new';
$shell->run('tb-rpc-admin user add ann@example.com --password-file old.txt'
            . ' --tenant ' . macro('tenant'));
is(login('the old password'), 200, 'a user');
step($heading);
is(login('the old password'), 401, 'is disabled');
$shell->run('tb-rpc-admin user enable ann@example.com');
step($heading);
is(login('the old password'), 401, 'not with the old password');
is(login('the new password'), 200, 'with the new one');
step($heading);
is(login('the new password'), 401, 'is gone');
ends($heading);


# --- backup and restore -----------------------------------------------------

$heading = 'Backup and restore';


sub record {
    my ($rpc) = @_;

    my $answer = http('GET', "/api/rpc/persistent/$rpc", undef,
                      'X-Authorization' => "Bearer $new_token");

    return $answer->{status} == 200 ? $json->decode($answer->{body})->{status}
                                    : $answer->{status};
}


sub persistent {
    my ($device) = @_;

    my $answer = call_by($new_token, $device, '{"method":"m","params":1,'
                         . '"persistent":true,"timeout":600000}');

    return $answer->{body} =~ /"rpcId":"([^"]+)"/ ? $1 : die $answer->{what};
}


device('later', bridge => 'b2');

my $done = persistent('d1');

soon { record($done) eq 'SUCCESSFUL' } 'a call that is over';

my $waits = persistent('later');

is(record($waits), 'QUEUED', 'one that waits');
step($heading);

my $after = persistent('d1');
my $log = "$dir/later.calls";
my $later = TB::Bridge->start(name => 'b2', log => $log,
                              connect => { $old->access('bridge'),
                                           port => $proxy->{port} });

soon { record($after) eq 'SUCCESSFUL' } 'a call that was made afterwards';
soon { record($waits) eq 'SUCCESSFUL' } 'what waited has ended';
$shell->run('tb-rpc-admin api-key del ' . sha256_hex($kept));
soon { api_status($kept) == 401 } 'a key that was deleted afterwards';

step($heading);
$proxy->tell('to', $port{6380});
restart_bridge();
soon { record($done) eq 'SUCCESSFUL' } 'restored: the record', 60;
soon { record($waits) eq 'SUCCESSFUL' } 'what was open has ended once more',
     60;

my @twice = $later->envelopes();

is(scalar @twice, 2, 'since it was sent twice');
is($twice[1]{requestId}, $twice[0]{requestId}, 'with the same id');
is($twice[1]{rpcId}, $waits, 'that one');
step($heading);
is(record($after), 404, 'what came after the backup is unknown');
soon { api_status($kept) == 200 } 'a key that was deleted is valid again';
is(call_by($new_token, 'd1', '{"method":"echo","params":2}')->{status}, 200,
   'calls are answered');
$later->stop();

# and with its append-only file

soon { $shell->run("redis-cli -p $port{6380} INFO persistence")
       =~ /aof_rewrite_in_progress:0/ } 'the file is written';
$shell->run("redis-cli -p $port{6380} SHUTDOWN");
$shell->run("redis-server --port $port{6380} --dir restored --appendonly yes"
            . ' > restored/log &');
soon { record($done) eq 'SUCCESSFUL' } 'which is there after a restart', 60;
ends($heading);

$proxy->tell('to', $old->{port});
$shell->run("redis-cli -p $port{6380} SHUTDOWN NOSAVE");
soon { record($after) eq 'SUCCESSFUL' } 'back at the first one', 60;


# --- another Redis ----------------------------------------------------------

$heading = 'Another Redis';

my $new = TB::RedisServer->start(library => 0, args => \@replica);
my @held;

$port{6381} = $new->{port};
# the second server has the password that nginx has by now
$new->call('ACL', 'SETUSER', 'nginx', '>' . text_of('redis-new.password')
           =~ s/\n//r);


sub held_calls {
    return grep { $_->{device} eq $held } $devices->deliveries();
}


$result = load('moving', sub {
    my ($kinds) = @_;

    $nginx->{token} = $new_token;
    @held = map { $nginx->open('held', 'x', $_, timeout => 300000) } 1 .. 8;
    soon { held_calls() == 8 } 'calls are held';
    goes_on($kinds, 'the first server');
    step($heading);
    $proxy->tell('next', $new->{port});
    step($heading);
    goes_on($kinds, 'the second server');

    TB::MqttDevices::publish($mqtt->{port}, map {
        ["v1/devices/$held/rpc/response/$_->{id}", $_->{params}]
    } held_calls());
}, persistent => 1);

is_deeply(TB::Client::kinds(TB::Client::answers(60, @held)), { 200 => 8 },
          'and their callers have it');
ends($heading);

diag('another Redis: ' . join ', ', map { "$_: $result->{kinds}{$_}" }
                                    grep { !/^by/ }
                                    sort keys %{ $result->{kinds} });
like(refused($result), qr/^(?:503 REDIS_UNAVAILABLE: \d+)?\z/,
     'another Redis: what is refused was not taken');
is($new->call('ROLE')->[0], 'master', 'it is the master now');

my @made = @{ $result->{made} };

cmp_ok(scalar @made, '>=', 20, 'persistent calls were made meanwhile');
soon {
    @made = grep { record($_) ne 'SUCCESSFUL' } @made;
    !@made;
} 'and none is lost', 60 or diag(scalar(@made) . ' are: '
                                  . join ' ', map { record($_) } @made);


# back, where the address can't be moved: by a reload; who is held by a worker
# of before hears its answer from the server that is a replica now

my $fixed = TB::Nginx->start(redis_port => $new->{port}, redis => '',
                             http => 'tb_rpc_max_timeout 10m;',
                             config => 'location /api/rpc/ { tb_rpc v2; }');
my $ours = TB::FastBridge->new(name => 'b4', connect => {
    $new->access('bridge') });

$new->fcall('tb_rpc_device_put', $new->device_key(uuid_of('device fixed')),
            macro('tenant'), '', 'bridge', 'b4');
set_macro(fixed => uuid_of('device fixed'));
@held = map { $fixed->open('fixed', 'x', $_, timeout => 300000) } 1 .. 4;

my @calls = $ours->hold(4);

# its connection was killed; and both passwords of nginx are good on both
$old->{client} = undef;
$old->call('ACL', 'SETUSER', 'nginx', '>nginx-secret');

is(scalar @calls, 4, 'an address that stays: calls are held');
soon { $new->call('INFO', 'replication') =~ /state=online/ }
     'the first server is a replica';
$new->call('FAILOVER', 'TO', '127.0.0.1', $old->{port}, 'TIMEOUT', 10000);
soon { $old->call('ROLE')->[0] eq 'master' } 'and the master again';
$fixed->configure(redis_port => $old->{port});
$fixed->reload();
$ours = TB::FastBridge->new(name => 'b4', connect => {
    $old->access('bridge') });
is(scalar grep({ $_ eq '1' } $ours->answer(@calls)), 4, 'they are answered');
is_deeply(TB::Client::kinds(TB::Client::answers(60, @held)), { 200 => 4 },
          'and their callers have it');
$fixed->stop();
$proxy->tell('to', $old->{port});


soon { call_by($new_token, 'd1', '{"method":"echo","params":1}')->{status}
       == 200 } 'calls are answered', 60;


# --- a bridge is down -------------------------------------------------------

sub call_down {
    return call_by($new_token, 'down', '{"method":"m","params":1,'
                                       . '"timeout":500}')->{what};
}


set_macro(down => uuid_of('device down'));
$old->fcall('tb_rpc_device_put', $old->device_key(macro('down')),
            macro('tenant'), '');
restart_bridge('--session-ttl', 3000);

my $down = TB::MqttDevices->start(port => $mqtt->{port},
                                  ids => [ macro('down') ],
                                  delay => [0, 0.01]);

soon { call_down() eq '200' } 'a bridge and its device';
reap($bridge, 'KILL');
undef $bridge;
is(call_down(), '504 NOT_CLAIMED', 'the bridge is down');
soon { call_down() eq '504 NO_ACTIVE_CONNECTION' } 'and longer';
$waits = persistent('down');
restart_bridge();
soon { record($waits) eq 'SUCCESSFUL' } 'what has waited is sent', 60;


# --- Redis is full ----------------------------------------------------------

$old->call('CONFIG', 'SET', 'maxmemory', 1);
is(call_by($new_token, 'd1', '{"method":"echo","params":1}')->{what},
   '503 REDIS_UNAVAILABLE', 'a full Redis');
like($nginx->error_log(), qr/\[error\].*was refused by Redis: "OOM /,
     'which the log says');
step('Redis is full');
is(call_by($new_token, 'd1', '{"method":"echo","params":1}')->{what}, 200,
   'it has room again');


# --- the others -------------------------------------------------------------

set_macro(queued => 'de000000-0000-11ee-8000-00000000000a');
$old->fcall('tb_rpc_device_put', $old->device_key(macro('queued')),
            macro('tenant'), '', 'bridge', 'mqtt');
persistent('queued');
soon { $old->call('EXISTS', 'tb:{s000}:ticker') } 'somebody ticks';

for ('Upgrade', 'Redis is full', 'A queue grows', 'Alerts') {
    $left{$_} ||= [ $page->blocks($_) ];
    step($_, scalar @{ $left{$_} });
    ends($_);
}

$nginx->clean();

done_testing();
