# tb_rpc_login: a minute goes by while passwords are with the threads, in the
# pool's queue or in the line; and a pool that is full of others' tasks.
#
# runs: side by side, 10 s

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;

use TB::Client;
use TB::Env qw(file_in scratch);
use TB::Fixture;
use TB::Login;
use TB::Nginx;

my $BUSY = '503 2 Too many logins at a time';

# In the folder LATE_DIR a file "hold" keeps threads from computing, and says by
# "taken" that one would; "told" keeps one that is ready from taking the next task;
# "late" has the seconds that nginx's clock is ahead. These are system calls, since
# AddressSanitizer asks for the time within malloc().

my $source = file_in('late.c', <<'_EOC_');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char  hold[512], taken[512], told[512], late[512];


__attribute__((constructor)) static void
init(void)
{
    const char  *dir = getenv("LATE_DIR");

    if (dir) {
        snprintf(hold, sizeof(hold), "%s/hold", dir);
        snprintf(taken, sizeof(taken), "%s/taken", dir);
        snprintf(told, sizeof(told), "%s/told", dir);
        snprintf(late, sizeof(late), "%s/late", dir);
    }
}


static int
wait_while(const char *path)
{
    int  n;

    if (syscall(SYS_gettid) == getpid()) {
        return 0;
    }

    for (n = 0; access(path, F_OK) == 0; n++) {
        if (n == 0 && path == hold) {
            close(open(taken, O_CREAT|O_WRONLY, 0644));
        }

        usleep(5000);
    }

    return n;
}


int
EVP_PBE_scrypt(const char *pass, size_t len, const unsigned char *salt,
    size_t salt_len, uint64_t n, uint64_t r, uint64_t p, uint64_t max,
    unsigned char *key, size_t key_len)
{
    int  (*next)(const char *, size_t, const unsigned char *, size_t,
                 uint64_t, uint64_t, uint64_t, uint64_t, unsigned char *,
                 size_t);

    wait_while(hold);
    next = dlsym(RTLD_NEXT, "EVP_PBE_scrypt");

    return next(pass, len, salt, salt_len, n, r, p, max, key, key_len);
}


ssize_t
write(int fd, const void *buf, size_t n)
{
    ssize_t  rc;

    rc = syscall(SYS_write, fd, buf, n);

    if (n == sizeof(uint64_t)) {
        wait_while(told);
    }

    return rc;
}


int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int      fd, rc, err;
    char     buf[16];
    ssize_t  n;

    rc = syscall(SYS_clock_gettime, id, ts);

    if (id == CLOCK_REALTIME || !late[0]) {
        return rc;
    }

    err = errno;
    fd = syscall(SYS_openat, AT_FDCWD, late, O_RDONLY);
    n = 0;

    if (fd >= 0) {
        n = syscall(SYS_read, fd, buf, sizeof(buf) - 1);
        syscall(SYS_close, fd);
    }

    errno = err;

    if (n > 0) {
        buf[n] = '\0';
        ts->tv_sec += atoi(buf);
    }

    return rc;
}
_EOC_

my $library = scratch() . '/late.so';

plan skip_all => 'no compiler'
    if system(($ENV{CC} || 'cc') . " -shared -fPIC -O1 -o $library $source -ldl"
              . ' 2> ' . scratch() . '/cc.log');
plan skip_all => 'valgrind would look at "env", which starts nginx here'
    if ($ENV{TB_MODE} || '') eq 'valgrind';

redis();
user('ann', ln => 10);

my ($name, $dir, $nginx, $http, $token);
my $starts = 0;


sub start {
    my (%opt) = @_;

    $name = 'late' . $starts++;
    $dir = scratch() . "/$name";
    mkdir $dir;

    local $ENV{LATE_DIR} = $dir;
    local $ENV{TEST_NGINX_LD_PRELOAD} =
        join ' ', grep { defined } $ENV{TEST_NGINX_LD_PRELOAD}, $library;

    $nginx = TB::Nginx->start(
        %opt, http => "$opt{http} tb_rpc_login_scrypt ln=10 r=8 p=1;"
                      . ' tb_rpc_login_failures user=1000 address=1000 delay=0;',
        config => 'location /api/auth/ { tb_rpc_login; } ' . ($opt{config} || ''));
    $http = TB::Login->new($nginx);
    $token = $http->login('ann', 'a password')->{token};
}


sub on { file_in("$name/$_[0]", '') }
sub off { unlink "$dir/$_[0]" }


# Everybody is ann: Redis' replies come one after the other, so nginx has seen what
# was asked before when it answers this one.

