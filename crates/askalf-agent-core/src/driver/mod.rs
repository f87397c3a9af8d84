//! The machine on a real socket: everything that the [`machine`](crate::machine) asks for is done here.

mod clean;
mod clock;
mod connection;
mod device;
mod device_id;
mod dial;
mod event_loop;
mod journal;
mod journal_calls;
mod net;
mod options;
mod prove;
mod publish;
mod pulse;
mod redeem;
mod rotation;
mod tasks;
#[cfg(test)]
mod tests;
mod verify;

pub use options::{AgentOptions, DeviceIdError, DeviceIdStore};
pub use pulse::Pulse;
pub use redeem::{RedeemError, Redeemed, Redemption, redeem};
pub use verify::{Verification, Verified, VerifyError, VerifyErrorKind, verify};

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::journal::Journal;
use crate::machine::Command;
use crate::{AgentStatus, CredentialSource, Executor};
pub(crate) use clean::io_text;
use dial::Dial;
use event_loop::EventLoop;
use net::NetDial;

/// Runs an agent until it is stopped: by [`Command::Stop`], by [`Command::Drain`] once that is done, or because every
/// sender of commands is gone, which counts as a stop.
///
/// It connects once `journal` has said what an earlier process left, and takes tasks while the journal takes records.
///
/// It never returns because of a refused or missing credential: it says so in `status` and waits for a new one.
/// Running tasks that do not end within [`Timings::stop`](crate::Timings::stop) of a stop are dropped, and their
/// processes with them.
pub async fn run(
    options: AgentOptions,
    credentials: Arc<dyn CredentialSource>,
    executors: Vec<Arc<dyn Executor>>,
    journal: Arc<dyn Journal>,
    device_ids: Arc<dyn DeviceIdStore>,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<AgentStatus>,
) {
    let parts = Parts {
        options,
        credentials,
        executors,
        journal,
        device_ids,
        commands,
        status,
    };
    run_on(Arc::new(NetDial), parts).await;
}

/// What an agent is made of.
pub(crate) struct Parts {
    pub(crate) options: AgentOptions,
    pub(crate) credentials: Arc<dyn CredentialSource>,
    pub(crate) executors: Vec<Arc<dyn Executor>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) device_ids: Arc<dyn DeviceIdStore>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) status: watch::Sender<AgentStatus>,
}

/// [`run`] over any kind of stream.
pub(crate) async fn run_on(dialer: Arc<dyn Dial>, parts: Parts) {
    EventLoop::new(dialer, parts).run().await;
}
