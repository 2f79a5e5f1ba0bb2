#!/usr/bin/env bash
# Builds cbrowse and installs it for one user: binaries, completions, man pages. Removes exactly that again.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=deploy/prerequisites.sh
. deploy/prerequisites.sh

# Lists, below the prefix, what was installed. Not in share/cbrowse, which is where a user's profiles live when the
# prefix is ~/.local.
MANIFEST=lib/cbrowse/manifest

usage() {
    cat <<'TEXT'
Usage: ./install.sh [--prefix DIR] [--demo] [--debug]
       ./install.sh [--prefix DIR] --uninstall

Installs what is missing from Debian, builds cbrowse and cbrowse-node, and installs both with completions and man pages.
Only apt-get runs as root (through sudo where needed).

  --prefix DIR   where to install (default: ~/.local)
  --demo         then run `cbrowse demo`: three nodes on this machine, one browser, a picture; leaves nothing running
  --debug        build quickly, without optimization
  --uninstall    remove what this script installed; profiles, keys and settings stay
  --help         print this
TEXT
}

main() {
    local demo=no action=install
    profile=release
    prefix=$(invoker_home)/.local
    while (($#)); do
        case $1 in
        --prefix) prefix=${2:?--prefix needs a directory} && shift ;;
        --prefix=?*) prefix=${1#*=} ;;
        --demo) demo=yes ;;
        --debug) profile=debug ;;
        --uninstall) action=uninstall ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && say && { say "error: unknown argument '$1'"; exit 2; } ;;
        esac
        shift
    done
    prefix=$(realpath -m -- "$prefix")
    choose_writer
    if [[ $action == uninstall ]]; then
        uninstall
        return
    fi
    require_rust
    require_namespaces
    if command -v apt-get >/dev/null; then
        install_packages "${BUILD_PACKAGES[@]}" "${BROWSER_PACKAGES[@]}"
    else
        require_commands cc c++ cmake pkg-config chromium
    fi
    build
    stage_files
    install_files
    hint_at_path
    if [[ $demo == yes ]]; then
        as_invoker "$prefix/bin/cbrowse" demo
    fi
}

# Whoever asked writes the files where they may; root does where only root can (`sudo ./install.sh --prefix /usr/local`).
choose_writer() {
    local nearest=$prefix
    while [[ ! -e $nearest ]]; do nearest=$(dirname "$nearest"); done
    if as_invoker test -w "$nearest"; then
        writer=as_invoker
    elif [[ $EUID -eq 0 ]]; then
        writer=
    else
        fail "$(id -un) cannot write to $nearest. Choose another --prefix, or run: sudo ./install.sh --prefix $prefix"
    fi
}

build() {
    local options=(--locked -p cbrowse -p cbrowse-node --target-dir "$PWD/target")
    [[ $profile == debug ]] || options+=(--release)
    # A target chosen in the environment would move the binaries to where nobody looks below.
    as_invoker env -u CARGO_BUILD_TARGET cargo build "${options[@]}" >&2
    built=$PWD/target/$profile
    [[ -x $built/cbrowse && -x $built/cbrowse-node ]] ||
        fail "the build left no $built/cbrowse and cbrowse-node; does a cargo configuration name another target?"
}

