//! `keys`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{duration, time_ahead};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key. It is shown once, here
    Mint(Mint),
    /// List the keys, newest first; never a secret
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one key; never the secret
    Show {
        /// Id of the key
        id: String,
        /// Print it as JSON
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
    /// Make a key in the place of another: same user, scopes and device. It is shown once. With --device, over the connection of
    /// the device, which changes over by itself
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Rotate {
        /// Id of the old key
        #[arg(group = "which")]
        id: Option<String>,
        /// Id or unique name of a connected device: the key that it uses is rotated, and nobody sees the new one
        #[arg(long, value_name = "DEVICE", group = "which", conflicts_with_all = ["overlap", "expires", "out"])]
        device: Option<String>,
        /// How long the old key stays good; its device retires it earlier by coming with the new one
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        overlap: Duration,
        /// How long the new key is good [default: as long as the old one was]
        #[arg(long, value_name = "TIME", value_parser = time_ahead)]
        expires: Option<Duration>,
        /// Write the key to this new file, for its owner alone, and do not show it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print {"id","key","key_prefix"}; with --device, the rotation
        #[arg(long)]
        json: bool,
    },
    /// List rotations over devices' connections, newest first: confirmed, pending, failed and why
    Rotations {
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Let a key in that was made elsewhere. Its token never reaches the bridge
    #[command(group = clap::ArgGroup::new("source").required(true))]
    Import {
        /// What you call the key
        #[arg(long)]
        name: String,
        /// Stored hash: 32 hex digits, a dot, 64 hex digits ('askalf-agent cred hash' prints it)
        #[arg(long, value_name = "HASH", requires = "key_prefix", group = "source")]
        key_hash: Option<String>,
        /// The first 12 characters of the token
        #[arg(long, value_name = "PREFIX", requires = "key_hash")]
        key_prefix: Option<String>,
        /// '-': the token comes on standard input, and is hashed here
        #[arg(value_name = "-", value_parser = ["-"], group = "source")]
        token: Option<String>,
        #[command(flatten)]
        facts: KeyFacts,
        /// Print the key as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a token against a key hash: prints 'match' (exit 0) or 'no match' (exit 1). With --repair, find its row whatever
    /// prefix that has, and mend the prefix
    Verify {
        /// Stored hash: 32 hex digits, a dot, 64 hex digits
        #[arg(long, value_name = "HASH", required_unless_present = "repair", conflicts_with = "repair")]
        key_hash: Option<String>,
        /// Search all keys, about 100 a second and core, and mend the prefix of the one that matches
        #[arg(long)]
        repair: bool,
        /// With --repair: print the outcome as JSON
        #[arg(long, requires = "repair")]
        json: bool,
        /// '-': the token comes on standard input
        #[arg(value_name = "-", value_parser = ["-"])]
        token: String,
    },
    /// List the last refused checks, newest first: why a device is out
    Attempts {
        /// Only those of tokens that start so
        #[arg(long)]
        prefix: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Mint {
    /// What you call the key; its device goes by its host name, or by 'pair --name'
    #[arg(long)]
    pub name: String,
    #[command(flatten)]
    pub facts: KeyFacts,
    /// Write the key to this new file, for its owner alone, and do not show it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print {"id","key","key_prefix"}; with --out, "out" in place of "key"
    #[arg(long)]
    pub json: bool,
}

/// What is said of a new key besides its name.
#[derive(Debug, Args)]
pub(crate) struct KeyFacts {
    /// User that owns it; needed where several exist
    #[arg(long)]
    pub user: Option<String>,
    /// A device's key, as by default; with an id or unique name bound to that device: it acts as that one alone, and retires
    /// its older keys when it is first used
    #[arg(long, value_name = "DEVICE", num_args = 0..=1)]
    pub device: Option<Option<String>>,
    /// What it may do: device (default) or admin; repeatable
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// How long it is good, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = time_ahead)]
    pub expires: Option<Duration>,
}
