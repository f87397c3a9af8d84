//! Redaction: secrets in what a task writes are replaced by `[redacted:KIND]` before it is kept or sent.
//!
//! [`Secrets`] is what is known of secrets; [`Redaction`] adds what one task brings along; [`Redactor`] works on one of its
//! streams. docs/security.md has the table of kinds. Redaction catches accidents. It is no wall against a task that means to tell a
//! secret: whoever can run code can write it in another spelling.

mod assignment;
mod char_set;
mod kinds;
mod literal;
mod matcher;
mod pattern;
mod redactor;
mod rules;
mod span;
mod task;
mod url;

pub use redactor::Redactor;
pub use rules::{RedactionRules, RedactionRulesError, RuleFault};
pub use task::{Redaction, Secrets};
