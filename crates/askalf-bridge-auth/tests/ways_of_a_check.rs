//! The three look-ups of a check, over rows in memory: by digest, by prefix, and rows whose prefix is malformed.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use std::sync::LazyLock;
use std::time::Duration;

use askalf_bridge_auth::{
    Access, AuthenticatedKey, BridgeSecret, DigestKey, KeyDigest, KeyHash, KeyRecord, KeyStatus, Lane,
    Lookup, Refused, Rejection, Salt, Scopes, Step, Token, UnixMillis, UserStatus, Validator,
    ValidatorOptions,
};
use proptest::prelude::*;

const TOKEN: &str = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
const PREFIX: &str = "sk_live_NdlP";
const NOW: UnixMillis = UnixMillis(1_000);

static MATCHING: LazyLock<String> = LazyLock::new(|| hash_of(TOKEN));
static FOREIGN: LazyLock<String> = LazyLock::new(|| hash_of("sk_live_NdlPanotherkeyofthesameprefix000"));

fn hash_of(token: &str) -> String {
    KeyHash::derive(&Token::parse(token).unwrap(), Salt::from_bytes([1; 16])).to_string()
}

fn digest_key() -> DigestKey {
    BridgeSecret::from_bytes([7; 32].into()).digest_key()
}

fn row(id: &str, key_hash: &str, key_prefix: &str) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        tenant_id: "tenant_1".to_owned(),
        user_id: Some("user_1".to_owned()),
        name: "bench".to_owned(),
        key_hash: key_hash.to_owned(),
        key_prefix: key_prefix.to_owned(),
        scopes: Scopes::parse(["device"]),
        status: KeyStatus::Active,
        expires_at: None,
        user_status: Some(UserStatus::Active),
        device_id: None,
        digest_binding: None,
    }
}

/// A store as a bridge has it, and what was asked of it.
#[derive(Default)]
struct Rows {
    rows: Vec<KeyRecord>,
    digests: Vec<KeyDigest>,
    lookups: Vec<&'static str>,
    lanes: Vec<Lane>,
    /// Mends every malformed prefix after this look-up.
    mended_after: Option<usize>,
}

impl Rows {
    fn of(rows: impl IntoIterator<Item = KeyRecord>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
            ..Self::default()
        }
    }

    fn find(&mut self, lookup: &Lookup) -> Vec<KeyRecord> {
        let (name, found) = match lookup {
            Lookup::ByDigest {
                digest_key_id,
                digest,
            } => {
                let kept = self
                    .digests
                    .iter()
                    .find(|kept| kept.digest_key_id == *digest_key_id && kept.digest == *digest);
                let of_digest = |kept: &KeyDigest| {
                    let row = self.rows.iter().find(|row| row.id == kept.key_id)?;
                    Some(KeyRecord {
                        digest_binding: Some(kept.binding),
                        ..row.clone()
                    })
                };
                ("digest", kept.and_then(of_digest).into_iter().collect())
            }
            Lookup::ByPrefix { prefix } => ("prefix", self.filtered(|row| row.key_prefix == prefix.as_str())),
            Lookup::MalformedPrefix => (
                "malformed",
                self.filtered(|row| row.key_prefix.chars().count() != 12),
            ),
            other => panic!("an unknown look-up: {other:?}"),
        };
        self.lookups.push(name);
        if self.mended_after == Some(self.lookups.len()) {
            let malformed = self.rows.iter_mut().filter(|row| row.key_prefix.len() != 12);
            malformed.for_each(|row| row.key_prefix = PREFIX.to_owned());
        }
        found
    }

    fn filtered(&self, wanted: impl Fn(&KeyRecord) -> bool) -> Vec<KeyRecord> {
        self.rows.iter().filter(|row| wanted(row)).cloned().collect()
    }

    fn check(&mut self, digest_key: Option<DigestKey>, token: &str) -> Result<AuthenticatedKey, Refused> {
        self.lookups.clear();
        self.lanes.clear();
        let options = ValidatorOptions {
            digest_key,
            max_candidates: 2,
            ..ValidatorOptions::default()
        };
        let mut step = Validator::new(options).check(Some(token), Access::Socket);
        loop {
            step = match step {
                Step::Lookup(wanted) => {
                    let found = self.find(wanted.lookup());
                    wanted.found(found, NOW)
                }
                Step::Derive(wanted) => {
                    self.lanes.push(wanted.lane());
                    assert_eq!(wanted.prefix(), Token::parse(token).unwrap().prefix());
                    wanted.derive(NOW)
                }
                Step::Done(outcome) => return outcome,
            };
        }
    }

    fn keep(&mut self, digest: &KeyDigest) {
        self.digests.retain(|kept| kept.key_id != digest.key_id);
        self.digests.push(digest.clone());
    }
}

