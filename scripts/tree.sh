#!/usr/bin/env bash
# A Debian tree that systemd-nspawn can boot, for tests that need a real systemd; prints its path.
#   scripts/tree.sh [SUITE [KIND]]        SUITE: bookworm (default), or another Debian release
# KIND: bare (default), or hosts, with what the tests of the packages need besides: curl, nginx, OpenVPN, dnf.
# It is made once and never changed afterwards: whoever boots it does so with --volatile=overlay or a copy.
set -euo pipefail

suite=${1:-bookworm} kind=${2:-bare}
packages=systemd,systemd-sysv,dbus
case $kind in
  bare) name=$suite ;;
  hosts) name=$suite-hosts packages+=,ca-certificates,curl,nginx-light,openvpn,dnf,rpm ;;
  *) echo "tree: $kind is neither bare nor hosts" >&2; exit 1 ;;
esac
# debootstrap and chroot are not in everybody's PATH.
export PATH=$PATH:/usr/sbin:/sbin
home=${FLEETBEAT_TREES:-$HOME/.cache/fleetbeat/trees}
tree=$home/$name

((EUID == 0)) || { echo "tree: only root can make a Debian tree" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "tree: install debootstrap" >&2; exit 1; }

# Two at once would ruin each other's; the second finds the first one's tree.
mkdir -p "$home"
exec 9>"$home/.lock"
flock 9
if [[ ! -d $tree ]]; then
  # Half a tree has another name than a whole one.
  rm -rf "$tree.new"
  mirror=$("$(dirname "$0")/mirror.sh")
  # Where apt knows none, debootstrap has its own.
  if ! debootstrap --variant=minbase --include="$packages" "$suite" "$tree.new" ${mirror:+"$mirror"} \
    >"$home/$name.log" 2>&1; then
    echo "tree: debootstrap failed; see $home/$name.log" >&2
    exit 1
  fi
  # It would take port 80, and machines may be on this host's network.
  rm -f "$tree.new/etc/nginx/sites-enabled/default"
  rm -rf "$tree.new"/var/cache/apt/archives/*.deb
  mv "$tree.new" "$tree"
fi
echo "$tree"
