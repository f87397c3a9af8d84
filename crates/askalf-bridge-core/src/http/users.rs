//! `/api/v1/users`.

use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;

use super::HttpError;
use super::input::{JsonBody, Limit, UrlQuery};
use crate::Bridge;
use crate::api::{AddUser, UserView};
use crate::stores::{NewUser, Principal, StoreError};

pub(super) async fn list(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    UrlQuery(limit): UrlQuery<Limit>,
) -> Result<Json<Vec<UserView>>, HttpError> {
    let users = bridge.core.store.users(&who, limit.rows()).await?;
    Ok(Json(users.into_iter().map(UserView::from).collect()))
}

pub(super) async fn add(
    State(bridge): State<Bridge>,
    Extension(who): Extension<Principal>,
    JsonBody(wanted): JsonBody<AddUser>,
) -> Result<(StatusCode, Json<UserView>), HttpError> {
    if !matches!(who, Principal::LocalAdmin { .. }) {
        return Err(HttpError::only_the_local_admin());
    }
    let user = NewUser {
        id: wanted.id,
        tenant_id: wanted.tenant,
        email: wanted.email,
        display_name: wanted.display_name,
        created_at: bridge.core.now(),
    };
    let added = bridge.core.store.add_user(&who, user).await;
    let user = added.map_err(|error| match error {
        // The store's hint names an existing user, which is not what is wanted here.
        StoreError::User(text) => HttpError::invalid(text),
        error => error.into(),
    })?;
    tracing::info!(user = user.id, tenant = user.tenant_id, by = %who, "a user was added");
    Ok((StatusCode::CREATED, Json(user.into())))
}
