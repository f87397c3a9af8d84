//! What every backend must do, written once. A backend opens a store that was seeded with [`SEED`] and runs each test on
//! a fresh one: `suite!(open)`, where `open` is an async function that answers the store and what keeps it alive.

pub(crate) mod audit_heads;
pub(crate) mod devices;
pub(crate) mod executions;
pub(crate) mod keys;
pub(crate) mod pair_codes;
pub(crate) mod revocation;
pub(crate) mod rotations;
pub(crate) mod trail;
pub(crate) mod users;

use std::sync::Arc;

use askalf_bridge_auth::{KeyHash, KeyPrefix, Scopes, UnixMillis};
use askalf_bridge_core::stores::{
    Device, DeviceFacts, DeviceType, Execution, Key, KeyUse, NewExecution, NewKey, Principal, Store,
    TaskTerms,
};

/// Two tenants; ann and bob of one, gil of the other; sue is suspended. Portable SQL.
pub(crate) const SEED: &str = "
insert into tenants (id, name, slug) values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
insert into users (id, tenant_id, email, email_normalized, password_hash, status) values
  ('ann', 'acme', 'ann@acme.test', 'ann@acme.test', '', 'active'),
  ('bob', 'acme', 'bob@acme.test', 'bob@acme.test', '', 'active'),
  ('sue', 'acme', 'sue@acme.test', 'sue@acme.test', '', 'suspended'),
  ('gil', 'globex', 'gil@globex.test', 'gil@globex.test', '', 'active');
";

/// 2026-11-24T07:33:00.000Z
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_505_580_000);

pub(crate) const HASH: &str =
    "9243a300ad53e3da73dbc003473a984b.262de89c5493ae593eeb39462627182820f1e4c3fac7a600482181432a2548d8";

pub(crate) type Shared = Arc<dyn Store>;

pub(crate) fn later(millis: i64) -> UnixMillis {
    UnixMillis(NOW.0 + millis)
}

pub(crate) const ADMIN: Principal = Principal::LocalAdmin { uid: 0 };

fn tenant_of(user: &str) -> String {
    if user == "gil" { "globex" } else { "acme" }.to_owned()
}

pub(crate) fn operator(user: &str) -> Principal {
    Principal::Operator {
        tenant_id: tenant_of(user),
        user_id: user.to_owned(),
        key_id: format!("key_op_{user}"),
    }
}

/// The device of a key that has not registered yet.
pub(crate) fn device_of(user: &str, key_id: &str) -> Principal {
    Principal::Device {
        tenant_id: tenant_of(user),
        user_id: user.to_owned(),
        key_id: key_id.to_owned(),
        device_id: None,
    }
}

/// A key whose prefix is made from its id.
pub(crate) fn new_key(user: &str, id: &str) -> NewKey {
    NewKey {
        id: id.to_owned(),
        user_id: Some(user.to_owned()),
        name: format!("key {id}"),
        hash: KeyHash::parse(HASH).unwrap(),
        prefix: prefix(id),
        preview: "sk_live_...".to_owned(),
        scopes: Scopes::parse(["device"]),
        device_id: None,
        expires_at: None,
        created_at: NOW,
    }
}

pub(crate) fn used(key_id: &str, at: UnixMillis) -> KeyUse {
    KeyUse {
        key_id: key_id.to_owned(),
        count: 1,
        last_used_at: at,
    }
}

pub(crate) fn prefix(id: &str) -> KeyPrefix {
    KeyPrefix::parse(id).unwrap()
}

pub(crate) fn facts(id: &str, name: &str) -> DeviceFacts {
    DeviceFacts {
        new_id: id.to_owned(),
        name: name.to_owned(),
        hostname: Some(format!("{name}.test")),
        os: Some("linux".to_owned()),
        capabilities: serde_json::json!({ "shell": true }).as_object().unwrap().clone(),
        device_type: DeviceType::Cli,
        max_concurrent: 2,
    }
}

pub(crate) fn execution(id: &str, device_id: &str) -> NewExecution {
    NewExecution {
        id: id.to_owned(),
        device_id: device_id.to_owned(),
        executor: "shell".to_owned(),
        input: "uname -a".to_owned(),
        terms: TaskTerms {
            timeout_ms: Some(60_000),
            ..TaskTerms::default()
        },
        created_at: NOW,
    }
}

/// Adds a key and registers its device: the device as a principal, and its row.
pub(crate) async fn registered(
    store: &dyn Store,
    user: &str,
    key_id: &str,
    device_id: &str,
) -> (Principal, Device) {
    let key: Key = store.add_key(&ADMIN, new_key(user, key_id)).await.unwrap();
    let who = device_of(user, &key.id);
    let device = store
        .register_device(&who, facts(device_id, device_id), NOW)
        .await
        .unwrap();
    (who.registered_as(&device.id), device)
}

/// Adds an execution for a device.
pub(crate) async fn dispatched(store: &dyn Store, id: &str, device_id: &str) -> Execution {
    store
        .add_execution(&ADMIN, execution(id, device_id))
        .await
        .unwrap()
}

/// The last acts that the local admin sees, newest first: `who: what subject`.
pub(crate) async fn acts(store: &dyn Store, limit: u32) -> Vec<String> {
    acts_of(store, &ADMIN, limit).await
}

