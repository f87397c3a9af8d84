//! docs/benchmarks.md: a section for each bench, which alone is written anew.

use anyhow::{Context, Result};
use askalf_e2e::workspace_root;

/// Puts a section in the place of the one of that title, or at the end, and prints it.
pub(crate) fn write(title: &str, body: &str) -> Result<()> {
    let path = workspace_root()?.join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    std::fs::write(&path, with_section(&page, title, body)).with_context(|| path.display().to_string())?;
    println!("\n## {title}\n\n{body}\nWritten to {}", path.display());
    Ok(())
}

fn with_section(page: &str, title: &str, body: &str) -> String {
    let heading = format!("## {title}\n");
    let section = format!("{heading}\n{}\n", body.trim());
    let Some((before, rest)) = page.split_once(&heading) else {
        return format!("{}\n\n{section}", page.trim_end());
    };
    match rest.split_once("\n## ") {
        Some((_, after)) => format!("{before}{section}\n## {after}"),
        None => format!("{before}{section}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_written_anew_and_the_others_stay() {
        let page = "# Benchmarks\n\n## A\n\nold a\n\n## B\n\nold b\n";
        assert_eq!(
            with_section(page, "A", "new\n"),
            "# Benchmarks\n\n## A\n\nnew\n\n## B\n\nold b\n"
        );
        assert_eq!(
            with_section(page, "B", "new\n"),
            "# Benchmarks\n\n## A\n\nold a\n\n## B\n\nnew\n"
        );
        assert_eq!(
            with_section("# Benchmarks\n", "C", "new"),
            "# Benchmarks\n\n## C\n\nnew\n"
        );
    }
}
