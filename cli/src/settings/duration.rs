//! Durations as people write them: `80ms`, `1.5s`, `2m`; a bare number is milliseconds. Ages are longer: `36h`, `7d`.

use std::time::Duration;

/// Longest duration that makes sense in a setting; more overflows nothing, and is a slip.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Longest age that makes sense in a setting.
const OLDEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a duration above zero.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = read(text).ok_or_else(|| format!("{text:?} is not a duration; write 80ms, 1.5s or 2m"))?;
    if duration.is_zero() {
        return Err(format!("{text:?} is no time at all; write 80ms, 1.5s or 2m"));
    }
    if duration > LONGEST {
        return Err(format!("{text:?} is longer than a day"));
    }
    Ok(duration)
}

/// Reads an age; 0 is one.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let age = read(text).ok_or_else(|| format!("{text:?} is not an age; write 10s, 15m, 24h or 7d, or 0"))?;
    if age > OLDEST {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(age)
}

fn read(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit.trim() {
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * seconds_per_unit).ok()
}

/// Writes a duration so that [`parse_duration`] reads it back, to a microsecond.
pub fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros.is_multiple_of(1_000_000) {
        return format!("{}s", micros / 1_000_000);
    }
    let text = format!("{}.{:03}", micros / 1_000, micros % 1_000);
    format!("{}ms", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Writes an age so that [`parse_age`] reads it back, to a microsecond.
pub fn format_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        _ if age.is_zero() => "0".to_owned(),
        _ if age.subsec_nanos() > 0 => format_duration(age),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_spellings_are_read() {
        for (text, ms) in [("80", 80), ("80ms", 80), ("0.5s", 500), ("2 s", 2000), ("1m", 60_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_named() {
        for text in ["", "fast", "-1s", "1h30", "1e9s", "0", "0ms", "NaN", "25m m", "1441m", "."] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert!(parse_duration("1440m").is_ok());
    }

    #[test]
    fn ages_may_be_long_and_may_be_nothing() {
        for (text, seconds) in [("0", 0), ("10s", 10), ("24h", 86_400), ("7d", 604_800), ("366d", 31_622_400)]
        {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["0", "10s", "90s", "15m", "24h", "1500ms"] {
            assert_eq!(format_age(parse_age(text).unwrap()), text);
        }
        for text in ["", "-1h", "a day", "367d", "1w"] {
            assert!(parse_age(text).is_err_and(|error| error.contains(&format!("{text:?}"))), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for micros in [1, 80_000, 80_500, 1_500_000, 2_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert_eq!(format_duration(Duration::from_millis(80)), "80ms");
    }
}
