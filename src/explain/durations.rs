//! Times and periods for people. Pure.

use jiff::{SignedDuration, Timestamp};

/// A time with how far off it is: `2026-06-04T12:00:00Z (in 2 h)`.
#[must_use]
pub fn when(text: &str, now: Timestamp) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    let off = time.duration_since(now);
    let span = |span: SignedDuration| seconds(span.as_secs().unsigned_abs());
    if off.is_negative() { format!("{text} ({} ago)", span(off)) } else { format!("{text} (in {})", span(off)) }
}

/// A period in its largest fitting unit: `90 s`, `3 min`.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_say_how_far_off_they_are() {
        let now: Timestamp = "2026-06-02T00:00:00Z".parse().expect("a time");
        assert_eq!(when("2026-06-04T12:00:00Z", now), "2026-06-04T12:00:00Z (in 2 d)");
        assert_eq!(when("2026-06-01T23:59:00Z", now), "2026-06-01T23:59:00Z (60 s ago)");
        assert_eq!(when("2026-06-01T22:00:01Z", now), "2026-06-01T22:00:01Z (119 min ago)");
        assert_eq!(when("soon", now), "soon");
    }
}
