//! The commands, one file each.

mod approvals;
mod ask;
mod audit;
mod bundle;
mod cred;
mod disconnect;
mod install_service;
mod key_file;
mod pair;
mod policy;
mod redact;
mod scan;
mod status;
#[cfg(unix)]
mod upgrade;

pub(crate) use approvals::approvals;
pub(crate) use audit::audit;
pub(crate) use cred::cred;
pub(crate) use disconnect::disconnect;
#[cfg(target_os = "linux")]
pub(crate) use install_service::install_for_root;
pub(crate) use install_service::{install_for, install_service, uninstall_service};
pub(crate) use pair::{connect, pair};
pub(crate) use policy::policy;
pub(crate) use redact::redact;
pub(crate) use scan::scan;
pub(crate) use status::status;
#[cfg(unix)]
pub(crate) use upgrade::upgrade;

use std::time::Duration;

use askalf_cli::print_json;
use serde::Serialize;

/// How long a running agent may take to answer on its control socket.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

fn show_json(value: &impl Serialize) -> anyhow::Result<()> {
    print_json(&serde_json::to_string(value)?)?;
    Ok(())
}