#[test]
fn a_returning_token_costs_one_look_up_and_no_derivation() {
    let mut rows = Rows::of([row("key_1", &MATCHING, PREFIX)]);
    let first = rows.check(Some(digest_key()), TOKEN).unwrap();
    assert_eq!(rows.lookups, ["digest", "prefix"]);
    assert_eq!(rows.lanes, [Lane::Indexed]);
    let digest = first.digest_to_keep().unwrap();
    assert_eq!(digest.key_id, "key_1");
    rows.keep(digest);

    let again = rows.check(Some(digest_key()), TOKEN).unwrap();
    assert_eq!(rows.lookups, ["digest"]);
    assert_eq!(rows.lanes, []);
    assert_eq!(again.key_id(), "key_1");
    assert_eq!(again.prefix(), first.prefix());
    assert_eq!(again.digest_to_keep(), None, "it is kept already");
}

#[test]
fn status_expiry_user_and_scopes_are_the_rows_own_with_a_digest_too() {
    let mut rows = Rows::of([row("key_1", &MATCHING, PREFIX)]);
    let first = rows.check(Some(digest_key()), TOKEN).unwrap();
    rows.keep(first.digest_to_keep().unwrap());
    for (change, expected) in [
        (
            (|row| row.status = KeyStatus::Revoked) as fn(&mut KeyRecord),
            Rejection::Revoked,
        ),
        (|row| row.expires_at = Some(NOW), Rejection::Expired),
        (
            |row| row.user_status = Some(UserStatus::Suspended),
            Rejection::UserInactive,
        ),
        (|row| row.user_id = None, Rejection::UserInactive),
        (|row| row.scopes = Scopes::default(), Rejection::ScopeMissing),
    ] {
        let before = rows.rows[0].clone();
        change(&mut rows.rows[0]);
        let refused = rows.check(Some(digest_key()), TOKEN).unwrap_err();
        assert_eq!(
            (refused.rejection(), refused.key_id()),
            (&expected, Some("key_1"))
        );
        assert_eq!(
            rows.lookups,
            ["digest", "prefix", "malformed", "prefix"],
            "another row of the key may be good"
        );
        assert_eq!(rows.lanes, [], "and the row itself is not derived");
        rows.rows[0] = before;
        assert!(rows.check(Some(digest_key()), TOKEN).is_ok());
    }
}

