//! Work that takes as long as a derivation: on threads that may block, so much at once, and so much more that waits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// So many pieces of work at once on blocking threads, and so many more that wait.
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GateError {
    /// As many wait as may.
    Full,
    /// The thread ended without an answer.
    Lost,
}

/// A place among those that run. Several pieces of work may be done in it, one after the other: who has begun is not sent
/// away half-way.
#[derive(Debug)]
pub(crate) struct Seat(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Gate {
    pub(crate) fn new(running: usize, waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: Semaphore::new(waiting.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self) -> Result<Seat, GateError> {
        let place = self.waiting.try_acquire().map_err(|_| GateError::Full)?;
        let permit = Arc::clone(&self.running).acquire_owned().await;
        drop(place);
        permit.map(Seat).map_err(|_| GateError::Lost)
    }
}

impl Seat {
    /// Does one piece of work, and gives the place back for the next. Where the future is dropped, work that no thread
    /// has begun is never done; what runs already keeps its place to its end.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Self), GateError> {
        let mut task = AbortOnDrop(tokio::task::spawn_blocking(move || (work(), self)));
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

    async fn run<T: Send + 'static>(
        gate: &Gate,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GateError> {
        Ok(gate.enter().await?.run(work).await?.0)
    }

    #[tokio::test]
    async fn more_work_than_may_wait_is_refused_and_what_was_given_up_is_never_done() {
        let gate = Arc::new(Gate::new(1, 1));
        let done = Arc::new(AtomicUsize::new(0));
        let (go, wait) = mpsc::channel::<()>();
        let (begun, mut running) = tokio::sync::mpsc::channel(1);

        let first = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move {
                let work = move || {
                    begun.blocking_send(()).unwrap();
                    wait.recv().unwrap();
                };
                run(&gate, work).await
            }
        });
        running.recv().await.unwrap();

        let counted = Arc::clone(&done);
        let mut second = Box::pin(run(&gate, move || counted.fetch_add(1, Ordering::SeqCst)));
        assert!(
            second
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending(),
            "waits for the first"
        );
        assert_eq!(run(&gate, || ()).await, Err(GateError::Full));

        drop(second);
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        run(&gate, || ()).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 0, "its client had gone");
    }

    #[tokio::test]
    async fn a_seat_serves_several_pieces_of_work_and_keeps_others_out_meanwhile() {
        let gate = Gate::new(1, 1);
        let seat = gate.enter().await.unwrap();
        let (one, seat) = seat.run(|| 1).await.unwrap();
        let mut other = Box::pin(gate.enter());
        let context = &mut Context::from_waker(Waker::noop());
        assert!(other.as_mut().poll(context).is_pending());
        let (two, seat) = seat.run(|| 2).await.unwrap();
        assert_eq!((one, two), (1, 2));
        drop(seat);
        other.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_gives_its_place_back() {
        let gate = Gate::new(1, 1);
        assert_eq!(
            run(&gate, || panic!("deliberate")).await,
            Err::<(), _>(GateError::Lost)
        );
        run(&gate, || ()).await.unwrap();
    }
}
