//! `/api/v1/executions`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use serde::Deserialize;

use super::input::{JsonBody, PathId, UrlQuery, bounded};
use super::{HttpError, NDJSON};
use crate::Bridge;
use crate::api::{Dispatch, DispatchEvent, ExecutionView};
use crate::dispatch::{self, Dispatched};
use crate::follow;
use crate::live_keys::KeyHold;
use crate::stores::{ExecutionFilter, Principal};

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    device: Option<String>,
    open: Option<bool>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(filter): UrlQuery<Filter>,
) -> Result<Json<Vec<ExecutionView>>, HttpError> {
    let device_id = match &filter.device {
        Some(device) => Some(dispatch::find_device(&bridge.core, &who, device).await?.id),
        None => None,
    };
    let filter = ExecutionFilter {
        device_id,
        open_only: filter.open.unwrap_or(false),
        limit: bounded(filter.limit),
    };
    let executions = bridge.core.store.executions(&who, filter).await?;
    Ok(Json(executions.into_iter().map(ExecutionView::from).collect()))
}

pub(super) async fn show(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<Json<ExecutionView>, HttpError> {
    Ok(Json(bridge.core.store.execution(&who, &id).await?.into()))
}

pub(super) async fn cancel(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    PathId(id): PathId,
) -> Result<(StatusCode, Json<ExecutionView>), HttpError> {
    let execution = dispatch::cancel(&bridge.core, &who, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(execution.into())))
}

pub(super) async fn dispatch(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    hold: Option<Extension<Arc<KeyHold>>>,
    JsonBody(task): JsonBody<Dispatch>,
) -> Result<Response, HttpError> {
    let detach = task.detach;
    let core = Arc::clone(&bridge.core);
    // A caller who leaves between the row and the frame must not leave a row behind that nobody sends.
    let dispatched = tokio::spawn({
        let (core, who) = (Arc::clone(&core), who.clone());
        async move { dispatch::dispatch(&core, &who, task).await }
    });
    let dispatched = dispatched
        .await
        .map_err(|_| HttpError::internal("dispatch-lost", "the dispatch was lost"))??;
    if detach {
        let view = ExecutionView::from(dispatched.execution);
        return Ok((StatusCode::ACCEPTED, Json(view)).into_response());
    }
    let hold = hold.map(|Extension(hold)| hold);
    let Dispatched { execution, watch } = dispatched;
    Ok(stream(follow::events(core, who, hold, execution, watch)))
}

pub(super) async fn events(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    hold: Option<Extension<Arc<KeyHold>>>,
    PathId(id): PathId,
) -> Result<Response, HttpError> {
    let (execution, watch) = follow::watch(&bridge.core, &who, &id).await?;
    let hold = hold.map(|Extension(hold)| hold);
    let events = follow::events(bridge.core, who, hold, execution, watch);
    Ok(stream(events))
}

fn stream(events: impl Stream<Item = DispatchEvent> + Send + 'static) -> Response {
    let lines = events.map(|event| Ok::<_, Infallible>(line(&event)));
    (NDJSON, Body::from_stream(lines)).into_response()
}

fn line(event: &DispatchEvent) -> Bytes {
    // Strings and finite numbers: nothing in an event can fail to be JSON.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
