#!/usr/bin/env bash
# Installs what the tests need beyond Rust, Node and make: a Chromium. Safe to run again and again.
set -euo pipefail

need() { command -v "$1" >/dev/null || { echo "setup: $1 is missing: $2" >&2; exit 1; }; }
need cargo "install Rust with rustup"
need node "install Node 20 or newer"
need npm "it comes with Node"
need prlimit "it comes with util-linux"

major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
((major >= 20)) || { echo "setup: Node $(node --version) is too old: 20 or newer is needed" >&2; exit 1; }

if [[ -n ${CHROMIUM:-} ]]; then
  [[ -x $CHROMIUM ]] || { echo "setup: CHROMIUM=$CHROMIUM is no program" >&2; exit 1; }
elif ! command -v chromium >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: install Chromium, or name one in CHROMIUM" >&2
    exit 1
  fi
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
