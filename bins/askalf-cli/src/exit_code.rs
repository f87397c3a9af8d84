//! Exit codes, stable so that service units and scripts can react to them.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line was wrong.
    Usage,
    /// The bridge is not available (`EX_UNAVAILABLE` of sysexits.h).
    Unavailable,
    /// Something is in the way now; the same command may work later (`EX_TEMPFAIL`).
    TryAgain,
    /// Not allowed (`EX_NOPERM`).
    Permission,
    /// The configuration or the credential must be set up again (`EX_CONFIG`).
    Configuration,
    /// As the dispatched task did: its status, or 128 and the number of its signal.
    Task(u8),
}

impl ExitCode {
    /// The number that the process exits with.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::TryAgain => 75,
            Self::Permission => 77,
            Self::Configuration => 78,
            Self::Task(code) => code,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}
