#!/usr/bin/env bash
# Measures the programs and prints tables; `make bench` and `make capacity` build first.
#   scripts/measure.sh bench                  for the README
#   scripts/measure.sh capacity [--quick]     for docs/capacity.md
#   scripts/measure.sh soak [--quick]         an hour's fleet, with spools, deletion, backups and reloads
# bench measures the programs in target/release and the static agent, capacity the
# shipped, static binaries. --quick is the small version in the tests, with the tools in
# target/debug. bench and capacity measure on the MongoDB of MONGODB_URL; without
# MONGODB_URL, the databases of the tests are started, and stopped in the end. capacity
# makes a network namespace, as root and most users may.
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

soak() {
  local build=release
  [[ ${1:-} != --quick ]] || build=debug
  "target/$build/soak" "$@"
}

case ${1:-} in
  bench) bench ;;
  capacity) capacity "${@:2}" ;;
  soak) soak "${@:2}" ;;
  *) usage ;;
esac
