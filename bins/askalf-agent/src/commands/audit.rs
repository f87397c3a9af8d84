//! `audit`: the lines of the audit log, and whether they hold together. It reads the files; no daemon is needed.

use askalf_cli::{ExitCode, Failure, Table, in_plain_words, print};
use askalf_cred::Home;
use askalf_exec::{AuditFiles, AuditKey, AuditKeyError, Listed, Verification, list_audit, verify_audit};
use serde_json::{Value, json};

use super::show_json;
use crate::cli::Audit;
use crate::clock::date;

pub(crate) fn audit(home: &Home, arguments: &Audit) -> anyhow::Result<ExitCode> {
    let files = AuditFiles::in_folder(home.path());
    let key = match AuditKey::load(home.path()) {
        Ok(key) => Some(key),
        Err(AuditKeyError::Absent) if !files.exist() => None,
        Err(error) => {
            return Err(Failure::new(ExitCode::Configuration, &error)
                .hint(error.hint())
                .into());
        }
    };
    if arguments.verify {
        verify(&files, key.as_ref(), arguments)
    } else {
        list(&files, key.as_ref(), arguments)
    }
}

fn list(files: &AuditFiles, key: Option<&AuditKey>, arguments: &Audit) -> anyhow::Result<ExitCode> {
    let lines = list_audit(files, key, arguments.limit).map_err(|error| unreadable(&error))?;
    if arguments.json {
        show_json(&lines.iter().map(as_json).collect::<Vec<_>>())?;
    } else if lines.is_empty() {
        print("Nothing is recorded.\n")?;
    } else {
        let mut table = Table::new(&[
            "SEQ",
            "TIME",
            "EVENT",
            "EXECUTION",
            "EXECUTOR",
            "AGENT",
            "WHY",
            "WHAT",
        ]);
        for line in &lines {
            table.row(row(line));
        }
        print(&table.render())?;
    }
    Ok(ExitCode::Done)
}

fn row(line: &Listed) -> Vec<String> {
    let record = &line.record;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let why = [&record.rule, &record.by, &record.cause]
        .into_iter()
        .flatten()
        .cloned();
    let why = why
        .chain(record.exit_code.map(|code| format!("status {code}")))
        .chain(record.signal.map(|signal| format!("signal {signal}")))
        .chain(record.duration_ms.map(|ms| format!("{ms} ms")))
        .chain(
            record
                .torn
                .as_ref()
                .map(|torn| format!("a line before it was cut off ({} bytes)", torn.bytes)),
        );
    let what = line.details.as_ref().map(|details| {
        let (input, error) = (text(&details.input), text(&details.error));
        if error.is_empty() { input } else { error }
    });
    vec![
        record.seq.to_string(),
        date(record.time),
        record.event.as_str().to_owned(),
        text(&record.execution),
        text(&record.executor),
        text(&record.agent),
        why.collect::<Vec<_>>().join(", "),
        what.map(|what| what.chars().take(120).collect())
            .unwrap_or_default(),
    ]
}

fn as_json(line: &Listed) -> Value {
    // Of the fields on the disk, what is sealed is shown open.
    let mut value = serde_json::to_value(&line.record).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("sealed");
        if let Some(Value::Object(details)) =
            line.details.as_ref().and_then(|it| serde_json::to_value(it).ok())
        {
            fields.extend(details);
        }
    }
    value
}

fn verify(files: &AuditFiles, key: Option<&AuditKey>, arguments: &Audit) -> anyhow::Result<ExitCode> {
    let Some(key) = key else {
        let wanted = arguments.anchored.is_some();
        if arguments.json {
            show_json(&json!({ "ok": !wanted, "good": 0, "broken": 0, "breaks": [] }))?;
        } else {
            print("Nothing is recorded.\n")?;
        }
        return Ok(if wanted { ExitCode::Failed } else { ExitCode::Done });
    };
    let (found, anchored) =
        verify_audit(files, key, arguments.anchored.as_ref()).map_err(|error| unreadable(&error))?;
    let anchor_problem = anchored.err().map(|fault| fault.to_string());
    let ok = found.broken == 0 && anchor_problem.is_none();
    if arguments.json {
        let breaks: Vec<Value> = found
            .breaks
            .iter()
            .map(|it| json!({ "file": it.file, "line": it.line, "problem": it.problem }))
            .collect();
        show_json(&json!({
            "ok": ok,
            "good": found.good,
            "broken": found.broken,
            "breaks": breaks,
            "torn": found.torn,
            "unfinished": found.unfinished,
            "first": found.first,
            "head": found.head.as_ref().map(|head| json!({ "seq": head.seq, "head": head.head })),
            "anchored": arguments.anchored.is_some().then_some(anchor_problem.is_none()),
            "anchor_problem": anchor_problem,
        }))?;
    } else {
        print(&describe(
            &found,
            anchor_problem.as_deref(),
            arguments.anchored.is_some(),
        ))?;
    }
    Ok(if ok { ExitCode::Done } else { ExitCode::Failed })
}

fn describe(found: &Verification, anchor_problem: Option<&str>, anchored: bool) -> String {
    let mut text = String::new();
    for broken in &found.breaks {
        text.push_str(&format!("BROKEN  {broken}\n"));
    }
    if let Some(problem) = anchor_problem {
        text.push_str(&format!("BROKEN  {problem}\n"));
    }
    text.push_str(&format!(
        "{} lines hold together, {} do not",
        found.good, found.broken
    ));
    if let Some(first) = found.first.filter(|first| *first > 1) {
        text.push_str(&format!("; lines before {first} were dropped for their age"));
    }
    text.push('\n');
    if found.torn > 0 {
        text.push_str(&format!(
            "{} lines were cut off by a crash and are named by the next one\n",
            found.torn
        ));
    }
    if found.unfinished {
        text.push_str("the last line is cut off: by a crash, or it is being written\n");
    }
    if let Some(head) = &found.head {
        text.push_str(&format!("head    {}:{}\n", head.seq, head.head));
    }
    if !anchored {
        text.push_str(
            "This finds edits, insertions and removals between the first line and the last. Lines cut off the end show only \
             against a head that was kept elsewhere: --anchored SEQ:HEAD\n",
        );
    }
    text
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(
        ExitCode::Permission,
        format!("the audit log cannot be read: {}", in_plain_words(error)),
    )
    .hint("run the command as the agent's user, or as root")
}
