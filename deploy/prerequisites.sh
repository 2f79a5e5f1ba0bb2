# What a machine needs before cbrowse can be built, run and tested. Sourced by install.sh and test.sh, from the
# root of the repository.
# shellcheck shell=bash disable=SC2034

# nasm speeds up the codecs; the rest builds aws-lc and zstd from source.
BUILD_PACKAGES=(build-essential cmake nasm pkg-config git ca-certificates)
# Without the Noto fonts, Chinese, Japanese, Korean and emoji come out as boxes.
BROWSER_PACKAGES=(chromium chromium-sandbox fonts-liberation fonts-noto-cjk fonts-noto-color-emoji)

say() {
    printf '%s\n' "$*" >&2
}

# Says what failed and what to try next, and ends with exit code 1.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Whether root acts for somebody else, as in `sudo ./install.sh`.
acts_for_another() {
    [[ $EUID -eq 0 && -n ${SUDO_USER:-} && $SUDO_USER != root ]]
}

# The home directory of whoever asked; under sudo, HOME may be root's.
invoker_home() {
    if acts_for_another; then
        getent passwd "$SUDO_USER" | cut -d: -f6
    else
        printf '%s\n' "${HOME:-$(getent passwd "$EUID" | cut -d: -f6)}"
    fi
}

# Runs a command as whoever asked. Only apt-get runs as root.
as_invoker() {
    if acts_for_another; then
        # sudo replaces PATH, so the place where rustup puts cargo has to be named again.
        sudo -H -u "$SUDO_USER" -- env "PATH=$(invoker_home)/.cargo/bin:$PATH" "$@"
    else
        # A shell opened before rustup ran does not have its directory yet.
        PATH="$PATH:${CARGO_HOME:-$(invoker_home)/.cargo}/bin" "$@"
    fi
}

# Refuses a missing or older compiler with the line that installs a new one, which it leaves to the user to run.
require_rust() {
    local needed tool found line
    needed=$(sed -n 's/^rust-version = "\([0-9.]*\)"$/\1/p' Cargo.toml)
    if as_invoker sh -c 'command -v rustup' >/dev/null 2>&1; then
        line='rustup toolchain install stable --profile minimal --component rustfmt,clippy && rustup default stable'
    else
        line="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy"
        command -v curl >/dev/null ||
            line="$([[ $EUID -eq 0 ]] || echo 'sudo ')apt-get install --no-install-recommends curl ca-certificates && $line"
    fi
    for tool in rustc cargo; do
        found=$(as_invoker "$tool" --version 2>/dev/null | awk 'NR == 1 { print $2 }') || found=
        [[ -n $found ]] || fail "cbrowse needs Rust $needed or newer, and there is no working $tool. Install it with

    $line
"
        [[ $(printf '%s\n' "$needed" "$found" | sort -V | head -n 1) == "$needed" ]] ||
            fail "cbrowse needs Rust $needed or newer, and $tool is $found ($(as_invoker sh -c "command -v $tool")). Install a newer one with

    $line
"
    done
}

# Installs those of the named Debian packages that are missing, all in one go; does nothing when all are there.
install_packages() {
    local package missing=() root=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "Installing from Debian: ${missing[*]}"
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null ||
            fail "packages are missing, and there is no sudo. As root, run: apt-get install --no-install-recommends ${missing[*]}"
        root=(sudo)
        # Without a terminal there is nobody to type a password.
        if [[ ! -t 0 ]]; then
            root=(sudo -n)
            sudo -n true 2>/dev/null ||
                fail "packages are missing, and sudo asks for a password where no terminal is. As root, run: apt-get install --no-install-recommends ${missing[*]}"
        fi
    fi
    local install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}")
    # Lists that are absent or older than the mirror are renewed; good ones are left alone.
    apt-get install --simulate --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || "${root[@]}" apt-get update >&2 || true
    "${install[@]}" >&2 || { "${root[@]}" apt-get update >&2 && "${install[@]}" >&2; } ||
        fail "apt-get could not install ${missing[*]} (its own words are above). Install them by hand, then run this again"
}

# For machines without apt: names the commands that are missing.
require_commands() {
    local name missing=()
    for name in "$@"; do
        as_invoker sh -c "command -v $name" >/dev/null 2>&1 || missing+=("$name")
    done
    ((${#missing[@]} == 0)) ||
        fail "this is no Debian (there is no apt-get), and these commands are missing: ${missing[*]}. Install them, then run this again"
}

# Chromium's sandbox and the worker both stand on user namespaces that need no privileges. Where they are not to be
# had, this says what permits them and stops: nothing here ever runs a browser without its sandbox.
require_namespaces() {
    local as=(as_invoker) reason setting
    # Started as root, the node becomes an ordinary user first, so an ordinary user has to be able to do it.
    if [[ $EUID -eq 0 ]] && ! acts_for_another; then
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
    fi
    local namespace=(unshare --user --map-root-user)
    if reason=$("${as[@]}" "${namespace[@]}" true 2>&1); then
        # What a worker does first: its own mounts, processes and network, and a fresh /proc.
        reason=$("${as[@]}" "${namespace[@]}" --mount --pid --fork --net --mount-proc true 2>&1) && return
        fail "a user namespace can be made here, but not a fresh /proc in it ($reason).
Container runtimes mask parts of /proc, which has this effect. With Docker or Podman, add

    --security-opt systempaths=unconfined
"
    fi
    for setting in kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 \
        kernel.apparmor_restrict_unprivileged_userns=0; do
        forbids_namespaces "${setting%=*}" || continue
        fail "an ordinary user cannot make a user namespace here ($reason), because ${setting%=*} forbids it.
cbrowse keeps every browser in its sandbox, so it stops. This permits it, now and after the next start:

    echo '$setting' | sudo tee /etc/sysctl.d/60-cbrowse.conf && sudo sysctl --system
"
    done
    fail "an ordinary user cannot make a user namespace here ($reason), and no setting of the kernel says why.
In a container, its runtime forbids it: with Docker or Podman, a seccomp profile that allows unshare, clone and mount
helps (--security-opt seccomp=PROFILE.json --security-opt systempaths=unconfined). cbrowse never drops the sandbox by itself"
}

# Whether a setting of the kernel, where it exists, stands in the way.
forbids_namespaces() {
    local value
    value=$(cat "/proc/sys/${1//.//}" 2>/dev/null) || return 1
    case $1 in
    kernel.apparmor_restrict_unprivileged_userns) [[ $value == 1 ]] ;;
    *) [[ $value == 0 ]] ;;
    esac
}
