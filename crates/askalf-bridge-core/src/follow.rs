//! An execution as a stream of news.

use std::sync::Arc;

use askalf_proto::{MAX_FRAME_OUT, clip_to_json};
use futures_util::Stream;
use futures_util::stream;
use tokio::time::MissedTickBehavior;

use crate::api::DispatchEvent;
use crate::bridge::Core;
use crate::live_keys::KeyHold;
use crate::stores::{Execution, ExecutionStatus, Principal, StoreError};
use crate::watchers::Watch;

/// The news of an execution from now on: `accepted` first, `ended` last. Where the bridge goes down before the end, or the
/// store cannot say how it ended, or the caller's key does not hold any more, the stream ends without `ended`.
pub(crate) fn events(
    core: Arc<Core>,
    who: Principal,
    hold: Option<Arc<KeyHold>>,
    execution: Execution,
    watch: Watch,
) -> impl Stream<Item = DispatchEvent> + Send {
    let mut idle = tokio::time::interval(core.options.idle_event_interval);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    idle.reset();
    let state = Follow {
        core,
        who,
        hold,
        execution,
        watch,
        idle,
        stage: Stage::First,
        streamed: false,
    };
    stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((event, state))
    })
}

/// Follows an execution that goes on already.
pub(crate) async fn watch(core: &Core, who: &Principal, id: &str) -> Result<(Execution, Watch), StoreError> {
    // Asked twice: only the device tells which news are its own, and an end in between would go unheard.
    let device_id = core.store.execution(who, id).await?.device_id;
    let watch = core.watchers.watch(id, device_id.as_deref().unwrap_or_default());
    let execution = core.store.execution(who, id).await?;
    if !execution.status.is_open() {
        core.watchers.ended(id);
    }
    Ok((execution, watch))
}

/// Resolves once the key of a caller does not hold any more.
async fn lost(hold: Option<&KeyHold>) {
    match hold {
        Some(hold) => {
            hold.lost().await;
        }
        None => std::future::pending().await,
    }
}

struct Follow {
    core: Arc<Core>,
    who: Principal,
    /// The key of the caller; who asks over the local socket has none.
    hold: Option<Arc<KeyHold>>,
    execution: Execution,
    watch: Watch,
    idle: tokio::time::Interval,
    stage: Stage,
    /// Whether output was passed on.
    streamed: bool,
}

enum Stage {
    First,
    /// The device had begun when the reader came.
    Running,
    Following,
    Over,
}

impl Follow {
    async fn next(&mut self) -> Option<DispatchEvent> {
        match self.stage {
            Stage::First => {
                self.stage = match self.execution.status {
                    ExecutionStatus::Running => Stage::Running,
                    _ => Stage::Following,
                };
                Some(DispatchEvent::Accepted {
                    id: self.execution.id.clone(),
                    device_id: self.execution.device_id.clone().unwrap_or_default(),
                })
            }
            Stage::Running => {
                self.stage = Stage::Following;
                Some(DispatchEvent::Running)
            }
            Stage::Following => self.follow().await,
            Stage::Over => None,
        }
    }

    async fn follow(&mut self) -> Option<DispatchEvent> {
        tokio::select! {
            biased;
            () = lost(self.hold.as_deref()) => {
                self.stage = Stage::Over;
                return None;
            }
            event = self.watch.next() => {
                self.idle.reset();
                if event.is_some() {
                    self.streamed |= matches!(event, Some(DispatchEvent::Output { .. } | DispatchEvent::Skipped { .. }));
                    return event;
                }
            }
            () = self.core.closing() => {}
            _ = self.idle.tick() => {
                // The end may have been recorded where no news of it came from.
                if !self.has_ended().await {
                    return Some(DispatchEvent::Idle);
                }
            }
        }
        self.stage = Stage::Over;
        let ended = self.core.store.execution(&self.who, &self.execution.id).await;
        match ended {
            Ok(mut execution) if !execution.status.is_open() => {
                let output = execution.output.take().filter(|_| !self.streamed);
                execution.output = output.map(|output| clip_to_json(&output, MAX_FRAME_OUT).into_owned());
                Some(DispatchEvent::Ended {
                    execution: Box::new(execution.into()),
                })
            }
            Ok(_) => None,
            Err(error) => {
                tracing::error!(execution = self.execution.id, error = %error, "an end could not be told");
                None
            }
        }
    }

    async fn has_ended(&self) -> bool {
        let now = self.core.store.execution(&self.who, &self.execution.id).await;
        now.is_ok_and(|execution| !execution.status.is_open())
    }
}
