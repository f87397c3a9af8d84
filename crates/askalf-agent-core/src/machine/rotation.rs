//! The rotation of the key: the bridge offers one, and the device changes over to it without ever being without a key that
//! lets it in.
//!
//! The old key is good until the device has said `credential:promoted`, and what is staged is presented first wherever the
//! device connects, so that whatever dies in between leaves a device that comes back as itself.

use askalf_proto::{
    AgentMessage, CredentialCommitted, CredentialFailed, CredentialPromoted, CredentialRotate,
    CredentialStaged,
};
use tracing::{info, warn};

use super::action::Action;
use super::backoff::Backoff;
use super::disposition::{Disposition, Verdict};
use super::event::Proof;
use super::{Jitter, Machine, Moment, State, StateReason};
use crate::RotationFault;

/// Longest reason that is told to the bridge, in bytes: a name of the wire.
const MAX_REASON: usize = askalf_proto::MAX_NAME;

const COMPLETING: &str = "the device is completing an earlier rotation";

#[derive(Debug, Default)]
pub(crate) struct Rotation {
    step: Step,
    /// The rotation whose key is staged, where this process was told.
    id: Option<String>,
    /// What the bridge has offered meanwhile: what came before it is void.
    offered: Option<Box<CredentialRotate>>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    /// Nothing is under way. A key that an earlier process staged may be in use.
    #[default]
    Idle,
    /// The offered key is being written.
    Staging,
    /// It is being proved on a connection of its own.
    Proving,
    /// The bridge could not say: it is asked again at this moment.
    ProveAt(Moment),
    /// The key is the device's: it is being put in place.
    Promoting,
    /// That failed, and is tried again at this moment.
    PromoteAt(Moment),
    /// It is in place, and being read.
    Switching,
    /// The bridge does not take it: it is being removed.
    Dropping,
}

impl<J: Jitter> Machine<J> {
    pub(crate) fn credential_offered(&mut self, offer: CredentialRotate) {
        let offer = Box::new(offer);
        match self.rotation.step {
            Step::Idle | Step::ProveAt(_) => self.stage_credential(offer),
            Step::Staging | Step::Proving | Step::Dropping => self.rotation.offered = Some(offer),
            Step::Promoting | Step::PromoteAt(_) | Step::Switching => {
                self.say_failed(offer.rotation_id, COMPLETING);
            }
        }
    }

    /// The bridge says that this connection's key is the device's.
    pub(crate) fn credential_committed(&mut self, committed: CredentialCommitted) {
        // A staged key is promoted since the registration; the device says so when it has come back with it.
        if self.rotation.step == Step::Idle && !self.credential_is_pending() {
            let CredentialCommitted { rotation_id } = committed;
            self.send_online(AgentMessage::CredentialPromoted(CredentialPromoted {
                rotation_id,
            }));
        }
    }

    pub(crate) fn credential_staged(&mut self, rotation_id: String, staged: Result<(), RotationFault>) {
        if self.rotation.step != Step::Staging {
            return;
        }
        match staged {
            Err(fault) => {
                warn!(
                    "the new key cannot be kept, the present one stays: {fault}. {}",
                    fault.hint
                );
                self.say_failed(rotation_id, &fault.problem);
                self.rotation_is_over();
            }
            Ok(()) => match self.rotation.offered.take() {
                Some(newer) => self.stage_credential(newer),
                None => {
                    self.send_online(AgentMessage::CredentialStaged(CredentialStaged { rotation_id }));
                    self.prove_credential();
                    if !self.is_online() {
                        self.use_staged_credential();
                    }
                }
            },
        }
    }

    pub(crate) fn credential_proved(&mut self, rotation_id: &str, proof: Proof, now: Moment) {
        if self.rotation.step != Step::Proving || self.rotation.id.as_deref() != Some(rotation_id) {
            return;
        }
        match proof {
            Proof::Committed => self.promote_credential(),
            Proof::Refused { problem } => {
                warn!("the bridge does not take the new key, the present one stays: {problem}");
                self.say_failed(rotation_id.to_owned(), &problem);
                self.drop_staged(false);
            }
            Proof::Undecided { problem } => match self.rotation.offered.take() {
                Some(newer) => self.stage_credential(newer),
                None => {
                    let at = now + self.rotation_wait();
                    warn!("the new key could not be proved yet: {problem}");
                    self.rotation.step = Step::ProveAt(at);
                }
            },
        }
    }

    pub(crate) fn credential_promoted(&mut self, promoted: Result<(), RotationFault>, now: Moment) {
        if self.rotation.step != Step::Promoting {
            return;
        }
        match promoted {
            Ok(()) => {
                info!("the new key has taken the place of the old one");
                self.rotation.backoff.reset();
                self.rotation.step = Step::Switching;
                self.load_credential();
            }
            Err(fault) if fault.lasting => {
                warn!("the new key is not put in place: {fault}. {}", fault.hint);
                self.rotation_is_over();
            }
            Err(fault) => {
                let at = now + self.rotation_wait();
                warn!("the new key cannot be put in place yet: {fault}. {}", fault.hint);
                self.rotation.step = Step::PromoteAt(at);
            }
        }
    }

