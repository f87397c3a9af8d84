//! Each address of the bridge takes connections.

use askalf_cli::ExitCode;

use super::{Finding, Subject, dns, way};

pub(super) const ID: &str = "tcp";

pub(super) fn check(subject: &Subject) -> Finding {
    if let Err(skipped) = way(subject, ID) {
        return skipped;
    }
    let tried = match &subject.addresses {
        None => return Finding::skipped(ID, "the proxy makes the connection to the bridge"),
        Some(Err(_)) => return Finding::skipped(ID, format!("there is no address: see '{}'", dns::ID)),
        Some(Ok(tried)) => tried,
    };
    let failed: Vec<String> = tried
        .iter()
        .filter_map(|(address, outcome)| Some(format!("{address}: {}", outcome.as_ref().err()?)))
        .collect();
    let saw = failed.join("; ");
    if failed.is_empty() {
        return Finding::ok(
            ID,
            format!("{} of {} addresses take connections", tried.len(), tried.len()),
        );
    }
    if failed.len() < tried.len() {
        return Finding::warning(
            ID,
            "address-unreachable",
            format!("not every address of the bridge takes connections: {saw}"),
            "have the address mended or taken out of the name: each attempt may lose time by it",
        );
    }
    Finding::problem(
        ID,
        ExitCode::Unavailable,
        "unreachable",
        format!("the bridge takes no connection: {saw}"),
        "check that the bridge runs, the port in its URL, and that no firewall drops its packets",
    )
}
