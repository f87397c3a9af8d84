use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::standing::{Standing, fingerprint, standing};
use super::{Access, AuthenticatedKey, Refused, ValidatorOptions};
use crate::{KeyHash, KeyPrefix, KeyRecord, KeyStatus, LookupDigest, Rejection, Token, UnixMillis};

/// What a check needs next.
#[derive(Debug)]
#[must_use = "a check decides nothing until it is driven to `Done`"]
pub enum Step {
    /// Rows from the store.
    Lookup(LookupWanted),
    /// One derivation.
    Derive(DerivationWanted),
    /// Nothing more.
    Done(Result<AuthenticatedKey, Refused>),
}

/// Which rows a check wants. More ways to look a key up may come; a driver that does not know one answers
/// [`LookupWanted::unavailable`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// The key whose stored digest this is, with its `digest_binding`: at most one row.
    ByDigest {
        /// [`DigestKey::id`](crate::DigestKey::id) of the secret that the digest was made with.
        digest_key_id: String,
        /// The digest of the presented token.
        digest: LookupDigest,
    },
    /// All rows with this `key_prefix`, whatever their status.
    ByPrefix {
        /// The prefix of the presented token.
        prefix: KeyPrefix,
    },
    /// All rows whose `key_prefix` no key of 12 or more characters can have: not 12 characters, or with white space or
    /// control characters among them. Rows that were inserted by hand are like that.
    MalformedPrefix,
}

/// What goes from step to step.
#[derive(Debug)]
pub(super) struct Check {
    token: Token,
    want: Access,
    options: Arc<ValidatorOptions>,
    /// Rows that were checked: a later look-up may answer them again.
    checked: HashSet<String>,
    /// The token matched a row that does not let it in; another row of the same key still may.
    refused: Option<Refused>,
    /// Rows whose prefix is malformed were checked: all that is left is a second look at those of the token's own.
    saw_malformed: bool,
}

impl Check {
    pub(super) fn new(token: Token, want: Access, options: Arc<ValidatorOptions>) -> Self {
        Self {
            token,
            want,
            options,
            checked: HashSet::new(),
            refused: None,
            saw_malformed: false,
        }
    }

    pub(super) fn begin(self) -> Step {
        let Some(key) = self.options.digest_key_for(&self.token) else {
            return self.look_up_prefix();
        };
        let lookup = Lookup::ByDigest {
            digest_key_id: key.id().to_owned(),
            digest: key.digest(&self.token),
        };
        self.look_up(lookup)
    }

    fn look_up_prefix(self) -> Step {
        let prefix = KeyPrefix::of(&self.token);
        self.look_up(Lookup::ByPrefix { prefix })
    }

    fn look_up(self, lookup: Lookup) -> Step {
        Step::Lookup(LookupWanted { lookup, check: self })
    }

    fn found_by_digest(mut self, digest: &LookupDigest, records: Vec<KeyRecord>, now: UnixMillis) -> Step {
        let options = Arc::clone(&self.options);
        for record in records {
            let key = options.digest_key_for(&self.token);
            if !key.is_some_and(|key| key.confirms(digest, &record)) {
                continue;
            }
            self.checked.insert(record.id.clone());
            if let Some(key) = self.judge(record, now, Match::ByDigest) {
                return Step::Done(Ok(key));
            }
        }
        self.look_up_prefix()
    }

    fn found_candidates(self, stage: Stage, records: Vec<KeyRecord>) -> Step {
        let mut candidates: Vec<_> = records
            .into_iter()
            .filter(|record| !self.checked.contains(&record.id))
            .filter_map(|record| Some((record.parsed_hash().ok()?, record)))
            .collect();
        // Active rows first: a good key waits for no revoked one. What is decided does not depend on it.
        candidates.sort_by_key(|(_, record)| record.status == KeyStatus::Revoked);
        DerivationWanted {
            indexed_left: self.options.max_candidates,
            candidates: candidates.into(),
            stage,
            check: self,
        }
        .next()
    }

    /// Decides on a row that the token matches. Where the row refuses, that is kept.
    fn judge(&mut self, record: KeyRecord, now: UnixMillis, matched: Match) -> Option<AuthenticatedKey> {
        let digest_to_keep = match matched {
            Match::ByDigest => None,
            Match::ByDerivation => {
                let key = self.options.digest_key_for(&self.token);
                key.map(|key| key.bind(&self.token, &record))
            }
        };
        match standing(&record, self.want, self.options.strict_scopes, now) {
            Ok(Standing {
                user_id,
                legacy_scope,
            }) => Some(AuthenticatedKey {
                fingerprint: fingerprint(&record),
                key_id: record.id,
                tenant_id: record.tenant_id,
                user_id,
                name: record.name,
                scopes: record.scopes,
                device_id: record.device_id,
                prefix: KeyPrefix::of(&self.token),
                legacy_scope,
                want: self.want,
                digest_to_keep,
            }),
            Err(rejection) => {
                let refused = Refused::of_row(rejection, record.id, digest_to_keep);
                self.refused = Some(match self.refused.take() {
                    Some(other) => other.or_better(refused),
                    None => refused,
                });
                None
            }
        }
    }

