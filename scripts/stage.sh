# Sourced: `stage NAME COMMAND…` runs a command and prints what it took.
stage() {
  local name=$1 started=$SECONDS
  shift
  echo "=== $name"
  "$@"
  echo "=== $name took $((SECONDS - started)) s"
}
