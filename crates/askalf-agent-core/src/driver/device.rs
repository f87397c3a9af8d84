//! Questions to the device: what it has, at most one scan at a time, and how busy it is, once for each heartbeat.

use std::time::Duration;

use askalf_proto::{AgentMessage, Heartbeat};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::warn;

use super::event_loop::{Answer, EventLoop};
use crate::machine::{Event, SocketId};
use crate::{DeviceLoad, Scan};

/// How long the start of the agent waits for the first scan. What takes longer comes with the next one that the bridge
/// wants, which it does after each registration.
const FIRST_SCAN_PATIENCE: Duration = Duration::from_secs(1);

/// How long a heartbeat waits for its figures; then it goes without.
const LOAD_PATIENCE: Duration = Duration::from_secs(1);

/// Questions under way.
#[derive(Debug, Default)]
pub(super) struct Questions {
    scanning: bool,
    /// The heartbeat that waits for its figures.
    beat: Option<(SocketId, Heartbeat)>,
    /// A reading has not come back yet, in time or not.
    reading_load: bool,
}

impl EventLoop {
    /// The scan before anything is told to a bridge.
    pub(super) async fn first_scan(&mut self) {
        self.scan();
        if let Ok(Some(Ok(answer))) = timeout(FIRST_SCAN_PATIENCE, self.answers.join_next()).await {
            self.answered(answer);
        } else {
            warn!("looking at the device takes long; the agent goes on with what it knows");
        }
    }

    /// Looks at the device, unless that is under way.
    pub(super) fn scan(&mut self) {
        if std::mem::replace(&mut self.questions.scanning, true) {
            return;
        }
        let (known, probe) = (self.options.facts.clone(), self.options.probe.clone());
        let executors = self.tasks.executors();
        self.ask(Answer::Scanned(None), move || {
            let facts = probe.map_or(known, |probe| probe.facts());
            let installed = executors.iter().filter(|executor| executor.is_installed());
            let executors = installed.map(|executor| executor.kind()).collect();
            Answer::Scanned(Some(Box::new(Scan { facts, executors })))
        });
    }

    pub(super) fn scanned(&mut self, scan: Option<Box<Scan>>) {
        self.questions.scanning = false;
        self.tell(Event::Scanned(scan));
    }

    /// Sends a heartbeat with figures, where they come in time.
    pub(super) fn beat(&mut self, socket: SocketId, heartbeat: Heartbeat) {
        let probe = self
            .options
            .probe
            .clone()
            .filter(|_| !self.questions.reading_load);
        let Some(probe) = probe else {
            self.send(socket, &AgentMessage::Heartbeat(heartbeat));
            return;
        };
        self.questions.reading_load = true;
        self.questions.beat = Some((socket, heartbeat));
        let mut reading = spawn_blocking(move || probe.load());
        self.answers.spawn(async move {
            match timeout(LOAD_PATIENCE, &mut reading).await {
                Ok(load) => Answer::Load(load.unwrap_or_default()),
                Err(_) => Answer::LoadIsLate(reading),
            }
        });
    }

    pub(super) fn load_read(&mut self, load: DeviceLoad) {
        self.questions.reading_load = false;
        if let Some((socket, mut heartbeat)) = self.questions.beat.take() {
            load.put_into(&mut heartbeat);
            self.send(socket, &AgentMessage::Heartbeat(heartbeat));
        }
    }

    /// The heartbeat goes without; no other reading begins before this one has come back.
    pub(super) fn load_is_late(&mut self, reading: JoinHandle<DeviceLoad>) {
        if let Some((socket, heartbeat)) = self.questions.beat.take() {
            self.send(socket, &AgentMessage::Heartbeat(heartbeat));
        }
        self.answers
            .spawn(async move { Answer::Load(reading.await.unwrap_or_default()) });
    }
}
