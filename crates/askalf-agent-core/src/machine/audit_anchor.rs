//! The newest head of the audit log, told to the bridge: with it a log whose end was cut off can be shown to be short.

use std::time::Duration;

use askalf_proto::{AgentMessage, AuditHead, Feature};

use super::event::SocketId;
use super::phase::Phase;
use super::session::Session;
use super::{Jitter, Machine, Moment};

/// How long to wait at least from one head to the next on a connection.
const EVERY: Duration = Duration::from_secs(60);

/// What is known of the log, and what the bridge was told of it.
#[derive(Debug, Default)]
pub(crate) struct AuditAnchor {
    head: Option<AuditHead>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    socket: SocketId,
    head: AuditHead,
    at: Moment,
}

impl AuditAnchor {
    pub(crate) fn know(&mut self, head: AuditHead) {
        self.head = Some(head);
    }

    /// When there is something to tell on this connection; a time that is past means at once.
    fn due(&self, socket: SocketId) -> Option<Moment> {
        let head = self.head.as_ref()?;
        match &self.told {
            Some(told) if told.socket == socket => (told.head != *head).then(|| told.at + EVERY),
            Some(_) | None => Some(Moment::default()),
        }
    }
}

impl<J: Jitter> Machine<J> {
    pub(crate) fn audit_head_due(&self, session: &Session) -> Option<Moment> {
        if session.features.contains(Feature::AuditAnchor) {
            self.audit_anchor.due(session.socket)
        } else {
            None
        }
    }

    pub(crate) fn send_audit_head(&mut self, now: Moment) {
        let Phase::Online(session) = &self.phase else {
            return;
        };
        let socket = session.socket;
        if self.audit_head_due(session).is_none_or(|due| due > now) {
            return;
        }
        if let Some(head) = self.audit_anchor.head.clone() {
            self.audit_anchor.told = Some(Told {
                socket,
                head: head.clone(),
                at: now,
            });
            self.send(socket, AgentMessage::AuditHead(head));
        }
    }
}
