//! Whether a key that was checked once still holds.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use askalf_bridge_auth::{
    Access, AuthenticatedKey, KeyRecord, KeyStatus, Lookup, Rejection, Scopes, Step, UnixMillis, UserStatus,
    Validator, ValidatorOptions, mint_key,
};

const NOW: UnixMillis = UnixMillis(1_000);

fn checked(
    validator: &Validator,
    want: Access,
    scopes: &[&str],
    device_id: Option<&str>,
) -> (AuthenticatedKey, KeyRecord) {
    let minted = mint_key().unwrap();
    let row = KeyRecord {
        id: "key_1".to_owned(),
        tenant_id: "tenant_1".to_owned(),
        user_id: Some("user_1".to_owned()),
        name: "bench".to_owned(),
        key_hash: minted.hash.to_string(),
        key_prefix: minted.prefix.as_str().to_owned(),
        scopes: Scopes::parse(scopes),
        status: KeyStatus::Active,
        expires_at: None,
        user_status: Some(UserStatus::Active),
        device_id: device_id.map(str::to_owned),
        digest_binding: None,
    };
    let mut step = validator.check(Some(minted.token.expose_secret()), want);
    loop {
        step = match step {
            Step::Lookup(wanted) => {
                let by_prefix = matches!(wanted.lookup(), Lookup::ByPrefix { .. });
                wanted.found(if by_prefix { vec![row.clone()] } else { vec![] }, NOW)
            }
            Step::Derive(wanted) => wanted.derive(NOW),
            Step::Done(outcome) => return (outcome.unwrap(), row),
        };
    }
}

fn recheck(
    validator: &Validator,
    want: Access,
    change: impl FnOnce(&mut KeyRecord),
) -> Result<(), Rejection> {
    let scopes = if want == Access::Operator {
        ["admin"]
    } else {
        ["device"]
    };
    let (key, mut row) = checked(validator, want, &scopes, None);
    change(&mut row);
    validator.recheck(&key, Some(&row), NOW)
}

#[test]
fn each_change_of_the_row_is_told_as_at_a_check() {
    let validator = Validator::default();
    let socket = |change: fn(&mut KeyRecord)| recheck(&validator, Access::Socket, change);
    assert_eq!(socket(|_| ()), Ok(()));
    assert_eq!(socket(|row| row.name = "renamed".to_owned()), Ok(()));
    assert_eq!(
        socket(|row| row.status = KeyStatus::Revoked),
        Err(Rejection::Revoked)
    );
    assert_eq!(socket(|row| row.expires_at = Some(NOW)), Err(Rejection::Expired));
    assert_eq!(socket(|row| row.expires_at = Some(UnixMillis(NOW.0 + 1))), Ok(()));
    assert_eq!(
        socket(|row| row.user_status = Some(UserStatus::Suspended)),
        Err(Rejection::UserInactive)
    );
    assert_eq!(socket(|row| row.user_status = None), Err(Rejection::UserInactive));
    assert_eq!(
        socket(|row| row.scopes = Scopes::parse(["admin"])),
        Err(Rejection::ScopeMissing)
    );
}

#[test]
fn a_row_that_is_gone_or_has_another_hash_is_no_longer_known() {
    let validator = Validator::default();
    let (key, row) = checked(&validator, Access::Socket, &["device"], None);
    assert_eq!(validator.recheck(&key, None, NOW), Err(Rejection::Unknown));
    let mut other = row.clone();
    other.key_hash = mint_key().unwrap().hash.to_string();
    assert_eq!(
        validator.recheck(&key, Some(&other), NOW),
        Err(Rejection::Unknown)
    );
    let mut other = row;
    other.id = "key_2".to_owned();
    assert_eq!(
        validator.recheck(&key, Some(&other), NOW),
        Err(Rejection::Unknown)
    );
}

#[test]
fn a_key_that_acts_for_somebody_else_now_is_checked_anew() {
    let validator = Validator::default();
    let socket = |change: fn(&mut KeyRecord)| recheck(&validator, Access::Socket, change);
    assert_eq!(
        socket(|row| row.user_id = Some("user_2".to_owned())),
        Err(Rejection::Unavailable)
    );
    assert_eq!(
        socket(|row| row.tenant_id = "tenant_2".to_owned()),
        Err(Rejection::Unavailable)
    );
    assert_eq!(socket(|row| row.device_id = Some("dev_1".to_owned())), Ok(()));

    let (key, mut row) = checked(&validator, Access::Socket, &["device"], Some("dev_1"));
    assert_eq!(validator.recheck(&key, Some(&row), NOW), Ok(()));
    for device_id in [Some("dev_2".to_owned()), None] {
        row.device_id = device_id;
        assert_eq!(
            validator.recheck(&key, Some(&row), NOW),
            Err(Rejection::Unavailable)
        );
    }
}

#[test]
fn what_the_key_was_checked_for_is_what_it_must_still_permit() {
    let validator = Validator::default();
    let operator = |change: fn(&mut KeyRecord)| recheck(&validator, Access::Operator, change);
    assert_eq!(operator(|_| ()), Ok(()));
    assert_eq!(
        operator(|row| row.device_id = Some("dev_1".to_owned())),
        Err(Rejection::ScopeMissing)
    );
    assert_eq!(
        operator(|row| row.scopes = Scopes::parse(["device"])),
        Err(Rejection::ScopeMissing)
    );

    let (older, row) = checked(&validator, Access::Socket, &["read", "execute"], None);
    assert_eq!(validator.recheck(&older, Some(&row), NOW), Ok(()));
    let strict = Validator::new(ValidatorOptions {
        strict_scopes: true,
        ..ValidatorOptions::default()
    });
    assert_eq!(
        strict.recheck(&older, Some(&row), NOW),
        Err(Rejection::ScopeMissing)
    );
}
