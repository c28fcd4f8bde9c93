#!/usr/bin/env bash
# Runs all tests and shows their coverage: ./test.sh [pytest's arguments]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$root/scripts/environment.sh"
make_environment "$root/.venv" dev
cd "$root"
exec .venv/bin/python -m pytest --cov --cov-report=term:skip-covered "$@"
