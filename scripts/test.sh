#!/usr/bin/env bash
# Every test: Rust's unit tests, end-to-end tests over the real binaries, a small
# benchmark, the dashboard's unit tests, and the dashboard in a real browser against the
# real server. `make test` installs their needs first.
#   scripts/test.sh
#   scripts/test.sh ansible-fleet [HOSTS]     only the Ansible role, with many machines
# HOSTS: 100 (default), at most 250, at once, in the example's batches. A machine needs
# about 50 MB of memory; the time goes into Ansible (16 minutes on two cores). As root.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

everything() {
  CHROMIUM=${CHROMIUM:-$(command -v chromium)} || fail "Chromium is missing: make setup"
  export CHROMIUM
  if [[ ${FLEETBEAT_SKIP_NSPAWN:-} == 1 ]]; then
    echo "=== LEFT OUT: every test under a real systemd or in a container (FLEETBEAT_SKIP_NSPAWN=1)"
  fi

  # Stopped again, however the tests end.
  trap 'scripts/services.sh down' EXIT
  stage "databases" scripts/services.sh up
  eval "$(scripts/services.sh env)"

  stage "build" make --no-print-directory build
  stage "static agents" make --no-print-directory static-agents
  stage "static server, amd64" scripts/static.sh fleetbeat-server amd64
  stage "static server, arm64" scripts/static.sh fleetbeat-server arm64
  stage "manual" make --no-print-directory man

  stage "Rust tests" cargo test --workspace
  # What ships is what is tested: the agent's tests once more, with the static agent.
  FLEETBEAT_AGENT=$PWD/target/static/$(own_arch)/fleetbeat-agent \
    stage "the static agent" cargo test --workspace --test e2e -- agent:: configuration:: identity:: names:: spool:: doctor:: rotation:: --skip static_agent::
  stage "benchmark, small" target/debug/bench --quick --agent "target/static/$(own_arch)/fleetbeat-agent"
  stage "capacity, small" scripts/measure.sh capacity --quick
  stage "soak, small" scripts/measure.sh soak --quick
  stage "dashboard unit tests" npm --prefix dashboard test
  stage "dashboard in a browser" npm --prefix dashboard run e2e
}

ansible_fleet() {
  local hosts=$1 limit=/proc/sys/fs/inotify/max_user_instances before
  before=$(cat "$limit")
  # Each machine's systemd, journal and bus watch files, and to the kernel all machines
  # belong to one user.
  # shellcheck disable=SC2064 # the value of now is to be restored
  trap "echo $before >$limit" EXIT
  echo $((before + 16 * hosts)) >"$limit"
  FLEETBEAT_ANSIBLE_HOSTS=$hosts cargo test --package fleetbeat-tests --test e2e ansible::a_playbook -- --nocapture
}

case ${1:-} in
  "") everything ;;
  ansible-fleet) ansible_fleet "${2:-100}" ;;
  *) usage ;;
esac
