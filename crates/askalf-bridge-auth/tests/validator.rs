//! The validator, driven as a bridge drives it: with rows, a passed clock and no I/O.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use std::{sync::LazyLock, time::Duration};

use askalf_bridge_auth::{
    Access, AuthenticatedKey, DerivationWanted, KeyHash, KeyRecord, KeyStatus, Lane, Lookup,
    MAX_INDEXED_CANDIDATES, Refused, Rejection, Salt, Scopes, Step, Token, UnixMillis, UserStatus, Validator,
    ValidatorOptions,
};

const TOKEN: &str = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
const NOW: UnixMillis = UnixMillis(1_000);

static MATCHING: LazyLock<String> = LazyLock::new(|| hash_of(TOKEN, 1));
static FOREIGN: LazyLock<String> = LazyLock::new(|| hash_of("sk_live_NdlPanotherkeyofthesameprefix000", 2));

fn hash_of(token: &str, salt: u8) -> String {
    KeyHash::derive(&Token::parse(token).unwrap(), Salt::from_bytes([salt; 16])).to_string()
}

fn row(id: &str, key_hash: &str) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        tenant_id: "tenant_1".to_owned(),
        user_id: Some("user_1".to_owned()),
        name: "bench".to_owned(),
        key_hash: key_hash.to_owned(),
        key_prefix: "sk_live_NdlP".to_owned(),
        scopes: Scopes::parse(["device"]),
        status: KeyStatus::Active,
        expires_at: None,
        user_status: Some(UserStatus::Active),
        device_id: None,
        digest_binding: None,
    }
}

fn matching(change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    let mut record = row("key_1", &MATCHING);
    change(&mut record);
    record
}

fn foreign(id: &str) -> KeyRecord {
    row(id, &FOREIGN)
}

fn found(want: Access, options: ValidatorOptions, rows: Vec<KeyRecord>) -> Step {
    match Validator::new(options).check(Some(TOKEN), want) {
        Step::Lookup(wanted) => wanted.found(rows, NOW),
        step => panic!("no look-up: {step:?}"),
    }
}

/// Answers that no row has a malformed prefix, where that is asked, and that none of the token's own came since.
fn without_malformed(step: Step) -> Step {
    match step {
        Step::Lookup(wanted) if wanted.lookup() == &Lookup::MalformedPrefix => {
            match wanted.found(vec![], NOW) {
                Step::Lookup(again) => again.found(vec![], NOW),
                step => step,
            }
        }
        step => step,
    }
}

fn derivation(step: Step) -> DerivationWanted {
    match step {
        Step::Derive(wanted) => wanted,
        step => panic!("no derivation: {step:?}"),
    }
}

fn done(step: Step) -> Result<AuthenticatedKey, Rejection> {
    match without_malformed(step) {
        Step::Done(outcome) => outcome.map_err(Refused::into_rejection),
        step => panic!("not done: {step:?}"),
    }
}

/// The outcome, and the lane of each derivation that it took.
fn drive(mut step: Step) -> (Result<AuthenticatedKey, Rejection>, Vec<Lane>) {
    let mut lanes = Vec::new();
    loop {
        step = match without_malformed(step) {
            Step::Derive(wanted) => {
                lanes.push(wanted.lane());
                wanted.derive(NOW)
            }
            Step::Done(outcome) => return (outcome.map_err(Refused::into_rejection), lanes),
            step => panic!("a second look-up: {step:?}"),
        };
    }
}

fn outcome(want: Access, rows: Vec<KeyRecord>) -> Result<AuthenticatedKey, Rejection> {
    drive(found(want, ValidatorOptions::default(), rows)).0
}

fn rejection(want: Access, record: KeyRecord) -> Rejection {
    outcome(want, vec![record]).unwrap_err()
}