# Lays everything out as it will lie below the prefix.
stage_files() {
    stage=$(as_invoker mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    as_invoker mkdir -p "$stage/bin" "$stage/share/man/man1"
    as_invoker cp "$built/cbrowse" "$built/cbrowse-node" "$stage/bin/"
    as_invoker "$built/cbrowse" man --dir "$stage/share/man/man1" --quiet >/dev/null
    stage_completion bash share/bash-completion/completions/cbrowse
    stage_completion zsh share/zsh/site-functions/_cbrowse
    stage_completion fish share/fish/vendor_completions.d/cbrowse.fish
    stage_completion elvish share/elvish/lib/cbrowse.elv
    # PowerShell looks nowhere by itself: its profile has to name this file.
    stage_completion powershell lib/cbrowse/cbrowse.ps1
}

stage_completion() {
    as_invoker mkdir -p "$(dirname "$stage/$2")"
    as_invoker "$built/cbrowse" completions "$1" >"$stage/$2"
    [[ -s $stage/$2 ]] || fail "cbrowse completions $1 printed nothing"
}

# The manifest is written first, so that even an interrupted installation can be removed.
install_files() {
    local file files before
    mapfile -t files < <(cd "$stage" && find . -type f -printf '%P\n' | sort)
    before=$(cat "$prefix/$MANIFEST" 2>/dev/null || true)
    for file in "${files[@]}"; do
        [[ ! -e $prefix/$file ]] || grep -qxF "file $file" <<<"$before" ||
            fail "$prefix/$file exists and was not installed by this script. Move it away, or choose another --prefix"
    done
    write_manifest "${files[@]}" "$before"
    for file in "${files[@]}"; do place "$file"; done
    # What an earlier version installed and this one does not have.
    while read -r file; do
        $writer rm -f -- "$prefix/$file"
    done < <(comm -13 <(printf '%s\n' "${files[@]}" | LC_ALL=C sort) <(sed -n 's/^file //p' <<<"$before" | LC_ALL=C sort))
    say "Installed cbrowse and cbrowse-node in $prefix/bin"
}

# Arguments: the files, then the manifest that was there before. Its lines: "dir PATH" for directories that did not
# exist before (also those that an earlier run made), "file PATH"; a dir comes before what it holds.
write_manifest() {
    local before=${!#} file directory directories
    directories=$({
        sed -n 's/^dir //p' <<<"$before"
        for file in "${@:1:$#-1}" "$MANIFEST"; do absent_directories "$(dirname "$file")"; done
    } | LC_ALL=C sort -u)
    {
        while read -r directory; do printf 'dir %s\n' "$directory"; done <<<"$directories"
        printf 'file %s\n' "${@:1:$#-1}"
    } | grep -v '^dir $' >"$stage/manifest"
    $writer mkdir -p "$prefix/$(dirname "$MANIFEST")"
    $writer cp "$stage/manifest" "$prefix/$MANIFEST.new"
    $writer mv -f "$prefix/$MANIFEST.new" "$prefix/$MANIFEST"
    rm -f "$stage/manifest"
}

# The directory (relative to the prefix) and those above it, the prefix included, as far as they do not exist yet.
absent_directories() {
    local directory=$1
    while [[ ! -e $prefix/$directory ]]; do
        printf '%s\n' "$directory"
        [[ $directory != . ]] || return 0
        directory=$(dirname "$directory")
    done
}

# Replaces in one step, so a running binary keeps its file and nobody ever sees half of a new one.
place() {
    local mode=644
    [[ $1 != bin/* ]] || mode=755
    $writer mkdir -p "$(dirname "$prefix/$1")"
    $writer install -m "$mode" "$stage/$1" "$prefix/$1.new"
    $writer mv -f "$prefix/$1.new" "$prefix/$1"
}

uninstall() {
    local line path lines
    if [[ ! -e $prefix/$MANIFEST ]]; then
        say "Nothing to remove: $prefix/$MANIFEST does not exist, so nothing was installed there by this script"
        return
    fi
    mapfile -t lines < <(tac "$prefix/$MANIFEST")
    for line in "${lines[@]}"; do
        path=${line#* }
        [[ $line =~ ^(file|dir)\ . && $path != /* && /$path/ != */../* ]] ||
            fail "$prefix/$MANIFEST is damaged at '$line'. Nothing was removed"
    done
    for line in "${lines[@]}"; do
        [[ $line != file* ]] || $writer rm -f -- "$prefix/${line#file }"
    done
    $writer rm -f -- "$prefix/$MANIFEST"
    for line in "${lines[@]}"; do
        [[ $line == dir* ]] || continue
        path=$(realpath -m -- "$prefix/${line#dir }")
        # A directory that holds something else by now stays; one that is gone already is no error.
        [[ ! -d $path ]] || $writer rmdir --ignore-fail-on-non-empty -- "$path"
    done
    say "Removed cbrowse from $prefix. Profiles, keys and settings stay, and so do Debian's packages"
}

hint_at_path() {
    case :$PATH: in
    *:"$prefix/bin":*) ;;
    *) acts_for_another || say "$prefix/bin is not on your PATH. For this shell: export PATH=\"$prefix/bin:\$PATH\"" ;;
    esac
}

main "$@"
