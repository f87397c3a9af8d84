//! `timestamptz` in SQLite: RFC 3339 in UTC with milliseconds, `2026-11-24T07:33:00.000Z`. Text order is time order.

use askalf_bridge_auth::UnixMillis;
use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};
use rusqlite::Row;

use super::fault::Fault;

// Civil times, and not jiff's own `Timestamp`: that one ends two hours before the last day that has four digits for its
// year, and such a day is what people write for "never".
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// 0000-01-01T00:00:00Z: earlier years have no four-digit form.
const MIN_MILLIS: i64 = -62_167_219_200_000;

/// 9999-12-31T23:59:59.999Z.
const MAX_MILLIS: i64 = 253_402_300_799_999;

/// The text of `time`; times outside the years 0 to 9999 become the nearest of them.
pub(super) fn to_text(time: UnixMillis) -> String {
    let since = SignedDuration::from_millis(time.0.clamp(MIN_MILLIS, MAX_MILLIS));
    format!("{:.3}Z", EPOCH.saturating_add(since))
}

/// The time that a column's text stands for.
pub(super) fn from_text(text: &str) -> Result<UnixMillis, Fault> {
    let damaged = || Fault::damaged_row("a time");
    let time: DateTime = text
        .strip_suffix('Z')
        .and_then(|text| text.parse().ok())
        .ok_or_else(damaged)?;
    let millis = time.duration_since(EPOCH).as_millis();
    i64::try_from(millis).map(UnixMillis).map_err(|_| damaged())
}

/// The time in a column of a row.
pub(super) fn from_column(row: &Row<'_>, index: usize) -> Result<UnixMillis, Fault> {
    from_text(row.get_ref(index)?.as_str().map_err(rusqlite::Error::from)?)
}

/// The same for a column that may be null.
pub(super) fn from_optional_text(text: Option<String>) -> Result<Option<UnixMillis>, Fault> {
    text.as_deref().map(from_text).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_milliseconds_and_survives() {
        for (millis, text) in [
            (1_795_505_580_000, "2026-11-24T07:33:00.000Z"),
            (1_795_505_580_007, "2026-11-24T07:33:00.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (MIN_MILLIS, "0000-01-01T00:00:00.000Z"),
            (MAX_MILLIS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(to_text(UnixMillis(millis)), text);
            assert_eq!(from_text(text).unwrap(), UnixMillis(millis));
        }
    }

    #[test]
    fn times_beyond_four_digits_saturate() {
        assert_eq!(to_text(UnixMillis(i64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(to_text(UnixMillis(i64::MIN)), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_is_no_guess() {
        for text in [
            "tomorrow",
            "2026-11-24T07:33:00.000",
            "2026-11-24T07:33:00.000+02:00",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }
}
