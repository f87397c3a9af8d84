//! What stands under the help of each command. A test reads every line by the definitions.

use askalf_cli::Examples;

/// The examples, by the words of their command.
pub(crate) const EXAMPLES: Examples = &[
    (
        "serve",
        &[
            ("on this machine alone", "askalf-bridge serve"),
            (
                "for other machines, by TLS",
                "askalf-bridge serve --listen 0.0.0.0:3005 --tls-cert bridge.pem --tls-key bridge.key",
            ),
            (
                "on PostgreSQL",
                "askalf-bridge serve --database postgres://askalf@db.example/askalf",
            ),
        ],
    ),
    (
        "keys mint",
        &[
            ("", "askalf-bridge keys mint --name laptop"),
            (
                "an operator's, into a file for its owner alone",
                "askalf-bridge keys mint --name ops --scope admin --expires 90d --out ops.key",
            ),
            (
                "for a device that is there already",
                "askalf-bridge keys mint --name laptop --device laptop",
            ),
        ],
    ),
    ("keys list", &[("", "askalf-bridge keys list --limit 20")]),
    ("keys show", &[("", "askalf-bridge keys show ID")]),
    ("keys revoke", &[("", "askalf-bridge keys revoke ID")]),
    (
        "keys rotate",
        &[
            (
                "the key is shown once, for you to carry over",
                "askalf-bridge keys rotate ID --overlap 24h",
            ),
            (
                "over the connection of a device",
                "askalf-bridge keys rotate --device laptop",
            ),
        ],
    ),
    ("keys rotations", &[("", "askalf-bridge keys rotations")]),
    (
        "keys import",
        &[
            (
                "a token in a file",
                "askalf-bridge keys import --name laptop - < key.txt",
            ),
            (
                "the hash alone",
                "askalf-bridge keys import --name laptop --key-hash HASH --key-prefix sk_live_0123",
            ),
        ],
    ),
    (
        "keys verify",
        &[
            (
                "against a stored hash",
                "askalf-bridge keys verify --key-hash HASH - < key.txt",
            ),
            (
                "find its row, and mend its prefix",
                "askalf-bridge keys verify --repair - < key.txt",
            ),
        ],
    ),
    (
        "keys attempts",
        &[(
            "why is a device out?",
            "askalf-bridge keys attempts --prefix sk_live_NdlP",
        )],
    ),
    (
        "pair-code new",
        &[
            ("a new device", "askalf-bridge pair-code new --name laptop"),
            (
                "a device that is there already, within a day",
                "askalf-bridge pair-code new --name laptop --device laptop --ttl 24h",
            ),
        ],
    ),
    ("pair-code list", &[("", "askalf-bridge pair-code list")]),
    (
        "pair-code withdraw",
        &[("", "askalf-bridge pair-code withdraw ID")],
    ),
    (
        "users add",
        &[(
            "",
            "askalf-bridge users add anna --email anna@example.org --tenant acme",
        )],
    ),
    ("users list", &[("", "askalf-bridge users list")]),
    ("devices list", &[("", "askalf-bridge devices list --json")]),
    ("devices show", &[("", "askalf-bridge devices show laptop")]),
    ("devices remove", &[("", "askalf-bridge devices remove laptop")]),
    (
        "devices disconnect",
        &[("", "askalf-bridge devices disconnect laptop")],
    ),
    (
        "dispatch",
        &[
            ("", "askalf-bridge dispatch laptop -- 'uname -a'"),
            (
                "do not wait",
                "askalf-bridge dispatch laptop --detach --timeout 600 -- 'make -C /srv/site'",
            ),
            (
                "a prompt",
                "askalf-bridge dispatch laptop --executor claude -- 'what fills this disk?'",
            ),
        ],
    ),
    (
        "executions list",
        &[("", "askalf-bridge executions list --device laptop --open")],
    ),
    ("executions show", &[("", "askalf-bridge executions show ID")]),
    ("executions watch", &[("", "askalf-bridge executions watch ID")]),
    ("executions cancel", &[("", "askalf-bridge executions cancel ID")]),
    ("status", &[("", "askalf-bridge status")]),
    ("audit", &[("", "askalf-bridge audit --limit 20")]),
    ("migrate", &[("", "askalf-bridge migrate")]),
    ("backup", &[("", "askalf-bridge backup /srv/backups/monday")]),
    (
        "restore",
        &[(
            "in the place of a database that is there; it is kept beside",
            "askalf-bridge restore /srv/backups/monday --force",
        )],
    ),
    (
        "check-config",
        &[("", "askalf-bridge check-config --listen 0.0.0.0:3005")],
    ),
    (
        "completions",
        &[
            (
                "",
                "askalf-bridge completions bash > ~/.local/share/bash-completion/completions/askalf-bridge",
            ),
            ("", "askalf-bridge completions zsh > ~/.zfunc/_askalf-bridge"),
            (
                "",
                "askalf-bridge completions fish > ~/.config/fish/completions/askalf-bridge.fish",
            ),
            ("", "askalf-bridge completions powershell > askalf-bridge.ps1"),
        ],
    ),
];
