#![doc = include_str!("../README.md")]

mod bridge_secret;
mod derivation;
mod key_digest;
mod key_hash;
mod key_prefix;
mod keyed;
mod mint;
mod pair_code;
mod pair_nonce;
mod record;
mod rejection;
mod scope;
mod token;
mod unix_millis;
mod validator;

pub use bridge_secret::{BridgeSecret, PairKeys};
pub use key_digest::{DigestKey, KeyDigest, LookupDigest};
pub use key_hash::{KeyHash, KeyHashError, PBKDF2_ROUNDS, Salt};
pub use key_prefix::{KEY_PREVIEW_MAX_CHARS, KeyPrefix, KeyPrefixError, key_preview};
pub use mint::{MintError, MintedKey, mint_key};
pub use pair_code::{PairCode, PairCodeError};
pub use pair_nonce::{PairNonce, PairNonceError};
pub use record::{KeyRecord, KeyStatus, UserStatus};
pub use rejection::Rejection;
pub use scope::{Scope, Scopes};
pub use token::{Token, TokenError, TokenShape};
pub use unix_millis::UnixMillis;
pub use validator::{
    Access, AuthenticatedKey, DerivationWanted, Lane, Lookup, LookupWanted, MAX_INDEXED_CANDIDATES, Refused,
    Step, Validator, ValidatorOptions,
};
