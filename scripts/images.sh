#!/usr/bin/env bash
# Builds the container images of server and agent from the static binaries that `make static` has built.
#   scripts/images.sh [ARCH…]
# ARCH: amd64 or arm64 (default: this machine's)
#   BUILDER=docker                or podman, or buildah (default: the first of them that works)
#   PACKAGES=fleetbeat-agent      for this one alone
# Each image is called fleetbeat-server:VERSION-ARCH or fleetbeat-agent:VERSION-ARCH, and
# that of this machine :latest, too.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

own=$(own_arch)
version=$(own_version)
# Without it, an old Docker does not know whose a WORKDIR is.
export DOCKER_BUILDKIT=1

find_builder() {
  local builder
  for builder in docker podman buildah; do
    "$builder" info >/dev/null 2>&1 && { echo "$builder"; return; }
  done
  fail "none of docker, podman and buildah works here"
}

builder=${BUILDER:-$(find_builder)}
# A health check is no part of OCI's format, which the other two would write.
format=()
[[ $builder == docker ]] || format=(--format docker)

for arch in "${@:-$own}"; do
  for package in ${PACKAGES:-fleetbeat-server fleetbeat-agent}; do
    binary=target/static/$arch/$package
    [[ -x $binary ]] || fail "$binary is missing: make static ARCHS=$arch"
    # Whole at every moment: two of these may run at once.
    scripts/licences.sh "$package" >"$binary.THIRD-PARTY.$$"
    mv "$binary.THIRD-PARTY.$$" "$binary.THIRD-PARTY"
    tags=(--tag "$package:$version-$arch")
    [[ $arch != "$own" ]] || tags+=(--tag "$package:latest")
    "$builder" build "${format[@]}" --platform "linux/$arch" \
      --build-arg "TARGETARCH=$arch" --build-arg "VERSION=$version" --file "packaging/${package#fleetbeat-}.Dockerfile" "${tags[@]}" .
  done
done
