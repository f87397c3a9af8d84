//! The askalf device agent: reads the command line and hands over to one command.

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
#[cfg(target_os = "linux")]
mod sd_notify;
mod service;
#[cfg(target_os = "linux")]
mod service_home;
#[cfg(target_os = "linux")]
mod service_manager;
mod shell;
mod start;
mod task_limits;
mod task_place;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use askalf_cli::{Failure, init_logs, print, report};
use askalf_cred::harden_process;
use clap::Parser;

use cli::{Cli, Command, PassphraseArgs};
use vault::Vault;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Runner(arguments) => runner::runner(&arguments).unwrap_or_else(|error| report(Err(error))),
        command => report(run(cli.home, &cli.passphrase, command)),
    }
}

fn run(
    home: Option<PathBuf>,
    passphrase: &PassphraseArgs,
    #[cfg_attr(not(target_os = "linux"), allow(unused_mut, reason = "changed where there are services"))]
    mut command: Command,
) -> anyhow::Result<askalf_cli::ExitCode> {
    let filter = environment::variable("ASKALF_LOG");
    let filter = match command {
        Command::Daemon => filter,
        #[cfg(windows)]
        Command::ServiceRun => filter,
        // Commands speak through their exit code and messages; their logs are for those who ask.
        _ => filter.or_else(|| Some("warn".to_owned())),
    };
    let plain = environment::variable("NO_COLOR").is_some();
    #[cfg(windows)]
    let inited = match (&command, &home) {
        (Command::ServiceRun, Some(home)) => {
            askalf_cli::init_logs_to(filter.as_deref(), service::windows::log(home))
        }
        _ => init_logs(filter.as_deref(), plain),
    };
    #[cfg(not(windows))]
    let inited = init_logs(filter.as_deref(), plain);
    inited.map_err(|error| {
        Failure::new(askalf_cli::ExitCode::Usage, error)
            .hint("set ASKALF_LOG to error, warn, info, debug or trace")
    })?;
    if is_daemon(&command) {
        // Before anything secret is read. What the environment holds of it stays out of sight of tasks too.
        if let Err(error) = harden_process() {
            tracing::warn!("{error}. {}", error.hint());
        }
    }
    let home_is_named = home.is_some();
    #[cfg(target_os = "linux")]
    let home = service_home::of(home, &mut command)?;
    let vault = Vault::new(home, passphrase)?;
    match command {
        Command::Connect(arguments) => {
            hand_over(&vault, |vault| block_on(commands::connect(vault, arguments)))
        }
        Command::Pair(arguments) => hand_over(&vault, |vault| block_on(commands::pair(vault, arguments))),
        #[cfg(windows)]
        Command::ServiceRun => service::windows::run(vault),
        Command::Daemon => block_on(daemon::daemon(&vault)),
        Command::Status(arguments) => block_on(commands::status(&vault, arguments)),
        Command::Disconnect => block_on(commands::disconnect(vault.home())),
        Command::Redact => commands::redact(vault.home()),
        Command::Scan(arguments) => block_on(commands::scan(&vault, arguments)),
        Command::Cred(command) => commands::cred(vault, command),
        Command::Policy(arguments) => commands::policy(vault.home(), arguments),
        Command::Approvals(arguments) => block_on(commands::approvals(vault.home(), arguments)),
        Command::Audit(arguments) => commands::audit(vault.home(), &arguments),
        Command::InstallService(arguments) => commands::install_service(&vault, home_is_named, arguments),
        Command::UninstallService(arguments) => commands::uninstall_service(&vault, arguments),
        Command::Recovery => {
            print(include_str!("../../../docs/recovery.md"))?;
            Ok(askalf_cli::ExitCode::Done)
        }
        Command::Runner(_) => Ok(askalf_cli::ExitCode::Usage),
    }
}

fn is_daemon(command: &Command) -> bool {
    match command {
        Command::Daemon => true,
        #[cfg(windows)]
        Command::ServiceRun => true,
        _ => false,
    }
}

/// Acts on the credential. On Windows what was written into the service's home becomes the service's, however the act ended.
fn hand_over(
    vault: &Vault,
    act: impl FnOnce(Vault) -> anyhow::Result<askalf_cli::ExitCode>,
) -> anyhow::Result<askalf_cli::ExitCode> {
    let done = act(vault.clone());
    #[cfg(windows)]
    service::windows::after_act(vault.home().path())?;
    done
}

fn block_on(
    command: impl Future<Output = anyhow::Result<askalf_cli::ExitCode>>,
) -> anyhow::Result<askalf_cli::ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    let outcome = runtime.block_on(command);
    // A name look-up or a disk that hangs holds a thread, which must not hold the end of the process.
    runtime.shutdown_background();
    outcome
}
