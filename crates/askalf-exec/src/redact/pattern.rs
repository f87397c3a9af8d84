//! Where a secret may begin, and whether one does.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::assignment;
use super::char_set::{BASE64URL, CharSet, DOTTED};
use super::kinds::{BEARER_LEAST, BEARER_TOKEN};
use super::span::Span;
use super::url;

/// Something that secrets begin with, or that stands before them.
pub(super) struct Pattern {
    /// What stands for the secret in the output.
    pub(super) kind: Cow<'static, str>,
    /// The fixed text; lower case where case is nothing.
    pub(super) head: Zeroizing<Vec<u8>>,
    /// Where in it the three bytes begin at which the scan stops.
    pub(super) anchor: usize,
    pub(super) what: What,
}

/// What follows the head of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    /// Nothing: the head is the secret.
    Literal,
    /// At least so many characters of the set.
    Token { rest: CharSet, least: usize },
    /// The rest of `eyJ...` of a JSON web token.
    Jwt,
    /// Two parts of fixed length.
    SendGrid,
    /// The label of a PEM block.
    Pem,
    /// A separator and the value; the head is a name in any letter case.
    Value,
    /// A separator, a scheme and the credential; the head is a name in any letter case.
    Authorization,
    /// A credential; the head is a scheme in any letter case.
    Bearer,
    /// User, password and host of a URL.
    Url,
}

impl What {
    /// Whether the head itself is left out, so that it must be held back until that is known.
    pub(super) fn hides_head(self) -> bool {
        !matches!(self, Self::Value | Self::Authorization | Self::Bearer | Self::Url)
    }

    /// What a secret of this kind goes on as, where its head alone says so.
    pub(super) fn span(self) -> Option<Span> {
        match self {
            Self::Token { rest, .. } => Some(Span::Set(rest)),
            Self::Jwt => Some(Span::Set(DOTTED)),
            Self::Pem => Some(Span::Pem(Default::default())),
            _ => None,
        }
    }

    fn any_case(self) -> bool {
        matches!(self, Self::Value | Self::Authorization | Self::Bearer)
    }
}

/// What is known of a place in the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// No secret.
    No,
    /// More text decides. What stands from here on may be secret.
    Wait { hold: usize },
    /// A secret from `from` on; `span` goes on from `body` to its end.
    Secret { from: usize, body: usize, span: Span },
}

/// Longest header of a JSON web token that is waited for; a longer run of its alphabet is one.
const JWT_HEADER: usize = 256;
/// Shortest: `{"alg":"none"}` in base64.
const JWT_LEAST: usize = 16;
/// Longest label of a PEM block.
const PEM_LABEL: usize = 48;

impl Pattern {
    pub(super) fn copied(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            head: self.head.clone(),
            ..*self
        }
    }

    /// Whether the bytes from `at` on are a secret; `last` when nothing follows `bytes`.
    pub(super) fn judge(&self, bytes: &[u8], at: usize, last: bool) -> Verdict {
        let rest = bytes.get(at..).unwrap_or_default();
        let there = rest.len().min(self.head.len());
        let equal = if self.what.any_case() {
            rest[..there].eq_ignore_ascii_case(&self.head[..there])
        } else {
            rest[..there] == self.head[..there]
        };
        if !equal {
            return Verdict::No;
        }
        if there < self.head.len() {
            return match (last, self.what.hides_head()) {
                (true, _) => Verdict::No,
                (false, true) => Verdict::Wait { hold: at },
                (false, false) => Verdict::Wait { hold: bytes.len() },
            };
        }
        let next = at + there;
        match self.what {
            What::Literal => Verdict::Secret {
                from: at,
                body: next,
                span: Span::Bytes(0),
            },
            What::Token { rest, least } => {
                let run = rest.run(bytes, next, least);
                decided(bytes, next + run, last, run >= least, (at, next), Span::Set(rest))
            }
            What::Jwt => jwt(bytes, at, last),
            What::SendGrid => send_grid(bytes, at, next, last),
            What::Pem => pem(bytes, at, next, last),
            What::Value => assignment::value(bytes, next, last),
            What::Authorization => assignment::authorization(bytes, next, last),
            What::Bearer => {
                let spaces = CharSet::of(b" ").run(bytes, next, 4);
                let from = next + spaces;
                let run = BEARER_TOKEN.run(bytes, from, BEARER_LEAST);
                decided(
                    bytes,
                    from + run,
                    last,
                    run >= BEARER_LEAST,
                    (from, from),
                    Span::Set(BEARER_TOKEN),
                )
            }
            What::Url => url::password(bytes, next, last),
        }
    }
}

/// A secret where `is` holds; else none, unless the text ended at `end` and may go on.
fn decided(
    bytes: &[u8],
    end: usize,
    last: bool,
    is: bool,
    (from, body): (usize, usize),
    span: Span,
) -> Verdict {
    if is {
        Verdict::Secret { from, body, span }
    } else if end >= bytes.len() && !last {
        Verdict::Wait { hold: from }
    } else {
        Verdict::No
    }
}

fn jwt(bytes: &[u8], at: usize, last: bool) -> Verdict {
    let run = BASE64URL.run(bytes, at, JWT_HEADER);
    let span = Span::Set(DOTTED);
    if run >= JWT_HEADER {
        return Verdict::Secret {
            from: at,
            body: at,
            span,
        };
    }
    let dot = at + run;
    // Before the dot a verdict waits for what follows it.
    let parts = run >= JWT_LEAST && bytes.get(dot) == Some(&b'.');
    let goes_on = bytes.get(dot + 1).is_some_and(|byte| DOTTED.contains(*byte));
    let end = if parts { dot + 1 } else { dot };
    decided(bytes, end, last, parts && goes_on, (at, at), span)
}

/// `SG.`, 22 characters, a dot, 43 characters.
fn send_grid(bytes: &[u8], at: usize, next: usize, last: bool) -> Verdict {
    let first = BASE64URL.run(bytes, next, 23);
    let dot = next + first;
    if first != 22 || bytes.get(dot) != Some(&b'.') {
        return decided(bytes, dot, last || first > 22, false, (at, dot), Span::Unquoted);
    }
    let second = BASE64URL.run(bytes, dot + 1, 20);
    decided(
        bytes,
        dot + 1 + second,
        last,
        second >= 20,
        (at, dot + 1),
        Span::Set(BASE64URL),
    )
}

fn pem(bytes: &[u8], at: usize, next: usize, last: bool) -> Verdict {
    const LABEL: CharSet = CharSet::of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ");
    const WORDS: &[u8] = b"PRIVATE KEY";
    let run = LABEL.run(bytes, next, PEM_LABEL);
    let label = bytes.get(next..next + run).unwrap_or_default();
    let private = label.windows(WORDS.len()).any(|words| words == WORDS);
    decided(
        bytes,
        next + run,
        last || run >= PEM_LABEL,
        private,
        (at, next),
        Span::Pem(Default::default()),
    )
}
