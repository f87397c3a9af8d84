//! The bridge's name leads to addresses.

use askalf_cli::ExitCode;

use super::{Finding, Subject, way};

pub(super) const ID: &str = "dns";

pub(super) fn check(subject: &Subject) -> Finding {
    if let Err(skipped) = way(subject, ID) {
        return skipped;
    }
    let host = subject
        .endpoint()
        .map(|endpoint| endpoint.host().to_owned())
        .unwrap_or_default();
    match &subject.addresses {
        None => Finding::skipped(ID, "the proxy looks up the bridge's name"),
        Some(Err(why)) => Finding::problem(
            ID,
            ExitCode::Unavailable,
            "name-lookup",
            format!("{host} cannot be looked up: {why}"),
            "check the bridge's URL and the device's name servers",
        ),
        Some(Ok(tried)) => {
            let addresses: Vec<_> = tried
                .iter()
                .map(|(address, _)| address.ip().to_string())
                .collect();
            Finding::ok(ID, format!("{host} is {}", addresses.join(", ")))
        }
    }
}
