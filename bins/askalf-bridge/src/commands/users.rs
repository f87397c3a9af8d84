//! `users`

use askalf_bridge_core::api::{AddUser, UserView};
use askalf_cli::{ExitCode, Table, print};
use http::Method;

use super::{NOTHING, note_limit, or_dash, show_json};
use crate::api_client::ApiClient;
use crate::cli::Users;
use crate::home::Home;

pub(crate) async fn users(home: &Home, command: Users) -> anyhow::Result<ExitCode> {
    match command {
        Users::Add {
            id,
            email,
            tenant,
            display_name,
            json,
        } => {
            let request = AddUser {
                id,
                email,
                tenant,
                display_name,
            };
            add(home, &request, json).await
        }
        Users::List { limit, json } => list(home, limit, json).await,
    }
}

async fn add(home: &Home, request: &AddUser, json: bool) -> anyhow::Result<ExitCode> {
    let user: UserView = ApiClient::connect(home)
        .await?
        .call(Method::POST, "/api/v1/users", Some(request))
        .await?;
    if json {
        show_json(&user)?;
    } else {
        print(&format!(
            "User {} of tenant {} is added.\n",
            user.id, user.tenant_id
        ))?;
    }
    Ok(ExitCode::Done)
}

async fn list(home: &Home, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let users: Vec<UserView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &format!("/api/v1/users?limit={limit}"), NOTHING)
        .await?;
    note_limit(users.len(), limit);
    if json {
        show_json(&users)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["ID", "TENANT", "E-MAIL", "NAME", "STATUS"]);
    for user in users {
        table.row(vec![
            user.id,
            user.tenant_id,
            user.email,
            or_dash(user.display_name.as_deref()),
            user.status,
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}
