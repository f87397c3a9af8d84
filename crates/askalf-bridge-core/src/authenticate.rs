//! Drives the validator over the store: look-ups on the runtime, derivations on threads that may block, all bounded.

use std::net::IpAddr;
use std::sync::Arc;

use askalf_bridge_auth::{
    Access, AuthenticatedKey, BridgeSecret, DerivationWanted, KeyRecord, Lane, Lookup, LookupWanted, Refused,
    Rejection, Step, UnixMillis, Validator, ValidatorOptions,
};

use crate::attempts::preview;
use crate::counters::Counters;
use crate::derivations::{Gate, GateError, Seat};
use crate::keeper::Notes;
use crate::stores::{Attempt, Store};
use crate::throttle::{Pass, Throttle, Verdict};
use crate::{BridgeOptions, Clock};

/// How many checks may wait for the one place of [`Lane::Overflow`], and for that of [`Lane::Malformed`].
const SMALL_LANE_WAITING: usize = 8;

pub(crate) struct Authenticator {
    validator: Validator,
    indexed: Gate,
    overflow: Gate,
    malformed: Gate,
    throttle: Throttle,
    notes: Arc<Notes>,
    counters: Arc<Counters>,
    options: BridgeOptions,
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Authenticator {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        options: &BridgeOptions,
        clock: Clock,
        notes: Arc<Notes>,
        counters: Arc<Counters>,
    ) -> Self {
        let validator = Validator::new(ValidatorOptions {
            strict_scopes: options.strict_scopes,
            digest_key: options.secret.as_ref().map(BridgeSecret::digest_key),
            ..ValidatorOptions::default()
        });
        Self {
            validator,
            indexed: Gate::new(options.derivations, options.derivations_waiting),
            overflow: Gate::new(1, SMALL_LANE_WAITING),
            malformed: Gate::new(1, SMALL_LANE_WAITING),
            throttle: Throttle::new(options.overloaded_retry_after),
            notes,
            counters,
            options: options.clone(),
            store,
            clock,
        }
    }

    /// Checks what was presented, from `address` where the connection has one. Drop the future when the client has gone:
    /// a derivation that has not begun is then never done.
    ///
    /// A store that fails is [`Rejection::Unavailable`], which says nothing about the token.
    pub(crate) async fn authenticate(
        &self,
        presented: Option<&str>,
        want: Access,
        address: Option<IpAddr>,
    ) -> Result<AuthenticatedKey, Rejection> {
        let outcome = self.drive(presented, want, address).await;
        match &outcome {
            Ok(key) => {
                self.counters.accepted.one_more();
                self.notes.uses.count(key.key_id(), (self.clock)());
                if let Some(digest) = key.digest_to_keep() {
                    self.notes.digests.keep(digest);
                }
            }
            Err(refused) => {
                if let Some(digest) = refused.digest_to_keep() {
                    self.notes.digests.keep(digest);
                }
                self.note_refused(presented, refused.rejection(), refused.key_id(), address);
            }
        }
        outcome.map_err(Refused::into_rejection)
    }

    /// Whether a key that was checked before still holds, by its row as it is now.
    pub(crate) fn recheck(
        &self,
        key: &AuthenticatedKey,
        row: Option<&KeyRecord>,
        now: UnixMillis,
    ) -> Result<(), Rejection> {
        self.validator.recheck(key, row, now)
    }

    /// Notes that a check was refused, for the operator.
    pub(crate) fn note_refused(
        &self,
        presented: Option<&str>,
        rejection: &Rejection,
        key_id: Option<&str>,
        address: Option<IpAddr>,
    ) {
        self.counters.refused(rejection.reason());
        self.notes.attempts.note(Attempt {
            at: (self.clock)(),
            address: address.map(|address| address.to_canonical().to_string()),
            preview: preview(presented),
            key_id: key_id.map(str::to_owned),
            reason: rejection.reason().to_owned(),
            count: 1,
        });
    }

    /// Runs `work`, which takes about as long as a derivation, within the budget of the common lane.
    pub(crate) async fn derive_within_budget<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Rejection> {
        let seat = self.indexed.enter().await.map_err(|error| self.of_gate(&error))?;
        let (done, _) = seat.run(work).await.map_err(|error| self.of_gate(&error))?;
        Ok(done)
    }

