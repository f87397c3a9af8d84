//! The commands for keys, users, pairing codes, devices and backups, with and without a bridge that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, KEY, OldAgent, Output};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("no {field} in {value}"))
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

/// One error and one hint, this code and these words.
fn ensure_refused(output: Output, code: i32, words: &str) -> Result<()> {
    let output = output.expect_code(code)?;
    ensure!(
        output.stderr.contains("error: ") && output.stderr.contains("hint: "),
        "{output:?}"
    );
    ensure!(output.stderr.contains(words), "'{words}' is missing: {output:?}");
    Ok(())
}

#[test]
fn a_key_goes_into_a_file_of_its_owner_that_replaces_nothing() -> Result<()> {
    let bridge = Bridge::start()?;
    let out = bridge.home().join("laptop key.txt");
    let out_text = out.to_str().context("a Unicode path")?;
    let mint = ["keys", "mint", "--name", "laptop", "--out", out_text, "--json"];
    let minted = bridge.run(&mint)?.json()?;
    let key = fs::read_to_string(&out)?;
    ensure!(
        key.len() == 41 && key.starts_with("sk_live_"),
        "{} bytes",
        key.len()
    );
    ensure!(mode(&out)? == 0o600);
    ensure!(minted["key"].is_null() && minted["out"] == out_text, "{minted}");
    ensure!(text(&minted, "key_prefix")? == &key[..12]);

    ensure_refused(bridge.run(&mint)?, 1, "exists already")?;
    ensure!(fs::read_to_string(&out)? == key);
    let keys = bridge.run(&["keys", "list", "--json"])?.json()?;
    ensure!(
        keys.as_array().is_some_and(|keys| keys.len() == 1),
        "no key without a file: {keys}"
    );
    // A file whose key was not made does not stay.
    let other = bridge.home().join("other.txt");
    let other_text = other.to_str().context("a Unicode path")?;
    let refused = bridge.run(&[
        "keys", "mint", "--name", "x", "--user", "nobody", "--out", other_text,
    ])?;
    ensure_refused(refused, 1, "there is no user 'nobody'")?;
    ensure!(!other.exists());
    Ok(())
}

#[test]
fn a_key_is_minted_for_a_time_shown_and_named_twice_with_a_warning() -> Result<()> {
    let bridge = Bridge::start()?;
    let mint = ["keys", "mint", "--name", "laptop", "--expires", "90d", "--json"];
    let first = bridge.run(&mint)?;
    ensure!(first.stderr.is_empty(), "{first:?}");
    let first = first.json()?;
    let shown = bridge
        .run(&["keys", "show", text(&first, "id")?, "--json"])?
        .json()?;
    ensure!(
        shown["name"] == "laptop" && shown["expires_at"].is_string(),
        "{shown}"
    );
    ensure!(!shown.to_string().contains(text(&first, "key")?));
    let people = bridge
        .run(&["keys", "show", text(&first, "id")?])?
        .expect_code(0)?;
    ensure!(people.stdout.contains("status     active"), "{people:?}");

    let bare = bridge
        .run(&["keys", "mint", "--device", "--name", "bare", "--json"])?
        .json()?;
    let bare = bridge
        .run(&["keys", "show", text(&bare, "id")?, "--json"])?
        .json()?;
    ensure!(
        bare["scopes"] == json!(["device"]) && bare["device_id"].is_null(),
        "{bare}"
    );
    let second = bridge.run(&mint)?;
    let warning = format!("key {} is named 'laptop' too", text(&first, "id")?);
    ensure!(second.stderr.contains(&warning), "{second:?}");
    second.expect_code(0)?;
    for (arguments, words) in [
        (["keys", "mint", "--expires", "soon"], "such as 10m, 24h or 90d"),
        (["keys", "mint", "--expires", "0s"], "good for no time"),
        (["pair-code", "new", "--ttl", "5s"], "a minute to a day"),
        (["pair-code", "new", "--ttl", "2d"], "a minute to a day"),
    ] {
        let wrong = bridge
            .run(&[&arguments[..], &["--name", "x"]].concat())?
            .expect_code(2)?;
        ensure!(wrong.stderr.contains(words), "{wrong:?}");
    }
    Ok(())
}

