
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

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_login_job.h"


/* whatever a thread does, it is not waited for any longer */

#define NGX_HTTP_TB_RPC_LOGIN_PATIENCE  60000   /* ms */


struct ngx_http_tb_rpc_logins_s {
    ngx_queue_t                      running;   /* jobs that threads have */
    ngx_queue_t                      waiting;
    ngx_uint_t                       nrunning;
    ngx_uint_t                       nwaiting;
    u_char                           salt[NGX_HTTP_TB_RPC_SALT_LEN];
};


struct ngx_http_tb_rpc_job_s {
    ngx_queue_t                      queue;
    ngx_http_tb_rpc_logins_t        *logins;    /* NULL: gone */
    ngx_http_tb_rpc_login_t         *login;     /* the same */
    ngx_pool_t                      *pool;
    ngx_thread_task_t               *task;

    /* for the thread */
    ngx_http_tb_rpc_scrypt_t         scrypt;    /* of new hashes */
    ngx_http_tb_rpc_hash_t           hash;
    ngx_http_tb_rpc_hash_t           new_hash;
    ngx_str_t                        password;
    ngx_str_t                        new_password;
    ngx_uint_t                       dummy;     /* it can't be right */
    ngx_uint_t                       nice;

    /* by the thread */
    ngx_uint_t                       failed;
    ngx_uint_t                       match;
    ngx_uint_t                       renewed;
};


#if (NGX_THREADS)

static ngx_http_tb_rpc_job_t *ngx_http_tb_rpc_job_create(
    ngx_http_tb_rpc_login_t *login);
static ngx_int_t ngx_http_tb_rpc_job_password(ngx_http_tb_rpc_job_t *job,
    ngx_str_t *dst, ngx_str_t *src);
static ngx_int_t ngx_http_tb_rpc_job_post(ngx_http_tb_rpc_logins_t *logins,
    ngx_http_tb_rpc_job_t *job);
static void ngx_http_tb_rpc_job_thread(void *data, ngx_log_t *log);
static void ngx_http_tb_rpc_job_nice(ngx_http_tb_rpc_job_t *job);
static ngx_int_t ngx_http_tb_rpc_job_renew(ngx_http_tb_rpc_job_t *job,
    ngx_str_t *password);
static void ngx_http_tb_rpc_job_done(ngx_event_t *ev);
static void ngx_http_tb_rpc_job_next(ngx_http_tb_rpc_logins_t *logins);
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

    ngx_queue_init(&logins->running);
    ngx_queue_init(&logins->waiting);

    if (RAND_bytes(logins->salt, sizeof(logins->salt)) != 1) {
        return NGX_ERROR;
    }

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
    ngx_http_tb_rpc_logins_t         *logins;
    ngx_http_tb_rpc_login_threads_t  *threads;

    logins = login->worker->logins;
    threads = &login->worker->conf->login_threads;

    return logins->nrunning >= threads->max
           && logins->nwaiting >= threads->waiting;
}


