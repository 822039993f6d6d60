#!/usr/bin/env bash
# A Debian tree that systemd-nspawn can boot, for tests that need a real systemd; prints its path.
#   scripts/tree.sh [SUITE]        SUITE: bookworm (default), or another Debian release
# It is made once and never changed afterwards: whoever boots it does so with --volatile=overlay or a copy.
set -euo pipefail

suite=${1:-bookworm}
# debootstrap and chroot are not in everybody's PATH.
export PATH=$PATH:/usr/sbin:/sbin
home=${FLEETBEAT_TREES:-$HOME/.cache/fleetbeat/trees}
tree=$home/$suite

((EUID == 0)) || { echo "tree: only root can make a Debian tree" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "tree: install debootstrap" >&2; exit 1; }

# Two at once would ruin each other's; the second finds the first one's tree.
mkdir -p "$home"
exec 9>"$home/.lock"
flock 9
if [[ ! -d $tree ]]; then
  # Half a tree has another name than a whole one.
  rm -rf "$tree.new"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -1)
  if ! debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$suite" "$tree.new" \
    "${mirror:-https://deb.debian.org/debian}" >"$home/$suite.log" 2>&1; then
    echo "tree: debootstrap failed; see $home/$suite.log" >&2
    exit 1
  fi
  rm -rf "$tree.new"/var/cache/apt/archives/*.deb
  mv "$tree.new" "$tree"
fi
echo "$tree"
