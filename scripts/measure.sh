#!/usr/bin/env bash
# Measures what has been built, and prints tables.
#   scripts/measure.sh bench                  for the README; `make bench` builds what it needs
#   scripts/measure.sh capacity [--quick]     for docs/capacity.md; `make capacity` builds what it needs
# bench measures the programs in target/release and the static agent, capacity the static
# binaries that are shipped. --quick is the small version in the tests, with the tools in
# target/debug. Both measure on the MongoDB that MONGODB_URL names, or else start the
# databases of the tests, and stop them in the end. capacity needs a network namespace of
# its own, which root and most users may make.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

static=target/static/$(own_arch)

is_started=no programs=
# shellcheck disable=SC2317 # the trap calls it
finish() {
  [[ -z $programs ]] || rm -rf "$programs"
  [[ $is_started == no ]] || scripts/services.sh down
}
trap finish EXIT

start_databases() {
  [[ -z ${MONGODB_URL:-} ]] || return 0
  is_started=yes
  scripts/services.sh up
  eval "$(scripts/services.sh env)"
}

bench() {
  start_databases
  target/release/bench --agent "$static/fleetbeat-agent"
}

capacity() {
  local build=release
  [[ ${1:-} != --quick ]] || build=debug
  start_databases
  # Programs look for each other beside themselves.
  programs=$(mktemp -d)
  cp "target/$build"/{capacity,fleetsim} "$static"/fleetbeat-{agent,server} "$programs/"
  "$programs/capacity" "$@" embedded mongodb
  # shellcheck disable=SC2016 # the inner shell has arguments of its own
  unshare --map-root-user --net sh -c 'ip link set lo up && exec "$@"' sh "$programs/capacity" "$@" network
}

case ${1:-} in
  bench) bench ;;
  capacity) capacity "${@:2}" ;;
  *) usage ;;
esac
