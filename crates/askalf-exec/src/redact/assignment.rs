//! Values of names that say that they are secret: `NAME=value`, `name: value`, `"name": "value"`, and the `Authorization`
//! header.

use super::char_set::CharSet;
use super::kinds::HARMLESS;
use super::pattern::Verdict;
use super::span::Span;

/// Shorter values are no secrets.
const SHORTEST: usize = 4;
/// So much of a value decides: more than any word of [`HARMLESS`] and any of [`REFERENCES`].
const LOOKED_AT: usize = 24;
/// Most blanks on either side of a separator.
const BLANKS: usize = 16;
/// Most backslashes before a quote: a string in a string in a string.
const BACKSLASHES: usize = 7;
/// Longest scheme of a header.
const SCHEME: usize = 16;
/// What it consists of: a credential without a scheme has digits.
const LETTERS: CharSet = CharSet::of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-");
/// Beginnings of what will be replaced by the value, or has been.
const REFERENCES: [&[u8]; 4] = [b"${", b"$(", b"{{", b"[redacted:"];

/// Where a value begins, and what it ends at.
struct Value {
    from: usize,
    span: Span,
}

/// What could be read so far.
enum Read {
    Value(Value),
    /// No value follows.
    Nothing,
    /// The text ended; from here on it may be the value.
    Short(usize),
}

/// Judges what follows a name that ends before `at`.
pub(super) fn value(bytes: &[u8], at: usize, last: bool) -> Verdict {
    match read(bytes, at) {
        Read::Value(value) => judge(bytes, &value, last),
        Read::Short(hold) if !last => Verdict::Wait { hold },
        _ => Verdict::No,
    }
}

/// Judges what follows the name of the header.
pub(super) fn authorization(bytes: &[u8], at: usize, last: bool) -> Verdict {
    let value = match read(bytes, at) {
        Read::Value(value) => value,
        Read::Short(hold) if !last => return Verdict::Wait { hold },
        _ => return Verdict::No,
    };
    let scheme = LETTERS.run(bytes, value.from, SCHEME + 1);
    let blanks = blanks(bytes, value.from + scheme);
    let credential = value.from + scheme + blanks;
    if credential >= bytes.len() && !last && scheme <= SCHEME {
        let hold = if blanks > 0 { bytes.len() } else { value.from };
        return Verdict::Wait { hold };
    }
    if (1..=SCHEME).contains(&scheme) && blanks > 0 {
        let value = Value {
            from: credential,
            ..value
        };
        return judge(bytes, &value, last);
    }
    judge(bytes, &value, last)
}

/// Reads the end of a quoted name, the separator, and the beginning of the value.
fn read(bytes: &[u8], at: usize) -> Read {
    let mut next = at + backslashes(bytes, at);
    if bytes.get(next).is_some_and(|byte| is_quote(*byte)) {
        next += 1;
        // A key in brackets: `config["password"]`.
        next += usize::from(bytes.get(next) == Some(&b']'));
    } else if next > at && next < bytes.len() {
        return Read::Nothing;
    }
    next += blanks(bytes, next);
    // Make and others have `?=` and `:=`.
    if matches!(bytes.get(next), Some(b'?' | b'+')) {
        next += 1;
    }
    let separator = match bytes.get(next) {
        None => return Read::Short(bytes.len()),
        Some(byte @ (b'=' | b':')) => *byte,
        Some(_) => return Read::Nothing,
    };
    next += 1;
    match (separator, bytes.get(next)) {
        (_, None) => return Read::Short(bytes.len()),
        (b'=', Some(b'>')) | (b':', Some(b'=')) => next += 1,
        (b'=', Some(b'=')) | (b':', Some(b':')) => return Read::Nothing,
        _ => {}
    }
    next += blanks(bytes, next);
    let from = next;
    next += backslashes(bytes, next);
    let escaped = next > from;
    match bytes.get(next) {
        None => Read::Short(from),
        Some(quote) if is_quote(*quote) => {
            let span = Span::quoted(*quote, *quote == b'"' && !escaped);
            let from = next + 1;
            Read::Value(Value { from, span })
        }
        Some(_) => {
            let span = Span::Unquoted;
            Read::Value(Value { from, span })
        }
    }
}

/// Whether a value that begins there is one that nobody should see.
fn judge(bytes: &[u8], value: &Value, last: bool) -> Verdict {
    let rest = bytes.get(value.from..).unwrap_or_default();
    // A longer one is a secret whatever follows.
    let looked_at = &rest[..rest.len().min(LOOKED_AT)];
    let end = { value.span }.run(looked_at, 0);
    let secret = Verdict::Secret {
        from: value.from,
        body: value.from,
        span: value.span,
    };
    let wait = Verdict::Wait { hold: value.from };
    let closed = end.is_some() || (last && looked_at.len() == rest.len());
    let text = &looked_at[..end.unwrap_or(looked_at.len())];
    if REFERENCES.iter().any(|begin| text.starts_with(begin)) {
        return Verdict::No;
    }
    if closed {
        let word = without_comma(text);
        let harmless = HARMLESS
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
        return if word.len() < SHORTEST || harmless {
            Verdict::No
        } else {
            secret
        };
    }
    // Might become a reference or a harmless word with a comma behind it.
    let reference = REFERENCES.iter().any(|begin| begin.starts_with(text));
    let word = without_comma(text);
    let harmless = HARMLESS.iter().any(|known| {
        let known = known.as_bytes();
        let length = word.len().min(known.len());
        word.len() <= known.len() && word.eq_ignore_ascii_case(&known[..length])
    });
    if text.len() <= SHORTEST || reference || harmless {
        wait
    } else {
        secret
    }
}

fn without_comma(text: &[u8]) -> &[u8] {
    text.strip_suffix(b",")
        .or(text.strip_suffix(b";"))
        .unwrap_or(text)
}

fn blanks(bytes: &[u8], at: usize) -> usize {
    CharSet::of(b" \t").run(bytes, at, BLANKS)
}

fn backslashes(bytes: &[u8], at: usize) -> usize {
    CharSet::of(b"\\").run(bytes, at, BACKSLASHES)
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}
