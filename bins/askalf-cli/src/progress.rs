//! What goes on, for a person who waits.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// What takes no longer needs no words.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does the work. Where it takes more than a second and standard error is a terminal, one line there says what goes on.
/// Needs a runtime with time enabled.
pub async fn with_progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if !io::stderr().is_terminal() {
        return work.await;
    }
    match timeout(PATIENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            // Nobody may be reading it.
            let _unread = writeln!(io::stderr().lock(), "{} ...", crate::one_line(what));
            work.await
        }
    }
}
