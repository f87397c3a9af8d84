//! The loop's calls into the journal.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{error, warn};

use super::clock::unix_ms;
use super::event_loop::{Answer, EventLoop};
use super::journal::Call;
use crate::journal::{Committed, Held, JournalError};
use crate::machine::Event;

impl EventLoop {
    pub(super) fn load(&mut self) {
        let (device_ids, journal) = (Arc::clone(&self.device_ids), self.writer.journal());
        let failed = Answer::Loaded {
            device_id: None,
            held: Err(JournalError::Failed),
        };
        self.ask(failed, move || Answer::Loaded {
            device_id: device_ids.load().unwrap_or_else(|error| {
                warn!("{error}. {}", error.hint());
                None
            }),
            held: journal.load(unix_ms()),
        });
    }

    pub(super) fn loaded(&mut self, device_id: Option<String>, held: Result<Held, JournalError>) {
        for event in self.writer.loaded(held.as_ref().err(), Instant::now()) {
            self.tell(event);
        }
        let Ok(held) = held else { return };
        if let Some(kept) = &held.moved_aside {
            let error = JournalError::Damaged { kept: kept.clone() };
            error!("{error}. {}", error.hint());
        }
        self.quarantined = held.quarantined;
        self.tell(Event::Restored(Box::new(held)));
        self.tell(Event::Start { device_id });
    }

    pub(super) fn committed(&mut self, result: Result<Committed, JournalError>) {
        if let Ok(committed) = &result {
            self.quarantined = committed.quarantined;
        }
        for event in self.writer.committed(result, Instant::now()) {
            self.tell(event);
        }
    }

    /// Makes the call into the journal that is due, if any.
    pub(super) fn use_journal(&mut self) {
        let everything = || self.machine.records();
        match self.writer.next_call(Instant::now(), everything) {
            None => {}
            Some(Call::Load) => self.load(),
            Some(Call::Commit(batch)) => {
                let journal = self.writer.journal();
                self.ask(Answer::Committed(Err(JournalError::Failed)), move || {
                    Answer::Committed(journal.commit(&batch, unix_ms()))
                });
            }
        }
    }

    /// Puts in place what is still to be put on record.
    pub(super) async fn finish_writing(&mut self) {
        self.writer.hasten(Instant::now());
        self.use_journal();
        while let Some(answer) = self.answers.join_next().await {
            match answer {
                Ok(Answer::DeviceIdWritten) => self.device_id_written(),
                Ok(Answer::Committed(result)) => self.committed(result),
                _ => {}
            }
            self.use_journal();
        }
    }
}
