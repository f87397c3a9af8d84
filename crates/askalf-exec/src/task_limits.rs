//! What the processes of tasks may use.

use serde::{Deserialize, Serialize};

/// What each task may use. What is absent is as the agent itself may; core dumps are off in any case, since they hold what a
/// process had in memory.
///
/// A runner binds itself before it starts its command, and so all that the command starts.
///
/// ```
/// let limits: askalf_exec::TaskLimits = serde_json::from_str(r#"{"openFiles": 1024, "memoryMB": 2048}"#)?;
/// assert_eq!(limits.checked()?.open_files, Some(1024));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskLimits {
    /// Open files of a process; at least 64, which the runner needs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Processes and threads of the user that runs the tasks, in all. It does not bind root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Address space of a process in MiB; at least 256.
    #[serde(rename = "memoryMB", skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Processor time of a process in seconds; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
}

/// Why limits cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskLimitsError {
    /// Below what a runner itself needs.
    #[error("the limit '{name}' is {value}, below {least}: nothing could run")]
    TooLow {
        /// Its name in JSON.
        name: &'static str,
        /// What was asked for.
        value: u64,
        /// The least that works.
        least: u64,
    },
    /// The system does not take it.
    #[error("the system does not set the limit '{name}'")]
    NotSet {
        /// Its name in JSON.
        name: &'static str,
    },
}

impl TaskLimitsError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::TooLow { .. } => "task-limit-too-low",
            Self::NotSet { .. } => "task-limit-not-set",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLow { .. } => "raise the limit, or leave it out",
            Self::NotSet { .. } => "leave the limit out: this system has none of its kind",
        }
    }
}

impl TaskLimits {
    /// The limits, where each is high enough for a runner to work.
    ///
    /// # Errors
    /// [`TaskLimitsError::TooLow`]
    pub fn checked(self) -> Result<Self, TaskLimitsError> {
        for (name, value, least) in [
            ("openFiles", self.open_files, 64),
            ("processes", self.processes, 1),
            ("memoryMB", self.memory_mb, 256),
            ("cpuSeconds", self.cpu_seconds, 1),
        ] {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(TaskLimitsError::TooLow { name, value, least });
            }
        }
        Ok(self)
    }

    /// Binds this process and all that it starts from now on, for good. A limit above what the process may is that.
    ///
    /// # Errors
    /// [`TaskLimitsError::NotSet`]; some limits may hold already.
    pub fn bind(&self) -> Result<(), TaskLimitsError> {
        system::bind(self)
    }
}

#[cfg(unix)]
mod system {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::{TaskLimits, TaskLimitsError};

    const MIB: u64 = 1024 * 1024;

    pub(super) fn bind(limits: &TaskLimits) -> Result<(), TaskLimitsError> {
        let memory = limits.memory_mb.map(|memory| memory.saturating_mul(MIB));
        for (name, resource, limit) in [
            ("core", Resource::Core, Some(0)),
            ("openFiles", Resource::Nofile, limits.open_files),
            ("processes", Resource::Nproc, limits.processes),
            ("memoryMB", Resource::As, memory),
            ("cpuSeconds", Resource::Cpu, limits.cpu_seconds),
        ] {
            let Some(limit) = limit else { continue };
            let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let limit = Some(limit.min(most));
            let both = Rlimit {
                current: limit,
                maximum: limit,
            };
            setrlimit(resource, both).map_err(|_| TaskLimitsError::NotSet { name })?;
        }
        Ok(())
    }
}

#[cfg(windows)]
mod system {
    use super::{TaskLimits, TaskLimitsError};

    /// Windows has limits for a job alone, not for each process in it.
    pub(super) fn bind(limits: &TaskLimits) -> Result<(), TaskLimitsError> {
        let first = [
            ("openFiles", limits.open_files),
            ("processes", limits.processes),
            ("memoryMB", limits.memory_mb),
            ("cpuSeconds", limits.cpu_seconds),
        ]
        .into_iter()
        .find(|(_, limit)| limit.is_some());
        match first {
            Some((name, _)) => Err(TaskLimitsError::NotSet { name }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_keep_a_runner_from_its_work_is_refused() {
        let too_low = |json: &str| {
            let limits: TaskLimits = serde_json::from_str(json).unwrap();
            limits.checked().unwrap_err().to_string()
        };
        assert_eq!(
            too_low(r#"{"openFiles": 10}"#),
            "the limit 'openFiles' is 10, below 64: nothing could run"
        );
        assert_eq!(
            too_low(r#"{"memoryMB": 255, "cpuSeconds": 1}"#),
            "the limit 'memoryMB' is 255, below 256: nothing could run"
        );
        assert_eq!(
            too_low(r#"{"cpuSeconds": 0}"#),
            "the limit 'cpuSeconds' is 0, below 1: nothing could run"
        );
    }

    #[test]
    fn a_misspelt_limit_is_none_that_is_passed_over() {
        for json in [
            r#"{"openfiles": 100}"#,
            r#"{"openFiles": -1}"#,
            r#"{"openFiles": "many"}"#,
            "7",
        ] {
            assert!(serde_json::from_str::<TaskLimits>(json).is_err(), "{json}");
        }
        let limits = TaskLimits {
            memory_mb: Some(512),
            ..TaskLimits::default()
        };
        assert_eq!(serde_json::to_string(&limits).unwrap(), r#"{"memoryMB":512}"#);
    }
}
