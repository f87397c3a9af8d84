//! `executions list|show|watch|cancel`

use askalf_bridge_core::api::ExecutionView;
use askalf_cli::{ExitCode, Table, print};
use http::Method;

use super::{NOTHING, note_limit, or_dash, path_of, segment, show_json, watch};
use crate::api_client::ApiClient;
use crate::cli::Executions;
use crate::home::Home;

pub(crate) async fn executions(home: &Home, command: Executions) -> anyhow::Result<ExitCode> {
    match command {
        Executions::List {
            device,
            open,
            limit,
            json,
        } => list(home, device.as_deref(), open, limit, json).await,
        Executions::Show { id, json } => show(home, &id, json).await,
        Executions::Watch { id } => watch(home, &id).await,
        Executions::Cancel { id, json } => cancel(home, &id, json).await,
    }
}

async fn list(
    home: &Home,
    device: Option<&str>,
    open: bool,
    limit: u32,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/executions?limit={limit}&open={open}");
    if let Some(device) = device {
        path.push_str(&format!("&device={}", segment(device)));
    }
    let executions: Vec<ExecutionView> = ApiClient::connect(home)
        .await?
        .call(Method::GET, &path, NOTHING)
        .await?;
    note_limit(executions.len(), limit);
    if json {
        show_json(&executions)?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new(&["ID", "STATUS", "CAUSE", "DEVICE", "CREATED", "INPUT"]);
    for execution in executions {
        let input: String = execution.input.chars().take(60).collect();
        table.row(vec![
            execution.id,
            execution.status,
            or_dash(execution.cause.as_deref()),
            or_dash(execution.device_id.as_deref()),
            execution.created_at,
            input,
        ]);
    }
    print(&table.render())?;
    Ok(ExitCode::Done)
}

async fn show(home: &Home, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("executions", id, "")?;
    let execution: ExecutionView = ApiClient::connect(home)
        .await?
        .call(Method::GET, &path, NOTHING)
        .await?;
    if json {
        show_json(&execution)?;
    } else {
        print(&describe(&execution))?;
    }
    Ok(ExitCode::Done)
}

async fn cancel(home: &Home, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_of("executions", id, "/cancel")?;
    let execution: ExecutionView = ApiClient::connect(home)
        .await?
        .call(Method::POST, &path, NOTHING)
        .await?;
    if json {
        show_json(&execution)?;
    } else if matches!(execution.status.as_str(), "pending" | "running") {
        print(&format!("Execution {} was told to end.\n", execution.id))?;
    } else {
        print(&format!("Execution {} is {}.\n", execution.id, execution.status))?;
    }
    Ok(ExitCode::Done)
}

fn describe(execution: &ExecutionView) -> String {
    let mut text = format!(
        "id        {}\nstatus    {}\ncause     {}\ndevice    {}\nexecutor  {}\ncreated   {}\nstarted   {}\nended     {}\n",
        execution.id,
        execution.status,
        or_dash(execution.cause.as_deref()),
        or_dash(execution.device_id.as_deref()),
        or_dash(execution.executor.as_deref()),
        execution.created_at,
        or_dash(execution.started_at.as_deref()),
        or_dash(execution.completed_at.as_deref()),
    );
    for (name, value) in [("exit", execution.exit_code), ("signal", execution.signal)] {
        if let Some(value) = value {
            text.push_str(&format!("{name:<8}  {value}\n"));
        }
    }
    if let Some(error) = &execution.error {
        text.push_str(&format!("error     {}\n", askalf_cli::one_line(error)));
    }
    text.push_str(&format!("\n{}\n", execution.input));
    if let Some(output) = execution.output.as_ref().filter(|output| !output.is_empty()) {
        text.push_str(&format!(
            "\n{output}{}",
            if output.ends_with('\n') { "" } else { "\n" }
        ));
    }
    text
}
