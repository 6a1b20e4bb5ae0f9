#!/usr/bin/env bash
# Installs the programs that the demo and the tests run: nats-server, icecast2, ffmpeg, PostgreSQL, promtool (in
# Debian's package prometheus), Alertmanager, ip (iproute2), a library that sets wall clocks (libfaketime) and a C compiler.
# Says nothing where nothing is missing.
set -euo pipefail

# Debian keeps servers in sbin, which is often not on a user's PATH.
PATH="$PATH:/usr/sbin:/usr/local/sbin"

readonly ATTEMPTS=3
readonly PAUSE_SECONDS=5
# How long to wait for another program that is installing packages.
readonly LOCK_SECONDS=120

has() { command -v "$1" >/dev/null; }

has_postgresql() {
    local initdb
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return
    done
    has initdb
}

# A library, not a program: programs with threads load it.
has_libfaketime() {
    local library
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1; do
        [ -e "$library" ] && return
    done
    return 1
}

# Packages that are missing, one a line.
missing() {
    has nats-server || echo nats-server
    has icecast2 || echo icecast2
    has ffmpeg || echo ffmpeg
    has_postgresql || echo postgresql
    has promtool || echo prometheus
    has prometheus-alertmanager || echo prometheus-alertmanager
    # The worker in Python runs in an environment of its own, which needs the module that Debian packs apart.
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf '%s\n' python3 python3-venv
    has openssl || echo openssl
    # The fault suite: network namespaces, and wall clocks that jump.
    has ip || echo iproute2
    has_libfaketime || echo libfaketime
    has cc || printf '%s\n' gcc libc6-dev
}

fail() {
    echo "setup: $1" >&2
    exit 1
}

mapfile -t packages < <(missing)
[ "${#packages[@]}" -gt 0 ] || exit 0
list="${packages[*]}"

has apt-get || fail "missing: $list; there is no apt-get here, so install them with your system's package manager"

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif has sudo && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
    as_root=(sudo)
else
    fail "missing, and there is no root and no sudo to install them: run  apt-get install $list  as root"
fi

root() { "${as_root[@]}" "$@"; }

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
own_policy=no
clean() {
    rm -f "$log"
    if [ "$own_policy" = yes ]; then
        root rm -f "$policy"
    fi
}
trap clean EXIT

apt() {
    root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout="$LOCK_SECONDS" -o Acquire::Retries="$ATTEMPTS" "$@" </dev/null >>"$log" 2>&1
}

attempt() {
    local try
    for ((try = 1; try <= ATTEMPTS; try++)); do
        "$@" && return
        [ "$try" -eq "$ATTEMPTS" ] || sleep "$PAUSE_SECONDS"
    done
    return 1
}

echo "setup: installing $list"
# Debian starts a service as soon as it is installed. Demo and tests start their own, on ports of their own: a file of
# this name that answers 101 forbids the start. One that is there already is somebody's decision and stays.
if [ ! -e "$policy" ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' | root tee "$policy" >/dev/null
    root chmod 755 "$policy"
fi
# A failed update alone is no reason to give up: what is known may suffice.
attempt apt update || true
if ! attempt apt install --no-install-recommends "${packages[@]}"; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install $list; its last words are above"
fi

# Nor shall they start with the machine. What was installed before is not touched.
if has systemctl; then
    now=()
    [ ! -d /run/systemd/system ] || now=(--now)
    for package in "${packages[@]}"; do
        case $package in
        nats-server | icecast2 | postgresql | prometheus | prometheus-alertmanager)
            root systemctl disable "${now[@]}" "$package.service" >>"$log" 2>&1 ||
                echo "setup: could not disable the service $package; it may start with the machine" >&2
            ;;
        esac
    done
fi

mapfile -t packages < <(missing)
[ "${#packages[@]}" -eq 0 ] || fail "still missing after the installation: ${packages[*]}"