    pub(crate) fn staged_credential_dropped(&mut self) {
        if self.rotation.step != Step::Dropping {
            return;
        }
        if self.credential_is_pending() {
            self.load_credential();
        }
        self.rotation_is_over();
    }

    /// What a person or a rotation has put in place was read, or cannot be.
    pub(crate) fn rotation_was_read(&mut self) {
        if self.rotation.step == Step::Switching {
            self.rotation_is_over();
        }
    }

    /// The bridge has registered the device. If that was under a staged key, the key is proved by it.
    pub(crate) fn rotation_registered(&mut self) {
        if !self.credential_is_pending() {
            return;
        }
        match self.rotation.step {
            Step::Idle | Step::Proving | Step::ProveAt(_) => self.promote_credential(),
            Step::Staging | Step::Promoting | Step::PromoteAt(_) | Step::Switching | Step::Dropping => {}
        }
    }

    /// The connection is gone. Offers go with it: the bridge makes a new one where it has to.
    pub(crate) fn rotation_disconnected(&mut self) {
        self.rotation.offered = None;
        match self.rotation.step {
            Step::Proving | Step::ProveAt(_) | Step::PromoteAt(_) => self.use_staged_credential(),
            Step::Idle | Step::Staging | Step::Promoting | Step::Switching | Step::Dropping => {}
        }
    }

    /// Whether what was refused is the staged key: then it goes, and the present one is tried. A fault that says nothing for
    /// certain about the key leaves it in use.
    pub(crate) fn rotation_refused(&mut self, verdict: &Verdict, now: Moment) -> bool {
        if !self.credential_is_pending() {
            return false;
        }
        match self.rotation.step {
            Step::Idle | Step::Proving | Step::ProveAt(_) | Step::Dropping => {}
            Step::Staging | Step::Promoting | Step::PromoteAt(_) | Step::Switching => return false,
        }
        let keep_file = match verdict.disposition {
            // It is the user, whom the present key has too.
            Disposition::RepairRequired { .. } if verdict.reason.id == "user_inactive" => return false,
            Disposition::RepairRequired { .. } => false,
            Disposition::SecondTry => true,
            Disposition::Backoff { .. }
            | Disposition::SlowRetry
            | Disposition::Replaced
            | Disposition::ForgetDevice
            | Disposition::Quarantine
            | Disposition::Ignore => return false,
        };
        info!(
            "the staged key is not taken, the present one is tried: {}",
            verdict.reason.text
        );
        if self.rotation.step != Step::Dropping {
            self.drop_staged(keep_file);
        }
        let text = "the bridge does not take the staged key; the present one is tried";
        self.show(
            State::Connecting,
            StateReason::plain("staged-key-refused", text),
            now,
        );
        true
    }

    pub(crate) fn rotation_due_at(&self) -> Option<Moment> {
        match self.rotation.step {
            Step::ProveAt(at) | Step::PromoteAt(at) => Some(at),
            Step::Idle
            | Step::Staging
            | Step::Proving
            | Step::Promoting
            | Step::Switching
            | Step::Dropping => None,
        }
    }

    pub(crate) fn rotation_due(&mut self) {
        match self.rotation.step {
            Step::ProveAt(_) => self.prove_credential(),
            Step::PromoteAt(_) => self.promote_credential(),
            Step::Idle
            | Step::Staging
            | Step::Proving
            | Step::Promoting
            | Step::Switching
            | Step::Dropping => {}
        }
    }

    fn stage_credential(&mut self, offer: Box<CredentialRotate>) {
        info!("the bridge offers a new key");
        self.rotation.backoff.reset();
        self.rotation.id = Some(offer.rotation_id.clone());
        self.rotation.step = Step::Staging;
        self.act(Action::StageCredential(offer));
    }

    /// A key that an earlier process staged has no known rotation: its proof is the registration.
    fn prove_credential(&mut self) {
        let Some(rotation_id) = self.rotation.id.clone() else {
            self.rotation.step = Step::Idle;
            return;
        };
        self.rotation.step = Step::Proving;
        self.act(Action::ProveCredential(rotation_id));
    }

    fn promote_credential(&mut self) {
        self.rotation.step = Step::Promoting;
        self.act(Action::PromoteCredential);
    }

    fn drop_staged(&mut self, keep_file: bool) {
        self.rotation.step = Step::Dropping;
        self.act(Action::DropStagedCredential { keep_file });
    }

    /// Where the device connects next, it does so with what is staged.
    fn use_staged_credential(&mut self) {
        if !self.credential_is_pending() && !self.is_stopping() {
            self.load_credential();
        }
    }

    fn rotation_is_over(&mut self) {
        self.rotation.step = Step::Idle;
        self.rotation.id = None;
        if let Some(newer) = self.rotation.offered.take() {
            self.stage_credential(newer);
        }
    }

    fn rotation_wait(&mut self) -> std::time::Duration {
        let timings = &self.config.timings;
        self.rotation.backoff.next(timings, &mut self.jitter, false, None)
    }

    fn say_failed(&mut self, rotation_id: String, problem: &str) {
        let reason = askalf_proto::one_line(problem);
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.send_online(AgentMessage::CredentialFailed(CredentialFailed {
            rotation_id,
            reason: Some(reason[..end].to_owned()),
        }));
    }
}
