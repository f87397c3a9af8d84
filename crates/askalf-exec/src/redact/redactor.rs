//! A stream of text on its way out, without its secrets.

use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::matcher::{LOOK_BEHIND, Matcher};
use super::pattern::{Verdict, What};
use super::span::Span;
use super::task::Redaction;
use crate::utf8::char_boundary;

/// Takes the text of one stream piece by piece and gives it back redacted. How the text is cut into pieces never changes the whole
/// that comes back.
///
/// Held back is only what may be the beginning of a secret: at most 258 bytes (a password in a URL whose host is not read yet, the
/// header of a JSON web token), in most cases below 64. It stays until more text decides, or the end does. Memory is bounded by twice
/// the longest piece and a few KiB; time is linear in the text.
///
/// ```
/// use askalf_exec::redact::Secrets;
///
/// let secrets = Secrets::default();
/// let mut stream = secrets.redaction(None).stream();
/// let mut text = stream.push("cloned with ghp_16C7e42F292c69");
/// assert_eq!(text, "cloned with ");
/// text += &stream.push("12E7710c838347Ae178B4a done\n");
/// text += &stream.finish();
/// assert_eq!(text, "cloned with [redacted:github] done\n");
/// ```
pub struct Redactor {
    redaction: Redaction,
    /// What is not passed on yet, behind a little that is and that the scan has to see again.
    text: Zeroizing<String>,
    /// So much of `text` is passed on.
    passed: usize,
    /// The scan has seen every anchor that begins before this place.
    scanned: usize,
    /// The last that was passed on is a mark that covers all up to `passed`.
    covered: bool,
    waiting: Vec<Waiting>,
    spans: Vec<Running>,
    regions: Vec<Region>,
}

/// A place that more text decides.
struct Waiting {
    pattern: u32,
    at: usize,
    hold: usize,
}

/// The latest span of each kind, so that what begins within it costs nothing.
struct Running {
    pattern: u32,
    from: usize,
    body: usize,
    span: Span,
    /// `None` while it goes on.
    end: Option<usize>,
}

/// Text that is left out. What overlaps or touches has one mark, that of the first.
#[derive(Clone, Copy)]
struct Region {
    from: usize,
    end: usize,
    pattern: u32,
}

impl Redactor {
    pub(super) fn new(redaction: Redaction) -> Self {
        Self {
            redaction,
            text: Zeroizing::default(),
            passed: 0,
            scanned: 0,
            covered: false,
            waiting: Vec::new(),
            spans: Vec::new(),
            regions: Vec::new(),
        }
    }

    /// Takes the next piece; gives back what can go out by now.
    pub fn push(&mut self, piece: &str) -> String {
        self.redaction.refresh();
        let seen = self.text.len();
        self.text.push_str(piece);
        self.advance(seen, false)
    }

    /// What was held back, decided now that nothing follows. The redactor is as new then.
    pub fn finish(&mut self) -> String {
        let seen = self.text.len();
        let rest = self.advance(seen, true);
        *self = Self::new(self.redaction.clone());
        rest
    }

    /// How many bytes are held back.
    #[doc(hidden)]
    pub fn held(&self) -> usize {
        self.text.len() - self.passed
    }

    /// Judges what is new, which begins at `seen`, and passes on what is decided.
    fn advance(&mut self, seen: usize, last: bool) -> String {
        let text = mem::take(&mut self.text);
        let bytes = text.as_bytes();
        let matcher = Arc::clone(self.redaction.matcher());
        self.run_spans(bytes, seen);
        for waiting in mem::take(&mut self.waiting) {
            self.judge(&matcher, bytes, (waiting.pattern, waiting.at), last);
        }
        while let Some(anchor) = matcher.next_anchor(bytes, self.scanned) {
            for candidate in matcher.candidates(bytes, anchor) {
                self.judge(&matcher, bytes, candidate, last);
            }
            self.scanned = anchor + 1;
        }
        self.scanned = self.scanned.max(bytes.len().saturating_sub(2));
        for running in self.spans.iter().filter(|running| running.end.is_none()) {
            self.regions.push(Region {
                from: running.from,
                end: bytes.len(),
                pattern: running.pattern,
            });
        }
        let limit = if last {
            bytes.len()
        } else {
            let holds = self.waiting.iter().map(|waiting| waiting.hold);
            holds.fold(matcher.viable_end(bytes), usize::min)
        };
        let out = self.pass_on(&matcher, &text, limit.max(self.passed));
        self.text = text;
        self.forget();
        out
    }

    /// Runs what goes on over the text from `seen` on.
    fn run_spans(&mut self, bytes: &[u8], seen: usize) {
        for running in &mut self.spans {
            if running.end.is_none() {
                running.end = running.span.run(bytes, seen);
                if let Some(end) = running.end {
                    self.regions.push(Region {
                        from: running.from,
                        end,
                        pattern: running.pattern,
                    });
                }
            }
        }
    }

