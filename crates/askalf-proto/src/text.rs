//! Text made fit for a frame or a line.

use std::borrow::Cow;

/// Bytes that `text` takes inside a JSON string as this crate encodes it, without the quotes.
pub fn json_len(text: &str) -> usize {
    text.bytes().map(escaped_len).sum()
}

fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => 6,
        _ => 1,
    }
}

/// Cuts the middle out of `text` so that it takes at most `max` bytes inside a JSON string. Head and tail are
/// kept, a line in between says how many bytes are missing, and no character is cut in two. Where `max` leaves no room
/// for that line, only the head is kept.
///
/// ```
/// let text = "a".repeat(10_000);
/// let cut = askalf_proto::clip_to_json(&text, 1_000);
/// assert!(cut.len() <= 1_000);
/// assert!(cut.contains("[9"), "names the missing bytes: {cut}");
/// assert_eq!(askalf_proto::clip_to_json("short", 1_000), "short");
/// ```
pub fn clip_to_json(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max && json_len(text) <= max {
        return Cow::Borrowed(text);
    }
    if max < NOTICE {
        return Cow::Borrowed(json_prefix(text, max));
    }
    let each = (max - NOTICE) / 2;
    let head = json_prefix(text, each);
    let tail = json_suffix(&text[head.len()..], each);
    let missing = text.len() - head.len() - tail.len();
    Cow::Owned(format!("{head}{}{tail}", left_out(missing)))
}

/// Most bytes that [`left_out`] takes inside a JSON string: it has at most 20 digits.
const NOTICE: usize = 64;

/// The line that stands where `bytes` bytes of a text were cut out: at most 64 bytes inside a JSON string.
pub fn left_out(bytes: usize) -> String {
    format!("\n[{bytes} bytes left out]\n")
}

/// The longest beginning of `text`, in whole characters, that takes at most `max` bytes inside a JSON string.
pub fn json_prefix(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, char) in text.char_indices() {
        used += json_len(char.encode_utf8(&mut [0; 4]));
        if used > max {
            return &text[..at];
        }
    }
    text
}

/// The longest end of `text`, in whole characters, that takes at most `max` bytes inside a JSON string.
pub fn json_suffix(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, char) in text.char_indices().rev() {
        used += json_len(char.encode_utf8(&mut [0; 4]));
        if used > max {
            return &text[at + char.len_utf8()..];
        }
    }
    text
}

/// A peer's text as one harmless line of at most 200 characters, for logs and error messages: control
/// characters become spaces.
///
/// ```
/// assert_eq!(askalf_proto::one_line("bad\r\n\u{1b}[31mthing"), "bad   [31mthing");
/// ```
pub fn one_line(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}
