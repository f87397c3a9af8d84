//! `approvals`: what waits at the running daemon, and decisions on it.

use askalf_agent_core::PendingApproval;
use askalf_agent_core::control::{self, ControlError};
use askalf_cli::{ExitCode, Failure, Table, print};
use askalf_cred::Home;
use serde_json::json;

use super::ask::ask;
use super::{ANSWER_PATIENCE, show_json};
use crate::approval_prompt::numbered;
use crate::cli::{Approvals, ApprovalsCommand};
use crate::clock::{date, unix_ms};

pub(crate) async fn approvals(home: &Home, arguments: Approvals) -> anyhow::Result<ExitCode> {
    match arguments.command {
        None => list(home, arguments.json).await,
        Some(ApprovalsCommand::List { json }) => list(home, json).await,
        Some(ApprovalsCommand::Show { id, json }) => show(home, &id, json).await,
        Some(ApprovalsCommand::Approve { id, json }) => decide(home, &id, true, json).await,
        Some(ApprovalsCommand::Deny { id, json }) => decide(home, &id, false, json).await,
    }
}

async fn list(home: &Home, json: bool) -> anyhow::Result<ExitCode> {
    let socket = home.socket_path();
    let waiting = ask(home, async || control::approvals(&socket, ANSWER_PATIENCE).await)
        .await?
        .unwrap_or_default();
    if json {
        show_json(&waiting)?;
    } else if waiting.is_empty() {
        print("Nothing waits for an approval.\n")?;
    } else {
        let mut table = Table::new(&[
            "EXECUTION",
            "SECONDS LEFT",
            "RULE",
            "EXECUTOR",
            "AGENT",
            "FOLDER",
            "INPUT",
        ]);
        for request in waiting {
            table.row(vec![
                request.execution,
                (request.expires_at.saturating_sub(unix_ms()) / 1000).to_string(),
                request.rule,
                request.executor,
                request.agent.unwrap_or_default(),
                request.working_directory,
                request.input,
            ]);
        }
        print(&table.render())?;
    }
    Ok(ExitCode::Done)
}

async fn show(home: &Home, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let socket = home.socket_path();
    let request = asked(
        ask_or_refused(home, async || {
            control::approval(&socket, id, ANSWER_PATIENCE).await
        })
        .await?,
    )?;
    if json {
        show_json(&request)?;
    } else {
        print(&describe(&request))?;
    }
    Ok(ExitCode::Done)
}

async fn decide(home: &Home, id: &str, approve: bool, json: bool) -> anyhow::Result<ExitCode> {
    let socket = home.socket_path();
    asked(
        ask_or_refused(home, async || {
            control::decide(&socket, id, approve, ANSWER_PATIENCE).await
        })
        .await?,
    )?;
    if json {
        show_json(&json!({ "execution": id, "approved": approve }))?;
    } else {
        print(if approve {
            "Approved: it runs.\n"
        } else {
            "Refused.\n"
        })?;
    }
    Ok(ExitCode::Done)
}

/// What the daemon says; a refusal of its own has exit codes of its own here.
async fn ask_or_refused<T>(
    home: &Home,
    question: impl AsyncFn() -> Result<T, ControlError>,
) -> Result<Option<Result<T, ControlError>>, Failure> {
    ask(home, async || match question().await {
        Err(ControlError::Refused(refusal)) => Ok(Err(ControlError::Refused(refusal))),
        outcome => outcome.map(Ok),
    })
    .await
}

fn asked<T>(answer: Option<Result<T, ControlError>>) -> Result<T, Failure> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => {
            let code = match error.id() {
                "approval-unknown" => ExitCode::Failed,
                _ => ExitCode::Permission,
            };
            Err(Failure::new(code, &error).hint(error.hint()))
        }
        None => Err(
            Failure::new(ExitCode::TryAgain, "no agent runs here: nothing waits")
                .hint("start it with 'askalf-agent daemon'"),
        ),
    }
}

/// What a person reads before they decide: every character of it, none of which can move the cursor.
fn describe(request: &PendingApproval) -> String {
    let mut text = String::new();
    let arguments = numbered(&request.arguments);
    let input = arguments.is_empty().then_some(("input", request.input.as_str()));
    let fields = [
        ("execution", request.execution.as_str()),
        ("rule", &request.rule),
        ("executor", &request.executor),
        ("agent", request.agent.as_deref().unwrap_or_default()),
        ("folder", &request.working_directory),
        ("until", &date(request.expires_at)),
    ];
    let arguments = arguments.iter().map(|(name, value)| (name.as_str(), *value));
    for (name, value) in fields.into_iter().chain(input).chain(arguments) {
        if !value.is_empty() {
            text.push_str(&format!("{name:<10} {}\n", value.escape_debug()));
        }
    }
    text
}
