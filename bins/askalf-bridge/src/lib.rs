//! The program `askalf-bridge`: reads the command line and hands over to one command.
//!
//! It is a library so that its man pages can be made from [`command()`].

mod api_client;
mod cli;
mod commands;
mod database;
mod event_stream;
mod home;
#[cfg(unix)]
mod installed;
mod local_socket;
mod secret_file;
mod serve;
mod tls_files;

use std::process::ExitCode;

use anyhow::Context;
use askalf_cli::{Failure, init_logs, parse, print_completions, report, with_examples};
use askalf_cred::harden_process;
use clap::CommandFactory;

use cli::{Cli, Command};
use home::Home;

/// The name of the program.
pub const NAME: &str = "askalf-bridge";

/// The command line, with examples in the help of each command.
pub fn command() -> clap::Command {
    with_examples(Cli::command(), cli::EXAMPLES)
}

/// The process: does what its command line says, and yields the code to exit with.
pub fn main() -> ExitCode {
    match parse::<Cli>(&command()) {
        Ok(Cli {
            command: Command::Completions { shell },
            ..
        }) => report(print_completions(shell, NAME, &command())),
        Ok(cli) => report(run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> anyhow::Result<askalf_cli::ExitCode> {
    let environment = |name: &str| std::env::var(name).ok();
    let filter = environment("ASKALF_LOG");
    let (filter, file) = match &cli.command {
        Command::Serve(arguments) => (filter, arguments.log_file.clone()),
        // Commands speak through their exit code and messages; their logs are for those who ask.
        _ => (filter.or_else(|| Some("warn".to_owned())), None),
    };
    let _last_lines = init_logs(
        filter.as_deref(),
        environment("NO_COLOR").is_some(),
        file.as_deref(),
    )
    .map_err(|error| Failure::new(error.exit_code(), &error).hint(error.hint()))?;
    if matches!(cli.command, Command::Serve(_)) {
        // Before the secret and the TLS key are read, and before any token comes.
        if let Err(error) = harden_process() {
            tracing::warn!("{error}: run the bridge as a user of its own");
        }
    }
    let named = match cli.home {
        #[cfg(unix)]
        None if !matches!(cli.command, Command::Serve(_)) => installed::home()?,
        named => named,
    };
    let home = Home::new(named, cli.database)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(arguments) => serve::serve(&home, arguments).await,
            Command::Keys(command) => commands::keys(&home, command).await,
            Command::PairCode(command) => commands::pair_codes(&home, command).await,
            Command::Users(command) => commands::users(&home, command).await,
            Command::Devices(command) => commands::devices(&home, command).await,
            Command::Dispatch(arguments) => commands::dispatch(&home, arguments).await,
            Command::Executions(command) => commands::executions(&home, command).await,
            Command::Status { json } => commands::status(&home, json).await,
            Command::Audit { limit, json } => commands::audit(&home, limit, json).await,
            Command::Migrate(arguments) => commands::migrate(&home, arguments).await,
            Command::Backup(arguments) => commands::backup(&home, arguments).await,
            Command::Restore(arguments) => commands::restore(&home, arguments).await,
            Command::CheckConfig(arguments) => commands::check_config(&home, arguments).await,
            Command::Completions { .. } => Ok(askalf_cli::ExitCode::Usage),
        }
    });
    // A write to a pipe that nobody reads would hold the end up for ever.
    runtime.shutdown_background();
    result
}