#[test]
fn a_good_key_costs_one_derivation_and_proves_its_row() {
    let record = matching(|row| row.device_id = Some("dev_1".to_owned()));
    let (outcome, lanes) = drive(found(Access::Socket, ValidatorOptions::default(), vec![record]));
    let key = outcome.unwrap();
    assert_eq!(lanes, [Lane::Indexed]);
    assert_eq!(
        (key.key_id(), key.tenant_id(), key.user_id()),
        ("key_1", "tenant_1", "user_1")
    );
    assert_eq!(
        (key.name(), key.device_id(), key.legacy_scope()),
        ("bench", Some("dev_1"), false)
    );
    assert_eq!(key.scopes().iter().collect::<Vec<_>>(), ["device"]);
    assert_eq!(key.prefix().as_str(), "sk_live_NdlP");
}

#[test]
fn what_is_no_token_is_refused_without_a_look_up() {
    let check = |presented| done(Validator::default().check(presented, Access::Socket)).unwrap_err();
    assert_eq!(check(None), Rejection::Missing);
    assert_eq!(check(Some("")), Rejection::Missing);
    assert_eq!(check(Some("two words")), Rejection::Malformed);
    assert_eq!(check(Some(&"x".repeat(513))), Rejection::Malformed);
}

#[test]
fn the_look_up_is_by_the_tokens_own_prefix() {
    let Step::Lookup(wanted) = Validator::default().check(Some(TOKEN), Access::Socket) else {
        panic!("no look-up");
    };
    let prefix = Token::parse(TOKEN).unwrap().prefix();
    assert_eq!(wanted.lookup(), &Lookup::ByPrefix { prefix });
}

#[test]
fn an_unmatched_hash_is_unknown_whatever_its_row_says() {
    assert_eq!(outcome(Access::Socket, vec![]).unwrap_err(), Rejection::Unknown);
    let mut revoked = foreign("key_2");
    revoked.status = KeyStatus::Revoked;
    let mut expired = foreign("key_3");
    expired.expires_at = Some(UnixMillis(0));
    let mut orphan = foreign("key_4");
    (orphan.user_id, orphan.user_status) = (None, None);
    assert_eq!(
        outcome(Access::Socket, vec![revoked, expired, orphan]).unwrap_err(),
        Rejection::Unknown
    );
}

#[test]
fn each_state_of_a_matched_key_has_its_reason() {
    let reject = |change: fn(&mut KeyRecord)| rejection(Access::Socket, matching(change));
    assert_eq!(reject(|row| row.status = KeyStatus::Revoked), Rejection::Revoked);
    assert_eq!(
        reject(|row| row.expires_at = Some(UnixMillis(0))),
        Rejection::Expired
    );
    assert_eq!(
        reject(|row| row.user_status = Some(UserStatus::Suspended)),
        Rejection::UserInactive
    );
    assert_eq!(
        reject(|row| row.user_status = Some(UserStatus::Deleted)),
        Rejection::UserInactive
    );
    assert_eq!(reject(|row| row.user_status = None), Rejection::UserInactive);
    assert_eq!(reject(|row| row.user_id = None), Rejection::UserInactive);
    assert_eq!(
        reject(|row| row.scopes = Scopes::parse(["admin"])),
        Rejection::ScopeMissing
    );
}

#[test]
fn of_several_faults_the_one_that_nothing_undoes_is_told() {
    let reject = |change: fn(&mut KeyRecord)| {
        let worst = matching(|row| {
            row.status = KeyStatus::Revoked;
            row.expires_at = Some(UnixMillis(0));
            row.user_status = Some(UserStatus::Suspended);
            row.scopes = Scopes::default();
            change(row);
        });
        rejection(Access::Socket, worst)
    };
    assert_eq!(reject(|_| ()), Rejection::Revoked);
    assert_eq!(reject(|row| row.status = KeyStatus::Active), Rejection::Expired);
    let unexpired = |row: &mut KeyRecord| (row.status, row.expires_at) = (KeyStatus::Active, None);
    assert_eq!(reject(unexpired), Rejection::UserInactive);
}

#[test]
fn a_key_is_good_before_the_instant_of_its_expiry() {
    let at = |end| {
        outcome(
            Access::Socket,
            vec![matching(|row| row.expires_at = Some(UnixMillis(end)))],
        )
    };
    assert!(at(NOW.0 + 1).is_ok());
    assert_eq!(at(NOW.0).unwrap_err(), Rejection::Expired);
}

