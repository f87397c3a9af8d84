//! `pair-code`.

use std::time::Duration;

use clap::Subcommand;

use super::code_ttl;

#[derive(Debug, Subcommand)]
pub(crate) enum PairCodes {
    /// Make a code. It is shown once, here, and good for one device
    New {
        /// What you call the key that it gives
        #[arg(long)]
        name: String,
        /// User whose key it gives; needed where several exist
        #[arg(long)]
        user: Option<String>,
        /// Device that it pairs anew, by id or unique name: the device keeps its id and its history
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
        /// How long it is good: a minute to a day
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = code_ttl)]
        ttl: Duration,
        /// Print the code and what belongs to it as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the codes that are still good; never the codes themselves
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Make a code worthless
    Withdraw {
        /// Id of the code
        id: String,
        /// Print {"id","status"}
        #[arg(long)]
        json: bool,
    },
}