ngx_int_t
ngx_http_tb_rpc_login_compute(ngx_http_tb_rpc_login_t *login)
{
    ngx_http_tb_rpc_job_t     *job;
    ngx_http_tb_rpc_logins_t  *logins;

    if (ngx_http_tb_rpc_login_is_full(login)) {
        return ngx_http_tb_rpc_login_busy(login);
    }

    logins = login->worker->logins;

    job = ngx_http_tb_rpc_job_create(login);
    if (job == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (logins->nrunning < login->worker->conf->login_threads.max) {

        if (ngx_http_tb_rpc_job_post(logins, job) != NGX_OK) {
            ngx_http_tb_rpc_job_free(job);
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

    } else {
        ngx_queue_insert_tail(&logins->waiting, &job->queue);
        logins->nwaiting++;
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
    job->scrypt = login->conf->scrypt;
    job->nice = login->worker->conf->login_threads.nice;

    task->handler = ngx_http_tb_rpc_job_thread;
    task->event.handler = ngx_http_tb_rpc_job_done;
    task->event.data = job;

    if (ngx_http_tb_rpc_hash_parse(&job->hash, &login->hash) != NGX_OK) {

        if (login->hash.len) {
            ngx_log_error(NGX_LOG_ERR, login->request->connection->log, 0,
                          "tb_rpc: the password hash of a user in Redis is "
                          "not valid; set it by \"tb-rpc-admin user passwd\"");
        }

        job->dummy = 1;
        job->hash.scrypt = job->scrypt;
        job->hash.salt_len = NGX_HTTP_TB_RPC_SALT_LEN;
        ngx_memcpy(job->hash.salt, job->logins->salt,
                   NGX_HTTP_TB_RPC_SALT_LEN);
    }

    if (ngx_http_tb_rpc_job_password(job, &job->password, &login->password)
            != NGX_OK
        || ngx_http_tb_rpc_job_password(job, &job->new_password,
                                        &login->new_password)
           != NGX_OK)
    {
        ngx_http_tb_rpc_job_free(job);
        return NULL;
    }

    return job;
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
ngx_http_tb_rpc_job_post(ngx_http_tb_rpc_logins_t *logins,
    ngx_http_tb_rpc_job_t *job)
{
    ngx_str_t          *name;
    ngx_thread_pool_t  *tp;

    name = &job->login->worker->conf->login_threads.pool;

    tp = ngx_thread_pool_get((ngx_cycle_t *) ngx_cycle, name);

    if (tp == NULL) {
        ngx_log_error(NGX_LOG_ERR, job->login->request->connection->log, 0,
                      "thread pool \"%V\" not found", name);
        return NGX_ERROR;
    }

    if (ngx_thread_task_post(tp, job->task) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_queue_insert_tail(&logins->running, &job->queue);
    logins->nrunning++;

    return NGX_OK;
}


/*
 * In a thread: nothing but the job is touched.  Every password that is wrong
 * costs the same, whatever the hash; one that is right may cost more.
 */

static void
ngx_http_tb_rpc_job_thread(void *data, ngx_log_t *log)
{
    ngx_http_tb_rpc_job_t *job = data;

    u_char  key[NGX_HTTP_TB_RPC_HASH_LEN];

    ngx_http_tb_rpc_job_nice(job);

    if (ngx_http_tb_rpc_hash_compute(&job->hash, job->password.data,
                                     job->password.len, key)
        != NGX_OK)
    {
        job->failed = 1;
        return;
    }

    job->match = CRYPTO_memcmp(key, job->hash.key, sizeof(key)) == 0
                 && !job->dummy;

    if (!job->match) {

        if (ngx_http_tb_rpc_hash_waste(&job->scrypt, &job->hash.scrypt)
            != NGX_OK)
        {
            job->failed = 1;
        }

        return;
    }

    if (job->new_password.len) {

        if (ngx_http_tb_rpc_job_renew(job, &job->new_password) != NGX_OK) {
            job->failed = 1;
        }

        return;
    }

    /* a login does not fail for want of a better hash */

    if (job->hash.scrypt.ln != job->scrypt.ln
        || job->hash.scrypt.r != job->scrypt.r
        || job->hash.scrypt.p != job->scrypt.p)
    {
        (void) ngx_http_tb_rpc_job_renew(job, &job->password);
    }
}


/*
 * The event loop comes first.  Linux has a priority for each thread; nobody but
 * root could take it back, so the thread keeps it.
 */

static void
ngx_http_tb_rpc_job_nice(ngx_http_tb_rpc_job_t *job)
{
#if (NGX_LINUX)

    if (getpriority(PRIO_PROCESS, 0) < (int) job->nice) {
        (void) setpriority(PRIO_PROCESS, 0, (int) job->nice);
    }

#endif
}


static ngx_int_t
ngx_http_tb_rpc_job_renew(ngx_http_tb_rpc_job_t *job, ngx_str_t *password)
{
    ngx_http_tb_rpc_hash_t  *hash;

    hash = &job->new_hash;

    hash->scrypt = job->scrypt;
    hash->salt_len = NGX_HTTP_TB_RPC_SALT_LEN;

    if (RAND_bytes(hash->salt, NGX_HTTP_TB_RPC_SALT_LEN) != 1
        || ngx_http_tb_rpc_hash_compute(hash, password->data, password->len,
                                        hash->key)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    job->renewed = 1;

    return NGX_OK;
}


/* in the event loop again */

static void
ngx_http_tb_rpc_job_done(ngx_event_t *ev)
{
    ngx_int_t                 rc;
    ngx_http_tb_rpc_job_t    *job;
    ngx_http_tb_rpc_login_t  *login;

    job = ev->data;
    login = job->login;

    if (job->logins) {
        ngx_queue_remove(&job->queue);
        job->logins->nrunning--;

        ngx_http_tb_rpc_job_next(job->logins);
    }

    if (login == NULL) {
        ngx_http_tb_rpc_job_free(job);
        return;
    }

    ngx_http_set_log_request(login->request->connection->log,
                             login->request);

    login->job = NULL;
    ngx_del_timer(&login->timer);

    rc = ngx_http_tb_rpc_job_finish(job, login);

    ngx_http_tb_rpc_job_free(job);

    if (rc != NGX_DONE) {
        ngx_http_tb_rpc_finalize(login->request, rc);
    }
}


static void
ngx_http_tb_rpc_job_next(ngx_http_tb_rpc_logins_t *logins)
{
    ngx_queue_t              *q;
    ngx_http_tb_rpc_job_t    *job;
    ngx_http_tb_rpc_login_t  *login;

    while (!ngx_queue_empty(&logins->waiting)) {

        q = ngx_queue_head(&logins->waiting);
        job = ngx_queue_data(q, ngx_http_tb_rpc_job_t, queue);

        ngx_queue_remove(q);
        logins->nwaiting--;

        if (ngx_http_tb_rpc_job_post(logins, job) == NGX_OK) {
            return;
        }

        login = job->login;
        login->job = NULL;

        ngx_http_tb_rpc_job_free(job);
        ngx_http_tb_rpc_finalize(login->request,
                                 NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


static ngx_int_t
ngx_http_tb_rpc_job_finish(ngx_http_tb_rpc_job_t *job,
    ngx_http_tb_rpc_login_t *login)
{
    u_char  *p;

    if (job->failed) {
        ngx_log_error(NGX_LOG_ERR, login->request->connection->log, 0,
                      "tb_rpc: no memory to compute a password, see "
                      "\"tb_rpc_login_scrypt\"");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (job->renewed) {
        p = ngx_pnalloc(login->request->pool, NGX_HTTP_TB_RPC_MAX_HASH);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        login->new_hash.data = p;
        login->new_hash.len = ngx_http_tb_rpc_hash_text(p, &job->new_hash) - p;
    }

    return ngx_http_tb_rpc_login_computed(login, job->match);
}


static void
ngx_http_tb_rpc_job_late(ngx_event_t *ev)
{
    ngx_http_tb_rpc_login_t  *login;

    login = (ngx_http_tb_rpc_login_t *)
                ((u_char *) ev - offsetof(ngx_http_tb_rpc_login_t, timer));

    ngx_http_set_log_request(login->request->connection->log,
                             login->request);

    ngx_http_tb_rpc_login_drop_job(login);

    ngx_http_tb_rpc_finalize(login->request,
                             ngx_http_tb_rpc_login_busy(login));
}


void
ngx_http_tb_rpc_login_drop_job(ngx_http_tb_rpc_login_t *login)
{
    ngx_http_tb_rpc_job_t  *job;

    job = login->job;

    login->job = NULL;
    job->login = NULL;

    if (login->timer.timer_set) {
        ngx_del_timer(&login->timer);
    }

    /* what a thread has is freed when that is done with it */

    if (job->task->event.active) {
        return;
    }

    ngx_queue_remove(&job->queue);
    job->logins->nwaiting--;

    ngx_http_tb_rpc_job_free(job);
}


static void
ngx_http_tb_rpc_job_free(ngx_http_tb_rpc_job_t *job)
{
    if (job->password.len) {
        ngx_explicit_memzero(job->password.data, job->password.len);
    }

    if (job->new_password.len) {
        ngx_explicit_memzero(job->new_password.data, job->new_password.len);
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
    return ngx_http_tb_rpc_login_busy(login);
}


void
ngx_http_tb_rpc_login_drop_job(ngx_http_tb_rpc_login_t *login)
{
    return;
}

#endif
