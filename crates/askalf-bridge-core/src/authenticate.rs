//! Drives the validator over the store: look-ups on the runtime, derivations on threads that may block, both bounded.

use std::sync::Arc;

use askalf_bridge_auth::{
    Access, AuthenticatedKey, DerivationWanted, Lane, Rejection, Step, Validator, ValidatorOptions,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::stores::{KeyUse, Store};
use crate::{BridgeOptions, Clock};

/// How many checks may wait for the one derivation of [`Lane::Overflow`].
const OVERFLOW_WAITING: usize = 8;

pub(crate) struct Authenticator {
    validator: Validator,
    indexed: Gate,
    overflow: Gate,
    options: BridgeOptions,
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Authenticator {
    pub(crate) fn new(store: Arc<dyn Store>, options: &BridgeOptions, clock: Clock) -> Self {
        let validator = Validator::new(ValidatorOptions {
            strict_scopes: options.strict_scopes,
            ..ValidatorOptions::default()
        });
        Self {
            validator,
            indexed: Gate::new(options.derivations, options.derivations_waiting),
            overflow: Gate::new(1, OVERFLOW_WAITING),
            options: options.clone(),
            store,
            clock,
        }
    }

    /// Checks what was presented. Drop the future when the client has gone: a derivation that has not begun is then
    /// never done.
    ///
    /// A store that fails is [`Rejection::Unavailable`], which says nothing about the token.
    pub(crate) async fn authenticate(
        &self,
        presented: Option<&str>,
        want: Access,
    ) -> Result<AuthenticatedKey, Rejection> {
        let mut step = self.validator.check(presented, want);
        loop {
            step = match step {
                Step::Lookup(wanted) => match self.store.find_keys(wanted.lookup()).await {
                    Ok(rows) => {
                        for row in rows.iter().filter(|row| row.parsed_hash().is_err()) {
                            tracing::warn!(
                                key = row.id,
                                "the stored key_hash is damaged: this key lets nobody in"
                            );
                        }
                        wanted.found(rows)
                    }
                    Err(error) => {
                        tracing::error!(error = %error, "keys cannot be looked up");
                        wanted.unavailable()
                    }
                },
                Step::Derive(wanted) => self.derive(wanted).await?,
                Step::Done(Ok(key)) => {
                    self.count_use(&key);
                    return Ok(key);
                }
                Step::Done(Err(rejection)) => return Err(rejection),
            };
        }
    }

    /// Runs `work`, which takes about as long as a derivation, within the budget of the common lane.
    pub(crate) async fn derive_within_budget<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Rejection> {
        match self.indexed.run(work).await {
            Ok(done) => Ok(done),
            Err(GateError::Full) => Err(Rejection::Overloaded {
                retry_after: self.options.overloaded_retry_after,
            }),
            Err(GateError::Lost) => Err(Rejection::Unavailable),
        }
    }

    async fn derive(&self, wanted: DerivationWanted) -> Result<Step, Rejection> {
        let gate = match wanted.lane() {
            Lane::Indexed => &self.indexed,
            Lane::Overflow => &self.overflow,
        };
        let clock = Arc::clone(&self.clock);
        match gate.run(move || wanted.derive(clock())).await {
            Ok(step) => Ok(step),
            Err(GateError::Full) => {
                tracing::warn!("too many key checks at once");
                Err(Rejection::Overloaded {
                    retry_after: self.options.overloaded_retry_after,
                })
            }
            Err(GateError::Lost) => {
                tracing::error!("a key check was lost: its thread ended early");
                Err(Rejection::Unavailable)
            }
        }
    }

    /// Nobody waits for it, and a failure there refuses nobody.
    fn count_use(&self, key: &AuthenticatedKey) {
        let store = Arc::clone(&self.store);
        let (id, now) = (key.key_id().to_owned(), (self.clock)());
        tokio::spawn(async move {
            let used = KeyUse {
                key_id: id.clone(),
                count: 1,
                last_used_at: now,
            };
            if let Err(error) = store.count_uses(&[used]).await {
                tracing::warn!(key = id, error = %error, "the use of a key was not counted");
            }
        });
    }
}

/// So many pieces of work at once on blocking threads, and so many more that wait.
struct Gate {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

#[derive(Debug, PartialEq, Eq)]
enum GateError {
    /// As many wait as may.
    Full,
    /// The thread ended without an answer.
    Lost,
}

impl Gate {
    fn new(running: usize, waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: Semaphore::new(waiting.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GateError> {
        let place = self.waiting.try_acquire().map_err(|_| GateError::Full)?;
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|_| GateError::Lost)?;
        drop(place);
        let mut task = AbortOnDrop(tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        }));
        (&mut task.0).await.map_err(|_| GateError::Lost)
    }
}

/// Takes work back that no thread has begun; what runs already runs to its end.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn more_work_than_may_wait_is_refused_and_what_was_given_up_is_never_done() {
        let gate = Arc::new(Gate::new(1, 1));
        let done = Arc::new(AtomicUsize::new(0));
        let (go, wait) = mpsc::channel::<()>();
        let (begun, mut running) = tokio::sync::mpsc::channel(1);

        let first = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move {
                gate.run(move || {
                    begun.blocking_send(()).unwrap();
                    wait.recv().unwrap();
                })
                .await
            }
        });
        running.recv().await.unwrap();

        let counted = Arc::clone(&done);
        let mut second = Box::pin(gate.run(move || counted.fetch_add(1, Ordering::SeqCst)));
        assert!(
            second
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending(),
            "waits for the first"
        );
        assert_eq!(gate.run(|| ()).await, Err(GateError::Full));

        drop(second);
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        gate.run(|| ()).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 0, "its client had gone");
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_gives_its_place_back() {
        let gate = Gate::new(1, 1);
        assert_eq!(
            gate.run(|| panic!("deliberate")).await,
            Err::<(), _>(GateError::Lost)
        );
        gate.run(|| ()).await.unwrap();
    }
}
