//! Sizes as people write them: `64MiB`, `500 kB`, `4096`; a bare number is bytes.

/// Units, largest first, so that what is written is short.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a number of bytes; 0 is one.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write 64MiB, 500kB or 0");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let found = UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let bytes = if unit.is_empty() { 1 } else { found.ok_or_else(wrong)?.1 };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(bytes).ok_or_else(wrong)
}

/// The slowest rate that is accepted: a node gives an object three minutes to arrive.
pub const LEAST_RATE: u64 = 64 * 1024;

/// Reads bytes a second as `--limit-rate` takes them: `2M`, `500K` (powers of 1024), or any size; 0 is no limit.
pub fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    let short = text.to_ascii_uppercase();
    let rate = match short.strip_suffix(['K', 'M', 'G']) {
        Some(_) => parse_size(&format!("{short}iB")),
        None => parse_size(text),
    };
    match rate.map_err(|_| format!("{text:?} is no rate; write 2M, 500K or 0 for none"))? {
        0 => Ok(None),
        slow if slow < LEAST_RATE => {
            Err(format!("{text:?} is too slow for a profile to arrive in time; at least 64K"))
        }
        rate => Ok(Some(rate)),
    }
}

/// Writes a size so that [`parse_size`] reads it back.
pub fn format_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, bytes) in [("64MiB", 64 << 20), ("500kB", 500_000), ("1GiB", 1 << 30), ("7B", 7), ("0", 0)]
        {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!((parse_size("4096"), parse_size("2 mib")), (Ok(4096), Ok(2 << 20)));
    }

    #[test]
    fn a_rate_is_short_and_not_too_slow() {
        for (text, rate) in
            [("2M", Some(2 << 20)), ("64k", Some(LEAST_RATE)), ("1MB", Some(1_000_000)), ("0", None)]
        {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for text in ["", "M", "fast", "65535", "1K", "-1"] {
            assert!(parse_rate(text).is_err_and(|error| error.contains(&format!("{text:?}"))), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_named() {
        for text in ["", "big", "-1", "1.5MiB", "64Mi", "99999999999GiB"] {
            assert!(parse_size(text).is_err_and(|error| error.contains(&format!("{text:?}"))), "{text}");
        }
    }
}
