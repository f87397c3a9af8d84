use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::seal::{KEY_BYTES, SealKey};

const NAME: &str = "argon2id";
/// 0x13, the version of RFC 9106.
const VERSION: u64 = 19;
/// Length of the salt: the 128 bits that RFC 9106, section 3.1, recommends.
const SALT_BYTES: usize = 16;

/// 64 MiB and 3 passes are the second recommended option of RFC 9106, section 4; in one lane, since it runs in one thread here.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// What a file may ask for at most: 128 MiB, and some 3 s on a small machine.
const MOST_MEMORY_KIB: u32 = 128 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 8;

/// How a key is derived from a passphrase: Argon2id (RFC 9106) with its salt and a cost within bounds. `_seal.kdf`.
///
/// A new one has 64 MiB, 3 passes, 1 lane. One that is read may have at most 128 MiB, 16 passes and 8 lanes, so that no file
/// makes a reader spend more.
#[derive(Clone, PartialEq, Eq)]
pub struct Kdf {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT_BYTES],
}

impl Kdf {
    /// The default cost and a new salt; `None` if the system has no random numbers to give.
    pub(crate) fn generate() -> Option<Self> {
        Self::generate_with(MEMORY_KIB, PASSES)
    }

    pub(crate) fn generate_with(memory_kib: u32, passes: u32) -> Option<Self> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).ok()?;
        Some(Self {
            memory_kib,
            passes,
            lanes: LANES,
            salt,
        })
    }

    pub(crate) fn parse(value: &Value) -> Result<Self, KdfFault> {
        let fields = value.as_object().ok_or(KdfFault::Misshapen)?;
        let name = fields
            .get("name")
            .and_then(Value::as_str)
            .ok_or(KdfFault::Misshapen)?;
        if name != NAME {
            return Err(KdfFault::Unknown);
        }
        let number = |name| {
            fields
                .get(name)
                .and_then(Value::as_u64)
                .ok_or(KdfFault::Misshapen)
        };
        if number("v")? != VERSION {
            return Err(KdfFault::Unknown);
        }
        let bounded = |name, most: u32| {
            let asked = number(name)?;
            u32::try_from(asked)
                .ok()
                .filter(|asked| (1..=most).contains(asked))
                .ok_or(KdfFault::OutOfBounds)
        };
        let kdf = Self {
            memory_kib: bounded("m", MOST_MEMORY_KIB)?,
            passes: bounded("t", MOST_PASSES)?,
            lanes: bounded("p", MOST_LANES)?,
            salt: fields
                .get("salt")
                .and_then(Value::as_str)
                .filter(|text| text.len() <= 2 * SALT_BYTES)
                .and_then(|text| STANDARD.decode(text).ok())
                .and_then(|salt| salt.try_into().ok())
                .ok_or(KdfFault::Misshapen)?,
        };
        kdf.params().map(|_| kdf)
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("name".into(), json!(NAME));
        fields.insert("v".into(), json!(VERSION));
        fields.insert("m".into(), json!(self.memory_kib));
        fields.insert("t".into(), json!(self.passes));
        fields.insert("p".into(), json!(self.lanes));
        fields.insert("salt".into(), json!(STANDARD.encode(self.salt)));
        Value::Object(fields)
    }

    /// All of it in one line of a fixed form, to be authenticated.
    pub(crate) fn line(&self) -> String {
        let Self {
            memory_kib,
            passes,
            lanes,
            salt,
        } = self;
        let salt = STANDARD.encode(salt);
        format!("{NAME} v={VERSION} m={memory_kib} t={passes} p={lanes} salt={salt}")
    }

    pub(crate) fn derive(&self, passphrase: &[u8]) -> Result<SealKey, KdfFault> {
        let params = self.params()?;
        let mut memory = Memory(Vec::new());
        let blocks = params.block_count();
        memory
            .0
            .try_reserve_exact(blocks)
            .map_err(|_| KdfFault::NoMemory)?;
        memory.0.resize(blocks, Block::default());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase,
                &self.salt,
                key.as_mut_slice(),
                memory.0.as_mut_slice(),
            )
            .map_err(|_| KdfFault::OutOfBounds)?;
        Ok(SealKey::from_bytes(&key))
    }

    fn params(&self) -> Result<Params, KdfFault> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES))
            .map_err(|_| KdfFault::OutOfBounds)
    }
}

