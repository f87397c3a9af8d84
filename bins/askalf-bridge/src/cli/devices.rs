//! `devices`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Devices {
    /// List the devices by name
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one device
    Show {
        /// Id or unique name of the device
        device: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a device: the keys that are bound to it are revoked; its executions stay
    Remove {
        /// Id or unique name of the device
        device: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Close a device's connection. It may come back: to shut it out revoke its key
    Disconnect {
        /// Id or unique name of the device
        device: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}
