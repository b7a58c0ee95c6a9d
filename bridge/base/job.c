
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A job has a pipe, of which the loop polls one end, as if it were a socket.
 * The thread closes the other one as the last thing that it does, and only
 * then is it joined: so nothing needs to be locked.
 */


#include "job.h"

#include <fcntl.h>


static int  tb_jobs;


static void *
tb_job_thread(void *arg)
{
    tb_job_t  *job = arg;

    job->run(job->data);
    close(job->done);

    return NULL;
}


int
tb_job_start(tb_job_t *job, tb_job_pt run, void *data)
{
    int  fds[2], err;

    if (pipe(fds) == -1) {
        return TB_ERROR;
    }

    (void) fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    (void) fcntl(fds[1], F_SETFD, FD_CLOEXEC);

    job->fd = fds[0];
    job->done = fds[1];
    job->run = run;
    job->data = data;

    /* signals are blocked, and so they are in the thread */

    err = pthread_create(&job->thread, NULL, tb_job_thread, job);

    if (err) {
        close(fds[0]);
        close(fds[1]);
        errno = err;
        return TB_ERROR;
    }

    job->running = 1;
    tb_jobs++;

    return TB_OK;
}


void
tb_job_end(tb_job_t *job)
{
    pthread_join(job->thread, NULL);
    close(job->fd);
    job->running = 0;
    tb_jobs--;
}


int
tb_jobs_running(void)
{
    return tb_jobs;
}
