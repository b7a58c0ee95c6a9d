# bash completion of tb-rpc-admin.  Made by script/tool-pages.

_tb_rpc_admin() {
    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]}
    local i first='' second='' words=''

    case $last in
        --*file|--config|--key|--redis-c*|--redis-key)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        --strategy)
            words='burst sequential_on_ack sequential_on_response' ;;
        --authority)
            words='TENANT_ADMIN CUSTOMER_USER SYS_ADMIN' ;;
        --alg)
            words='HS256 HS384 HS512 RS256 ES256' ;;
        --status)
            words='QUEUED SENT DELIVERED SUCCESSFUL TIMEOUT EXPIRED FAILED' ;;
    esac

    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        return
    fi

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --config|--redis|--redis-user|--redis-password-file|--redis-sentinel|--redis-sentinel-user|--redis-sentinel-password-file|--redis-ca|--redis-cert|--redis-key|--redis-wait|--prefix|--shards)
                i=$((i + 1)) ;;
            -*)
                ;;
            *)
                if [ -z "$first" ]; then
                    first=${COMP_WORDS[i]}
                elif [ -z "$second" ]; then
                    second=${COMP_WORDS[i]}
                fi ;;
        esac
    done

    if [ -z "$first" ]; then
        words='keygen jwt device shard token api-key user functions call calls record bridge status watch check import'
    else
        [ "$first" != import ] || { first=device; second=import; }

        case "$first${second:+ $second}" in
        jwt) words='make verify' ;;
        device) words='add del show list export import' ;;
        token) words='add del list' ;;
        api-key) words='add del show enable disable list' ;;
        user) words='add passwd list show enable disable del sessions' ;;
        functions) words='load' ;;
        calls) words='list cancel purge' ;;
        record) words='show list delete' ;;
        bridge) words='list' ;;
        esac
        case "$first${second:+ $second}" in
        'keygen') words='' ;;
        'jwt make') words='--key --tenant --customer --user --authority --ttl --alg --sub --issuer' ;;
        'jwt verify') words='--token-file --key --alg --issuer --leeway' ;;
        'device add') words='--tenant --customer --name --strategy --bridge --token --token-file --move' ;;
        'device del') words='--tenant' ;;
        'device show') words='--tenant' ;;
        'device list') words='--tenant --name --customer --bridge --online --limit' ;;
        'device export') words='--tenant --name --customer --bridge' ;;
        'shard') words='' ;;
        'device import') words='--tenant --strategy --bridge --move' ;;
        'token add') words='--token-file --basic --client-id --username --password-file --certificate --fingerprint --label --tenant' ;;
        'token del') words='--token-file --device --tenant' ;;
        'token list') words='--device --tenant' ;;
        'api-key add') words='--tenant --customer --user --authority --expires --label' ;;
        'api-key del') words='--key-file' ;;
        'api-key show') words='--key-file' ;;
        'api-key enable') words='--key-file' ;;
        'api-key disable') words='--key-file' ;;
        'api-key list') words='--tenant' ;;
        'user add') words='--tenant --customer --authority --user --first-name --last-name --disabled --public --password-file --scrypt' ;;
        'user passwd') words='--password-file --scrypt' ;;
        'user list') words='--tenant' ;;
        'user show') words='' ;;
        'user enable') words='' ;;
        'user disable') words='' ;;
        'user del') words='' ;;
        'user sessions') words='--end' ;;
        'functions load') words='' ;;
        'call') words='--tenant --oneway --persistent --wait --retries --timeout --now --url --token-file --api-key-file' ;;
        'calls list') words='--tenant' ;;
        'calls cancel') words='--tenant' ;;
        'calls purge') words='--tenant' ;;
        'record show') words='' ;;
        'record list') words='--tenant --status --limit' ;;
        'record delete') words='' ;;
        'bridge list') words='' ;;
        'status') words='' ;;
        'watch') words='--device --tenant --from --seconds' ;;
        'check') words='--key --alg --issuer --url --token-file --lists --repair --nginx-user --bridge-user --admin-user' ;;
        esac
    fi

    [[ $word != -* ]] || words+=' --help --config --redis --redis-user --redis-password-file --redis-cluster --redis-sentinel --redis-sentinel-user --redis-sentinel-password-file --redis-ca --redis-cert --redis-key --redis-wait --prefix --shards --json'
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")

    if [ ${#COMPREPLY[@]} = 0 ] && [[ $first$second = deviceimport ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -o filenames -F _tb_rpc_admin tb-rpc-admin