    async fn drive(
        &self,
        presented: Option<&str>,
        want: Access,
        address: Option<IpAddr>,
    ) -> Result<AuthenticatedKey, Refused> {
        let mut step = self.validator.check(presented, want);
        let mut seat = None;
        let mut pass: Option<Pass<'_>> = None;
        loop {
            step = match step {
                Step::Lookup(wanted) => {
                    // No place is kept while the database is asked.
                    seat = None;
                    self.look_up(wanted).await
                }
                Step::Derive(wanted) => {
                    if pass.is_none()
                        && wanted.lane() == Lane::Indexed
                        && let Some(address) = address
                    {
                        let turn = self.throttle.pass(address, wanted.prefix()).await;
                        let turn = turn.map_err(|retry_after| {
                            tracing::warn!(
                                address = %address,
                                prefix = preview(presented),
                                "wrong keys with this prefix came from this address: it has to wait"
                            );
                            Rejection::Overloaded { retry_after }
                        })?;
                        let waited = turn.waited();
                        pass = Some(turn);
                        if waited {
                            // The rows are old by now: a key may have been revoked since.
                            step = self.validator.check(presented, want);
                            continue;
                        }
                    }
                    match self.derive(wanted, seat.take()).await {
                        Ok((step, now_seated)) => {
                            seat = Some(now_seated);
                            step
                        }
                        Err(rejection) => Step::Done(Err(rejection.into())),
                    }
                }
                Step::Done(outcome) => {
                    if let Some(pass) = pass {
                        pass.decide(verdict_of(&outcome));
                    }
                    return outcome;
                }
            };
        }
    }

    async fn look_up(&self, wanted: LookupWanted) -> Step {
        match self.store.find_keys(wanted.lookup()).await {
            Ok(rows) => {
                // Every unknown token meets the rows of malformed prefixes: those are counted elsewhere.
                if *wanted.lookup() != Lookup::MalformedPrefix {
                    for row in rows.iter().filter(|row| row.parsed_hash().is_err()) {
                        tracing::warn!(
                            key = row.id,
                            "the stored key_hash is damaged: this key lets nobody in"
                        );
                    }
                }
                wanted.found(rows, (self.clock)())
            }
            Err(error) => {
                tracing::error!(error = %error, "keys cannot be looked up");
                wanted.unavailable()
            }
        }
    }

    /// One derivation, in the place of the one before where that was in the same lane.
    async fn derive(
        &self,
        wanted: DerivationWanted,
        seated: Option<(Lane, Seat)>,
    ) -> Result<(Step, (Lane, Seat)), Rejection> {
        let lane = wanted.lane();
        let gate = match lane {
            Lane::Indexed => &self.indexed,
            Lane::Overflow => &self.overflow,
            Lane::Malformed => &self.malformed,
        };
        let seat = match seated {
            Some((of_lane, seat)) if of_lane == lane => seat,
            other => {
                drop(other);
                gate.enter().await.map_err(|error| self.of_gate(&error))?
            }
        };
        let clock = Arc::clone(&self.clock);
        let derived = seat.run(move || wanted.derive(clock())).await;
        let (step, seat) = derived.map_err(|error| self.of_gate(&error))?;
        Ok((step, (lane, seat)))
    }

    fn of_gate(&self, error: &GateError) -> Rejection {
        match error {
            GateError::Full => {
                tracing::warn!("too many key checks at once");
                Rejection::Overloaded {
                    retry_after: self.options.overloaded_retry_after,
                }
            }
            GateError::Lost => {
                tracing::error!("a key check was lost: its thread ended early");
                Rejection::Unavailable
            }
        }
    }
}

fn verdict_of(outcome: &Result<AuthenticatedKey, Refused>) -> Verdict {
    match outcome {
        Ok(_) => Verdict::Right,
        Err(refused) if refused.key_id().is_some() => Verdict::Right,
        Err(refused) if refused.rejection().is_bridge_fault() => Verdict::None,
        Err(_) => Verdict::Wrong,
    }
}
