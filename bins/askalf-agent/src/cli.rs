//! The command line.

mod examples;

use std::path::PathBuf;

use askalf_agent_core::TlsPin;
use askalf_cli::Shell;
use askalf_exec::Anchor;
use clap::{Args, Parser, Subcommand};

use crate::service::Profile;

pub(crate) use examples::EXAMPLES;

/// Holds this device's key, connects it to an askalf bridge and runs the tasks that come from there.
#[derive(Parser)]
#[command(name = crate::NAME, version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Folder of the agent: config, keyfile, state [default: ~/.askalf]
    #[arg(long, global = true, env = "ASKALF_HOME", value_name = "DIR", hide_env_values = true, help_heading = GLOBAL)]
    pub home: Option<PathBuf>,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,

    #[command(subcommand)]
    pub command: Command,
}

/// Where a passphrase comes from, for a device that is sealed under one, and for bundles.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// File with the passphrase, where one is needed; on a terminal it is asked for
    #[arg(long, global = true, env = "ASKALF_PASSPHRASE_FILE", value_name = "FILE", hide_env_values = true, help_heading = GLOBAL)]
    pub passphrase_file: Option<PathBuf>,

    /// Inherited file descriptor to read the passphrase from
    #[arg(long, global = true, value_name = "N", conflicts_with = "passphrase_file", help_heading = GLOBAL)]
    pub passphrase_fd: Option<u32>,
}

/// Where the key that seals the credential comes from.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Seal {
    /// A file of random bytes beside the config
    Keyfile,
    /// A passphrase: the agent needs it at every start
    Passphrase,
    /// The service manager's credential 'askalf-keyfile'
    ServiceCredential,
}

/// What stands above the options that every command takes.
const GLOBAL: &str = "Global options";

const AFTER_HELP: &str = "\
First steps:
  askalf-agent pair K7QM-2F9X-TBX3 --url https://BRIDGE    exchange a code of 'askalf-bridge pair-code new' for a key
  askalf-agent pair - --url ws://127.0.0.1:3005 < key.txt  or bring a key; it is proved against the bridge and sealed
  askalf-agent daemon                                      connect and run tasks
  askalf-agent status                                      what the agent is doing, and why
  askalf-agent doctor                                      what is wrong, and what to do about it

Exit codes: 0 done, 1 failed, 2 usage, 69 bridge unavailable, 75 try again later, 77 permission,
78 configuration or re-pair required.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set this device up with a key and a bridge
    Connect(Connect),
    /// Give this device a new key, or its first
    Pair(Pair),
    /// Connect and run tasks, in the foreground
    Daemon(Daemon),
    /// Show what the agent does, and why
    Status(Status),
    /// Show what this device tells a bridge of itself: tools, executors, figures
    Scan(Scan),
    /// Find out what is wrong, from the files to the bridge, and what to do about it
    Doctor(Doctor),
    /// Stop the daemon; the credential stays
    Disconnect,
    /// Have the system start the agent, with the machine or with your session
    InstallService(InstallService),
    /// Stop the service and remove it; the credential stays
    UninstallService(UninstallService),
    /// Look at the sealed credential
    #[command(subcommand)]
    Cred(Cred),
    /// Print standard input as it would leave in a task's output: without secrets
    Redact,
    /// Show the rules that tasks must pass
    Policy(Policy),
    /// Show the tasks that wait for an approval, and decide on them
    Approvals(Approvals),
    /// Show what was decided and what ran
    Audit(Audit),
    /// Put a newer agent from a package on this machine in the place of this one, and back where it does not register
    #[cfg(unix)]
    Upgrade(Upgrade),
    /// Print what to do when the device cannot get in
    Recovery,
    /// Print what completes this program's words in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Be the process of the service (started by Windows)
    #[cfg(windows)]
    #[command(hide = true)]
    ServiceRun,
    /// Own one task's process tree (started by the daemon)
    #[command(hide = true)]
    Runner(Runner),
}

// No `Debug`: the key may stand in it.
#[derive(Args)]
pub(crate) struct Connect {
    /// '-' reads the key from standard input. The key itself is taken too, but others can read it on a command line
    /// [environment: ASKALF_API_KEY]
    #[arg(value_name = "KEY|-")]
    pub key: Option<String>,

    /// File with the key
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub key_file: Option<PathBuf>,

    /// The bridge: http(s):// or ws(s)://HOST:PORT
    #[arg(long, env = "ASKALF_URL", hide_env_values = true)]
    pub url: Option<String>,

    /// Name that the bridge shows for this device [default: its host name]
    #[arg(long)]
    pub name: Option<String>,

    /// Most tasks at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub concurrent: Option<u32>,

    /// Longest run of a task that names none
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub timeout: Option<u64>,

    /// Where the key that seals the credential comes from [default: as set up, else keyfile]
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub seal: Option<Seal>,

    /// Keep the key unsealed; the file says that this was chosen
    #[arg(long, conflicts_with = "seal")]
    pub plaintext: bool,

    /// Then have the machine start the agent, as 'install-service' does
    #[arg(long)]
    pub install: bool,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub proof: Proof,
}

// No `Debug`: a key may stand in it, by mistake.
#[derive(Args)]
pub(crate) struct Pair {
    /// A pairing code; '-' reads a code or a key from standard input, and on a terminal asks for it without showing it
    #[arg(value_name = "CODE|-", default_value = "-")]
    pub code: String,

    /// The bridge [default: the one that this device is set up for]
    #[arg(long, env = "ASKALF_URL", hide_env_values = true)]
    pub url: Option<String>,

    /// Name that the bridge shows for this device [default: as set up, else its host name]
    #[arg(long)]
    pub name: Option<String>,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub proof: Proof,
}

