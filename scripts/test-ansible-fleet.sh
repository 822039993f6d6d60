#!/usr/bin/env bash
# The test of the Ansible role with as many machines at once as are asked for, in the example's batches. A machine needs
# about 50 MB of memory; the time goes into Ansible (16 minutes on two cores). As root.
#   scripts/test-ansible-fleet.sh [HOSTS]       HOSTS: 100 (default), at most 250
set -euo pipefail
cd "$(dirname "$0")/.."

hosts=${1:-100}
limit=/proc/sys/fs/inotify/max_user_instances
before=$(cat "$limit")
# Each machine's systemd, journal and bus watch files, and to the kernel all of them are one user's.
wanted=$((before + 16 * hosts))
echo "$wanted" >"$limit"
trap 'echo "$before" >"$limit"' EXIT
FLEETBEAT_ANSIBLE_HOSTS=$hosts cargo test --package fleetbeat-tests --test e2e ansible::a_playbook -- --nocapture
