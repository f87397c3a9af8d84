//! What `codex exec --json` writes since its version 0.44: one event a line.
//!
//! <https://developers.openai.com/codex/noninteractive>, and `exec_events.rs` of the program itself. It tells tokens, and
//! nothing of a cost.

use askalf_proto::one_line;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::interpreter::Figures;
use crate::json_lines::{Dialect, count, field, whole_line};

/// Reads the events of one run.
#[derive(Debug, Default)]
pub(crate) struct CodexEvents {
    figures: Figures,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a RawValue,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a RawValue,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Usage<'a> {
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

impl Dialect for CodexEvents {
    fn event(&mut self, object: &[u8]) -> Result<String, serde_json::Error> {
        let event: Event<'_> = serde_json::from_slice(object)?;
        let kind: String = field(Some(event.kind)).unwrap_or_default();
        match kind.as_str() {
            "item.completed" => return Ok(said(event.item)),
            "turn.completed" => {
                // What failed before was tried again, and done.
                self.figures.error = None;
                self.end_turn(event.usage);
            }
            "turn.failed" => {
                let failure: Option<Failure<'_>> = field(event.error);
                self.fail(failure.and_then(|failure| failure.message));
                self.end_turn(event.usage);
            }
            "error" => self.fail(event.message),
            _ => {}
        }
        Ok(String::new())
    }

    fn figures(&self) -> Figures {
        self.figures.clone()
    }
}

impl CodexEvents {
    fn end_turn(&mut self, usage: Option<&RawValue>) {
        self.figures.turns = self.figures.turns.saturating_add(1);
        if let Some(usage) = field::<Usage<'_>>(usage) {
            let add = |sum: &mut u64, more| *sum = sum.saturating_add(count(more).unwrap_or_default());
            add(&mut self.figures.input_tokens, usage.input_tokens);
            add(&mut self.figures.output_tokens, usage.output_tokens);
        }
    }

    fn fail(&mut self, message: Option<&RawValue>) {
        let message: String = field(message).unwrap_or_default();
        self.figures.error = Some(match message.trim() {
            "" => "codex failed".to_owned(),
            said => format!("codex failed: {}", one_line(said)),
        });
    }
}

/// The text of a message to the user.
fn said(item: Option<&RawValue>) -> String {
    let text = || {
        let item: Item<'_> = field(item)?;
        let kind: String = field(Some(item.kind))?;
        field(item.text.filter(|_| kind == "agent_message"))
    };
    whole_line(text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::Interpreter;
    use crate::json_lines::JsonLines;

    fn read(text: &str) -> (String, Figures) {
        let mut lines = JsonLines::new(CodexEvents::default());
        let mut said = lines.push(text.as_bytes());
        said += &lines.finish();
        (said, lines.figures())
    }

    #[test]
    fn a_run_is_told_with_its_figures() {
        let (said, figures) = read(concat!(
            r#"{"type":"thread.started","thread_id":"0199"}"#,
            "\n",
            r#"{"type":"turn.started"}"#,
            "\n",
            r#"{"type":"error","message":"Reconnecting... 1/5"}"#,
            "\n",
            r#"{"type":"item.completed","item":{"id":"item_0","type":"reasoning","text":"hm"}}"#,
            "\n",
            r#"{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"ls","status":"in_progress"}}"#,
            "\n",
            r#"{"type":"item.completed","item":{"id":"item_2","type":"agent_message","text":"Two files."}}"#,
            "\n",
            r#"{"type":"turn.completed","usage":{"input_tokens":1200,"cached_input_tokens":200,"output_tokens":345}}"#,
            "\n",
        ));
        assert_eq!(said, "Two files.\n");
        let expected = Figures {
            turns: 1,
            input_tokens: 1200,
            output_tokens: 345,
            ..Figures::default()
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_turn_that_fails_says_why() {
        let (said, figures) = read(concat!(
            r#"{"type":"error","message":"stream disconnected"}"#,
            "\n",
            r#"{"type":"turn.failed","error":{"message":"401\nUnauthorized"}}"#,
        ));
        assert_eq!(said, "");
        assert_eq!(figures.error.as_deref(), Some("codex failed: 401 Unauthorized"));
        let (_, figures) = read(r#"{"type":"turn.failed"}"#);
        assert_eq!(
            (figures.error.as_deref(), figures.turns),
            (Some("codex failed"), 1)
        );
    }

    #[test]
    fn odd_events_cost_nothing_but_themselves() {
        let (said, figures) = read(concat!(
            "{\"type\":[]}\n{\"type\":\"item.completed\"}\n{\"type\":\"item.completed\",\"item\":{\"type\":\"agent_message\",\"text\":7}}\n",
            "{\"id\":\"0\",\"msg\":{\"type\":\"task_started\"}}\n{\"type\":\"turn.completed\",\"usage\":[]}\n",
        ));
        assert_eq!((said.as_str(), figures.turns, figures.input_tokens), ("", 1, 0));
    }
}
