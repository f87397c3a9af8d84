mod authenticated_key;

use std::{collections::VecDeque, time::Duration};

pub use authenticated_key::AuthenticatedKey;

use crate::{
    KeyHash, KeyPrefix, KeyRecord, KeyStatus, LookupDigest, Rejection, Scope, Scopes, Token, UnixMillis,
    UserStatus,
};

/// The default of [`ValidatorOptions::max_candidates`]: far above what chance gives keys of 12 shared
/// characters, and below a tenth of a second of CPU.
pub const MAX_INDEXED_CANDIDATES: usize = 8;

/// What a validator decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorOptions {
    /// Refuse the forge's older keys, which carry read, write and execute, at the socket. Off by default.
    pub strict_scopes: bool,
    /// How many rows one check may derive in [`Lane::Indexed`]; the rest go through [`Lane::Overflow`].
    /// Default: [`MAX_INDEXED_CANDIDATES`].
    pub max_candidates: usize,
}

impl Default for ValidatorOptions {
    fn default() -> Self {
        Self {
            strict_scopes: false,
            max_candidates: MAX_INDEXED_CANDIDATES,
        }
    }
}

/// What the bearer wants to do with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Open a device's socket: scope `device` or `execute`.
    Socket,
    /// Act as an operator: scope `admin`, on a key that is not bound to a device.
    Operator,
}

/// The check of a presented token, as a decision without I/O: it asks for a look-up, then for
/// derivations one at a time, and ends in a proof or a [`Rejection`]. Whoever drives it owns the store,
/// the threads and the clock.
///
/// Every step consumes the one before, so none can be skipped, repeated or answered twice. To give a check
/// up, as when its client has gone, drop it.
///
/// ```
/// use askalf_bridge_auth::*;
///
/// fn check(
///     presented: Option<&str>,
///     rows: impl Fn(&KeyPrefix) -> Option<Vec<KeyRecord>>,
///     now: UnixMillis,
/// ) -> Result<AuthenticatedKey, Rejection> {
///     let mut step = Validator::default().check(presented, Access::Socket);
///     loop {
///         step = match step {
///             Step::Lookup(wanted) => {
///                 let found = match wanted.lookup() {
///                     Lookup::ByPrefix { prefix } => rows(prefix),
///                     _ => None,
///                 };
///                 match found {
///                     Some(rows) => wanted.found(rows),
///                     None => wanted.unavailable(),
///                 }
///             }
///             Step::Derive(wanted) => wanted.derive(now),
///             Step::Done(outcome) => return outcome,
///         };
///     }
/// }
///
/// let key = mint_key()?;
/// let row = KeyRecord {
///     id: "key_1".to_owned(),
///     tenant_id: "default".to_owned(),
///     user_id: Some("default".to_owned()),
///     name: "bench".to_owned(),
///     key_hash: key.hash.to_string(),
///     key_prefix: key.prefix.as_str().to_owned(),
///     scopes: Scopes::parse(["device"]),
///     status: KeyStatus::Active,
///     expires_at: None,
///     user_status: Some(UserStatus::Active),
///     device_id: None,
///     digest_binding: None,
/// };
///
/// let token = Some(key.token.expose_secret());
/// let proof = check(token, |_| Some(vec![row.clone()]), UnixMillis(0)).unwrap();
/// assert_eq!(proof.key_id(), "key_1");
/// assert_eq!(check(token, |_| Some(vec![]), UnixMillis(0)).unwrap_err(), Rejection::Unknown);
/// assert_eq!(check(token, |_| None, UnixMillis(0)).unwrap_err(), Rejection::Unavailable);
/// assert_eq!(check(None, |_| Some(vec![]), UnixMillis(0)).unwrap_err(), Rejection::Missing);
/// # Ok::<(), MintError>(())
/// ```
///
/// A step that was answered is gone:
///
/// ```compile_fail,E0382
/// fn twice(wanted: askalf_bridge_auth::DerivationWanted, now: askalf_bridge_auth::UnixMillis) {
///     let _ = wanted.derive(now);
///     let _ = wanted.derive(now);
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Validator {
    options: ValidatorOptions,
}

impl Validator {
    /// A validator that decides by `options`.
    #[must_use]
    pub fn new(options: ValidatorOptions) -> Self {
        Self { options }
    }

    /// Starts a check of what was presented. `None` and the empty text are [`Rejection::Missing`]; what is
    /// no [`Token`] is [`Rejection::Malformed`] and costs no look-up.
    pub fn check(&self, presented: Option<&str>, want: Access) -> Step {
        let Some(text) = presented.filter(|text| !text.is_empty()) else {
            return Step::Done(Err(Rejection::Missing));
        };
        let Ok(token) = Token::parse(text) else {
            return Step::Done(Err(Rejection::Malformed));
        };
        let lookup = Lookup::ByPrefix {
            prefix: KeyPrefix::of(&token),
        };
        Step::Lookup(LookupWanted {
            lookup,
            token,
            want,
            options: self.options.clone(),
        })
    }
}

