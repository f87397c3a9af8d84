//! The password in `scheme://user:password@host`.

use super::pattern::Verdict;
use super::span::Span;

/// Longest name of a user, in bytes.
const USER: usize = 128;
/// Longest password, with the host behind it, in bytes.
const PASSWORD: usize = 256;

/// Judges what follows a `://` that ends before `at`.
pub(super) fn password(bytes: &[u8], at: usize, last: bool) -> Verdict {
    let colon = match colon(bytes, at) {
        Some(colon) => colon,
        None if bytes.len() - at < USER && !last && !bytes[at..].iter().any(|byte| ends_user(*byte)) => {
            return Verdict::Wait { hold: bytes.len() };
        }
        None => return Verdict::No,
    };
    let from = colon + 1;
    let mut sign = None;
    let mut passed_port = false;
    for (index, byte) in bytes[from..].iter().enumerate() {
        match byte {
            // An unescaped one in a password: the last is the one before the host.
            b'@' => sign = Some(index),
            b'/' | b'?' | b'#' if sign.is_some() => return found(from, sign),
            b'/' | b'?' | b'#' if !passed_port => {
                let port = &bytes[from..from + index];
                if port.len() <= 5 && port.iter().all(u8::is_ascii_digit) {
                    return Verdict::No;
                }
                // No port, so a password with a character that should have been escaped.
                passed_port = true;
            }
            // The next URL.
            b':' if index < PASSWORD && bytes[from + index..].starts_with(b"://") => {
                return found(from, sign);
            }
            byte if ends_password(*byte) => return found(from, sign),
            _ => {}
        }
        // By now every `://` before the bound could have been seen.
        if index >= PASSWORD + 2 {
            // Not within a character.
            let whole = |length: &usize| bytes[from + length] & 0xc0 != 0x80;
            return found(from, sign.or((0..=PASSWORD).rev().find(whole)));
        }
    }
    if last {
        found(from, sign)
    } else {
        Verdict::Wait { hold: from }
    }
}

fn found(from: usize, sign: Option<usize>) -> Verdict {
    match sign {
        None | Some(0) => Verdict::No,
        Some(length) => Verdict::Secret {
            from,
            body: from,
            span: Span::Bytes(length),
        },
    }
}

/// The colon behind the user's name, which may be empty.
fn colon(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(USER).position(|byte| ends_user(*byte))?;
    (rest[end] == b':').then_some(at + end)
}

fn ends_user(byte: u8) -> bool {
    matches!(byte, b':' | b'/' | b'@' | b'?' | b'#' | b'[') || ends_password(byte)
}

fn ends_password(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | 0x7f)
}
