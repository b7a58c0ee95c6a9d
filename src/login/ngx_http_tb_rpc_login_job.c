
/*
 * Passwords are computed in threads of nginx's, a few at a time; others wait in
 * a line, and above that they are refused.
 *
 * A job has a pool of its own: its request may go away while a thread works on
 * it, and so may the worker's configuration where there is no master process.
 * Whoever goes first cuts the tie to the other.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#if (NGX_THREADS)
#include <ngx_thread_pool.h>
#endif

#if (NGX_LINUX)
#include <malloc.h>
#endif

#include <openssl/rand.h>

#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_login.h"
#include "ngx_http_tb_rpc_login_job.h"


/* whatever a thread does, it is not waited for any longer */

#define NGX_HTTP_TB_RPC_LOGIN_PATIENCE  60000   /* ms */

/* far below what scrypt takes, far above what nginx does */

#define NGX_HTTP_TB_RPC_LOGIN_MMAP      (512 * 1024)


struct ngx_http_tb_rpc_logins_s {
    ngx_queue_t                      running;   /* jobs that threads have */
    ngx_queue_t                      waiting;
    ngx_http_tb_rpc_worker_t        *worker;    /* has how many there are */
    ngx_uint_t                       warned;    /* of a costly hash */
    u_char                           salt[NGX_HTTP_TB_RPC_SALT_LEN];
};


struct ngx_http_tb_rpc_job_s {
    ngx_queue_t                      queue;
    ngx_http_tb_rpc_logins_t        *logins;    /* NULL: gone */
    ngx_http_tb_rpc_login_t         *login;     /* the same */
    ngx_pool_t                      *pool;
    ngx_thread_task_t               *task;
    ngx_msec_t                       posted;

    /* the thread's */
    ngx_uint_t                       nice;
    ngx_http_tb_rpc_work_t           work;
};


#if (NGX_THREADS)

static ngx_http_tb_rpc_job_t *ngx_http_tb_rpc_job_create(
    ngx_http_tb_rpc_login_t *login);
static void ngx_http_tb_rpc_job_hash(ngx_http_tb_rpc_job_t *job,
    ngx_http_tb_rpc_login_t *login);
static ngx_int_t ngx_http_tb_rpc_job_password(ngx_http_tb_rpc_job_t *job,
    ngx_str_t *dst, ngx_str_t *src);
static ngx_int_t ngx_http_tb_rpc_job_post(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_job_t *job);
static void ngx_http_tb_rpc_job_thread(void *data, ngx_log_t *log);
static void ngx_http_tb_rpc_job_done(ngx_event_t *ev);
static void ngx_http_tb_rpc_job_next(ngx_http_tb_rpc_worker_t *w);
static ngx_int_t ngx_http_tb_rpc_job_finish(ngx_http_tb_rpc_job_t *job,
    ngx_http_tb_rpc_login_t *login);
static void ngx_http_tb_rpc_job_late(ngx_event_t *ev);
static void ngx_http_tb_rpc_job_free(ngx_http_tb_rpc_job_t *job);

#endif

static ngx_int_t ngx_http_tb_rpc_logins_create(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_logins_close(ngx_http_tb_rpc_worker_t *w);


ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_login_part = {
    ngx_string(""),
    ngx_http_tb_rpc_logins_create,
    NULL,
    NULL,
    ngx_http_tb_rpc_logins_close
};


static ngx_int_t
ngx_http_tb_rpc_logins_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_logins_t  *logins;

    logins = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_logins_t));
    if (logins == NULL) {
        return NGX_ERROR;
    }

    logins->worker = w;

    ngx_queue_init(&logins->running);
    ngx_queue_init(&logins->waiting);

    if (RAND_bytes(logins->salt, sizeof(logins->salt)) != 1) {
        return NGX_ERROR;
    }

#if defined(M_MMAP_THRESHOLD)

    /*
     * What scrypt took goes back to the system.  By itself the first limit
     * grows with what is freed, and the arena of each thread keeps what is
     * below it; the second one would no longer follow.
     */

    if (w->conf->login_threads.tp) {
        (void) mallopt(M_MMAP_THRESHOLD, NGX_HTTP_TB_RPC_LOGIN_MMAP);
        (void) mallopt(M_TRIM_THRESHOLD, 2 * NGX_HTTP_TB_RPC_LOGIN_MMAP);
    }

