//! `runner`: the process that owns one task's tree. The daemon starts it with a socket as standard input, on Windows with a pipe
//! as standard input and another as standard output.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use askalf_cli::Failure;
use askalf_exec::{TaskLimits, run_runner};

pub(crate) fn runner(limits: &TaskLimits) -> anyhow::Result<ExitCode> {
    let link = link().ok_or_else(|| {
        Failure::new(
            askalf_cli::ExitCode::Usage,
            "standard input is not the daemon's socket",
        )
        .hint("'askalf-agent daemon' starts its runners by itself")
    })?;
    // Before anything is started; a task that would run without them does not run.
    limits.bind()?;
    // Before there is a second thread.
    #[cfg(unix)]
    askalf_exec::keep_inherited_files().context("files that are open could not be kept from the task")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    #[cfg(unix)]
    let code = runtime.block_on(run_runner(link));
    #[cfg(windows)]
    let code = runtime.block_on(run_runner(link.0, link.1));
    // A read that nobody waits for must not hold the end of the process.
    runtime.shutdown_background();
    Ok(code)
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
