//! What stands under the help of each command. A test reads every line by the definitions.

use askalf_cli::Examples;

/// The examples, by the words of their command.
pub(crate) const EXAMPLES: Examples = &[
    (
        "connect",
        &[
            (
                "a key on standard input, and more than its defaults",
                "askalf-agent connect - --url https://bridge.example --concurrent 4 < key.txt",
            ),
            (
                "a key in a file for its owner alone",
                "askalf-agent connect --key-file key.txt --url https://bridge.example",
            ),
            (
                "and have the machine start the agent from now on",
                "askalf-agent connect - --url https://bridge.example --install < key.txt",
            ),
            (
                "a bridge whose certificate is of a CA of your own",
                "askalf-agent connect - --url https://bridge.example --ca-file ca.pem < key.txt",
            ),
        ],
    ),
    (
        "pair",
        &[
            (
                "a code of 'askalf-bridge pair-code new'",
                "askalf-agent pair K7QM-2F9X-TBX3 --url https://bridge.example",
            ),
            (
                "again, where the bridge is set up already",
                "askalf-agent pair K7QM-2F9X-TBX3",
            ),
            (
                "a code or a key, asked for and not shown",
                "askalf-agent pair --url https://bridge.example",
            ),
            (
                "a key in a file",
                "askalf-agent pair - --url https://bridge.example < key.txt",
            ),
        ],
    ),
    (
        "daemon",
        &[
            ("", "askalf-agent daemon"),
            (
                "a second device on this machine",
                "askalf-agent daemon --home /srv/second",
            ),
        ],
    ),
    (
        "doctor",
        &[
            ("what is wrong, and what to do", "askalf-agent doctor"),
            ("what is safe to mend is mended", "askalf-agent doctor --fix"),
            (
                "a report without secrets, for whoever helps",
                "askalf-agent doctor --bundle report.txt",
            ),
        ],
    ),
    (
        "install-service",
        &[
            (
                "the machine's service, as root: tasks run as a user of their own",
                "askalf-agent install-service",
            ),
            (
                "what would be written and run, and nothing is done",
                "askalf-agent install-service --dry-run",
            ),
            (
                "tasks that may do what any program of their user may",
                "askalf-agent install-service --profile unconfined",
            ),
            (
                "an agent that ran as somebody else becomes the service, as the same device",
                "askalf-agent install-service --adopt /home/ann/.askalf",
            ),
        ],
    ),
    (
        "uninstall-service",
        &[("the credential stays", "askalf-agent uninstall-service")],
    ),
    (
        "status",
        &[
            ("", "askalf-agent status"),
            (
                "for scripts: exit 0 only when online",
                "askalf-agent status --check",
            ),
        ],
    ),
    (
        "scan",
        &[("", "askalf-agent scan"), ("", "askalf-agent scan --json")],
    ),
    ("disconnect", &[("", "askalf-agent disconnect")]),
    ("cred status", &[("", "askalf-agent cred status --json")]),
    (
        "cred verify",
        &[(
            "before a reboot: does the key unseal?",
            "askalf-agent cred verify",
        )],
    ),
    (
        "cred hash",
        &[
            (
                "what a row of api_keys needs, of a key in a file",
                "askalf-agent cred hash - < key.txt",
            ),
            ("of a new key", "askalf-agent cred hash --mint"),
        ],
    ),
    ("cred rotate-key", &[("", "askalf-agent cred rotate-key")]),
    (
        "cred export",
        &[(
            "the passphrase is asked for, or comes from --passphrase-file",
            "askalf-agent cred export --out laptop.askalf",
        )],
    ),
    (
        "cred import",
        &[("on the new hardware", "askalf-agent cred import laptop.askalf")],
    ),
    (
        "redact",
        &[("try the rules in redaction.txt", "printenv | askalf-agent redact")],
    ),
    (
        "policy",
        &[("", "askalf-agent policy"), ("", "askalf-agent policy --json")],
    ),
    (
        "policy check",
        &[
            ("", "askalf-agent policy check 'rm -r build' --cwd /srv/site"),
            ("", "askalf-agent policy check 'sum up the log' --executor claude"),
        ],
    ),
    ("approvals", &[("what waits", "askalf-agent approvals")]),
    ("approvals list", &[("", "askalf-agent approvals list --json")]),
    (
        "approvals show",
        &[("all of it, before you decide", "askalf-agent approvals show ID")],
    ),
    ("approvals approve", &[("", "askalf-agent approvals approve ID")]),
    ("approvals deny", &[("", "askalf-agent approvals deny ID")]),
    (
        "audit",
        &[
            ("", "askalf-agent audit --limit 10"),
            ("does the log hold together?", "askalf-agent audit --verify"),
        ],
    ),
    #[cfg(unix)]
    (
        "upgrade",
        &[
            (
                "signed by the key that was built in",
                "askalf-agent upgrade askalf-agent-0.2.0-x86_64-linux.tar.gz",
            ),
            (
                "by a key of your own, under a supervisor of another kind",
                "askalf-agent upgrade askalf-agent-0.2.0-x86_64-linux.tar.gz --trusted-key release.pub --restart-with 'sv restart askalf'",
            ),
        ],
    ),
    ("recovery", &[("", "askalf-agent recovery")]),
    (
        "completions",
        &[
            (
                "",
                "askalf-agent completions bash > ~/.local/share/bash-completion/completions/askalf-agent",
            ),
            ("", "askalf-agent completions zsh > ~/.zfunc/_askalf-agent"),
            (
                "",
                "askalf-agent completions fish > ~/.config/fish/completions/askalf-agent.fish",
            ),
            ("", "askalf-agent completions powershell > askalf-agent.ps1"),
        ],
    ),
];
