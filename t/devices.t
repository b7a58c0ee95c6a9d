#!/usr/bin/perl

# The recipes of docs/devices.md, run as they stand there: nginx.conf lines,
# files of bridges, the broker's access list, commands and what they print.
# Devices are played as the page shows what goes over MQTT.  Only hosts, ports
# and folders are others.
#
# runs: side by side, 15 s

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use TB::Env qw(root scratch free_port file_in wait_for);
use TB::Fixture;
use TB::Mqtt qw(spawn reap child output text_of);
use TB::Nginx;
use TB::Page;
use TB::Shell;

for my $program (qw(mosquitto_sub mosquitto_pub mosquitto_passwd curl)) {
    plan skip_all => "no $program"
        if system("command -v $program > /dev/null");
}

my $page = TB::Page->new('docs/devices.md');
my $mqtt = TB::Mqtt->new();
my ($tls, $other) = map { free_port() } 1 .. 2;
my $dir = scratch();
my @recipes = grep { !/^(?:What all|When a call)/ } $page->headings();
my $serial = 0;
my ($nginx, $shell, $bridge, $device, $poller);


# --- the broker, with the access lists of all recipes -----------------------

sub local_text {
    my ($text) = @_;

    $text =~ s{/etc/nginx/tb-jwt\.key}{macro('jwt_key')}ge;
    $text =~ s{/etc/(?:mosquitto|tb-rpc|nginx)/}{$dir/}g;
    $text =~ s{http://127\.0\.0\.1:8080}{http://127.0.0.1:$nginx->{port}}g;
    $text =~ s{mqtts://broker\.example}{mqtts://127.0.0.1:$tls};
    $text =~ s{^listener  8883$}{listener $tls 127.0.0.1}m;

    return $text;
}


sub openssl {
    my ($status, $text) = output('openssl', @_);
    die "openssl @_: $text" if $status;
}


sub certificate {
    my ($name, $subject) = @_;

    openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes
               -subj), "/CN=$subject", '-keyout', "$dir/$name.key",
            '-out', "$dir/$name.csr");
    openssl(qw(x509 -req -days 2 -CAcreateserial -in), "$dir/$name.csr",
            '-CA', "$dir/ca.pem", '-CAkey', "$dir/ca.key",
            '-out', "$dir/$name.pem", '-extfile',
            file_in("$name.ext", "subjectAltName=IP:127.0.0.1\n"));
    chmod 0644, "$dir/$name.key";
}


# The user that a section's access list lets say this on a topic.

sub user_of {
    my ($heading, $topic) = @_;

    my $acl = join '', map { $_->{text} } grep { $_->{file} =~ /acl$/ }
                       map { $page->blocks($_) }
                       $heading, "ThingsBoard's topics over MQTT";

    return $1 if $acl =~ /^user (?!bridge$)(.*)$/m;

    for ($acl =~ /^pattern \w+\s+(\S+)$/mg) {
        my $pattern = quotemeta;

        $pattern =~ s{\\%u}{([^/]+)};
        $pattern =~ s{\\\+}{[^/]+}g;
        $pattern =~ s{\\#}{.*};
        return $1 if $topic =~ m{^$pattern$};
    }

    die "$heading: nobody may say anything on $topic\n";
}


sub start_broker {
    my @blocks = map { $page->blocks($_) } $page->headings();
    my %users = (bridge => 1);

    for my $heading (@recipes) {
        for (map { $_->{text} } $page->blocks($heading)) {
            $users{user_of($heading, $1)} = 1 if /\A[<>] (\S+)/;
        }
    }

    openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
               -nodes -days 2 -subj /CN=ca -keyout), "$dir/ca.key", '-out',
            "$dir/ca.pem");
    certificate('server', 'broker');
    certificate('bridge', 'bridge');

    my $users = file_in('passwd', join '', map { "$_:secret\n" }
                                           sort keys %users);
    my $acl = file_in('acl', join "\n", map { $_->{text} }
                             grep { $_->{file} eq '/etc/mosquitto/acl' }
                             @blocks);
    my ($conf, $secure) = map { $_->{text} }
                          grep { $_->{file} eq 'mosquitto.conf' } @blocks;

    system('mosquitto_passwd', '-U', $users) == 0 or die 'mosquitto_passwd';

    # the broker's alone: newer ones ask for that
    my @owner = $> == 0 ? getpwnam 'mosquitto' : ();

    for ($users, $acl) {
        chown $owner[2], $owner[3], $_ if @owner;
        chmod 0600, $_;
    }

    # TB::Mqtt has the first listener
    is($conf =~ s/^(?:listener|allow_anonymous|max_queued_messages) .*\n//mg,
       3, 'mosquitto.conf');
    $mqtt->broker("allow_anonymous false\nlog_type subscribe\n"
                  . "log_type error\nlog_type notice\n"
                  . local_text("$conf$secure"));
}


