mod authenticated_key;
mod check;
mod refused;
mod standing;

use std::sync::Arc;

pub use authenticated_key::AuthenticatedKey;
pub use check::{DerivationWanted, Lane, Lookup, LookupWanted, Step};
pub use refused::Refused;

use check::Check;
use standing::{fingerprint, standing};

use crate::{DigestKey, KeyRecord, Rejection, Token, TokenShape, UnixMillis};

/// The default of [`ValidatorOptions::max_candidates`]: far above what chance gives keys of 12 shared
/// characters, and below a tenth of a second of CPU.
pub const MAX_INDEXED_CANDIDATES: usize = 8;

/// What a validator decides by.
#[derive(Clone, Debug)]
pub struct ValidatorOptions {
    /// Refuse the forge's older keys, which carry read, write and execute, at the socket. Off by default.
    pub strict_scopes: bool,
    /// How many rows one check may derive in [`Lane::Indexed`]; the rest go through [`Lane::Overflow`].
    /// Default: [`MAX_INDEXED_CANDIDATES`].
    pub max_candidates: usize,
    /// The secret by which returning tokens are known without a derivation; without it none are. Only tokens of a known
    /// [`TokenShape`] are: those have so many random bits that nobody finds one from its digest.
    pub digest_key: Option<DigestKey>,
}

impl Default for ValidatorOptions {
    fn default() -> Self {
        Self {
            strict_scopes: false,
            max_candidates: MAX_INDEXED_CANDIDATES,
            digest_key: None,
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

/// The check of a presented token, as a decision without I/O: it asks for look-ups and for derivations, one at a time,
/// and ends in a proof or a [`Refused`]. Whoever drives it owns the store, the threads and the clock.
///
/// 1. [`Lookup::ByDigest`], where there is a digest key and the token has a known shape: a row whose digest was made for
///    it decides at once.
/// 2. [`Lookup::ByPrefix`]: each of these rows is derived, the active ones first.
/// 3. [`Lookup::MalformedPrefix`]: rows that no prefix finds are derived too, in [`Lane::Malformed`].
/// 4. [`Lookup::ByPrefix`] again: a row whose prefix was mended between the two look-ups before is in neither of them.
///
/// `unknown` is said when all of them were checked. A key that stands in several rows is as good as the best of them; so
/// a row that refuses does not end the check.
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
///                     Lookup::MalformedPrefix => Some(vec![]),
///                     _ => None,
///                 };
///                 match found {
///                     Some(rows) => wanted.found(rows, now),
///                     None => wanted.unavailable(),
///                 }
///             }
///             Step::Derive(wanted) => wanted.derive(now),
///             Step::Done(outcome) => return outcome.map_err(Refused::into_rejection),
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
///
/// And no step can be made but by the one before, so none of them is skipped:
///
/// ```compile_fail,E0451
/// use askalf_bridge_auth::{DerivationWanted, LookupWanted};
///
/// fn skip(wanted: LookupWanted) -> DerivationWanted {
///     DerivationWanted { check: wanted.check }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Validator {
    options: Arc<ValidatorOptions>,
}

impl Validator {
    /// A validator that decides by `options`.
    #[must_use]
    pub fn new(options: ValidatorOptions) -> Self {
        Self {
            options: Arc::new(options),
        }
    }

    /// Starts a check of what was presented. `None` and the empty text are [`Rejection::Missing`]; what is
    /// no [`Token`] is [`Rejection::Malformed`] and costs no look-up.
    pub fn check(&self, presented: Option<&str>, want: Access) -> Step {
        let Some(text) = presented.filter(|text| !text.is_empty()) else {
            return Step::Done(Err(Rejection::Missing.into()));
        };
        match Token::parse(text) {
            Ok(token) => Check::new(token, want, Arc::clone(&self.options)).begin(),
            Err(_) => Step::Done(Err(Rejection::Malformed.into())),
        }
    }

    /// Whether a key that was checked before still holds, by its row as it is now: what a session stands on that lives
    /// longer than its check. `None` is a row that is gone.
    ///
    /// # Errors
    /// [`Rejection::Unknown`] where the row is gone or has another `key_hash`; [`Rejection::Revoked`],
    /// [`Rejection::Expired`], [`Rejection::UserInactive`] and [`Rejection::ScopeMissing`] as at a check;
    /// [`Rejection::Unavailable`] where the key now acts for another user, tenant or device: it may be as good as before,
    /// but has to be checked anew.
    ///
    /// ```
    /// use askalf_bridge_auth::*;
    ///
    /// fn still_holds(validator: &Validator, key: &AuthenticatedKey, row: Option<&KeyRecord>, now: UnixMillis) -> bool {
    ///     validator.recheck(key, row, now).is_ok()
    /// }
    /// ```
    pub fn recheck(
        &self,
        key: &AuthenticatedKey,
        record: Option<&KeyRecord>,
        now: UnixMillis,
    ) -> Result<(), Rejection> {
        let record = record
            .filter(|record| record.id == key.key_id && fingerprint(record) == key.fingerprint)
            .ok_or(Rejection::Unknown)?;
        standing(record, key.want, self.options.strict_scopes, now)?;
        let same_owner = record.tenant_id == key.tenant_id && record.user_id.as_deref() == Some(&key.user_id);
        // A key that was bound to no device and now is may have been bound to the very device of its session.
        let same_device = key.device_id.is_none() || record.device_id == key.device_id;
        if same_owner && same_device {
            Ok(())
        } else {
            Err(Rejection::Unavailable)
        }
    }
}

impl ValidatorOptions {
    /// The digest key, where it may be used for this token.
    fn digest_key_for(&self, token: &Token) -> Option<&DigestKey> {
        let known = match token.shape() {
            TokenShape::SkLive | TokenShape::SkTest | TokenShape::Fk => true,
            TokenShape::Other => false,
        };
        self.digest_key.as_ref().filter(|_| known)
    }
}