#[test]
fn a_digest_that_was_made_for_another_row_hash_or_secret_counts_for_nothing() {
    let good = row("key_1", &MATCHING, PREFIX);
    let kept = digest_key().bind(&Token::parse(TOKEN).unwrap(), &good);

    // Moved to a row of more rights, by whoever can write to the database.
    let mut rows = Rows::of([good.clone(), row("key_2", &FOREIGN, "sk_live_othe")]);
    rows.keep(&KeyDigest {
        key_id: "key_2".to_owned(),
        ..kept.clone()
    });
    assert_eq!(rows.check(Some(digest_key()), TOKEN).unwrap().key_id(), "key_1");
    assert_eq!(rows.lanes, [Lane::Indexed]);

    // The key of the row was made anew.
    let mut rows = Rows::of([row("key_1", &FOREIGN, PREFIX)]);
    rows.keep(&kept);
    let refused = rows.check(Some(digest_key()), TOKEN).unwrap_err();
    assert_eq!(
        (refused.rejection(), refused.key_id()),
        (&Rejection::Unknown, None)
    );
    assert_eq!(rows.lanes, [Lane::Indexed]);

    // The bridge has another secret: not found, and made anew.
    let mut rows = Rows::of([good]);
    rows.keep(&kept);
    let other = BridgeSecret::from_bytes([8; 32].into()).digest_key();
    let key = rows.check(Some(other.clone()), TOKEN).unwrap();
    assert_eq!(rows.lanes, [Lane::Indexed]);
    rows.keep(key.digest_to_keep().unwrap());
    assert!(rows.check(Some(other), TOKEN).is_ok());
    assert_eq!(rows.lanes, []);
}

#[test]
fn tokens_of_no_known_shape_get_no_digest() {
    for (token, gets_one) in [
        (TOKEN, true),
        ("sk_test_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG", true),
        (
            "fk_00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            true,
        ),
        ("hunter2", false),
        ("sk_live_hunter2hunter2", false),
    ] {
        let prefix = Token::parse(token).unwrap().prefix();
        let mut rows = Rows::of([row("key_1", &hash_of(token), prefix.as_str())]);
        let key = rows.check(Some(digest_key()), token).unwrap();
        assert_eq!(key.digest_to_keep().is_some(), gets_one, "{token}");
        assert_eq!(rows.lookups.contains(&"digest"), gets_one, "{token}");
        let key = rows.check(None, token).unwrap();
        assert_eq!(key.digest_to_keep(), None, "without a secret there are none");
        assert_eq!(rows.lookups, ["prefix"]);
    }
}

#[test]
fn a_refused_key_gets_its_digest_too() {
    let mut revoked = row("key_1", &MATCHING, PREFIX);
    revoked.status = KeyStatus::Revoked;
    let mut rows = Rows::of([revoked]);
    let refused = rows.check(Some(digest_key()), TOKEN).unwrap_err();
    assert_eq!(rows.lanes, [Lane::Indexed]);
    rows.keep(refused.digest_to_keep().unwrap());
    let refused = rows.check(Some(digest_key()), TOKEN).unwrap_err();
    assert_eq!(refused.rejection(), &Rejection::Revoked);
    assert_eq!((refused.digest_to_keep(), rows.lanes.len()), (None, 0));
}

#[test]
fn rows_with_a_malformed_prefix_are_checked_last_in_a_lane_of_their_own() {
    let mut rows = Rows::of([
        row("by_hand", &FOREIGN, ""),
        row("damaged", "not a hash", "short"),
        row("key_1", &MATCHING, "sk_live_NdlPi"),
        row("same_prefix", &FOREIGN, PREFIX),
    ]);
    let key = rows.check(Some(digest_key()), TOKEN).unwrap();
    assert_eq!(key.key_id(), "key_1");
    assert_eq!(rows.lookups, ["digest", "prefix", "malformed"]);
    assert_eq!(rows.lanes, [Lane::Indexed, Lane::Malformed, Lane::Malformed]);
    rows.keep(key.digest_to_keep().unwrap());
    assert!(rows.check(Some(digest_key()), TOKEN).is_ok());
    assert_eq!(rows.lanes, [], "it is scanned for once");

    let stranger = "sk_live_0000000000000000000000000000000x";
    assert_eq!(
        rows.check(None, stranger).unwrap_err().rejection(),
        &Rejection::Unknown
    );
    assert_eq!(rows.lanes, [Lane::Malformed; 2]);
}

#[test]
fn a_key_whose_prefix_is_mended_during_its_check_is_never_unknown() {
    for mended_after in 1..=4 {
        let mut rows = Rows::of([row("by_hand", &FOREIGN, ""), row("key_1", &MATCHING, "sk_live")]);
        rows.mended_after = Some(mended_after);
        let key = rows.check(Some(digest_key()), TOKEN).unwrap();
        assert_eq!(key.key_id(), "key_1", "mended after {:?}", rows.lookups);
    }
}

