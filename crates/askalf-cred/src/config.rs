use std::fmt;

use serde_json::{Map, Number, Value};

pub(crate) const URL: &str = "url";
pub(crate) const DEVICE_NAME: &str = "deviceName";
pub(crate) const MAX_CONCURRENT: &str = "maxConcurrent";
pub(crate) const EXECUTION_TIMEOUT_MS: &str = "executionTimeoutMs";
pub(crate) const INSECURE: &str = "insecure";
pub(crate) const CA_FILE: &str = "caFile";
pub(crate) const TLS_PINS: &str = "tlsPins";
pub(crate) const CF_ACCESS_ID: &str = "cfAccessId";
pub(crate) const CF_ACCESS_SECRET_FILE: &str = "cfAccessSecretFile";

const KNOWN: [&str; 9] = [
    URL,
    DEVICE_NAME,
    MAX_CONCURRENT,
    EXECUTION_TIMEOUT_MS,
    INSECURE,
    CA_FILE,
    TLS_PINS,
    CF_ACCESS_ID,
    CF_ACCESS_SECRET_FILE,
];

/// The fields of agent.json that are not secret.
///
/// `Debug` shows which fields are set, not what they hold: a URL can carry a password, and fields of another program
/// anything.
#[derive(Clone, Default, PartialEq)]
pub struct AgentConfig {
    /// `url`: the bridge.
    pub url: Option<String>,
    /// `deviceName`: what the bridge shows for this device.
    pub device_name: Option<String>,
    /// `maxConcurrent`: how many tasks run at once.
    pub max_concurrent: Option<u32>,
    /// `executionTimeoutMs`: the longest a task may run, in milliseconds.
    pub execution_timeout_ms: Option<u64>,
    /// `insecure`: plain `ws://` is allowed to hosts other than this one.
    pub insecure: bool,
    /// `caFile`: a PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<String>,
    /// `tlsPins`: fingerprints of which the bridge's key must have one; none: any key will do.
    pub tls_pins: Vec<String>,
    /// `cfAccessId`: the id of the service token of a Cloudflare Access gateway in front of the bridge.
    pub cf_access_id: Option<String>,
    /// `cfAccessSecretFile`: a file that holds that token's secret.
    pub cf_access_secret_file: Option<String>,
    /// Every other field, kept as it is when the file is written again. A field named above stands here where its value has
    /// another type than it must ([`AgentConfig::misread`]); what the typed field holds then wins on the next write.
    pub extra: Map<String, Value>,
}

