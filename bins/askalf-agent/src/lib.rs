//! The program `askalf-agent`: reads the command line and hands over to one command.
//!
//! It is a library so that its man pages and packages can be made from it.

mod approval_prompt;
mod cli;
mod clock;
mod commands;
mod control_socket;
mod credential_file;
mod credential_rotation;
mod daemon;
mod device_id_file;
mod doctor;
mod environment;
mod executors;
mod facts;
mod guard;
mod home_lock;
mod machine_facts;
mod pair_nonce_file;
mod passphrase_input;
mod redaction;
mod reload;
mod route;
mod run_record;
mod runner;
#[cfg(target_os = "linux")]
mod sd_notify;
mod service;
#[cfg(target_os = "linux")]
mod service_home;
#[cfg(target_os = "linux")]
mod service_manager;
mod service_state;
mod shell;
mod start;
mod task_limits;
mod task_place;
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

/// File names and texts of the units that a package brings, for the program in `/usr/bin`.
#[cfg(target_os = "linux")]
pub fn package_units() -> [(&'static str, String); 3] {
    service::systemd::package_units()
}

/// The process: does what its command line says, and yields the code to exit with.
pub fn main() -> ExitCode {
    let cli: Cli = match parse(&command()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command {
        Command::Completions { shell } => report(print_completions(shell, NAME, &command())),
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
    let plain = environment::variable("NO_COLOR").is_some();
    let (filter, file) = match &command {
        Command::Daemon(arguments) => (filter, arguments.log_file.clone()),
        // Nobody sees the standard error of a service there.
        #[cfg(windows)]
        Command::ServiceRun => (filter, home.as_deref().map(service::windows::log_file)),
        // Commands speak through their exit code and messages; their logs are for those who ask.
        _ => (filter.or_else(|| Some("warn".to_owned())), None),
    };
    let _last_lines = init_logs(filter.as_deref(), plain, file.as_deref())
        .map_err(|error| Failure::new(error.exit_code(), &error).hint(error.hint()))?;
    if is_daemon(&command) {
        // Before anything secret is read. What the environment holds of it stays out of sight of tasks too.
        if let Err(error) = harden_process() {
            tracing::warn!("{error}. {}", error.hint());
        }
    }
    let home_is_named = home.is_some();
    // Root's service comes first: the key is written into its home then, as its user, and nowhere else.
    #[cfg(target_os = "linux")]
    if !home_is_named && matches!(&command, Command::Connect(connect) if connect.install) {
        commands::install_for_root(&Vault::new(None, passphrase)?)?;
    }
    #[cfg(target_os = "linux")]
    let home = service_home::of(home, &mut command)?;
    let vault = Vault::new(home, passphrase)?;
    match command {
        Command::Connect(arguments) => {
            let install = arguments.install;
            let connected = hand_over(&vault, |vault| block_on(commands::connect(vault, arguments)))?;
            if install {
                return commands::install_for(&vault);
            }
            Ok(connected)
        }
        Command::Pair(arguments) => hand_over(&vault, |vault| block_on(commands::pair(vault, arguments))),
        #[cfg(windows)]
        Command::ServiceRun => service::windows::run(vault),
        Command::Daemon(arguments) => block_on(daemon::daemon(&vault, arguments.log_file)),
        Command::Doctor(arguments) => block_on(doctor::doctor(&vault, &arguments)),
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
        #[cfg(unix)]
        Command::Upgrade(arguments) => commands::upgrade(vault.home(), arguments),
        Command::Recovery => {
            print(include_str!("../../../docs/recovery.md"))?;
            Ok(askalf_cli::ExitCode::Done)
        }
        Command::Runner(_) | Command::Completions { .. } => Ok(askalf_cli::ExitCode::Usage),
    }
}

fn is_daemon(command: &Command) -> bool {
    match command {
        Command::Daemon(_) => true,
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