#[test]
fn a_rotated_key_takes_over_and_the_trail_tells_who_did_it() -> Result<()> {
    let bridge = Bridge::start()?;
    let old = bridge.mint("laptop")?;
    let (agent, device) = OldAgent::registered(bridge.address(), &old.key, "laptop")?;
    drop(agent);
    let new = bridge
        .run(&["keys", "rotate", &old.id, "--overlap", "1h", "--json"])?
        .json()?;
    let (_agent, again) = OldAgent::registered(bridge.address(), text(&new, "key")?, "laptop")?;
    ensure!(again == device, "{again} is not {device}");
    let before = bridge.run(&["keys", "show", &old.id, "--json"])?.json()?;
    ensure!(before["status"] == "revoked", "{before}");
    ensure_refused(bridge.run(&["keys", "rotate", &old.id])?, 1, "the key is revoked")?;

    let acts = bridge.run(&["audit", "--json"])?.json()?;
    let acts: Vec<String> = acts
        .as_array()
        .context("an array")?
        .iter()
        .map(|act| {
            Ok(format!(
                "{} {} by {}",
                text(act, "what")?,
                text(act, "subject")?,
                text(act, "by")?
            ))
        })
        .collect::<Result<_>>()?;
    let uid = rustix::process::geteuid().as_raw();
    ensure!(
        acts == [
            format!("key.revoke {} by device {device}", old.id),
            format!("key.rotate {} by uid {uid}", old.id),
            format!("key.mint {} by uid {uid}", old.id),
        ],
        "{acts:?}"
    );
    Ok(())
}

#[test]
fn a_key_from_elsewhere_is_let_in_and_its_row_is_found_again() -> Result<()> {
    let bridge = Bridge::start()?;
    let import = ["keys", "import", "--name", "old", "-", "--json"];
    let imported = bridge.run_with_input(&import, KEY.as_bytes())?.json()?;
    ensure!(imported["key_prefix"] == KEY[..12], "{imported}");
    OldAgent::registered(bridge.address(), KEY, "old")?;
    ensure_refused(
        bridge.run_with_input(&import, KEY.as_bytes())?,
        1,
        "exists already",
    )?;

    let repair = ["keys", "verify", "--repair", "-", "--json"];
    let right = bridge.run_with_input(&repair, KEY.as_bytes())?.json()?;
    ensure!(
        right["event"] == "right" && right["key"]["id"] == imported["id"],
        "{right}"
    );
    let other = "sk_live_ZZZZ456789abcdefghijABCDEFGHIJ01";
    let missing = bridge
        .run_with_input(&repair[..4], other.as_bytes())?
        .expect_code(1)?;
    ensure!(missing.stdout == "no match among 1 keys\n", "{missing:?}");
    Ok(())
}

#[test]
fn refused_checks_are_listed() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("laptop")?;
    bridge.run(&["keys", "revoke", &key.id])?.expect_code(0)?;
    let agent = Agent::new()?;
    let refused = agent.run_with_input(&["pair", "-", "--url", &bridge.url()], key.key.as_bytes())?;
    refused.expect_code(78)?;
    let listed = askalf_e2e::until("the refused check being listed", || {
        let listed = bridge
            .run(&["keys", "attempts", "--prefix", &key.key[..12], "--json"])?
            .json()?;
        Ok((listed[0].is_object()).then_some(listed))
    })?;
    ensure!(
        listed[0]["reason"] == "revoked" && listed[0]["key_id"] == key.id.as_str(),
        "{listed}"
    );
    Ok(())
}

#[test]
fn users_own_keys_and_one_of_several_must_be_named() -> Result<()> {
    let bridge = Bridge::start()?;
    let add = [
        "users",
        "add",
        "ann",
        "--email",
        "ann@acme.test",
        "--tenant",
        "acme",
        "--json",
    ];
    let ann = bridge.run(&add)?.json()?;
    ensure!(ann["tenant_id"] == "acme", "{ann}");
    let users = bridge.run(&["users", "list", "--json"])?.json()?;
    ensure!(users.as_array().is_some_and(|users| users.len() == 2), "{users}");
    ensure_refused(
        bridge.run(&["keys", "mint", "--name", "x"])?,
        1,
        "there are several users",
    )?;
    let minted = bridge
        .run(&["keys", "mint", "--name", "x", "--user", "ann", "--json"])?
        .json()?;
    let key = bridge
        .run(&["keys", "show", text(&minted, "id")?, "--json"])?
        .json()?;
    ensure!(key["user_id"] == "ann", "{key}");
    Ok(())
}

