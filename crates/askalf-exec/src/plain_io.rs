//! Errors of the system in words alone.

use std::io;

/// The system's message without the bare number that `Display` of [`io::Error`] adds.
pub(crate) fn text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_no_error_number() {
        assert_eq!(
            text(&io::Error::from_raw_os_error(2)),
            "No such file or directory"
        );
        assert_eq!(text(&io::Error::other("broken")), "broken");
    }
}
