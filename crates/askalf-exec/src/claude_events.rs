//! What `claude -p --output-format stream-json --verbose` writes: one event a line.
//!
//! <https://code.claude.com/docs/en/headless> and the Agent SDK's types. An `assistant` event holds blocks of a message, and a
//! message may come in several of them; the last event is a `result`.

use askalf_proto::one_line;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::interpreter::Figures;
use crate::json_lines::{Dialect, amount, count, field, whole_line};

/// Reads the events of one run.
#[derive(Debug, Default)]
pub(crate) struct ClaudeEvents {
    /// The text that came last: a result says it again.
    last_text: String,
    /// The message that came last, and what it cost, which each of its events tells anew.
    message: Option<String>,
    usage: Usage,
    /// What the messages came to, where no result tells.
    told: Figures,
    result: Option<Figures>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    input: u64,
    output: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a RawValue,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parent_tool_use_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subtype: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    total_cost_usd: Option<&'a RawValue>,
    #[serde(borrow, default)]
    num_turns: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a RawValue,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UsageWire<'a> {
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
}

impl Dialect for ClaudeEvents {
    fn event(&mut self, object: &[u8]) -> Result<String, serde_json::Error> {
        let event: Event<'_> = serde_json::from_slice(object)?;
        let kind: String = field(Some(event.kind)).unwrap_or_default();
        Ok(match kind.as_str() {
            "assistant" => self.assistant(&event),
            "result" => self.result(&event),
            _ => String::new(),
        })
    }

    fn figures(&self) -> Figures {
        self.result.clone().unwrap_or_else(|| self.told.clone())
    }
}

impl ClaudeEvents {
    fn assistant(&mut self, event: &Event<'_>) -> String {
        let Some(message) = field::<Message<'_>>(event.message) else {
            return String::new();
        };
        self.note_usage(&message);
        // What a subagent says is said to the agent that started it.
        if field::<String>(event.parent_tool_use_id).is_some() {
            return String::new();
        }
        let blocks: Vec<&RawValue> = field(message.content).unwrap_or_default();
        let texts: Vec<String> = blocks
            .into_iter()
            .filter_map(|block| {
                let block: Block<'_> = field(Some(block))?;
                let kind: String = field(Some(block.kind))?;
                field(block.text.filter(|_| kind == "text"))
            })
            .collect();
        let text = texts.join("\n");
        if !text.trim().is_empty() {
            self.last_text.clone_from(&text);
        }
        whole_line(text)
    }

    fn note_usage(&mut self, message: &Message<'_>) {
        let id: Option<String> = field(message.id);
        if id.is_none() || id != self.message {
            self.message = id;
            self.usage = Usage::default();
            self.told.turns = self.told.turns.saturating_add(1);
        }
        let now = usage(message.usage);
        let (told, before) = (&mut self.told, self.usage);
        told.input_tokens = told
            .input_tokens
            .saturating_sub(before.input)
            .saturating_add(now.input);
        told.output_tokens = told
            .output_tokens
            .saturating_sub(before.output)
            .saturating_add(now.output);
        self.usage = now;
    }

    fn result(&mut self, event: &Event<'_>) -> String {
        let text: String = field(event.result).unwrap_or_default();
        let usage = usage(event.usage);
        self.result = Some(Figures {
            cost: amount(event.total_cost_usd).unwrap_or_default(),
            turns: u32::try_from(count(event.num_turns).unwrap_or_default()).unwrap_or(u32::MAX),
            input_tokens: usage.input,
            output_tokens: usage.output,
            error: error(event, &text),
        });
        if self.last_text.trim_end().ends_with(text.trim()) {
            return String::new();
        }
        whole_line(text)
    }
}

fn usage(raw: Option<&RawValue>) -> Usage {
    let Some(usage) = field::<UsageWire<'_>>(raw) else {
        return Usage::default();
    };
    let input = [
        usage.input_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
    ];
    Usage {
        input: input.into_iter().filter_map(count).fold(0, u64::saturating_add),
        output: count(usage.output_tokens).unwrap_or_default(),
    }
}

