#!/usr/bin/env bash
# Opens a store: on this machine until Ctrl-C, or on the hosts that CLUSTER names, for good.
#   ./run.sh [CLUSTER] [--data DIR] [--books FILE] [--no-cache] ...: see `pygmy up --help`, `pygmy deploy --help`
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$root/scripts/environment.sh"
make_environment "$root/.venv"
exec "$root/.venv/bin/pygmy" open "$@"
