//! The real store, with a switch that makes it fail as a full disk would, and gates that hold a request up where a test
//! wants it to be late.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use askalf_bridge_auth::{KeyDigest, KeyPrefix, KeyRecord, Lookup, UnixMillis};
use askalf_bridge_core::stores::{
    Act, Attempt, AuditHead, AuditHeadStore, Device, DeviceFacts, DeviceStore, Exchanged, Execution,
    ExecutionEnd, ExecutionFilter, ExecutionStore, Finish, HeadKept, KeptAuditHead, Key, KeyStore, KeyUse,
    NewExecution, NewKey, NewPairCode, NewRotation, NewUser, PairCode, PairCodeStore, PendingTask, Principal,
    Rotation, RotationEnd, RotationStore, Store, StoreError, TrailStore, User, UserStore,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

pub(crate) struct FaultyStore {
    store: Arc<dyn Store>,
    fails: AtomicBool,
    lookups: Mutex<Vec<&'static str>>,
    /// What a foreign program did to the rows since they were checked.
    change: Mutex<fn(&mut KeyRecord)>,
    /// When the end of an execution was refused.
    pub(crate) end_refused: Notify,
    /// When a listing of executions was refused.
    pub(crate) listing_refused: Notify,
    /// When live keys were asked for.
    pub(crate) rechecked: Notify,
    /// After keys were looked up.
    pub(crate) looked_up: Gate,
    /// Before a device is marked as gone.
    pub(crate) offline: Gate,
    /// Before executions are listed.
    pub(crate) listing: Gate,
    /// After an execution was added, before its adder knows.
    pub(crate) added: Gate,
}

pub(crate) struct Gate {
    open: watch::Sender<bool>,
    reached: Notify,
}

impl Gate {
    fn new() -> Self {
        Self {
            open: watch::channel(true).0,
            reached: Notify::new(),
        }
    }

    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Resolves when somebody stands before the closed gate.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    async fn pass(&self) {
        let mut open = self.open.subscribe();
        if !*open.borrow_and_update() {
            self.reached.notify_one();
            let _ = open.wait_for(|open| *open).await;
        }
    }
}

impl FaultyStore {
    pub(crate) fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            fails: AtomicBool::new(false),
            lookups: Mutex::default(),
            change: Mutex::new(|_| ()),
            end_refused: Notify::new(),
            listing_refused: Notify::new(),
            rechecked: Notify::new(),
            looked_up: Gate::new(),
            offline: Gate::new(),
            listing: Gate::new(),
            added: Gate::new(),
        })
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// The ways in which keys were looked up since this was last asked.
    pub(crate) fn lookups(&self) -> Vec<&'static str> {
        mem::take(&mut *self.lookups.lock().unwrap())
    }

    pub(crate) fn change_rows(&self, change: fn(&mut KeyRecord)) {
        *self.change.lock().unwrap() = change;
    }

    fn store(&self) -> Result<&dyn Store, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the disk is full".to_owned()));
        }
        Ok(&*self.store)
    }
}

#[async_trait]
impl KeyStore for FaultyStore {
    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, StoreError> {
        self.lookups.lock().unwrap().push(match lookup {
            Lookup::ByDigest { .. } => "digest",
            Lookup::ByPrefix { .. } => "prefix",
            Lookup::MalformedPrefix => "malformed",
            _ => "other",
        });
        let found = self.store()?.find_keys(lookup).await;
        self.looked_up.pass().await;
        found
    }

    async fn add_key(&self, who: &Principal, key: NewKey) -> Result<Key, StoreError> {
        self.store()?.add_key(who, key).await
    }

    async fn keys(&self, who: &Principal, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.store()?.keys(who, limit).await
    }

