#!/usr/bin/env bash
# Packages the static binaries: dist/*.deb, *.rpm, *.tar.gz and SHA256SUMS. `make dist` builds what it needs before.
#   ARCHS="amd64 arm64"     for which machines
#   DIST=dist               where to
#   VERSION                 in place of the one in Cargo.toml
#   SETTINGS=packaging      the folder with the agent.toml, agent.env, server.toml and server.env to be installed: for
#                           packages with your own fleet's settings in them, though not in a repository for everybody
# The same binaries give the same bytes, whenever and wherever this runs: no file has another time than the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."

xtask() { cargo run --quiet --locked --package fleetbeat-xtask -- "$@"; }

archs=${ARCHS:-amd64 arm64}
dist=${DIST:-dist}
settings=${SETTINGS:-packaging}
version=${VERSION:-$(xtask version)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export TZ=UTC LC_ALL=C
umask 022

# The last version whose modules the public module proxy has all of.
nfpm_version=v2.45.2
nfpm=${FLEETBEAT_TOOLS:-$HOME/.cache/fleetbeat/tools}/nfpm-$nfpm_version/nfpm
if [[ ! -x $nfpm ]]; then
  command -v go >/dev/null || { echo "package: install Go, which builds nfpm" >&2; exit 1; }
  GOBIN=$(dirname "$nfpm") go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm_version"
fi

stage=$(mktemp -d) licences=$(mktemp -d)
trap 'rm -rf "$stage" "$licences"' EXIT

# A maintainer script: what the package is, then what all packages do.
write_script() {
  local package=$1 step=$2
  printf '#!/bin/sh\nset -e\n'
  cat "packaging/maintainer/$package.sh"
  sed -e "/^@SYSUSERS@\$/{r packaging/$package.sysusers
d}" "packaging/maintainer/$step.sh"
}

# Everything that a package is made of, in one folder.
fill() {
  local package=$1 arch=$2 short=${1#fleetbeat-} step page binary=target/static/$2/$1
  [[ -x $binary ]] || { echo "package: $binary is missing: scripts/static.sh $package $arch" >&2; exit 1; }
  [[ -e target/man/$package.8 ]] || { echo "package: target/man is missing: make man" >&2; exit 1; }
  rm -rf "${stage:?}"/*
  cp "$binary" README.md LICENSE-* packaging/copyright "$stage/"
  cp "packaging/$package".{service,sysusers,tmpfiles,nfpm.yaml} "$settings/$short".{toml,env} "$stage/"
  cp -r target/completions/{bash,zsh,fish} "$stage/"
  sed "s/PACKAGE/$package/" packaging/lintian-overrides >"$stage/lintian-overrides"
  for page in "$package.8" "$short.toml.5"; do gzip -9n <"target/man/$page" >"$stage/$page.gz"; done
  gzip -9n <CHANGELOG.md >"$stage/changelog.gz"
  gzip -9n <"$licences/$package" >"$stage/THIRD-PARTY.gz"
  for step in preinstall postinstall preremove postremove; do write_script "$package" "$step" >"$stage/$step"; done
  # What distributions call a changelog; what has changed is in CHANGELOG.md, beside it.
  cat >"$stage/changelog.yaml" <<YAML
- semver: "$version-1"
  date: "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
  packager: "The Fleetbeat developers <packages@fleetbeat.example>"
  deb: {urgency: medium, distributions: [stable]}
  changes: [{note: "Version $version: /usr/share/doc/$package/changelog.gz has what is new."}]
YAML
}

# For whoever has neither apt nor dnf.
write_tarball() {
  local package=$1 arch=$2 folder=$1-$version-linux-$2
  mkdir "$stage/$folder"
  (cd "$stage" && mv "$package" ./*.toml ./*.env "$package".{service,sysusers,tmpfiles} ./*.[58].gz bash zsh fish \
    README.md changelog.gz THIRD-PARTY.gz LICENSE-* "$folder/")
  tar --create --directory "$stage" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=go-w --format=gnu "$folder" | gzip -9n >"$dist/$folder.tar.gz"
}

for file in "$settings"/{agent,server}.env; do
  ! grep -q '^[A-Z]' "$file" || echo "package: secrets of $file are in these packages: publish them for nobody" >&2
done
mkdir -p "$dist"
dist=$(realpath "$dist")
rm -f "$dist"/*.{deb,rpm,tar.gz} "$dist/SHA256SUMS"
for package in fleetbeat-agent fleetbeat-server; do xtask licences "$package" >"$licences/$package"; done
for arch in $archs; do
  for package in fleetbeat-agent fleetbeat-server; do
    fill "$package" "$arch"
    for format in deb rpm; do
      (cd "$stage" && ARCH=$arch VERSION=$version "$nfpm" package --config "$package.nfpm.yaml" --packager "$format" \
        --target "$dist/" >/dev/null)
    done
    write_tarball "$package" "$arch"
  done
done
(cd "$dist" && sha256sum ./*.{deb,rpm,tar.gz} | sed 's|\./||' >SHA256SUMS)
