//! Whether the agent's loop goes round.

use std::sync::Arc;

use tokio::sync::Notify;

/// Asks the loop of a running agent for a sign of life, for a watchdog: an agent that has the runtime but whose loop stands
/// still gives none. Clones are the same pulse; one asks at a time.
///
/// ```
/// # use askalf_agent_core::Pulse;
/// # use std::time::Duration;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let pulse = Pulse::default();
/// // No agent has it, so none answers.
/// let felt = tokio::time::timeout(Duration::from_millis(1), pulse.felt()).await;
/// assert!(felt.is_err());
/// # });
/// ```
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: Notify,
    beat: Notify,
}

impl Pulse {
    /// Waits for the next sign of life; for ever where there is none. Cancel-safe.
    pub async fn felt(&self) {
        self.0.asked.notify_one();
        self.0.beat.notified().await;
    }

    /// Waits until somebody asks. Cancel-safe.
    pub(super) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// The sign.
    pub(super) fn beat(&self) {
        self.0.beat.notify_one();
    }
}
