#!/usr/bin/env bash
# Installs tools that no distribution has in the necessary version, outside the work tree,
# and prints for each tool the folder of its programs.
#   scripts/tools.sh TOOL…
#   scripts/tools.sh --missing TOOL…     prints the missing tools, and their future places
# TOOL: ansible       runs the role in packaging/ansible
#       cargo-deny    checks the dependencies' licences, bans and sources
#       compose       reads compose files as Docker Compose does
#       ferretdb      speaks MongoDB's protocol on a PostgreSQL
#       nfpm          makes deb and rpm packages
#       prometheus    reads the server's metrics; with promtool, which checks rules
#       rust-src      the standard library's source: prints the source's folder
#       schemathesis  makes up requests from the OpenAPI document
#       zig           compiles C and links for every target
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

ansible='ansible-core==2.19.14'
# Docker Compose's own reader of compose files.
compose=v2.16.2
ferretdb=v2.7.0
# The last version whose modules the public module proxy has all of.
nfpm=v2.45.2
schemathesis='schemathesis==4.32.5'
zig=(ziglang==0.17.1 cargo-zigbuild==0.24.0)

# An environment of packages from Python's index: install_python PACKAGE… FOLDER
install_python() {
  local folder=${*: -1}
  python3 -m venv "$folder"
  "$folder/bin/pip" --quiet install "${@:1:$#-1}"
}

# A program, built by Go: install_go MODULE FOLDER
install_go() { GOBIN=$2 go install "$1"; }

# A program, built by cargo: install_cargo CRATE FOLDER
install_cargo() { cargo install --quiet --locked --root "$2" "$1"; }

# Prometheus from Debian, unpacked and not installed: install_prometheus FOLDER
install_prometheus() {
  local folder=$1 download
  has apt-get || fail "this is not Debian: put prometheus and promtool into the PATH"
  download=$(mktemp -d)
  # apt's own user may not write there.
  fetch() { (cd "$download" && apt-get -o APT::Sandbox::User=root -qq download prometheus); }
  fetch || { as_root apt-get update -qq && fetch; }
  dpkg -x "$download"/prometheus_*.deb "$folder"
  rm -rf "$download"
}

# The standard library's source from rustup, or else from Debian:
# install_rust_src VERSION FOLDER
install_rust_src() {
  local version=$1 folder=$2 apt mirror found suite
  if rustup component add rust-src >/dev/null 2>&1; then
    mkdir -p "$folder"
    ln -s "$(rustc --print sysroot)/lib/rustlib/src/rust/library" "$folder/library"
    return
  fi
  mirror=$(debian_mirror)
  apt=$(mktemp -d)
  mkdir -p "$apt"/{lists/partial,archives/partial,etc}
  touch "$apt/status"
  for suite in trixie trixie-backports forky sid; do
    echo "deb $mirror $suite main"
  done >"$apt/etc/sources.list"
  local options=(-o Dir::Etc::sourcelist="$apt/etc/sources.list" -o Dir::Etc::sourceparts=-
    -o Dir::Cache="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status"
    -o Acquire::Check-Valid-Until=false)
  apt-get "${options[@]}" update -qq
  found=$(apt-cache "${options[@]}" madison rust-src |
    awk -v version="$version" -F'|' '{gsub(/ /, "", $2)} index($2, version) == 1 {print $2; exit}')
  [[ -n $found ]] || fail "rust-src $version is not in Debian: rustup component add rust-src"
  (cd "$apt" && apt-get "${options[@]}" download -qq "rust-src=$found" && dpkg -x rust-src_*.deb unpacked)
  mv "$apt"/unpacked/usr/src/rustc-* "$folder"
  rm -rf "$apt"
}

# Sets for a tool: its folder and mark (see install_once), the folder of its programs, its
# name for people, and the command that installs the tool.
describe() {
  case $1 in
    ansible)
      folder=$tools_folder/ansible mark=$ansible programs=$folder/bin
      what="Ansible ($ansible)" install=(install_python "$ansible")
      ;;
    cargo-deny)
      folder=$tools_folder/cargo-deny mark=bin/cargo-deny programs=$folder/bin
      what="cargo-deny" install=(install_cargo cargo-deny)
      # Any version will do.
      ! own=$(command -v cargo-deny) || { programs=$(dirname "$own") && mark=. folder=$programs; }
      ;;
    compose)
      folder=$tools_folder/compose-go-$compose mark=cmd programs=$folder
      what="the reader of compose files ($compose)"
      install=(install_go "github.com/compose-spec/compose-go/v2/cmd@$compose")
      ;;
    ferretdb)
      folder=$tools_folder/ferretdb-$ferretdb mark=ferretdb programs=$folder
      what="FerretDB ($ferretdb)"
      install=(install_go "github.com/FerretDB/FerretDB/v2/cmd/ferretdb@$ferretdb")
      ;;
    nfpm)
      folder=$tools_folder/nfpm-$nfpm mark=nfpm programs=$folder
      what="nfpm ($nfpm)" install=(install_go "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm")
      ;;
    prometheus)
      folder=$tools_folder/prometheus mark=usr/bin/promtool programs=$folder/usr/bin
      what="Prometheus (Debian's, about 100 MB)" install=(install_prometheus)
      # Any version will do.
      ! own=$(command -v promtool) || ! command -v prometheus >/dev/null ||
        { programs=$(dirname "$own") && mark=. folder=$programs; }
      ;;
    rust-src)
      local version
      version=$(rustc --version | cut -d' ' -f2)
      folder=$(rustc --print sysroot)/lib/rustlib/src/rust mark=library/Cargo.lock
      [[ -e $folder/$mark ]] || folder=$toolchain_folder/rust-src-$version
      programs=$folder/library
      what="the source of Rust's standard library ($version)" install=(install_rust_src "$version")
      ;;
    schemathesis)
      folder=$tools_folder/schemathesis mark=$schemathesis programs=$folder/bin
      what="schemathesis ($schemathesis)" install=(install_python "$schemathesis")
      ;;
    zig)
      folder=$toolchain_folder/venv mark=${zig[0]}-${zig[1]} programs=$folder/bin
      what="zig (${zig[*]})" install=(install_python "${zig[@]}")
      ;;
    *)
      usage
      ;;
  esac
}

is_missing_wanted=no
if [[ ${1:-} == --missing ]]; then
  is_missing_wanted=yes
  shift
fi
(($# > 0)) || usage
for tool in "$@"; do
  describe "$tool"
  if [[ $is_missing_wanted == yes ]]; then
    [[ -e $folder/$mark ]] || echo "$what, into $folder"
    continue
  fi
  install_once "$folder" "$mark" "$what" "${install[@]}"
  echo "$programs"
done
