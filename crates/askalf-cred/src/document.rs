use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::MAX_CONFIG_VALUES;
use crate::config::AgentConfig;
use crate::kdf::{Kdf, KdfFault};
use crate::seal::{KeyId, SEAL_VERSION, SealMode};
use crate::unreadable::{NewerFormat, Unreadable};

const API_KEY: &str = "apiKey";
const ENCRYPTED: &str = "_encrypted";
const SEAL: &str = "_seal";

/// agent.json, taken apart and not yet unsealed.
pub(crate) struct Document {
    pub(crate) key: StoredKey,
    pub(crate) record: Option<SealRecord>,
    pub(crate) config: AgentConfig,
}

pub(crate) enum StoredKey {
    Sealed(String),
    Plain(Zeroizing<String>),
}

/// `_seal`: what the writer said about how it sealed. An older agent that rewrites the file leaves it stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealRecord {
    pub(crate) version: Option<u64>,
    pub(crate) mode: RecordedMode,
    pub(crate) key_id: Option<KeyId>,
    pub(crate) opaque: Option<String>,
    pub(crate) kdf: Option<Result<Kdf, KdfFault>>,
    /// In agent.json.next: which token it is to replace.
    pub(crate) replaces: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordedMode {
    Known(SealMode),
    Unknown(String),
    None,
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()) {
            return Err(Unreadable::ConfigEmpty);
        }
        if is_too_complex(bytes) {
            return Err(Unreadable::ConfigTooComplex);
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| syntax(&error))?;
        let Value::Object(mut fields) = value else {
            return Err(Unreadable::ConfigNotObject);
        };
        let key = fields.remove(API_KEY);
        let encrypted = fields.remove(ENCRYPTED);
        let record = fields
            .remove(SEAL)
            .as_ref()
            .and_then(Value::as_object)
            .map(SealRecord::parse);
        let key = stored_key(key, encrypted);
        if let Some(version) = record
            .as_ref()
            .and_then(|record| record.version)
            .filter(|v| *v > SEAL_VERSION)
        {
            return Err(Unreadable::NewerVersion(NewerFormat::Version(version)));
        }
        Ok(Self {
            key: key?,
            record,
            config: AgentConfig::from_fields(fields),
        })
    }
}

/// Whether JSON holds more values than are ever read. A value of a few bytes can take hundreds in memory: with this bound no file
/// makes a reader allocate 1 MiB.
pub(crate) fn is_too_complex(json: &[u8]) -> bool {
    json.iter().filter(|byte| b"{[,".contains(byte)).count() > MAX_CONFIG_VALUES
}

/// Takes the key's text whatever the outcome, so that it is wiped.
fn stored_key(key: Option<Value>, encrypted: Option<Value>) -> Result<StoredKey, Unreadable> {
    let text = match key {
        Some(Value::String(text)) => Zeroizing::new(text),
        Some(Value::Null) | None => return Err(Unreadable::NoKey),
        Some(_) => return Err(Unreadable::ConfigWrongType { field: API_KEY }),
    };
    if text.is_empty() {
        return Err(Unreadable::NoKey);
    }
    match encrypted {
        Some(Value::Bool(true)) => Ok(StoredKey::Sealed(text.to_string())),
        Some(Value::Bool(false) | Value::Null) | None => Ok(StoredKey::Plain(text)),
        Some(_) => Err(Unreadable::ConfigWrongType { field: ENCRYPTED }),
    }
}

fn syntax(error: &serde_json::Error) -> Unreadable {
    if error.is_eof() {
        Unreadable::ConfigTorn { line: error.line() }
    } else {
        Unreadable::ConfigNotJson {
            line: error.line(),
            column: error.column(),
        }
    }
}

impl SealRecord {
    fn parse(fields: &Map<String, Value>) -> Self {
        let text = |name| fields.get(name).and_then(Value::as_str);
        Self {
            version: fields.get("version").and_then(Value::as_u64),
            mode: match text("mode") {
                None => RecordedMode::None,
                Some(name) => match SealMode::parse(name) {
                    Some(mode) => RecordedMode::Known(mode),
                    None => RecordedMode::Unknown(presentable(name)),
                },
            },
            key_id: text("keyId").and_then(KeyId::parse),
            opaque: text("opaque").map(str::to_owned),
            kdf: fields.get("kdf").map(Kdf::parse),
            replaces: text("replaces").map(str::to_owned),
        }
    }

    /// The record of a file that is written now.
    pub(crate) fn new(mode: SealMode, key_id: Option<KeyId>) -> Self {
        Self {
            version: Some(SEAL_VERSION),
            mode: RecordedMode::Known(mode),
            key_id,
            opaque: None,
            kdf: None,
            replaces: None,
        }
    }

