#![doc = include_str!("../README.md")]

mod credential;
mod facts;
pub mod machine;
mod runner;
mod task;
mod timings;

pub use credential::{CredentialSource, LoadedCredential, NoCredential, NoCredentialKind};
pub use facts::DeviceFacts;
pub use runner::{CommandSpec, Ended, ExitStatus, Runner, RunnerError, RunnerEvent, RunningCommand};
pub use task::{CancelHandle, CancelSignal, Executor, OutputChunk, Task, TaskEnd, TaskOutput};
pub use timings::Timings;
