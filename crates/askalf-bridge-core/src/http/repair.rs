//! `/api/v1/keys/repair`: finds the row of a token whatever its stored prefix, and mends that.
//!
//! Nothing indexes a hash, so this derives row after row: minutes for some ten thousand. It goes through the same budget as
//! checks do, one derivation at a time, and ends when whoever asked leaves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use askalf_bridge_auth::{KeyPrefix, KeyRecord, Lookup, Token, key_preview};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};

use super::input::JsonBody;
use super::{HttpError, NDJSON};
use crate::Bridge;
use crate::api::{KeyView, RepairEvent, RepairKey};
use crate::bridge::Core;
use crate::stores::{Principal, StoreError};

/// Rows that are read at once.
const PAGE: u32 = 200;

/// Rows between two events, about a third of a second of derivations.
const ROWS_PER_EVENT: u64 = 32;

pub(super) async fn repair(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    JsonBody(wanted): JsonBody<RepairKey>,
) -> Result<Response, HttpError> {
    if !matches!(who, Principal::LocalAdmin { .. }) {
        return Err(HttpError::only_the_local_admin());
    }
    let token = Token::parse(&wanted.key)
        .map_err(|error| HttpError::bad_value(error.id(), error.to_string(), error.hint()))?;
    let search = Search {
        core: Arc::clone(&bridge.core),
        who,
        token: Arc::new(token),
        likely: None,
        page: VecDeque::new(),
        after: None,
        rows: 0,
        over: false,
    };
    let lines = search.events().map(|event| {
        // Strings and numbers: nothing in an event can fail to be JSON.
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    Ok((NDJSON, Body::from_stream(lines)).into_response())
}

struct Search {
    core: Arc<Core>,
    who: Principal,
    token: Arc<Token>,
    /// Ids of the rows that are checked first, as the likely ones; `None` before those are read.
    likely: Option<Vec<String>>,
    page: VecDeque<KeyRecord>,
    after: Option<String>,
    rows: u64,
    over: bool,
}

impl Search {
    fn events(self) -> impl Stream<Item = RepairEvent> + Send {
        stream::unfold(self, |mut search| async move {
            if search.over {
                return None;
            }
            let event = search.step().await.unwrap_or_else(|error| RepairEvent::Failed {
                error: error.into_body(),
            });
            search.over = !matches!(event, RepairEvent::Checking { .. });
            Some((event, search))
        })
    }

    /// Checks some rows more.
    async fn step(&mut self) -> Result<RepairEvent, HttpError> {
        let until = self.rows + ROWS_PER_EVENT;
        while self.rows < until {
            let Some(row) = self.next_row().await? else {
                return Ok(RepairEvent::NotFound { rows: self.rows });
            };
            self.rows += 1;
            if self.is_the_row(&row).await? {
                return self.mend(row).await;
            }
        }
        Ok(RepairEvent::Checking { rows: self.rows })
    }

    async fn next_row(&mut self) -> Result<Option<KeyRecord>, HttpError> {
        if self.likely.is_none() {
            self.page = self.likely_rows().await?;
            self.likely = Some(self.page.iter().map(|row| row.id.clone()).collect());
        }
        loop {
            if let Some(row) = self.page.pop_front() {
                return Ok(Some(row));
            }
            let page = self.core.store.all_keys(self.after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(None) };
            self.after = Some(last.id.clone());
            let likely = self.likely.as_deref().unwrap_or_default();
            self.page = page.into_iter().filter(|row| !likely.contains(&row.id)).collect();
        }
    }

    /// Those of the token's prefix, and those whose prefix is none.
    async fn likely_rows(&self) -> Result<VecDeque<KeyRecord>, StoreError> {
        let prefix = KeyPrefix::of(&self.token);
        let mut rows = self.core.store.find_keys(&Lookup::ByPrefix { prefix }).await?;
        let malformed = self.core.store.find_keys(&Lookup::MalformedPrefix).await?;
        let more = malformed
            .into_iter()
            .filter(|row| !rows.iter().any(|known| known.id == row.id));
        let more: Vec<_> = more.collect();
        rows.extend(more);
        Ok(rows.into())
    }

    async fn is_the_row(&self, row: &KeyRecord) -> Result<bool, HttpError> {
        let Ok(hash) = row.parsed_hash() else {
            return Ok(false);
        };
        let token = Arc::clone(&self.token);
        let derived = self
            .core
            .authenticator
            .derive_within_budget(move || hash.verify(&token));
        Ok(derived.await?)
    }

    async fn mend(&self, row: KeyRecord) -> Result<RepairEvent, HttpError> {
        let prefix = KeyPrefix::of(&self.token);
        let store = &self.core.store;
        if row.key_prefix == prefix.as_str() {
            let key = store.key(&self.who, &row.id).await?.into();
            return Ok(RepairEvent::Right { key });
        }
        let preview = key_preview(&self.token);
        let key: KeyView = store
            .repair_key_prefix(&self.who, &row.id, &prefix, &preview, self.core.now())
            .await?
            .into();
        tracing::info!(key = key.id, by = %self.who, "the prefix of a key was mended");
        Ok(RepairEvent::Mended {
            key,
            prefix_before: row.key_prefix,
        })
    }
}
