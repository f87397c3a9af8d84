//! Databases with many keys: filler rows have random hashes, which no token matches, and prefixes of their own.

use std::path::Path;

use anyhow::Result;
use askalf_bridge_auth::{KeyPrefix, MintedKey, Scopes, mint_key};
use askalf_bridge_core::stores::{NewKey, Principal, Store};
use rusqlite::params;

use crate::check::now;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A prefix that no other number has: the multiplier shares no factor with 62^4.
pub(crate) fn prefix(number: u64) -> String {
    const SPACE: u64 = 62 * 62 * 62 * 62;
    let mut value = number.wrapping_mul(7_919) % SPACE;
    let mut text = String::from("sk_live_");
    for _ in 0..4 {
        text.push(char::from(LETTERS[(value % 62) as usize]));
        value /= 62;
    }
    text
}

/// A `key_hash` of pseudo-random digits (splitmix64).
pub(crate) fn hash(number: u64) -> String {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016x}", value ^ (value >> 31))
    };
    let mut digits: String = (0..6).map(|_| word()).collect();
    digits.insert(32, '.');
    digits
}

/// Adds rows to an SQLite database that a store has made before.
pub(crate) fn sqlite(path: &Path, from: u64, to: u64) -> Result<()> {
    let mut connection = rusqlite::Connection::open(path)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare(
            "insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix, scopes)
             values (?, 'default', 'default', 'filler', ?, ?, '[\"device\"]')",
        )?;
        for number in from..to {
            insert.execute(params![format!("filler_{number}"), hash(number), prefix(number)])?;
        }
    }
    transaction.commit()?;
    connection.execute_batch("analyze")?;
    Ok(())
}

/// A real key of the store. Its prefix may collide with a filler's, as a mint's may: it is drawn again.
pub(crate) async fn real_key(store: &dyn Store, user: &str, number: u64) -> Result<MintedKey> {
    loop {
        let minted = mint_key()?;
        let key = NewKey {
            id: format!("real_{number}"),
            user_id: Some(user.to_owned()),
            name: "real".to_owned(),
            hash: minted.hash.clone(),
            prefix: minted.prefix.clone(),
            preview: minted.preview.clone(),
            scopes: Scopes::parse(["device"]),
            device_id: None,
            expires_at: None,
            created_at: now(),
        };
        match store.add_key(&Principal::LocalAdmin { uid: 0 }, key).await {
            Ok(_) => return Ok(minted),
            Err(askalf_bridge_core::stores::StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A token with the prefix of another and a wrong rest.
pub(crate) fn wrong_rest(prefix: &KeyPrefix) -> String {
    format!("{}{}", prefix.as_str(), "0123456789abcdefghijklmnopqr")
}
