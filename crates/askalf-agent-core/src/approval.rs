//! Tasks that wait until a person lets them run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askalf_proto::{clip_to_json, json_len};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// Most tasks that wait at once; as many as a device may run at once.
pub const MAX_APPROVALS: usize = 64;

/// Longest texts of a request together, in bytes of JSON: whoever decides must be able to see all of it, in one answer of the
/// control socket.
pub const MAX_SHOWN: usize = 48 * 1024;

/// Longest text of a request in a listing, in bytes of JSON.
const LISTED: usize = 160;

/// A task that waits for an approval, as whoever decides sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingApproval {
    /// The execution: what is approved or denied is named by it.
    pub execution: String,
    /// The rule that asks.
    pub rule: String,
    /// What would run it.
    pub executor: String,
    /// The agent in whose name it would run.
    pub agent: Option<String>,
    /// Folder it would run in.
    pub working_directory: String,
    /// What it would do. Of a named command the arguments in one line; `arguments` has them apart.
    pub input: String,
    /// The program and its arguments, where a named command runs: where one ends and the next begins is not to be seen in `input`.
    /// Empty in a listing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// When it is refused by itself, in milliseconds since the Unix epoch.
    pub expires_at: u64,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may run; by whom.
    Approved(String),
    /// It may not; by whom.
    Denied(String),
    /// Nobody decided in time.
    Expired,
}

/// Why a request was not even shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// Too many wait already.
    #[error("{MAX_APPROVALS} tasks wait for an approval already")]
    Full,
    /// It is too long to be shown whole.
    #[error("the task is too long to be shown whole to whoever approves it")]
    TooLong,
    /// A request of this id waits.
    #[error("a task of this id waits already")]
    Twice,
}

impl NotAsked {
    /// Stable name of the error.
    pub fn id(self) -> &'static str {
        match self {
            Self::Full => "approvals-full",
            Self::TooLong => "approval-too-long",
            Self::Twice => "approval-twice",
        }
    }

    /// What to do next.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Full => "decide on them: 'askalf-agent approvals'",
            Self::TooLong => "put the work into a file of the device, and dispatch a short command",
            Self::Twice => "wait for the first one",
        }
    }
}

/// No request of that id waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no task of this id waits for an approval")]
pub struct Undecided;

/// What waits for an approval: a bounded list, shared by executors and the control socket.
///
/// ```
/// use std::time::Duration;
/// use askalf_agent_core::{ApprovalQueue, PendingApproval, Verdict};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let queue = ApprovalQueue::default();
/// let request = PendingApproval {
///     execution: "e1".into(),
///     rule: "deploys".into(),
///     executor: "shell".into(),
///     agent: None,
///     working_directory: "/srv".into(),
///     input: "make deploy".into(),
///     arguments: Vec::new(),
///     expires_at: 0,
/// };
/// let asked = queue.ask(request, Duration::from_secs(60));
/// let answered = async { queue.decide("e1", Verdict::Approved("user 0".into())) };
/// let (verdict, decided) = tokio::join!(asked, answered);
/// assert_eq!(decided, Ok(()));
/// assert_eq!(verdict, Ok(Verdict::Approved("user 0".into())));
/// assert!(queue.list().is_empty());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ApprovalQueue {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Waiting {
    request: PendingApproval,
    verdict: oneshot::Sender<Verdict>,
}

