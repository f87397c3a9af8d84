//! Errors of the system in words alone.

use std::io;

/// The system's message without the bare number that `Display` of [`io::Error`] adds.
pub(crate) fn text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        // Windows makes sentences of them.
        Some(at) => text[..at].trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_no_error_number() {
        let missing = text(&io::Error::from_raw_os_error(2));
        // Windows has words of its own, in the user's language.
        assert!(
            cfg!(windows) || missing == "No such file or directory",
            "{missing}"
        );
        assert!(
            !missing.contains("os error") && !missing.ends_with('.'),
            "{missing}"
        );
        assert_eq!(text(&io::Error::other("broken")), "broken");
    }
}