#[test]
fn pairing_codes_are_made_listed_and_withdrawn_without_a_bridge_too() -> Result<()> {
    let mut bridge = Bridge::start()?;
    bridge.terminate()?;
    let made = bridge
        .run(&["pair-code", "new", "--name", "lab", "--ttl", "5m", "--json"])?
        .json()?;
    ensure!(text(&made, "code")?.len() == 14, "{made}");
    bridge.serve()?;
    let listed = bridge.run(&["pair-code", "list"])?.expect_code(0)?;
    ensure!(
        listed.stdout.contains("lab") && !listed.stdout.contains(text(&made, "code")?),
        "{listed:?}"
    );
    bridge
        .run(&["pair-code", "withdraw", text(&made, "id")?])?
        .expect_code(0)?;
    let listed = bridge.run(&["pair-code", "list", "--json"])?.json()?;
    ensure!(listed == json!([]), "{listed}");
    let made = bridge
        .run(&["pair-code", "new", "--name", "lab", "--json"])?
        .json()?;
    let withdrawn = bridge
        .run(&["pair-code", "withdraw", text(&made, "id")?, "--json"])?
        .json()?;
    ensure!(
        withdrawn == json!({ "id": made["id"], "status": "withdrawn" }),
        "{withdrawn}"
    );
    ensure_refused(
        bridge.run(&["pair-code", "withdraw", text(&made, "id")?])?,
        1,
        "askalf-bridge pair-code list",
    )
}

#[test]
fn devices_are_shown_disconnected_and_removed() -> Result<()> {
    let bridge = Bridge::start()?;
    let (agent, device) = Agent::online(&bridge, "web-01")?;
    let shown = bridge.run(&["devices", "show", "web-01", "--json"])?.json()?;
    ensure!(
        shown["id"] == device.as_str() && shown["status"] == "online",
        "{shown}"
    );
    bridge.run(&["devices", "disconnect", "web-01"])?.expect_code(0)?;
    bridge.wait_device(&device, "online")?;
    drop(agent);
    bridge.wait_device(&device, "offline")?;
    let removed = bridge.run(&["devices", "remove", "web-01"])?.expect_code(0)?;
    ensure!(
        removed.stdout == format!("Device {device} (web-01) is removed.\n"),
        "{removed:?}"
    );
    // What would let it in again is named.
    let key = text(&shown, "api_key_id")?;
    ensure!(
        removed
            .stderr
            .contains(&format!("to shut it out: askalf-bridge keys revoke {key}")),
        "{removed:?}"
    );
    ensure_refused(bridge.run(&["devices", "show", "web-01"])?, 1, "web-01")?;

    // A key that is bound goes with its device.
    let (mut agent, device) = Agent::online(&bridge, "web-02")?;
    let bound = ["keys", "mint", "--name", "bound", "--device", "web-02", "--json"];
    let bound = bridge.run(&bound)?.json()?;
    agent
        .pair(&bridge.url(), "web-02", text(&bound, "key")?)?
        .expect_code(0)?;
    agent.terminate()?;
    bridge.wait_device(&device, "offline")?;
    let removed = bridge.run(&["devices", "remove", "web-02"])?.expect_code(0)?;
    ensure!(removed.stderr.is_empty(), "{removed:?}");
    let key = bridge
        .run(&["keys", "show", text(&bound, "id")?, "--json"])?
        .json()?;
    ensure!(key["status"] == "revoked", "{key}");
    Ok(())
}

#[test]
fn a_key_of_a_device_is_never_an_operators() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, _) = Agent::online(&bridge, "web-01")?;
    let mint = [
        "keys", "mint", "--name", "x", "--scope", "admin", "--device", "web-01",
    ];
    ensure_refused(bridge.run(&mint)?, 1, "never an operator's")?;
    let keys = bridge.run(&["keys", "list", "--json"])?.json()?;
    ensure!(keys.as_array().is_some_and(|keys| keys.len() == 1), "{keys}");
    Ok(())
}

