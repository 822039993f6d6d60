
# Before the files, because some of them belong to the user's group.
# dpkg: install or upgrade; rpm: how many there will be.
case $1 in
  install | upgrade | [1-9]*)
    systemd-sysusers --replace="/usr/lib/sysusers.d/$name.conf" - <<'SYSUSERS'
@SYSUSERS@
SYSUSERS
    ;;
esac
