# Sourced by run.sh, test.sh and .ci/run, with $root set to the project's directory.
# make_environment DIRECTORY [EXTRA]: a virtual environment with the project (and one of its extras) in it, made
# anew only when pyproject.toml or Python has changed.

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# What a Python says that Pygmy can be installed with: whether it is known to be built with optimisation.
if_fit='
import sys
if sys.version_info < (3, 11):
    sys.exit(1)
import ensurepip, sysconfig, venv
print("--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""))
'

# The first fit Python of this machine. One of a version manager's gives way to the system's: without optimisation,
# which these have to be told of and distributions see to in their own way, a store sells a sixth less.
find_python() {
    local candidate optimised found=
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do
        optimised=$("$candidate" -c "$if_fit" 2>/dev/null) || continue
        if [ -z "$found" ] || [ "$optimised" = True ] || [ "$candidate" = /usr/bin/python3 ]; then
            found=$(command -v "$candidate")
        fi
        if [ "$optimised" = True ]; then break; fi
    done
    if [ -n "$found" ]; then
        printf '%s\n' "$found"
        return
    fi
    say "Pygmy needs Python 3.11 or newer, with its venv module; here is $(python3 --version 2>/dev/null || echo "no python3")."
    fail "Install it (Debian, Ubuntu: apt install python3 python3-venv) and run this again."
}

# What an environment is made from; any change makes a new one.
stamp_of() {
    { "$1/bin/python" --version; printf '%s\n' "$root"; cat "$root/pyproject.toml"; } | cksum
}

# Runs a command in silence; shows what it said if it fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        fail "This did not work: $* - see above. Is the network there? Run it again to retry."
    fi
}

# A step is done when its stamp file says so: what was interrupted halfway is done again.
make_environment() {
    local directory=$1 extra=${2:-} python
    if [ ! -x "$directory/bin/python" ] || [ "$(cat "$directory/made-from" 2>/dev/null)" != "$(stamp_of "$directory")" ]; then
        python=$(find_python) || exit 1
        say "Setting up $directory with $python (once) ..."
        rm -rf "$directory"
        quietly "$python" -m venv "$directory"
        install_project "$directory" "$root"
        stamp_of "$directory" >"$directory/made-from"
    fi
    if [ -n "$extra" ] && [ ! -e "$directory/has-$extra" ]; then
        say "Adding what the $extra tools need ..."
        install_project "$directory" "$root[$extra]"
        : >"$directory/has-$extra"
    fi
    compile_project "$directory"
}

# A third of a node's start is the compiling of the project, where Python may not keep what it has compiled.
compile_project() {
    local directory=$1
    if [ ! -e "$directory/compiled" ] ||
        [ -n "$(find "$root/pygmy" "$root/twisted" -name '*.py' -newer "$directory/compiled" -print -quit)" ]; then
        # A checkout that cannot be written to runs as well, only later.
        "$directory/bin/python" -m compileall -q -j 0 "$root/pygmy" "$root/twisted" >/dev/null 2>&1 || return 0
        : >"$directory/compiled"
    fi
}

install_project() {
    quietly "$1/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$2"
}
