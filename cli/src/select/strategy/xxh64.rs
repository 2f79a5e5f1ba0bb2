//! XXH64, the hash by which Envoy's Maglev places hosts: stable everywhere and for ever, not cryptographic.
//!
//! Source: the xxHash specification (Collet), XXH64 algorithm. Frozen: another hash moves every profile to another node.

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];
/// Bytes that four lanes take in one step.
const STRIPE: usize = 32;

/// The hash of `bytes`.
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let stripes = bytes.chunks_exact(STRIPE);
    let rest = stripes.remainder();
    let start = if bytes.len() >= STRIPE { of_stripes(stripes, seed) } else { seed.wrapping_add(PRIMES[4]) };
    finish(start.wrapping_add(bytes.len() as u64), rest)
}

fn of_stripes<'a>(stripes: impl Iterator<Item = &'a [u8]>, seed: u64) -> u64 {
    let mut lanes = [
        seed.wrapping_add(PRIMES[0]).wrapping_add(PRIMES[1]),
        seed.wrapping_add(PRIMES[1]),
        seed,
        seed.wrapping_sub(PRIMES[0]),
    ];
    for stripe in stripes {
        for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
            *lane = round(*lane, word(bytes));
        }
    }
    let mixed = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, turn)| lane.rotate_left(turn));
    let mixed = mixed.fold(0, u64::wrapping_add);
    lanes
        .iter()
        .fold(mixed, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
}

fn finish(mut hash: u64, rest: &[u8]) -> u64 {
    let words = rest.chunks_exact(8);
    let mut tail = words.remainder();
    for bytes in words {
        hash = (hash ^ round(0, word(bytes))).rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    if let Some((half, bytes)) = tail.split_at_checked(4) {
        let half = word(half).wrapping_mul(PRIMES[0]);
        hash = (hash ^ half).rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        tail = bytes;
    }
    for byte in tail {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4])).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

/// Up to eight bytes, the least significant first.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published figures: the xxHash project's own for the empty input and short texts.
    #[test]
    fn the_published_figures() {
        assert_eq!(xxh64(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
    }
}
