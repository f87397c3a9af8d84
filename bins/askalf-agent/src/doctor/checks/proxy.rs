//! The proxy leads to the bridge, where there is one.

use askalf_agent_core::Layer;
use askalf_cli::ExitCode;

use super::{Finding, Subject, layer};

pub(super) const ID: &str = "proxy";

pub(super) fn check(subject: &Subject) -> Finding {
    if let Err((problem, hint)) = &subject.proxies {
        return Finding::problem(ID, ExitCode::Configuration, "proxy-setting", problem, hint);
    }
    let Some(proxy) = subject.proxy() else {
        return match subject.endpoint() {
            Some(_) => Finding::ok(ID, "none: the bridge is dialled directly"),
            None => Finding::skipped(ID, "no bridge that can be dialled is configured: see 'config'"),
        };
    };
    match layer(subject, ID, Layer::Proxy) {
        Ok(_) => Finding::ok(ID, format!("{proxy} leads to the bridge")),
        Err(finding) => finding,
    }
}
