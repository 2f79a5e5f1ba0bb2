#!/usr/bin/env bash
# Runs every test, from formatting to real servers and a real browser, and ends with how many steps passed and failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=deploy/prerequisites.sh
. deploy/prerequisites.sh

# What only tests need: a session bus with a keyring, namespaces with links of their own, a judge for the scripts, registries,
# and Python's environments for the server that speaks S3.
# Where systemd runs, the packages of etcd, Knot and Unbound also start services. No test touches them: each starts
# servers of its own, on free ports and in directories that it removes. knot-dnsutils has kdig, for the benchmarks.
TEST_PACKAGES=(curl dbus etcd-client etcd-server gnome-keyring iproute2 knot knot-dnsutils procps python3-venv shellcheck unbound)
SCRIPTS=(install.sh test.sh .ci/run deploy/*.sh testkit/*.sh)

usage() {
    cat <<'TEXT'
Usage: ./test.sh [--quick | --long]

Installs what the tests need from Debian, then runs the checks and the tests, one after the other.

  --quick   formatting, lints, scripts and unit tests: no server, no browser, nothing installed
  --long    also the tests that need a server which takes minutes to build (r-nacos, built once), and the benchmarks
  --help    print this

Where systemd runs, Debian starts etcd, knot and unbound once they are installed; no test needs that. To end it:
sudo systemctl disable --now etcd knot unbound
TEXT
}

main() {
    local extent=normal
    case ${1:-} in
    '') ;;
    --quick) extent=quick ;;
    --long) extent=long ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && say && { say "error: unknown argument '$1'"; exit 2; } ;;
    esac
    (($# <= 1)) || { usage >&2; exit 2; }
    export CARGO_TERM_PROGRESS_WHEN=never
    # Where no terminal is, apt asks nothing and colours help nobody.
    [[ -t 1 ]] || export CARGO_TERM_COLOR=never
    # A shell opened before rustup ran does not have its directory yet; servers are where only root looks for programs.
    export PATH="$PATH:/usr/sbin:${CARGO_HOME:-$(invoker_home)/.cargo}/bin:$PWD/target/tools/bin"
    prepare "$extent"
    if acts_for_another; then
        # Root's part is over: nothing is built or tested as root for somebody else.
        exec sudo -H -u "$SUDO_USER" -- "$PWD/test.sh" "$@"
    fi

    step 'format' cargo fmt --all --check
    step 'scripts' check_scripts
    step 'lints' cargo clippy --workspace --all-targets --locked -- -D warnings
    step 'installer' testkit/test-install.sh
    if [[ $extent == quick ]]; then
        step 'unit tests' run_tests unit
    else
        step 'dependencies' check_dependencies
        step 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
        # Tests of one package start the programs of another, which no test runner builds for them.
        step 'build' cargo build --workspace --bins --locked
        check_emulated_network
        step 'tests' run_tests all
        step 'documentation tests' cargo test --workspace --doc --locked
    fi
    if [[ $extent == long ]]; then
        step 'r-nacos' testkit/install-rnacos.sh
        step 'Nacos tests' run_tests nacos
        # Only whether they still compile; running them takes cargo-fuzz and time (fuzz/README.md).
        step 'fuzz targets' env RUSTFLAGS='--cfg fuzzing' CARGO_TARGET_DIR="$PWD/target/fuzz" cargo check --manifest-path fuzz/Cargo.toml --locked
        step 'benchmarks' run_benchmarks
    fi
    summary
}

prepare() {
    require_rust
    # rustup's minimal profile comes without these two; cargo finds them by name.
    if ! as_invoker cargo fmt --version >/dev/null 2>&1 || ! as_invoker cargo clippy --version >/dev/null 2>&1; then
        as_invoker rustup component add rustfmt clippy ||
            fail 'cargo fmt and cargo clippy are needed: install rustfmt and clippy beside this cargo'
    fi
    [[ $1 != quick ]] || return 0
    require_namespaces
    if command -v apt-get >/dev/null; then
        install_packages "${BUILD_PACKAGES[@]}" "${BROWSER_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
        testkit/install-consul.sh
        # As whoever builds: it lies beside the build.
        as_invoker testkit/install-moto.sh
    else
        require_commands cc c++ cmake pkg-config chromium consul curl dbus-daemon etcd etcdctl gnome-keyring-daemon ip kdig knotc knotd ps python3 shellcheck unbound
        testkit/install-moto.sh
    fi
}

# A failed step does not hide the next: all are run, and the last line counts them.
passed=()
failed=()
skipped=
step() {
    local name=$1 started=$SECONDS
    shift
    say "== $name"
    # In a subshell of its own, so that `set -e` holds inside functions too.
    set +e
    (
        set -e
        "$@"
    )
    local code=$?
    set -e
    if ((code == 0)); then
        passed+=("$name")
        say "== $name: passed in $((SECONDS - started)) s"
    else
        failed+=("$name")
        say "== $name: FAILED with exit code $code after $((SECONDS - started)) s"
    fi
}

summary() {
    if ((${#failed[@]})); then
        printf 'test.sh: %d steps passed, %d failed: %s\n' "${#passed[@]}" "${#failed[@]}" "$(printf '%s, ' "${failed[@]}" | sed 's/, $//')"
        exit 1
    fi
    printf 'test.sh: %d steps passed, 0 failed, in %d s%s\n' "${#passed[@]}" "$SECONDS" "$skipped"
}

check_scripts() {
    command -v shellcheck >/dev/null || fail 'shellcheck is missing: run ./test.sh once without --quick, or install it'
    shellcheck -x "${SCRIPTS[@]}"
}

# nextest runs every test in a process of its own and ends those that hang; without it cargo's own runner does.
run_tests() {
    local nextest=(cargo nextest run --workspace --locked --no-fail-fast)
    local plain=(cargo test --workspace --locked --no-fail-fast)
    local runner=plain
    ! cargo nextest --version >/dev/null 2>&1 || runner=nextest
    case $runner-$1 in
    nextest-unit) "${nextest[@]}" --lib --bins ;;
    nextest-all) "${nextest[@]}" ;;
    nextest-nacos) cargo nextest run -p cbrowse-registry --locked --no-fail-fast --run-ignored only -E 'test(nacos)' ;;
    plain-unit) "${plain[@]}" --lib --bins ;;
    plain-all) "${plain[@]}" --lib --bins --tests ;;
    plain-nacos) cargo test -p cbrowse-registry --locked --no-fail-fast --test it -- --ignored nacos ;;
    esac
}

# Prints its figures beside those of a bare DevTools client and of the registries' own tools; they are for reading, no
# number fails.
run_benchmarks() {
    cargo build --release --locked -p cbrowse -p cbrowse-node -p cbrowse-testkit
    target/release/bench --runs 5
    target/release/bench catalogs
    target/release/bench network --runs 5 --beside 2
}

# Choosing among many nodes is tested on a network of namespaces and TUN devices. Where they are not permitted, the last
# line says so.
check_emulated_network() {
    local reason
    reason=$(target/debug/emulate 2>&1) && return
    say "== SKIPPED: tests that need an emulated network ($reason)"
    skipped='; skipped: tests that need an emulated network'
}

check_dependencies() {
    # Built once, in two to four minutes, beside the build and not into the user's own directory.
    cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --root target/tools
    # The advisories need a database from the network, so a release asks for them by hand: cargo deny check advisories
    cargo deny check bans licenses sources
}

main "$@"
