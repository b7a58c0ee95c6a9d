
/*
 * Hashes of passwords: "$scrypt$ln=14,r=8,p=5$<salt>$<key>", salt and key in
 * standard Base64 without padding.  Nothing of a request, for threads.
 */


#ifndef _NGX_HTTP_TB_RPC_LOGIN_HASH_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOGIN_HASH_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_loc_conf.h"


#define NGX_HTTP_TB_RPC_SALT_LEN     16
#define NGX_HTTP_TB_RPC_MAX_SALT     64
#define NGX_HTTP_TB_RPC_HASH_LEN     32
#define NGX_HTTP_TB_RPC_MAX_HASH     255

/* bytes that one computation takes at most */
#define NGX_HTTP_TB_RPC_MAX_SCRYPT   (256 * 1024 * 1024)


typedef struct {
    ngx_http_tb_rpc_scrypt_t         scrypt;
    size_t                           salt_len;
    u_char                           salt[NGX_HTTP_TB_RPC_MAX_SALT];
    u_char                           key[NGX_HTTP_TB_RPC_HASH_LEN];
} ngx_http_tb_rpc_hash_t;


/* what is done with a password in a thread */

typedef struct {
    ngx_http_tb_rpc_scrypt_t         scrypt;        /* of new hashes */
    ngx_http_tb_rpc_hash_t           hash;
    ngx_http_tb_rpc_hash_t           new_hash;
    ngx_str_t                        password;
    ngx_str_t                        new_password;
    ngx_uint_t                       dummy;         /* it can't be right */

    /* what has come of it */
    ngx_uint_t                       failed;
    ngx_uint_t                       match;
    ngx_uint_t                       renewed;
} ngx_http_tb_rpc_work_t;


/* 1: ln is 10 to 20, r 1 to 32, p 1 to 16, and not too much memory */
ngx_uint_t ngx_http_tb_rpc_scrypt_is_good(ngx_http_tb_rpc_scrypt_t *scrypt);

/* NGX_OK, NGX_DECLINED: that is no hash of ours */
ngx_int_t ngx_http_tb_rpc_hash_parse(ngx_http_tb_rpc_hash_t *hash,
    ngx_str_t *text);

/* dst has NGX_HTTP_TB_RPC_MAX_HASH bytes; the end of the text */
u_char *ngx_http_tb_rpc_hash_text(u_char *dst, ngx_http_tb_rpc_hash_t *hash);

/* time goes by that */
uint64_t ngx_http_tb_rpc_scrypt_cost(ngx_http_tb_rpc_scrypt_t *scrypt);

/* NGX_OK, NGX_ERROR: this libcrypto has none */
ngx_int_t ngx_http_tb_rpc_scrypt_is_there(void);

/*
 * Compares the password with the hash, and makes a new hash of one that is
 * right where it is to be another one; takes long
 */
void ngx_http_tb_rpc_hash_work(ngx_http_tb_rpc_work_t *work);


#endif /* _NGX_HTTP_TB_RPC_LOGIN_HASH_H_INCLUDED_ */
