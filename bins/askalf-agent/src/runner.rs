//! `runner`: the process that owns one task's tree. The daemon starts it with a socket as standard input.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::Context;
use askalf_cli::{ExitCode, Failure};

pub(crate) fn runner() -> anyhow::Result<std::process::ExitCode> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let socket = socket
        .ok()
        .filter(|socket| socket.peer_addr().is_ok())
        .ok_or_else(|| {
            Failure::new(ExitCode::Usage, "standard input is not the daemon's socket")
                .hint("'askalf-agent daemon' starts its runners by itself")
        })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    Ok(runtime.block_on(askalf_exec::run_runner(socket)))
}