#endif

    w->logins = logins;

    return NGX_OK;
}


#if (NGX_THREADS)

static void
ngx_http_tb_rpc_logins_close(ngx_http_tb_rpc_worker_t *w)
{
    ngx_queue_t               *q;
    ngx_http_tb_rpc_job_t     *job;
    ngx_http_tb_rpc_logins_t  *logins;

    logins = w->logins;

    /* those without a request: it would have kept the worker */

    for (q = ngx_queue_head(&logins->running);
         q != ngx_queue_sentinel(&logins->running);
         q = ngx_queue_next(q))
    {
        job = ngx_queue_data(q, ngx_http_tb_rpc_job_t, queue);

        job->logins = NULL;
    }
}


ngx_uint_t
ngx_http_tb_rpc_login_is_full(ngx_http_tb_rpc_login_t *login)
{
    ngx_http_tb_rpc_worker_t         *w;
    ngx_http_tb_rpc_login_threads_t  *threads;

    w = login->worker;
    threads = &w->conf->login_threads;

    return w->ncomputing >= threads->max && w->nlined_up >= threads->waiting;
}


ngx_int_t
ngx_http_tb_rpc_login_compute(ngx_http_tb_rpc_login_t *login)
{
    ngx_http_tb_rpc_job_t            *job;
    ngx_http_tb_rpc_worker_t         *w;
    ngx_http_tb_rpc_login_threads_t  *threads;

    if (ngx_http_tb_rpc_login_is_full(login)) {
        return ngx_http_tb_rpc_login_busy(login, NGX_HTTP_TB_RPC_ENDED_BUSY);
    }

    w = login->worker;
    threads = &w->conf->login_threads;

    job = ngx_http_tb_rpc_job_create(login);
    if (job == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (w->ncomputing < threads->max
        && ngx_queue_empty(&w->logins->waiting)
        && ngx_http_tb_rpc_job_post(w, job) == NGX_OK)
    {
        /* void */

    } else if (w->ncomputing && w->nlined_up < threads->waiting) {

        /* the end of what runs lets it go on */

        ngx_queue_insert_tail(&w->logins->waiting, &job->queue);
        w->nlined_up++;

    } else {
        ngx_http_tb_rpc_job_free(job);
        return ngx_http_tb_rpc_login_busy(login, NGX_HTTP_TB_RPC_ENDED_BUSY);
    }

    login->job = job;

    /* it keeps a worker that is to exit, too */

    login->timer.handler = ngx_http_tb_rpc_job_late;
    ngx_add_timer(&login->timer, NGX_HTTP_TB_RPC_LOGIN_PATIENCE);

    return NGX_DONE;
}


static ngx_http_tb_rpc_job_t *
ngx_http_tb_rpc_job_create(ngx_http_tb_rpc_login_t *login)
{
    ngx_pool_t             *pool;
    ngx_thread_task_t      *task;
    ngx_http_tb_rpc_job_t  *job;

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    task = ngx_thread_task_alloc(pool, sizeof(ngx_http_tb_rpc_job_t));
    if (task == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    job = task->ctx;

    ngx_memzero(job, sizeof(ngx_http_tb_rpc_job_t));

    job->task = task;
    job->pool = pool;
    job->login = login;
    job->logins = login->worker->logins;
    job->nice = login->worker->conf->login_threads.nice;

    task->handler = ngx_http_tb_rpc_job_thread;
    task->event.handler = ngx_http_tb_rpc_job_done;
    task->event.data = job;

    ngx_http_tb_rpc_job_hash(job, login);

    if (ngx_http_tb_rpc_job_password(job, &job->work.password,
                                     &login->password)
            != NGX_OK
        || ngx_http_tb_rpc_job_password(job, &job->work.new_password,
                                        &login->new_password)
           != NGX_OK)
    {
        ngx_http_tb_rpc_job_free(job);
        return NULL;
    }

    return job;
}


static void
ngx_http_tb_rpc_job_hash(ngx_http_tb_rpc_job_t *job,
    ngx_http_tb_rpc_login_t *login)
{
    ngx_log_t               *log;
    ngx_http_tb_rpc_work_t  *work;

    log = login->request->connection->log;
    work = &job->work;

    work->scrypt = login->conf->scrypt;

    /* who is disabled gets no better hash either: it would take longer */

    work->dummy = !login->enabled;

    if (ngx_http_tb_rpc_hash_parse(&work->hash, &login->hash) == NGX_OK) {

        if (ngx_http_tb_rpc_scrypt_cost(&work->hash.scrypt)
                > ngx_http_tb_rpc_scrypt_cost(&work->scrypt)
            && !job->logins->warned)
        {
            job->logins->warned = 1;

            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "tb_rpc: the password hash of a user costs more "
                          "than \"tb_rpc_login_scrypt\" says: until that user "
                          "logs in, the time that a wrong password takes "
                          "shows that there is one");
        }

        return;
    }

    if (login->hash.len) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "tb_rpc: the password hash of a user in Redis is not "
                      "valid; set it by \"tb-rpc-admin user passwd\"");
    }

    work->dummy = 1;
    work->hash.scrypt = work->scrypt;
    work->hash.salt_len = NGX_HTTP_TB_RPC_SALT_LEN;
    ngx_memcpy(work->hash.salt, job->logins->salt, NGX_HTTP_TB_RPC_SALT_LEN);
}


