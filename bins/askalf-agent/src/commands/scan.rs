//! `scan`: what this device would tell a bridge of itself, with the versions of its tools.

use std::sync::Arc;

use askalf_agent_core::{DeviceFacts, DeviceLoad, DeviceProbe, Runner};
use askalf_cli::{ExitCode, Table, print};
use askalf_cred::{Home, LoadOutcome};
use askalf_exec::redact::Secrets;
use askalf_exec::{FoundTool, TaskLimits, tool_version};
use askalf_proto::SystemInfo;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::show_json;
use crate::cli::Scan;
use crate::executors::executors;
use crate::facts::Probe;
use crate::task_place::TaskPlace;
use crate::vault::Vault;

/// Tools that are asked at once: most of what they do is waiting for the disk.
const ASKED_AT_ONCE: usize = 4;

/// What is printed as JSON: facts in the names of the wire, and what a bridge does not hear.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    device_name: Option<String>,
    hostname: Option<String>,
    os: Option<String>,
    version: String,
    capabilities: Map<String, Value>,
    system_info: Option<SystemInfo>,
    executors: Vec<String>,
    tasks_run_as: Option<String>,
    load: Map<String, Value>,
    tools: Vec<ToolReport>,
}

#[derive(Serialize)]
struct ToolReport {
    name: &'static str,
    path: String,
    version: Option<String>,
}

pub(crate) async fn scan(vault: &Vault, arguments: Scan) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    // A device that is not paired can be looked at too.
    let name = match vault.load() {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            credential.config.device_name
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    };
    let probe = Probe::new(name);
    let (facts, load) = (probe.facts(), probe.load());
    let place = TaskPlace::of_home(home)?;
    let installed = executors(home, &place, &TaskLimits::default(), &Secrets::default())?;
    let installed = installed.iter().filter(|executor| executor.is_installed());
    let executors: Vec<String> = installed.map(|it| it.kind().as_str().to_owned()).collect();
    let tools = versions(home, &place, probe.tools()).await?;
    if arguments.json {
        show_json(&report(facts, load, executors, &place, tools))?;
    } else {
        print(&describe(&facts, &load, &executors, &place, tools))?;
    }
    Ok(ExitCode::Done)
}

/// Asks each tool for its version, in the order in which they were found.
async fn versions(home: &Home, place: &TaskPlace, tools: Vec<FoundTool>) -> anyhow::Result<Vec<ToolReport>> {
    let runner: Arc<dyn Runner> = place.runner(&TaskLimits::default())?;
    let places = Arc::new(Semaphore::new(ASKED_AT_ONCE));
    let mut asking = JoinSet::new();
    for (index, found) in tools.into_iter().enumerate() {
        let (runner, places) = (Arc::clone(&runner), Arc::clone(&places));
        let (folder, environment) = (place.folder(home), place.environment());
        asking.spawn(async move {
            let _place = places.acquire().await;
            let version = tool_version(&*runner, &found, environment, &folder).await;
            let report = ToolReport {
                name: found.tool.name,
                path: found.path.display().to_string(),
                version,
            };
            (index, report)
        });
    }
    let mut reports = asking.join_all().await;
    reports.sort_by_key(|(index, _)| *index);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

fn report(
    facts: DeviceFacts,
    load: DeviceLoad,
    executors: Vec<String>,
    place: &TaskPlace,
    tools: Vec<ToolReport>,
) -> Report {
    let load = [
        ("freeMemoryMB", load.free_memory_mb.map(Value::from)),
        ("totalMemoryMB", load.total_memory_mb.map(Value::from)),
        ("loadAvg1m", load.load_avg_1m.map(Value::from)),
        ("loadAvg5m", load.load_avg_5m.map(Value::from)),
        ("uptime", load.uptime.map(Value::from)),
        ("freeDiskMB", load.free_disk_mb.map(Value::from)),
    ];
    Report {
        device_name: facts.name,
        hostname: facts.hostname,
        os: facts.os,
        version: facts.version,
        capabilities: facts.capabilities,
        system_info: facts.system_info,
        executors,
        tasks_run_as: place.other_user().map(str::to_owned),
        load: load
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
        tools,
    }
}

/// What a person reads.
fn describe(
    facts: &DeviceFacts,
    load: &DeviceLoad,
    executors: &[String],
    place: &TaskPlace,
    tools: Vec<ToolReport>,
) -> String {
    let system = facts.system_info.clone().unwrap_or_default();
    let model = facts.capabilities.get("cpuModel").and_then(Value::as_str);
    let mut about = Table::new(&["DEVICE", facts.name.as_deref().unwrap_or("-")]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            about.row(vec![name.to_owned(), value]);
        }
    };
    row("system", together(" ", [facts.os.clone(), system.arch]));
    let cores = system.cpu_cores.map(|cores| format!("{cores} cores"));
    row("processor", together(", ", [cores, model.map(str::to_owned)]));
    let free = load.free_memory_mb.map(|free| format!("{free} MiB free"));
    let total = load.total_memory_mb.map(|total| format!("{total} MiB in all"));
    row("memory", together(", ", [free, total]));
    row(
        "disk",
        load.free_disk_mb.map(|free| format!("{free} MiB free at home")),
    );
    let averages = [load.load_avg_1m, load.load_avg_5m].map(|load| load.map(|load| format!("{load:.2}")));
    row("load", together(", ", averages));
    row("executors", Some(executors.join(", ")));
    row(
        "tasks run as",
        Some(place.other_user().unwrap_or("this user").to_owned()),
    );
    let mut text = about.render();
    let mut listing = Table::new(&["TOOL", "PATH", "VERSION"]);
    for tool in tools {
        let version = tool.version.unwrap_or_else(|| "-".to_owned());
        listing.row(vec![tool.name.to_owned(), tool.path, version]);
    }
    text.push('\n');
    text.push_str(&listing.render());
    text
}

/// The parts that are known.
fn together(separator: &str, parts: [Option<String>; 2]) -> Option<String> {
    let known: Vec<String> = parts.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(separator))
}
