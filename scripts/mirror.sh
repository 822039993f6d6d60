#!/usr/bin/env bash
# Prints the Debian mirror that this machine's apt uses; nothing where it uses none.
set -euo pipefail

command -v apt-get >/dev/null || exit 0
# Not head, which would break the pipe.
apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p
