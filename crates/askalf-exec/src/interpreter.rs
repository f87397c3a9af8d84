//! The seam between a program that speaks a language of its own on standard output and the people who watch it.

/// Makes text for people of what a program writes to its standard output. However the pieces fall, the text is the same.
pub(crate) trait Interpreter: Send {
    /// The text of the next piece: whole characters, none of them NUL.
    fn push(&mut self, piece: &[u8]) -> String;

    /// What is left at the end of the stream.
    fn finish(&mut self) -> String;

    /// What the program has told of its run so far.
    fn figures(&self) -> Figures;
}

/// What a model's run came to, as far as its program told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Cost in US dollars.
    pub(crate) cost: f64,
    /// Turns of the model.
    pub(crate) turns: u32,
    /// Tokens that the model read, cached ones included.
    pub(crate) input_tokens: u64,
    /// Tokens that the model wrote.
    pub(crate) output_tokens: u64,
    /// What went wrong by the program's own word, for a person.
    pub(crate) error: Option<String>,
}