impl AgentConfig {
    /// The known fields that were in the file with a value of the wrong type, and count as not set.
    pub fn misread(&self) -> impl Iterator<Item = &'static str> {
        KNOWN.into_iter().filter(|name| self.extra.contains_key(*name))
    }

    /// Takes what it knows out of `fields`; the rest becomes `extra`.
    pub(crate) fn from_fields(mut fields: Map<String, Value>) -> Self {
        Self {
            url: take(&mut fields, URL, text),
            device_name: take(&mut fields, DEVICE_NAME, text),
            max_concurrent: take(&mut fields, MAX_CONCURRENT, |value| {
                whole(value).and_then(|n| u32::try_from(n).ok())
            }),
            execution_timeout_ms: take(&mut fields, EXECUTION_TIMEOUT_MS, whole),
            insecure: take(&mut fields, INSECURE, Value::as_bool).unwrap_or(false),
            ca_file: take(&mut fields, CA_FILE, text),
            tls_pins: take(&mut fields, TLS_PINS, texts).unwrap_or_default(),
            cf_access_id: take(&mut fields, CF_ACCESS_ID, text),
            cf_access_secret_file: take(&mut fields, CF_ACCESS_SECRET_FILE, text),
            extra: fields,
        }
    }

    pub(crate) fn to_fields(&self) -> Map<String, Value> {
        let mut fields = self.extra.clone();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.into(), value);
            }
        };
        put(URL, self.url.clone().map(Value::String));
        put(DEVICE_NAME, self.device_name.clone().map(Value::String));
        put(MAX_CONCURRENT, self.max_concurrent.map(Value::from));
        put(EXECUTION_TIMEOUT_MS, self.execution_timeout_ms.map(Value::from));
        put(INSECURE, self.insecure.then_some(Value::Bool(true)));
        put(CA_FILE, self.ca_file.clone().map(Value::String));
        put(
            TLS_PINS,
            (!self.tls_pins.is_empty()).then(|| Value::from(self.tls_pins.clone())),
        );
        put(CF_ACCESS_ID, self.cf_access_id.clone().map(Value::String));
        put(
            CF_ACCESS_SECRET_FILE,
            self.cf_access_secret_file.clone().map(Value::String),
        );
        fields
    }
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("url", &self.url.as_ref().map(|_| "set"))
            .field("device_name", &self.device_name)
            .field("max_concurrent", &self.max_concurrent)
            .field("execution_timeout_ms", &self.execution_timeout_ms)
            .field("insecure", &self.insecure)
            .field("ca_file", &self.ca_file)
            .field("tls_pins", &self.tls_pins)
            .field("cf_access_id", &self.cf_access_id.as_ref().map(|_| "set"))
            .field("cf_access_secret_file", &self.cf_access_secret_file)
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Removes `name` if `read` accepts its value. `null` is removed too: it means "not set" in every generation.
fn take<T>(fields: &mut Map<String, Value>, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let value = fields.get(name)?;
    let taken = read(value);
    if taken.is_some() || value.is_null() {
        fields.remove(name);
    }
    taken
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

/// A whole number of JavaScript, which may be spelled `2.0` or `6e5`.
fn whole(value: &Value) -> Option<u64> {
    let number = value.as_number()?;
    number.as_u64().or_else(|| whole_float(number))
}

fn whole_float(number: &Number) -> Option<u64> {
    /// 2^53: up to here a double holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within 0..=2^53")]
    (float.fract() == 0.0 && (0.0..=EXACT).contains(&float)).then_some(float as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_field_survives_reading_and_writing() {
        let original = fields(json!({
            "url": "wss://bridge.example", "deviceName": "dev", "maxConcurrent": 2,
            "executionTimeoutMs": 600_000, "insecure": true, "caFile": "/etc/ca.pem", "tlsPins": ["ab", "cd"],
            "cfAccessId": "id.access", "cfAccessSecretFile": "/etc/cf", "nested": {"a": [1, null]}, "installedAt": "2024"
        }));
        let config = AgentConfig::from_fields(original.clone());
        assert_eq!(config.url.as_deref(), Some("wss://bridge.example"));
        assert_eq!(config.device_name.as_deref(), Some("dev"));
        assert_eq!(config.max_concurrent, Some(2));
        assert_eq!(config.execution_timeout_ms, Some(600_000));
        assert!(config.insecure);
        assert_eq!(config.ca_file.as_deref(), Some("/etc/ca.pem"));
        assert_eq!(config.tls_pins, ["ab", "cd"]);
        assert_eq!(config.cf_access_id.as_deref(), Some("id.access"));
        assert_eq!(config.cf_access_secret_file.as_deref(), Some("/etc/cf"));
        assert_eq!(config.extra.keys().collect::<Vec<_>>(), ["installedAt", "nested"]);
        assert_eq!(config.to_fields(), original);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_kept_and_loses_to_a_new_one() {
        let original = fields(json!({
            "maxConcurrent": "two", "executionTimeoutMs": -1, "tlsPins": ["ab", 1], "url": null
        }));
        let mut config = AgentConfig::from_fields(original);
        assert_eq!(
            config.misread().collect::<Vec<_>>(),
            ["maxConcurrent", "executionTimeoutMs", "tlsPins"]
        );
        assert!(config.extra.remove("tlsPins").is_some() && config.tls_pins.is_empty());
        assert_eq!(config.max_concurrent, None);
        assert_eq!(
            Value::Object(config.to_fields()),
            json!({"maxConcurrent": "two", "executionTimeoutMs": -1})
        );
        config.max_concurrent = Some(3);
        assert_eq!(
            Value::Object(config.to_fields()),
            json!({"maxConcurrent": 3, "executionTimeoutMs": -1})
        );
    }

    #[test]
    fn javascript_spellings_of_whole_numbers_are_read() {
        let config =
            AgentConfig::from_fields(fields(json!({"maxConcurrent": 2.0, "executionTimeoutMs": 6e5})));
        assert_eq!(
            (config.max_concurrent, config.execution_timeout_ms),
            (Some(2), Some(600_000))
        );
        let config =
            AgentConfig::from_fields(fields(json!({"maxConcurrent": 2.5, "executionTimeoutMs": 1e300})));
        assert_eq!((config.max_concurrent, config.execution_timeout_ms), (None, None));
    }

    #[test]
    fn debug_shows_no_url_and_no_foreign_value() {
        let config =
            AgentConfig::from_fields(fields(json!({"url": "wss://u:hunter2@h", "token": "hunter3"})));
        let text = format!("{config:?}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(text.contains("token"), "{text}");
    }
}
