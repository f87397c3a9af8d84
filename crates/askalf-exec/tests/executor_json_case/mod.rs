//! What must hold of anything that a model's program writes. The fuzz target, the test that replays its corpus and a property
//! share it.

use askalf_exec::{Figures, Interpreter, claude_interpreter, codex_interpreter};

/// Checks one stream: its first byte says how it is cut.
pub(crate) fn check(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    for interpreter in [claude_interpreter, codex_interpreter] {
        let whole = read(interpreter(), [stream]);
        let pieces = read(interpreter(), stream.chunks(usize::from(*cut) % 64 + 1));
        assert_eq!(whole, pieces, "how a stream is cut changes nothing");
        let (text, figures) = whole;
        assert!(!text.contains('\0'));
        // A byte that is none of UTF-8 becomes three, and each line may be completed.
        assert!(
            text.len() <= 4 * stream.len() + 64,
            "{} bytes of {}",
            text.len(),
            stream.len()
        );
        assert!(figures.cost.is_finite() && figures.cost >= 0.0, "{figures:?}");
        let error = figures.error.unwrap_or_default();
        assert!(
            error.chars().count() <= 256 && !error.contains(char::is_control),
            "{error:?}"
        );
    }
}

fn read<'a>(
    mut interpreter: Box<dyn Interpreter>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (String, Figures) {
    let mut text = String::new();
    for piece in pieces {
        text += &interpreter.push(piece);
    }
    text += &interpreter.finish();
    (text, interpreter.figures())
}
