#!/usr/bin/env bash
# Runs all tests, two files at a time: ./test.sh [arguments of pytest]. --cov shows their coverage, too, and takes longer.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$root/scripts/environment.sh"
make_environment "$root/.venv" dev
cd "$root"
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
