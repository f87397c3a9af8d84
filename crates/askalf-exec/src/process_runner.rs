//! The agent's side of a runner process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use askalf_agent_core::{CommandSpec, Runner, RunnerError, RunningCommand};
use async_trait::async_trait;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::runner_link::{Link, spawn_linked};
use crate::runner_process::KILL_PATIENCE;
use crate::running::{ANSWER_PATIENCE, Guarded, Running, STUCK_AFTER, no_answer};
use crate::task_limits::TaskLimits;
use crate::tree::{OrphanSweep, RunnerIdentity, become_subreaper};
use crate::wire;

/// Pauses between two passes of a sweep.
const SWEEP_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// Starts each command under a runner process of its own, which calls [`run_runner`](crate::run_runner) on
/// its standard input: one end of a socket pair. On Windows its standard input and output are two pipes.
///
/// The runner gets no environment, no output and a session of its own, on Windows a console and a job object. A
/// [`RunnerEvent::Ended`](askalf_agent_core::RunnerEvent::Ended) is passed on only when the runner process is collected too. Where a runner died without telling
/// the end, what it left behind was adopted by this process (see [`become_subreaper`]), or is in the job object; it is
/// killed and collected first.
#[derive(Debug, Clone)]
pub struct ProcessRunner {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: TaskLimits,
}

impl ProcessRunner {
    /// A runner that is started as `program` with `arguments`. On Linux `/proc/self/exe` names the running binary even
    /// after its file was replaced or removed.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self {
            program,
            arguments,
            limits: TaskLimits::default(),
        }
    }

    /// The same, with limits that each runner binds itself to before it starts its command.
    #[must_use]
    pub fn limits(self, limits: TaskLimits) -> Self {
        Self { limits, ..self }
    }

    /// Starts the process, and the guardian that collects it.
    ///
    /// Blocks while the process is created, and needs the runtime's context.
    fn spawn(&self) -> std::io::Result<(Guarded, Link)> {
        become_subreaper()?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().stderr(Stdio::null());
        let (child, identity, link) = spawn_linked(command)?;
        let (kill, killed) = oneshot::channel();
        let (collected, gone) = oneshot::channel();
        tokio::spawn(async move {
            guard(child, identity, killed).await;
            let _nobody_waits = collected.send(());
        });
        Ok((Guarded::new(kill, gone), link))
    }
}

#[async_trait]
impl Runner for ProcessRunner {
    async fn start(&self, command: CommandSpec) -> Result<Box<dyn RunningCommand>, RunnerError> {
        let body = wire::encode_start(&command, &self.limits)
            .map_err(|error| RunnerError::Command(error.to_string()))?;
        let runner = self.clone();
        let (guarded, link) = tokio::task::spawn_blocking(move || runner.spawn())
            .await
            .map_err(|_| RunnerError::Spawn("the agent is stopping".to_owned()))?
            .map_err(|error| RunnerError::Spawn(crate::plain_io::text(&error)))?;
        let mut running = Running::new(link, Some(guarded), &command);
        let handed_over = async {
            running.greeting().await?;
            running.hand_over(&body).await
        };
        match timeout(ANSWER_PATIENCE, handed_over).await {
            Ok(Ok(())) => Ok(Box::new(running)),
            Ok(Err(error)) => Err(RunnerError::Socket(error.to_string())),
            Err(_) => Err(RunnerError::Socket(no_answer())),
        }
    }
}

/// Waits for the end of a runner, and ends what it left behind. Runs to its end whatever becomes of the handle.
async fn guard(mut child: Child, identity: RunnerIdentity, killed: oneshot::Receiver<()>) {
    let overdue = async {
        if killed.await.is_err() {
            sleep(STUCK_AFTER).await;
        }
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = overdue => {
            let _gone = child.start_kill();
            child.wait().await
        }
    };
    let orphans = identity.forget();
    // Only a runner that saw the last of its tree go returns success.
    if OrphanSweep::AFTER_SUCCESS || !status.is_ok_and(|status| status.success()) {
        sweep(orphans).await;
    }
}

async fn sweep(mut orphans: OrphanSweep) {
    let give_up_at = Instant::now() + KILL_PATIENCE;
    let mut pause = SWEEP_PAUSES.0;
    loop {
        let passed = tokio::task::spawn_blocking(move || {
            let done = orphans.pass();
            (orphans, done)
        });
        // Fails only where the runtime shuts down: this process ends.
        let Ok((back, done)) = passed.await else {
            return;
        };
        orphans = back;
        match done {
            Ok(true) => return,
            Ok(false) if Instant::now() < give_up_at => {}
            Ok(false) => {
                tracing::warn!("processes of a task whose runner died cannot be ended");
                return;
            }
            Err(error) => {
                tracing::warn!(
                    error = crate::plain_io::text(&error),
                    "cannot look for what a dead task runner left"
                );
                return;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(SWEEP_PAUSES.1);
    }
}
