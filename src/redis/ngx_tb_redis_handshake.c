
/*
 * What is said first on each connection, whatever its role.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


#define NGX_TB_REDIS_VERSION_MIN  7
#define NGX_TB_REDIS_VERSION_LEN  32
#define NGX_TB_REDIS_MODE         16


static ngx_int_t ngx_tb_redis_handshake_auth(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_handshake_send(ngx_tb_redis_conn_t *conn,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler);
static void ngx_tb_redis_handshake_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_tb_redis_handshake_lenient(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_tb_redis_handshake_role(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_tb_redis_handshake_info(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_tb_redis_handshake_mode(ngx_tb_redis_conn_t *conn,
    ngx_str_t *info);
static void ngx_tb_redis_handshake_last(void *data, ngx_uint_t status,
    redisReply *reply);


/*
 * All in one write; PING comes last since a Redis that loads its data or
 * lost its master accepts the others.
 */

void
ngx_tb_redis_handshake(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t               argv[3];
    ngx_tb_redis_conf_t    *conf;
    ngx_tb_redis_client_t  *client;

    client = conn->node->state->client;
    conf = conn->node->conf;

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_HANDSHAKE,
                             ngx_max(conf->connect_timeout,
                                     conf->command_timeout));

    if (ngx_tb_redis_handshake_auth(conn) != NGX_OK) {
        return;
    }

    if (client->name.len) {
        ngx_str_set(&argv[0], "CLIENT");
        ngx_str_set(&argv[1], "SETNAME");
        argv[2] = client->name;

        if (ngx_tb_redis_handshake_send(conn, argv, 3,
                                        ngx_tb_redis_handshake_lenient)
            != NGX_OK)
        {
            return;
        }
    }

    if (conn->role->greet(conn) != NGX_OK) {
        return;
    }

    ngx_str_set(&argv[0], "PING");

    (void) ngx_tb_redis_handshake_send(conn, argv, 1,
                                       ngx_tb_redis_handshake_last);
}


static ngx_int_t
ngx_tb_redis_handshake_auth(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t   argv[3], username, password;
    ngx_uint_t  n;

    conn->role->login(conn->node->conf, &username, &password);

    if (username.len == 0 && password.len == 0) {
        return NGX_OK;
    }

    ngx_str_set(&argv[0], "AUTH");
    n = 1;

    if (username.len) {
        argv[n++] = username;
    }

    argv[n++] = password;

    return ngx_tb_redis_handshake_send(conn, argv, n,
                                       ngx_tb_redis_handshake_reply);
}


void
ngx_tb_redis_login(ngx_tb_redis_conf_t *conf, ngx_str_t *username,
    ngx_str_t *password)
{
    *username = conf->username;
    *password = conf->password;
}


ngx_int_t
ngx_tb_redis_greet(ngx_tb_redis_conn_t *conn)
{
    u_char                db[NGX_INT_T_LEN];
    ngx_str_t             argv[2];
    ngx_tb_redis_conf_t  *conf;

    conf = conn->node->conf;

    if (conf->database && conf->database != NGX_CONF_UNSET_UINT) {
        ngx_str_set(&argv[0], "SELECT");
        argv[1].data = db;
        argv[1].len = ngx_sprintf(db, "%ui", conf->database) - db;

        if (ngx_tb_redis_handshake_send(conn, argv, 2,
                                        ngx_tb_redis_handshake_reply)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (conf->sentinel.len) {
        ngx_str_set(&argv[0], "ROLE");

        if (ngx_tb_redis_handshake_send(conn, argv, 1,
                                        ngx_tb_redis_handshake_role)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ngx_str_set(&argv[0], "INFO");
    ngx_str_set(&argv[1], "server");

    return ngx_tb_redis_handshake_send(conn, argv, 2,
                                       ngx_tb_redis_handshake_info);
}


static ngx_int_t
ngx_tb_redis_handshake_send(ngx_tb_redis_conn_t *conn, ngx_str_t *argv,
    ngx_uint_t argc, ngx_tb_redis_reply_pt handler)
{
    ngx_tb_redis_command_t  *cmd;

    cmd = ngx_tb_redis_conn_say(conn, argv, argc, handler);

    if (cmd == NULL) {
        /* without AUTH or SELECT the rest would go elsewhere */

        ngx_tb_redis_conn_fail(conn, 0, "no memory");
        return NGX_ERROR;
    }

    cmd->secret = 1;

    return NGX_OK;
}


static void
ngx_tb_redis_handshake_reply(void *data, ngx_uint_t status, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_conn_fail_reply(data, "refused", reply);
    }
}


/* an ACL or a proxy may not allow this command, we do without it */

static void
ngx_tb_redis_handshake_lenient(void *data, ngx_uint_t status,
    redisReply *reply)
{
    if (ngx_tb_redis_reply_is_error(reply, "NOPERM")
        || ngx_tb_redis_reply_is_error(reply, "ERR unknown"))
    {
        return;
    }

    ngx_tb_redis_handshake_reply(data, status, reply);
}


/* refuses who says that it is no master, whatever a sentinel believes */

static void
ngx_tb_redis_handshake_role(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t  *conn = data;

    ngx_str_t  role;

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_conn_fail_reply(conn, "ROLE refused", reply);
        return;
    }

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &role)
        != NGX_OK
        || role.len != sizeof("master") - 1
        || ngx_strncmp(role.data, "master", role.len) != 0)
    {
        ngx_tb_redis_conn_fail(conn, 0, "it is a replica, and not the master "
                               "that a sentinel takes it for");
    }
}