pub(crate) async fn acts_of(store: &dyn Store, who: &Principal, limit: u32) -> Vec<String> {
    let acts = store.acts(who, limit).await.unwrap();
    acts.iter()
        .map(|act| format!("{}: {} {}", act.by, act.what, act.subject))
        .collect()
}

/// One test of the backend per test of the suite.
#[macro_export]
macro_rules! suite {
    ($open:path) => {
        $crate::suite!(@tests $open, keys:
            a_key_is_found_by_its_prefix_with_the_state_of_its_user
            what_is_taken_is_a_conflict
            the_user_of_a_key_must_be_clear
            a_value_that_does_not_fit_is_refused
            a_revocation_counts_at_once_and_keeps_its_first_time
            uses_are_counted
            a_listing_is_newest_first_and_bounded
            a_key_is_bound_to_a_device_of_its_own_user_alone
            nobody_sees_or_revokes_the_keys_of_others
            a_key_is_found_by_its_digest_with_its_live_state
            a_key_has_one_digest_and_a_digest_one_key
            malformed_prefixes_are_a_set_of_their_own
            keys_now_are_those_that_are_there
            all_keys_come_page_by_page
            one_key_is_shown_to_whom_it_belongs
            a_rotated_key_lives_on_for_the_overlap
            a_rotation_keeps_the_device
            what_cannot_be_rotated_leaves_nothing
            only_operators_change_keys);
        $crate::suite!(@tests $open, devices:
            a_key_has_one_device_however_often_it_registers
            what_a_device_does_not_tell_again_stays_known
            only_a_device_registers
            a_device_comes_back_as_itself_alone
            a_bound_key_takes_its_device_over
            a_device_touches_itself_alone
            who_is_offline_is_said_by_its_owner_alone
            at_the_start_nobody_is_there
            devices_are_found_by_id_then_by_name
            a_listing_is_by_name_and_bounded
            an_id_that_is_taken_is_a_conflict
            nobody_sees_the_devices_of_others
            a_revoked_key_makes_no_device_and_takes_none_back
            a_bound_key_retires_the_older_ones_at_its_first_use
            a_removed_device_takes_its_keys_with_it_and_leaves_its_history);
        $crate::suite!(@tests $open, users:
            a_user_is_added_to_a_tenant_that_is_made_where_needed
            what_is_wrong_with_a_user_is_said_and_nothing_is_made
            only_the_local_admin_adds_users
            an_operator_sees_itself_among_the_users);
        $crate::suite!(@tests $open, pair_codes:
            a_code_is_exchanged_once
            a_lost_answer_is_given_again_for_a_day
            of_eight_exchanges_at_once_one_is_given
            a_code_ends
            a_conflict_spends_no_code
            a_code_pairs_a_device_anew
            codes_are_listed_while_they_are_good
            whom_a_code_is_for_must_be_clear);
        $crate::suite!(@tests $open, rotations:
            a_staged_key_is_the_devices_beside_the_old_one
            a_key_that_ends_is_replaced_by_one_that_is_good_for_as_long
            a_proof_makes_the_new_key_the_devices_and_the_confirmation_ends_the_old
            a_registration_with_the_new_key_is_its_proof
            a_rotation_that_is_given_up_leaves_the_old_key_alone
            only_the_new_key_proves_and_confirms
            who_may_begin_a_rotation_and_of_what
            who_revokes_a_key_revokes_what_was_to_take_its_place
            pairing_anew_ends_a_rotation
            a_removed_device_has_no_open_rotation
            a_lost_disk_leaves_the_old_key_good_and_the_next_rotation_settles_it
            what_is_stuck_or_due_is_found);
        $crate::suite!(@tests $open, trail:
            attempts_are_kept_newest_first_and_found_by_prefix
            attempts_are_forgotten_by_age_and_by_number
            each_act_is_on_the_trail_within_the_reach_of_its_owner
            what_failed_is_no_act);
        $crate::suite!(@tests $open, audit_heads:
            a_head_moves_on_and_never_back
            a_new_key_begins_a_new_row_and_tells_where_it_is_behind
            a_flood_of_conflicts_is_one_act_an_hour
            a_head_is_told_by_its_device_and_seen_by_its_owner_alone
            a_removed_device_leaves_no_head);
        $crate::suite!(@tests $open, executions:
            an_execution_goes_from_pending_to_its_end
            a_late_end_changes_nothing
            of_sixteen_ends_at_once_one_is_recorded
            an_end_takes_nothing_away
            a_report_beyond_the_columns_is_recorded_within_them
            what_is_open_is_no_end
            running_is_said_once_and_by_its_device
            a_device_ends_its_own_executions_alone
            an_operator_reaches_the_executions_of_its_user_alone
            an_execution_needs_a_device_within_reach
            a_repeated_id_is_a_conflict
            a_listing_is_newest_first_filtered_and_bounded
            a_cancel_is_on_record_until_the_end
            a_pending_task_is_kept_whole_and_without_its_credentials
            a_listing_is_short_whatever_was_recorded
            devices_with_open_executions_are_found_however_many_there_are);
    };
    (@tests $open:path, $module:ident: $($name:ident)+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let (store, _alive) = $open().await;
                    $crate::suite::$module::$name(store).await;
                }
            )+
        }
    };
}
