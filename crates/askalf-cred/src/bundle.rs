use askalf_bridge_auth::Token;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::EXIT_CONFIG;
use crate::config::AgentConfig;
use crate::document::is_too_complex;
use crate::kdf::{Kdf, KdfFault};
use crate::passphrase::Passphrase;
use crate::seal::Blob;

/// Largest bundle that is read or written, in bytes: an agent.json of the largest size, in base64.
pub const MAX_BUNDLE_BYTES: usize = 128 * 1024;

/// The version of the bundle that is written here. A higher one is refused.
pub const BUNDLE_VERSION: u64 = 1;

const FORMAT: &str = "askalf-bundle";
/// Longest device id: `dev_` and 26 characters, with room for another issuer's.
const MAX_DEVICE_ID_BYTES: usize = 128;

/// A device to move to other hardware: its token, its config and its id at the bridge.
///
/// ```
/// # use askalf_bridge_auth::Token;
/// # use askalf_cred::{AgentConfig, Bundle, BundleError, Passphrase, export, import};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bundle = Bundle {
///     token: Token::parse("sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV")?,
///     config: AgentConfig { url: Some("wss://bridge.example".into()), ..AgentConfig::default() },
///     device_id: Some("dev_01JC9Z3V5T7W8X9Y0Z1A2B3C4D".into()),
/// };
/// let file = export(&bundle, &Passphrase::parse("correct horse battery staple")?)?;
/// let moved = import(&file, &Passphrase::parse("correct horse battery staple")?)?;
/// assert_eq!(moved.token.expose_secret(), bundle.token.expose_secret());
/// assert_eq!((moved.config, moved.device_id), (bundle.config, bundle.device_id));
/// let wrong = import(&file, &Passphrase::parse("correct horse")?).unwrap_err();
/// assert_eq!(wrong, BundleError::DoesNotUnseal);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The key for the bridge.
    pub token: Token,
    /// The fields of agent.json that are not secret.
    pub config: AgentConfig,
    /// The id that the bridge knows the device by, such as `dev_...`; `None` if it never registered.
    pub device_id: Option<String>,
}

/// Seals a bundle under a passphrase, as one line of JSON to be written to a file of its owner's alone. Costs one derivation:
/// 64 MiB and a good part of a second.
///
/// # Errors
/// [`BundleError`] if it would be too large, or if the system has no memory or no random numbers to give.
pub fn export(bundle: &Bundle, passphrase: &Passphrase) -> Result<Vec<u8>, BundleError> {
    let kdf = passphrase.new_kdf().ok_or(BundleError::Random)?;
    let config = Value::Object(bundle.config.to_fields());
    let content = Content {
        token: bundle.token.expose_secret(),
        config: &config,
        device_id: bundle.device_id.as_deref(),
    };
    // All the room at once: a buffer that grew would leave unwiped copies of the token behind.
    let mut plain = Zeroizing::new(vec![0; MAX_BUNDLE_BYTES]);
    let mut unused = plain.as_mut_slice();
    serde_json::to_writer(&mut unused, &content).map_err(|_| BundleError::TooLarge)?;
    let left = unused.len();
    plain.truncate(MAX_BUNDLE_BYTES - left);

    let kdf_fields = kdf.to_value();
    let key = passphrase.derive(&kdf).map_err(BundleError::Kdf)?;
    let sealed = key
        .seal_with(&plain, &header(BUNDLE_VERSION, &kdf))
        .ok_or(BundleError::Random)?;
    let mut file = serde_json::to_vec(&File {
        format: FORMAT,
        version: BUNDLE_VERSION,
        kdf: &kdf_fields,
        sealed: &sealed,
    })
    .map_err(|_| BundleError::TooLarge)?;
    file.push(b'\n');
    if file.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge);
    }
    Ok(file)
}

/// Unseals a bundle. Nothing is saved: prove the token, then save it as any other.
///
/// # Errors
/// [`BundleError`] says what is wrong with the file or the passphrase.
pub fn import(file: &[u8], passphrase: &Passphrase) -> Result<Bundle, BundleError> {
    if file.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge);
    }
    if is_too_complex(file) {
        return Err(BundleError::NotABundle);
    }
    let value: Value = serde_json::from_slice(file).map_err(|_| BundleError::NotABundle)?;
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(BundleError::NotABundle);
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(BUNDLE_VERSION) => {}
        Some(version) if version > BUNDLE_VERSION => return Err(BundleError::NewerVersion(version)),
        _ => return Err(BundleError::NotABundle),
    }
    let kdf = value.get("kdf").ok_or(BundleError::Kdf(KdfFault::Misshapen))?;
    let kdf = Kdf::parse(kdf).map_err(BundleError::Kdf)?;
    let blob = value
        .get("sealed")
        .and_then(Value::as_str)
        .and_then(Blob::decode)
        .ok_or(BundleError::NotABundle)?;
    let key = passphrase.derive(&kdf).map_err(BundleError::Kdf)?;
    let plain = key
        .unseal_with(&blob, &header(BUNDLE_VERSION, &kdf))
        .ok_or(BundleError::DoesNotUnseal)?;
    content(&plain).ok_or(BundleError::Content)
}