/* who it is, and whether it is new enough for functions */

static void
ngx_tb_redis_handshake_info(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t  *conn = data;

    u_char     *dot;
    ngx_int_t   major;
    ngx_str_t   info, value;

    if (ngx_tb_redis_reply_str(reply, &info) != NGX_OK) {
        ngx_tb_redis_handshake_lenient(conn, status, reply);
        return;
    }

    if (ngx_tb_redis_info_value(&info, "run_id:", NGX_TB_REDIS_RUN_ID, &value)
        == NGX_OK)
    {
        ngx_memcpy(conn->run_id_buf, value.data, value.len);
        conn->run_id.len = value.len;
    }

    if (ngx_tb_redis_handshake_mode(conn, &info) != NGX_OK) {
        return;
    }

    if (ngx_tb_redis_info_value(&info, "redis_version:",
                                NGX_TB_REDIS_VERSION_LEN, &value)
        != NGX_OK)
    {
        return;
    }

    dot = ngx_strlchr(value.data, value.data + value.len, '.');

    major = dot ? ngx_atoi(value.data, dot - value.data) : NGX_ERROR;

    if (major != NGX_ERROR && major < NGX_TB_REDIS_VERSION_MIN) {
        ngx_tb_redis_conn_fail(conn, 0, "Redis %d.0 or newer is needed, "
                               "this is %V", NGX_TB_REDIS_VERSION_MIN,
                               &value);
    }
}


/* a node of a cluster would take but some of the keys */

static ngx_int_t
ngx_tb_redis_handshake_mode(ngx_tb_redis_conn_t *conn, ngx_str_t *info)
{
    ngx_str_t   value;
    ngx_uint_t  cluster;

    if (ngx_tb_redis_info_value(info, "redis_mode:", NGX_TB_REDIS_MODE, &value)
        != NGX_OK
        && ngx_tb_redis_info_value(info, "server_mode:", NGX_TB_REDIS_MODE,
                                   &value)
           != NGX_OK)
    {
        return NGX_OK;
    }

    cluster = (value.len == sizeof("cluster") - 1
               && ngx_strncmp(value.data, "cluster", value.len) == 0);

    if (cluster == (ngx_uint_t) conn->node->conf->cluster) {
        return NGX_OK;
    }

    ngx_tb_redis_conn_fail(conn, 0, cluster
                           ? "it is a node of a cluster, which needs "
                             "\"cluster on\""
                           : "it is no node of a cluster, but \"cluster\" is "
                             "\"on\"");

    return NGX_DECLINED;
}


static void
ngx_tb_redis_handshake_last(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t  *conn = data;

    ngx_tb_redis_handshake_lenient(conn, status, reply);

    if (conn->connection == NULL) {
        return;
    }

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_SETTING_UP,
                             10 * conn->node->conf->command_timeout);

    conn->role->established(conn);
}
