#!/usr/bin/env bash
# Builds one package as a static binary for musl: target/static/ARCH/PACKAGE.
#   scripts/static.sh PACKAGE [ARCH]        ARCH: amd64 or arm64 (default: this machine's)
# zig is the C compiler and linker for every target. The standard library is built, too, for size where that
# counts: its source comes from rustup, or else from Debian's rust-src of the same version.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$1
arch=${2:-$(scripts/arch.sh)}
case $arch in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) echo "static: $arch is neither amd64 nor arm64" >&2; exit 1 ;;
esac
target=$machine-unknown-linux-musl
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

# Debian's source of the standard library, for a toolchain that was not installed with its own.
fetch_rust_src() {
  local mirror apt found suite
  [[ -e $cache/rust-src-$version ]] && return
  mirror=$(scripts/mirror.sh)
  apt=$cache/apt
  mkdir -p "$apt"/{lists/partial,archives/partial,etc}
  touch "$apt/status"
  for suite in trixie trixie-backports forky sid; do echo "deb $mirror $suite main"; done >"$apt/etc/sources.list"
  local options=(-o Dir::Etc::sourcelist="$apt/etc/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Cache="$apt"
    -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Acquire::Check-Valid-Until=false)
  apt-get "${options[@]}" update -qq
  found=$(apt-cache "${options[@]}" madison rust-src |
    awk -v version="$version" -F'|' '{gsub(/ /, "", $2)} index($2, version) == 1 {print $2; exit}')
  [[ -n $found ]] || { echo "static: no rust-src $version to be had: rustup component add rust-src" >&2; exit 1; }
  rm -rf "$cache"/unpacked "$cache"/rust-src_*.deb
  (cd "$cache" && apt-get "${options[@]}" download -qq "rust-src=$found" && dpkg -x rust-src_*.deb unpacked)
  mv "$cache"/unpacked/usr/src/rustc-* "$cache/rust-src-$version"
  rm -rf "$cache"/unpacked "$cache"/rust-src_*.deb
}

version=$(rustc --version | cut -d' ' -f2)
sysroot=$(rustc --print sysroot)
has_source() { [[ -e $sysroot/lib/rustlib/src/rust/library/Cargo.lock ]]; }
has_source || rustup component add rust-src >/dev/null 2>&1 || true
if ! has_source; then
  fetch_rust_src
  # The only way to show cargo another place than the toolchain's own, which may not be ours to write to.
  export __CARGO_TESTS_ONLY_SRC_ROOT=$cache/rust-src-$version/library
fi

# Where things lie on this machine is nobody's business, and would make other bytes of the same source.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cargo fetch --quiet --locked
remap=("$PWD=." "$sysroot/lib/rustlib/src/rust=rust" "$cache/rust-src-$version=rust")
for registry in "$cargo_home"/registry/src/*; do remap+=("$registry=crates"); done
c_flags=""
flags=(-C link-self-contained=no)
for pair in "${remap[@]}"; do flags+=("--remap-path-prefix=$pair") c_flags+=" -ffile-prefix-map=$pair"; done
# The server's panics unwind, so that a bug in a handler is one answer 500. Nothing unwinds in an agent: without
# the tables for it the binary is a tenth smaller. LLVM's outliner, which is usual on arm64 only, takes what is
# written twice out of the code.
if [[ $package == fleetbeat-agent ]]; then
  profile=small build_std=(-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size)
  flags+=(-C force-unwind-tables=no -C llvm-args=-enable-machine-outliner=always)
  c_flags+=" -fno-asynchronous-unwind-tables -fno-unwind-tables"
else
  profile=shipped build_std=(-Zbuild-std=std,panic_unwind)
fi
CFLAGS="${CFLAGS:-}$c_flags" RUSTC_BOOTSTRAP=1 RUSTFLAGS="${RUSTFLAGS:-} ${flags[*]}" cargo-zigbuild zigbuild --locked --profile "$profile" \
  --package "$package" --target "$target" "${build_std[@]}"
mkdir -p "target/static/$arch"
cp "target/$target/$profile/$package" "target/static/$arch/"
