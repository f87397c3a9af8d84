//! The keyfile, where the key is sealed under one.

use askalf_cli::ExitCode;
use askalf_cred::{LoadOutcome, SealMode};

use super::{Finding, Subject};

pub(super) const ID: &str = "keyfile";

/// Outcomes of the credential that are about the keyfile.
const OTHER_KEY: &str = "sealed-under-another-key";

pub(super) fn check(subject: &Subject) -> Finding {
    let path = subject.home().keyfile_path();
    match &subject.outcome {
        LoadOutcome::Ready(credential) if credential.seal.mode == SealMode::Keyfile => {
            let id = credential
                .seal
                .key_id
                .map(|id| format!(", {id}"))
                .unwrap_or_default();
            Finding::ok(ID, format!("{} unseals the key{id}", path.display()))
        }
        LoadOutcome::Ready(credential) => Finding::skipped(
            ID,
            format!("the key is sealed otherwise: {}", credential.seal.mode.as_str()),
        ),
        LoadOutcome::Plaintext { .. } => Finding::skipped(ID, "the key is not sealed"),
        outcome @ LoadOutcome::Refused(_)
            if outcome.id().starts_with("keyfile-") || outcome.id() == OTHER_KEY =>
        {
            Finding::problem(
                ID,
                ExitCode::Configuration,
                outcome.id(),
                outcome.to_string(),
                outcome.hint().unwrap_or_default(),
            )
        }
        LoadOutcome::Refused(_) => Finding::skipped(ID, "agent.json comes first: see 'credential'"),
        LoadOutcome::Absent => Finding::skipped(ID, "there is no agent.json: see 'config'"),
    }
}
