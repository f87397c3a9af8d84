//! The agent as a service of systemd: what its units say, how they come to the system and leave it, and who it runs as.

mod adopt;
mod find;
mod install;
mod old_agent;
mod systemctl;
mod uninstall;
mod unit_text;
mod units;
mod users;

pub(crate) use find::installed;
pub(crate) use install::{Install, install, make_home, make_home_of, program as place_program};
pub(crate) use systemctl::is_booted;
pub(crate) use uninstall::{Uninstall, uninstall};
pub(crate) use users::{become_user, has_user, own_uid};

use super::Profile;
use super::profile::SANDBOX;
use super::task_units::SOCKET_UNIT;

/// Name of the service.
pub(crate) const SERVICE: &str = "askalf-agent.service";

/// User and group that the system service runs as.
pub(crate) const SERVICE_USER: &str = "askalf-agent";

/// Its home.
pub(crate) const SERVICE_HOME: &str = "/var/lib/askalf-agent";

/// Where the units of this system are.
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The machine's: from the boot on, with a user of its own.
    System,
    /// A user's own.
    User,
}

impl Scope {
    /// What is enabled and started, in this order.
    fn units_to_enable(self) -> &'static [&'static str] {
        match self {
            Self::System => &[SOCKET_UNIT, SERVICE],
            Self::User => &[SERVICE],
        }
    }

    /// The word of the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }
}

/// The units that a package brings: file names and texts.
pub(crate) fn package_units() -> [(&'static str, String); 3] {
    units::UnitFile::of_a_package().map(|unit| (unit.name, unit.text))
}
