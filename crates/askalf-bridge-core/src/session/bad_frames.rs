//! How much nonsense a device may send.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

/// So many bad frames in each minute.
#[derive(Debug)]
pub(super) struct BadFrames {
    per_window: u32,
    in_window: u32,
    window_began: Instant,
}

impl BadFrames {
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            per_window: per_minute,
            in_window: 0,
            window_began: Instant::now(),
        }
    }

    /// Counts one. Answers whether that is more than may be.
    pub(super) fn one_more_is_too_many(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.window_began) >= WINDOW {
            self.window_began = now;
            self.in_window = 0;
        }
        self.in_window = self.in_window.saturating_add(1);
        self.in_window > self.per_window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_later_the_count_begins_anew() {
        let mut bad = BadFrames::new(2);
        let three = [(); 3].map(|()| bad.one_more_is_too_many());
        assert_eq!(three, [false, false, true]);
        tokio::time::advance(WINDOW).await;
        assert!(!bad.one_more_is_too_many());
    }
}
