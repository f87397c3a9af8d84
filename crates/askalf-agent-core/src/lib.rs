#![doc = include_str!("../README.md")]

pub mod control;
mod credential;
mod driver;
mod endpoint;
mod facts;
pub mod machine;
mod runner;
mod status;
mod task;
mod timings;

pub use credential::{CredentialSource, LoadedCredential, NoCredential, NoCredentialKind};
pub use driver::{
    AgentOptions, DeviceIdError, DeviceIdStore, Verification, Verified, VerifyError, VerifyErrorKind, run,
    verify,
};
pub use endpoint::{Endpoint, EndpointError};
pub use facts::DeviceFacts;
pub use machine::{Command, State};
pub use runner::{CommandSpec, Ended, ExitStatus, Runner, RunnerError, RunnerEvent, RunningCommand};
pub use status::AgentStatus;
pub use task::{CancelHandle, CancelSignal, Executor, OutputChunk, Task, TaskEnd, TaskOutput};
pub use timings::Timings;
