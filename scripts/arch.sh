#!/usr/bin/env bash
# Prints what packages and images call this machine: amd64 or arm64.
set -euo pipefail

uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/'
