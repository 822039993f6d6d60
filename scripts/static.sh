#!/usr/bin/env bash
# Builds one package as a static binary for musl: target/static/ARCH/PACKAGE.
#   scripts/static.sh PACKAGE [ARCH]
# ARCH: amd64 or arm64 (default: the machine's own)
# zig is the C compiler and linker for every target. The standard library is built, too,
# for size where that counts: its source comes from rustup, or else from Debian's rust-src
# of the same version.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

(($# > 0)) || usage
package=$1
arch=${2:-$(own_arch)}
case $arch in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) usage ;;
esac
target=$machine-unknown-linux-musl
programs=$(scripts/tools.sh zig)
library=$(scripts/tools.sh rust-src)
export PATH=$programs:$PATH
sysroot=$(rustc --print sysroot)
# The only way to show cargo another place than the toolchain's own, which may be
# read-only.
[[ $library == "$sysroot"/* ]] || export __CARGO_TESTS_ONLY_SRC_ROOT=$library

# The machine's own paths are nobody's business, and would make other bytes of the same
# source.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cargo fetch --quiet --locked
remap=("$PWD=." "$sysroot/lib/rustlib/src/rust=rust" "$(dirname "$library")=rust")
for registry in "$cargo_home"/registry/src/*; do remap+=("$registry=crates"); done
# A path may have blanks in it, so the flags are lists: cargo's are separated by a control
# character, and the C compiler's are quoted as in a shell.
flags=(-C link-self-contained=no) c_flags=()
for pair in "${remap[@]}"; do flags+=("--remap-path-prefix=$pair") c_flags+=("-ffile-prefix-map=$pair"); done
# The server's panics unwind, so that a bug in a handler is one answer 500. Nothing
# unwinds in an agent: without the tables for unwinding the binary is a tenth smaller.
# LLVM's outliner, usual on arm64 only, takes repeated instructions out of the code.
if [[ $package == fleetbeat-agent ]]; then
  profile=small build_std=('-Zbuild-std=std,panic_abort' -Zbuild-std-features=optimize_for_size)
  flags+=(-C force-unwind-tables=no -C llvm-args=-enable-machine-outliner=always)
  c_flags+=(-fno-asynchronous-unwind-tables -fno-unwind-tables)
else
  profile=shipped build_std=('-Zbuild-std=std,panic_unwind')
  # A missing dashboard is an error here, not a placeholder page as in a plain build.
  export FLEETBEAT_REQUIRE_DASHBOARD=1
fi
read -ra own_flags <<<"${RUSTFLAGS:-}"
flags=("${own_flags[@]}" "${flags[@]}")
encoded=$(printf '%s\x1f' "${flags[@]}")
quoted=$(printf ' %q' "${c_flags[@]}")
unset RUSTFLAGS
CFLAGS="${CFLAGS:-}$quoted" CC_SHELL_ESCAPED_FLAGS=1 RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS=${encoded%$'\x1f'} \
  cargo-zigbuild zigbuild --locked --profile "$profile" --package "$package" --target "$target" "${build_std[@]}"

mkdir -p "target/static/$arch"
cp "target/$target/$profile/$package" "target/static/$arch/"
