//! `runner`: the process that owns one task's tree. The daemon starts it with a socket as standard input, on Windows with a pipe
//! as standard input and another as standard output; or a service manager does, as another user, for a connection of the daemon.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use askalf_cli::Failure;
use askalf_exec::{RunnerOptions, run_runner};

use crate::cli::Runner;

#[cfg_attr(windows, allow(unused_variables, reason = "there the daemon alone starts runners"))]
pub(crate) fn runner(arguments: &Runner) -> anyhow::Result<ExitCode> {
    let link = link().ok_or_else(|| {
        Failure::new(
            askalf_cli::ExitCode::Usage,
            "standard input is not the daemon's socket",
        )
        .hint("'askalf-agent daemon' starts its runners by itself")
    })?;
    let options = RunnerOptions {
        private_folders: private_folders(),
    };
    // Before there is a second thread.
    #[cfg(unix)]
    askalf_exec::keep_inherited_files().context("files that are open could not be kept from the task")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    #[cfg(unix)]
    let code = runtime.block_on(async {
        let link = from_agent(link, arguments.agent_user.as_deref())?;
        anyhow::Ok(run_runner(link, &options).await)
    })?;
    #[cfg(windows)]
    let code = runtime.block_on(run_runner(link.0, link.1, &options));
    // A read that nobody waits for must not hold the end of the process.
    runtime.shutdown_background();
    Ok(code)
}

/// Where secrets of the task are put: the folder that the service manager gives to this one process and clears after it, else one of
/// the system's for what is temporary.
fn private_folders() -> PathBuf {
    let given = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    std::env::split_paths(&given)
        .find(|folder| folder.is_absolute())
        .unwrap_or_else(std::env::temp_dir)
}

/// The link, where the agent is at its other end: a process of this user, of the one that is named, or root's.
#[cfg(unix)]
fn from_agent(
    link: std::os::unix::net::UnixStream,
    agent_user: Option<&str>,
) -> anyhow::Result<std::os::unix::net::UnixStream> {
    link.set_nonblocking(true)?;
    let link = tokio::net::UnixStream::from_std(link)?;
    let peer = link.peer_cred()?.uid();
    let agent = match agent_user {
        Some(user) => uid_of(user)?,
        None => nix::unistd::geteuid().as_raw(),
    };
    if peer != agent && peer != 0 {
        return Err(Failure::new(
            askalf_cli::ExitCode::Permission,
            format!("user {peer} asked for a runner, which is for the agent's user {agent} alone"),
        )
        .hint("close the task socket to everybody but the agent")
        .into());
    }
    Ok(link.into_std()?)
}

#[cfg(unix)]
fn uid_of(user: &str) -> anyhow::Result<u32> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    nix::unistd::User::from_name(user)
        .ok()
        .flatten()
        .map(|user| user.uid.as_raw())
        .ok_or_else(|| {
            Failure::new(
                askalf_cli::ExitCode::Configuration,
                format!("there is no user '{user}', who the agent should be"),
            )
            .hint("'askalf-agent install-service' writes unit and user anew")
            .into()
        })
}

#[cfg(unix)]
fn link() -> Option<std::os::unix::net::UnixStream> {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    socket.ok().filter(|socket| socket.peer_addr().is_ok())
}

#[cfg(windows)]
fn link() -> Option<(std::fs::File, std::fs::File)> {
    use std::io::IsTerminal;
    use std::os::windows::io::AsHandle;

    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return None;
    }
    let from_daemon = io::stdin().as_handle().try_clone_to_owned().ok()?;
    let to_daemon = io::stdout().as_handle().try_clone_to_owned().ok()?;
    Some((from_daemon.into(), to_daemon.into()))
}