fn content(plain: &[u8]) -> Option<Bundle> {
    if is_too_complex(plain) {
        return None;
    }
    let Value::Object(mut fields) = serde_json::from_slice(plain).ok()? else {
        return None;
    };
    // Taken out first, so that it is wiped whatever else the bundle holds.
    let Some(Value::String(token)) = fields.remove("token") else {
        return None;
    };
    let token = Token::parse(token).ok()?;
    let config: Map<String, Value> = match fields.remove("config") {
        Some(Value::Object(config)) => config,
        _ => return None,
    };
    let device_id = match fields.remove("deviceId") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if is_id(&id) => Some(id),
        Some(_) => return None,
    };
    Some(Bundle {
        token,
        config: AgentConfig::from_fields(config),
        device_id,
    })
}

fn is_id(id: &str) -> bool {
    (1..=MAX_DEVICE_ID_BYTES).contains(&id.len())
        && id
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

/// The associated data: what stands unsealed in the file, so that none of it can be changed.
fn header(version: u64, kdf: &Kdf) -> Vec<u8> {
    format!("{FORMAT} v{version} {}", kdf.line()).into_bytes()
}

/// Borrows the token, so that no type that owns a secret can be serialised.
#[derive(Serialize)]
struct Content<'a> {
    token: &'a str,
    config: &'a Value,
    #[serde(rename = "deviceId", skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
}

#[derive(Serialize)]
struct File<'a> {
    format: &'a str,
    version: u64,
    kdf: &'a Value,
    sealed: &'a str,
}

/// Why a bundle cannot be made or opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file is something else, or cut off.
    #[error("this is not a whole bundle of `askalf-agent cred export`")]
    NotABundle,
    /// A newer program wrote it.
    #[error("the bundle is version {0}, this program knows version {BUNDLE_VERSION}")]
    NewerVersion(u64),
    /// The passphrase is wrong, or the file is damaged.
    #[error("the bundle does not unseal: the passphrase is wrong, or the file is damaged")]
    DoesNotUnseal,
    /// It unseals, and holds no device.
    #[error("the bundle unseals, but what is in it is not a device")]
    Content,
    /// It is larger than any bundle.
    #[error("the bundle is larger than {MAX_BUNDLE_BYTES} bytes")]
    TooLarge,
    /// The key cannot be derived as the bundle asks.
    #[error("the bundle cannot be opened: {0}")]
    Kdf(KdfFault),
    /// The system's random numbers failed.
    #[error("the system gives no random numbers: nothing can be sealed")]
    Random,
}

