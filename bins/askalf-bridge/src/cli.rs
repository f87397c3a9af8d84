//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Checks the keys of askalf devices, keeps their registry, dispatches tasks to them and records how they end.
#[derive(Debug, Parser)]
#[command(name = "askalf-bridge", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Folder of the bridge: database, lock and command socket [default: ~/.askalf-bridge]
    #[arg(long, global = true, env = "ASKALF_BRIDGE_HOME", value_name = "DIR", hide_env_values = true)]
    pub home: Option<PathBuf>,

    /// Database: the path of an SQLite file, or sqlite:PATH [default: bridge.db in the home]
    #[arg(long, global = true, env = "ASKALF_BRIDGE_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  askalf-bridge serve                        start the bridge on 127.0.0.1:3005
  askalf-bridge keys mint --name laptop      make a key for a device; it is shown once
  askalf-bridge dispatch HOST -- 'uname -a'   (HOST: a name from 'devices list')

Exit codes: 0 done, 1 failed, 2 usage, 69 bridge unavailable, 75 try again later, 77 permission,
78 configuration. 'dispatch' exits as the task did (128 + n on signal n).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the bridge in the foreground
    Serve(Serve),
    /// Make, list, revoke and check API keys
    #[command(subcommand)]
    Keys(Keys),
    /// List the devices
    #[command(subcommand)]
    Devices(Devices),
    /// Run a task on a device and stream its output
    Dispatch(Dispatch),
    /// List, show and cancel executions
    #[command(subcommand)]
    Executions(Executions),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "ASKALF_BRIDGE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:3005")]
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

    /// Seconds that a device may be away before its open executions end as interrupted
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key. It is shown once, here
    Mint {
        /// What you call the key; its device goes by its host name, or by 'pair --name'
        #[arg(long)]
        name: String,
        /// User that owns it; needed where several exist
        #[arg(long)]
        user: Option<String>,
        /// What it may do: device (default) or admin; repeatable
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Print {"id","key","key_prefix"}
        #[arg(long)]
        json: bool,
    },
    /// List the keys, newest first; never a secret
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: its sessions end, and nothing gets in with it
    Revoke {
        /// Id of the key
        id: String,
        /// Print the key as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a token against a key hash: prints 'match' (exit 0) or 'no match' (exit 1)
    Verify {
        /// Stored hash: 32 hex digits, a dot, 64 hex digits
        #[arg(long, value_name = "HASH")]
        key_hash: String,
        /// '-': the token comes on standard input
        #[arg(value_name = "-", value_parser = ["-"])]
        token: String,
    },
}

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
    /// End an execution; its whole process tree on the device goes
    Cancel {
        /// Id of the execution
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
