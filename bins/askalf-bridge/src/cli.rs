//! The command line.

mod devices;
mod examples;
mod keys;
mod pair_codes;
mod upkeep;
mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use askalf_cli::Shell;
use clap::{Args, Parser, Subcommand};
use jiff::{Span, SpanRelativeTo};

pub(crate) use devices::Devices;
pub(crate) use examples::EXAMPLES;
pub(crate) use keys::{KeyFacts, Keys, Mint};
pub(crate) use pair_codes::PairCodes;
pub(crate) use upkeep::{Backup, CheckConfig, Migrate, Restore};
pub(crate) use users::Users;

/// Checks the keys of askalf devices, keeps their registry, dispatches tasks to them and records how they end.
#[derive(Debug, Parser)]
#[command(name = crate::NAME, version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Folder of the bridge: database, lock and command socket [default: ~/.askalf-bridge]
    #[arg(long, global = true, env = "ASKALF_BRIDGE_HOME", value_name = "DIR", hide_env_values = true, help_heading = GLOBAL)]
    pub home: Option<PathBuf>,

    /// Database: the path of an SQLite file, or postgres://USER@HOST/DATABASE [default: bridge.db in the home]
    #[arg(long, global = true, env = "ASKALF_BRIDGE_DATABASE", value_name = "URL", hide_env_values = true, help_heading = GLOBAL)]
    pub database: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

/// What stands above the options that every command takes.
const GLOBAL: &str = "Global options";

const AFTER_HELP: &str = "\
First steps:
  askalf-bridge serve                        start the bridge on 127.0.0.1:3005
  askalf-bridge pair-code new --name laptop  make a code that a device pairs with: askalf-agent pair CODE --url URL
  askalf-bridge keys mint --name laptop      or make the key itself; it is shown once
  askalf-bridge dispatch HOST -- 'uname -a'   (HOST: a name from 'devices list')

Exit codes: 0 done, 1 failed, 2 usage, 69 bridge unavailable, 75 try again later, 77 permission,
78 configuration. 'dispatch' exits as the task did (128 + n on signal n).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the bridge in the foreground
    Serve(Serve),
    /// Make, list, rotate, revoke and check API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Make, list and withdraw codes that a device pairs with
    #[command(subcommand, name = "pair-code")]
    PairCode(PairCodes),
    /// Add and list the users that keys belong to
    #[command(subcommand)]
    Users(Users),
    /// List, show, remove and disconnect devices
    #[command(subcommand)]
    Devices(Devices),
    /// Run a task on a device and stream its output
    Dispatch(Dispatch),
    /// List, show, follow and cancel executions
    #[command(subcommand)]
    Executions(Executions),
    /// Show how the bridge that runs here is doing
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show who did what: keys, codes, users, devices and dispatches
    Audit {
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Bring the database's schema up to date; 'serve' does so too
    Migrate(Migrate),
    /// Write database and secret to a new folder, also while the bridge runs
    Backup(Backup),
    /// Put a backup in the place of database and secret
    Restore(Restore),
    /// Check what 'serve' would start with, and change nothing
    CheckConfig(CheckConfig),
    /// Print what completes this program's words in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "ASKALF_BRIDGE_LISTEN", hide_env_values = true, value_name = "ADDRESS", default_value = "127.0.0.1:3005", value_parser = listen_address)]
    pub listen: SocketAddr,

    /// Speak TLS: PEM file with the bridge's certificate and those of its issuers; SIGHUP reads it again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the certificate's key, closed to others
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Print the address that was bound as one line on standard output
    #[arg(long)]
    pub print_address: bool,

    /// Refuse keys that carry only the older scopes read, write and execute
    #[arg(long)]
    pub strict_scopes: bool,

    /// Refuse tokens in the query string (?token=), which the oldest agents send: proxies log them
    #[arg(long)]
    pub no_query_token: bool,

    /// Exchange pairing codes that come in plain text from other machines: only where a proxy that speaks TLS alone can
    /// reach this bridge
    #[arg(long)]
    pub pair_behind_proxy: bool,

    /// Give each device a new key over its connection before its key is so many days old; a device that is away, or whose
    /// agent cannot, keeps its key [default: never]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub rotate_every: Option<u64>,

    /// Seconds that a device may be away before its open executions end as interrupted
    #[arg(long, value_name = "SECONDS", default_value_t = 150, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,

    /// Seconds that a bridge which is told to stop waits for running tasks; it takes no new ones meanwhile. What runs on
    /// is taken up by the next bridge. A second signal ends the wait
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub drain: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Dispatch {
    /// Id or unique name of the device
    pub device: String,

    /// What runs the task
    #[arg(long, value_name = "EXECUTOR", default_value = "shell")]
    pub executor: String,

    /// Longest run
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,

    /// Folder on the device to run in
    #[arg(long, value_name = "DIR")]
    pub working_directory: Option<String>,

    /// Print the execution's id and return; do not wait
    #[arg(long)]
    pub detach: bool,

    /// What to do: one argument, for the shell a command line
    #[arg(last = true, required = true)]
    pub input: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Executions {
    /// List executions, newest first
    List {
        /// Only those of this device (id or unique name)
        #[arg(long)]
        device: Option<String>,
        /// Only those that have not ended
        #[arg(long)]
        open: bool,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one execution with its output
    Show {
        /// Id of the execution
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Stream the output of an execution from now on, and exit as it does; Ctrl-C leaves it running
    Watch {
        /// Id of the execution
        id: String,
    },
    /// End an execution; its whole process tree on the device goes
    Cancel {
        /// Id of the execution
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "give an IP address and a port, such as 127.0.0.1:3005 or 0.0.0.0:3005".to_owned())
}

/// `10m`, `24h`, `90d`, `2w`: days have 24 hours.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a number and a unit, such as 10m, 24h or 90d".to_owned();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| "give a time ahead, such as 10m".to_owned())
}

/// A [`duration`] that does not end at once.
fn time_ahead(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < Duration::from_secs(1) {
        return Err(
            "what is good for no time is good for nothing: give a time such as 24h or 90d".to_owned(),
        );
    }
    Ok(duration)
}

/// How long a pairing code can be good: the bridge takes no other.
fn code_ttl(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if !(Duration::from_secs(60)..=Duration::from_secs(86_400)).contains(&duration) {
        return Err("a code is good for a minute to a day, such as 10m or 24h".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use askalf_cli::faults_of_examples;
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        crate::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_it_takes() {
        assert_eq!(
            faults_of_examples(&Cli::command(), EXAMPLES),
            Vec::<String>::new()
        );
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("10m", 600),
            ("24h", 86_400),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
            ("1d 2h", 93_600),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["10", "soon", "", "-1h", "1 month"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
