# An allocation fails while nginx greets Redis: whichever it is, nothing is
# said on a connection that is not in its database.
#
# runs: side by side, 3 s
# not with --redis-cluster: a cluster has no database but 0

use strict;
use warnings;

use Test::More;

use TB::Env qw(scratch file_in);
use TB::Fixture;
use TB::Nginx;

plan skip_all => 'malloc() is not ours here' if $ENV{TB_MODE};

# From connect() to the first write the allocations of the process are
# counted, and that with the number in the file "fail" fails; once.

my $source = file_in('fail.c', <<'_EOC_');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);

static int  armed, left;


void *
malloc(size_t size)
{
    if (armed && --left == 0) {
        armed = 0;
        unlink(FAIL);
        errno = ENOMEM;
        return NULL;
    }

    return __libc_malloc(size);
}


int
connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    int    rc, n, (*next)(int, const struct sockaddr *, socklen_t);
    FILE  *file;

    next = dlsym(RTLD_NEXT, "connect");
    rc = next(fd, sa, len);

    file = fopen(FAIL, "r");

    if (file) {
        if (fscanf(file, "%d", &n) == 1) {
            left = n;
        }

        fclose(file);
        armed = (left > 0);
    }

    errno = EINPROGRESS;

    return rc;
}


ssize_t
writev(int fd, const struct iovec *iov, int n)
{
    ssize_t  (*next)(int, const struct iovec *, int);

    armed = 0;
    next = dlsym(RTLD_NEXT, "writev");

    return next(fd, iov, n);
}
_EOC_

my $fail = scratch() . '/fail';
my $library = scratch() . '/fail.so';

plan skip_all => 'no compiler'
    if system(($ENV{CC} || 'cc') . " -shared -fPIC -O1 -DFAIL='\"$fail\"'"
              . " -o $library $source -ldl 2> " . scratch() . '/cc.log');

redis();
redis()->call('ACL', 'SETUSER', 'nginx', '~tb5:*', '&tb5:*');

my $failed = 0;

for my $n (1 .. 12) {
    file_in('fail', $n);

    local $ENV{TEST_NGINX_LD_PRELOAD} = $library;

    my $nginx = TB::Nginx->start(redis => 'database 5; prefix tb5:;');

    ok($nginx->wait_log(qr/subscription connection to \S+ is ready/),
       "allocation $n fails: connected at last");

    $failed++ if !-e $fail;
    is(redis()->call('DBSIZE'), 0, "allocation $n: nothing in database 0");
    $nginx->clean(qr/\[emerg\].*malloc\(\d+\) failed/);
    $nginx->stop();
}

cmp_ok($failed, '>', 4, "there were $failed of them");
redis()->call('SELECT', 5);
is(redis()->call('HGET', 'tb5:meta', 'shards'), 128, 'all is in database 5');

done_testing();
