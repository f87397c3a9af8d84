//! Users.

use askalf_bridge_auth::UserStatus;
use askalf_bridge_core::stores::{NewUser, Principal, StoreError, User, UserStore};
use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{
    SqliteStore,
    fault::Fault,
    reach::{self, Condition},
    timestamp,
    trail::NewAct,
};
use crate::column;

const SELECT: &str = "select id, tenant_id, email, display_name, status, created_at from users";

#[async_trait]
impl UserStore for SqliteStore {
    async fn add_user(&self, who: &Principal, user: NewUser) -> Result<User, StoreError> {
        if !matches!(who, Principal::LocalAdmin { .. }) {
            return Err(StoreError::User(
                "only a local admin of the bridge adds users".to_owned(),
            ));
        }
        let by = who.to_string();
        let user = column::checked_user(user)?;
        self.write(move |connection| add(connection, by, user)).await
    }

    async fn users(&self, who: &Principal, limit: u32) -> Result<Vec<User>, StoreError> {
        let condition = reach::users(who);
        self.read(move |connection| {
            reach::list(connection, SELECT, &condition, "id", limit, read_user, |user| {
                user.email.len() + user.display_name.as_ref().map_or(0, String::len)
            })
        })
        .await
    }
}

fn add(connection: &Connection, by: String, user: NewUser) -> Result<User, Fault> {
    let now = timestamp::to_text(user.created_at);
    let tenant_id = tenant(connection, user.tenant_id, &now)?;
    let normalized = user.email.to_lowercase();
    if reach::exists(connection, "select 1 from users where id = ?", &[&user.id])? {
        return Err(StoreError::Conflict("a user with this id".to_owned()).into());
    }
    let sql = "select 1 from users where email = ? union all select 1 from users where email_normalized = ?";
    if reach::exists(connection, sql, &[&user.email, &normalized])? {
        return Err(StoreError::Conflict("a user with this address".to_owned()).into());
    }
    // The empty password hash matches no password: nobody signs in to the forge as this user.
    connection
        .prepare_cached(
            "insert into users (id, tenant_id, email, email_normalized, password_hash, display_name, created_at)
             values (?, ?, ?, ?, '', ?, ?)",
        )?
        .execute(params![
            user.id,
            tenant_id,
            user.email,
            normalized,
            user.display_name,
            now
        ])?;
    NewAct {
        at: user.created_at,
        by,
        owner: Some((&tenant_id, &user.id)),
        what: "user.add",
        subject: &user.id,
    }
    .keep(connection)?;
    let by_id = Condition::default().and("id = ?", [&user.id]);
    reach::first(connection, SELECT, &by_id, read_user)?.ok_or_else(|| Fault::damaged_row("a new user"))
}

/// The tenant of that id, made where there is none; the only one there is where none is named.
fn tenant(connection: &Connection, named: Option<String>, now: &str) -> Result<String, Fault> {
    let Some(id) = named else {
        let mut statement = connection.prepare_cached("select id from tenants limit 2")?;
        let tenants: Vec<String> = statement
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        return <[String; 1]>::try_from(tenants)
            .map(|[one]| one)
            .map_err(|tenants| column::unclear_tenant(tenants.is_empty()).into());
    };
    if reach::exists(connection, "select 1 from tenants where id = ?", &[&id])? {
        return Ok(id);
    }
    if reach::exists(connection, "select 1 from tenants where slug = ?", &[&id])? {
        return Err(StoreError::Conflict("a tenant whose short name is this id".to_owned()).into());
    }
    connection
        .prepare_cached("insert into tenants (id, name, slug, created_at) values (?1, ?1, ?1, ?2)")?
        .execute([&id, now])?;
    Ok(id)
}

fn read_user(row: &Row<'_>) -> Result<User, Fault> {
    Ok(User {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        email: row.get(2)?,
        display_name: row.get(3)?,
        status: row
            .get::<_, Option<String>>(4)?
            .as_deref()
            .and_then(UserStatus::parse),
        created_at: timestamp::from_optional_text(row.get(5)?)?,
    })
}
