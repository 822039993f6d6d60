#!/usr/bin/env bash
# Makes signed repositories of the packages in dist/, ready for any static web server:
# target/repository/{apt,rpm}, with fleetbeat.sources, fleetbeat.repo and the public key
# beside them.
#   FLEETBEAT_SIGNING_KEY    a key's id in the caller's GnuPG keyring, or a file with a
#                            secret key (default: a throw-away key, for tests only)
#   FLEETBEAT_REPOSITORY_URL where it will be served
#   VALID_DAYS=90            how long apt believes the repository: make a new one before
#                            then, even if nothing has changed
#   DIST=dist, REPOSITORY=target/repository
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

dist=$(realpath "${DIST:-dist}")
url=${FLEETBEAT_REPOSITORY_URL:-https://packages.fleetbeat.example}
valid_days=${VALID_DAYS:-90}
for tool in apt-ftparchive createrepo_c rpmsign gpg; do
  need "$tool" "make setup"
done
compgen -G "$dist/*.deb" >/dev/null || fail "no packages in $dist: make dist"

# Made beside the old repository, and put in its place when complete.
target=$(realpath -m "${REPOSITORY:-target/repository}")
rm -rf "$target.new"
mkdir -p "$target.new"
work=$(mktemp -d)
trap 'rm -rf "$work" "$target.new"; [[ -z ${own_home:-} ]] || { gpgconf --kill all; rm -rf "$own_home"; }' EXIT

# A keyring for the purpose, but for a key in the caller's keyring.
key=${FLEETBEAT_SIGNING_KEY:-}
if [[ -z $key || -f $key ]]; then
  own_home=$(mktemp -d)
  [[ -z $key ]] || key=$(realpath "$key")
  export GNUPGHOME=$own_home
  if [[ -z $key ]]; then
    echo "repository: signed with a throw-away key: for tests only" >&2
    gpg --batch --quiet --passphrase '' --quick-generate-key "Fleetbeat test key" rsa3072 sign 7d
  else
    gpg --batch --quiet --import "$key" || fail "FLEETBEAT_SIGNING_KEY: $key holds no secret key"
  fi
  file=$key
  key=$(gpg --batch --quiet --trust-model always --with-colons --list-secret-keys |
    awk -F: '$1 == "fpr" {print $10; exit}')
  [[ -n $key ]] || fail "FLEETBEAT_SIGNING_KEY: $file holds no secret key"
elif ! gpg --batch --quiet --list-secret-keys "$key" >/dev/null 2>&1; then
  fail "FLEETBEAT_SIGNING_KEY: $key is neither a secret key in your keyring nor a file"
fi
sign() { gpg --batch --yes --quiet --trust-model always --local-user "$key" "$@"; }

gpg --batch --armor --export "$key" >"$target.new/fleetbeat.asc"
[[ -s $target.new/fleetbeat.asc ]] || fail "the key $key cannot be exported"

make_apt() {
  local index sum file
  mkdir -p "$target.new/apt/pool" "$target.new/apt/dists/stable"
  cp "$dist"/*.deb "$target.new/apt/pool/"
  cd "$target.new/apt"
  for arch in amd64 arm64; do
    index=dists/stable/main/binary-$arch
    mkdir -p "$index"
    apt-ftparchive --arch "$arch" packages pool >"$index/Packages"
    gzip -9nk "$index/Packages"
  done
  apt-ftparchive release -o APT::FTPArchive::Release::Origin=Fleetbeat -o APT::FTPArchive::Release::Label=Fleetbeat \
    -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable \
    -o APT::FTPArchive::Release::Components=main -o "APT::FTPArchive::Release::Architectures=amd64 arm64" \
    -o APT::FTPArchive::Release::Acquire-By-Hash=yes \
    -o "APT::FTPArchive::Release::ValidTime=$((valid_days * 24 * 60 * 60))" \
    dists/stable >"$work/Release"
  mv "$work/Release" dists/stable/Release

  # An apt that has read the old Release finds the old indices by their hashes.
  for file in dists/stable/main/binary-*/Packages*; do
    sum=$(sha256sum "$file" | cut -d' ' -f1)
    mkdir -p "$(dirname "$file")/by-hash/SHA256"
    cp "$file" "$(dirname "$file")/by-hash/SHA256/$sum"
  done

  sign --clearsign --output dists/stable/InRelease dists/stable/Release
  sign --armor --detach-sign --output dists/stable/Release.gpg dists/stable/Release

  cd - >/dev/null
  cat >"$target.new/fleetbeat.sources" <<SOURCES
Types: deb
URIs: $url/apt
Suites: stable
Components: main
Signed-By:
$(sed 's/^$/./; s/^/ /' "$target.new/fleetbeat.asc")
SOURCES
}

make_rpm() {
  mkdir "$target.new/rpm"
  cp "$dist"/*.rpm "$target.new/rpm/"
  rpmsign --define "_gpg_name $key" --define "__gpg $(command -v gpg)" --addsign "$target.new"/rpm/*.rpm >/dev/null
  createrepo_c --quiet --no-database --general-compress-type gz "$target.new/rpm"
  sign --armor --detach-sign "$target.new/rpm/repodata/repomd.xml"
  cat >"$target.new/fleetbeat.repo" <<REPO
[fleetbeat]
name=Fleetbeat
baseurl=$url/rpm
enabled=1
gpgcheck=1
repo_gpgcheck=1
gpgkey=$url/fleetbeat.asc
REPO
}

make_apt
make_rpm
rm -rf "$target"
mv "$target.new" "$target"