    fn judge(&mut self, matcher: &Matcher, bytes: &[u8], (index, at): (u32, usize), last: bool) {
        let Some(pattern) = matcher.pattern(index) else {
            return;
        };
        if let Some(span) = pattern.what.span()
            && self.is_left_out(bytes, &span, at, at + pattern.head.len())
        {
            return;
        }
        match pattern.judge(bytes, at, last) {
            Verdict::No => {}
            Verdict::Wait { hold } => self.waiting.push(Waiting {
                pattern: index,
                at,
                hold,
            }),
            Verdict::Secret { from, body, span } => self.leave_out(bytes, index, from, body, span),
        }
    }

    /// Whether a span of this kind runs over all from `from` to `body`: one that begins there comes to the same end.
    fn is_left_out(&self, bytes: &[u8], span: &Span, from: usize, body: usize) -> bool {
        self.spans.iter().any(|running| {
            let end = running.end.unwrap_or(bytes.len());
            running.span.same_kind(span) && (running.body..end).contains(&from) && body <= end
        })
    }

    fn leave_out(&mut self, bytes: &[u8], pattern: u32, from: usize, body: usize, mut span: Span) {
        if self.is_left_out(bytes, &span, from, body) {
            return;
        }
        let known = self
            .spans
            .iter()
            .position(|running| running.span.same_kind(&span));
        let end = span.run(bytes, body);
        self.leave_out_region(Region {
            from,
            end: end.unwrap_or(bytes.len()),
            pattern,
        });
        if matches!(span, Span::Bytes(_)) {
            return;
        }
        let new = Running {
            pattern,
            from,
            body,
            span,
            end,
        };
        match known.and_then(|known| self.spans.get_mut(known)) {
            None => self.spans.push(new),
            // Decided late: what began within it is known already, and comes to the same end.
            Some(running) if from < running.from => {
                if new.end.is_none() {
                    *running = new;
                }
            }
            Some(running) => *running = new,
        }
    }

    fn leave_out_region(&mut self, region: Region) {
        if let Some(latest) = self.regions.last_mut()
            && latest.from < region.from
            && region.from <= latest.end
        {
            latest.end = latest.end.max(region.end);
        } else {
            self.regions.push(region);
        }
    }

    /// What stands before `limit`, with marks in the place of secrets.
    fn pass_on(&mut self, matcher: &Matcher, text: &str, limit: usize) -> String {
        let mut regions = mem::take(&mut self.regions);
        // Of those that begin together an exact secret gives its name, since it says most; else the first pattern.
        regions.sort_unstable_by_key(|region| {
            let literal = matcher
                .pattern(region.pattern)
                .is_some_and(|pattern| pattern.what == What::Literal);
            (region.from, !literal, region.pattern)
        });
        let mut out = String::with_capacity(limit - self.passed);
        let mut at = self.passed;
        for region in &regions {
            if region.from >= limit {
                break;
            }
            if region.end <= at {
                continue;
            }
            if region.from > at {
                out.push_str(text.get(at..region.from).unwrap_or_default());
                self.covered = false;
            }
            if !self.covered {
                let kind = matcher
                    .pattern(region.pattern)
                    .map_or("", |pattern| &pattern.kind);
                out.extend(["[redacted:", kind, "]"]);
                self.covered = true;
            }
            at = region.end.min(limit);
        }
        if at < limit {
            out.push_str(text.get(at..limit).unwrap_or_default());
            self.covered = false;
        }
        self.passed = limit;
        regions.retain(|region| region.end > limit);
        self.regions = regions;
        out
    }

