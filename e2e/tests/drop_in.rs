//! The bridge on the database of an existing forge, and on a PostgreSQL server that comes and goes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the parts shared with the tests of the stores are helpers of tests")]

#[path = "../../crates/askalf-store/tests/postgres_server/catalogue.rs"]
mod catalogue;
#[path = "../../crates/askalf-store/tests/postgres_server/cluster.rs"]
mod cluster;

use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, binaries};
use serde_json::{Value, json};

use cluster::Cluster;

const FORGE: &str = include_str!("../../vectors/forge.sql");

/// A database of this name, on a server that the tests here share.
fn database(name: &str) -> Result<(&'static Cluster, String)> {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| Cluster::start(""));
    cluster.sql("postgres", &format!("create database {name}"))?;
    Ok((cluster, cluster.url(name)))
}

#[test]
fn a_forges_database_is_taken_up_as_it_is() -> Result<()> {
    let (cluster, url) = database("forge")?;
    cluster.sql("forge", FORGE)?;
    let before = cluster.sql("forge", catalogue::FORGE_TABLES)?;
    ensure!(before.lines().count() > 80, "{before}");

    let mut bridge = Bridge::start_with(&["--database", &url])?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let output = bridge.dispatch("web-01", "echo out; exit 0")?.expect_code(0)?;
    ensure!(output.stdout == "out\n", "{output:?}");
    let failed = bridge.dispatch("web-01", "echo oops >&2; exit 7")?;
    ensure!(failed.code == 7, "{failed:?}");

    // As the forge reads them: its words, its types, its joins.
    let rows = rows(
        cluster,
        "select e.status, e.output, e.error is not null as has_error, e.owner_id, e.device_id, e.metadata->>'cause' as cause,
           e.metadata->'exitCode' as exit_code, a.slug, a.status as agent_status, a.owner_id as agent_owner, e.cost::text,
           e.started_at between e.created_at and e.completed_at as in_order, jsonb_typeof(e.messages) as messages
         from forge_executions e join forge_agents a on a.id = e.agent_id order by e.created_at",
    )?;
    let [done, failed] = rows.as_slice() else {
        anyhow::bail!("{rows:?}")
    };
    let expected = json!({
        "status": "completed", "output": "out\n", "has_error": false, "owner_id": "selfhosted-admin", "device_id": device,
        "cause": "exit", "exit_code": 0, "slug": "askalf-dispatch", "agent_status": "active",
        "agent_owner": "selfhosted-admin", "cost": "0.000000", "in_order": true, "messages": "array"
    });
    ensure!(*done == expected, "{done}");
    ensure!(
        failed["status"] == "failed" && failed["exit_code"] == 7 && failed["cause"] == "exit",
        "{failed}"
    );
    let rows = self::rows(
        cluster,
        "select d.status, d.device_name, d.device_type, d.device_category, d.protocol, k.status as key_status, k.scopes,
           length(k.key_prefix) as prefix, k.key_hash ~ '^[0-9a-f]{32}\\.[0-9a-f]{64}$' as has_hash, u.status as user_status,
           d.last_seen_at > now() - interval '1 minute' as is_seen, jsonb_typeof(d.platform_capabilities) as capabilities
         from agent_devices d join api_keys k on k.id = d.api_key_id join users u on u.id = k.user_id
           and u.tenant_id = d.tenant_id",
    )?;
    let expected = json!([{
        "status": "online", "device_name": "web-01", "device_type": "cli", "device_category": "compute",
        "protocol": "websocket", "key_status": "active", "scopes": ["device"], "prefix": 12, "has_hash": true,
        "user_status": "active", "is_seen": true, "capabilities": "object"
    }]);
    ensure!(json!(rows) == expected, "{rows:?}");

    // What the forge revokes counts at the next check.
    agent.terminate()?;
    cluster.sql(
        "forge",
        "update api_keys set status = 'revoked', revoked_at = now()",
    )?;
    agent.spawn()?;
    agent.daemon()?.wait_line("refusal", |line| {
        line.text.contains("AUTH_FAILED (revoked)").then_some(())
    })?;

    ensure!(bridge.terminate()? == 0, "SIGTERM is an orderly end");
    bridge.serve()?;
    bridge.terminate()?;
    let after = cluster.sql("forge", catalogue::FORGE_TABLES)?;
    ensure!(after == before, "the catalogue was\n{before}\nand is\n{after}");
    Ok(())
}

