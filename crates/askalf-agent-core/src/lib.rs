#![doc = include_str!("../README.md")]

mod approval;
pub mod control;
mod credential;
mod driver;
mod endpoint;
mod facts;
pub mod journal;
pub mod machine;
mod probe;
mod rotation;
mod route;
mod runner;
mod status;
mod task;
mod timings;

pub use approval::{ApprovalQueue, MAX_APPROVALS, MAX_SHOWN, NotAsked, PendingApproval, Undecided, Verdict};
/// A line of the audit log by number, with what the log is chained by there.
pub use askalf_proto::AuditHead;
pub use credential::{CredentialSource, LoadedCredential, NoCredential, NoCredentialKind};
pub use driver::{
    AgentOptions, DeviceIdError, DeviceIdStore, Pulse, RedeemError, Redeemed, Redemption, Verification,
    Verified, VerifyError, VerifyErrorKind, redeem, run, verify,
};
pub use endpoint::{Endpoint, EndpointError};
pub use facts::DeviceFacts;
pub use machine::{Command, State};
pub use probe::{DeviceLoad, DeviceProbe, Scan};
pub use rotation::{CredentialRotation, RotationFault};
pub use route::{
    CaCertificates, CaCertificatesError, GatewayAccess, GatewayAccessError, PlatformRoots, Proxies,
    ProxyError, ProxySettings, Route, TlsPin, TlsPinError,
};
pub use runner::{
    CommandSpec, Ended, ExitStatus, PrivateFolder, Runner, RunnerError, RunnerEvent, RunningCommand,
};
pub use status::AgentStatus;
pub use task::{CancelHandle, CancelSignal, Executor, OutputChunk, Task, TaskEnd, TaskOutput};
pub use timings::Timings;
