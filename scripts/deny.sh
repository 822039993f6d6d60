#!/usr/bin/env bash
# Checks the dependencies' licences, bans and sources; installs cargo-deny outside the work tree if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${FLEETBEAT_TOOLS:-$HOME/.cache/fleetbeat/tools}
export PATH=$PATH:$tools/bin
command -v cargo-deny >/dev/null || cargo install --quiet --locked --root "$tools" cargo-deny
cargo deny --all-features check licenses bans sources
