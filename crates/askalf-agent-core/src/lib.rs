#![doc = include_str!("../README.md")]

mod credential;
mod runner;
mod task;

pub use credential::{CredentialSource, LoadedCredential, NoCredential, NoCredentialKind};
pub use runner::{CommandSpec, Ended, ExitStatus, Runner, RunnerError, RunnerEvent, RunningCommand};
pub use task::{CancelHandle, CancelSignal, Executor, OutputChunk, Task, TaskEnd, TaskOutput};
