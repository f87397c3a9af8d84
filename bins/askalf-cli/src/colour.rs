//! Colour for people: on terminals, and where nobody asked for none.

use std::io::IsTerminal;

/// Whether text on this stream may be coloured: it goes to a terminal, and neither `NO_COLOR` nor `TERM=dumb` asks for none.
pub fn may_colour(stream: &impl IsTerminal) -> bool {
    let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    // Consoles of Windows may take the codes for text.
    cfg!(unix) && !asked_for_none && stream.is_terminal()
}

/// `error:` and the like at the start of a line.
pub(crate) fn label(text: &str, code: &str, coloured: bool) -> String {
    if coloured {
        format!("\u{1b}[{code}m{text}:\u{1b}[0m ")
    } else {
        format!("{text}: ")
    }
}

/// Bold red.
pub(crate) const ERROR: &str = "1;31";
/// Bold yellow.
pub(crate) const WARNING: &str = "1;33";
/// Bold green.
pub(crate) const HINT: &str = "1;32";