/// How to reach the bridge. What is not given stays as it is set up, as long as the bridge is the same.
#[derive(Debug, Default, Args)]
pub(crate) struct Network {
    /// PEM file of certificates to trust beside the system's: the bridge's CA, or its own certificate
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// SHA-256 of the public key info of the bridge's certificate; may be given several times. It must be one of them,
    /// beside being trusted
    #[arg(long, value_name = "HEX")]
    pub tls_pin: Vec<TlsPin>,

    /// Id of the Cloudflare Access service token that leads past a gateway to the bridge
    #[arg(long, value_name = "ID", requires = "cf_access_secret_file")]
    pub cf_access_id: Option<String>,

    /// File with that token's secret
    #[arg(long, value_name = "FILE", requires = "cf_access_id")]
    pub cf_access_secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Proof {
    /// Allow plain ws:// to other hosts than this one: the key crosses the network readable
    #[arg(long)]
    pub insecure: bool,

    /// Keep the key without proving it against the bridge first
    #[arg(long)]
    pub no_verify: bool,

    /// Take a key of unknown shape, even one that looks like sealed text
    #[arg(long)]
    pub opaque_key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// File for the log in the place of standard error; at 4 MiB it becomes FILE.1, and at most 4 files are kept
    #[arg(long, env = "ASKALF_LOG_FILE", value_name = "FILE", hide_env_values = true)]
    pub log_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Repair what is safe to repair, and say what was done; the credential is never touched
    #[arg(long)]
    pub fix: bool,

    /// Write a report for whoever helps to a new file, without secrets
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON: state, reason, since, device_id and more
    #[arg(long)]
    pub json: bool,

    /// Exit 0 only when online; 78 when it needs a new key or a repair here; else 75
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Runner {
    /// Name or number of the user that the agent at the other end runs as, where it is another than this process's
    #[arg(long, value_name = "USER")]
    pub agent_user: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct InstallService {
    #[command(flatten)]
    pub place: ServicePlace,

    /// What tasks may do
    #[arg(long, value_enum, value_name = "PROFILE", default_value_t)]
    pub profile: Profile,

    /// Folder of an agent that ran as somebody else: its key, device id, rules and records become the service's
    #[arg(long, value_name = "DIR")]
    pub adopt: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallService {
    #[command(flatten)]
    pub place: ServicePlace,
}

/// Which service, and how it is told.
#[derive(Debug, Default, Args)]
pub(crate) struct ServicePlace {
    /// The machine's service, with a user of its own [default for root]
    #[arg(long, conflicts_with = "user")]
    pub system: bool,

    /// A service of your own [default for everybody else]
    #[arg(long)]
    pub user: bool,

    /// Say what would be done and written, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Policy {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Option<PolicyCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what would happen to a task, and which rule decides: exit 0 allowed, 75 needs an approval, 77 refused
    Check(PolicyCheck),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheck {
    /// What the task would do
    pub input: String,

    /// What would run it
    #[arg(long, value_name = "E", default_value = "shell")]
    pub executor: String,

    /// Id or name of the agent in whose name it would run
    #[arg(long, value_name = "A")]
    pub agent: Option<String>,

    /// Folder it would run in [default: the one of a task that names none]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Approvals {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Option<ApprovalsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List what waits
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one of them whole
    Show {
        /// The execution
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let it run: as root, where the agent is not root's own
    Approve {
        /// The execution
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse it
    Deny {
        /// The execution
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Most lines to show
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,

    /// Check the chain of all lines instead; exit 1 where it does not hold
    #[arg(long)]
    pub verify: bool,

    /// A line's number and hash as they were kept elsewhere: with --verify also show whether lines were cut off the end
    #[arg(long, value_name = "SEQ:HEAD", requires = "verify", value_parser = anchor)]
    pub anchored: Option<Anchor>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// askalf-agent-VERSION-PLATFORM.tar.gz, with SHA256SUMS and SHA256SUMS.sig of its release beside it
    #[arg(value_name = "PACKAGE")]
    pub package: PathBuf,

    /// Public key of who may sign packages, beside the one that was built in; may be given several times
    #[arg(long, value_name = "FILE")]
    pub trusted_key: Vec<PathBuf>,

    /// Take a package that nobody has signed
    #[arg(long)]
    pub allow_unsigned: bool,

    /// Take an older agent than this one
    #[arg(long)]
    pub allow_downgrade: bool,

    /// Command line that restarts the agent, where no systemd does
    #[arg(long, value_name = "COMMAND")]
    pub restart_with: Option<String>,

    /// How long the new agent may take to register before the old one is put back
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub wait: u64,
}

fn anchor(text: &str) -> Result<Anchor, String> {
    Anchor::parse(text).ok_or_else(|| "an anchor is a line's number, ':' and 64 hex digits".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cred {
    /// Show how the credential is kept
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Exit 0 when the key unseals, 78 when it does not; prints nothing secret
    Verify {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print {"key_hash","key_prefix"} of a token: what a row of api_keys needs
    Hash {
        /// '-': the token comes on standard input
        #[arg(value_name = "-", value_parser = ["-"], required_unless_present = "mint", conflicts_with = "mint")]
        token: Option<String>,
        /// Make a new token and print it too, as "key"
        #[arg(long)]
        mint: bool,
        /// JSON is what it always prints
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Seal the credential under a new keyfile; the key itself stays
    RotateKey {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write this device's identity to a file, sealed under a passphrase, to move it to other hardware
    Export {
        /// File to write; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take over the identity in such a file
    Import {
        /// File that 'cred export' wrote
        file: PathBuf,
        /// Replace the key that this device has
        #[arg(long)]
        replace: bool,
    },
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
}
