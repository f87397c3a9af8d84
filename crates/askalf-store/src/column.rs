//! What the forge's columns can hold, and how a value that does not fit is brought into bounds. What a device reports
//! is never a reason to lose its result: such values saturate. What a person types is refused instead.

use askalf_bridge_core::stores::{NewUser, StoreError};

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

/// The longest e-mail address that can be delivered to (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS: usize = 254;

/// As the slug of a tenant, which is made from its id.
const MAX_ID: usize = 100;

/// A user that somebody typed, or what is wrong with it.
pub(crate) fn checked_user(user: NewUser) -> Result<NewUser, StoreError> {
    checked_id("id of the user", &user.id)?;
    if let Some(tenant) = &user.tenant_id {
        checked_id("id of the tenant", tenant)?;
    }
    let is_address = user
        .email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
        && !user.email.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_address {
        return Err(StoreError::Invalid(format!(
            "'{}' is no e-mail address",
            user.email.escape_debug()
        )));
    }
    let email = varchar("e-mail address", user.email, MAX_ADDRESS)?;
    let display_name = user
        .display_name
        .map(|name| varchar("name of the user", name, 255))
        .transpose()?;
    Ok(NewUser {
        email,
        display_name,
        ..user
    })
}

fn checked_id(what: &str, id: &str) -> Result<(), StoreError> {
    if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(StoreError::Invalid(format!(
            "the {what} is empty or contains spaces"
        )));
    }
    varchar(what, id.to_owned(), MAX_ID).map(drop)
}

/// Why no tenant was chosen where none was named.
pub(crate) fn unclear_tenant(there_is_none: bool) -> StoreError {
    StoreError::Invalid(
        if there_is_none {
            "there is no tenant yet: name one with --tenant"
        } else {
            "there are several tenants: name one with --tenant"
        }
        .to_owned(),
    )
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
