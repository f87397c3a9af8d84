//! The bridge takes the key. Nothing registers: a running daemon keeps its place.

use askalf_agent_core::{Layer, State};

use super::{Daemon, Finding, Subject, layer};

pub(super) const ID: &str = "token";

pub(super) fn check(subject: &Subject) -> Finding {
    if subject.token().is_none() {
        if let Daemon::Running(status) = &subject.daemon
            && status.state == State::Online
        {
            return Finding::ok(ID, "the running agent is registered with it");
        }
        return Finding::skipped(ID, "there is no key to present: see 'credential'");
    }
    match layer(subject, ID, Layer::Key) {
        Ok(_) => Finding::ok(ID, "the bridge takes the key"),
        // A forge that checks one key after the other may take longer than anybody waits here.
        Err(finding) if finding.reason.as_deref() == Some("not-registered") => Finding::warning(
            ID,
            "key-undecided",
            "the bridge took the connection, and did not say in time whether it takes the key",
            "run the command again; if it stays, ask the operator for the bridge's log",
        ),
        Err(finding) => finding,
    }
}
