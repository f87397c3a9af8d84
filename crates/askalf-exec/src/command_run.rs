//! One command from its start to the end of its task, the same for every executor.

use askalf_agent_core::{CancelSignal, CommandSpec, Ended, Runner, TaskEnd, TaskOutput};
use askalf_proto::{Cause, clip_to_json};
use tokio::time::Instant;

use crate::ending::{Circumstances, MAX_ERROR, end_without_command, task_end};
use crate::interpreter::{Figures, Interpreter};
use crate::output_log::OutputLog;
use crate::pump::Pump;
use crate::redact::Redaction;

/// What becomes of a command's output.
pub(crate) struct HowToRun<'a> {
    /// Most bytes of it inside a JSON string that a result keeps.
    pub(crate) output_cap: usize,
    /// What must not leave.
    pub(crate) redaction: &'a Redaction,
    /// What makes text of standard output, where it is none.
    pub(crate) interpreter: Option<Box<dyn Interpreter>>,
}

/// Runs the command under `runner`.
pub(crate) async fn run_command(
    runner: &dyn Runner,
    command: CommandSpec,
    output: TaskOutput,
    mut cancel: CancelSignal,
    how: HowToRun<'_>,
) -> TaskEnd {
    let redaction = how.redaction;
    let began = Instant::now();
    let (time_limit, grace) = (command.timeout, command.grace);
    // A start that is dropped runs nothing: the command is handed over as its last step.
    let started = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            return end_without_command(Cause::Cancelled, Some("cancelled".to_owned()), began.elapsed());
        }
        started = runner.start(command) => started,
    };
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            let error = redaction.text(&error.to_string());
            return end_without_command(Cause::Refused, Some(error), began.elapsed());
        }
    };
    let overdue_at = began
        .checked_add(time_limit)
        .and_then(|end| end.checked_add(grace));
    let log = OutputLog::new(how.output_cap);
    let pump = Pump::new(running, how.interpreter, output, log, redaction, overdue_at);
    let pumped = pump.run(cancel, began).await;
    let around = Circumstances {
        timeout: time_limit,
        duration: pumped.duration,
        cancelled: pumped.cancelled,
    };
    let ended = match pumped.ended {
        // Before it is cut to its length, which might leave half a secret.
        Ended::NotStarted(why) => Ended::NotStarted(redaction.text(&why)),
        ended => ended,
    };
    let end = TaskEnd {
        output: pumped.log.finish(),
        ..task_end(&ended, around)
    };
    match pumped.figures {
        Some(figures) => {
            let error = figures.error.as_deref().map(|error| redaction.text(error));
            told_by(Figures { error, ..figures }, end)
        }
        None => end,
    }
}

/// The end of a command that told of its run. Where it exited by itself, its word goes before its status.
fn told_by(figures: Figures, end: TaskEnd) -> TaskEnd {
    let mut end = TaskEnd {
        cost: figures.cost,
        turns: figures.turns,
        input_tokens: figures.input_tokens,
        output_tokens: figures.output_tokens,
        ..end
    };
    if end.cause == Some(Cause::Exit)
        && let Some(error) = figures.error
    {
        end.error = Some(clip_to_json(&error, MAX_ERROR).into_owned());
        // Status 0 means success to whoever reads it, and this was none.
        end.exit_code = end.exit_code.filter(|code| *code != 0);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(error: Option<&str>) -> Figures {
        Figures {
            cost: 0.5,
            turns: 2,
            input_tokens: 10,
            output_tokens: 20,
            error: error.map(str::to_owned),
        }
    }

    fn end(cause: Cause, exit_code: Option<i32>, error: Option<&str>) -> TaskEnd {
        TaskEnd {
            cause: Some(cause),
            exit_code,
            error: error.map(str::to_owned),
            ..TaskEnd::default()
        }
    }

    #[test]
    fn a_failure_that_the_program_tells_is_none_of_success_whatever_its_status() {
        let told = told_by(figures(Some("no budget")), end(Cause::Exit, Some(0), None));
        assert!(!told.succeeded());
        assert_eq!((told.exit_code, told.error.as_deref()), (None, Some("no budget")));
        assert_eq!(
            (told.cost, told.turns, told.input_tokens, told.output_tokens),
            (0.5, 2, 10, 20)
        );

        let told = told_by(
            figures(Some("no budget")),
            end(Cause::Exit, Some(1), Some("exited with status 1")),
        );
        assert_eq!(
            (told.exit_code, told.error.as_deref()),
            (Some(1), Some("no budget"))
        );
    }

    #[test]
    fn an_end_from_outside_keeps_its_words() {
        let told = told_by(
            figures(Some("interrupted")),
            end(Cause::Timeout, None, Some("ran too long")),
        );
        assert_eq!(told.error.as_deref(), Some("ran too long"));
        assert!(told_by(figures(None), end(Cause::Exit, Some(0), None)).succeeded());
    }
}