# --- a device ---------------------------------------------------------------

# The lines of its dialogue: [direction, topic, payload, retained, properties].

sub dialogue {
    my ($text) = @_;

    return map {
        my ($way, $topic, $rest) = /^([<>]) (\S+)(?: (.*))?$/
            or die "not understood: $_\n";
        my $retained = defined $rest && $rest =~ s/ \(retained\)$//;
        my $brackets = defined $rest && $rest =~ s/^\[(.*?)\] // ? $1 : '';

        [$way, $topic, defined $rest ? $rest : '', $retained, $brackets];
    } split /\n/, $text;
}


sub publish {
    my ($user, $line, $id) = @_;

    my (undef, $topic, $payload, $retained, $brackets) = @$line;
    my @five = $brackets eq '' ? ()
        : ('-V', 5, '-D', 'PUBLISH', 'correlation-data', $brackets);

    for ($topic, $payload, @five) {
        s/\b17\b/$id/;
    }

    system('mosquitto_pub', '-h', '127.0.0.1', '-p', $mqtt->{port}, '-u',
           $user, '-P', 'secret', '-q', 1, $retained ? '-r' : (), '-t',
           $topic, '-m', $payload, @five);
}


# what a line is that a device gets, with any request id for 17

sub pattern {
    my (undef, $topic, $payload, undef, $brackets) = @{ $_[0] };
    my $text = quotemeta join "\t", $topic, $brackets, $payload;

    $text =~ s/\b17\b/(\\d+)/g;

    return qr/^$text$/;
}


