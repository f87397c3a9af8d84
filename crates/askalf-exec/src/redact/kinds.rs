//! What is known of secrets: shapes of tokens, and names whose value is one. docs/security.md has the same as a table.

use super::char_set::{
    ALNUM, ANY_BASE64, BASE64URL, CAPITALS, CharSet, DASHED, DOTTED, HEX, PATH, TOKEN68, WORD,
};

/// A token that begins with fixed text.
pub(super) struct TokenShape {
    /// What stands for it in the output.
    pub(super) kind: &'static str,
    /// The fixed text, exactly so.
    pub(super) prefix: &'static str,
    /// What follows.
    pub(super) rest: CharSet,
    /// So much of it at least; below what the vendor makes, since a token may be cut off.
    pub(super) least: usize,
    /// Where in the prefix three bytes begin that are rare in ordinary text, letter case aside: the scan stops there.
    pub(super) anchor: usize,
}

const fn token(
    kind: &'static str,
    prefix: &'static str,
    rest: CharSet,
    least: usize,
    anchor: usize,
) -> TokenShape {
    TokenShape {
        kind,
        prefix,
        rest,
        least,
        anchor,
    }
}

/// From the vendors' documentation of their formats.
pub(super) const TOKENS: &[TokenShape] = &[
    token("askalf-key", "sk_live_", ANY_BASE64, 16, 1),
    token("askalf-key", "sk_test_", ANY_BASE64, 16, 1),
    token("askalf-key", "fk_", HEX, 32, 0),
    token("github", "ghp_", WORD, 20, 0),
    token("github", "gho_", WORD, 20, 0),
    token("github", "ghu_", WORD, 20, 0),
    token("github", "ghs_", DOTTED, 20, 0),
    token("github", "ghr_", WORD, 20, 0),
    token("github", "github_pat_", WORD, 20, 5),
    token("gitlab", "glpat-", DOTTED, 16, 0),
    token("gitlab", "gldt-", DOTTED, 16, 0),
    token("gitlab", "glrt-", DOTTED, 16, 0),
    token("gitlab", "glrtr-", DOTTED, 16, 0),
    token("gitlab", "glcbt-", DOTTED, 16, 0),
    token("gitlab", "glptt-", DOTTED, 16, 0),
    token("gitlab", "glft-", DOTTED, 16, 0),
    token("gitlab", "glimt-", DOTTED, 16, 0),
    token("gitlab", "glsoat-", DOTTED, 16, 0),
    token("gitlab", "glagent-", DOTTED, 16, 1),
    token("gitlab", "gloas-", DOTTED, 16, 2),
    token("slack", "xoxb-", DASHED, 10, 0),
    token("slack", "xoxp-", DASHED, 10, 0),
    token("slack", "xoxa-", DASHED, 10, 0),
    token("slack", "xoxr-", DASHED, 10, 0),
    token("slack", "xoxs-", DASHED, 10, 0),
    token("slack", "xoxo-", DASHED, 10, 0),
    token("slack", "xoxe-", DASHED, 10, 0),
    token("slack", "xoxc-", DASHED, 10, 0),
    token("slack", "xoxd-", CharSet::letters_digits_and("-%/+="), 10, 0),
    token("slack", "xapp-1-", DASHED, 10, 0),
    token("slack-webhook", "hooks.slack.com/services/", PATH, 16, 4),
    token("aws", "AKIA", CAPITALS, 16, 0),
    token("aws", "ASIA", CAPITALS, 16, 0),
    token("aws", "ABIA", CAPITALS, 16, 0),
    token("aws", "ACCA", CAPITALS, 16, 0),
    token("google", "AIza", BASE64URL, 30, 0),
    token("google", "ya29.", DOTTED, 20, 0),
    token("google", "GOCSPX-", BASE64URL, 20, 3),
    token("google", "1//0", BASE64URL, 40, 0),
    token("anthropic", "sk-ant-", BASE64URL, 20, 0),
    token("openai", "sk-proj-", BASE64URL, 20, 0),
    token("openai", "sk-svcacct-", BASE64URL, 20, 0),
    token("openai", "sk-admin-", BASE64URL, 20, 0),
    token("openai", "sk-", ALNUM, 32, 0),
    token("openrouter", "sk-or-", BASE64URL, 20, 0),
    token("groq", "gsk_", ALNUM, 32, 0),
    token("stripe", "rk_live_", WORD, 16, 1),
    token("stripe", "rk_test_", WORD, 16, 1),
    token("stripe", "whsec_", ANY_BASE64, 20, 1),
    token("npm", "npm_", ALNUM, 30, 1),
    token("pypi", "pypi-Ag", BASE64URL, 40, 1),
    token("rubygems", "rubygems_", HEX, 40, 2),
    token("docker", "dckr_pat_", BASE64URL, 20, 0),
    token("docker", "dckr_oat_", BASE64URL, 20, 0),
    token("huggingface", "hf_", ALNUM, 30, 0),
    token("digitalocean", "dop_v1_", HEX, 40, 2),
    token("digitalocean", "doo_v1_", HEX, 40, 2),
    token("digitalocean", "dor_v1_", HEX, 40, 2),
    token("shopify", "shpat_", HEX, 32, 0),
    token("shopify", "shpca_", HEX, 32, 0),
    token("shopify", "shppa_", HEX, 32, 0),
    token("shopify", "shpss_", HEX, 32, 0),
    token("vault", "hvs.", BASE64URL, 24, 0),
    token("vault", "hvb.", BASE64URL, 24, 0),
    token("vault", "hvr.", BASE64URL, 24, 0),
    token("atlassian", "ATATT3", ANY_BASE64, 40, 2),
    token("grafana", "glsa_", WORD, 32, 0),
    token("telegram", ":AA", BASE64URL, 32, 0),
    token("age", "AGE-SECRET-KEY-1", CAPITALS, 40, 10),
];

