//! There is a key, and it can be read.

use askalf_cli::ExitCode;
use askalf_cred::LoadOutcome;

use super::{Daemon, Finding, Subject};

pub(super) const ID: &str = "credential";

pub(super) fn check(subject: &Subject) -> Finding {
    let outcome = &subject.outcome;
    let (saw, next) = (outcome.to_string(), outcome.hint().unwrap_or_default());
    match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. }
            if credential.token.header_value().is_err() =>
        {
            Finding::problem(
                ID,
                ExitCode::Configuration,
                "token-not-header-safe",
                "the key holds characters that no header can carry",
                "pair the device with another key",
            )
        }
        LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } if next.is_empty() => Finding::ok(ID, saw),
        LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } => {
            Finding::warning(ID, outcome.id(), saw, next)
        }
        // A passphrase that this command was not given may be the daemon's, and so may be its user.
        LoadOutcome::Refused(_) if daemon_has_it(subject) => Finding::ok(
            ID,
            format!("the running agent has read it; this command has not: {saw}"),
        ),
        LoadOutcome::Absent if crate::environment::variable("ASKALF_API_KEY").is_some() => {
            Finding::skipped(ID, "there is no agent.json; the key comes from the environment")
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => {
            Finding::problem(ID, ExitCode::Configuration, outcome.id(), saw, next)
        }
    }
}

fn daemon_has_it(subject: &Subject) -> bool {
    let needs_more = matches!(
        subject.outcome.id(),
        "passphrase-missing" | "service-credential-missing" | "keyfile-wrong-owner"
    );
    needs_more
        && matches!(&subject.daemon, Daemon::Running(status) if status.credential.as_deref() == Some("ready"))
}
