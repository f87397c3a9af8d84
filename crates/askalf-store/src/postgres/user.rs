//! Users.

use askalf_bridge_auth::UserStatus;
use askalf_bridge_core::stores::{NewUser, Principal, StoreError, User, UserStore};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    session::Session,
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::{
    column,
    reach::{self, Condition},
};

const SELECT: &str = "select id, tenant_id, email, display_name, status, created_at from users";

#[async_trait]
impl UserStore for PostgresStore {
    async fn add_user(&self, who: &Principal, user: NewUser) -> Result<User, StoreError> {
        if !matches!(who, Principal::LocalAdmin { .. }) {
            return Err(StoreError::User(
                "only a local admin of the bridge adds users".to_owned(),
            ));
        }
        let user = column::checked_user(user)?;
        let session = self.begin().await?;
        let added = add(&session, &who.to_string(), user).await;
        Ok(session.settle(added).await?)
    }

    async fn users(&self, who: &Principal, limit: u32) -> Result<Vec<User>, StoreError> {
        let condition = reach::users(who);
        let session = self.session().await?;
        let listed = session.list(SELECT, &condition, "id collate \"C\"", limit, read_user, |user| {
            user.email.len() + user.display_name.as_ref().map_or(0, String::len)
        });
        Ok(listed.await?)
    }
}

async fn add(session: &Session, by: &str, user: NewUser) -> Result<User, Fault> {
    let now = Timestamp(user.created_at);
    let tenant_id = tenant(session, user.tenant_id, now).await?;
    let taken = session
        .row("select 1 from users where id = $1", &[&user.id])
        .await?;
    if taken.is_some() {
        return Err(StoreError::Conflict("a user with this id".to_owned()).into());
    }
    // The empty password hash matches no password: nobody signs in to the forge as this user.
    let added = session
        .execute(
            "insert into users (id, tenant_id, email, email_normalized, password_hash, display_name, created_at)
             values ($1, $2, $3, $4, '', $5, $6) on conflict do nothing",
            &[
                &user.id,
                &tenant_id,
                &user.email,
                &user.email.to_lowercase(),
                &user.display_name,
                &now,
            ],
        )
        .await?;
    if added == 0 {
        return Err(StoreError::Conflict("a user with this address".to_owned()).into());
    }
    NewAct {
        at: user.created_at,
        by,
        owner: Some((&tenant_id, &user.id)),
        what: "user.add",
        subject: &user.id,
    }
    .keep(session)
    .await?;
    let by_id = Condition::default().and("id = ?", [&user.id]);
    session
        .first(SELECT, &by_id, read_user)
        .await?
        .ok_or_else(|| Fault::damaged_row("a new user"))
}

/// The tenant of that id, made where there is none; the only one there is where none is named.
async fn tenant(session: &Session, named: Option<String>, now: Timestamp) -> Result<String, Fault> {
    let Some(id) = named else {
        let tenants = session.rows("select id from tenants limit 2", &[]).await?;
        return match tenants.as_slice() {
            [one] => Ok(one.try_get(0)?),
            tenants => Err(column::unclear_tenant(tenants.is_empty()).into()),
        };
    };
    session
        .execute(
            "insert into tenants (id, name, slug, created_at) values ($1::text, $1::text, $1::text, $2) on conflict do nothing",
            &[&id, &now],
        )
        .await?;
    let found = session.row("select 1 from tenants where id = $1", &[&id]).await?;
    match found {
        Some(_) => Ok(id),
        None => Err(StoreError::Conflict("a tenant whose short name is this id".to_owned()).into()),
    }
}

fn read_user(row: &Row) -> Result<User, Fault> {
    let status: Option<&str> = row.try_get(4)?;
    Ok(User {
        id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        email: row.try_get(2)?,
        display_name: row.try_get(3)?,
        status: status.and_then(UserStatus::parse),
        created_at: timestamp::read_optional(row, 5)?,
    })
}
