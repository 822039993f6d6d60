#!/usr/bin/env bash
# Installs what the tests need beyond Rust, Node, Go and make: a Chromium, nginx, shells and small tools, what checks
# packages and makes repositories of them, what boots a Debian tree and runs containers, and Ansible. Safe to run again
# and again.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { command -v "$1" >/dev/null || { echo "setup: $1 is missing: $2" >&2; exit 1; }; }
need cargo "install Rust with rustup"
scripts/check-node.sh
need npm "it comes with Node"
need go "it builds nfpm, which makes the packages"
need prlimit "it comes with util-linux"

packages=()
if [[ -n ${CHROMIUM:-} ]]; then
  [[ -x $CHROMIUM ]] || { echo "setup: CHROMIUM=$CHROMIUM is no program" >&2; exit 1; }
elif ! command -v chromium >/dev/null; then
  packages+=(chromium fonts-dejavu-core)
fi
for tool in curl openssl; do
  command -v "$tool" >/dev/null || packages+=("$tool")
done
# /usr/sbin is not in everybody's PATH.
PATH=$PATH:/usr/sbin command -v nginx >/dev/null || packages+=(nginx-light)
PATH=$PATH:/usr/sbin command -v ip >/dev/null || packages+=(iproute2)
command -v free >/dev/null || packages+=(procps)
command -v man >/dev/null || packages+=(man-db)
for shell in zsh fish; do command -v "$shell" >/dev/null || packages+=("$shell"); done
command -v readelf >/dev/null || packages+=(binutils)
# The arm64 agent runs in the tests, too.
command -v qemu-aarch64 >/dev/null || packages+=(qemu-user)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
for tool in lintian rpmlint rpm; do command -v "$tool" >/dev/null || packages+=("$tool"); done
command -v apt-ftparchive >/dev/null || packages+=(apt-utils)
command -v createrepo_c >/dev/null || packages+=(createrepo-c)
command -v gpg >/dev/null || packages+=(gnupg)
command -v ssh-keygen >/dev/null || packages+=(openssh-client)
command -v systemd-analyze >/dev/null || packages+=(systemd)
if [[ ${FLEETBEAT_SKIP_NSPAWN:-} != 1 ]]; then
  command -v systemd-nspawn >/dev/null || packages+=(systemd-container)
  PATH=$PATH:/usr/sbin command -v debootstrap >/dev/null || packages+=(debootstrap)
  # They build the container images and run them.
  for tool in buildah podman crun; do command -v "$tool" >/dev/null || packages+=("$tool"); done
fi

if ((${#packages[@]} > 0)); then
  as_root=()
  ((EUID == 0)) || as_root=(sudo -n)
  install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
  if ! { "${as_root[@]}" apt-get update -qq && "${install[@]}" "${packages[@]}" >/dev/null; }; then
    echo "setup: install ${packages[*]} (or name a Chromium in CHROMIUM)" >&2
    exit 1
  fi
fi
scripts/compose.sh
scripts/ansible.sh >/dev/null
