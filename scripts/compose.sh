#!/usr/bin/env bash
# Reads a compose file as Docker Compose does and prints it as JSON, or everything that is wrong with it.
#   scripts/compose.sh FILE       without FILE, only installs what does it
set -euo pipefail

# The library of Docker Compose that reads its files.
version=v2.16.2
folder=${FLEETBEAT_TOOLS:-$HOME/.cache/fleetbeat/tools}/compose-go-$version
if [[ ! -x $folder/cmd ]]; then
  GOBIN=$folder go install "github.com/compose-spec/compose-go/v2/cmd@$version"
fi
(($# > 0)) || exit 0
# Paths count from the file's folder; the secrets that it wants are nobody's business here.
cd "$(dirname "$1")"
"$folder/cmd" --no-interpolation --format json "$(basename "$1")"
