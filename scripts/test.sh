#!/usr/bin/env bash
# Every test: Rust unit and end-to-end tests over the real binaries, a small benchmark, the dashboard's unit
# tests, and the dashboard in a real browser against the real server. `make test` has installed what they need.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/stage.sh
export CHROMIUM="${CHROMIUM:-$(command -v chromium)}"

[[ ${FLEETBEAT_SKIP_NSPAWN:-} != 1 ]] || echo "=== LEFT OUT: every test under a real systemd or in a container (FLEETBEAT_SKIP_NSPAWN=1)"

# Stopped again at the end, whatever the end is.
trap 'scripts/services.sh down' EXIT
stage "databases" scripts/services.sh up
eval "$(scripts/services.sh env)"
stage "build" make --no-print-directory build
stage "static agents" make --no-print-directory static-agents
stage "static server, amd64" scripts/static.sh fleetbeat-server amd64
stage "static server, arm64" scripts/static.sh fleetbeat-server arm64
stage "manual" make --no-print-directory man
stage "Rust tests" cargo test --workspace
arch=$(scripts/arch.sh)
stage "benchmark, small" target/debug/bench --quick --agent "target/static/$arch/fleetbeat-agent"
stage "capacity, small" scripts/capacity.sh --quick
stage "dashboard unit tests" npm --prefix dashboard test
stage "dashboard in a browser" npm --prefix dashboard run e2e