impl BundleError {
    /// The stable name of this error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NotABundle => "bundle-not-a-bundle",
            Self::NewerVersion(_) => "bundle-newer-version",
            Self::DoesNotUnseal => "bundle-does-not-unseal",
            Self::Content => "bundle-content",
            Self::TooLarge => "bundle-too-large",
            Self::Kdf(fault) => fault.id(),
            Self::Random => "bundle-no-random",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotABundle | Self::TooLarge | Self::Content => {
                "check that the right file was given and copied whole, or export the device again"
            }
            Self::NewerVersion(_) | Self::Kdf(KdfFault::Unknown) => "upgrade askalf-agent on this machine",
            Self::DoesNotUnseal => {
                "try the passphrase again; if it is lost, run `askalf-agent pair` on the new hardware instead"
            }
            Self::Kdf(KdfFault::NoMemory) => "free some memory, then run the command again",
            Self::Kdf(KdfFault::Misshapen | KdfFault::OutOfBounds) => "export the device again",
            Self::Random => "run the command again once the system has started up fully",
        }
    }

    /// The exit code of a program that ends for it: 78 for a file that serves no more, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotABundle | Self::NewerVersion(_) | Self::Content => EXIT_CONFIG,
            Self::DoesNotUnseal | Self::TooLarge | Self::Kdf(_) | Self::Random => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV";

    fn bundle() -> Bundle {
        let mut config = AgentConfig {
            url: Some("wss://b".into()),
            ..AgentConfig::default()
        };
        config.extra.insert("theirs".into(), json!([1, 2.5, null]));
        Bundle {
            token: Token::parse(TOKEN).unwrap(),
            config,
            device_id: Some("dev_1".into()),
        }
    }

    fn passphrase() -> Passphrase {
        Passphrase::cheap("correct horse")
    }

    #[test]
    fn a_bundle_shows_nothing_and_comes_back_whole() {
        let file = export(&bundle(), &passphrase()).unwrap();
        let text = str::from_utf8(&file).unwrap();
        for hidden in [TOKEN, "wss://b", "theirs", "dev_1"] {
            assert!(!text.contains(hidden), "{hidden}");
        }
        let back = import(&file, &passphrase()).unwrap();
        assert_eq!(back.token.expose_secret(), TOKEN);
        assert_eq!(back.config, bundle().config);
        assert_eq!(back.device_id, bundle().device_id);
        assert!(!format!("{back:?}").contains(TOKEN));
    }

    /// Made by argon2-cffi and node:crypto, as docs/formats.md says.
    /// What is in it fits, but not what comes of it in base64.
    #[test]
    fn a_bundle_that_no_import_would_take_is_not_made() {
        let mut large = bundle();
        let note = Value::String("x".repeat(MAX_BUNDLE_BYTES * 7 / 8));
        large.config.extra.insert("note".into(), note);
        assert_eq!(export(&large, &passphrase()).unwrap_err(), BundleError::TooLarge);
    }

    #[test]
    fn a_bundle_of_another_program_is_read() {
        let file = include_bytes!("../tests/data/bundle-v1.json");
        let bundle = import(file, &Passphrase::cheap("correct horse")).unwrap();
        assert_eq!(bundle.token.expose_secret(), TOKEN);
        assert_eq!(bundle.config.url.as_deref(), Some("wss://bridge.example"));
        assert_eq!(
            bundle.device_id.as_deref(),
            Some("dev_01JC9Z3V5T7W8X9Y0Z1A2B3C4D")
        );
    }

    #[test]
    fn each_changed_byte_is_noticed() {
        let file = export(&bundle(), &passphrase()).unwrap();
        for at in 0..file.len() - 1 {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(import(&changed, &passphrase()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_a_person_reads() {
        let file = export(&bundle(), &passphrase()).unwrap();
        let changed = |name: &str, value: Value| {
            let mut fields: Value = serde_json::from_slice(&file).unwrap();
            fields[name] = value;
            import(fields.to_string().as_bytes(), &passphrase()).unwrap_err()
        };
        for (error, id, exit_code, text) in [
            (
                import(&file[..40], &passphrase()).unwrap_err(),
                "bundle-not-a-bundle",
                78,
                "this is not a whole bundle of `askalf-agent cred export`",
            ),
            (
                changed("format", json!("other")),
                "bundle-not-a-bundle",
                78,
                "this is not a whole bundle of `askalf-agent cred export`",
            ),
            (
                changed("version", json!(0)),
                "bundle-not-a-bundle",
                78,
                "this is not a whole bundle of `askalf-agent cred export`",
            ),
            (
                import(&vec![b' '; MAX_BUNDLE_BYTES], &passphrase()).unwrap_err(),
                "bundle-not-a-bundle",
                78,
                "this is not a whole bundle of `askalf-agent cred export`",
            ),
            (
                changed("version", json!(2)),
                "bundle-newer-version",
                78,
                "the bundle is version 2, this program knows version 1",
            ),
            (
                import(&file, &Passphrase::cheap("wrong")).unwrap_err(),
                "bundle-does-not-unseal",
                1,
                "the bundle does not unseal: the passphrase is wrong, or the file is damaged",
            ),
            (
                changed("kdf", Value::Null),
                "kdf-misshapen",
                1,
                "the bundle cannot be opened: how its key is derived is not recorded whole (`kdf`)",
            ),
            (
                import(&vec![b' '; MAX_BUNDLE_BYTES + 1], &passphrase()).unwrap_err(),
                "bundle-too-large",
                1,
                "the bundle is larger than 131072 bytes",
            ),
        ] {
            assert_eq!(
                (error.id(), error.exit_code(), error.to_string().as_str()),
                (id, exit_code, text)
            );
            let hint = match id {
                "bundle-newer-version" => "upgrade askalf-agent",
                "bundle-does-not-unseal" => "try the passphrase again",
                "kdf-misshapen" => "export the device again",
                _ => "the right file",
            };
            assert!(error.hint().contains(hint), "{id}: {}", error.hint());
        }
        let mut kdf = serde_json::from_slice::<Value>(&file).unwrap()["kdf"].clone();
        kdf["m"] = json!(4_000_000);
        assert_eq!(changed("kdf", kdf).id(), "kdf-out-of-bounds");
    }

    #[test]
    fn what_unseals_and_is_no_device_is_refused() {
        for plain in [
            "[]".to_owned(),
            json!({"config": {}}).to_string(),
            json!({"token": "two words", "config": {}}).to_string(),
            json!({"token": TOKEN}).to_string(),
            json!({"token": TOKEN, "config": {}, "deviceId": "../x"}).to_string(),
            json!({"token": TOKEN, "config": {}, "deviceId": ""}).to_string(),
        ] {
            assert!(content(plain.as_bytes()).is_none(), "{plain}");
        }
        assert!(content(json!({"token": TOKEN, "config": {}}).to_string().as_bytes()).is_some());
    }
}
