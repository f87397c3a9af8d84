//! What a task wrote, kept within bounds.

use std::collections::VecDeque;

use askalf_proto::{MAX_FRAME_OUT, RESULT_OVERHEAD, json_len, json_prefix, json_suffix, left_out};

use crate::ending::MAX_ERROR;

/// Most output of a result, in bytes inside a JSON string: what one frame has room for beside an error of the longest
/// kind and the frame's own fields.
pub const DEFAULT_OUTPUT_CAP: usize = MAX_FRAME_OUT - RESULT_OVERHEAD - MAX_ERROR;

/// Pieces of the tail are filled to this size before another begins, so that single bytes do not cost a piece each.
const TAIL_PIECE: usize = 4 * 1024;

/// Keeps the head and the tail of a text that arrives in pieces: memory stays below twice the cap, however long it gets.
#[derive(Debug)]
pub(crate) struct OutputLog {
    half: usize,
    head: String,
    head_len: usize,
    tail: VecDeque<(String, usize)>,
    tail_len: usize,
    /// The head has all that it will have.
    head_full: bool,
    total: usize,
}

impl OutputLog {
    /// A log that yields at most `cap` bytes inside a JSON string; below 1 KiB counts as that.
    pub(crate) fn new(cap: usize) -> Self {
        let notice = json_len(&left_out(usize::MAX));
        Self {
            half: (cap.max(1024) - notice) / 2,
            head: String::new(),
            head_len: 0,
            tail: VecDeque::new(),
            tail_len: 0,
            head_full: false,
            total: 0,
        }
    }

    /// Takes the next piece.
    pub(crate) fn push(&mut self, text: &str) {
        self.total = self.total.saturating_add(text.len());
        let mut rest = text;
        if !self.head_full {
            let fits = json_prefix(text, self.half - self.head_len);
            self.head.push_str(fits);
            self.head_len += json_len(fits);
            rest = &text[fits.len()..];
            self.head_full = !rest.is_empty();
        }
        if !rest.is_empty() {
            self.push_tail(rest);
        }
    }

    fn push_tail(&mut self, text: &str) {
        let length = json_len(text);
        self.tail_len += length;
        match self.tail.back_mut() {
            Some((piece, piece_len)) if piece.len() < TAIL_PIECE => {
                piece.push_str(text);
                *piece_len += length;
            }
            _ => self.tail.push_back((text.to_owned(), length)),
        }
        while let Some((_, first)) = self.tail.front()
            && self.tail_len - first >= self.half
        {
            self.tail_len -= first;
            self.tail.pop_front();
        }
    }

    /// The text, with a note of what is missing in its middle.
    pub(crate) fn finish(self) -> String {
        let mut text = self.head;
        let tail: String = self.tail.into_iter().map(|(piece, _)| piece).collect();
        let tail = json_suffix(&tail, self.half);
        let missing = self.total - text.len() - tail.len();
        if missing > 0 {
            text += &left_out(missing);
        }
        text += tail;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(cap: usize, pieces: &[&str]) -> String {
        let mut log = OutputLog::new(cap);
        pieces.iter().for_each(|piece| log.push(piece));
        log.finish()
    }

    #[test]
    fn a_text_that_fits_is_kept_as_it_is() {
        assert_eq!(log(1024, &["a\n", "b", "é"]), "a\nbé");
        assert_eq!(log(1024, &[]), "");
    }

    #[test]
    fn head_and_tail_stay_and_the_gap_is_counted() {
        let line = "0123456789\n";
        for pieces in [vec![line; 1000], vec![line.repeat(1000).leak() as &str]] {
            let text = log(2048, &pieces);
            let (head, rest) = text.split_once("\n[").unwrap();
            let (missing, tail) = rest.split_once(" bytes left out]\n").unwrap();
            assert!(head.starts_with("0123456789\n0123") && tail.ends_with("0123456789\n"));
            assert_eq!(
                head.len() + tail.len() + missing.parse::<usize>().unwrap(),
                1000 * line.len()
            );
            assert!(
                json_len(&text) <= 2048 && json_len(&text) > 2048 - 100,
                "{}",
                json_len(&text)
            );
        }
    }

    #[test]
    fn what_grows_when_escaped_and_wide_characters_stay_within_the_cap() {
        for unit in ["\u{1}", "\"\\", "𝄞é"] {
            let piece = unit.repeat(777);
            let text = log(4096, &[piece.as_str(); 50]);
            assert!(json_len(&text) <= 4096, "{unit:?}: {}", json_len(&text));
            assert!(text.starts_with(unit) && text.ends_with(unit));
        }
    }

    #[test]
    fn memory_is_bounded_by_the_cap() {
        let mut log = OutputLog::new(64 * 1024);
        for _ in 0..100_000 {
            log.push("0123456789\n");
        }
        let held: usize = log.head.len() + log.tail.iter().map(|(piece, _)| piece.capacity()).sum::<usize>();
        assert!(held <= 128 * 1024, "{held}");
    }
}