sub play {
    my ($heading, $text) = @_;

    my @lines = dialogue($text);
    my $user = user_of($heading, $lines[0][1]);
    my $log = 'device' . ++$serial . '.log';
    my %topics = map { (my $topic = $_->[1]) =~ s/\b17\b/+/; $topic => 1 }
                 grep { $_->[0] eq '<' } @lines;

    # those of MQTT 5 alone want that
    my @five = grep({ $_->[4] ne '' } @lines) ? qw(-V 5 -x 600) : ();
    my @sub = ('mosquitto_sub', '-h', '127.0.0.1', '-p', $mqtt->{port}, '-u',
               $user, '-P', 'secret', '-i', "device-$serial", '-c', '-q', 1,
               @five, map { ('-t', $_) } sort keys %topics);
    my $format = @five ? '%t\t%R %D\t%p' : '%t\t\t%p';

    is(system(@sub, '-E'), 0, "$user subscribes");
    push @sub, '-F', $format;

    my @pids = spawn($log, @sub);

    publish($user, shift @lines, 0) while @lines && $lines[0][0] eq '>';

    push @pids, child(sub {
        my ($seen, %done) = 0;

        for (;;) {
            my @said = split /\n/, text_of($log);

            for my $said (@said[$seen .. $#said]) {
                $seen++;
                answer($user, $said, \%done, @lines);
            }

            select undef, undef, undef, 0.02;
        }
    });

    return { pids => \@pids };
}


# what follows the first line that is this one, and was not yet said

sub answer {
    my ($user, $said, $done, @lines) = @_;

    for my $i (0 .. $#lines) {
        next if $lines[$i][0] ne '<' || $done->{$i};

        my ($id) = $said =~ pattern($lines[$i]) or next;

        $done->{$i} = 1;
        publish($user, $lines[$_], $id)
            for grep { my $k = $_; !grep { $lines[$_][0] eq '<' } $i + 1 .. $k }
                $i + 1 .. $#lines;
        return;
    }

    # where both use one topic it hears itself
    return if grep { $_->[0] eq '>' && $said =~ pattern($_) } @lines;

    file_in('unexpected', "$said\n");
}


sub stop {
    my ($what) = @_;

    reap($_, 'KILL') for @{ $what->{pids} };
}


# --- a device that polls ----------------------------------------------------

# Its commands run beside those of its caller; the request id in what the
# first one prints is the 17 of the next.

sub poll {
    my ($text) = @_;

    my @said = TB::Page::transcript($text, 'device$ ');
    my $pid = child(sub {
        my $own = shell();
        my $id = 17;

        for (@said) {
            my ($command) = @$_;

            $command =~ s/\b17\b/$id/g;
            push @$_, $own->run(local_text($command));
            $id = $1 if $_->[2] =~ /"id":(\d+)/;
        }

        # at once: who waits for the file finds all of it
        file_in('polled.new', join "\n", map { $_->[2] =~ s/\n\z//r } @said);
        rename "$dir/polled.new", "$dir/polled";
    });

    return { pids => [$pid], want => join "\n", map { $_->[1] =~ s/\n\z//r }
                                                  @said };
}


sub polled {
    my ($poller) = @_;

    wait_for { -e "$dir/polled" } 60;
    (my $got = text_of('polled')) =~ s/"id":\d+/"id":17/g;
    is($got, $poller->{want}, 'what the device is told');
    stop($poller);
}


# --- the recipes ------------------------------------------------------------

sub shell {
    my $password = file_in('operator.password', 'operator-secret');
    my $admin = TB::Mqtt::admin() . " --redis redis://127.0.0.1:"
                . "$mqtt->{redis}{port} --redis-user operator"
                . " --redis-password-file $password";
    my $new = TB::Shell->new("cd $dir",
                             "tb-rpc-admin() { $admin \"\$@\"; }",
                             'DEVICE_TOKEN=$(cat token.txt)');

    for ($page->blocks('What all recipes share')) {
        next if $_->{text} !~ /\A\$ /;

        $new->run(local_text($_->[0]))
            for TB::Page::transcript($_->{text}, '$ ');
    }

    return $new;
}


sub commands {
    my ($text) = @_;

    for (TB::Page::transcript($text, '$ ')) {
        my ($command, $want) = @$_;
        my $got = $shell->run(local_text($command));

        s/\n+\z// for $command, $got, $want;
        is($got, $want, "\$ $command")
            or diag(join "\n", map { "--- $_:\n" . text_of($_) }
                    'mosquitto.log', "device$serial.log",
                    $bridge ? "$bridge->{name}.log" : ());
    }
}


sub start_bridge {
    my ($file, $text) = @_;

    my ($name) = $text =~ /^name\s+(\S+)$/m;

    is($file, "$name.conf", "$file is that of a bridge");
    stop($bridge) if $bridge;

    my @broker = $text =~ /^broker\s/m
        ? ('--broker', "mqtts://127.0.0.1:$tls")
        : ('--mqtt-user', 'bridge', '--mqtt-password-file',
           file_in('mqtt.password', "secret\n"));
    my $pid = $mqtt->bridge($name, '--config',
                            file_in($file, local_text($text)), @broker);

    # what is said once, and not retained, is said to who listens
    wait_for { text_of('mosquitto.log') =~ m{ v1/gateway/connect$}m }
        if $text =~ /^gateway\s/m;

    return { pids => [$pid], name => $name };
}


# the last block of a kind is what counts

my %conf = ('nginx.conf' => '', 'nginx.conf, in http' => '');


sub configure {
    my ($file, $text) = @_;

    $conf{$file} = $text if $file;
    $conf{$file} =~ s{thingsboard:8080}{127.0.0.1:$other} if $file;

    return (http => $conf{'nginx.conf, in http'} . "server { listen"
                    . " 127.0.0.1:$other; return 200 'this is ThingsBoard'; }",
            config => 'location /api/rpc/ { tb_rpc v2; }'
                      . $conf{'nginx.conf'});
}


sub block {
    my ($heading, $file, $text) = @_;

    if (exists $conf{$file}) {
        $nginx->configure(configure($file, $text));
        $nginx->reload();

    } elsif ($file =~ m{^/etc/tb-rpc/(.*\.conf)$}) {
        $bridge = start_bridge($1, $text);

    } elsif ($file =~ m{^/etc/tb-rpc/(.*)$}) {
        file_in($1, $text);

    } elsif ($file ne '') {
        like($file, qr{^(?:/etc/mosquitto/acl|mosquitto\.conf|Tasmota
                       |zigbee2mqtt:\ .*|ESPHome:\ .*)$}x, "$file is known");

    } elsif ($text =~ /^[<>] /) {
        stop($device) if $device;
        $device = play($heading, $text);

    } elsif ($text =~ /^device\$ /) {
        $poller = poll($text);

    } elsif ($text =~ /^\$ /) {
        commands($text);

        if ($poller) {
            polled($poller);
            undef $poller;
        }

    } else {
        fail("$heading: not understood: $text");
    }
}


start_broker();
file_in('token.txt', "token-of-a-device\n");
$nginx = TB::Nginx->start(redis_port => $mqtt->{redis}{port}, configure(''));
$shell = shell();

for my $heading (@recipes) {
    note($heading);

    my @blocks = $page->blocks($heading);

    # files first: a bridge reads them
    block($heading, @$_{qw(file text)})
        for grep({ $_->{file} =~ /\.csv$/ } @blocks),
            grep { $_->{file} !~ /\.csv$/ } @blocks;

    ok(scalar grep({ $_->{text} =~ /^\$ .*curl /m } @blocks),
       "$heading: is called");
    is(text_of('unexpected'), '', "$heading: nothing else is said");
    stop($_) for grep { $_ } $device, $bridge;
    undef $_ for $device, $bridge;
}

$nginx->clean();

done_testing();
