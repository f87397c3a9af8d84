//! `taskLimits` in agent.json.

use askalf_cli::{ExitCode, Failure};
use askalf_cred::AgentConfig;
use askalf_exec::TaskLimits;

/// The field of agent.json.
const FIELD: &str = "taskLimits";

/// The limits that are set up; none where the field is absent. A limit that cannot be read is a failure, not none: somebody
/// relies on it.
pub(crate) fn configured(config: &AgentConfig) -> Result<TaskLimits, Failure> {
    let Some(value) = config.extra.get(FIELD).filter(|value| !value.is_null()) else {
        return Ok(TaskLimits::default());
    };
    let limits: TaskLimits = serde_json::from_value(value.clone()).map_err(|error| {
        Failure::new(ExitCode::Configuration, format!("agent.json: '{FIELD}': {error}"))
            .hint("it takes openFiles, processes, memoryMB and cpuSeconds, each a whole number")
    })?;
    let limits = limits.checked().map_err(|error| {
        Failure::new(ExitCode::Configuration, format!("agent.json: {error}")).hint(error.hint())
    })?;
    if cfg!(windows) && limits != TaskLimits::default() {
        return Err(Failure::new(
            ExitCode::Configuration,
            format!("agent.json: '{FIELD}' is not kept on Windows"),
        )
        .hint("leave it out"));
    }
    Ok(limits)
}
