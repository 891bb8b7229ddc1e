# What the scripts of this folder share; sourced by each, which then defines
#
#   home             where in the cache the server is kept
#   fetch TMPDIR     fills a directory that then becomes $home
#   configure DIR    chooses ports, writes DIR/env (KEY=VALUE lines) and what else the server wants
#   command_of DIR   sets the array `server`: the command that runs it
#   ready DIR        whether it answers
#
# and ends with `main "$@"`.
# shellcheck shell=bash
#
# A server's directory DIR holds its data, `server.log`, `env` (the KEY=VALUE lines that `start`
# prints) and `process` (pid and start time, so that a recycled pid is never taken for ours).

name=$(basename "$0")
cache=${KAPPA_CACHE:-${HOME}/.cache/kappa}
home=''
server=()

say() { echo "${name}: $*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

# When a process began, in ticks since boot: with its pid that names it for good.
# The command's name, in parentheses, may hold anything, so count the fields behind it.
process_start() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    awk '{print $20}' <<<"${stat##*) }"
}

# The pid of DIR's server, if that very process still runs.
pid_of() {
    local pid started
    { read -r pid started <"$1/process"; } 2>/dev/null || return 1
    runs "${pid}" "${started}" || return 1
    echo "${pid}"
}

# runs PID START: by one look. With two, one that had ended and whose exit status was asked for in
# between counted as running, and `start` left it at that.
runs() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[19]} == "$2" && ${fields[0]} != Z ]]
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A free port below the ephemeral range (32768 up): no outgoing connection can take it while the
# server is down between a stop and a start on the same directory.
free_port() {
    local port
    while :; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        listening "${port}" || break
    done
    echo "${port}"
}

# http_status PORT PATH [METHOD]: of a request without a body to 127.0.0.1, without needing curl.
http_status() {
    local port=$1 path=$2 method=${3-GET} status
    {
        exec 3<>"/dev/tcp/127.0.0.1/${port}" || return 1
        printf '%s %s HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n' \
            "${method}" "${path}" >&3
        read -r -t 5 _ status _ <&3
    } 2>/dev/null
    echo "${status}"
}
answers() { [[ $(http_status "$1" "$2") == 200 ]]; }

# launch DIR COMMAND…: runs it in the background in a session of its own (a Ctrl-C meant for a test
# does not reach it), its output appended to DIR/server.log. Whoever sets KAPPA_SERVERS_STARTED to a
# file finds all processes there and can end those that are left: `sweep`.
launch() {
    local dir=$1
    shift
    setsid nohup "$@" >>"${dir}/server.log" 2>&1 </dev/null &
    echo "$! $(process_start $!)" >"${dir}/process"
    [[ -z ${KAPPA_SERVERS_STARTED-} ]] || cat "${dir}/process" >>"${KAPPA_SERVERS_STARTED}"
    disown
}

# await DIR SECONDS COMMAND…: until COMMAND succeeds; 1 when the server ends or time is up.
await() {
    local dir=$1 end=$((SECONDS + $2))
    shift 2
    until "$@"; do
        pid_of "${dir}" >/dev/null || return 1
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
    # It may be another one that answered.
    pid_of "${dir}" >/dev/null
}

# stop_server DIR [-9]: ends the process that `start` recorded, and no other.
stop_server() {
    local dir=$1 signal=${2:--15} pid i
    pid=$(pid_of "${dir}") || return 0
    kill "${signal}" "${pid}" 2>/dev/null || true
    [[ ${signal} == -9 ]] || kill -CONT "${pid}" 2>/dev/null || true
    for ((i = 0; i < 300; i++)); do
        pid_of "${dir}" >/dev/null || return 0
        sleep 0.1
    done
    say "pid ${pid} did not end within 30 s of signal ${signal}: killing it"
    kill -9 "${pid}" 2>/dev/null || true
}

# signal_server DIR SIGNAL
signal_server() {
    local pid
    pid=$(pid_of "$1") || fail "no server runs in $1"
    kill "-$2" "${pid}"
}

# start DIR: starts the server, or finds it running, and prints DIR/env and its pid.
start() {
    local dir fresh='' attempt
    once "${home}" fetch
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    if ! pid_of "${dir}" >/dev/null; then
        [[ -f ${dir}/env ]] || fresh=1
        for attempt in 1 2 3; do
            # Another server may be quicker to take a port that was free; only a port that nobody
            # knows yet may then be changed.
            if [[ -n ${fresh} ]]; then
                rm -rf "${dir}/data"
                configure "${dir}"
            fi
            : >"${dir}/server.log"
            command_of "${dir}"
            launch "${dir}" "${server[@]}"
            if await "${dir}" 60 ready "${dir}"; then break; fi
            tail -n 20 "${dir}/server.log" >&2
            stop_server "${dir}" -9
            [[ -n ${fresh} && ${attempt} != 3 ]] || fail "did not start in ${dir}, see server.log"
        done
    fi
    cat "${dir}/env"
    echo "PID=$(pid_of "${dir}")"
}

# value_of DIR KEY: from DIR/env.
value_of() { sed -n "s/^$2=//p" "$1/env"; }

# Prints the comment that opens the script.
usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0" >&2
    exit 2
}

main() {
    local command=${1-}
    shift || usage
    case ${command} in
        fetch) once "${home}" fetch ;;
        start) start "${1:?DIR is missing}" ;;
        stop)
            if [[ ${1-} == -9 ]]; then
                stop_server "${2:?DIR is missing}" -9
            else
                stop_server "${1:?DIR is missing}"
            fi
            ;;
        pause) signal_server "${1:?DIR is missing}" STOP ;;
        continue) signal_server "${1:?DIR is missing}" CONT ;;
        run) run_foreground "${1-}" ;;
        *) usage ;;
    esac
}

# run_foreground [DIR]: starts it, waits for Ctrl-C (or for the server to end), stops it.
run_foreground() {
    local dir=${1-} temporary=''
    if [[ -z ${dir} ]]; then
        dir=$(mktemp -d)
        temporary=${dir}
    fi
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "trap '' INT TERM; echo; say stopping; stop_server '${dir}'; rm -rf '${temporary}'" EXIT
    trap 'exit 0' INT TERM
    start "${dir}"
    say "running; its data and server.log are in ${dir}; Ctrl-C ends it"
    while pid_of "${dir}" >/dev/null; do sleep 0.5; done
    say "the server ended by itself; its last words:"
    tail -n 20 "${dir}/server.log" >&2
    exit 1
}

# once TARGET FUNCTION: calls FUNCTION TMPDIR to fill a directory, which then becomes TARGET;
# nothing when TARGET exists. Several at once do it once.
once() {
    local target=$1 build=$2 tmp start
    [[ ! -d ${target} ]] || return 0
    mkdir -p "${cache}"
    exec 9>"${target}.lock"
    flock 9
    if [[ ! -d ${target} ]]; then
        start=${SECONDS}
        tmp=$(mktemp -d "${target}.XXXXXX")
        if ! ("${build}" "${tmp}"); then
            rm -rf "${tmp}"
            fail "could not be fetched"
        fi
        chmod 755 "${tmp}"
        mv -T "${tmp}" "${target}"
        say "fetched in $((SECONDS - start)) s: ${target}"
    fi
    exec 9>&-
    rm -f "${target}.lock"
}

# quietly COMMAND…: its output only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"${log}" 2>&1; then
        tail -n 30 "${log}" >&2
        rm -f "${log}"
        return 1
    fi
    rm -f "${log}"
}
