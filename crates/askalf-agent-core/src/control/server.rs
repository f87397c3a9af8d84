//! The daemon's end of the control socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::client::RUN_AS_THE_AGENT;
use super::transport::{self, Listener, Peer, Stream};
use super::{Answer, LineError, MAX_LINE, Refusal, Request, read_line, write_line};
use crate::{AgentStatus, Command};

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
}

impl ControlOptions {
    /// Options with the documented defaults: 5 s, 16 clients.
    pub fn new(#[cfg(unix)] uid: u32) -> Self {
        Self {
            #[cfg(unix)]
            uid,
            patience: Duration::from_secs(5),
            clients: 16,
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

    async fn act(&self, request: Request, peer: &Peer) -> Answer {
        let command = match request {
            Request::Status => return Answer::Status(Box::new(self.status.borrow().clone())),
            Request::Stop => Command::Stop,
            Request::Reload => Command::CredentialChanged,
        };
        debug!("{peer} asks over the control socket: {request:?}");
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