impl Default for ApprovalQueue {
    fn default() -> Self {
        Self {
            waiting: Arc::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl ApprovalQueue {
    /// Shows the request and waits for what becomes of it, at most `patience`. Dropped, it takes the request back.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub async fn ask(&self, request: PendingApproval, patience: Duration) -> Result<Verdict, NotAsked> {
        let texts = [&request.input, &request.working_directory, &request.rule];
        let texts = texts.into_iter().chain(&request.arguments);
        if texts.map(|text| json_len(text)).sum::<usize>() > MAX_SHOWN {
            return Err(NotAsked::TooLong);
        }
        let execution = request.execution.clone();
        let (verdict, decided) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.len() >= MAX_APPROVALS {
                return Err(NotAsked::Full);
            }
            if waiting.iter().any(|it| it.request.execution == execution) {
                return Err(NotAsked::Twice);
            }
            waiting.push(Waiting { request, verdict });
        }
        self.changes.send_replace(());
        let _taken_back = TakeBack {
            queue: self,
            execution: &execution,
        };
        Ok(match timeout(patience, decided).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) | Err(_) => Verdict::Expired,
        })
    }

    /// What waits, the oldest first. Of each text only the beginning: see [`ApprovalQueue::find`].
    pub fn list(&self) -> Vec<PendingApproval> {
        let clip = |text: &str| clip_to_json(text, LISTED).into_owned();
        self.lock()
            .iter()
            .map(|Waiting { request, .. }| PendingApproval {
                execution: request.execution.clone(),
                rule: clip(&request.rule),
                executor: clip(&request.executor),
                agent: request.agent.as_deref().map(clip),
                working_directory: clip(&request.working_directory),
                input: clip(&request.input),
                arguments: Vec::new(),
                expires_at: request.expires_at,
            })
            .collect()
    }

    /// One request, whole.
    pub fn find(&self, execution: &str) -> Option<PendingApproval> {
        let waiting = self.lock();
        let found = waiting.iter().find(|it| it.request.execution == execution)?;
        Some(found.request.clone())
    }

    /// Ends a request. Who may do that is the caller's to know.
    ///
    /// # Errors
    /// [`Undecided`] where it does not wait, or not any more: the first decision stays.
    pub fn decide(&self, execution: &str, verdict: Verdict) -> Result<(), Undecided> {
        let decided = {
            let mut waiting = self.lock();
            let at = waiting
                .iter()
                .position(|it| it.request.execution == execution)
                .ok_or(Undecided)?;
            waiting.remove(at)
        };
        self.changes.send_replace(());
        decided.verdict.send(verdict).map_err(|_| Undecided)
    }

    /// Tells whenever something begins or ceases to wait.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a request that nobody waits for any more.
struct TakeBack<'a> {
    queue: &'a ApprovalQueue,
    execution: &'a str,
}

impl Drop for TakeBack<'_> {
    fn drop(&mut self) {
        let removed = {
            let mut waiting = self.queue.lock();
            let before = waiting.len();
            waiting.retain(|it| it.request.execution != self.execution);
            waiting.len() < before
        };
        if removed {
            self.queue.changes.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(execution: &str, input: &str) -> PendingApproval {
        PendingApproval {
            execution: execution.to_owned(),
            rule: "r".repeat(2000),
            executor: "x".repeat(128),
            agent: Some("a".repeat(256)),
            working_directory: "/srv".to_owned(),
            input: input.to_owned(),
            arguments: Vec::new(),
            expires_at: 1,
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_nobody_decides_expires_and_waits_no_more() {
        let queue = ApprovalQueue::default();
        let verdict = queue.ask(request("e1", "true"), MINUTE).await;
        assert_eq!(verdict, Ok(Verdict::Expired));
        assert!(queue.list().is_empty());
        assert_eq!(
            queue.decide("e1", Verdict::Approved("late".into())),
            Err(Undecided)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_decision_stays_and_a_dropped_request_is_taken_back() {
        let queue = ApprovalQueue::default();
        let mut changes = queue.changes();
        let asked = queue.ask(request("e1", "true"), MINUTE);
        let answered = async {
            changes.changed().await.unwrap();
            assert_eq!(queue.decide("e1", Verdict::Denied("user 0".into())), Ok(()));
            assert_eq!(
                queue.decide("e1", Verdict::Approved("user 0".into())),
                Err(Undecided)
            );
        };
        let (verdict, ()) = tokio::join!(asked, answered);
        assert_eq!(verdict, Ok(Verdict::Denied("user 0".into())));

        let dropped = timeout(Duration::from_secs(1), queue.ask(request("e2", "x"), MINUTE));
        assert!(dropped.await.is_err());
        assert!(queue.find("e2").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_shown_whole_or_has_no_place_is_not_asked() {
        let queue = ApprovalQueue::default();
        let long = queue
            .ask(request("e1", &"\u{1}".repeat(MAX_SHOWN / 6)), MINUTE)
            .await;
        assert_eq!(long, Err(NotAsked::TooLong));
        let asked: Vec<_> = (0..MAX_APPROVALS)
            .map(|number| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    queue
                        .ask(
                            request(&format!("e{number:0>127}"), &"\u{1}".repeat(4000)),
                            MINUTE,
                        )
                        .await
                })
            })
            .collect();
        let mut changes = queue.changes();
        while queue.list().len() < MAX_APPROVALS {
            changes.changed().await.unwrap();
        }
        assert_eq!(queue.ask(request("more", "x"), MINUTE).await, Err(NotAsked::Full));
        let listing = serde_json::to_string(&queue.list()).unwrap();
        assert!(
            listing.len() < crate::control::MAX_LINE - 1024,
            "a full listing fits an answer: {}",
            listing.len()
        );
        let whole = queue.find(&format!("e{:0>127}", 7)).unwrap();
        assert_eq!(whole.input.len(), 4000);
        for task in asked {
            assert_eq!(task.await.unwrap(), Ok(Verdict::Expired));
        }
    }
}
