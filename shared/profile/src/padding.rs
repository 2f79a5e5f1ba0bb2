//! Padmé: lengths are rounded up so that they say little (Nikitin et al., "Reducing Metadata Leakage from
//! Encrypted Files and Communication with PURBs", PoPETs 2019).

/// Objects are never shorter than this many bytes before sealing. Smaller, and the one changed chunk of a
/// save shows its own length; larger, and every small save pays for it.
pub const MIN_PADDED_LENGTH: usize = 1024;

/// The length to pad `length` bytes to: at most 12 % more, and one of few values for each power of two.
pub fn padded_length(length: usize) -> usize {
    let length = length.max(MIN_PADDED_LENGTH);
    let exponent = length.ilog2();
    let kept_bits = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - kept_bits)) - 1;
    (length + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_at_most_twelve_per_cent_and_idempotent() {
        for length in (MIN_PADDED_LENGTH..3_000_000).step_by(997) {
            let padded = padded_length(length);
            assert!(padded >= length && (padded - length) * 100 <= length * 12, "{length} {padded}");
            assert_eq!(padded_length(padded), padded);
        }
    }

    /// Of 2^20 lengths between one and two MiB, Padmé tells 32 apart.
    #[test]
    fn few_lengths_can_be_told_apart() {
        let lengths: std::collections::BTreeSet<_> =
            ((1 << 20)..(2 << 20)).step_by(101).map(padded_length).collect();
        assert!(lengths.len() <= 33, "{}", lengths.len());
    }

    #[test]
    fn small_lengths_all_look_the_same() {
        for length in 0..=MIN_PADDED_LENGTH {
            assert_eq!(padded_length(length), MIN_PADDED_LENGTH);
        }
        assert!(padded_length(MIN_PADDED_LENGTH + 1) > MIN_PADDED_LENGTH);
    }
}
