use crate::{KeyDigest, Rejection};

/// Why a check did not let a token in, and which key it matched: the first is for the bearer, the rest for the bridge
/// alone.
///
/// ```
/// use askalf_bridge_auth::{Access, Rejection, Step, Validator};
///
/// let Step::Done(Err(refused)) = Validator::default().check(None, Access::Socket) else { unreachable!() };
/// assert_eq!((refused.rejection(), refused.key_id()), (&Rejection::Missing, None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    rejection: Rejection,
    key_id: Option<String>,
    digest_to_keep: Option<Box<KeyDigest>>,
}

impl Refused {
    pub(super) fn of_row(rejection: Rejection, key_id: String, digest_to_keep: Option<KeyDigest>) -> Self {
        Self {
            rejection,
            key_id: Some(key_id),
            digest_to_keep: digest_to_keep.map(Box::new),
        }
    }

    /// The reason.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }

    /// The reason alone.
    #[must_use]
    pub fn into_rejection(self) -> Rejection {
        self.rejection
    }

    /// The key that the token matched, where it matched one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The digest to store: with it the next check of a key that is refused costs no derivation either.
    #[must_use]
    pub fn digest_to_keep(&self) -> Option<&KeyDigest> {
        self.digest_to_keep.as_deref()
    }

    /// The better of two: that which needs the least to be put right. So what is told does not hang on the order in which
    /// the rows of one key were checked.
    pub(super) fn or_better(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    fn rank(&self) -> u8 {
        match self.rejection {
            Rejection::ScopeMissing => 0,
            Rejection::UserInactive => 1,
            Rejection::Expired => 2,
            Rejection::Revoked => 3,
            Rejection::Missing
            | Rejection::Malformed
            | Rejection::Unknown
            | Rejection::Unavailable
            | Rejection::Overloaded { .. } => 4,
        }
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            key_id: None,
            digest_to_keep: None,
        }
    }
}
