//! The device's disk: a journal that keeps what was written, whoever is killed.

use std::collections::BTreeMap;
use std::sync::Arc;

use askalf_agent_core::journal::{Accepted, EndedId, Held, HeldResult, Record};

/// What is on record.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    accepted: Vec<(String, String)>,
    results: BTreeMap<u64, (String, Arc<str>)>,
    ended: Vec<EndedId>,
    written: u64,
}

impl Disk {
    pub(crate) fn write(&mut self, record: &Record) {
        self.written += 1;
        match record {
            Record::Accepted {
                execution_id,
                executor,
            } => {
                self.accepted.push((execution_id.clone(), executor.clone()));
            }
            Record::Ended { execution_id, frame } => {
                self.end(execution_id);
                self.results
                    .insert(self.written, (execution_id.clone(), Arc::clone(frame)));
            }
            Record::Quarantined {
                execution_id,
                replacement,
            } => match replacement {
                Some(new) => {
                    for (id, frame) in self.results.values_mut().filter(|(id, _)| id == execution_id) {
                        debug_assert_eq!(id, execution_id);
                        *frame = Arc::clone(new);
                    }
                }
                None => self.results.retain(|_, (id, _)| id != execution_id),
            },
            Record::Delivered { execution_id } => {
                self.end(execution_id);
                self.results.retain(|_, (id, _)| id != execution_id);
            }
            Record::Remembered(ended) => self.remember(*ended),
        }
    }

    pub(crate) fn has_accepted(&self, id: &str) -> bool {
        self.accepted.iter().any(|(accepted, _)| accepted == id)
    }

    pub(crate) fn has_result(&self, id: &str) -> bool {
        self.results.values().any(|(result, _)| result == id)
    }

    pub(crate) fn held(&self) -> Held {
        let accepted = |(execution_id, executor): &(String, String)| Accepted {
            execution_id: execution_id.clone(),
            executor: executor.clone(),
        };
        let result = |(execution_id, frame): &(String, Arc<str>)| HeldResult {
            execution_id: execution_id.clone(),
            frame: Arc::clone(frame),
        };
        Held {
            accepted: self.accepted.iter().map(accepted).collect(),
            results: self.results.values().map(result).collect(),
            ended: self.ended.clone(),
            ..Held::default()
        }
    }

    fn end(&mut self, id: &str) {
        self.accepted.retain(|(accepted, _)| accepted != id);
        self.remember(EndedId::of(id));
    }

    fn remember(&mut self, ended: EndedId) {
        if !self.ended.contains(&ended) {
            self.ended.push(ended);
        }
    }
}
