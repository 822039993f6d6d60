# shellcheck shell=bash disable=SC2034 # used by the scripts that source lib.sh
# Sourced: the common parts of the scripts, which all run in the repository's root.
# SETUP=no in the environment forbids every installation: the script names what is missing
# and fails.

# For tools that no distribution has in the necessary version.
tools_folder=${FLEETBEAT_TOOLS:-$HOME/.cache/fleetbeat/tools}
# The C compiler and linker of the static binaries, and the standard library's source.
toolchain_folder=${FLEETBEAT_TOOLCHAIN:-$HOME/.cache/fleetbeat/toolchain}
# The first word of messages: the script, or make for a line of the Makefile.
script=$(basename "$0" .sh)
[[ $script != bash ]] || script="make"

# Ends the script with a sentence: fail SENTENCE [EXIT_CODE]
fail() {
  echo "$script: $1" >&2
  exit "${2:-1}"
}

# Ends a script that was called wrongly; the comment at the script's top has the usage.
usage() {
  echo "usage:" >&2
  sed -n "s|^#   \(scripts/$script\.sh\)|  \1|p" "scripts/$script.sh" >&2
  exit 64
}

# Fails unless a program is there that only the user can install: need PROGRAM ADVICE
need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

# Fails unless Node can build the dashboard: Vite and ESLint ask for 20.19 or newer within
# 20, for 22.13 or newer within 22, or for 24 or newer.
need_node() {
  local version major minor
  version=$(node --version 2>/dev/null) || fail "Node is missing: install 22.13 or newer"
  IFS=. read -r major minor _ <<<"${version#v}"
  ((major == 20 && minor >= 19 || major == 22 && minor >= 13 || major > 23)) ||
    fail "Node $version does not do: 20.19 or newer within 20, 22.13 or newer within 22, or 24 or newer, is needed"
}

# Runs a command and prints its time: stage NAME COMMAND…
stage() {
  local name=$1 started=$SECONDS
  shift
  echo "=== $name"
  "$@"
  echo "=== $name took $((SECONDS - started)) s"
}

# This machine in the words of packages and images: amd64 or arm64.
own_arch() { uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/'; }

# The version in Cargo.toml.
own_version() { sed -n '/^version = /{s/^version = "\(.*\)"/\1/p;q}' Cargo.toml; }

# Runs a command of xtask: xtask COMMAND…
xtask() { cargo run --quiet --locked --package fleetbeat-xtask -- "$@"; }

# A package's maintainer script, for deb and rpm alike: first the package's own words,
# then the step that all packages have in common: maintainer_script PACKAGE STEP
maintainer_script() {
  local package=$1 step=$2
  printf '#!/bin/sh\nset -e\n'
  cat "packaging/maintainer/$package.sh"
  sed -e "/^@SYSUSERS@\$/{r packaging/$package.sysusers
d}" "packaging/maintainer/$step.sh"
}

# The Debian mirror of this machine's apt; nothing on other systems.
debian_mirror() {
  command -v apt-get >/dev/null || return 0
  # sed reads to the end; head would break the pipe.
  # shellcheck disable=SC2016 # apt replaces the name
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p
}

# Whether a program is there; /usr/sbin is not in everybody's PATH.
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# Runs a command as root, by sudo where the user is somebody else. sudo asks no password.
as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

# Announces an installation, or fails because SETUP=no forbids installations:
# announce WHAT WHERE
announce() {
  [[ ${SETUP:-} != no ]] || fail "$1 is missing, and SETUP=no forbids to install it"
  echo "$script: installing $1 into $2" >&2
}

# Fills a folder by a command, whose last argument is the folder, unless that was done:
# install_once FOLDER MARK WHAT COMMAND…
# MARK is a file in the folder, named after the content and its version, so that half an
# installation or another version lacks the mark. Two scripts at once wait for each other.
install_once() {
  local folder=$1 mark=$2 what=$3
  shift 3
  [[ ! -e $folder/$mark ]] || return 0
  announce "$what" "$folder"
  mkdir -p "$(dirname "$folder")"
  exec {lock}>"$folder.lock"
  flock "$lock"
  if [[ ! -e $folder/$mark ]]; then
    rm -rf "$folder"
    "$@" "$folder" >&2
    # An installed program is a mark by itself.
    [[ -e $folder/$mark ]] || touch "$folder/$mark"
  fi
  exec {lock}>&-
}

# Installs Debian packages without starting a service, now or at the next boot: the tests
# start their own nginx and Redis, and the machine stays unchanged otherwise.
install_packages() {
  local before
  announce "Debian's $*" "the system, with apt-get"
  has apt-get || fail "this is not Debian: install what it calls $*"
  before=$(enabled_units)
  as_root apt-get update -qq || fail "apt-get update fails; as root, install $*"
  without_starts as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null || fail "install $*"
  disable_new_units "$before"
}

# Runs a command while packages may not start services: Debian's maintainer scripts ask
# policy-rc.d first. A policy-rc.d that is already there is the machine's own, and stays.
without_starts() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
  fi
  "$@"
)

# The units that a boot or a login starts, one a line.
enabled_units() {
  find /etc/systemd/system /etc/systemd/user -type l -path '*.wants/*' -printf '%f\n' 2>/dev/null | sort -u
}

# Disables the units that were not enabled before: disable_new_units UNITS_ENABLED_BEFORE
# Units that the machine's own policy-rc.d has let start are stopped, too.
disable_new_units() {
  local unit
  has systemctl || return 0
  comm -13 <(echo "$1") <(enabled_units) | while read -r unit; do
    as_root systemctl --quiet disable "$unit" || true
    as_root systemctl --quiet --global disable "$unit" || true
    [[ ! -d /run/systemd/system ]] || as_root systemctl --quiet stop "$unit" || true
  done 2>/dev/null
}
