#!/usr/bin/env bash
# Whether install.sh keeps its word: a toolchain that builds nothing stands in for cargo, everything else is real.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
passed=0

main() {
    fake_repository
    fake_toolchain 1.99.0
    installs_and_removes_everything
    second_run_drops_what_is_gone
    keeps_what_others_put_there
    removes_what_was_interrupted
    refuses_to_overwrite_a_stranger
    refuses_a_damaged_manifest
    refuses_without_rust
    refuses_old_rust
    refuses_unknown_arguments
    runs_the_demo_last
    stops_without_namespaces
    printf 'install.sh: %d passed, 0 failed\n' "$passed"
}

fake_repository() {
    mkdir -p "$room/repository/deploy"
    cp "$repository/install.sh" "$repository/Cargo.toml" "$room/repository/"
    cp "$repository/deploy/prerequisites.sh" "$room/repository/deploy/"
}

# Programs that print what install.sh asks of the real ones.
fake_toolchain() {
    mkdir -p "$room/toolchain" "$room/home"
    printf '#!/bin/sh\necho "rustc %s"\n' "$1" >"$room/toolchain/rustc"
    cat >"$room/toolchain/cargo" <<FAKE
#!/bin/sh
[ "\$1" != --version ] || { echo "cargo $1"; exit; }
echo "\$@" >"$room/cargo-arguments"
mkdir -p target/release
cp "$room/cbrowse" target/release/cbrowse
cp "$room/cbrowse" target/release/cbrowse-node
FAKE
    cat >"$room/cbrowse" <<'FAKE'
#!/bin/sh
case $1 in
man) touch "$3/cbrowse.1" "$3/cbrowse-connect.1" ;;
completions) echo "complete for $2" ;;
demo) echo "the demo ran" ;;
esac
FAKE
    chmod +x "$room/toolchain/"* "$room/cbrowse"
}

# Packages are there or not for reasons of the machine, so the test looks away from them: dpkg-query finds all.
install() {
    printf '#!/bin/sh\necho installed\n' >"$room/toolchain/dpkg-query"
    chmod +x "$room/toolchain/dpkg-query"
    env -u SUDO_USER HOME="$room/home" CARGO_HOME="$room/none" PATH="$room/toolchain:/usr/bin:/bin" \
        "$room/repository/install.sh" "$@" >"$room/stdout" 2>"$room/stderr" </dev/null
}

# The next line of the report: a sentence, and whether the words after it hold.
holds() {
    local sentence=$1
    shift
    "$@" || {
        printf 'install.sh: FAILED: %s\n' "$sentence" >&2
        sed 's/^/    /' "$room/stdout" "$room/stderr" >&2
        exit 1
    }
    passed=$((passed + 1))
}

refused() { ! install "$@"; }
absent() { [[ ! -e $1 ]]; }

installs_and_removes_everything() {
    local prefix=$room/new/prefix
    mkdir "$room/new"
    holds 'a first installation succeeds' install --prefix "$prefix"
    holds 'the build is locked' grep -q -- '--locked' "$room/cargo-arguments"
    holds 'the binary runs' test "$("$prefix/bin/cbrowse" demo)" = 'the demo ran'
    holds 'the node is executable' test -x "$prefix/bin/cbrowse-node"
    holds 'the man page is there' test -f "$prefix/share/man/man1/cbrowse.1"
    local file
    for file in share/bash-completion/completions/cbrowse share/zsh/site-functions/_cbrowse \
        share/fish/vendor_completions.d/cbrowse.fish share/elvish/lib/cbrowse.elv lib/cbrowse/cbrowse.ps1; do
        holds "$file is there" grep -q 'complete for' "$prefix/$file"
    done
    holds 'a word about PATH' grep -q 'not on your PATH' "$room/stderr"
    holds 'a second installation succeeds' install --prefix "$prefix"
    holds 'removal succeeds' install --prefix "$prefix" --uninstall
    holds 'removal leaves nothing' test -z "$(ls -A "$room/new")"
    holds 'a second removal is no error' install --prefix "$prefix" --uninstall
}

second_run_drops_what_is_gone() {
    install --prefix "$room/prefix"
    sed -i 's/ [^ ]*cbrowse-connect.1"//' "$room/cbrowse"
    holds 'an upgrade succeeds' install --prefix "$room/prefix"
    holds 'a page that went away goes' absent "$room/prefix/share/man/man1/cbrowse-connect.1"
    holds 'a page that stayed stays' test -e "$room/prefix/share/man/man1/cbrowse.1"
    install --prefix "$room/prefix" --uninstall
    holds 'removal after an upgrade leaves nothing' absent "$room/prefix"
}

