//! That no look-up reads a whole table, however many keys there are.

use std::collections::BTreeMap;

use askalf_bridge_auth::{DigestKey, KeyPrefix, Lookup, Token};
use askalf_bridge_core::stores::{DeviceStore, KeyStore, PairCodeStore};
use tokio_postgres::Client;

use super::database::Database;
use crate::suite::{ADMIN, HASH, NOW, device_of, facts, new_key, registered, used};

/// Enough that reading all of them is never the cheaper plan.
const FILL: &str = "
insert into users (id, tenant_id, email, email_normalized, password_hash)
  select 'user_' || n, 'acme', n || '@x.test', n || '@x.test', '' from generate_series(1, 20000) n;
insert into api_keys (id, tenant_id, user_id, name, key_hash, key_prefix)
  select 'fill_' || n, 'acme', 'user_' || (n % 20000 + 1), 'filler', md5(n::text), 'sk_live_' || lpad(to_hex(n), 4, '0')
  from generate_series(1, 50000) n;
insert into askalf_key_digests
  select id, 'another secret', sha256(id::bytea), sha256(id::bytea) from api_keys;
insert into askalf_key_devices select id, 'dev_' || id from api_keys;
insert into agent_devices (id, user_id, tenant_id, api_key_id, device_name)
  select 'dev_' || id, user_id, tenant_id, id, id from api_keys;
insert into askalf_pair_codes (id, code_mac, tenant_id, user_id, name, created_at, expires_at)
  select id, sha256(id::bytea), 'acme', 'ann', 'n', now(), now() from api_keys;
analyze;
";

async fn scans(client: &Client) -> BTreeMap<String, (i64, i64)> {
    let rows = client
        .query(
            "select relname::text, seq_scan, coalesce(idx_scan, 0) from pg_stat_user_tables",
            &[],
        )
        .await
        .unwrap();
    rows.iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect()
}

#[tokio::test]
async fn no_look_up_reads_a_whole_table() {
    let database = Database::seeded().await;
    let client = database.by_hand().await;
    client.batch_execute(FILL).await.unwrap();
    let store = database.open().await;
    let token = Token::parse("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG").unwrap();
    let mut key = new_key("ann", "key_1");
    key.prefix = KeyPrefix::of(&token);
    store.add_key(&ADMIN, key).await.unwrap();
    registered(&store, "ann", "key_2", "dev_1").await;
    let record = store.keys_now(&["key_1".to_owned()]).await.unwrap().remove(0);
    assert_eq!(record.key_hash, HASH);
    let secret = DigestKey::from_bytes([7; 32].into());
    store.keep_digests(&[secret.bind(&token, &record)]).await.unwrap();
    let by_digest = Lookup::ByDigest {
        digest_key_id: secret.id().to_owned(),
        digest: secret.digest(&token),
    };
    let by_prefix = Lookup::ByPrefix {
        prefix: KeyPrefix::of(&token),
    };
    let unknown = Lookup::ByPrefix {
        prefix: KeyPrefix::parse("sk_live_zzzz").unwrap(),
    };
    store.close().await;
    drop(store);
    // A connection that ends tells what it has counted.
    settle(&client).await;
    let before = scans(&client).await;

    let store = database.open().await;
    // The plan may change after the fifth time, when one for any value takes the place of one for each.
    for _ in 0..12 {
        assert_eq!(store.find_keys(&by_digest).await.unwrap()[0].id, "key_1");
        assert_eq!(store.find_keys(&by_prefix).await.unwrap()[0].id, "key_1");
        assert!(store.find_keys(&unknown).await.unwrap().is_empty());
        let ids: Vec<_> = (1..10).map(|number| format!("fill_{number}")).collect();
        assert_eq!(store.keys_now(&ids).await.unwrap().len(), 9);
        assert_eq!(store.all_keys(Some("fill_100"), 10).await.unwrap().len(), 10);
        store.count_uses(&[used("key_1", NOW)]).await.unwrap();
        store.keep_digests(&[secret.bind(&token, &record)]).await.unwrap();
        assert!(!store.has_pair_code(&[1; 32]).await.unwrap());
        store
            .reconnect_device(&device_of("ann", "key_2"), "dev_1", NOW)
            .await
            .unwrap();
        store.key(&ADMIN, "key_1").await.unwrap();
        store
            .register_device(&device_of("ann", "key_2"), facts("", "x"), NOW)
            .await
            .unwrap();
    }
    store.close().await;
    drop(store);
    settle(&client).await;
    let after = scans(&client).await;
    for table in [
        "api_keys",
        "users",
        "agent_devices",
        "askalf_key_digests",
        "askalf_key_devices",
        "askalf_pair_codes",
    ] {
        assert_eq!(after[table].0, before[table].0, "{table} was read as a whole");
        assert!(
            after[table].1 > before[table].1,
            "{table} was not read by an index"
        );
    }
}

/// Waits until no other connection is left.
async fn settle(client: &Client) {
    let sql = "select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and backend_type = 'client backend'";
    while !client.query(sql, &[]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}
