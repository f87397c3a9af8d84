//! A journal that forgets with its process, and fails when told to: for tests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Accepted, Committed, EndedId, Held, HeldResult, Journal, JournalError, Record};

/// Keeps records in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryJournal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: Held,
    faults: VecDeque<JournalError>,
    commits: Vec<Vec<Record>>,
}

impl MemoryJournal {
    pub(crate) fn holding(held: Held) -> Self {
        let state = State {
            held,
            ..State::default()
        };
        Self(Mutex::new(state))
    }

    /// Each call fails so from now on, or none does. A fault that begins a fresh journal happens once, and the next
    /// follows.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = JournalError>) {
        self.state().faults = faults.into_iter().collect();
    }

    pub(crate) fn held(&self) -> Held {
        self.state().held.clone()
    }

    /// The records of each commit so far that had some.
    pub(crate) fn commits(&self) -> Vec<Vec<Record>> {
        self.state().commits.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn load(&self, _: u64) -> Result<Held, JournalError> {
        let state = self.state();
        match state.faults.front() {
            Some(fault) => Err(fault.clone()),
            None => Ok(state.held.clone()),
        }
    }

    fn commit(&self, records: &[Record], _: u64) -> Result<Committed, JournalError> {
        let mut state = self.state();
        if let Some(fault) = state.faults.front().cloned() {
            if fault.starts_anew() {
                state.held = Held::default();
                state.faults.pop_front();
            }
            return Err(fault);
        }
        for record in records {
            put(&mut state.held, record.clone());
        }
        if !records.is_empty() {
            state.commits.push(records.to_vec());
        }
        Ok(Committed {
            quarantined: state.held.quarantined,
        })
    }
}

fn put(held: &mut Held, record: Record) {
    let end = |held: &mut Held, id: &String| {
        held.accepted.retain(|it| it.execution_id != *id);
        remember(held, EndedId::of(id));
    };
    match record {
        Record::Accepted {
            execution_id,
            executor,
        } => held.accepted.push(Accepted {
            execution_id,
            executor,
        }),
        Record::Ended { execution_id, frame } => {
            end(held, &execution_id);
            held.results.push(HeldResult { execution_id, frame });
        }
        Record::Quarantined {
            execution_id,
            replacement,
        } => {
            held.quarantined += 1;
            match replacement {
                Some(new) => {
                    for result in &mut held.results {
                        if result.execution_id == execution_id {
                            result.frame = new.clone();
                        }
                    }
                }
                None => held.results.retain(|it| it.execution_id != execution_id),
            }
        }
        Record::Delivered { execution_id } => {
            end(held, &execution_id);
            held.results.retain(|it| it.execution_id != execution_id);
        }
        Record::Remembered(ended) => remember(held, ended),
    }
}

fn remember(held: &mut Held, ended: EndedId) {
    if !held.ended.contains(&ended) {
        held.ended.push(ended);
    }
}
