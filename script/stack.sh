# Shared by script/demo and script/cluster: everything of this project in one
# scratch folder, on free ports of the loopback.  Sourced by bash, after
# common.sh.


# sets $nginx, $redis_server, $redis_cli and $admin, or dies

check_tools() {
    local tool

    nginx=$(nginx_binary)
    redis_server=$(redis_server)
    admin=$TB_ROOT/tools/tb-rpc-admin
    export TB_RPC_CONFIG=/dev/null

    check_redis_server "$redis_server"
    redis_cli=$(redis_cli)
    [ -n "$redis_cli" ] || die "there is no redis-cli (script/bootstrap)"

    for tool in mosquitto curl openssl setsid; do
        have $tool || die "there is no $tool (script/bootstrap)"
    done

    "$admin" keygen > /dev/null || die "tb-rpc-admin does not run"
    /usr/bin/python3 -c 'import redis' \
        || die "there is no python3-redis (script/bootstrap)"
}


# a scratch folder, and the end of all that is started

begin() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/tb-rpc-$1.XXXXXX")
    chmod 711 "$scratch"
    mkdir "$scratch/nginx"
    pids=()

    trap stop_all EXIT
    trap 'exit 130' INT TERM
}


stop_all() {
    local i pid

    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2> /dev/null || true
    done

    for pid in ${pids[@]+"${pids[@]}"}; do
        for ((i = 0; i < 100; i++)); do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2> /dev/null || true
    done

    rm -rf "$scratch"
}


fail() {
    local log

    for log in "$scratch"/*.log "$scratch"/nginx/*.log; do
        if [ -s "$log" ]; then
            printf -- '--- end of %s\n' "${log##*/}" >&2
            tail -n 15 "$log" >&2
        fi
    done

    die "$*"
}


# below the ports that the kernel gives to clients, or TB_PORTS="from-to"
ports_from=${TB_PORTS:-20000-31999}
ports_to=${ports_from#*-}
ports_from=${ports_from%-*}
used=" "


# sets $port: nobody listens there

free_port() {
    while :; do
        port=$((ports_from + (RANDOM * 32768 + RANDOM)
                             % (ports_to - ports_from + 1)))

        case "$used" in
            *" $port "*)  continue ;;
        esac

        if ! (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            used="$used$port "
            return
        fi
    done
}


# start NAME COMMAND...: in the background, its output in NAME.log

start() {
    local name=$1
    shift

    (cd "$scratch" && exec setsid "$@") > "$scratch/$name.log" 2>&1 \
        < /dev/null &
    pids+=($!)
    disown $!
}


# wait_for WHAT COMMAND...: up to 15 seconds

wait_for() {
    local what=$1 i
    shift

    for ((i = 0; i < 150; i++)); do
        if "$@" > /dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done

    fail "$what did not come up"
}


listens() {
    (: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}


# call METHOD PATH [BODY]: prints both, leaves $status and $body

call() {
    local method=$1 path=$2 data=()

    if [ $# = 3 ]; then
        data=(-H 'Content-Type: application/json' --data-binary "$3")
    fi

    say
    say "> $method http://127.0.0.1:$http_port$path"
    say "> X-Authorization: Bearer ${token:0:24}..."
    [ $# != 3 ] || say "> $3"
    say

    curl -sS -i --http1.1 --max-time 30 -X "$method" ${data[@]+"${data[@]}"} \
        -H "X-Authorization: Bearer $token" -o "$scratch/answer" \
        "http://127.0.0.1:$http_port$path" \
        || fail "curl got no answer"

    cat "$scratch/answer"
    say

    status=$(sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$scratch/answer")
    body=$(sed -e '1,/^\r*$/d' "$scratch/answer")
}


expect() {
    if [ "$status" != "$1" ] || [ "$body" != "$2" ]; then
        fail "that is wrong: status $1 and body \"$2\" were expected"
    fi
}


# start_broker: mosquitto at $mqtt_port

start_broker() {
    free_port
    mqtt_port=$port

    cat > "$scratch/mosquitto.conf" << END
listener $mqtt_port 127.0.0.1
allow_anonymous true
persistence false
END

    start mosquitto mosquitto -c "$scratch/mosquitto.conf"
    wait_for "the MQTT broker" listens "$mqtt_port"
}


# start_nginx WORKERS SETTINGS: nginx at $http_port, with these in its
# tb_rpc_redis block; where there is a module for stream, devices log in at
# $devices_port, and are attached to the bridge "devices"

start_nginx() {
    local stream= load= module

    free_port
    http_port=$port
    module=$(other_module ngx_stream_module.so)
    devices_port=

    if [ -n "$module" ]; then
        free_port
        devices_port=$port
        load="load_module  $module;
load_module  $TB_BUILD/ngx_stream_tb_mqtt_module.so;"
        stream="stream {
    tb_rpc_redis {
        $2
    }

    server {
        listen         127.0.0.1:$devices_port;
        tb_mqtt        devices;
        proxy_pass     127.0.0.1:$mqtt_port;
        proxy_timeout  24h;
    }
}"
    fi

    "$admin" keygen > "$scratch/jwt.key"
    chmod 600 "$scratch/jwt.key"

    cat > "$scratch/nginx.conf" << END
load_module  $TB_BUILD/ngx_http_tb_rpc_module.so;
$load

daemon            off;
worker_processes  $1;
error_log         error.log info;
pid               nginx.pid;

events {
}

http {
    access_log             access.log;
    client_body_temp_path  body;
    proxy_temp_path        proxy;
    fastcgi_temp_path      fastcgi;
    uwsgi_temp_path        uwsgi;
    scgi_temp_path         scgi;

    tb_rpc_redis {
        $2
    }

    server {
        listen  127.0.0.1:$http_port;

        tb_rpc_jwt_key  $scratch/jwt.key;

        location /api/rpc/ {
            tb_rpc  v2;
        }

        location /api/plugins/rpc/ {
            tb_rpc  v1;
        }
    }
}

$stream
END

    start nginx "$nginx" -p "$scratch/nginx/" -c "$scratch/nginx.conf" \
        -e error.log
    wait_for "nginx" listens "$http_port"
}


# nothing is stopped at the end, and $scratch/stop is what does it

leave_running() {
    trap - EXIT INT TERM

    printf '%s\n' "$token" > "$scratch/token"
    chmod 600 "$scratch/token"
    printf '%s\n' "${pids[@]}" > "$scratch/pids"

    cat > "$scratch/stop" << END
#!/bin/sh
#
# What was started last stops first.  A pid that is somebody else's by now does
# not run in this folder.

here() {
    case "\$(readlink "/proc/\$1/cwd")" in
        '$scratch'|'$scratch'/*)  return 0 ;;
    esac
    return 1
}

for pid in \$(tac '$scratch/pids'); do
    if here "\$pid"; then kill "\$pid"; fi
done

for pid in \$(cat '$scratch/pids'); do
    for i in 1 2 3 4 5 6 7 8 9 10; do
        here "\$pid" || break
        sleep 0.5
    done
    if here "\$pid"; then kill -9 "\$pid"; fi
done

rm -rf '$scratch'
END
    chmod 700 "$scratch/stop"
}
