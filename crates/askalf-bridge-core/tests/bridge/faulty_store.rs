//! The real store, with a switch that makes it fail as a full disk would, and gates that hold a request up where a test
//! wants it to be late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use askalf_bridge_auth::{KeyRecord, Lookup, UnixMillis};
use askalf_bridge_core::stores::{
    Device, DeviceFacts, DeviceStore, Execution, ExecutionEnd, ExecutionFilter, ExecutionStore, Finish, Key,
    KeyStore, NewExecution, NewKey, Principal, Store, StoreError,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

pub(crate) struct FaultyStore {
    store: Arc<dyn Store>,
    fails: AtomicBool,
    /// After keys were looked up.
    pub(crate) looked_up: Gate,
    /// Before a device is marked as gone.
    pub(crate) offline: Gate,
    /// Before executions are listed.
    pub(crate) listing: Gate,
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
            looked_up: Gate::new(),
            offline: Gate::new(),
            listing: Gate::new(),
        })
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
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

    async fn touch_key(&self, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.store()?.touch_key(id, now).await
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

    async fn find_devices(&self, who: &Principal, id_or_name: &str) -> Result<Vec<Device>, StoreError> {
        self.store()?.find_devices(who, id_or_name).await
    }
}

#[async_trait]
impl ExecutionStore for FaultyStore {
    async fn add_execution(&self, who: &Principal, execution: NewExecution) -> Result<Execution, StoreError> {
        self.store()?.add_execution(who, execution).await
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
        self.store()?.finish_execution(who, id, end, now).await
    }

    async fn executions(
        &self,
        who: &Principal,
        filter: ExecutionFilter,
    ) -> Result<Vec<Execution>, StoreError> {
        self.listing.pass().await;
        self.store()?.executions(who, filter).await
    }

    async fn devices_with_open_executions(&self) -> Result<Vec<String>, StoreError> {
        self.store()?.devices_with_open_executions().await
    }

    async fn execution(&self, who: &Principal, id: &str) -> Result<Execution, StoreError> {
        self.store()?.execution(who, id).await
    }
}