#[test]
fn the_socket_takes_device_or_execute_and_marks_older_keys() {
    let check = |scopes: &[&str], strict_scopes| {
        let record = matching(|row| row.scopes = Scopes::parse(scopes));
        let options = ValidatorOptions {
            strict_scopes,
            ..ValidatorOptions::default()
        };
        drive(found(Access::Socket, options, vec![record]))
            .0
            .map(|key| key.legacy_scope())
    };
    let refused = Err(Rejection::ScopeMissing);
    let older = ["read", "write", "execute"];
    for (scopes, lenient, strict) in [
        (&["device"][..], Ok(false), Ok(false)),
        (&["execute"], Ok(false), Ok(false)),
        (&older, Ok(true), refused.clone()),
        (&["read", "execute"], Ok(true), refused.clone()),
        (&["read", "write", "execute", "device"], Ok(false), Ok(false)),
        (&["read", "write"], refused.clone(), refused.clone()),
        (&["admin"], refused.clone(), refused.clone()),
        (&["Device"], refused.clone(), refused.clone()),
        (&[], refused.clone(), refused.clone()),
    ] {
        assert_eq!(check(scopes, false), lenient, "{scopes:?}");
        assert_eq!(check(scopes, true), strict, "{scopes:?}, strict");
    }
}

#[test]
fn an_operator_needs_admin_on_a_key_that_is_no_device() {
    let check = |scopes: &[&str], device_id: Option<&str>| {
        let record = matching(|row| {
            row.scopes = Scopes::parse(scopes);
            row.device_id = device_id.map(str::to_owned);
        });
        outcome(Access::Operator, vec![record]).map(|key| key.key_id().to_owned())
    };
    assert_eq!(check(&["admin"], None), Ok("key_1".to_owned()));
    assert_eq!(check(&["admin"], Some("dev_1")), Err(Rejection::ScopeMissing));
    assert_eq!(
        check(&["device", "read", "write", "execute"], None),
        Err(Rejection::ScopeMissing)
    );
}

#[test]
fn unknown_is_said_only_when_every_row_was_checked() {
    let rows: Vec<_> = (0..MAX_INDEXED_CANDIDATES + 3)
        .map(|n| foreign(&format!("key_{n}")))
        .collect();
    let mut step = found(Access::Socket, ValidatorOptions::default(), rows);
    for left in (1..=MAX_INDEXED_CANDIDATES + 3).rev() {
        let wanted = derivation(step);
        assert_eq!(wanted.rows(), left);
        assert_eq!(
            wanted.lane(),
            if left > 3 { Lane::Indexed } else { Lane::Overflow }
        );
        step = wanted.derive(NOW);
    }
    assert_eq!(done(step).unwrap_err(), Rejection::Unknown);
}

#[test]
fn the_last_of_many_rows_still_matches() {
    let options = ValidatorOptions {
        max_candidates: 1,
        ..ValidatorOptions::default()
    };
    let rows = vec![foreign("key_2"), foreign("key_3"), matching(|_| ())];
    let (outcome, lanes) = drive(found(Access::Socket, options, rows));
    assert_eq!(outcome.unwrap().key_id(), "key_1");
    assert_eq!(lanes, [Lane::Indexed, Lane::Overflow, Lane::Overflow]);
}

#[test]
fn a_fault_of_the_bridge_never_looks_like_a_bad_key() {
    let Step::Lookup(wanted) = Validator::default().check(Some(TOKEN), Access::Socket) else {
        panic!("no look-up");
    };
    assert_eq!(done(wanted.unavailable()).unwrap_err(), Rejection::Unavailable);

    let retry_after = Duration::from_secs(3);
    let options = ValidatorOptions {
        max_candidates: 1,
        ..ValidatorOptions::default()
    };
    let rows = vec![
        matching(|row| row.status = KeyStatus::Revoked),
        row("key_2", &MATCHING),
    ];
    for checked in 0..2 {
        let mut rows = rows.clone();
        rows[1].status = KeyStatus::Revoked;
        let mut wanted = derivation(found(Access::Socket, options.clone(), rows));
        for _ in 0..checked {
            wanted = derivation(wanted.derive(NOW));
        }
        assert_eq!(
            done(wanted.overloaded(retry_after)).unwrap_err(),
            Rejection::Overloaded { retry_after }
        );
    }
}

