#!/usr/bin/env bash
# Makes a Debian tree that systemd-nspawn can boot, for tests with a real systemd, and
# prints the tree's path.
#   scripts/tree.sh [SUITE [KIND]]
#   scripts/tree.sh --missing [SUITE [KIND]]     prints a missing tree, and its place
# SUITE: bookworm (default), or another Debian release
# KIND:  bare (default), or hosts: with curl, nginx, OpenVPN and dnf for the tests of the
#        packages, and sshd, sudo and Python for Ansible
# A tree is made once and never changed afterwards: tests boot with --volatile=overlay, or
# boot a copy. The name ends in a checksum of the content: a longer list of packages makes
# another tree, and the old tree stays for tests that run there. A tree that nobody has
# asked for in two weeks is removed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

is_missing_wanted=no
if [[ ${1:-} == --missing ]]; then
  is_missing_wanted=yes
  shift
fi
suite=${1:-bookworm} kind=${2:-bare}
packages=systemd,systemd-sysv,dbus
case $kind in
  bare) ;;
  hosts) packages+=,ca-certificates,curl,nginx-light,openvpn,dnf,rpm,openssh-server,sudo,python3,python3-apt ;;
  *) usage ;;
esac

# Takes away what a booted tree must not do or have.
finish() {
  # Machines may be on this host's network: none of the host's ports may be taken.
  rm -f "$1/etc/nginx/sites-enabled/default" "$1"/etc/systemd/system/multi-user.target.wants/ssh.service
  # All machines would have the same.
  rm -f "$1"/etc/ssh/ssh_host_*
  rm -rf "$1"/var/cache/apt/archives/*.deb
}

home=${FLEETBEAT_TREES:-$HOME/.cache/fleetbeat/trees}
checksum=$(sha256sum <<<"$packages $(declare -f finish)" | head -c 8)
tree=$home/$suite-$kind-$checksum
what="a Debian $suite to boot in tests ($kind)"
if [[ $is_missing_wanted == yes ]]; then
  [[ -d $tree ]] || echo "$what, into $tree"
  exit
fi

((EUID == 0)) || fail "only root can make a Debian tree"
has debootstrap || fail "install debootstrap"
# debootstrap and chroot are not in everybody's PATH.
export PATH=$PATH:/usr/sbin:/sbin

# Two at once would ruin each other's; the second finds the first one's tree.
mkdir -p "$home"
exec 9>"$home/.lock"
flock 9
if [[ ! -d $tree ]]; then
  announce "$what" "$tree"
  # Half a tree has another name than a complete tree.
  new=$home/new
  rm -rf --one-file-system "$new"
  mirror=$(debian_mirror)
  # Without a mirror of apt's, debootstrap takes its own.
  debootstrap --variant=minbase --include="$packages" "$suite" "$new" ${mirror:+"$mirror"} >"$tree.log" 2>&1 ||
    fail "debootstrap failed; see $tree.log"
  finish "$new"
  mv "$new" "$tree"
fi
touch "$tree"
find "$home" -mindepth 1 -maxdepth 1 -name "$suite*" -mtime +14 -exec rm -rf {} +
echo "$tree"
