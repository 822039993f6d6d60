#!/usr/bin/env bash
# Installs the needs of the tests beyond Rust, Node, Go and make, after a list of all
# parts and their places. Safe to run again and again.
#   scripts/setup.sh
#   SETUP=no scripts/setup.sh     installs nothing: names the missing parts and fails
#   FLEETBEAT_SKIP_NSPAWN=1       leaves out the parts for machines and containers
#   CHROMIUM=PATH                 takes another Chromium than Debian's
# The crates and packages that cargo and npm fetch while building are not its business.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

need cargo "install Rust with rustup"
need_node
need npm "it comes with Node"
need go "it builds nfpm, which makes the packages"
need prlimit "it comes with util-linux"

packages=()
# Wants Debian's packages unless a program is there: want PROGRAM [PACKAGE…]
want() {
  local program=$1
  shift
  has "$program" || packages+=("${@:-$program}")
}

if [[ -z ${CHROMIUM:-} ]]; then
  want chromium chromium fonts-dejavu-core
elif [[ ! -x $CHROMIUM ]]; then
  fail "CHROMIUM=$CHROMIUM is not a program"
fi
want curl
want openssl
want nginx nginx-light
want redis-server
# Real peers of channels.
want prometheus-alertmanager
/usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || packages+=(python3-aiosmtpd)
want ip iproute2
want free procps
want man man-db
want zsh
want fish
want readelf binutils
want shellcheck
# The arm64 agent runs in the tests, too.
want qemu-aarch64 qemu-user
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
# For checks and repositories of packages.
want lintian
want rpmlint
want rpm
want apt-ftparchive apt-utils
want createrepo_c createrepo-c
want gpg gnupg
want ssh-keygen openssh-client
want systemd-analyze systemd

tools=(compose nfpm ansible prometheus zig rust-src schemathesis)
trees=()
if [[ ${FLEETBEAT_SKIP_NSPAWN:-} != 1 ]]; then
  want systemd-nspawn systemd-container
  want debootstrap
  # For container images.
  want buildah
  want podman
  want crun
  # Only root can make and boot trees.
  ((EUID != 0)) || trees=(bare hosts)
fi

# The missing parts besides, one a line.
mapfile -t others < <(
  scripts/tools.sh --missing "${tools[@]}"
  scripts/services.sh --missing
  for tree in "${trees[@]}"; do scripts/tree.sh --missing bookworm "$tree"; done
)

((${#packages[@]} + ${#others[@]} > 0)) || exit 0
verb="installs what is missing"
[[ ${SETUP:-} != no ]] || verb="installs nothing, as SETUP=no says, but this is missing"
{
  echo "setup: $verb:"
  if ((${#packages[@]} > 0)); then
    echo "  Debian packages, with apt-get; no service of theirs is started: ${packages[*]}"
  fi
  if ((${#others[@]} > 0)); then printf '  %s\n' "${others[@]}"; fi
} >&2
[[ ${SETUP:-} != no ]] || exit 1

if ((${#packages[@]} > 0)); then install_packages "${packages[@]}"; fi
scripts/tools.sh "${tools[@]}" >/dev/null
scripts/services.sh install
for tree in "${trees[@]}"; do scripts/tree.sh bookworm "$tree" >/dev/null; done
