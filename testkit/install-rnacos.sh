#!/bin/sh
# Installs r-nacos, the server that speaks Nacos which the tests talk to: Nacos itself is a Java program and in no
# Debian. It is built from source, which takes minutes, and kept beside the build for the next time.
set -eu

VERSION='0.8.8'
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/target/tools

say() { printf 'install-rnacos: %s\n' "$*" >&2; }

# Cargo's own installer keeps a list of what is where, and does nothing when this version is there already.
if command -v rnacos >/dev/null 2>&1 && [ "$(rnacos --version)" = "rnacos $VERSION" ]; then
    exit 0
fi
say "building r-nacos $VERSION; this takes about ten minutes on two cores, once"
cargo install rnacos --version "=$VERSION" --locked --root "$ROOT" || {
    say "r-nacos $VERSION could not be built (cargo's own words are above)"
    exit 1
}
