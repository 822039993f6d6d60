#!/usr/bin/env bash
# Prints the Debian mirror that this machine's apt uses; nothing where it uses none.
set -euo pipefail

apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -1
