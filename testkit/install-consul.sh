#!/bin/sh
# Installs Consul 1.8.7, which the tests talk to: Debian 12 has no package of it, Debian 11 ("bullseye") still does.
#
# The suite comes from this machine's own configured mirror. It is never added to the machine's sources: a private
# apt state in a temporary directory knows it, downloads this one package from it and is thrown away, so nothing
# else can ever come from there. apt checks the signed index; the digests below, taken from that index, are checked
# again here, since the suite is old. Dependencies come from the machine's own suites.
set -eu

VERSION='1.8.7+dfsg1-2+b3'
SHA256_amd64='e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9'
SHA256_arm64='7318cfa77a7ba6f71dd096e44353279de246ffc6561216ace42353685dcf8255'
SUITE='bullseye'
KEYRING='/usr/share/keyrings/debian-archive-keyring.gpg'

say() { printf 'install-consul: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

if command -v consul >/dev/null 2>&1; then
    exit 0
fi
command -v apt-get >/dev/null 2>&1 || fail "this machine has no apt; install Consul 1.8 or newer by hand and put it on the PATH"

architecture=$(dpkg --print-architecture)
case "$architecture" in
    amd64) digest=$SHA256_amd64 ;;
    arm64) digest=$SHA256_arm64 ;;
    *) fail "no known digest for $architecture; install Consul 1.8 or newer by hand and put it on the PATH" ;;
esac

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/lists/partial" "$work/archives/partial"

private() {
    command=$1
    shift
    "$command" -qq \
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::Cache::archives="$work/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::Languages=none "$@"
}

# Where this machine gets its own release from, one base address a line, whichever file names it; below each the
# place where mirrors that carry the archive keep suites that have left it.
mirrors() {
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016  # apt substitutes these, not the shell
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v codename="$codename" '
            ($2 == codename || $2 == "stable" || $2 == "oldstable") && $3 == "main" && !seen[$1]++ {
                print $1
                if (sub(/\/debian\/?$/, "/debian-archive/debian", $1)) print $1
            }'
}

# Leaves the package in $work, or answers no.
download() {
    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$1" "$SUITE" >"$work/sources.list"
    private apt-get update 2>>"$work/log" || return 1
    (cd "$work" && private apt-get download "consul=$VERSION" 2>>"$work/log") || return 1
}

package=''
mirrors >"$work/mirrors"
while read -r mirror; do
    if download "$mirror"; then
        package=$(find "$work" -maxdepth 1 -name 'consul_*.deb')
        break
    fi
done <"$work/mirrors"
if [ -z "$package" ]; then
    tail -n 5 "$work/log" >&2 2>/dev/null || true
    fail "none of this machine's mirrors carries $SUITE with consul $VERSION; install Consul 1.8 or newer by hand and put it on the PATH"
fi

printf '%s  %s\n' "$digest" "$package" | sha256sum --check --quiet - ||
    fail "the package that came has another SHA-256 than expected ($digest); not installed"

# apt's own sandboxed user must be able to read it.
chmod 755 "$work"
chmod 644 "$package"
install_package() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$package" >"$work/log" 2>&1
}
# A fresh machine has no index of its own suites yet.
install_package || { as_root apt-get -qq update && install_package; } || { cat "$work/log" >&2; fail "apt could not install the package"; }
say "$(consul version | head -n 1) installed"
