//! Users.

use askalf_bridge_auth::{UnixMillis, UserStatus};
use async_trait::async_trait;

use super::{Principal, StoreError};

/// The users that keys belong to.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Adds a user, and its tenant where there is none of that id. Only the local admin may.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where id or address are taken, [`StoreError::Invalid`], [`StoreError::User`] where the
    /// principal may not, [`StoreError::Unavailable`].
    async fn add_user(&self, who: &Principal, user: NewUser) -> Result<User, StoreError>;

    /// The users, by id, at most `limit`; an operator sees itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn users(&self, who: &Principal, limit: u32) -> Result<Vec<User>, StoreError>;
}

/// A user to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Its id.
    pub id: String,
    /// Its tenant; `None` means the only one there is.
    pub tenant_id: Option<String>,
    /// Its e-mail address, unique; the forge keeps it in lower case beside.
    pub email: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// Now.
    pub created_at: UnixMillis,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its tenant.
    pub tenant_id: String,
    /// Its e-mail address.
    pub email: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// Whether its keys let anybody in; `None` for a status that is none of ours, which lets nobody in.
    pub status: Option<UserStatus>,
    /// When it was added.
    pub created_at: Option<UnixMillis>,
}