#[test]
fn a_full_or_failed_malformed_lane_is_never_unknown() {
    let at_malformed = || {
        let Step::Lookup(by_prefix) = Validator::default().check(Some(TOKEN), Access::Socket) else {
            panic!("no look-up");
        };
        match by_prefix.found(vec![], NOW) {
            Step::Lookup(wanted) if wanted.lookup() == &Lookup::MalformedPrefix => wanted,
            step => panic!("not the look-up wanted: {step:?}"),
        }
    };
    let rejection = |step| match step {
        Step::Done(Err(refused)) => refused.into_rejection(),
        step => panic!("not refused: {step:?}"),
    };
    assert_eq!(rejection(at_malformed().unavailable()), Rejection::Unavailable);
    let retry_after = Duration::from_secs(2);
    match at_malformed().found(vec![row("by_hand", &FOREIGN, "")], NOW) {
        Step::Derive(wanted) => {
            assert_eq!(
                rejection(wanted.overloaded(retry_after)),
                Rejection::Overloaded { retry_after }
            );
        }
        step => panic!("no derivation: {step:?}"),
    }
}

#[test]
fn a_short_token_meets_its_own_rows_once() {
    let mut rows = Rows::of([row("key_1", &FOREIGN, "hunter2"), row("key_2", &FOREIGN, "other")]);
    assert!(rows.check(Some(digest_key()), "hunter2").is_err());
    assert_eq!(rows.lanes, [Lane::Indexed, Lane::Malformed]);
}

fn any_row() -> impl Strategy<Value = KeyRecord> {
    let state = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (any::<bool>(), 0..3_usize, state).prop_map(|(matches, prefix, (active, expires, user, scope))| {
        let mut row = row(
            "",
            if matches { &MATCHING } else { &FOREIGN },
            [PREFIX, "sk_live_othe", ""][prefix],
        );
        if !active {
            row.status = KeyStatus::Revoked;
        }
        row.expires_at = expires.then_some(NOW);
        row.user_status = Some(if user {
            UserStatus::Active
        } else {
            UserStatus::Suspended
        });
        if !scope {
            row.scopes = Scopes::default();
        }
        row
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever rows there are and whichever of them have digests: the digest saves time and changes no verdict, except
    /// that it finds a key whose stored prefix is a wrong one.
    #[test]
    fn a_digest_changes_the_cost_and_not_the_verdict(
        mut rows in prop::collection::vec(any_row(), 0..5),
        digest_of in any::<prop::sample::Index>(),
    ) {
        for (n, row) in rows.iter_mut().enumerate() {
            row.id = format!("key_{n}");
        }
        let mut store = Rows::of(rows.clone());
        let plain = store.check(None, TOKEN);
        let derived = store.lanes.len();
        let found_by_prefix: Vec<_> =
            rows.iter().filter(|row| row.key_prefix != "sk_live_othe" && row.key_hash == *MATCHING).collect();
        let wanted = found_by_prefix.iter().any(|row| {
            row.status == KeyStatus::Active
                && row.expires_at.is_none()
                && row.user_status == Some(UserStatus::Active)
                && !row.scopes.is_empty()
        });
        prop_assert_eq!(plain.is_ok(), wanted);
        if !found_by_prefix.is_empty() {
            let kept = found_by_prefix[digest_of.index(found_by_prefix.len())];
            store.keep(&digest_key().bind(&Token::parse(TOKEN).unwrap(), kept));
        }
        let with_digest = store.check(Some(digest_key()), TOKEN);
        prop_assert!(store.lanes.len() <= derived);
        let words = |outcome: &Result<AuthenticatedKey, Refused>| match outcome {
            Ok(_) => "ok",
            Err(refused) => refused.rejection().reason(),
        };
        prop_assert_eq!(words(&with_digest), words(&plain));
    }
}
