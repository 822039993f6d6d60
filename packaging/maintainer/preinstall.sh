
# The user is made before the files are unpacked, because some of them belong to its
# group. The first argument: install or upgrade from dpkg; from rpm, how many versions
# there will be.
case $1 in
  install | upgrade | [1-9]*)
    systemd-sysusers --replace="/usr/lib/sysusers.d/$name.conf" - <<'SYSUSERS'
@SYSUSERS@
SYSUSERS
    ;;
esac