/// What a check needs next.
#[derive(Debug)]
#[must_use = "a check decides nothing until it is driven to `Done`"]
pub enum Step {
    /// Rows from the store.
    Lookup(LookupWanted),
    /// One derivation.
    Derive(DerivationWanted),
    /// Nothing more.
    Done(Result<AuthenticatedKey, Rejection>),
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

/// A check that waits for the store.
#[derive(Debug)]
#[must_use = "the check ends here unless the look-up is answered"]
pub struct LookupWanted {
    lookup: Lookup,
    token: Token,
    want: Access,
    options: ValidatorOptions,
}

impl LookupWanted {
    /// What to look up.
    #[must_use]
    pub fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Answers with every row that the look-up asked for. A partial answer would let `unknown` be said
    /// of a good key: where rows are missing, say [`LookupWanted::unavailable`].
    ///
    /// A row with a malformed hash matches nothing and is skipped; [`KeyRecord::parsed_hash`] names such rows.
    pub fn found(self, records: Vec<KeyRecord>) -> Step {
        let mut candidates: Vec<_> = records
            .into_iter()
            .filter_map(|record| Some((record.parsed_hash().ok()?, record)))
            .collect();
        // Active rows first: a good key waits for no revoked one. What is decided does not depend on it.
        candidates.sort_by_key(|(_, record)| record.status == KeyStatus::Revoked);
        DerivationWanted {
            token: self.token,
            want: self.want,
            candidates: candidates.into(),
            indexed_left: self.options.max_candidates,
            strict_scopes: self.options.strict_scopes,
            rejected_match: None,
        }
        .next()
    }

    /// Answers that the store could not be read: [`Rejection::Unavailable`].
    pub fn unavailable(self) -> Step {
        Step::Done(Err(Rejection::Unavailable))
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
}

/// A check that waits for CPU time.
#[derive(Debug)]
#[must_use = "the check ends here unless it is derived"]
pub struct DerivationWanted {
    token: Token,
    want: Access,
    candidates: VecDeque<(KeyHash, KeyRecord)>,
    indexed_left: usize,
    strict_scopes: bool,
    /// The token matched a row that does not let it in; another row of the same key still may.
    rejected_match: Option<Rejection>,
}

impl DerivationWanted {
    /// The budget that the next derivation is paid from.
    #[must_use]
    pub fn lane(&self) -> Lane {
        if self.indexed_left > 0 {
            Lane::Indexed
        } else {
            Lane::Overflow
        }
    }

    /// How many derivations the check may still need, in both lanes.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.candidates.len()
    }

    /// Derives one row's hash and compares it in constant time. CPU-bound, about 11 ms: call it on a
    /// thread that may block.
    ///
    /// On a match the key's status, expiry, user and scopes decide, in that order, as of `now`. Where they
    /// refuse, the rows that are left are checked too, since the same key may stand in another row.
    pub fn derive(mut self, now: UnixMillis) -> Step {
        let Some((hash, record)) = self.candidates.pop_front() else {
            return self.next();
        };
        self.indexed_left = self.indexed_left.saturating_sub(1);
        if hash.verify(&self.token) {
            match self.admit(record, now) {
                Ok(key) => return Step::Done(Ok(key)),
                Err(rejection) => {
                    self.rejected_match.get_or_insert(rejection);
                }
            }
        }
        self.next()
    }

    /// Answers that the lane has no room: [`Rejection::Overloaded`], also when rows were checked before,
    /// for the ones that were not may match.
    pub fn overloaded(self, retry_after: Duration) -> Step {
        Step::Done(Err(Rejection::Overloaded { retry_after }))
    }

    fn next(self) -> Step {
        if self.candidates.is_empty() {
            return Step::Done(Err(self.rejected_match.unwrap_or(Rejection::Unknown)));
        }
        Step::Derive(self)
    }

    fn admit(&self, record: KeyRecord, now: UnixMillis) -> Result<AuthenticatedKey, Rejection> {
        if record.status == KeyStatus::Revoked {
            return Err(Rejection::Revoked);
        }
        if record.expires_at.is_some_and(|end| end <= now) {
            return Err(Rejection::Expired);
        }
        let (Some(user_id), Some(UserStatus::Active)) = (record.user_id, record.user_status) else {
            return Err(Rejection::UserInactive);
        };
        let legacy_scope = match self.want {
            Access::Socket => self.socket_scope(&record.scopes)?,
            Access::Operator if record.device_id.is_none() && record.scopes.contains(&Scope::Admin) => false,
            Access::Operator => return Err(Rejection::ScopeMissing),
        };
        Ok(AuthenticatedKey {
            key_id: record.id,
            tenant_id: record.tenant_id,
            user_id,
            name: record.name,
            scopes: record.scopes,
            device_id: record.device_id,
            prefix: KeyPrefix::of(&self.token),
            legacy_scope,
        })
    }

    /// Whether the scopes open the socket, and then whether they do so as those of an older key: `execute`
    /// among read or write, which nobody chose for a device.
    fn socket_scope(&self, scopes: &Scopes) -> Result<bool, Rejection> {
        if scopes.contains(&Scope::Device) {
            return Ok(false);
        }
        let legacy = scopes.contains(&Scope::Read) || scopes.contains(&Scope::Write);
        if scopes.contains(&Scope::Execute) && !(legacy && self.strict_scopes) {
            return Ok(legacy);
        }
        Err(Rejection::ScopeMissing)
    }
}
