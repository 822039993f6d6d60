#!/usr/bin/env bash
# Measures what `make release static-agent` has built, with the databases that the production backend needs.
set -euo pipefail
cd "$(dirname "$0")/.."

trap 'scripts/services.sh down' EXIT
scripts/services.sh up
eval "$(scripts/services.sh env)"
target/release/bench --agent target/static/fleetbeat-agent
