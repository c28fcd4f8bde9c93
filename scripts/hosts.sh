#!/usr/bin/env bash
# Hosts for trying `pygmy deploy` on one machine: each has a network, a host name, an /etc, an /opt and a /var/tmp of its own,
# and sshd on port 22. They see one another and this machine at 10.77.0.1, and nothing else.
#
#   scripts/hosts.sh up N [DIR]    makes host1 (10.77.0.11) .. hostN, N up to 80; prints how ssh gets there
#   scripts/hosts.sh down [DIR]    ends all that runs on them, and takes them away; what is in DIR stays
#   scripts/hosts.sh empty I [DIR] ends host I and gives it an empty disk: a new machine of the same name
#   scripts/hosts.sh cut I [DIR]   pulls host I's cable; `heal I` plugs it in again
#   scripts/hosts.sh on I COMMAND...  runs a command on host I
#   scripts/hosts.sh check         says what is missing, if anything is
#
# It needs root on Linux, and the Debian packages iproute2, openssh-server and iptables. DIR is ./hosts.
set -euo pipefail

BRIDGE=pygmy-bridge NET=10.77.0

fail() { printf '%s\n' "$*" >&2; exit 1; }

check() {
    [ "$(uname -s)" = Linux ] || fail "Hosts made of network namespaces need Linux."
    [ "$(id -u)" = 0 ] || fail "Hosts made of network namespaces need root: run this with sudo."
    local tool package missing=
    for tool in ip:iproute2 sshd:openssh-server ssh-keygen:openssh-client iptables:iptables unshare:util-linux; do
        package=${tool#*:}
        PATH=$PATH:/usr/sbin:/sbin command -v "${tool%:*}" >/dev/null || missing+=" $package"
    done
    [ -z "$missing" ] || fail "Missing:$missing (Debian, Ubuntu: apt install$missing)"
}

name() { printf 'pygmy-host%s' "$1"; }
address() { printf '%s.%s' "$NET" "$((10 + $1))"; }

# The disk of a host: a copy of /etc, so that it has users and a host name of its own, and nothing in /opt.
make_disk() {
    local disk=$dir/host$1
    rm -rf "$disk"
    mkdir -p "$disk"/{opt,tmp,etc}
    cp -a /etc/. "$disk/etc/"
    sed -i '/^pygmy:/d' "$disk"/etc/{passwd,group,shadow,gshadow}
    name "$1" >"$disk/etc/hostname"
}

make_network() {
    local host; host=$(name "$1")
    ip netns add "$host"
    ip link add "pygmy$1" type veth peer name eth0 netns "$host"
    ip link set "pygmy$1" master $BRIDGE up
    ip -n "$host" link set lo up
    ip -n "$host" address add "$(address "$1")/24" dev eth0
    ip -n "$host" link set eth0 up
}

# Its mounts and its name end with the last process in them, so everything on a host is a child of its sshd.
boot() {
    local i=$1 host disk=$dir/host$1; host=$(name "$1")
    ip netns exec "$host" unshare --mount --uts --propagation private bash -c '
        set -e
        hostname "$1"; disk=$2 dir=$3 address=$4
        mount --bind "$disk/etc" /etc
        mount --bind "$disk/opt" /opt
        mount --bind "$disk/tmp" /var/tmp
        cd /
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/sshd -D -e -f /dev/null -o ListenAddress="$address" -o HostKey="$dir/host-key" \
            -o AuthorizedKeysFile="$dir/authorized_keys" -o StrictModes=no -o PasswordAuthentication=no \
            -o PidFile=none -o UsePAM=no -o Subsystem="sftp internal-sftp"
    ' bash "$host" "$disk" "$dir" "$(address "$i")" >"$disk.sshd.log" 2>&1 </dev/null &
}

wait_for() {
    local tries
    for tries in {1..100}; do
        (exec 3<>"/dev/tcp/$(address "$1")/22") 2>/dev/null && return
        sleep 0.1
    done
    fail "host$1 does not come up: $(tail -n 3 "$dir/host$1.sshd.log")"
}

# Everything in a host's network is on that host: nothing else is ended.
end_processes() {
    local host pids; host=$(name "$1")
    for signal in TERM KILL; do
        pids=$(ip netns pids "$host" 2>/dev/null || true)
        [ -z "$pids" ] || kill -$signal $pids 2>/dev/null || true
        for _ in {1..50}; do
            [ -n "$(ip netns pids "$host" 2>/dev/null || true)" ] || return 0
            [ $signal = KILL ] || sleep 0.1
            [ $signal = TERM ] || sleep 0.02
        done
    done
}

up() {
    local count=$1 i
    [[ $count =~ ^[0-9]+$ ]] && [ "$count" -ge 1 ] && [ "$count" -le 80 ] || fail "expected a number of hosts from 1 to 80, and not '$count'"
    ! ip link show $BRIDGE >/dev/null 2>&1 || fail "The hosts are up already: $0 down"
    mkdir -p "$dir" /run/sshd
    [ -f "$dir/host-key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/host-key"
    [ -f "$dir/key" ] || ssh-keygen -q -t ed25519 -N '' -C pygmy -f "$dir/key"
    install -m 600 "$dir/key.pub" "$dir/authorized_keys"
    ip link add $BRIDGE type bridge
    ip address add $NET.1/24 dev $BRIDGE
    ip link set $BRIDGE up
    : >"$dir/known_hosts"
    for ((i = 1; i <= count; i++)); do
        [ -d "$dir/host$i" ] || make_disk "$i"
        make_network "$i"
        boot "$i"
        printf '%s %s\n' "$(address "$i")" "$(cat "$dir/host-key.pub")" >>"$dir/known_hosts"
    done
    for ((i = 1; i <= count; i++)); do wait_for "$i"; done
    printf 'ssh -i %s -o UserKnownHostsFile=%s root@%s\n' "$dir/key" "$dir/known_hosts" "$(address 1)"
}

down() {
    local host i
    for host in $(ip netns list | awk '/^pygmy-host[0-9]/ {print $1}'); do
        i=${host#pygmy-host}
        end_processes "$i"
        ip netns del "$host"
        ip link del "pygmy$i" 2>/dev/null || true
    done
    ip link del $BRIDGE 2>/dev/null || true
}

empty() {
    end_processes "$1"
    make_disk "$1"
    boot "$1"
    wait_for "$1"
}

on() {
    local pid
    pid=$(ip netns pids "$(name "$1")" | head -n 1)
    [ -n "$pid" ] || fail "host$1 is not up"
    shift
    nsenter --target "$pid" --mount --uts --net -- "$@"
}

check
what=${1:-} number=${2:-}
case $what in
up | empty | cut | heal) dir=${3:-hosts} ;;
down) dir=${2:-hosts} ;;
*) dir=hosts ;;
esac
[ "$what" != up ] || mkdir -p "$dir"
dir=$(realpath -m "$dir")
case $what in
up) up "$number" ;;
down) down ;;
empty) empty "$number" ;;
cut) ip link set "pygmy$number" down ;;
heal) ip link set "pygmy$number" up ;;
on) shift 2 && on "$number" "$@" ;;
check) ;;
*) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
