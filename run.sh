#!/usr/bin/env bash
# Opens a store on this machine: ./run.sh [CLUSTER] [--data DIR] [--books FILE] [--no-cache]; Ctrl-C closes it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$root/scripts/environment.sh"
make_environment "$root/.venv"
exec "$root/.venv/bin/pygmy" up "$@"
