//! The language of unit files, as far as it is written and read here: systemd.syntax(7), and the quoting of systemd.service(5).

/// A word as a unit has it: quoted where it must be, and no specifier.
pub(super) fn quoted(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for character in word.chars() {
        match character {
            '%' => text.push_str("%%"),
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            '\n' => text.push_str("\\n"),
            _ => text.push(character),
        }
    }
    if word.contains([' ', '\t', '\n', '"', '\'', '\\', ';', '#']) {
        text = format!("\"{text}\"");
    }
    text
}

/// The first word of a command line, where a lone `$` begins a variable.
pub(super) fn program(path: &str) -> String {
    quoted(path).replace('$', "$$")
}

/// The assignments of a unit in order, sections aside: a name and what stands behind its `=`.
pub(super) fn assignments(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            let next = lines.next().unwrap_or_default().trim();
            whole = if next.starts_with(['#', ';']) {
                format!("{begun}\\")
            } else {
                format!("{begun} {next}")
            };
        }
        if let Some((name, value)) = whole.split_once('=') {
            found.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// The words of a value, without their quotes.
pub(super) fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            ('\\', _) => {
                if let Some(next) = characters.next() {
                    word.get_or_insert_default().push(next);
                }
            }
            (' ' | '\t', None) => words.extend(word.take()),
            ('%', _) if characters.peek() == Some(&'%') => {
                characters.next();
                word.get_or_insert_default().push(character);
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_read_back() {
        for word in ["/usr/bin/askalf-agent", "/home/ann lee/100%/$x", r#"a"b\c"#] {
            assert_eq!(words(&quoted(word)), [word]);
        }
        assert_eq!(quoted("/plain/path"), "/plain/path");
        assert_eq!(program("/a b/$x"), r#""/a b/$$x""#);
    }

    #[test]
    fn assignments_are_read_as_systemd_reads_them() {
        let text = "[Unit]\nDescription = x=y\n# c=d\n\n[Service]\nExecStart=/usr/bin/node \\\n  a \\\n  b\nUser=ann\n";
        let expected = [
            ("Description", "x=y"),
            ("ExecStart", "/usr/bin/node   a   b"),
            ("User", "ann"),
        ];
        let found = assignments(text);
        assert_eq!(found.len(), expected.len());
        for ((name, value), (expected_name, expected_value)) in found.iter().zip(expected) {
            assert_eq!(
                (name.as_str(), words(value)),
                (expected_name, words(expected_value))
            );
        }
    }
}
