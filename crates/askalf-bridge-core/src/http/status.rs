//! `/api/v1/status` and `/metrics`: how a bridge is doing. Numbers of the whole bridge; they name nobody.

use axum::Json;
use axum::extract::State;
use http::{HeaderName, HeaderValue, header};

use crate::Bridge;
use crate::api::StatusView;

/// The text format of Prometheus, version 0.0.4.
const TEXT: [(HeaderName, HeaderValue); 1] = [(
    header::CONTENT_TYPE,
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
)];

pub(super) async fn status(State(bridge): State<Bridge>) -> Json<StatusView> {
    Json(now(&bridge))
}

pub(super) async fn metrics(State(bridge): State<Bridge>) -> ([(HeaderName, HeaderValue); 1], String) {
    (TEXT, text(&now(&bridge)))
}

fn now(bridge: &Bridge) -> StatusView {
    let core = &bridge.core;
    let counters = &core.counters;
    let links = core.hub.all();
    let registered = links.iter().filter(|link| link.is_registered()).count();
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phase: core.phase().as_str().to_owned(),
        sessions: number(links.len()),
        devices: number(registered),
        executions: links.iter().map(|link| number(link.held_count())).sum(),
        devices_awaited: number(core.grace.devices()),
        dispatched: counters.dispatched.now(),
        redelivered: counters.redelivered.now(),
        ended: counters.ended.now(),
        acknowledged: counters.acknowledged.now(),
        checks_accepted: counters.accepted.now(),
        checks_refused: counters.refused_by_reason(),
        malformed_prefixes: bridge.malformed_prefixes(),
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn text(status: &StatusView) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        text.push_str(&format!(
            "# HELP askalf_bridge_{name} {help}\n# TYPE askalf_bridge_{name} {kind}\n"
        ));
        for (labels, value) in samples {
            text.push_str(&format!("askalf_bridge_{name}{labels} {value}\n"));
        }
    };
    let plain = |value| [(String::new(), value)];
    let open = u64::from(status.phase == "open");
    family(
        "open",
        "gauge",
        "Whether devices and tasks are taken.",
        &plain(open),
    );
    family(
        "sessions",
        "gauge",
        "Connections whose key was accepted.",
        &plain(status.sessions),
    );
    family(
        "devices",
        "gauge",
        "Devices that are online.",
        &plain(status.devices),
    );
    family(
        "executions",
        "gauge",
        "Executions that online devices hold.",
        &plain(status.executions),
    );
    let help = "Devices with open executions that are away.";
    family("devices_awaited", "gauge", help, &plain(status.devices_awaited));
    let help = "Keys that no prefix finds.";
    family(
        "malformed_prefixes",
        "gauge",
        help,
        &plain(status.malformed_prefixes),
    );
    family(
        "dispatched_total",
        "counter",
        "Tasks that were accepted.",
        &plain(status.dispatched),
    );
    let help = "Tasks that were sent again.";
    family("redelivered_total", "counter", help, &plain(status.redelivered));
    family(
        "ended_total",
        "counter",
        "Ends that were recorded.",
        &plain(status.ended),
    );
    let help = "Results that were acknowledged.";
    family("acknowledged_total", "counter", help, &plain(status.acknowledged));
    let mut checks = vec![("{outcome=\"accepted\"}".to_owned(), status.checks_accepted)];
    for (reason, count) in &status.checks_refused {
        checks.push((format!("{{outcome=\"{reason}\"}}"), *count));
    }
    family(
        "checks_total",
        "counter",
        "Checks of keys by their outcome.",
        &checks,
    );
    text
}