sub settled {
    my ($name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($http->ask('GET', 'user', undef, $token)->{status}, 200, $name);
}


sub tries {
    return join ' ', map { $_ // '' }
           @{ redis()->call('HMGET', '{tb:user:ann}:tries', 'n', 'open') };
}


# one more, and where it is when this returns

sub login {
    my ($open, $where, $password) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $client = $http->open('POST', 'login', { username => 'ann',
                                                password => $password
                                                            || 'a password' });

    soon { tries() eq " $open" } "$where: it is tried";
    soon { -e "$dir/taken" } 'a thread has it' if $open == 1;
    settled($where);

    return $client;
}


sub later {
    my ($seconds) = @_;

    # at once: half a file is another time
    rename file_in('late.new', $seconds), "$dir/late" or die "late: $!\n";
    $nginx->get('/none');               # it looks at its clock
}


# a minute --------------------------------------------------------------------------

start(main => 'thread_pool logins threads=1 max_queue=10;',
      http => 'tb_rpc_login_threads 2 waiting=3 pool=logins;');

my ($worker) = $nginx->workers();

{
    on('hold');

    my @clients = (login(1, 'with the thread'), login(2, 'in the pool'),
                   login(3, 'in the line', 'wrong'));
    my $leaves = login(4, 'in the line');

    $leaves->leave();
    soon { tries() eq ' 3' } 'one leaves the line';
    later(61);
    login_is($_, $BUSY, 'it is not waited for any longer')
        for TB::Client::answers(10, @clients);
    soon { tries() eq ' ' } 'what was not compared is no failure';
    is($nginx->get('/none')->{status}, 404, 'nginx answers');

    # the thread and the pool still have theirs

    @clients = map { login($_, 'behind them') } 1 .. 3;
    login_is($http->login('ann', 'a password'), $BUSY, 'no more');
    $clients[1]->leave();
    soon { tries() eq ' 2' } 'one leaves';
    off('hold');
    login_is(TB::Login::answered($_), '200 \{"token".*', 'the others log in')
        for @clients[0, 2];
}

# nothing was lost or counted twice

{
    on('hold');

    my @clients = map { login($_, "one of five: $_") } 1 .. 5;

    login_is($http->login('ann', 'a password'), $BUSY, 'five have room');
    off('hold');
    is(join(' ', map { $_->{status} } TB::Client::answers(20, @clients)),
       '200 200 200 200 200', 'as before');
}

# a worker that is to exit, with a password that nobody waits for

{
    on('hold');
    off('taken');

    my $client = login(1, 'with the thread');

    later(122);
    login_is($client->answer(10), $BUSY, 'it is late again');
    is(($nginx->workers())[0], $worker, 'the worker is the same');
    $nginx->reload();
    off('hold');
    ok($nginx->gone($worker), 'it exits');
    is($http->login('ann', 'a password')->{status}, 200, 'the next one is there');
    $nginx->clean();
    $nginx->stop();
}

# a pool that is full of others' tasks ----------------------------------------------

{
    my $upstream = IO::Socket::INET->new(Listen => 5,
                                         LocalAddr => '127.0.0.1')
        or die "listen: $!\n";

    start(main => 'thread_pool both threads=1 max_queue=1;',
          http => 'tb_rpc_login_threads 1 pool=both; tb_rpc_intercept_errors on;'
                  . ' proxy_read_timeout 1h; send_timeout 1h;',
          server => 'error_page 503 @busy;',
          config => 'location @busy { proxy_pass http://127.0.0.1:'
                    . $upstream->sockport() . '; }'
                    . ' location /files/ { alias ' . scratch() . '/files/;'
                    . ' sendfile off; aio threads=both; }');
    ($worker) = $nginx->workers();
    mkdir scratch() . '/files';
    file_in('files/x', 'a file');
    on('hold');

    my $first = login(1, 'with the thread', 'wrong');
    my $file = TB::Client->new($nginx->{port}, TB::Client::text('GET',
                                                                '/files/x'));

    settled('a file is to be read behind it');

    my $second = login(2, 'in the line');

    on('told');
    off('hold');
    is($first->answer()->{status}, 401, 'the first one ends');
    soon { $nginx->count_log(qr/thread pool "both" queue overflow/) }
         'nothing of ours is there to wait for';

    my $held = $upstream->accept();

    # a socket is reset that is closed before all was read
    sysread $held, my $request, 65536;

    later(61);
    off('told');
    is($file->answer()->{body}, 'a file', 'the file is read');
    settled('nginx goes on');
    ok(!$second->answered(), 'the page of the 503 is not there yet');
    print $held "HTTP/1.0 200 OK\r\n\r\nbusy";
    close $held;
    is($second->answer()->{body}, 'busy', 'now it is');
    is($http->login('ann', 'a password')->{status}, 200, 'there is room again');
    is(($nginx->workers())[0], $worker, 'the worker is the same');
    # newer nginx do not wait for a thread for more than a minute of this clock
    $nginx->clean(qr/thread pool "both" queue overflow|thread operation took/);
    $nginx->stop();
}

done_testing();
