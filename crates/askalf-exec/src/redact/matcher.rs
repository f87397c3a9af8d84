//! All patterns together, and the scan for places where one of them may be.
//!
//! A table of 65,536 bits says of any three bytes, letter case aside, whether they might be the anchor of a pattern. The scan looks
//! up each three bytes of the text: no state, no branch but at a hit, so plain text passes at the speed of that loop whatever
//! the number of patterns is. (The idea of Wu and Manber's multi-pattern search, without its skips: the heads are short.)

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::kinds::{AUTHORIZATION, BEARER, NAMES, TOKENS};
use super::literal::Literal;
use super::pattern::{Pattern, What};

/// Most bytes that a pattern has before its anchor: what the scan needs to see again of text that it has passed.
pub(super) const LOOK_BEHIND: usize = 16;
/// Length of an anchor.
const ANCHOR: usize = 3;
const BITS: usize = 1 << 16;
const BUCKETS: usize = 256;

/// The patterns of one task's streams.
pub(super) struct Matcher {
    patterns: Vec<Pattern>,
    anchors: Box<[u64]>,
    /// Indices of patterns, by a hash of their anchor.
    buckets: Vec<Vec<u32>>,
    /// Patterns that hide their head and are no literals.
    tokens: Vec<u32>,
    /// First two bytes of each literal, sorted.
    literal_pairs: Vec<[u8; 2]>,
}

impl Matcher {
    /// The patterns that are built in.
    pub(super) fn built_in() -> Self {
        let mut matcher = Self {
            patterns: Vec::new(),
            anchors: vec![0; BITS / 64].into_boxed_slice(),
            buckets: vec![Vec::new(); BUCKETS],
            tokens: Vec::new(),
            literal_pairs: Vec::new(),
        };
        for shape in TOKENS {
            let what = What::Token {
                rest: shape.rest,
                least: shape.least,
            };
            matcher.add(pattern(shape.kind, shape.prefix, shape.anchor, what));
        }
        matcher.add(pattern("jwt", "eyJ", 0, What::Jwt));
        matcher.add(pattern("sendgrid", "SG.", 0, What::SendGrid));
        matcher.add(pattern("private-key", "-----BEGIN ", 4, What::Pem));
        matcher.add(pattern("password", "://", 0, What::Url));
        for name in NAMES {
            matcher.add(pattern(name.kind, name.name, name.anchor, What::Value));
        }
        for (name, what) in [(AUTHORIZATION, What::Authorization), (BEARER, What::Bearer)] {
            matcher.add(pattern(name.kind, name.name, name.anchor, what));
        }
        matcher
    }

    /// Adds a pattern behind the others. Its head has three bytes at least from its anchor on, and at most
    /// [`LOOK_BEHIND`] before it.
    pub(super) fn add(&mut self, pattern: Pattern) {
        let Some(anchor) = pattern.head.get(pattern.anchor..pattern.anchor + ANCHOR) else {
            return;
        };
        let index = u32::try_from(self.patterns.len()).unwrap_or(u32::MAX);
        let folded = fold(anchor);
        let bit = bit_of(folded);
        self.anchors[bit / 64] |= 1 << (bit % 64);
        self.buckets[bit % BUCKETS].push(index);
        match pattern.what {
            What::Literal => {
                let pair = [pattern.head[0], pattern.head[1]];
                if let Err(place) = self.literal_pairs.binary_search(&pair) {
                    self.literal_pairs.insert(place, pair);
                }
            }
            what if what.hides_head() => self.tokens.push(index),
            _ => {}
        }
        self.patterns.push(pattern);
    }

    /// Adds exact text.
    pub(super) fn add_literal(&mut self, literal: &Literal) {
        for piece in literal.pieces() {
            self.add(Pattern {
                kind: literal.kind().clone(),
                head: Zeroizing::new(piece.to_vec()),
                anchor: 0,
                what: What::Literal,
            });
        }
    }

