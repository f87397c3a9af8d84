//! JSON in `jsonb`.

use serde_json::{Map, Value};

use crate::column;

/// An object as `jsonb` can hold it: U+0000, which it cannot, becomes U+FFFD, in names and in texts.
pub(super) fn object(fields: &Map<String, Value>) -> Value {
    Value::Object(
        fields
            .iter()
            .map(|(name, value)| (column::text(name.clone()), storable(value)))
            .collect(),
    )
}

fn storable(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(column::text(text.clone())),
        Value::Array(items) => items.iter().map(storable).collect(),
        Value::Object(fields) => object(fields),
        other => other.clone(),
    }
}

/// About how much text an object holds, in bytes.
pub(super) fn size(fields: &Map<String, Value>) -> usize {
    fields
        .iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_size).sum(),
        Value::Object(fields) => size(fields),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_jsonb_cannot_hold_is_replaced_at_any_depth() {
        let told = json!({ "a\0": ["b\0", { "c": "\0" }, 1, null, true], "ü": "d" });
        assert_eq!(
            object(told.as_object().unwrap()),
            json!({ "a\u{fffd}": ["b\u{fffd}", { "c": "\u{fffd}" }, 1, null, true], "ü": "d" })
        );
    }

    #[test]
    fn a_size_counts_names_and_texts() {
        let told = json!({ "abc": ["de", { "f": "gh" }] });
        assert_eq!(size(told.as_object().unwrap()), 8);
    }
}
