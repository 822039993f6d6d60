#!/usr/bin/env bash
# Fails unless Node can build the dashboard: 20.19 or newer within 20, or 22.12 or newer, which is what Vite asks for.
set -euo pipefail

version=$(node --version 2>/dev/null) || { echo "Node is missing: install 22.12 or newer" >&2; exit 1; }
IFS=. read -r major minor _ <<<"${version#v}"
((major == 20 && minor >= 19 || major == 22 && minor >= 12 || major > 22)) ||
  { echo "Node $version is too old: 20.19 or newer within 20, or 22.12 or newer, is needed" >&2; exit 1; }
