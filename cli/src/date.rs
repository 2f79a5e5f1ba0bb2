//! Points in time for a person: `2026-12-20 08:00 UTC`, without a calendar library.

/// `seconds` since the Unix epoch as a date and time in UTC, to the minute.
pub fn utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let minutes = seconds % 86_400 / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// `seconds` since the Unix epoch as RFC 3339 writes them: `2026-12-20T08:00:07Z`.
pub fn rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{}Z", clock(seconds))
}

/// The time of day in UTC: `08:00:07`.
pub fn clock(seconds: u64) -> String {
    let second = seconds % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// How long until `then`, or how long ago: `in 30 days`, `2 hours ago`, `now`.
pub fn relative(now: u64, then: u64) -> String {
    let seconds = now.abs_diff(then);
    if seconds == 0 {
        return "now".into();
    }
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if then >= now { format!("in {count} {unit}{plural}") } else { format!("{count} {unit}{plural} ago") }
}

/// Seconds since the Unix epoch of a date as HTTP writes it (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
/// `None` for anything else, the two obsolete forms included.
pub fn parse_http(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let number = |text: &str, length: usize, most: u64| -> Option<u64> {
        let is_number = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten().filter(|number| *number <= most)
    };
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next()?, 2, 23)?, number(clock.next()?, 2, 59)?);
    // A leap second may stand there.
    let second = number(clock.next()?, 2, 60)?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (year, day) = (number(year, 4, 9999).filter(|year| *year >= 1970)?, number(day, 2, 31)?);
    let day = day_number(year, month, day.checked_sub(1)?);
    clock.next().is_none().then_some(day * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of the `day`-th day, from 0, of a month: the inverse of [`civil`].
fn day_number(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Eras of 400 years (146,097 days) begin on a
/// first of March, so that the leap day comes last.
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked against `date -u -d @N`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
    }

    #[test]
    fn dates_of_http_are_read_back() {
        assert_eq!(parse_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for seconds in [0, 951_782_399, 951_782_400, 951_868_800, 1_735_689_599, 4_107_542_400] {
            let (year, month, day) = civil(seconds / 86_400);
            assert_eq!(day_number(year, month, day - 1), seconds / 86_400);
        }
        for wrong in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
        ] {
            assert_eq!(parse_http(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn spans_read_as_a_person_says_them() {
        assert_eq!(relative(0, 30 * 86_400), "in 30 days");
        assert_eq!(relative(3600, 3599), "1 second ago");
        assert_eq!(relative(7200, 0), "2 hours ago");
        assert_eq!(relative(7, 7), "now");
        assert_eq!(relative(0, 119), "in 119 seconds");
        assert_eq!(relative(0, 120), "in 2 minutes");
    }
}
