//! The askalf device agent: reads the command line and hands over to one command.

mod cli;
mod clock;
mod commands;
mod credential_file;
mod daemon;
mod device_id_file;
mod environment;
mod facts;
mod machine_facts;
mod passphrase_input;
mod runner;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use askalf_cli::{Failure, init_logs, print, report};
use clap::Parser;

use cli::{Cli, Command, PassphraseArgs};
use vault::Vault;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Runner => runner::runner().unwrap_or_else(|error| report(Err(error))),
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
    let vault = Vault::new(home, passphrase)?;
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime did not start")
    };
    match command {
        Command::Connect(arguments) => runtime()?.block_on(commands::connect(vault, arguments)),
        Command::Pair(arguments) => runtime()?.block_on(commands::pair(vault, arguments)),
        Command::Daemon => runtime()?.block_on(daemon::daemon(&vault)),
        Command::Status(arguments) => runtime()?.block_on(commands::status(&vault, arguments)),
        Command::Disconnect => runtime()?.block_on(commands::disconnect(vault.home())),
        Command::Cred(command) => commands::cred(vault, command),
        Command::Recovery => {
            print(include_str!("../../../docs/recovery.md"))?;
            Ok(askalf_cli::ExitCode::Done)
        }
        Command::Runner => Ok(askalf_cli::ExitCode::Usage),
    }
}
