//! Output on its way to a watcher: few pieces, the first at once.

use std::collections::VecDeque;
use std::time::Duration;

use askalf_proto::OutputStream;
use tokio::time::Instant;

use crate::utf8::char_boundary;

/// Longest piece, in bytes.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// Shortest time between two bursts of pieces: below what an eye takes for a delay, and 40 frames a second at most
/// from a task that writes byte by byte.
const PAUSE: Duration = Duration::from_millis(25);

/// Gathers text into pieces. The order in which it came is kept, across streams too.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: VecDeque<(OutputStream, String)>,
    bytes: usize,
    due: Option<Instant>,
    sent: Option<Instant>,
}

impl Progress {
    /// Adds text.
    pub(crate) fn push(&mut self, stream: OutputStream, text: &str, now: Instant) {
        if text.is_empty() {
            return;
        }
        self.bytes += text.len();
        match self.waiting.back_mut() {
            Some((last, waiting)) if *last == stream => waiting.push_str(text),
            _ => self.waiting.push_back((stream, text.to_owned())),
        }
        let due = self.sent.map_or(now, |sent| now.max(sent + PAUSE));
        self.due = Some(if self.is_full() {
            now
        } else {
            self.due.unwrap_or(due)
        });
    }

    /// Whether enough waits: more should be read only when some of it is gone.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= MAX_PIECE
    }

    /// When the next piece should leave; `None` while nothing waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next piece, due or not.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(OutputStream, String)> {
        let (stream, text) = self.waiting.front_mut()?;
        let stream = *stream;
        let piece = if text.len() > MAX_PIECE {
            let rest = text.split_off(char_boundary(text, MAX_PIECE));
            std::mem::replace(text, rest)
        } else {
            self.waiting.pop_front().map(|(_, text)| text)?
        };
        self.bytes -= piece.len();
        self.sent = Some(now);
        if self.waiting.is_empty() {
            self.due = None;
        }
        Some((stream, piece))
    }
}

#[cfg(test)]
mod tests {
    use OutputStream::{Stderr, Stdout};

    use super::*;

    #[test]
    fn the_first_text_is_due_at_once_and_the_next_after_a_pause() {
        let start = Instant::now();
        let mut progress = Progress::default();
        assert_eq!(progress.due(), None);
        progress.push(Stdout, "a", start);
        assert_eq!(progress.due(), Some(start));
        assert_eq!(progress.take(start), Some((Stdout, "a".into())));
        assert_eq!(progress.due(), None);

        let later = start + Duration::from_millis(5);
        progress.push(Stdout, "b", later);
        progress.push(Stdout, "c", later + Duration::from_millis(5));
        assert_eq!(progress.due(), Some(start + PAUSE));
        assert_eq!(progress.take(start + PAUSE), Some((Stdout, "bc".into())));

        let quiet = start + Duration::from_secs(9);
        progress.push(Stdout, "d", quiet);
        assert_eq!(progress.due(), Some(quiet));
    }

    #[test]
    fn a_full_piece_does_not_wait() {
        let start = Instant::now();
        let mut progress = Progress::default();
        progress.push(Stdout, "a", start);
        progress.take(start);
        progress.push(Stdout, &"b".repeat(MAX_PIECE), start);
        assert_eq!(progress.due(), Some(start));
    }

    #[test]
    fn streams_keep_their_order_and_long_text_is_cut_between_characters() {
        let now = Instant::now();
        let mut progress = Progress::default();
        progress.push(Stdout, "out", now);
        progress.push(Stderr, "err", now);
        let wide = "€".repeat(MAX_PIECE / 2);
        progress.push(Stdout, &wide, now);
        assert!(progress.is_full());
        assert_eq!(progress.take(now), Some((Stdout, "out".into())));
        assert_eq!(progress.take(now), Some((Stderr, "err".into())));
        let mut whole = String::new();
        while let Some((stream, piece)) = progress.take(now) {
            assert!(stream == Stdout && piece.len() <= MAX_PIECE);
            whole += &piece;
        }
        assert_eq!(whole, wide);
        assert!(!progress.is_full());
    }
}
