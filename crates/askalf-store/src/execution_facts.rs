//! What both backends write and read of an execution in the same way.

use askalf_bridge_core::stores::{ExecutionEnd, ExecutionFilter, Principal, StoreError, TaskTerms};
use serde_json::{Map, Value, json};

use crate::column;

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

/// Whether a cancel is a person's act: that of a device, or of the bridge itself, is none.
pub(crate) fn is_somebody(who: &Principal) -> bool {
    match who {
        Principal::LocalAdmin { .. } | Principal::Operator { .. } => true,
        Principal::Bridge | Principal::Device { .. } => false,
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

/// What a new execution keeps of its dispatch. `redeliverable` says that all of it is here.
pub(crate) fn dispatch_metadata(executor: String, terms: TaskTerms) -> Value {
    let mut metadata = json!({
        "executor": column::text(executor),
        "redeliverable": !terms.had_credentials,
    });
    let told = [
        ("timeoutMs", terms.timeout_ms.map(Value::from)),
        (
            "workingDirectory",
            terms.working_directory.map(|folder| column::text(folder).into()),
        ),
        ("maxTurns", terms.max_turns.map(Value::from)),
        ("maxBudget", terms.max_budget.map(Value::from)),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            metadata[name] = value;
        }
    }
    metadata
}

/// What was kept of a dispatch: its executor, and the rest where all of it was kept. The forge keeps its own things in there, and
/// so did bridges before this one.
pub(crate) fn kept_dispatch(metadata: &Value) -> (String, Option<TaskTerms>) {
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| metadata.get(name).and_then(Value::as_u64);
    let executor = text("executor");
    let whole = metadata.get("redeliverable").and_then(Value::as_bool);
    let terms = whole
        .filter(|_| executor.is_some())
        .map(|redeliverable| TaskTerms {
            timeout_ms: number("timeoutMs"),
            working_directory: text("workingDirectory"),
            max_turns: number("maxTurns").and_then(|turns| turns.try_into().ok()),
            max_budget: metadata.get("maxBudget").and_then(Value::as_f64),
            had_credentials: !redeliverable,
        });
    (executor.unwrap_or_default(), terms)
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
