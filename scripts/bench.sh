#!/usr/bin/env bash
# Measures what `make release static-agent` has built, with the databases that the production backend needs.
set -euo pipefail
cd "$(dirname "$0")/.."

trap 'scripts/services.sh down' EXIT
scripts/services.sh up
eval "$(scripts/services.sh env)"
arch=$(uname -m)
target/release/bench --agent target/static/$(sed "s/x86_64/amd64/; s/aarch64/arm64/" <<<"$arch")/fleetbeat-agent