/// A name whose value is secret wherever a name ends so, in any letter case.
pub(super) struct SecretName {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    /// As [`TokenShape::anchor`].
    pub(super) anchor: usize,
}

const fn name(kind: &'static str, name: &'static str, anchor: usize) -> SecretName {
    SecretName { kind, name, anchor }
}

pub(super) const NAMES: &[SecretName] = &[
    name("password", "password", 2),
    name("password", "passwd", 2),
    name("password", "passphrase", 2),
    name("password", "_pass", 0),
    name("password", "_pwd", 0),
    name("password", ";pwd", 0),
    name("secret", "secret", 2),
    name("secret", "secret_key_base", 9),
    name("token", "token", 1),
    name("api-key", "api_key", 2),
    name("api-key", "api-key", 2),
    name("api-key", "apikey", 1),
    name("access-key", "access_key", 5),
    name("access-key", "access-key", 5),
    name("access-key", "accesskey", 5),
    name("access-key", "accountkey", 6),
    name("secret", "secret_key", 5),
    name("secret", "secret-key", 5),
    name("secret", "secretkey", 3),
    name("private-key", "private_key", 6),
    name("private-key", "private-key", 6),
    name("private-key", "privatekey", 5),
    name("encryption-key", "encryption_key", 9),
    name("encryption-key", "signing_key", 6),
];

/// The header whose value is a scheme and a credential.
pub(super) const AUTHORIZATION: SecretName = name("authorization", "authorization", 5);

/// The scheme that often stands without its header.
pub(super) const BEARER: SecretName = name("authorization", "bearer ", 4);
/// What follows it: at least [`BEARER_LEAST`] characters of this set.
pub(super) const BEARER_TOKEN: CharSet = TOKEN68;
/// Shorter is a word of a sentence.
pub(super) const BEARER_LEAST: usize = 16;

/// What stands behind a secret's name and is none.
pub(super) const HARMLESS: &[&str] = &[
    "true",
    "false",
    "null",
    "none",
    "undefined",
    "string",
    "number",
    "boolean",
    "object",
    "required",
    "optional",
    "hidden",
    "invalid",
    "expired",
    "missing",
    "unknown",
    "expected",
    "unexpected",
];
