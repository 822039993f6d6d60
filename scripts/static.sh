#!/usr/bin/env bash
# Builds one package as a small static binary for musl and puts it into target/static/.
#   scripts/static.sh PACKAGE [TARGET]        TARGET: x86_64-unknown-linux-musl (default: this machine's)
# zig is the C compiler and linker. Where rustup can add no target, std is built from Debian's rust-src of the
# same version.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$1
target=${2:-$(uname -m)-unknown-linux-musl}
cache=${FLEETBEAT_TOOLCHAIN:-$HOME/.cache/fleetbeat/toolchain}
zig=(ziglang==0.17.1 cargo-zigbuild==0.24.0)
# Named after what is in it, so that half a tool or an older one is none.
ready=$cache/venv/${zig[0]}-${zig[1]}
if [[ ! -e $ready ]]; then
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" --quiet install "${zig[@]}"
  touch "$ready"
fi
export PATH=$cache/venv/bin:$PATH

build() {
  cargo-zigbuild zigbuild --locked --profile small --package "$package" --target "$target" "$@"
}

# Debian's source of the standard library, for a toolchain that was not installed with its own.
fetch_rust_src() {
  local mirror apt found suite
  [[ -e $cache/rust-src-$version ]] && return
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -1)
  apt=$cache/apt
  mkdir -p "$apt"/{lists/partial,archives/partial,etc}
  touch "$apt/status"
  for suite in trixie trixie-backports forky sid; do echo "deb $mirror $suite main"; done >"$apt/etc/sources.list"
  local options=(-o Dir::Etc::sourcelist="$apt/etc/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Cache="$apt"
    -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Acquire::Check-Valid-Until=false)
  apt-get "${options[@]}" update -qq
  found=$(apt-cache "${options[@]}" madison rust-src |
    awk -v version="$version" -F'|' '{gsub(/ /, "", $2)} index($2, version) == 1 {print $2; exit}')
  [[ -n $found ]] || { echo "static: no rust-src $version to be had: install $target with rustup" >&2; exit 1; }
  rm -rf "$cache"/unpacked "$cache"/rust-src_*.deb
  (cd "$cache" && apt-get "${options[@]}" download -qq "rust-src=$found" && dpkg -x rust-src_*.deb unpacked)
  mv "$cache"/unpacked/usr/src/rustc-* "$cache/rust-src-$version"
  rm -rf "$cache"/unpacked "$cache"/rust-src_*.deb
}

version=$(rustc --version | cut -d' ' -f2)
sysroot=$(rustc --print sysroot)
if [[ -d $sysroot/lib/rustlib/$target/lib ]] || rustup target add "$target" >/dev/null 2>&1; then
  build
else
  if [[ ! -e $sysroot/lib/rustlib/src/rust/library/Cargo.lock ]]; then
    fetch_rust_src
    # The only way to show cargo another place than the toolchain's own, which may not be ours to write to.
    export __CARGO_TESTS_ONLY_SRC_ROOT=$cache/rust-src-$version/library
  fi
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="${RUSTFLAGS:-} -C link-self-contained=no" build -Zbuild-std=std,panic_abort
fi
mkdir -p target/static
cp "target/$target/small/$package" target/static/
