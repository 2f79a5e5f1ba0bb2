#!/bin/sh
# Installs moto, a server that speaks S3 which the tests talk to, into a private Python environment beside the build.
# It honours `If-None-Match` on PUT, without which a shared store could not promise that nothing is overwritten.
set -eu

VERSION='5.2.5'
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/target/tools
ROOM=$ROOT/moto

say() { printf 'install-moto: %s\n' "$*" >&2; }

if [ "$("$ROOM/bin/python" -c 'import moto; print(moto.__version__)' 2>/dev/null)" = "$VERSION" ]; then
    exit 0
fi
command -v python3 >/dev/null 2>&1 || {
    say "python3 is missing (Debian: apt-get install python3-venv)"
    exit 1
}
rm -rf "$ROOM"
mkdir -p "$ROOT"
python3 -m venv "$ROOM" || {
    say "python3 cannot make an environment (Debian: apt-get install python3-venv)"
    exit 1
}
# The server's own web parts, without what its other services need.
"$ROOM/bin/pip" install --quiet --disable-pip-version-check "moto[s3]==$VERSION" flask flask-cors || {
    say "moto $VERSION could not be installed (pip's own words are above)"
    exit 1
}
say "moto $VERSION installed"
