#!/usr/bin/env bash
# Prints what is in a static binary by others, and on which terms: the licences of its crates, of Rust's standard
# library and of musl; for the server, of the dashboard's Vue, too.
#   scripts/licences.sh PACKAGE
set -euo pipefail
cd "$(dirname "$0")/.."

package=$1
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
cargo fetch --quiet --locked

# The texts that come with something. Many are the same but for the name in them, and compress well.
print_part() {
  local name=$1 terms=$2 text
  shift 2
  printf '\n%s\n%s\nLicence: %s\n' "$(printf '=%.0s' {1..100})" "$name" "$terms"
  for text in "$@"; do [[ ! -f $text ]] || { echo; cat "$text"; }; done
}

echo "What others have written and $package holds, and the terms on which it does."
echo "Where a crate brings no text of its own, the licence is the one that is named."
shopt -s nullglob nocaseglob
# For amd64; arm64 has the same crates. What runs while building only is not in the binary.
cargo tree --locked --package "$package" --target x86_64-unknown-linux-musl --edges normal,no-proc-macro --no-dedupe \
  --prefix none --format '{p}|{l}' | grep -v '^fleetbeat-' | sort -u | while IFS='|' read -r crate terms; do
  folder=("$sources"/*/"${crate/ v/-}")
  [[ -d ${folder[0]:-} ]] || { echo "licences: the source of $crate is missing" >&2; exit 1; }
  print_part "$crate" "$terms" "${folder[0]}"/{LICEN[CS]E,COPYING,COPYRIGHT,NOTICE,UNLICENSE}*
done
print_part "The Rust standard library, by the Rust Project's contributors" "MIT OR Apache-2.0"
musl=("${FLEETBEAT_TOOLCHAIN:-$HOME/.cache/fleetbeat/toolchain}"/venv/lib/python3*/site-packages/ziglang/lib/libc/musl/COPYRIGHT)
[[ -f ${musl[0]:-} ]] || { echo "licences: musl's is missing: scripts/static.sh installs zig, which has it" >&2; exit 1; }
print_part "musl" MIT "${musl[0]}"
if [[ $package == fleetbeat-server ]]; then
  vue=dashboard/node_modules/vue
  [[ -f $vue/LICENSE ]] || { echo "licences: Vue is missing: make dashboard" >&2; exit 1; }
  print_part "Vue $(sed -n 's/^  "version": "\(.*\)",/\1/p' $vue/package.json), in the dashboard" MIT $vue/LICENSE
fi