    fn to_value(&self) -> Value {
        let mut fields = Map::new();
        if let Some(version) = self.version {
            fields.insert("version".into(), json!(version));
        }
        if let RecordedMode::Known(mode) = &self.mode {
            fields.insert("mode".into(), json!(mode.as_str()));
        }
        if let Some(key_id) = self.key_id {
            fields.insert("keyId".into(), json!(key_id.to_string()));
        }
        if let Some(opaque) = &self.opaque {
            fields.insert("opaque".into(), json!(opaque));
        }
        if let Some(Ok(kdf)) = &self.kdf {
            fields.insert("kdf".into(), kdf.to_value());
        }
        if let Some(replaces) = &self.replaces {
            fields.insert("replaces".into(), json!(replaces));
        }
        Value::Object(fields)
    }
}

/// A name from the file that is fit for an error text.
fn presentable(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .take(32)
        .collect()
}

/// The bytes of agent.json. `api_key` is what stands in the file: sealed text, or the token itself.
pub(crate) fn encode(
    api_key: &str,
    record: &SealRecord,
    config: &AgentConfig,
    limit: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    let fields = config_fields(config);
    let written = Written {
        api_key,
        record,
        fields: &fields,
    };
    // All the room at once: a buffer that grew would leave unwiped copies of the key behind.
    let mut bytes = Zeroizing::new(vec![0; limit]);
    let mut unused = bytes.as_mut_slice();
    serde_json::to_writer_pretty(&mut unused, &written).ok()?;
    let left = unused.len();
    let len = limit.checked_sub(left)?;
    *bytes.get_mut(len)? = b'\n';
    bytes.truncate(len + 1);
    Some(bytes)
}

/// Whether a config that was read is the one that was written, which may have held fields that are not the config's.
pub(crate) fn same_config(read: &AgentConfig, written: &AgentConfig) -> bool {
    config_fields(written) == read.to_fields()
}

fn config_fields(config: &AgentConfig) -> Map<String, Value> {
    let mut fields = config.to_fields();
    for name in [API_KEY, ENCRYPTED, SEAL] {
        fields.remove(name);
    }
    fields
}

/// Borrows the key's text, so that no type that owns a secret can be serialised.
struct Written<'a> {
    api_key: &'a str,
    record: &'a SealRecord,
    fields: &'a Map<String, Value>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(API_KEY, self.api_key)?;
        for (name, value) in self.fields {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(
            ENCRYPTED,
            &(self.record.mode != RecordedMode::Known(SealMode::Plaintext)),
        )?;
        map.serialize_entry(SEAL, &self.record.to_value())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_not_fit_is_not_encoded() {
        let record = SealRecord::new(SealMode::Plaintext, None);
        let mut config = AgentConfig::default();
        let whole = encode("sk", &record, &config, 4096).unwrap();
        assert_eq!(
            encode("sk", &record, &config, whole.len()).as_deref(),
            Some(&*whole)
        );
        assert!(encode("sk", &record, &config, whole.len() - 1).is_none());
        config.extra.insert("big".into(), Value::String("x".repeat(5000)));
        assert!(encode("sk", &record, &config, 4096).is_none());
    }

    #[test]
    fn our_own_fields_cannot_be_smuggled_in_by_the_config() {
        let record = SealRecord::new(SealMode::Plaintext, None);
        let mut config = AgentConfig::default();
        config.extra.insert(API_KEY.into(), json!("other"));
        config.extra.insert(SEAL.into(), json!({"version": 9}));
        let bytes = encode("sk", &record, &config, 4096).unwrap();
        let text = str::from_utf8(&bytes).unwrap();
        assert_eq!(text.matches(API_KEY).count(), 1, "{text}");
        assert_eq!(text.matches(SEAL).count(), 1, "{text}");
        assert_eq!(
            Document::parse(&bytes).ok().and_then(|read| read.record),
            Some(record)
        );
    }

    #[test]
    fn a_config_is_the_same_but_for_fields_that_are_ours() {
        let mut written = AgentConfig::default();
        written.extra.insert(API_KEY.into(), json!("other"));
        let mut read = AgentConfig::default();
        assert!(same_config(&read, &written));
        read.url = Some("wss://other".into());
        assert!(!same_config(&read, &written));
    }

    #[test]
    fn an_unknown_mode_is_named_without_what_could_harm_a_terminal() {
        assert_eq!(presentable("tpm2\u{1b}[31m\n"), "tpm231m");
        assert_eq!(presentable(&"x".repeat(99)).len(), 32);
    }
}
