//! `keys verify --repair`

use std::time::{Duration, Instant};

use askalf_bridge_core::api::{RepairEvent, RepairKey};
use askalf_cli::{ExitCode, Failure, print, read_token};
use http::Method;

use super::{note, show_json};
use crate::api_client::{ApiClient, gone};
use crate::event_stream::EventStream;
use crate::home::Home;

/// How often the person is told that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn repair(home: &Home, json: bool) -> anyhow::Result<ExitCode> {
    let request = RepairKey {
        key: read_token()?.expose_secret().to_owned(),
    };
    let mut client = ApiClient::connect(home).await?;
    let mut events = EventStream::new(
        client
            .stream(Method::POST, "/api/v1/keys/repair", Some(&request))
            .await?,
    );
    let mut told = Instant::now();
    loop {
        let event = match events.next().await {
            Ok(Some(RepairEvent::Checking { rows })) => {
                if told.elapsed() >= TOLD_EVERY {
                    note(&format!("{rows} keys checked"));
                    told = Instant::now();
                }
                continue;
            }
            Ok(Some(event)) => event,
            Ok(None) | Err(()) => return Err(gone().into()),
        };
        if let RepairEvent::Failed { error } = event {
            return Err(Failure::new(ExitCode::TryAgain, error.message)
                .hint(error.hint)
                .into());
        }
        if json {
            show_json(&event)?;
        } else {
            print(&in_words(&event))?;
        }
        return Ok(match event {
            RepairEvent::NotFound { .. } => ExitCode::Failed,
            _ => ExitCode::Done,
        });
    }
}

fn in_words(event: &RepairEvent) -> String {
    match event {
        RepairEvent::Mended { key, prefix_before } => format!(
            "match: key {} ({}); its prefix was '{}' and is mended\n",
            key.id,
            key.name,
            askalf_cli::one_line(prefix_before)
        ),
        RepairEvent::Right { key } => format!("match: key {} ({}); its prefix is right\n", key.id, key.name),
        RepairEvent::NotFound { rows } => format!("no match among {rows} keys\n"),
        RepairEvent::Checking { .. } | RepairEvent::Failed { .. } => String::new(),
    }
}
