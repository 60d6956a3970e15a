#!/usr/bin/env bash
# What make test does of the web client: types, unit tests, whether dist/ is what the
# sources make, and two people in real browsers. Where there is no Node it says so;
# go test ./web still tells that dist/ is older than the sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
if [ "$major" -lt 20 ] || ! command -v npm >/dev/null; then
	echo "skipped: no Node of version 20 or above, or no npm, on this machine"
	exit 0
fi
npm ci --cache ../.cache/npm --no-audit --no-fund --loglevel=error
npm run --silent check
npm run --silent e2e
