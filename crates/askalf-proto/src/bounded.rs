//! Strings whose length is checked before they are copied out of the frame.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::limits::{AUDIT_HEAD_LEN, MAX_ID, MAX_NAME};

/// A required identifier of 1 to [`MAX_ID`] bytes.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_str(Bounded { min: 1, max: MAX_ID })
}

/// A name of at most [`MAX_NAME`] bytes; absent, `null` and empty are all `None`.
pub(crate) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer
        .deserialize_option(Optional(Bounded {
            min: 0,
            max: MAX_NAME,
        }))
        .map(|name| name.filter(|name| !name.is_empty()))
}

/// An optional identifier of at most [`MAX_ID`] bytes.
pub(crate) fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer
        .deserialize_option(Optional(Bounded { min: 0, max: MAX_ID }))
        .map(|id| id.filter(|id| !id.is_empty()))
}

/// A digest in [`AUDIT_HEAD_LEN`] lower-case hex digits.
pub(crate) fn hex_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let digest = deserializer.deserialize_str(Bounded {
        min: AUDIT_HEAD_LEN,
        max: AUDIT_HEAD_LEN,
    })?;
    if digest
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        Ok(digest)
    } else {
        Err(de::Error::custom("not lower-case hex digits"))
    }
}

struct Bounded {
    min: usize,
    max: usize,
}

impl Visitor<'_> for Bounded {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a string of {} to {} bytes", self.min, self.max)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
        if (self.min..=self.max).contains(&value.len()) {
            Ok(value.to_owned())
        } else {
            Err(E::invalid_length(value.len(), &self))
        }
    }
}

struct Optional(Bounded);

impl<'de> Visitor<'de> for Optional {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self.0).map(Some)
    }
}