#[test]
fn a_server_that_dies_costs_no_credential_and_comes_back() -> Result<()> {
    let cluster = Cluster::start("");
    let bridge = Bridge::start_with(&["--database", &cluster.url("postgres")])?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    bridge.dispatch("web-01", "true")?.expect_code(0)?;
    cluster.kill();
    let refused = bridge.run(&["devices", "list"])?;
    ensure!(
        refused.code == 75 || refused.code == 69,
        "a database that is not there is no verdict: {refused:?}"
    );
    // A device that comes meanwhile is told to come again.
    agent.kill()?;
    agent.spawn()?;
    agent.daemon()?.wait_line("a pause", |line| {
        line.text
            .contains("cannot check keys at the moment")
            .then_some(())
    })?;
    cluster.restart();
    let again = agent.wait_registered()?;
    ensure!(again == device, "device {again} instead of {device}");
    let output = bridge.dispatch("web-01", "echo back")?.expect_code(0)?;
    ensure!(output.stdout == "back\n", "{output:?}");
    for line in agent.log().iter().chain(&bridge.log()) {
        ensure!(!line.text.contains("AUTH_FAILED"), "{}", line.text);
    }
    Ok(())
}

#[test]
fn one_bridge_works_on_a_database_and_a_killed_one_leaves_it() -> Result<()> {
    let (_, url) = database("one_bridge")?;
    let mut first = Bridge::start_with(&["--database", &url])?;
    let folder = tempfile::tempdir()?;
    let second = Bridge::start_in(binaries()?, &folder.path().join("bridge"), &["--database", &url]);
    let trouble = format!("{:#}", second.err().context("a second bridge started")?);
    ensure!(trouble.contains("another bridge uses the database"), "{trouble}");
    first.kill()?;
    Bridge::start_in(binaries()?, &folder.path().join("bridge"), &["--database", &url])?;
    Ok(())
}

#[test]
fn commands_on_a_server_tell_what_they_did_or_why_not() -> Result<()> {
    let (cluster, url) = database("commands")?;
    let mut bridge = Bridge::start_with(&["--database", &url])?;
    bridge.terminate()?;
    let migrated = bridge
        .run(&["migrate", "--database", &url, "--json"])?
        .expect_code(0)?
        .json()?;
    ensure!(
        migrated["schema"].as_i64().is_some_and(|schema| schema > 0),
        "{migrated}"
    );
    let checked = bridge
        .run(&["check-config", "--database", &url, "--listen", "127.0.0.1:0"])?
        .expect_code(0)?;
    ensure!(checked.stdout.contains("commands on"), "{checked:?}");
    // Without a bridge a command works on the database itself.
    bridge
        .run(&["keys", "mint", "--name", "x", "--database", &url])?
        .expect_code(0)?;
    let backup = bridge
        .run(&["backup", "--database", &url, "/nowhere"])?
        .expect_code(2)?;
    ensure!(backup.stderr.contains("pg_dump"), "{backup:?}");

    cluster.sql(
        "commands",
        "insert into askalf_migrations values (9000, 'later', now())",
    )?;
    let newer = bridge.run(&["migrate", "--database", &url])?.expect_code(78)?;
    ensure!(newer.stderr.contains("has schema 9000"), "{newer:?}");
    cluster.sql("postgres", "create database cats")?;
    cluster.sql("cats", "create table cats (name text)")?;
    let foreign = bridge
        .run(&["migrate", "--database", &cluster.url("cats")])?
        .expect_code(78)?;
    ensure!(foreign.stderr.contains("not those of a forge"), "{foreign:?}");

    let secret = url.replacen("postgres@", "postgres:hunter2@", 1);
    let warned = bridge.run(&["migrate", "--database", &secret])?.expect_code(78)?;
    ensure!(warned.stderr.contains("stands in the arguments"), "{warned:?}");
    ensure!(!format!("{warned:?}").contains("hunter2"), "{warned:?}");
    Ok(())
}

/// The rows of a query, as JSON.
fn rows(cluster: &Cluster, sql: &str) -> Result<Vec<Value>> {
    let text = cluster.sql(
        "forge",
        &format!("select coalesce(json_agg(r), '[]') from ({sql}) r"),
    )?;
    Ok(serde_json::from_str(&text)?)
}
