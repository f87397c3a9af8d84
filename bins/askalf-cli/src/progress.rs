//! What goes on, for a person who waits.

use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::sleep;

/// What takes no longer needs no words.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does the work. Where it takes more than a second and standard error is a terminal, one line there says what goes on.
/// Needs a runtime with time enabled.
pub async fn with_progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    // The work is polled in one place, so that its code is there once.
    tokio::select! {
        biased;
        done = work => done,
        () = tell(what) => pending().await,
    }
}

async fn tell(what: &str) {
    if io::stderr().is_terminal() {
        sleep(PATIENCE).await;
        // Nobody may be reading it.
        let _unread = writeln!(io::stderr().lock(), "{} ...", crate::one_line(what));
    }
    pending().await
}
