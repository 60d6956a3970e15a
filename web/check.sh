#!/usr/bin/env bash
# What make test does of the web client: types, unit tests, whether dist/ is what the
# sources make, and two people in real browsers; of these the browsers alone with
# `check.sh e2e`. Where there is no Node it says so; go test ./web still tells that
# dist/ is older than the sources. With SWITCHBOARD_WEB_REQUIRED=1 what would be skipped
# is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# A system's Node may be too old for the tools; npm has newer ones as packages.
fresh=22.23.3
major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
if [ "$major" -gt 0 ] && [ "$major" -lt 20 ] && command -v npm >/dev/null; then
	npm install --prefix ../.cache/node --cache ../.cache/npm --no-audit --no-fund --loglevel=error "node@$fresh"
	PATH="$PWD/../.cache/node/node_modules/.bin:$PATH"
	major=$(node -p 'process.versions.node.split(".")[0]')
fi
if [ "$major" -lt 20 ] || ! command -v npm >/dev/null; then
	echo "skipped: no Node, or no npm, on this machine"
	exit "${SWITCHBOARD_WEB_REQUIRED:-0}"
fi
npm ci --prefer-offline --cache ../.cache/npm --no-audit --no-fund --loglevel=error
[ "${1-}" = e2e ] || npm run --silent check
npm run --silent e2e
