//! Approvals on the daemon's own terminal: whoever started it there is asked there.
//!
//! A task cannot answer: it has a session of its own and no terminal.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use askalf_agent_core::{ApprovalQueue, MAX_APPROVALS, PendingApproval, Verdict};

/// Longest line that is read as an answer.
const MAX_ANSWER: u64 = 256;

/// How often it is looked whether the question is still open.
const LOOK: Duration = Duration::from_millis(300);

/// Asks from now on, where standard input and standard error are a terminal.
pub(crate) fn start(approvals: &ApprovalQueue) {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return;
    }
    let (questions, asked) = sync_channel(MAX_APPROVALS);
    let queue = approvals.clone();
    let begun = std::thread::Builder::new()
        .name("approvals".to_owned())
        .spawn(move || ask_all(&queue, &asked));
    if let Err(error) = begun {
        tracing::warn!("approvals are not asked for on this terminal: {}", error.kind());
        return;
    }
    let queue = approvals.clone();
    let mut changes = approvals.changes();
    tokio::spawn(async move {
        let mut known: Vec<String> = Vec::new();
        while changes.changed().await.is_ok() {
            let waiting: Vec<String> = queue
                .list()
                .into_iter()
                .map(|request| request.execution)
                .collect();
            for execution in waiting.iter().filter(|it| !known.contains(it)) {
                // A thread that has no room has as many questions as can wait.
                let _full = questions.try_send(execution.clone());
            }
            known = waiting;
        }
    });
}

fn ask_all(queue: &ApprovalQueue, asked: &Receiver<String>) {
    let mut number = 0_u64;
    while let Ok(execution) = asked.recv() {
        let Some(request) = queue.find(&execution) else {
            continue;
        };
        number += 1;
        if ask(queue, &request, number).is_err() {
            tracing::warn!("the terminal is gone: approvals are not asked for there any more");
            return;
        }
    }
}

/// Asks one question until it is answered, here or elsewhere. The number in the answer keeps a line that was typed ahead from
/// answering another question.
fn ask(queue: &ApprovalQueue, request: &PendingApproval, number: u64) -> io::Result<()> {
    show(&question(request, number))?;
    while queue.find(&request.execution).is_some() {
        let Some(line) = terminal_line()? else {
            continue;
        };
        match answer(&line, number) {
            Some(approved) => {
                let by = "the daemon's terminal".to_owned();
                let verdict = if approved {
                    Verdict::Approved(by)
                } else {
                    Verdict::Denied(by)
                };
                // Where it was decided meanwhile the first decision stays.
                let _late = queue.decide(&request.execution, verdict);
                return Ok(());
            }
            None => show(&format!("type 'yes {number}' or 'no {number}'\n"))?,
        }
    }
    show(&format!("question {number} is settled\n"))
}

fn question(request: &PendingApproval, number: u64) -> String {
    let agent = request.agent.as_deref().unwrap_or("none");
    let mut text = format!("\nA task waits for an approval ({number}):\n");
    let arguments = numbered(&request.arguments);
    let input = arguments.is_empty().then_some(("input", request.input.as_str()));
    let fields = [
        ("execution", request.execution.as_str()),
        ("rule", &request.rule),
        ("executor", &request.executor),
        ("agent", agent),
        ("folder", &request.working_directory),
    ];
    let arguments = arguments.iter().map(|(name, value)| (name.as_str(), *value));
    for (name, value) in fields.into_iter().chain(input).chain(arguments) {
        // Control characters could draw another question over this one.
        text.push_str(&format!("  {name:<10} {}\n", value.escape_debug()));
    }
    text.push_str(&format!("Run it? Type 'yes {number}' or 'no {number}': "));
    text
}

/// The parts of a named command, each by its place: nobody has to guess where one ends.
pub(crate) fn numbered<'a>(arguments: &'a [String]) -> Vec<(String, &'a str)> {
    let name = |index: usize| match index {
        0 => "program".to_owned(),
        number => format!("argument {number}"),
    };
    let parts = arguments.iter().enumerate();
    let shown = |argument: &'a String| {
        if argument.is_empty() {
            "(empty)"
        } else {
            argument.as_str()
        }
    };
    parts
        .map(|(index, argument)| (name(index), shown(argument)))
        .collect()
}

fn answer(line: &str, number: u64) -> Option<bool> {
    let (word, named) = line.trim().split_once(' ')?;
    (named.trim() == number.to_string())
        .then_some(word)
        .and_then(|word| match word {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        })
}

fn show(text: &str) -> io::Result<()> {
    let mut terminal = io::stderr().lock();
    terminal.write_all(text.as_bytes())?;
    terminal.flush()
}

/// A line that was typed; `None` where there is none at the moment.
fn terminal_line() -> io::Result<Option<String>> {
    if !line_waits()? {
        return Ok(None);
    }
    let mut line = Vec::new();
    let read = io::stdin().lock().take(MAX_ANSWER).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// Whether a line was typed for this process. One that reads a terminal from the background is stopped by the system, so it looks first who is
/// in front.
#[cfg(unix)]
fn line_waits() -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdin = io::stdin();
    let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
    let look = Timespec::try_from(LOOK).map_err(io::Error::other)?;
    match poll(&mut waiting, Some(&look)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let in_front = rustix::termios::tcgetpgrp(&stdin)? == rustix::process::getpgrp();
    if !in_front {
        std::thread::park_timeout(LOOK);
    }
    Ok(in_front)
}

#[cfg(windows)]
#[allow(clippy::unnecessary_wraps, reason = "as on Unix")]
fn line_waits() -> io::Result<bool> {
    let _ = LOOK;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_answer_with_its_number_counts() {
        assert_eq!(answer("yes 7\n", 7), Some(true));
        assert_eq!(answer(" no  7\r\n", 7), Some(false));
        for line in ["yes", "y 7", "yes 8", "yes 77", "", "yes 7 8", "YES 7"] {
            assert_eq!(answer(line, 7), None, "{line}");
        }
    }

    #[test]
    fn a_task_cannot_draw_over_the_question() {
        let request = PendingApproval {
            execution: "e1".to_owned(),
            rule: "default".to_owned(),
            executor: "shell".to_owned(),
            agent: None,
            working_directory: "/srv".to_owned(),
            input: "rm x\u{1b}[2K\rls\u{202e}".to_owned(),
            arguments: Vec::new(),
            expires_at: 0,
        };
        let text = question(&request, 3);
        assert!(text.contains(r"rm x\u{1b}[2K\rls\u{202e}"), "{text}");
        assert!(text.ends_with("Type 'yes 3' or 'no 3': "));
        let named = PendingApproval {
            input: "git commit -m a b".to_owned(),
            arguments: ["git", "commit", "-m", "a b"].map(str::to_owned).to_vec(),
            ..request
        };
        let text = question(&named, 3);
        assert!(
            text.contains("  program    git\n  argument 1 commit\n  argument 2 -m\n  argument 3 a b\n"),
            "{text}"
        );
        assert!(!text.contains("input"), "{text}");
    }
}
