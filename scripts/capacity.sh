#!/usr/bin/env bash
# Measures what fleets of each size cost the static binaries that are shipped; the figures go into docs/capacity.md.
#   scripts/capacity.sh [--quick]     --quick: the small version in the tests, with the binaries that those have built
# Needs MONGODB_URL, and a network namespace of its own, which root and most users may make.
set -euo pipefail
cd "$(dirname "$0")/.."

build=release
[[ ${1:-} != --quick ]] || build=debug
arch=$(scripts/arch.sh)
# Programs look for each other beside themselves.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp "target/$build"/{capacity,fleetsim} "target/static/$arch"/fleetbeat-{agent,server} "$stage/"
"$stage/capacity" "$@" embedded mongodb
unshare --map-root-user --net sh -c 'ip link set lo up && exec "$@"' sh "$stage/capacity" "$@" network
