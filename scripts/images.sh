#!/usr/bin/env bash
# Builds the container images of server and agent from the binaries of `make static`.
#   scripts/images.sh [ARCH…]
# ARCH: amd64 or arm64 (default: the machine's own)
#   BUILDER=docker                or podman, or buildah (default: the first that works)
#   PACKAGES=fleetbeat-agent      only this package
# Each image is called fleetbeat-server:VERSION-ARCH or fleetbeat-agent:VERSION-ARCH, and
# the machine's own :latest, too.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

own=$(own_arch)
version=$(own_version)
# Without BuildKit, an old Docker gives a WORKDIR to root.
export DOCKER_BUILDKIT=1

find_builder() {
  local builder
  for builder in docker podman buildah; do
    "$builder" info >/dev/null 2>&1 && { echo "$builder"; return; }
  done
  fail "none of docker, podman and buildah works here"
}

builder=${BUILDER:-$(find_builder)}
# podman and buildah would write OCI's format, which has no health checks.
format=()
[[ $builder == docker ]] || format=(--format docker)

for arch in "${@:-$own}"; do
  for package in ${PACKAGES:-fleetbeat-server fleetbeat-agent}; do
    binary=target/static/$arch/$package
    [[ -x $binary ]] || fail "$binary is missing: make static ARCHS=$arch"
    # Complete at every moment: two builds may run at once.
    xtask licences "$package" >"$binary.THIRD-PARTY.$$"
    mv "$binary.THIRD-PARTY.$$" "$binary.THIRD-PARTY"
    tags=(--tag "$package:$version-$arch")
    [[ $arch != "$own" ]] || tags+=(--tag "$package:latest")
    "$builder" build "${format[@]}" --platform "linux/$arch" \
      --build-arg "TARGETARCH=$arch" --build-arg "VERSION=$version" --file "packaging/${package#fleetbeat-}.Dockerfile" "${tags[@]}" .
  done
done