    async fn revoke_key(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<Key, StoreError> {
        self.store()?.revoke_key(who, id, now).await
    }

    async fn key(&self, who: &Principal, id: &str) -> Result<Key, StoreError> {
        self.store()?.key(who, id).await
    }

    async fn rotate_key(
        &self,
        who: &Principal,
        id: &str,
        new: NewKey,
        old_ends: UnixMillis,
    ) -> Result<Key, StoreError> {
        self.store()?.rotate_key(who, id, new, old_ends).await
    }

    async fn repair_key_prefix(
        &self,
        who: &Principal,
        id: &str,
        prefix: &KeyPrefix,
        preview: &str,
        now: UnixMillis,
    ) -> Result<Key, StoreError> {
        self.store()?
            .repair_key_prefix(who, id, prefix, preview, now)
            .await
    }

    async fn keys_now(&self, ids: &[String]) -> Result<Vec<KeyRecord>, StoreError> {
        self.rechecked.notify_one();
        let change = *self.change.lock().unwrap();
        let mut rows = self.store()?.keys_now(ids).await?;
        rows.iter_mut().for_each(change);
        Ok(rows)
    }

    async fn all_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        self.store()?.all_keys(after, limit).await
    }

    async fn malformed_prefixes(&self) -> Result<u64, StoreError> {
        self.store()?.malformed_prefixes().await
    }

    async fn count_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.store()?.count_uses(uses).await
    }

    async fn keep_digests(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
        self.store()?.keep_digests(digests).await
    }
}

#[async_trait]
impl UserStore for FaultyStore {
    async fn add_user(&self, who: &Principal, user: NewUser) -> Result<User, StoreError> {
        self.store()?.add_user(who, user).await
    }

    async fn users(&self, who: &Principal, limit: u32) -> Result<Vec<User>, StoreError> {
        self.store()?.users(who, limit).await
    }
}

#[async_trait]
impl PairCodeStore for FaultyStore {
    async fn add_pair_code(&self, who: &Principal, code: NewPairCode) -> Result<PairCode, StoreError> {
        self.store()?.add_pair_code(who, code).await
    }

    async fn pair_codes(
        &self,
        who: &Principal,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PairCode>, StoreError> {
        self.store()?.pair_codes(who, now, limit).await
    }

    async fn withdraw_pair_code(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.store()?.withdraw_pair_code(who, id, now).await
    }

    async fn has_pair_code(&self, code_mac: &[u8; 32]) -> Result<bool, StoreError> {
        self.store()?.has_pair_code(code_mac).await
    }

    async fn exchange_pair_code(
        &self,
        code_mac: &[u8; 32],
        nonce_mac: &[u8; 32],
        key: NewKey,
        now: UnixMillis,
    ) -> Result<Exchanged, StoreError> {
        self.store()?
            .exchange_pair_code(code_mac, nonce_mac, key, now)
            .await
    }
}

#[async_trait]
impl RotationStore for FaultyStore {
    async fn stage_rotation(&self, who: &Principal, new: NewRotation) -> Result<Rotation, StoreError> {
        self.store()?.stage_rotation(who, new).await
    }

    async fn open_rotation(&self, device_id: &str, key_id: &str) -> Result<Option<Rotation>, StoreError> {
        self.store()?.open_rotation(device_id, key_id).await
    }

    async fn rotation_stored(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.store()?.rotation_stored(who, id, now).await
    }

    async fn commit_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError> {
        self.store()?.commit_rotation(who, id, now).await
    }

    async fn confirm_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError> {
        self.store()?.confirm_rotation(who, id, now).await
    }

    async fn end_rotation(
        &self,
        who: &Principal,
        id: &str,
        how: RotationEnd,
        now: UnixMillis,
    ) -> Result<Option<Rotation>, StoreError> {
        self.store()?.end_rotation(who, id, how, now).await
    }

    async fn overdue_rotations(&self, staged_before: UnixMillis) -> Result<Vec<Rotation>, StoreError> {
        self.store()?.overdue_rotations(staged_before).await
    }

    async fn rotations(&self, who: &Principal, limit: u32) -> Result<Vec<Rotation>, StoreError> {
        self.store()?.rotations(who, limit).await
    }

