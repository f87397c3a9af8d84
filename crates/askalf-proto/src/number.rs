//! Numbers of peers that are not careful with them: one bad count must not lose the message that carries it.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{self, IgnoredAny, Visitor};

/// A number that counts or measures something; below zero only where the type has room for it.
pub(crate) trait Measure: Sized {
    fn from_u64(value: u64) -> Option<Self>;
    fn from_i64(value: i64) -> Option<Self> {
        u64::try_from(value).ok().and_then(Self::from_u64)
    }
    fn from_f64(value: f64) -> Option<Self>;
}

impl Measure for u32 {
    fn from_u64(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn from_f64(value: f64) -> Option<Self> {
        u64::from_f64(value).and_then(Self::from_u64)
    }
}

impl Measure for u64 {
    fn from_u64(value: u64) -> Option<Self> {
        Some(value)
    }

    /// Only whole numbers that a double holds exactly.
    fn from_f64(value: f64) -> Option<Self> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        ((0.0..=EXACT).contains(&value) && value.fract() == 0.0).then_some(value as Self)
    }
}

/// Exit statuses and signal numbers.
impl Measure for i32 {
    fn from_u64(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn from_i64(value: i64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn from_f64(value: f64) -> Option<Self> {
        u64::from_f64(value).and_then(Self::from_u64)
    }
}

/// Costs, loads and seconds.
impl Measure for f64 {
    fn from_u64(value: u64) -> Option<Self> {
        Some(value as Self)
    }

    fn from_f64(value: f64) -> Option<Self> {
        (value.is_finite() && value >= 0.0).then_some(value)
    }
}

/// The number, or `None` for anything else: `null`, text, a negative or a broken count.
pub(crate) fn fitting<'de, D: Deserializer<'de>, T: Measure>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Fitting(PhantomData))
}

/// The number, or 0 for anything else.
pub(crate) fn or_zero<'de, D: Deserializer<'de>, T: Measure + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    fitting(deserializer).map(Option::unwrap_or_default)
}

/// Whether a field says as much as a missing one.
pub(crate) fn is_zero(value: &u32) -> bool {
    *value == 0
}

struct Fitting<T>(PhantomData<T>);

impl<'de, T: Measure> Visitor<'de> for Fitting<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(T::from_u64(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(T::from_i64(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(T::from_f64(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