    /// Drops text that nothing needs any more.
    fn forget(&mut self) {
        let waited_for = self.waiting.iter().map(|waiting| waiting.at);
        let needed = self.passed.min(self.scanned.saturating_sub(LOOK_BEHIND));
        let needed = waited_for.fold(needed, usize::min);
        let dropped = char_boundary(&self.text, needed);
        self.text.drain(..dropped);
        self.passed -= dropped;
        self.scanned -= dropped;
        for waiting in &mut self.waiting {
            waiting.at -= dropped;
            waiting.hold -= dropped;
        }
        for region in &mut self.regions {
            region.from = region.from.saturating_sub(dropped);
            region.end -= dropped;
        }
        // What ended before the text that is left covers nothing of it.
        self.spans
            .retain(|running| running.end.is_none_or(|end| end > dropped));
        for running in &mut self.spans {
            running.from = running.from.saturating_sub(dropped);
            running.body = running.body.saturating_sub(dropped);
            running.end = running.end.map(|end| end - dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::redact::Secrets;
    use crate::redact::span::LONGEST_BLOCK;

    fn redact(text: &str) -> String {
        Secrets::default().redaction(None).text(text)
    }

    #[test]
    fn each_kind_is_replaced_and_what_stands_around_it_stays() {
        for (text, expected) in [
            (
                "a ghp_16C7e42F292c6912E7710c838347Ae178B4a b",
                "a [redacted:github] b",
            ),
            (
                "\u{1b}[31msk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG\u{1b}[0m",
                "\u{1b}[31m[redacted:askalf-key]\u{1b}[0m",
            ),
            (
                "AKIAIOSFODNN7EXAMPLE, task_list sk-learn",
                "[redacted:aws], task_list sk-learn",
            ),
            (
                "psql postgres://app:s3/c:r@t@db:5432/app@x",
                "psql postgres://app:[redacted:password]@db:5432/app@x",
            ),
            ("redis://:hunter2@cache", "redis://:[redacted:password]@cache"),
            (
                "http://localhost:8080/a@b ssh://git@host:22/x",
                "http://localhost:8080/a@b ssh://git@host:22/x",
            ),
            (
                "export DB_PASSWORD=hunter2 x",
                "export DB_PASSWORD=[redacted:password] x",
            ),
            ("password: s3cret\n", "password: [redacted:password]\n"),
            (
                r#"{"apiKey": "a\"bcd", "b": 1}"#,
                r#"{"apiKey": "[redacted:api-key]", "b": 1}"#,
            ),
            (
                r#"{\"client_secret\":\"abcdef\",\"b\":1}"#,
                r#"{\"client_secret\":\"[redacted:secret]",\"b\":1}"#,
            ),
            (
                "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "aws_secret_access_key = [redacted:access-key]",
            ),
            (
                "Authorization: Bearer abcdef\r\n",
                "Authorization: Bearer [redacted:authorization]\r\n",
            ),
            (
                "authorization: Basic dXNlcjpwYXNz",
                "authorization: Basic [redacted:authorization]",
            ),
            ("bearer abcdefghijklmnop", "bearer [redacted:authorization]"),
            ("password: ", "password: "),
            (
                "Password for ann: \npassword=${DB}",
                "Password for ann: \npassword=${DB}",
            ),
            (
                "token: null, secret = true; password=[redacted:password]",
                "token: null, secret = true; password=[redacted:password]",
            ),
            (
                "token::new tokens=1234 token == other",
                "token::new tokens=1234 token == other",
            ),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln x eyJub3QiOiJhIn0 y",
                "[redacted:jwt] x eyJub3QiOiJhIn0 y",
            ),
            ("a ghp_16C7e42F", "a ghp_16C7e42F"),
            ("", ""),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn a_block_is_left_out_to_its_end_or_to_its_bound() {
        let line = format!("{}\n", "MIIEpAIBAAKCAQEA".repeat(4));
        let begin = "-----BEGIN RSA PRIVATE KEY-----\n";
        let end = "-----END RSA PRIVATE KEY-----";
        let whole = format!("a\n{begin}{}{end}\nb\n", line.repeat(20));
        assert_eq!(redact(&whole), "a\n[redacted:private-key]\nb\n");
        let quoted = format!(
            "KEY=\"{}{end}\\n\" b",
            whole[2..].replace('\n', "\\n").replace(end, "")
        );
        assert_eq!(redact(&quoted).matches("MII").count(), 0);
        let endless = redact(&format!("{begin}{}", line.repeat(1000)));
        let left = 1000 * line.len() - LONGEST_BLOCK;
        assert!(endless.len() <= left + 64 && endless.starts_with("[redacted:private-key]"));
        let prose = format!("{begin}{}", "ordinary words\n".repeat(20));
        assert_eq!(redact(&prose).matches("ordinary").count(), 13);
        assert_eq!(
            redact("-----BEGIN CERTIFICATE-----\nMII"),
            "-----BEGIN CERTIFICATE-----\nMII"
        );
    }

    #[test]
    fn ordinary_text_is_not_held_back() {
        let mut stream = Secrets::default().redaction(None).stream();
        for text in [
            "Password: ",
            "\n",
            "password=",
            "\n",
            "$ ",
            "building (1/3)",
            "\n",
            "MY_SECRET='",
        ] {
            assert_eq!(stream.push(text), text);
        }
        assert_eq!(
            (stream.push("hunter2"), stream.push("!\n")),
            ("[redacted:secret]".into(), "\n".into())
        );
        // A viable beginning is, and comes with what decides it.
        assert_eq!(
            (stream.push("as g"), stream.push("h")),
            ("as ".into(), String::new())
        );
        assert_eq!(stream.push("o"), "");
        assert_eq!(stream.push("st\n"), "ghost\n");
    }
}
