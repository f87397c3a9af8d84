use thiserror::Error;

/// Keeps the memory of this process from others: no core dump of it is written, and no other process of the same user may trace
/// it or read its memory. For a daemon, once, at its start, before it reads a credential.
///
/// | system | crash dumps | other processes |
/// |---|---|---|
/// | Linux | `RLIMIT_CORE` is 0, which children inherit | `PR_SET_DUMPABLE` is 0, which a program that is executed gets back: tasks can be traced as ever. Most of `/proc/PID` then belongs to root, which keeps `/proc/PID/mem` from a task of the same user |
/// | macOS (never run) | `RLIMIT_CORE` is 0 | `PT_DENY_ATTACH`: no debugger attaches, which children do not inherit |
/// | Windows | no error report (`SEM_NOGPFAULTERRORBOX`), which children inherit; without the heap where one is made all the same (`WER_FAULT_REPORTING_FLAG_NOHEAP`) | the access list of the process lets its user see and end it, not read it; children get their own |
///
/// Root, the system and administrators may still do all of it: on Windows also a program of the same user that runs elevated,
/// and an administrator's `LocalDumps` setting for what ends a process at once, such as an abort.
///
/// Both parts are tried even if one fails.
///
/// # Errors
/// [`HardenError`] names what this process does not keep to itself.
pub fn harden_process() -> Result<(), HardenError> {
    let no_core = no_core_dumps();
    let no_trace = no_tracing();
    match (no_core, no_trace) {
        (true, true) => Ok(()),
        (false, true) => Err(HardenError::CoreDumps),
        (true, false) => Err(HardenError::Tracing),
        (false, false) => Err(HardenError::Both),
    }
}

#[cfg(unix)]
fn no_core_dumps() -> bool {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).is_ok()
}

#[cfg(windows)]
fn no_core_dumps() -> bool {
    crate::windows_calls::switch_off_crash_reports()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn no_tracing() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

/// The access list of this process lets its user see and end it, not more; only the system and the administrators may do all.
#[cfg(windows)]
fn no_tracing() -> bool {
    use crate::security_descriptor::{Reach, Sid, descriptor};
    use windows_sys::Win32::Storage::FileSystem::{READ_CONTROL, SYNCHRONIZE};
    use windows_sys::Win32::System::Threading::{
        PROCESS_ALL_ACCESS, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_TERMINATE,
    };
    let Ok(us) = crate::windows_calls::current_user() else {
        return false;
    };
    let ours = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE | SYNCHRONIZE | READ_CONTROL;
    // Without an entry of its own the owner could give itself every right again.
    let list = descriptor(
        None,
        &[
            (&us, ours),
            (&Sid::owner_rights(), ours),
            (&Sid::system(), PROCESS_ALL_ACCESS),
            (&Sid::administrators(), PROCESS_ALL_ACCESS),
        ],
        Reach::ItAlone,
    );
    crate::windows_calls::set_process_access_list(&list).is_ok()
}

#[cfg(target_os = "macos")]
fn no_tracing() -> bool {
    crate::macos_calls::deny_attach()
}

/// Elsewhere there is no call for it that this program knows.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
fn no_tracing() -> bool {
    false
}

/// What a process could not close to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HardenError {
    /// A crash may write the memory to a file.
    #[error("a core dump of this process could show the key")]
    CoreDumps,
    /// Another process of the same user may read the memory.
    #[error("another process of this user could read the key from the memory of this one")]
    Tracing,
    /// Both.
    #[error("a core dump of this process, or another process of this user, could show the key")]
    Both,
}

impl HardenError {
    /// The stable name of this error.
    pub fn id(self) -> &'static str {
        match self {
            Self::CoreDumps => "harden-core-dumps",
            Self::Tracing => "harden-tracing",
            Self::Both => "harden-both",
        }
    }

    /// What to do next.
    pub fn hint(self) -> &'static str {
        "give the agent a user of its own, which no other program runs as"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_shut_is_named_with_the_way_out() {
        for (error, id) in [
            (HardenError::CoreDumps, "harden-core-dumps"),
            (HardenError::Tracing, "harden-tracing"),
            (HardenError::Both, "harden-both"),
        ] {
            assert_eq!(error.id(), id);
            assert!(error.hint().contains("a user of its own"), "{}", error.hint());
        }
    }
}