    async fn keys_made_at(
        &self,
        ids: &[String],
        tried_after: UnixMillis,
    ) -> Result<Vec<(String, UnixMillis)>, StoreError> {
        self.store()?.keys_made_at(ids, tried_after).await
    }
}

#[async_trait]
impl TrailStore for FaultyStore {
    async fn keep_attempts(&self, attempts: &[Attempt], forget_before: UnixMillis) -> Result<(), StoreError> {
        self.store()?.keep_attempts(attempts, forget_before).await
    }

    async fn attempts(
        &self,
        who: &Principal,
        prefix: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.store()?.attempts(who, prefix, limit).await
    }

    async fn acts(&self, who: &Principal, limit: u32) -> Result<Vec<Act>, StoreError> {
        self.store()?.acts(who, limit).await
    }
}

#[async_trait]
impl AuditHeadStore for FaultyStore {
    async fn keep_audit_head(
        &self,
        who: &Principal,
        head: AuditHead,
        now: UnixMillis,
    ) -> Result<HeadKept, StoreError> {
        self.store()?.keep_audit_head(who, head, now).await
    }

    async fn audit_head(
        &self,
        who: &Principal,
        device_id: &str,
    ) -> Result<Option<KeptAuditHead>, StoreError> {
        self.store()?.audit_head(who, device_id).await
    }
}

#[async_trait]
impl DeviceStore for FaultyStore {
    async fn register_device(
        &self,
        who: &Principal,
        facts: DeviceFacts,
        now: UnixMillis,
    ) -> Result<Device, StoreError> {
        self.store()?.register_device(who, facts, now).await
    }

    async fn reconnect_device(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Device, StoreError> {
        self.store()?.reconnect_device(who, id, now).await
    }

    async fn touch_device(
        &self,
        who: &Principal,
        id: &str,
        capabilities: Option<&Map<String, Value>>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.store()?.touch_device(who, id, capabilities, now).await
    }

    async fn device_offline(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.offline.pass().await;
        self.store()?.device_offline(who, id, now).await
    }

    async fn all_devices_offline(&self, now: UnixMillis) -> Result<u64, StoreError> {
        self.store()?.all_devices_offline(now).await
    }

    async fn devices(&self, who: &Principal, limit: u32) -> Result<Vec<Device>, StoreError> {
        self.store()?.devices(who, limit).await
    }

    async fn remove_device(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.store()?.remove_device(who, id, now).await
    }

    async fn find_devices(&self, who: &Principal, id_or_name: &str) -> Result<Vec<Device>, StoreError> {
        self.store()?.find_devices(who, id_or_name).await
    }
}

#[async_trait]
impl ExecutionStore for FaultyStore {
    async fn add_execution(&self, who: &Principal, execution: NewExecution) -> Result<Execution, StoreError> {
        let added = self.store()?.add_execution(who, execution).await;
        self.added.pass().await;
        added
    }

    async fn execution_running(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.store()?.execution_running(who, id, now).await
    }

    async fn finish_execution(
        &self,
        who: &Principal,
        id: &str,
        end: ExecutionEnd,
        now: UnixMillis,
    ) -> Result<Finish, StoreError> {
        let store = self.store().inspect_err(|_| self.end_refused.notify_one())?;
        store.finish_execution(who, id, end, now).await
    }

    async fn request_cancel(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<bool, StoreError> {
        self.store()?.request_cancel(who, id, now).await
    }

    async fn executions(
        &self,
        who: &Principal,
        filter: ExecutionFilter,
    ) -> Result<Vec<Execution>, StoreError> {
        self.listing.pass().await;
        let store = self.store().inspect_err(|_| self.listing_refused.notify_one())?;
        store.executions(who, filter).await
    }

    async fn pending_task(&self, id: &str) -> Result<Option<PendingTask>, StoreError> {
        self.store()?.pending_task(id).await
    }

    async fn devices_with_open_executions(&self) -> Result<Vec<String>, StoreError> {
        self.store()?.devices_with_open_executions().await
    }

    async fn execution(&self, who: &Principal, id: &str) -> Result<Execution, StoreError> {
        self.store()?.execution(who, id).await
    }
}
