//! The seam between a program that speaks a language of its own on standard output and the people who watch it.

/// Makes text for people of what a program writes to its standard output. However the pieces fall, the text is the same.
///
/// ```
/// use askalf_exec::claude_interpreter;
///
/// let mut output = claude_interpreter();
/// let result = r#"{"type":"result","subtype":"success","result":"4","num_turns":1,"total_cost_usd":0.02}"#;
/// let mut text = output.push(result[..20].as_bytes());
/// text += &output.push(result[20..].as_bytes());
/// text += &output.finish();
/// assert_eq!(text, "4\n");
/// assert_eq!(output.figures().cost, 0.02);
/// ```
pub trait Interpreter: Send {
    /// The text of the next piece: whole characters, none of them NUL.
    fn push(&mut self, piece: &[u8]) -> String;

    /// What is left at the end of the stream.
    fn finish(&mut self) -> String;

    /// What the program has told of its run so far.
    fn figures(&self) -> Figures;
}

/// What a model's run came to, as far as its program told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Cost in US dollars; finite and not negative.
    pub cost: f64,
    /// Turns of the model.
    pub turns: u32,
    /// Tokens that the model read, cached ones included.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// What went wrong by the program's own word: one line for a person.
    pub error: Option<String>,
}