#[test]
fn malformed_rows_are_skipped_and_never_match() {
    let damaged = [
        String::new(),
        TOKEN.to_owned(),
        MATCHING.to_uppercase(),
        format!("{}.00", *MATCHING),
        MATCHING.replace('.', ""),
    ];
    let mut rows: Vec<_> = damaged.iter().map(|hash| row("damaged", hash)).collect();
    assert_eq!(
        outcome(Access::Socket, rows.clone()).unwrap_err(),
        Rejection::Unknown
    );
    rows.push(matching(|_| ()));
    let wanted = derivation(found(Access::Socket, ValidatorOptions::default(), rows));
    assert_eq!(wanted.rows(), 1);
    assert_eq!(done(wanted.derive(NOW)).unwrap().key_id(), "key_1");
}

#[test]
fn a_key_that_stands_in_two_rows_is_as_good_as_the_better_one() {
    for fault in [
        (|row| row.status = KeyStatus::Revoked) as fn(&mut KeyRecord),
        |row| row.expires_at = Some(UnixMillis(0)),
        |row| row.user_status = Some(UserStatus::Suspended),
    ] {
        let good = row("key_2", &MATCHING);
        assert_eq!(
            outcome(Access::Socket, vec![matching(fault), good.clone()])
                .unwrap()
                .key_id(),
            "key_2"
        );
        assert_eq!(
            outcome(Access::Socket, vec![good, matching(fault)])
                .unwrap()
                .key_id(),
            "key_2"
        );
    }
}

#[test]
fn an_active_key_does_not_wait_for_revoked_ones() {
    let mut rows: Vec<_> = (0..20).map(|n| foreign(&format!("key_{n}"))).collect();
    rows.iter_mut().for_each(|row| row.status = KeyStatus::Revoked);
    rows.push(matching(|_| ()));
    let (outcome, lanes) = drive(found(Access::Socket, ValidatorOptions::default(), rows));
    assert!(outcome.is_ok());
    assert_eq!(lanes, [Lane::Indexed]);
}

#[test]
fn no_step_shows_the_token_or_the_hash_in_debug() {
    let lookup = Validator::default().check(Some(TOKEN), Access::Socket);
    let mut shown = format!("{lookup:?}");
    let step = found(
        Access::Socket,
        ValidatorOptions::default(),
        vec![matching(|_| ())],
    );
    shown += &format!("{step:?}{:?}", matching(|_| ()));
    shown += &format!("{:?}", derivation(step).derive(NOW));
    assert!(!shown.contains(TOKEN) && !shown.contains(&MATCHING[..32]) && !shown.contains(&MATCHING[33..]));
}

#[test]
fn rejections_have_their_words() {
    let retry_after = Duration::from_secs(1);
    let words = [
        (Rejection::Missing, "missing", false),
        (Rejection::Malformed, "malformed", false),
        (Rejection::Unknown, "unknown", false),
        (Rejection::Revoked, "revoked", false),
        (Rejection::Expired, "expired", false),
        (Rejection::UserInactive, "user_inactive", false),
        (Rejection::ScopeMissing, "scope_missing", false),
        (Rejection::Unavailable, "unavailable", true),
        (Rejection::Overloaded { retry_after }, "overloaded", true),
    ];
    for (rejection, reason, bridge_fault) in words {
        assert_eq!(rejection.reason(), reason);
        assert_eq!(rejection.is_bridge_fault(), bridge_fault, "{reason}");
    }
    assert_eq!(Rejection::Revoked.to_string(), "the API key was revoked");
    assert_eq!(
        Rejection::Revoked.hint(),
        "ask the operator for a new key, then pair again"
    );
    assert_eq!(
        Rejection::Unavailable.to_string(),
        "the bridge cannot check API keys at the moment"
    );
}

/// The steps cross to a pool of blocking threads and back.
#[test]
fn steps_are_send_and_own_what_they_hold() {
    fn movable<T: Send + 'static>() {}
    movable::<Step>();
    movable::<Validator>();
}
