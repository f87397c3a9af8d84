//! The daemon's end of the control socket.

use std::sync::Arc;
use std::time::Duration;

use askalf_proto::one_line;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::client::RUN_AS_THE_AGENT;
use super::decider;
use super::transport::{self, Listener, Peer, Stream};
use super::{Answer, LineError, MAX_LINE, Refusal, Request, read_line, write_line};
use crate::{AgentStatus, ApprovalQueue, Command, Verdict};

/// After a failed accept, for example for want of file descriptors, the wait before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who may speak, and how long.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// User id of the daemon; beside it only root may speak.
    #[cfg(unix)]
    pub uid: u32,
    /// Longest wait for a request, for the agent to take it, and for its answer to be read.
    pub patience: Duration,
    /// Most clients at once; others wait.
    pub clients: usize,
    /// Tasks that wait for an approval. Every client may see them; root alone may decide, and only where the daemon is not
    /// root's own and the client is none of its processes: tasks run as the daemon's user, so its word is theirs too.
    pub approvals: Option<ApprovalQueue>,
}

impl ControlOptions {
    /// Options with the documented defaults: 5 s, 16 clients.
    pub fn new(#[cfg(unix)] uid: u32) -> Self {
        Self {
            #[cfg(unix)]
            uid,
            patience: Duration::from_secs(5),
            clients: 16,
            approvals: None,
        }
    }
}

/// Answers on the control socket, for ever: drop the future to end it. The listener is the caller's, with its file
/// mode and its removal: a Unix socket, or a `PipeListener` on Windows.
pub async fn serve(
    mut listener: Listener,
    options: ControlOptions,
    status: watch::Receiver<AgentStatus>,
    commands: mpsc::Sender<Command>,
) {
    let places = Arc::new(Semaphore::new(options.clients.max(1)));
    // Clients end with the server.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match transport::accept(&mut listener).await {
            Ok(stream) => stream,
            Err(error) => {
                warn!(
                    "the control socket takes no client: {}",
                    crate::driver::io_text(&error)
                );
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let client = Client {
            options: options.clone(),
            status: status.clone(),
            commands: commands.clone(),
        };
        clients.spawn(async move {
            client.serve(stream).await;
            drop(place);
        });
    }
}

struct Client {
    options: ControlOptions,
    status: watch::Receiver<AgentStatus>,
    commands: mpsc::Sender<Command>,
}

impl Client {
    async fn serve(&self, mut stream: Stream) {
        let patience = self.options.patience;
        let Some(answer) = self.answer(&mut stream).await else {
            return;
        };
        let Ok(line) = serde_json::to_vec(&answer) else {
            return;
        };
        // A client that does not read its answer is left.
        let _left = timeout(patience, write_line(&mut stream, line)).await;
    }

    /// `None` where the client has left, or said nothing for too long.
    async fn answer(&self, stream: &mut Stream) -> Option<Answer> {
        let peer = match transport::peer(stream, &self.options).ok()? {
            Ok(peer) => peer,
            Err(stranger) => {
                warn!("{stranger} was refused at the control socket");
                return Some(Answer::Refused(Refusal::new(
                    "not-permitted",
                    "the agent belongs to another user",
                    RUN_AS_THE_AGENT,
                )));
            }
        };
        let line = match timeout(self.options.patience, read_line(stream)).await.ok()? {
            Ok(line) => line,
            Err(LineError::TooLong) => {
                return Some(Answer::Refused(Refusal::new(
                    "request-too-long",
                    &format!("a request has at most {MAX_LINE} bytes"),
                    "ask for status, stop or reload",
                )));
            }
            Err(LineError::Missing | LineError::Io(_)) => return None,
        };
        Some(match serde_json::from_slice(&line) {
            Ok(request) => self.act(request, &peer).await,
            Err(_) => Answer::Refused(Refusal::new(
                "request-unknown",
                "the agent does not know this request",
                "ask for status, stop or reload; a newer command may need a newer agent",
            )),
        })
    }

    fn approvals(&self) -> Option<&ApprovalQueue> {
        self.options.approvals.as_ref()
    }

    async fn decide(&self, execution: &str, approve: bool, peer: &Peer) -> Answer {
        if let Err(refusal) = decider::may_decide(peer, &self.options).await {
            warn!(
                "{peer} may not decide on execution {}: {}",
                one_line(execution),
                refusal.problem
            );
            return Answer::Refused(refusal);
        }
        let verdict = if approve {
            Verdict::Approved(peer.to_string())
        } else {
            Verdict::Denied(peer.to_string())
        };
        match self.approvals().map(|queue| queue.decide(execution, verdict)) {
            Some(Ok(())) => Answer::Done,
            Some(Err(_)) | None => nothing_waits(),
        }
    }

    async fn act(&self, request: Request, peer: &Peer) -> Answer {
        let command = match request {
            Request::Status => return Answer::Status(Box::new(self.status.borrow().clone())),
            Request::Stop => Command::Stop,
            Request::Reload => Command::CredentialChanged,
            Request::Approvals => {
                let approvals = self.approvals().map(ApprovalQueue::list);
                return Answer::Approvals {
                    approvals: approvals.unwrap_or_default(),
                };
            }
            Request::Approval { execution } => {
                return match self.approvals().and_then(|queue| queue.find(&execution)) {
                    Some(approval) => Answer::Approval(Box::new(approval)),
                    None => nothing_waits(),
                };
            }
            Request::Decide { execution, approve } => {
                return self.decide(&execution, approve, peer).await;
            }
        };
        debug!("{peer} asks over the control socket: {command:?}");
        match timeout(self.options.patience, self.commands.send(command)).await {
            Ok(Ok(())) => Answer::Done,
            Ok(Err(_)) => Answer::Refused(Refusal::new(
                "agent-stopped",
                "the agent has stopped already",
                "nothing to do",
            )),
            Err(_) => Answer::Refused(Refusal::new(
                "agent-busy",
                "the agent does not take the request at the moment",
                "try again in a moment",
            )),
        }
    }
}

fn nothing_waits() -> Answer {
    Answer::Refused(Refusal::new(
        "approval-unknown",
        "no task of this id waits for an approval: it was decided, or its time is over",
        "see 'askalf-agent approvals'",
    ))
}
