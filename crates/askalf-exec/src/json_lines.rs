//! Standard output of one JSON object a line, read within bounds.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::interpreter::{Figures, Interpreter};
use crate::utf8::push_text;

/// Longest line that is read, in bytes: what one result has room for. Of a longer one nothing is kept.
pub(crate) const MAX_LINE: usize = 1024 * 1024;

/// Stands in the text for a line beyond [`MAX_LINE`].
const LEFT_OUT: &str = "[a line longer than 1 MiB is left out]\n";

/// What the objects of one program mean.
pub(crate) trait Dialect: Send {
    /// Takes the object of a line; the text that it holds for people. An event that is not known holds none.
    ///
    /// # Errors
    /// It is no event at all; nothing is taken of it then.
    fn event(&mut self, object: &[u8]) -> Result<String, serde_json::Error>;

    /// What the events so far tell of the run.
    fn figures(&self) -> Figures;
}

/// Reads lines: objects by their [`Dialect`], and what is no object as the plain text that it is. A broken object is passed
/// over.
pub(crate) struct JsonLines<D> {
    dialect: D,
    line: Vec<u8>,
    /// The rest of this line is beyond the limit.
    skipping: bool,
}

impl<D: Dialect> JsonLines<D> {
    pub(crate) fn new(dialect: D) -> Self {
        Self {
            dialect,
            line: Vec::new(),
            skipping: false,
        }
    }

    fn take_line(&mut self, text: &mut String) {
        let line = self.line.trim_ascii();
        if line.first() == Some(&b'{') {
            if let Ok(said) = self.dialect.event(line) {
                push_text(text, &said);
            }
        } else if !line.is_empty() {
            push_text(text, &String::from_utf8_lossy(line));
            text.push('\n');
        }
        self.line.clear();
    }
}

impl<D: Dialect> Interpreter for JsonLines<D> {
    fn push(&mut self, piece: &[u8]) -> String {
        let mut text = String::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (part, ends) = match part.split_last() {
                Some((b'\n', line)) => (line, true),
                _ => (part, false),
            };
            if !self.skipping && self.line.len() + part.len() > MAX_LINE {
                self.skipping = true;
                self.line = Vec::new();
                text.push_str(LEFT_OUT);
            }
            if !self.skipping {
                self.line.extend_from_slice(part);
            }
            if ends && !std::mem::take(&mut self.skipping) {
                self.take_line(&mut text);
            }
        }
        text
    }

    fn finish(&mut self) -> String {
        let mut text = String::new();
        self.take_line(&mut text);
        text
    }

    fn figures(&self) -> Figures {
        self.dialect.figures()
    }
}

/// A field as what it should be; `None` where it is absent or something else: one odd field must not cost the others.
pub(crate) fn field<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// A field as an amount: finite and not negative.
pub(crate) fn amount(raw: Option<&RawValue>) -> Option<f64> {
    field(raw).filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// A field as a number of things.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an amount is not negative, and the cast ends at the largest number"
)]
pub(crate) fn count(raw: Option<&RawValue>) -> Option<u64> {
    amount(raw).map(|number| number as u64)
}

/// Text with a line break at its end.
pub(crate) fn whole_line(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says each object back, and counts.
    #[derive(Default)]
    struct Echo(u32);

    impl Dialect for Echo {
        fn event(&mut self, object: &[u8]) -> Result<String, serde_json::Error> {
            let _whole: serde::de::IgnoredAny = serde_json::from_slice(object)?;
            self.0 += 1;
            Ok(format!("<{}>", String::from_utf8_lossy(object)))
        }

        fn figures(&self) -> Figures {
            Figures {
                turns: self.0,
                ..Figures::default()
            }
        }
    }

    fn read(pieces: &[&[u8]]) -> (String, u32) {
        let mut lines = JsonLines::new(Echo::default());
        let mut text: String = pieces.iter().map(|piece| lines.push(piece)).collect();
        text += &lines.finish();
        (text, lines.figures().turns)
    }

    #[test]
    fn objects_plain_lines_and_broken_ones() {
        let (text, objects) = read(&[b"{\"a\":1}\r\n\n  warning: \xff\x00 old\n{\"b\":\n{\"c\"", b":2}"]);
        assert_eq!(text, "<{\"a\":1}>warning: \u{fffd}\u{fffd} old\n<{\"c\":2}>");
        assert_eq!(objects, 2);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_beyond_it_is_not_kept() {
        let object = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        let fits = object(MAX_LINE);
        let (text, objects) = read(&[fits.as_bytes(), b"\n"]);
        assert!(text.len() == MAX_LINE + 2 && objects == 1);

        let long = object(MAX_LINE + 1);
        for piece in [1000, MAX_LINE, 3 * MAX_LINE] {
            let mut lines = JsonLines::new(Echo::default());
            let mut text: String = long
                .as_bytes()
                .chunks(piece)
                .map(|piece| lines.push(piece))
                .collect();
            assert!(lines.line.capacity() <= 2 * MAX_LINE);
            text += &lines.push(b"\n{}\n");
            assert_eq!(text, format!("{LEFT_OUT}<{{}}>"), "in pieces of {piece}");
        }
    }

    #[test]
    fn odd_fields_count_as_absent() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        assert_eq!(count(Some(&raw("12"))), Some(12));
        assert_eq!(count(Some(&raw("12.9"))), Some(12));
        assert_eq!(count(Some(&raw("1e300"))), Some(u64::MAX));
        for odd in ["-1", "null", "\"7\"", "[]"] {
            assert_eq!(count(Some(&raw(odd))), None, "{odd}");
        }
        assert_eq!(count(None), None);
    }
}