    /// A matcher with the same patterns, to add others to.
    pub(super) fn copied(&self) -> Self {
        Self {
            patterns: self.patterns.iter().map(Pattern::copied).collect(),
            anchors: self.anchors.clone(),
            buckets: self.buckets.clone(),
            tokens: self.tokens.clone(),
            literal_pairs: self.literal_pairs.clone(),
        }
    }

    pub(super) fn pattern(&self, index: u32) -> Option<&Pattern> {
        self.patterns.get(index as usize)
    }

    /// The first place at or behind `from` where three bytes are, as far as the table tells, an anchor.
    pub(super) fn next_anchor(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let rest = bytes.get(from..)?;
        let anchors: &[u64; BITS / 64] = self.anchors.first_chunk()?;
        // Eight at a time, so that the look-ups run beside each other.
        let mut at = 0;
        while let Some(window) = rest.get(at..at + 10) {
            let window: &[u8; 10] = window.first_chunk()?;
            let mut hits = 0;
            for offset in 0..8 {
                let bit = bit_of(fold(&window[offset..offset + 3]));
                hits |= (anchors[bit / 64] >> (bit % 64) & 1) << offset;
            }
            if hits != 0 {
                return Some(from + at + hits.trailing_zeros() as usize);
            }
            at += 8;
        }
        let tail = rest.get(at..)?.windows(ANCHOR).position(|window| {
            let bit = bit_of(fold(window));
            anchors[bit / 64] >> (bit % 64) & 1 == 1
        });
        tail.map(|offset| from + at + offset)
    }

    /// Patterns whose anchor may be the three bytes at `at`, each with the place where it begins.
    pub(super) fn candidates(&self, bytes: &[u8], at: usize) -> impl Iterator<Item = (u32, usize)> {
        let folded = bytes.get(at..at + ANCHOR).map_or(0, fold);
        let bucket = &self.buckets[bit_of(folded) % BUCKETS];
        bucket.iter().filter_map(move |index| {
            let pattern = self.pattern(*index)?;
            let begin = at.checked_sub(pattern.anchor)?;
            let anchor = pattern.head.get(pattern.anchor..pattern.anchor + ANCHOR)?;
            (fold(anchor) == folded).then_some((*index, begin))
        })
    }

    /// Where the longest end of `bytes` begins that a secret may begin with and that the scan has not stopped at, its anchor
    /// being incomplete.
    pub(super) fn viable_end(&self, bytes: &[u8]) -> usize {
        let end = bytes.len();
        // No pattern has a line end in its head.
        let Some(latest) = bytes.last().filter(|byte| **byte != b'\n') else {
            return end;
        };
        let mut longest = self
            .tokens
            .iter()
            .filter_map(|index| self.pattern(*index))
            .filter_map(|pattern| {
                let most = end.min(pattern.anchor + ANCHOR - 1);
                (1..=most).rev().find(|length| {
                    pattern.head[length - 1] == *latest && bytes.ends_with(&pattern.head[..*length])
                })
            })
            .max()
            .unwrap_or(0);
        if let Some(pair) = bytes.last_chunk::<2>()
            && self.literal_pairs.binary_search(pair).is_ok()
        {
            longest = longest.max(2);
        }
        let place = self.literal_pairs.partition_point(|pair| pair[0] < *latest);
        if self
            .literal_pairs
            .get(place)
            .is_some_and(|pair| pair[0] == *latest)
        {
            longest = longest.max(1);
        }
        end - longest
    }
}

fn pattern(kind: &'static str, head: &str, anchor: usize, what: What) -> Pattern {
    Pattern {
        kind: Cow::Borrowed(kind),
        head: Zeroizing::new(head.as_bytes().to_vec()),
        anchor,
        what,
    }
}

/// Three bytes as a number, letter case aside.
#[inline(always)]
fn fold(bytes: &[u8]) -> u32 {
    let number = u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[2]) << 16;
    number | 0x0020_2020
}

/// The bit of an anchor, by multiplicative hashing.
#[inline(always)]
fn bit_of(folded: u32) -> usize {
    (folded.wrapping_mul(0x9e37_79b1) >> 16) as usize
}