impl fmt::Debug for Kdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Kdf({NAME}, {} KiB, {} passes, {} lanes)",
            self.memory_kib, self.passes, self.lanes
        )
    }
}

/// The key can be computed from what a derivation leaves in memory.
struct Memory(Vec<Block>);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Why a key cannot be derived as a file asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KdfFault {
    /// The parameters are missing or of the wrong type.
    #[error("how its key is derived is not recorded whole (`kdf`)")]
    Misshapen,
    /// It is no Argon2id of RFC 9106.
    #[error("its key is derived in a way this program does not know (`kdf`)")]
    Unknown,
    /// The parameters ask for more than is ever spent, or for less than Argon2 has.
    #[error("it asks for a derivation out of all bounds (`kdf`)")]
    OutOfBounds,
    /// This machine does not have the memory free.
    #[error("this machine does not have the memory free to derive its key")]
    NoMemory,
}

impl KdfFault {
    /// The stable name of this fault.
    pub fn id(self) -> &'static str {
        match self {
            Self::Misshapen => "kdf-misshapen",
            Self::Unknown => "kdf-unknown",
            Self::OutOfBounds => "kdf-out-of-bounds",
            Self::NoMemory => "kdf-no-memory",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// argon2-cffi, which binds the reference implementation:
    /// `hash_secret_raw(b"correct horse", bytes(range(16)), t, m, p, 32, Type.ID)`, and the key id of that by Python's hmac.
    #[test]
    fn the_key_is_that_of_the_reference_implementation() {
        for (memory_kib, passes, lanes, id) in [
            (64, 2, 1, "904718eb931a4823"),
            (64 * 1024, 3, 1, "66d52efbbe3f2df0"),
            (256, 1, 4, "2fc2abd1412ac63b"),
        ] {
            let kdf = Kdf {
                memory_kib,
                passes,
                lanes,
                salt: std::array::from_fn(|at| at.try_into().unwrap()),
            };
            assert_eq!(kdf.derive(b"correct horse").unwrap().id().to_string(), id);
        }
    }

    #[test]
    fn fields_are_read_as_written_and_bounded() {
        let kdf = Kdf::generate().unwrap();
        assert_eq!(Kdf::parse(&kdf.to_value()).unwrap(), kdf);
        assert_eq!(format!("{kdf:?}"), "Kdf(argon2id, 65536 KiB, 3 passes, 1 lanes)");
        let with = |name: &str, value: Value| {
            let mut fields = kdf.to_value();
            fields[name] = value;
            Kdf::parse(&fields)
        };
        for (name, value, fault) in [
            ("name", json!("argon2i"), KdfFault::Unknown),
            ("name", json!(5), KdfFault::Misshapen),
            ("v", json!(16), KdfFault::Unknown),
            ("m", json!(MOST_MEMORY_KIB + 1), KdfFault::OutOfBounds),
            ("m", json!(u64::from(u32::MAX) + 65), KdfFault::OutOfBounds),
            ("m", json!(7), KdfFault::OutOfBounds),
            ("m", json!(-1), KdfFault::Misshapen),
            ("t", json!(MOST_PASSES + 1), KdfFault::OutOfBounds),
            ("t", json!(0), KdfFault::OutOfBounds),
            ("p", json!(MOST_LANES + 1), KdfFault::OutOfBounds),
            ("p", json!(0), KdfFault::OutOfBounds),
            ("salt", json!("AAAA"), KdfFault::Misshapen),
            ("salt", json!("not base64"), KdfFault::Misshapen),
            ("salt", Value::Null, KdfFault::Misshapen),
        ] {
            assert_eq!(with(name, value.clone()), Err(fault), "{name} {value}");
        }
        assert_eq!(Kdf::parse(&json!("argon2id")), Err(KdfFault::Misshapen));
        assert!(with("m", json!(MOST_MEMORY_KIB)).is_ok());
    }

    #[test]
    fn each_passphrase_and_each_salt_has_its_own_key() {
        let kdf = Kdf::generate_with(64, 1).unwrap();
        let other = Kdf::generate_with(64, 1).unwrap();
        let id = |kdf: &Kdf, passphrase: &[u8]| kdf.derive(passphrase).unwrap().id();
        assert_eq!(id(&kdf, b"one"), id(&kdf, b"one"));
        assert_ne!(id(&kdf, b"one"), id(&kdf, b"two"));
        assert_ne!(id(&kdf, b"one"), id(&other, b"one"));
    }
}
