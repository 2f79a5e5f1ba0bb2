#!/usr/bin/env bash
# Whether the dependencies keep the rules of deny.toml that matter most, in a second and without cargo-deny.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# aws-lc-rs is the only crypto provider: a second one is a second set of bugs, and rustls panics when both are there.
BANNED=(ring openssl openssl-sys native-tls)
# Two of these would not fit together, and each is large.
ONE_VERSION=(tokio hyper rustls reqwest axum hickory-resolver)

tree=$(cargo tree --workspace --all-features --locked --edges normal,build,dev --prefix none --format '{p}' |
    awk '{ print $1, $2 }' | sort -u)
failures=0
for name in "${BANNED[@]}"; do
    if grep "^$name v" <<<"$tree"; then
        echo "error: $name is banned; this brings it in:"
        cargo tree --workspace --all-features --locked --invert "$name" || true
        failures=$((failures + 1))
    fi
done
for name in "${ONE_VERSION[@]}"; do
    versions=$(grep "^$name v" <<<"$tree" || true)
    if (($(grep -c . <<<"$versions") > 1)); then
        printf 'error: more than one version of %s:\n%s\n' "$name" "$versions"
        failures=$((failures + 1))
    fi
done
# The check would pass on an empty tree, so it names one that has to be there.
grep -q '^aws-lc-rs v' <<<"$tree" || { echo 'error: aws-lc-rs is not in the tree' && failures=$((failures + 1)); }
exit $((failures > 0))