keeps_what_others_put_there() {
    mkdir -p "$room/prefix/share/man"
    install --prefix "$room/prefix"
    touch "$room/prefix/bin/other"
    install --prefix "$room/prefix" --uninstall
    holds 'directories that were there stay' test -d "$room/prefix/share/man"
    holds 'an empty directory of ours goes' absent "$room/prefix/share/man/man1"
    holds 'a file of others stays' test -e "$room/prefix/bin/other"
    rm -r "$room/prefix"
}

removes_what_was_interrupted() {
    # The disk is full, say, when the second file is copied.
    cat >"$room/toolchain/install" <<FAKE
#!/bin/sh
[ ! -e "$room/prefix/bin/cbrowse" ] || exit 1
exec /usr/bin/install "\$@"
FAKE
    chmod +x "$room/toolchain/install"
    holds 'an interrupted installation fails' refused --prefix "$room/prefix"
    rm "$room/toolchain/install"
    holds 'it left something' test -e "$room/prefix/bin/cbrowse"
    holds 'which can be removed' install --prefix "$room/prefix" --uninstall
    holds 'without a rest' absent "$room/prefix"
}

refuses_to_overwrite_a_stranger() {
    mkdir -p "$room/prefix/bin"
    echo theirs >"$room/prefix/bin/cbrowse"
    holds 'a stranger is not overwritten' refused --prefix "$room/prefix"
    holds 'it is named' grep -q "$room/prefix/bin/cbrowse exists" "$room/stderr"
    holds 'it is unchanged' grep -qx theirs "$room/prefix/bin/cbrowse"
    holds 'nothing else was written' test "$(find "$room/prefix" -type f | wc -l)" = 1
    rm -r "$room/prefix"
}

refuses_a_damaged_manifest() {
    install --prefix "$room/prefix"
    touch "$room/outside"
    echo 'file ../outside' >>"$room/prefix/lib/cbrowse/manifest"
    holds 'a manifest that points outside is refused' refused --prefix "$room/prefix" --uninstall
    holds 'nothing outside was removed' test -e "$room/outside"
    holds 'nothing inside was removed' test -e "$room/prefix/bin/cbrowse"
    rm -r "$room/prefix"
}

refuses_without_rust() {
    mv "$room/toolchain/cargo" "$room/toolchain/rustc" "$room/"
    # Debian's own compiler, if this machine has it, must not answer instead.
    if ! PATH=/usr/bin:/bin command -v cargo >/dev/null; then
        holds 'without Rust it stops' refused --prefix "$room/prefix"
        holds 'it prints the line that installs it' grep -q 'https://sh.rustup.rs' "$room/stderr"
        holds 'nothing was written' absent "$room/prefix"
    fi
    mv "$room/cargo" "$room/rustc" "$room/toolchain/"
}

refuses_old_rust() {
    local needed
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repository/Cargo.toml")
    fake_toolchain 1.70.0
    holds 'an old compiler is refused' refused --prefix "$room/prefix"
    holds 'both versions are named' grep -q "Rust $needed or newer, and rustc is 1.70.0" "$room/stderr"
    touch "$room/toolchain/rustup" && chmod +x "$room/toolchain/rustup"
    holds 'it is refused with rustup, too' refused --prefix "$room/prefix"
    holds 'rustup is told to update' grep -q 'rustup toolchain install stable' "$room/stderr"
    rm "$room/toolchain/rustup"
    fake_toolchain "$needed.0"
    holds 'the oldest supported compiler is taken' install --prefix "$room/prefix"
    install --prefix "$room/prefix" --uninstall
    fake_toolchain 1.99.0
}

refuses_unknown_arguments() {
    holds 'an unknown argument is refused' refused --frobnicate
    holds 'it is named' grep -q -- "--frobnicate" "$room/stderr"
    holds 'help is printed' install --help
    holds 'help goes to standard output' grep -q -- --uninstall "$room/stdout"
}

runs_the_demo_last() {
    holds 'the demo runs' install --prefix "$room/prefix" --demo
    holds 'its words reach the user' grep -qx 'the demo ran' "$room/stdout"
    sed -i 's/echo "the demo ran"/exit 7/' "$room/cbrowse"
    holds 'a failed demo is a failure' refused --prefix "$room/prefix" --demo
    install --prefix "$room/prefix" --uninstall
}

stops_without_namespaces() {
    printf '#!/bin/sh\necho "unshare failed: Operation not permitted" >&2\nexit 1\n' >"$room/toolchain/unshare"
    chmod +x "$room/toolchain/unshare"
    holds 'without user namespaces it stops' refused --prefix "$room/prefix"
    holds 'it says that it keeps the sandbox' grep -Eq 'never drops the sandbox|keeps every browser in its sandbox' "$room/stderr"
    holds 'nothing was built or written' absent "$room/prefix"
    rm "$room/toolchain/unshare"
}

main