static ngx_int_t
ngx_http_tb_rpc_job_password(ngx_http_tb_rpc_job_t *job, ngx_str_t *dst,
    ngx_str_t *src)
{
    if (src->len == 0) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(job->pool, src->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src->data, src->len);
    dst->len = src->len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_job_post(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_job_t *job)
{
    if (ngx_thread_task_post(w->conf->login_threads.tp, job->task) != NGX_OK) {
        return NGX_ERROR;
    }

    job->posted = ngx_current_msec;

    ngx_queue_insert_tail(&w->logins->running, &job->queue);
    w->ncomputing++;

    return NGX_OK;
}


/* nothing but the job is touched there */

static void
ngx_http_tb_rpc_job_thread(void *data, ngx_log_t *log)
{
    ngx_http_tb_rpc_job_t *job = data;

    ngx_http_tb_rpc_login_thread_weaken(job->nice);
    ngx_http_tb_rpc_hash_work(&job->work);
}


/* in the event loop again */

static void
ngx_http_tb_rpc_job_done(ngx_event_t *ev)
{
    ngx_int_t                  rc;
    ngx_http_tb_rpc_job_t     *job;
    ngx_http_tb_rpc_login_t   *login;
    ngx_http_tb_rpc_logins_t  *logins;

    job = ev->data;
    login = job->login;
    logins = job->logins;

    if (logins) {
        ngx_queue_remove(&job->queue);
        logins->worker->ncomputing--;
        ngx_http_tb_rpc_count_ms(logins->worker, password_time,
                                 ngx_current_msec - job->posted);
    }

    if (login) {
        ngx_http_set_log_request(login->request->connection->log,
                                 login->request);

        login->job = NULL;
        ngx_del_timer(&login->timer);

        rc = ngx_http_tb_rpc_job_finish(job, login);

        if (rc != NGX_DONE) {
            ngx_http_tb_rpc_finalize(login->request, rc);
        }
    }

    ngx_http_tb_rpc_job_free(job);

    if (logins) {
        ngx_http_tb_rpc_job_next(logins->worker);
    }
}


/* a pool that is full (of others' tasks, too) takes it when one of ours ends */

static void
ngx_http_tb_rpc_job_next(ngx_http_tb_rpc_worker_t *w)
{
    ngx_queue_t              *q;
    ngx_http_tb_rpc_job_t    *job;
    ngx_http_tb_rpc_login_t  *login;

    while (!ngx_queue_empty(&w->logins->waiting)) {

        q = ngx_queue_head(&w->logins->waiting);
        job = ngx_queue_data(q, ngx_http_tb_rpc_job_t, queue);
        login = job->login;

        if (w->ncomputing >= w->conf->login_threads.max) {
            return;
        }

        ngx_queue_remove(q);
        w->nlined_up--;

        if (ngx_http_tb_rpc_job_post(w, job) == NGX_OK) {
            continue;
        }

        if (w->ncomputing) {
            ngx_queue_insert_head(&w->logins->waiting, q);
            w->nlined_up++;
            return;
        }

        ngx_http_set_log_request(login->request->connection->log,
                                 login->request);

        login->job = NULL;
        ngx_del_timer(&login->timer);

        ngx_http_tb_rpc_job_free(job);

        ngx_http_tb_rpc_finalize(login->request,
                                 ngx_http_tb_rpc_login_busy(login,
                                               NGX_HTTP_TB_RPC_ENDED_BUSY));
    }
}


static ngx_int_t
ngx_http_tb_rpc_job_finish(ngx_http_tb_rpc_job_t *job,
    ngx_http_tb_rpc_login_t *login)
{
    u_char  *p;

    if (job->work.failed) {
        ngx_log_error(NGX_LOG_ERR, login->request->connection->log, 0,
                      "tb_rpc: a password could not be computed, there was no "
                      "memory; see \"tb_rpc_login_scrypt\"");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (job->work.renewed) {
        p = ngx_pnalloc(login->request->pool, NGX_HTTP_TB_RPC_MAX_HASH);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        login->new_hash.data = p;
        login->new_hash.len = ngx_http_tb_rpc_hash_text(p, &job->work.new_hash)
                              - p;
    }

    return ngx_http_tb_rpc_login_computed(login, job->work.match);
}


static void
ngx_http_tb_rpc_job_late(ngx_event_t *ev)
{
    ngx_http_tb_rpc_login_t  *login;

    login = (ngx_http_tb_rpc_login_t *)
                ((u_char *) ev - offsetof(ngx_http_tb_rpc_login_t, timer));

    ngx_http_set_log_request(login->request->connection->log,
                             login->request);

    (void) ngx_http_tb_rpc_login_drop_job(login);

    ngx_http_tb_rpc_finalize(login->request,
                             ngx_http_tb_rpc_login_busy(login,
                                               NGX_HTTP_TB_RPC_ENDED_BUSY));
}


ngx_uint_t
ngx_http_tb_rpc_login_drop_job(ngx_http_tb_rpc_login_t *login)
{
    ngx_http_tb_rpc_job_t  *job;

    job = login->job;

    if (job == NULL) {
        return 0;
    }

    login->job = NULL;
    job->login = NULL;

    if (login->timer.timer_set) {
        ngx_del_timer(&login->timer);
    }

    /* what a thread has is freed when that is done with it */

    if (job->task->event.active) {
        return 1;
    }

    ngx_queue_remove(&job->queue);
    login->worker->nlined_up--;

    ngx_http_tb_rpc_job_free(job);

    return 0;
}


static void
ngx_http_tb_rpc_job_free(ngx_http_tb_rpc_job_t *job)
{
    ngx_http_tb_rpc_work_t  *work;

    work = &job->work;

    if (work->password.len) {
        ngx_explicit_memzero(work->password.data, work->password.len);
    }

    if (work->new_password.len) {
        ngx_explicit_memzero(work->new_password.data, work->new_password.len);
    }

    ngx_destroy_pool(job->pool);
}

#else

/* "nginx -t" does not let it come to these */

static void
ngx_http_tb_rpc_logins_close(ngx_http_tb_rpc_worker_t *w)
{
    return;
}


ngx_uint_t
ngx_http_tb_rpc_login_is_full(ngx_http_tb_rpc_login_t *login)
{
    return 1;
}


ngx_int_t
ngx_http_tb_rpc_login_compute(ngx_http_tb_rpc_login_t *login)
{
    return ngx_http_tb_rpc_login_busy(login, NGX_HTTP_TB_RPC_ENDED_BUSY);
}


ngx_uint_t
ngx_http_tb_rpc_login_drop_job(ngx_http_tb_rpc_login_t *login)
{
    return 0;
}

#endif
