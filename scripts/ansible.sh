#!/usr/bin/env bash
# Installs Ansible outside the work tree, for the tests of packaging/ansible; prints the folder of its programs.
set -euo pipefail

ansible=ansible-core==2.19.14
venv=${FLEETBEAT_TOOLS:-$HOME/.cache/fleetbeat/tools}/ansible
# Named after what is in it, so that half an installation or an older one is none.
ready=$venv/$ansible
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9
if [[ ! -e $ready ]]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" --quiet install "$ansible"
  touch "$ready"
fi
echo "$venv/bin"
