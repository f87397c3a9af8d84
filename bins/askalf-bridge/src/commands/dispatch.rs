//! `dispatch` and `executions watch`: stream the output of a task and exit as it did.

use std::io::{self, Write};

use askalf_bridge_core::api::{Dispatch as Request, DispatchEvent, ExecutionView};
use askalf_cli::{ExitCode, Failure, interrupts, one_line, print};
use http::Method;

use super::{NOTHING, note, path_of};
use crate::api_client::ApiClient;
use crate::cli::Dispatch;
use crate::event_stream::EventStream;
use crate::home::Home;

pub(crate) async fn dispatch(home: &Home, arguments: Dispatch) -> anyhow::Result<ExitCode> {
    let request = Request {
        device: arguments.device,
        input: arguments.input,
        executor: Some(arguments.executor),
        timeout_ms: arguments.timeout.map(|seconds| seconds * 1000),
        working_directory: arguments.working_directory,
        detach: arguments.detach,
    };
    let Some(mut client) = ApiClient::running(home).await? else {
        return Err(Failure::new(
            ExitCode::Unavailable,
            "no bridge runs here, so no device is connected",
        )
        .hint("start one with 'askalf-bridge serve'")
        .into());
    };
    if request.detach {
        let execution: ExecutionView = client
            .call(Method::POST, "/api/v1/executions", Some(&request))
            .await?;
        print(&format!("{}\n", execution.id))?;
        return Ok(ExitCode::Done);
    }
    let events = client
        .stream(Method::POST, "/api/v1/executions", Some(&request))
        .await?;
    follow(home, EventStream::new(events), OnInterrupt::Cancel).await
}

/// Follows an execution that goes on already, from now on.
pub(crate) async fn watch(home: &Home, id: &str) -> anyhow::Result<ExitCode> {
    let path = path_of("executions", id, "/events")?;
    let Some(mut client) = ApiClient::running(home).await? else {
        return Err(Failure::new(
            ExitCode::Unavailable,
            "no bridge runs here, so no task makes progress",
        )
        .hint(format!(
            "start one with 'askalf-bridge serve', or look with 'askalf-bridge executions show {id}'"
        ))
        .into());
    };
    let events = client.stream(Method::GET, &path, NOTHING).await?;
    follow(home, EventStream::new(events), OnInterrupt::Leave).await
}

/// What an interrupt from the terminal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnInterrupt {
    /// It cancels the task; the next one leaves it to itself.
    Cancel,
    /// It leaves the task to itself.
    Leave,
}

async fn follow(
    home: &Home,
    mut events: EventStream<DispatchEvent>,
    on_interrupt: OnInterrupt,
) -> anyhow::Result<ExitCode> {
    let mut execution: Option<String> = None;
    let mut interrupts = Interrupts::new(on_interrupt)?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            ended = interrupts.handled(home, execution.as_deref()) => return ended,
        };
        match event {
            Ok(Some(DispatchEvent::Accepted { id, .. })) => execution = Some(id),
            Ok(Some(DispatchEvent::Output { stream, data })) => {
                // Not in this task: whoever reads the output may stop reading, and must still be able to interrupt.
                let writing = tokio::task::spawn_blocking(move || write(&stream, &data));
                tokio::select! {
                    written = writing => written??,
                    ended = interrupts.handled(home, execution.as_deref()) => return ended,
                }
            }
            Ok(Some(DispatchEvent::Queued { position })) => {
                note(&format!("queued on the device at place {position}"))
            }
            Ok(Some(DispatchEvent::Skipped { events })) => {
                note(&format!(
                    "[{events} pieces of output were not shown; 'executions show' has the output]"
                ));
            }
            Ok(Some(DispatchEvent::Running | DispatchEvent::Idle)) => {}
            Ok(Some(DispatchEvent::Ended { execution })) => {
                // Here only where none was streamed: old agents tell their output at the end.
                if let Some(output) = &execution.output {
                    print(output)?;
                }
                return Ok(ended(&execution));
            }
            Ok(None) | Err(()) => return Err(lost(execution.as_deref()).into()),
        }
    }
}

/// Interrupts from the terminal: the first cancels the task, the next one leaves it to itself. One stream for all of them,
/// so that none is lost that comes while nobody waits.
struct Interrupts {
    signals: askalf_cli::Interrupts,
    /// Nothing is to be cancelled any more.
    cancelled: bool,
}

impl Interrupts {
    fn new(on_interrupt: OnInterrupt) -> io::Result<Self> {
        Ok(Self {
            signals: interrupts()?,
            cancelled: on_interrupt == OnInterrupt::Leave,
        })
    }

    /// Handles what comes, until the command is to end: with the answer then.
    async fn handled(&mut self, home: &Home, execution: Option<&str>) -> anyhow::Result<ExitCode> {
        loop {
            let came = self.signals.recv().await;
            match execution {
                Some(id) if came.is_some() && !self.cancelled => {
                    self.cancelled = true;
                    note(&format!("cancelling {id}; Ctrl-C again to stop waiting"));
                    // On its own: news of the task must not cut it off.
                    tokio::spawn(cancel(home.clone(), id.to_owned()));
                }
                _ => return Ok(ExitCode::Task(130)),
            }
        }
    }
}

/// The code to exit with, as the task did; what a person should know beyond it goes to standard error.
fn ended(execution: &ExecutionView) -> ExitCode {
    if execution.status == "completed" {
        return ExitCode::Done;
    }
    // A task that exited or was ended by a signal speaks for itself.
    let by_itself = matches!(execution.cause.as_deref(), Some("exit" | "signal"));
    if !by_itself {
        note(&format!(
            "{}: {}",
            execution.status,
            one_line(execution.error.as_deref().unwrap_or("no reason was given"))
        ));
    }
    let signalled = execution.signal.map(|signal| signal.saturating_add(128));
    let code = execution
        .exit_code
        .or(signalled)
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0);
    code.map_or(ExitCode::Failed, ExitCode::Task)
}

async fn cancel(home: Home, id: String) {
    let cancelled = async {
        // Over a connection of its own: the first one carries the stream.
        let path = path_of("executions", &id, "/cancel")?;
        let mut client = ApiClient::connect(&home).await?;
        client.call::<ExecutionView>(Method::POST, &path, NOTHING).await
    };
    if let Err(failure) = cancelled.await {
        note(&failure.to_string());
    }
}

fn lost(execution: Option<&str>) -> Failure {
    let failure = Failure::new(
        ExitCode::Unavailable,
        "the bridge went away before the task ended",
    );
    match execution {
        Some(id) => failure.hint(format!(
            "the task may go on: once a bridge runs again follow it with 'askalf-bridge executions watch {id}', \
             or look with 'askalf-bridge executions show {id}'"
        )),
        None => failure.hint("look with 'askalf-bridge executions list' whether it was accepted"),
    }
}

fn write(stream: &str, data: &str) -> io::Result<()> {
    if stream == "stderr" {
        let mut error = io::stderr().lock();
        return error.write_all(data.as_bytes()).and_then(|()| error.flush());
    }
    print(data)
}
