#!/usr/bin/env bash
# Packages the static binaries: dist/*.deb, *.rpm, *.tar.gz and SHA256SUMS. `make dist`
# builds first.
#   ARCHS="amd64 arm64"     for which machines
#   DIST=dist               where to
#   VERSION                 in place of the one in Cargo.toml
#   SETTINGS=packaging      the folder of agent.toml, agent.env, server.toml, server.env:
#                           for packages with your own fleet's settings, though not in a
#                           repository for everybody
# The same binaries give the same bytes, whenever and wherever this runs: no file has
# another time than the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

archs=${ARCHS:-amd64 arm64}
dist=${DIST:-dist}
settings=${SETTINGS:-packaging}
version=${VERSION:-$(own_version)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export TZ=UTC LC_ALL=C
umask 022

has go || [[ -z $(scripts/tools.sh --missing nfpm) ]] || fail "install Go, which builds nfpm"
nfpm=$(scripts/tools.sh nfpm)/nfpm

contents=$(mktemp -d) licences=$(mktemp -d)
trap 'rm -rf "$contents" "$licences"' EXIT

# Gathers all parts of a package in one folder.
fill() {
  local package=$1 arch=$2 short=${1#fleetbeat-} step page binary=target/static/$2/$1
  [[ -x $binary ]] || fail "$binary is missing: scripts/static.sh $package $arch"
  [[ -e target/man/$package.8 ]] || fail "target/man is missing: make man"

  rm -rf "${contents:?}"/*
  cp "$binary" README.md LICENSE-* packaging/copyright "$contents/"
  install -D --target-directory "$contents/docs" --mode 644 docs/*.md docs/grafana.json docs/prometheus-rules.yml
  cp "packaging/$package".{service,sysusers,tmpfiles,nfpm.yaml} "$settings/$short".{toml,env} "$contents/"
  cp -r target/completions/{bash,zsh,fish} "$contents/"
  sed "s/PACKAGE/$package/" packaging/lintian-overrides >"$contents/lintian-overrides"
  for page in "$package.8" "$short.toml.5"; do gzip -9n <"target/man/$page" >"$contents/$page.gz"; done
  gzip -9n <CHANGELOG.md >"$contents/changelog.gz"
  gzip -9n <"$licences/$package" >"$contents/THIRD-PARTY.gz"
  for step in preinstall postinstall preremove postremove; do maintainer_script "$package" "$step" >"$contents/$step"; done

  # The changelog in the format of distributions; CHANGELOG.md, beside, has the changes.
  cat >"$contents/changelog.yaml" <<YAML
- semver: "$version-1"
  date: "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
  packager: "The Fleetbeat developers <packages@fleetbeat.example>"
  deb: {urgency: medium, distributions: [stable]}
  changes: [{note: "Version $version: /usr/share/doc/$package/changelog.gz has what is new."}]
YAML
}

# For machines with neither apt nor dnf.
write_tarball() {
  local package=$1 arch=$2 top=$1-$version-linux-$2
  mkdir "$contents/$top"
  (cd "$contents" && mv "$package" ./*.toml ./*.env "$package".{service,sysusers,tmpfiles} ./*.[58].gz bash zsh fish \
    README.md docs changelog.gz THIRD-PARTY.gz LICENSE-* "$top/")
  tar --create --directory "$contents" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=go-w --format=gnu "$top" | gzip -9n >"$dist/$top.tar.gz"
}

for file in "$settings"/{agent,server}.env; do
  ! grep -q '^[A-Z]' "$file" || echo "package: secrets of $file are in these packages: publish them for nobody" >&2
done
mkdir -p "$dist"
dist=$(realpath "$dist")
# The folder may hold files that are not ours: those stay, and so do their sums.
rm -f "$dist"/fleetbeat-{agent,server}[-_][0-9]*.{deb,rpm,tar.gz}
others=$(grep -vE ' [ *]fleetbeat-(agent|server)[-_][0-9]' "$dist/SHA256SUMS" 2>/dev/null || true)
for package in fleetbeat-agent fleetbeat-server; do xtask licences "$package" >"$licences/$package"; done
for arch in $archs; do
  for package in fleetbeat-agent fleetbeat-server; do
    fill "$package" "$arch"
    for format in deb rpm; do
      (cd "$contents" && ARCH=$arch VERSION=$version "$nfpm" package --config "$package.nfpm.yaml" --packager "$format" \
        --target "$dist/" >/dev/null)
    done
    write_tarball "$package" "$arch"
  done
done
cd "$dist"
{
  [[ -z $others ]] || printf '%s\n' "$others"
  sha256sum fleetbeat-{agent,server}[-_][0-9]*.{deb,rpm,tar.gz}
} | sort -k 2 >"$contents/SHA256SUMS"
cp "$contents/SHA256SUMS" SHA256SUMS
