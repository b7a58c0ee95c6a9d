package TB::Chromium;

# A headless Chromium, told what to do by its DevTools protocol.
#
#     plan skip_all => TB::Chromium::missing() if TB::Chromium::missing();
#     my $chromium = TB::Chromium->start();
#     $chromium->screen(390, 844, 'dark');     width, height, light or dark
#     $chromium->load($url);                   waits until it is loaded
#     my $value = $chromium->eval('document.title');
#     $chromium->requests()                    URLs that were asked for, by all
#                                              pages so far
#     $chromium->complaints()                  what it has put on its console
#     $chromium->screenshot('page.png')        in the scratch folder
#
# It ends with the test.

use strict;
use warnings;

use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Time::HiRes qw(time);

use TB::Env qw(scratch file_in scaled);
use TB::Started;

our @ISA = ('TB::Started');

my $json = JSON::PP->new->utf8->allow_nonref;


sub binary {
    my ($path) = grep { -x } map { ("$_/chromium", "$_/chromium-browser",
                                    "$_/google-chrome") }
                 split /:/, $ENV{PATH};

    return $path;
}


sub missing {
    return binary() ? undef
        : 'no chromium: nobody looks at the page (apt-get install chromium)';
}


sub start {
    my ($class) = @_;

    my $self = bless { id => 0, events => [], in => '' }, $class;

    pipe my $read, $self->{to} or die "pipe: $!\n";
    pipe $self->{from}, my $write or die "pipe: $!\n";

    my $pid = fork;
    die "fork: $!\n" if !defined $pid;

    if ($pid == 0) {
        setpgrp;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', scratch() . '/chromium.log';
        open STDERR, '>&', \*STDOUT;

        # it reads 3 and writes 4, which may be these or other files of ours
        POSIX::dup2(fileno $read, 20);
        POSIX::dup2(fileno $write, 21);
        POSIX::dup2(20, 3);
        POSIX::dup2(21, 4);
        { exec binary(), qw(--headless --no-sandbox --disable-gpu
               --remote-debugging-pipe --hide-scrollbars --no-first-run
               --disable-dev-shm-usage --disable-background-networking
               --disable-gpu-watchdog --disable-hang-monitor
               --disable-component-update --disable-sync --no-pings),
               '--user-data-dir=' . scratch() . '/chromium',
               'about:blank' }
        POSIX::_exit(127);
    }

    close $read;
    close $write;
    $self->{to}->autoflush(1);
    $self->started($pid, group => 1);

    my $target = $self->tell('Target.createTarget', url => 'about:blank');

    $self->{session} = $self->tell('Target.attachToTarget', flatten => \1,
                                   targetId => $target->{targetId})->{sessionId};
    $self->tell("$_.enable") for qw(Page Network Runtime Log);

    return $self;
}


# a message that has come, or undef when it is too late

sub message {
    my ($self, $end) = @_;

    my $at;

    while (($at = index $self->{in}, "\0") < 0) {
        my ($bits, $left) = ('', $end - time);

        vec($bits, fileno $self->{from}, 1) = 1;

        return undef if $left <= 0 || !select $bits, undef, undef, $left;

        sysread $self->{from}, $self->{in}, 65536, length $self->{in}
            or die "chromium has gone, see chromium.log\n";
    }

    my $text = substr $self->{in}, 0, $at;

    substr $self->{in}, 0, $at + 1, '';

    return $json->decode($text);
}


sub tell {
    my ($self, $method, %params) = @_;

    my $id = ++$self->{id};
    my $end = time + scaled(60);

    # one that has gone is told of below
    local $SIG{PIPE} = 'IGNORE';

    print { $self->{to} } $json->encode({
        id => $id, method => $method, params => \%params,
        $self->{session} ? (sessionId => $self->{session}) : () }), "\0";

    while (my $m = $self->message($end)) {
        if (($m->{id} || 0) == $id) {
            die "$method: $m->{error}{message}\n" if $m->{error};
            return $m->{result};
        }

        push @{ $self->{events} }, $m;
    }

    die "chromium does not answer: $method\n";
}


# the events of this kind that have come; waits for one more than "seen"

sub wait_event {
    my ($self, $method, $seen) = @_;

    my $end = time + scaled(30);

    while ($seen >= grep { $_->{method} eq $method } @{ $self->{events} }) {
        push @{ $self->{events} }, $self->message($end)
            || die "$method did not come\n";
    }
}


sub count {
    my ($self, $method) = @_;

    return scalar grep { $_->{method} eq $method } @{ $self->{events} };
}


sub load {
    my ($self, $url) = @_;

    my $seen = $self->count('Page.loadEventFired');

    $self->tell('Page.navigate', url => $url);
    $self->wait_event('Page.loadEventFired', $seen);
}


# it loads something by itself

sub reloaded {
    my ($self) = @_;

    $self->wait_event('Page.loadEventFired',
                      $self->count('Page.loadEventFired'));
}


sub screen {
    my ($self, $width, $height, $scheme) = @_;

    $self->tell('Emulation.setDeviceMetricsOverride', width => $width,
                height => $height, deviceScaleFactor => 1,
                mobile => $width < 600 ? \1 : \0);
    $self->tell('Emulation.setEmulatedMedia', features => [
        { name => 'prefers-color-scheme', value => $scheme } ]);
}


# of a page that is there to its end: it may be about to load itself again

sub eval {
    my ($self, $text) = @_;

    my $end = time + scaled(60);

    for (;;) {
        my $result = eval {
            $self->tell('Runtime.evaluate', returnByValue => \1, expression =>
                        "document.readyState == 'complete' ? [$text] : null");
        };

        die $@ if !$result && $@ !~ /context|navigated/i;
        die "$text: $result->{exceptionDetails}{text}\n"
            if $result && $result->{exceptionDetails};

        my $value = $result && $result->{result}{value};

        return $value->[0] if $value;
        die "$text: the page is never there\n" if time > $end;

        select undef, undef, undef, 0.05;
    }
}


sub requests {
    my ($self) = @_;

    return map { $_->{params}{request}{url} }
           grep { $_->{method} eq 'Network.requestWillBeSent' }
           @{ $self->{events} };
}


sub complaints {
    my ($self) = @_;

    return map { $json->encode($_->{params}) }
           grep { $_->{method} =~ /^(?:Runtime\.(?:exceptionThrown
                                    |consoleAPICalled)|Log\.entryAdded)$/x }
           @{ $self->{events} };
}


sub screenshot {
    my ($self, $name) = @_;

    return file_in($name, decode_base64(
        $self->tell('Page.captureScreenshot', captureBeyondViewport => \1)
             ->{data}));
}


1;