/// What went wrong by a result; its own words where it has some.
fn error(event: &Event<'_>, text: &str) -> Option<String> {
    let subtype: String = field(event.subtype).unwrap_or_default();
    let failed = field::<bool>(event.is_error).unwrap_or_default() || subtype.starts_with("error");
    if !failed {
        return None;
    }
    Some(match subtype.as_str() {
        "error_max_turns" => "claude used up the turns that it was given".to_owned(),
        "error_max_budget_usd" => "claude used up the budget that it was given".to_owned(),
        _ => {
            let errors: Vec<String> = field(event.errors).unwrap_or_default();
            let errors = errors.join("; ");
            let said = if errors.is_empty() { text } else { &errors };
            match said.trim() {
                "" => format!("claude failed ({})", one_line(&subtype)),
                said => format!("claude failed: {}", one_line(said)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::Interpreter;
    use crate::json_lines::JsonLines;

    const RUN: &str = concat!(
        r#"{"type":"system","subtype":"init","cwd":"/srv","session_id":"s","tools":["Bash"],"model":"m"}"#,
        "\n",
        r#"{"type":"assistant","message":{"id":"msg_1","role":"assistant","content":[{"type":"thinking","thinking":"hm"}],"usage":{"input_tokens":3,"cache_read_input_tokens":100,"output_tokens":1}},"parent_tool_use_id":null}"#,
        "\n",
        r#"{"type":"assistant","message":{"id":"msg_1","role":"assistant","content":[{"type":"text","text":"I look."},{"type":"tool_use","id":"t","name":"Bash","input":{"command":"ls"}}],"usage":{"input_tokens":3,"cache_read_input_tokens":100,"output_tokens":9}},"parent_tool_use_id":null}"#,
        "\n",
        r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a\nb"}]}}"#,
        "\n",
        r#"{"type":"assistant","message":{"id":"msg_s","content":[{"type":"text","text":"inner"}],"usage":{}},"parent_tool_use_id":"t"}"#,
        "\n",
        r#"{"type":"assistant","message":{"id":"msg_2","content":[{"type":"text","text":"Two files."}],"usage":{"input_tokens":5,"output_tokens":4}}}"#,
        "\n",
    );

    fn read(text: &str) -> (String, Figures) {
        let mut lines = JsonLines::new(ClaudeEvents::default());
        let mut said = lines.push(text.as_bytes());
        said += &lines.finish();
        (said, lines.figures())
    }

    #[test]
    fn a_run_is_told_with_its_figures() {
        let end = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":3,"result":"Two files.","total_cost_usd":0.0125,"usage":{"input_tokens":8,"cache_creation_input_tokens":50,"cache_read_input_tokens":100,"output_tokens":13},"new_field":{}}"#;
        let (said, figures) = read(&format!("{RUN}{end}\n"));
        assert_eq!(said, "I look.\nTwo files.\n");
        let expected = Figures {
            cost: 0.0125,
            turns: 3,
            input_tokens: 158,
            output_tokens: 13,
            error: None,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_run_that_is_cut_off_tells_what_its_messages_told() {
        let (said, figures) = read(RUN);
        assert_eq!(said, "I look.\nTwo files.\n");
        let expected = Figures {
            turns: 3,
            input_tokens: 108,
            output_tokens: 13,
            ..Figures::default()
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_result_that_was_not_said_before_is_said() {
        let (said, _) = read(r#"{"type":"result","subtype":"success","result":"4","usage":null}"#);
        assert_eq!(said, "4\n");
    }

    #[test]
    fn each_failure_has_its_words() {
        for (result, error) in [
            (
                r#"{"type":"result","subtype":"error_max_turns","is_error":true,"num_turns":2}"#,
                "claude used up the turns that it was given",
            ),
            (
                r#"{"type":"result","subtype":"error_max_budget_usd","is_error":false}"#,
                "claude used up the budget that it was given",
            ),
            (
                r#"{"type":"result","subtype":"success","is_error":true,"result":"Not logged in\nRun /login"}"#,
                "claude failed: Not logged in Run /login",
            ),
            (
                r#"{"type":"result","subtype":"error_during_execution","errors":["no route","gave up"]}"#,
                "claude failed: no route; gave up",
            ),
            (
                r#"{"type":"result","subtype":"error_of_tomorrow"}"#,
                "claude failed (error_of_tomorrow)",
            ),
        ] {
            assert_eq!(read(result).1.error.as_deref(), Some(error), "{result}");
        }
    }

    #[test]
    fn odd_events_cost_nothing_but_themselves() {
        let (said, figures) = read(concat!(
            "{\"type\":7}\n{\"type\":\"assistant\"}\n{\"type\":\"assistant\",\"message\":{\"content\":\"text\"}}\n",
            "{\"type\":\"assistant\",\"message\":{\"content\":[7,{\"type\":\"text\"},{\"type\":\"text\",\"text\":\"yes\\u0000\"}]}}\n",
            "{\"type\":\"result\",\"result\":[],\"total_cost_usd\":\"much\",\"num_turns\":1,\"usage\":7}\n",
        ));
        assert_eq!(said, "yes\u{fffd}\n");
        assert_eq!((figures.turns, figures.cost, figures.error), (1, 0.0, None));
    }
}
