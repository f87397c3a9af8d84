//! What the forge's columns can hold, and how a value that does not fit is brought into bounds. What a device reports
//! is never a reason to lose its result: such values saturate. What a person types is refused instead.

use askalf_bridge_core::stores::StoreError;

/// `numeric(10, 6)`: ten digits, six of them after the point.
const MAX_COST: f64 = 9_999.999_999;

/// A cost in `numeric(10, 6)`: rounded to 6 places, within its bounds; what is no number, or negative, is 0.
pub(crate) fn cost(dollars: f64) -> f64 {
    if dollars.is_nan() || dollars < 0.0 {
        return 0.0;
    }
    (dollars.min(MAX_COST) * 1e6).round() / 1e6
}

/// A count in `integer`, which is 32 bits wide in PostgreSQL and so here too.
pub(crate) fn int4(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A text as PostgreSQL can hold it: U+0000, which it cannot, becomes U+FFFD.
pub(crate) fn text(mut text: String) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    text
}

/// A text that somebody chose, in `varchar(max)`.
pub(crate) fn varchar(what: &str, value: String, max: usize) -> Result<String, StoreError> {
    let characters = value.chars().count();
    if characters > max {
        return Err(StoreError::Invalid(format!(
            "the {what} has {characters} characters; at most {max} fit"
        )));
    }
    Ok(text(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_fits_its_column_whatever_was_reported() {
        for (reported, stored) in [
            (0.123_456_4, 0.123_456),
            (1e300, MAX_COST),
            (f64::INFINITY, MAX_COST),
            (f64::NAN, 0.0),
            (-1.0, 0.0),
            (9_999.999_999_9, MAX_COST),
        ] {
            assert_eq!(cost(reported), stored, "{reported}");
        }
    }

    #[test]
    fn counts_saturate_and_text_loses_only_its_nuls() {
        assert_eq!(int4(u64::MAX), i32::MAX);
        assert_eq!(int4(7), 7);
        assert_eq!(text("a\0ü".to_owned()), "a\u{fffd}ü");
    }

    #[test]
    fn a_chosen_text_is_refused_by_characters_not_bytes() {
        assert_eq!(varchar("name", "ü".repeat(3), 3).unwrap(), "üüü");
        assert_eq!(
            varchar("name", "four".to_owned(), 3).unwrap_err().to_string(),
            "the name has 4 characters; at most 3 fit"
        );
    }
}