#[test]
fn a_backup_of_a_running_bridge_is_restored_with_its_secret() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let kept = bridge.mint("kept")?;
    let secret = fs::read(bridge.home().join("secret"))?;
    ensure!(secret.len() == 32 && mode(&bridge.home().join("secret"))? == 0o600);
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    let copy_text = copy.to_str().context("a Unicode path")?;
    bridge.run(&["backup", copy_text])?.expect_code(0)?;
    ensure!(mode(&copy)? == 0o700 && mode(&copy.join("bridge.db"))? == 0o600);
    ensure!(fs::read(copy.join("secret"))? == secret && mode(&copy.join("secret"))? == 0o600);
    ensure!(fs::read_dir(folder.path())?.count() == 1, "nothing else is left");
    ensure_refused(bridge.run(&["backup", copy_text])?, 1, "exists already")?;

    let lost = bridge.mint("lost")?;
    ensure_refused(bridge.run(&["restore", copy_text, "--force"])?, 75, "uses")?;
    bridge.terminate()?;
    ensure_refused(
        bridge.run(&["restore", copy_text])?,
        1,
        "there is a database already",
    )?;
    fs::write(bridge.home().join("secret"), [7; 32])?;
    let restored = bridge.run(&["restore", copy_text, "--force", "--json"])?.json()?;
    let aside = restored["kept"].as_array().context("what was kept")?;
    ensure!(aside.len() == 2, "{restored}");
    ensure!(fs::read(bridge.home().join("secret"))? == secret);
    ensure!(fs::read(Path::new(aside[1].as_str().context("a path")?))? == [7; 32]);
    let keys = bridge.run(&["keys", "list", "--json"])?.json()?;
    ensure!(keys.as_array().is_some_and(|keys| keys.len() == 1) && keys[0]["id"] == kept.id.as_str());

    // What was replaced is whole.
    let old = aside[0].as_str().context("a path")?;
    let keys = bridge
        .run(&["--database", old, "keys", "list", "--json"])?
        .json()?;
    ensure!(keys.as_array().is_some_and(|keys| keys.len() == 2) && keys[0]["id"] == lost.id.as_str());
    bridge.serve()?;
    OldAgent::registered(bridge.address(), &kept.key, "kept")?;
    Ok(())
}

#[test]
fn a_damaged_backup_restores_nothing() -> Result<()> {
    let mut bridge = Bridge::start()?;
    bridge.mint("kept")?;
    bridge.terminate()?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    let copy_text = copy.to_str().context("a Unicode path")?;
    bridge.run(&["backup", copy_text])?.expect_code(0)?;
    let database = copy.join("bridge.db");
    let mut bytes = fs::read(&database)?;
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(&database, bytes)?;
    let before = fs::read(bridge.home().join("bridge.db"))?;
    ensure_refused(bridge.run(&["restore", copy_text, "--force"])?, 78, "is damaged")?;
    fs::write(&database, "")?;
    ensure_refused(bridge.run(&["restore", copy_text, "--force"])?, 78, "is empty")?;
    ensure!(fs::read(bridge.home().join("bridge.db"))? == before);
    let elsewhere = folder.path().to_str().context("a path")?;
    ensure_refused(
        bridge.run(&["restore", elsewhere, "--force"])?,
        78,
        "there is no such file",
    )
}

#[test]
fn the_configuration_is_checked_without_a_change() -> Result<()> {
    let mut bridge = Bridge::start()?;
    bridge.terminate()?;
    let check = ["check-config", "--listen", "127.0.0.1:0", "--json"];
    let checks = bridge.run(&check)?.json()?;
    let ids: Vec<&str> = checks
        .as_array()
        .context("an array")?
        .iter()
        .map(|check| text(check, "id"))
        .collect::<Result<_>>()?;
    ensure!(
        ids == ["home", "socket", "secret", "database", "listen"],
        "{checks}"
    );
    ensure!(
        checks
            .as_array()
            .is_some_and(|checks| checks.iter().all(|check| check["outcome"] == "ok"))
    );
    let elsewhere = bridge
        .run(&["check-config", "--listen", "203.0.113.9:3005"])?
        .expect_code(78)?;
    ensure!(
        elsewhere.stdout.contains("give an address of this machine"),
        "{elsewhere:?}"
    );
    fs::set_permissions(bridge.home().join("secret"), fs::Permissions::from_mode(0o644))?;
    let bad = bridge.run(&check[..3])?.expect_code(78)?;
    ensure!(
        bad.stdout.contains("others may read it (hint: run: chmod 600"),
        "{bad:?}"
    );
    ensure_refused(
        bridge.run(&["serve", "--listen", "127.0.0.1:0"])?,
        78,
        "others may read it",
    )?;

    fs::remove_dir_all(bridge.home())?;
    let fresh = bridge.run(&check)?.json()?;
    ensure!(fresh.to_string().contains("will be made"), "{fresh}");
    ensure!(!bridge.home().exists(), "nothing was made");
    let listed = bridge.run(&["keys", "list", "--json"])?.expect_code(0)?;
    let database = bridge.home().join("bridge.db");
    ensure!(
        listed
            .stderr
            .contains(&format!("a new database is made: {}", database.display())),
        "{listed:?}"
    );
    let listed = bridge.run(&["keys", "list", "--json"])?.expect_code(0)?;
    ensure!(listed.stderr.is_empty(), "{listed:?}");
    let migrated = bridge.run(&["migrate", "--json"])?.json()?;
    ensure!(
        migrated["schema"].as_u64().is_some_and(|schema| schema >= 5),
        "{migrated}"
    );
    Ok(())
}
