# Shared by the scripts of this folder; sourced by bash.

set -euo pipefail

TB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
TB_BUILD=${TB_BUILD:-$TB_ROOT/build}
PATH=$PATH:/usr/sbin:/sbin

# Test::Nginx is unpacked here when it is not installed
TB_PERL=$TB_BUILD/deps/perl
TB_PERL5LIB=$TB_PERL/usr/share/perl5:$TB_PERL/lib/perl5

# the newest nginx source that the package mirror has is unpacked here
TB_NEWEST=$TB_BUILD/newest


say() {
    printf '%s\n' "$*"
}


warn() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}


die() {
    warn "error: $*"
    exit 1
}


have() {
    command -v "$1" > /dev/null 2>&1
}


# copy_checkout HEAD: this checkout as a tar, or if HEAD is not empty the commit

copy_checkout() {
    local head=$1

    cd "$TB_ROOT"

    if [ -n "$head" ]; then
        git archive --format=tar HEAD
    elif [ -e .git ] && have git; then
        git ls-files -z --cached --others --exclude-standard \
            | while IFS= read -r -d '' file; do
                  [ ! -e "$file" ] || printf '%s\0' "$file"
              done \
            | tar -c --null --no-recursion -T -
    else
        tar -c --exclude=./build --exclude=./.git .
    fi
}


# the nginx that the module is for

nginx_binary() {
    if [ -n "${NGINX:-}" ]; then
        say "$NGINX"
    elif have nginx; then
        command -v nginx
    fi
}


# A Redis, else a Valkey, or the one of them that TB_REDIS names.  Debian's
# redis-tools and valkey-tools carry the server's binary under another name.

redis_server() {
    local kind

    if [ -n "${TB_REDIS_SERVER:-}" ]; then
        say "$TB_REDIS_SERVER"
        return
    fi

    for kind in ${TB_REDIS:-redis valkey}; do
        if have $kind-server; then
            command -v $kind-server
            return

        elif have $kind-check-rdb; then
            mkdir -p "$TB_BUILD/bin"
            ln -sfn "$(command -v $kind-check-rdb)" \
                "$TB_BUILD/bin/$kind-server"
            say "$TB_BUILD/bin/$kind-server"
            return
        fi
    done
}


redis_cli() {
    local kind

    for kind in ${TB_REDIS:-redis valkey}; do
        ! command -v $kind-cli || return 0
    done
}


# dies unless the server is one that has functions

check_redis_server() {
    local server=$1 text version

    [ -n "$server" ] || die "there is no redis-server and no valkey-server" \
        "(script/bootstrap)"

    text=$("$server" --version 2>&1) || text=

    case "$text" in
        *[Vv]"alkey server v="*)
            ;;

        *"Redis server v="*)
            version=${text#*v=}
            version=${version%% *}
            [ "${version%%.*}" -ge 7 ] || die "Redis 7.0 or newer is needed," \
                "this is $version ($server); name another one with" \
                "TB_REDIS_SERVER="
            ;;

        *)
            die "$server is no Redis and no Valkey, set TB_REDIS_SERVER"
            ;;
    esac
}


# path of another nginx module that tests load, or nothing

other_module() {
    local dir

    for dir in /usr/lib/nginx/modules \
               "$TB_BUILD/deps/modules/usr/lib/nginx/modules"
    do
        if [ -e "$dir/$1" ]; then
            say "$dir/$1"
            return
        fi
    done
}


# version of the nginx source in a folder

source_version() {
    sed -n 's/^#define NGINX_VERSION *"\(.*\)".*/\1/p' \
        "$1/src/core/nginx.h" 2> /dev/null || true
}


# Options for an apt that looks at Debian's newest packages without touching
# the machine's own settings: its folders are below $TB_BUILD/apt, its mirror
# and its keyring are the ones that the machine already uses.

private_apt_options() {
    local dir=$TB_BUILD/apt uri release list keyring

    IFS='|' read -r _ uri release list < <(
        apt-get indextargets \
            --format '$(LABEL)|$(REPO_URI)|$(RELEASE)|$(SOURCESENTRY)' \
            'Created-By: Packages' | grep '^Debian|') || return 1

    list=${list%:*}
    keyring=$(sed -n \
        -e 's/^[Ss]igned-[Bb]y: *\(\/[^ ]*\).*/Signed-By: \1/p' \
        -e 's/^deb.*\[.*signed-by=\([^] ]*\).*/Signed-By: \1/p' \
        "$list" | sed 1q)

    mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"

    cat > "$dir/newest.sources" << END
Types: deb deb-src
URIs: $uri
Suites: sid
Components: main
$keyring

Types: deb-src
URIs: $uri
Suites: $release stable
Components: main
$keyring
END

    TB_APT=(-o "Dir::State=$dir/state"
            -o "Dir::State::status=/var/lib/dpkg/status"
            -o "Dir::Cache=$dir/cache"
            -o "Dir::Etc::sourcelist=$dir/newest.sources"
            -o "Dir::Etc::sourceparts=/dev/null"
            -o "APT::Sandbox::User=$(id -un)"
            -o "Acquire::Languages=none"
            -o "Acquire::Retries=3")
}


# private_apt apt-get|apt-cache ARGUMENTS...

private_apt() {
    if [ -z "${TB_APT+x}" ]; then
        have apt-get || return 1
        private_apt_options || return 1
        apt-get "${TB_APT[@]}" -q update > "$TB_BUILD/apt/update.log" 2>&1 \
            || return 1
    fi

    "$1" "${TB_APT[@]}" -q "${@:2}"
}


# runs a command that says much; shows it only when the command fails

quietly() {
    local log=$1
    shift

    if ! "$@" > "$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "failed: $* (all of it is in $log)"
    fi
}
