//! Placeholders of this branch.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::*;
use async_trait::async_trait;

use super::PostgresStore;

fn not_yet<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("not yet".to_owned()))
}

#[async_trait]
impl UserStore for PostgresStore {
    async fn add_user(&self, _: &Principal, _: NewUser) -> Result<User, StoreError> {
        not_yet()
    }
    async fn users(&self, _: &Principal, _: u32) -> Result<Vec<User>, StoreError> {
        not_yet()
    }
}

#[async_trait]
impl PairCodeStore for PostgresStore {
    async fn add_pair_code(&self, _: &Principal, _: NewPairCode) -> Result<PairCode, StoreError> {
        not_yet()
    }
    async fn pair_codes(&self, _: &Principal, _: UnixMillis, _: u32) -> Result<Vec<PairCode>, StoreError> {
        not_yet()
    }
    async fn withdraw_pair_code(&self, _: &Principal, _: &str, _: UnixMillis) -> Result<(), StoreError> {
        not_yet()
    }
    async fn exchange_pair_code(
        &self,
        _: &[u8; 32],
        _: &[u8; 32],
        _: NewKey,
        _: UnixMillis,
    ) -> Result<Exchanged, StoreError> {
        not_yet()
    }
}

#[async_trait]
impl TrailStore for PostgresStore {
    async fn keep_attempts(&self, _: &[Attempt], _: UnixMillis) -> Result<(), StoreError> {
        not_yet()
    }
    async fn attempts(&self, _: &Principal, _: Option<&str>, _: u32) -> Result<Vec<Attempt>, StoreError> {
        not_yet()
    }
    async fn acts(&self, _: &Principal, _: u32) -> Result<Vec<Act>, StoreError> {
        not_yet()
    }
}
