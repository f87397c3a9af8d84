//! One file of a transcript: typed into a shell, and compared with what came.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::{Binaries, workspace_root};
use regex::Regex;
use snapbox::{Assert, Data};

/// Ends the output of each line that was typed; its exit code follows.
const END: &str = "\u{1}\u{2} ";

/// Longest run of one file, in seconds: `timeout` of coreutils ends a shell that hangs.
const SECONDS: &str = "120";

/// What differs from run to run and from machine to machine, and what stands for it.
const VARYING: [(&str, &str); 23] = [
    (r"dev_[0-9A-Z]{26}", "[DEVICE]"),
    (r"\b([a-z]+_)?01[0-9A-HJKMNP-TV-Z]{24}\b", "[ID]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
    (r"sk_(live|test)_[0-9A-Za-z_-]{32,43}", "[KEY]"),
    (r"sk_live_[0-9A-Za-z_-]{4}\b", "[PREFIX]"),
    (r"[0-9a-f]{32}\.[0-9a-f]{64}", "[HASH]"),
    (r"\b[0-9a-f]{64}\b", "[HEAD]"),
    (r"\b[0-9a-f]{16}\b", "[KEY ID]"),
    (r"\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b", "[CODE]"),
    (r"\b1[6-9]\d{11}\b", "[MILLIS]"),
    (r"(?m)^process +\d+", "process  [PID]"),
    (r#""process":\d+"#, r#""process":[PID]"#),
    (r"\(process \d+\)", "(process [PID])"),
    (r", for \d+ s\b", ", for [SPAN]"),
    (r"\b\d+ ms\b", "[SPAN]"),
    (r#""(duration_ms|durationMs)":\d+"#, "\"$1\":[N]"),
    (
        r#""(hostname|cwd|working_directory)":"[^"]*""#,
        "\"$1\":\"[...]\"",
    ),
    (
        r#""platform_capabilities":\{[^}]*\}"#,
        "\"platform_capabilities\":{...}",
    ),
    (r"\bHOST +OS", "HOST OS"),
    (r"(online|offline)  \S+ +linux", "$1  [HOST] linux"),
    (r"(askalf-dispatch +)/\S*", "$1[FOLDER]"),
    (r"folder     /\S*", "folder     [FOLDER]"),
    (r"host           \S+", "host           [HOST]"),
];

/// A file and the shell that it is typed into.
#[derive(Debug)]
pub(crate) struct Script {
    file: PathBuf,
    scratch: PathBuf,
    variables: Vec<(String, String)>,
}

impl Script {
    /// The file of this name, with homes in `scratch`.
    pub(crate) fn new(name: &str, scratch: &Path, programs: &Binaries) -> Result<Self> {
        let folder = programs
            .agent
            .parent()
            .context("the programs stand in no folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let scratch = scratch.canonicalize()?;
        let shown = scratch.to_str().context("a scratch folder that is not UTF-8")?;
        let variables = [
            ("PATH", format!("{}:{path}", folder.display())),
            ("HOME", shown.to_owned()),
            ("ASKALF_HOME", format!("{shown}/agent")),
            ("ASKALF_BRIDGE_HOME", format!("{shown}/bridge")),
            ("LC_ALL", "C.UTF-8".to_owned()),
        ];
        Ok(Self {
            file: workspace_root()?.join(format!("e2e/tests/transcripts/{name}.console")),
            variables: variables.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            scratch,
        })
    }

    /// Sets a variable of the shell.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Types every line of the file and compares.
    pub(crate) fn run(&self) -> Result<()> {
        let text = fs::read_to_string(&self.file).with_context(|| self.file.display().to_string())?;
        let typed: Vec<&str> = text.lines().filter(|line| line.starts_with("$ ")).collect();
        ensure!(!typed.is_empty(), "{} types nothing", self.file.display());
        let came = self.type_in(&typed)?;
        let mut actual = String::new();
        let mut answers = came.into_iter();
        // What stands between the answers and the next line typed, as headings do, is for the reader.
        for block in text.split_inclusive('\n') {
            if block.starts_with("## ") {
                actual.push_str(&format!("{}{block}", if actual.is_empty() { "" } else { "\n" }));
            } else if block.starts_with("$ ") {
                let (code, output) = answers.next().context("a line was not typed")?;
                actual.push_str(block);
                if code != 0 {
                    actual.push_str(&format!("? {code}\n"));
                }
                actual.push_str(&self.settled(&output)?);
            }
        }
        Assert::new()
            .action_env("SNAPSHOTS")
            .normalize_paths(false)
            .eq(actual, Data::read_from(&self.file, None));
        Ok(())
    }

    /// Exit code and output of each line.
    fn type_in(&self, typed: &[&str]) -> Result<Vec<(i32, String)>> {
        let mut script = String::new();
        for line in typed {
            let line = line.trim_start_matches("$ ");
            script.push_str(&format!("{{ {line}\n}} 2>&1\nprintf '{END}%s\\n' $?\n"));
        }
        let output = Command::new("timeout")
            .args([SECONDS, "sh", "-c", &script])
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.scratch)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("the shell cannot be run")?;
        let output = String::from_utf8(output.stdout).context("output that is not UTF-8")?;
        let mut answers = Vec::new();
        let mut rest = output.as_str();
        while let Some((answer, after)) = rest.split_once(END) {
            let (code, after) = after.split_once('\n').context("no exit code")?;
            let ended = if answer.is_empty() || answer.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            answers.push((code.parse()?, format!("{answer}{ended}")));
            rest = after;
        }
        if answers.len() != typed.len() {
            bail!("only {} of {} lines ended:\n{output}", answers.len(), typed.len());
        }
        Ok(answers)
    }

    /// The output without what varies. What was typed stays as it is.
    fn settled(&self, output: &str) -> Result<String> {
        let shown = self.scratch.display().to_string();
        let mut text = output.replace(&shown, "[HOME]");
        for (name, value) in &self.variables {
            match name.as_str() {
                "URL" => text = text.replace(value, "[URL]"),
                "ADDRESS" => text = text.replace(value, "[ADDRESS]"),
                _ => {}
            }
        }
        text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
        for (pattern, replacement) in VARYING {
            text = Regex::new(pattern)?.replace_all(&text, replacement).into_owned();
        }
        // The columns of a table are as wide as what stood there.
        let columns = Regex::new(r"(?m)(\S)   +")?;
        let lines = text
            .split_inclusive('\n')
            .map(|line| match line.starts_with(' ') {
                true => line.into(),
                false => columns.replace_all(line, "$1  "),
            });
        Ok(lines.collect())
    }
}
