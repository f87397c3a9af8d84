//! What both backends write and read of an execution in the same way.

use askalf_bridge_core::stores::{ExecutionEnd, ExecutionFilter, StoreError};
use serde_json::{Map, Value};

/// The agent that an operator's dispatches run under: the forge wants one behind each execution, so each owner gets one
/// of this slug.
pub(crate) const DISPATCH_AGENT: &str = "askalf-dispatch";

/// What [`ExecutionFilter::limit`] 0 means.
const DEFAULT_LIMIT: u32 = 100;

/// The most rows that a listing wants.
pub(crate) fn limit(filter: &ExecutionFilter) -> u32 {
    match filter.limit {
        0 => DEFAULT_LIMIT,
        limit => limit,
    }
}

/// An end must be one.
pub(crate) fn refuse_open(end: &ExecutionEnd) -> Result<(), StoreError> {
    if end.status.is_open() {
        let word = end.status.as_str();
        return Err(StoreError::Invalid(format!(
            "an execution cannot end as '{word}'"
        )));
    }
    Ok(())
}

/// What an end adds to the metadata. What it does not tell is left out, and so stays as it was.
pub(crate) fn end_metadata(end: &ExecutionEnd) -> Value {
    let facts = [
        ("cause", end.cause.map(|cause| cause.as_str().into())),
        ("exitCode", end.exit_code.map(Value::from)),
        ("signal", end.signal.map(Value::from)),
    ];
    let told = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(told.collect::<Map<_, _>>())
}