    fn done(self) -> Step {
        Step::Done(Err(self.refused.unwrap_or_else(|| Rejection::Unknown.into())))
    }
}

/// How a token matched a row.
enum Match {
    ByDigest,
    ByDerivation,
}

/// Which rows are being derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Prefix,
    MalformedPrefix,
    PrefixAgain,
}

/// A check that waits for the store.
#[derive(Debug)]
#[must_use = "the check ends here unless the look-up is answered"]
pub struct LookupWanted {
    lookup: Lookup,
    check: Check,
}

impl LookupWanted {
    /// What to look up.
    #[must_use]
    pub fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Answers with every row that the look-up asked for, as of `now`. A partial answer would let `unknown` be said
    /// of a good key: where rows are missing, say [`LookupWanted::unavailable`].
    ///
    /// A row with a malformed hash matches nothing and is skipped; [`KeyRecord::parsed_hash`] names such rows.
    pub fn found(self, records: Vec<KeyRecord>, now: UnixMillis) -> Step {
        match &self.lookup {
            Lookup::ByDigest { digest, .. } => self.check.found_by_digest(digest, records, now),
            Lookup::ByPrefix { .. } => {
                let stage = if self.check.saw_malformed {
                    Stage::PrefixAgain
                } else {
                    Stage::Prefix
                };
                self.check.found_candidates(stage, records)
            }
            Lookup::MalformedPrefix => self.check.found_candidates(Stage::MalformedPrefix, records),
        }
    }

    /// Answers that the store could not be read: [`Rejection::Unavailable`].
    pub fn unavailable(self) -> Step {
        Step::Done(Err(Rejection::Unavailable.into()))
    }
}

/// Which budget a derivation is paid from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The common case: one of the first [`ValidatorOptions::max_candidates`] rows of a check.
    Indexed,
    /// A row beyond those: from one small budget for the whole process, so that tokens whose prefix many
    /// rows share make nobody else wait.
    Overflow,
    /// A row whose prefix is malformed: every token that no other row matches meets all of those. So they too have one
    /// small budget for the whole process, and one of their own.
    Malformed,
}

/// A check that waits for CPU time.
#[derive(Debug)]
#[must_use = "the check ends here unless it is derived"]
pub struct DerivationWanted {
    check: Check,
    candidates: VecDeque<(KeyHash, KeyRecord)>,
    stage: Stage,
    indexed_left: usize,
}

impl DerivationWanted {
    /// The budget that the next derivation is paid from.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self.stage {
            Stage::Prefix | Stage::PrefixAgain if self.indexed_left > 0 => Lane::Indexed,
            Stage::Prefix | Stage::PrefixAgain => Lane::Overflow,
            Stage::MalformedPrefix => Lane::Malformed,
        }
    }

    /// How many derivations the check may still need among the rows that were found.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.candidates.len()
    }

    /// The prefix of the presented token. In [`Lane::Indexed`] and [`Lane::Overflow`] some row has it.
    #[must_use]
    pub fn prefix(&self) -> KeyPrefix {
        KeyPrefix::of(&self.check.token)
    }

    /// Derives one row's hash and compares it in constant time. CPU-bound, about 9 ms: call it on a
    /// thread that may block.
    ///
    /// On a match the key's status, expiry, user and scopes decide, in that order, as of `now`. Where they
    /// refuse, the rows that are left are checked too, since the same key may stand in another row.
    pub fn derive(mut self, now: UnixMillis) -> Step {
        let Some((hash, record)) = self.candidates.pop_front() else {
            return self.next();
        };
        self.indexed_left = self.indexed_left.saturating_sub(1);
        self.check.checked.insert(record.id.clone());
        if hash.verify(&self.check.token)
            && let Some(key) = self.check.judge(record, now, Match::ByDerivation)
        {
            return Step::Done(Ok(key));
        }
        self.next()
    }

    /// Answers that the lane has no room: [`Rejection::Overloaded`], also when rows were checked before,
    /// for the ones that were not may match.
    pub fn overloaded(self, retry_after: Duration) -> Step {
        Step::Done(Err(Rejection::Overloaded { retry_after }.into()))
    }

    fn next(mut self) -> Step {
        if !self.candidates.is_empty() {
            return Step::Derive(self);
        }
        match self.stage {
            Stage::Prefix => self.check.look_up(Lookup::MalformedPrefix),
            // A row whose prefix was mended after the first of the two look-ups and before the second is in neither.
            Stage::MalformedPrefix => {
                self.check.saw_malformed = true;
                self.check.look_up_prefix()
            }
            Stage::PrefixAgain => self.check.done(),
        }
    }
}
