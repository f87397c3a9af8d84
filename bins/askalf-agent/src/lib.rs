//! The program `askalf-agent`: reads the command line and hands over to one command.
//!
//! It is a library so that its man pages can be made from [`command()`].

mod approval_prompt;
mod cli;
mod clock;
mod commands;
mod control_socket;
mod credential_file;
mod credential_rotation;
mod daemon;
mod device_id_file;
mod environment;
mod executors;
mod facts;
mod guard;
mod home_lock;
mod machine_facts;
mod pair_nonce_file;
mod passphrase_input;
mod redaction;
mod route;
mod runner;
mod shell;
mod start;
mod task_limits;
#[cfg(unix)]
mod upgrade;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use askalf_cli::{Failure, init_logs, parse, print, print_completions, report, with_examples};
use askalf_cred::harden_process;
use clap::CommandFactory;

use cli::{Cli, Command, PassphraseArgs};
use vault::Vault;

/// The name of the program.
pub const NAME: &str = "askalf-agent";

/// The command line, with examples in the help of each command.
pub fn command() -> clap::Command {
    with_examples(Cli::command(), cli::EXAMPLES)
}

/// The process: does what its command line says, and yields the code to exit with.
pub fn main() -> ExitCode {
    let cli: Cli = match parse(&command()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command {
        Command::Completions { shell } => report(print_completions(shell, NAME, &command())),
        Command::Runner(arguments) => {
            runner::runner(&arguments.limits).unwrap_or_else(|error| report(Err(error)))
        }
        command => report(run(cli.home, &cli.passphrase, command)),
    }
}

fn run(
    home: Option<PathBuf>,
    passphrase: &PassphraseArgs,
    command: Command,
) -> anyhow::Result<askalf_cli::ExitCode> {
    let filter = environment::variable("ASKALF_LOG");
    let filter = match command {
        Command::Daemon => filter,
        // Commands speak through their exit code and messages; their logs are for those who ask.
        _ => filter.or_else(|| Some("warn".to_owned())),
    };
    init_logs(filter.as_deref(), environment::variable("NO_COLOR").is_some()).map_err(|error| {
        Failure::new(askalf_cli::ExitCode::Usage, error)
            .hint("set ASKALF_LOG to error, warn, info, debug or trace")
    })?;
    if matches!(command, Command::Daemon) {
        // Before anything secret is read. What the environment holds of it stays out of sight of tasks too.
        if let Err(error) = harden_process() {
            tracing::warn!("{error}. {}", error.hint());
        }
    }
    let vault = Vault::new(home, passphrase)?;
    match command {
        Command::Connect(arguments) => block_on(commands::connect(vault, arguments)),
        Command::Pair(arguments) => block_on(commands::pair(vault, arguments)),
        Command::Daemon => block_on(daemon::daemon(&vault)),
        Command::Status(arguments) => block_on(commands::status(&vault, arguments)),
        Command::Disconnect => block_on(commands::disconnect(vault.home())),
        Command::Redact => commands::redact(vault.home()),
        Command::Scan(arguments) => block_on(commands::scan(&vault, arguments)),
        Command::Cred(command) => commands::cred(vault, command),
        Command::Policy(arguments) => commands::policy(vault.home(), arguments),
        Command::Approvals(arguments) => block_on(commands::approvals(vault.home(), arguments)),
        Command::Audit(arguments) => commands::audit(vault.home(), &arguments),
        #[cfg(unix)]
        Command::Upgrade(arguments) => commands::upgrade(vault.home(), arguments),
        Command::Recovery => {
            print(include_str!("../../../docs/recovery.md"))?;
            Ok(askalf_cli::ExitCode::Done)
        }
        Command::Runner(_) | Command::Completions { .. } => Ok(askalf_cli::ExitCode::Usage),
    }
}

fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    let outcome = runtime.block_on(command);
    // A name look-up or a disk that hangs holds a thread, which must not hold the end of the process.
    runtime.shutdown_background();
    outcome
}
