//! From the bytes of a stream to text.

/// Turns pieces of a stream into text, however its characters fall on them.
///
/// What is no UTF-8 becomes U+FFFD. So does NUL, which the text columns of PostgreSQL cannot hold.
#[derive(Debug, Default)]
pub(crate) struct Utf8Decoder {
    /// The beginning of a character, at most three bytes.
    incomplete: Vec<u8>,
}

impl Utf8Decoder {
    /// The text of the next piece, without a character that its end cuts in two.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        let joined;
        let bytes = if self.incomplete.is_empty() {
            piece
        } else {
            self.incomplete.extend_from_slice(piece);
            joined = std::mem::take(&mut self.incomplete);
            &joined
        };
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (valid, invalid) = match str::from_utf8(rest) {
                Ok(valid) => (valid, &[][..]),
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    let Some(length) = error.error_len() else {
                        self.incomplete = invalid.to_owned();
                        push_text(&mut text, str::from_utf8(valid).unwrap_or_default());
                        return text;
                    };
                    rest = &invalid[length..];
                    (str::from_utf8(valid).unwrap_or_default(), &invalid[..length])
                }
            };
            push_text(&mut text, valid);
            if invalid.is_empty() {
                return text;
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
        text
    }

    /// What is left at the end of the stream.
    pub(crate) fn finish(&mut self) -> String {
        match std::mem::take(&mut self.incomplete).is_empty() {
            true => String::new(),
            false => char::REPLACEMENT_CHARACTER.into(),
        }
    }
}

/// The last boundary between two characters at or before `at`.
pub(crate) fn char_boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Appends `text`, with U+FFFD in the place of NUL.
pub(crate) fn push_text(to: &mut String, text: &str) {
    let mut pieces = text.split('\0');
    to.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        to.push(char::REPLACEMENT_CHARACTER);
        to.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_anywhere_is_whole_again() {
        let text = "aé€𝄞z";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut decoder = Utf8Decoder::default();
                let bytes = text.as_bytes();
                let mut came = decoder.push(&bytes[..first]);
                came += &decoder.push(&bytes[first..second]);
                came += &decoder.push(&bytes[second..]);
                came += &decoder.finish();
                assert_eq!(came, text, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_the_rest_kept() {
        let mut decoder = Utf8Decoder::default();
        assert_eq!(
            decoder.push(b"a\xffb\0c\xc3(\xe2\x82"),
            "a\u{fffd}b\u{fffd}c\u{fffd}("
        );
        assert_eq!(decoder.push(b"!"), "\u{fffd}!");
        assert_eq!(decoder.push(b"\xf0\x9d"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
        assert_eq!(decoder.finish(), "");
    }
}
