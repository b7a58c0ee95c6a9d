
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Something that may block, done in a thread of its own.
 */


#ifndef _TB_JOB_H_INCLUDED_
#define _TB_JOB_H_INCLUDED_


#include "base.h"

#include <pthread.h>


typedef void (*tb_job_pt)(void *data);

typedef struct {
    pthread_t    thread;
    tb_job_pt    run;
    void        *data;
    int          fd;               /* has an end of file when it is done */
    int          done;             /* closed by the thread */
    unsigned     running:1;
} tb_job_t;


/*
 * Calls run(data) in a thread.  What it writes is its own until tb_job_end(),
 * and so is what it reads: that must not be changed.  TB_OK, or TB_ERROR with
 * errno: it is not called then.
 */
int tb_job_start(tb_job_t *job, tb_job_pt run, void *data);

/* once job->fd can be read; does not wait then */
void tb_job_end(tb_job_t *job);

/* those that were started and not ended, in the whole process */
int tb_jobs_running(void);


#endif /* _TB_JOB_H_INCLUDED_ */
