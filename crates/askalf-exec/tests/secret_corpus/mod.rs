//! Secrets in ordinary surroundings, made from the formats that vendors publish. Nothing of the redactor is used here.
#![allow(dead_code, reason = "each test takes what it needs")]

/// SplitMix64: the same numbers everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn text(&mut self, alphabet: &str, length: usize) -> String {
        (0..length)
            .map(|_| char::from(self.pick(alphabet.as_bytes())))
            .collect()
    }
}

/// A text with a secret in it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) text: String,
    /// What must not be in the output, nor any eight bytes of a line of it.
    pub(crate) secret: String,
}

impl Case {
    fn new(before: &str, secret: &str, after: &str) -> Self {
        Self {
            text: format!("{before}{secret}{after}"),
            secret: secret.to_owned(),
        }
    }

    /// A part of the secret that stands in `output`, its marks aside, if one does.
    pub(crate) fn leaked<'a>(&'a self, output: &str) -> Option<&'a str> {
        let mut pieces = output.split("[redacted:");
        let mut unmarked = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            unmarked.push('\0');
            unmarked.push_str(piece.split_once(']').map_or("", |(_, behind)| behind));
        }
        let lines = self.secret.lines().filter(|line| line.len() >= 4);
        lines
            .flat_map(|line| {
                let length = line.len().min(8);
                (0..=line.len() - length).filter_map(move |at| line.get(at..at + length))
            })
            .find(|part| unmarked.contains(part))
    }
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LOWER_HEX: &str = "0123456789abcdef";
const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const URL64: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const STD64: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/";
const PASSWORD: &str =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+,-./:;<=>?@[]^_{|}~";

/// Around a token.
const AROUND: [(&str, &str); 10] = [
    ("", ""),
    ("using ", " now\n"),
    ("{\"a\":\"", "\",\"b\":1}\n"),
    ("\u{1b}[32m", "\u{1b}[0m\n"),
    ("https://api.example/x?key=", "&page=2\n"),
    ("line one\\n", "\\nline two"),
    ("[", "]"),
    ("x: é", "\r\n"),
    ("'", "'"),
    ("+++ export T=", "\n+++ true\n"),
];

/// Names of variables and fields whose value is secret.
const NAMES: [&str; 14] = [
    "DB_PASSWORD",
    "password",
    "spring.datasource.password",
    "MYSQL_PWD",
    "REDIS_PASSWD",
    "passphrase",
    "CLIENT_SECRET",
    "clientSecret",
    "NPM_TOKEN",
    "access_token",
    "X-Api-Key",
    "OPENAI_API_KEY",
    "aws_secret_access_key",
    "SECRET_KEY_BASE",
];

/// So many cases by a seeded grammar.
pub(crate) fn grammar(seed: u64, count: usize) -> Vec<Case> {
    let mut random = Random(seed);
    (0..count)
        .map(|index| match index % 5 {
            0 | 1 => token(&mut random),
            2 => assignment(&mut random),
            3 => url(&mut random),
            _ => match random.below(3) {
                0 => block(&mut random),
                1 => header(&mut random),
                _ => jwt(&mut random),
            },
        })
        .collect()
}

fn token(random: &mut Random) -> Case {
    let secret = match random.below(30) {
        0 => format!("sk_live_{}", random.text(BASE62, 32)),
        1 => format!("sk_test_{}", random.text(URL64, 43)),
        2 => format!("fk_{}", random.text(LOWER_HEX, 64)),
        3 => format!(
            "{}_{}",
            random.pick(&["ghp", "gho", "ghu", "ghs", "ghr"]),
            random.text(BASE62, 36)
        ),
        4 => format!(
            "github_pat_{}_{}",
            random.text(BASE62, 22),
            random.text(BASE62, 59)
        ),
        5 => format!(
            "{}-{}",
            random.pick(&["glpat", "gldt", "glptt", "glft", "glsoat"]),
            random.text(URL64, 20)
        ),
        6 => format!(
            "xoxb-{}-{}-{}",
            random.text("123456789", 12),
            random.text("123456789", 13),
            random.text(BASE62, 24)
        ),
        7 => format!(
            "xoxp-{}-{}",
            random.text("123456789", 12),
            random.text(LOWER_HEX, 32)
        ),
        8 => format!(
            "{}{}",
            random.pick(&["AKIA", "ASIA"]),
            random.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
        ),
        9 => format!("AIza{}", random.text(URL64, 35)),
        10 => format!("ya29.{}", random.text(URL64, 120)),
        11 => format!("GOCSPX-{}", random.text(URL64, 28)),
        12 => format!("sk-ant-api03-{}AA", random.text(URL64, 93)),
        13 => format!(
            "sk-{}T3BlbkFJ{}",
            random.text(BASE62, 20),
            random.text(BASE62, 20)
        ),
        14 => format!(
            "sk-proj-{}T3BlbkFJ{}",
            random.text(URL64, 58),
            random.text(URL64, 58)
        ),
        15 => format!("rk_live_{}", random.text(BASE62, 24)),
        16 => format!("whsec_{}", random.text(BASE62, 32)),
        17 => format!("npm_{}", random.text(BASE62, 36)),
        18 => format!("pypi-AgEIcHlwaS5vcmc{}", random.text(URL64, 160)),
        19 => format!("SG.{}.{}", random.text(URL64, 22), random.text(URL64, 43)),
        20 => format!("hf_{}", random.text(BASE62, 34)),
        21 => format!("dop_v1_{}", random.text(LOWER_HEX, 64)),
        22 => format!("shpat_{}", random.text(LOWER_HEX, 32)),
        23 => format!("hvs.{}", random.text(URL64, 90)),
        24 => format!("dckr_pat_{}", random.text(URL64, 27)),
        25 => format!("glsa_{}_{}", random.text(BASE62, 32), random.text(LOWER_HEX, 8)),
        26 => format!("rubygems_{}", random.text(LOWER_HEX, 48)),
        27 => format!("AGE-SECRET-KEY-1{}", random.text(UPPER, 58)),
        28 => format!("gsk_{}", random.text(BASE62, 52)),
        _ => format!(
            "https://hooks.slack.com/services/T{}/B{}/{}",
            random.text(UPPER, 8),
            random.text(UPPER, 8),
            random.text(BASE62, 24)
        )
        .split_off("https://".len()),
    };
    let (before, after) = random.pick(&AROUND);
    Case::new(before, &secret, after)
}

fn assignment(random: &mut Random) -> Case {
    let name = random.pick(&NAMES);
    let length = 8 + random.below(32);
    let value = random.text(BASE62, 1) + &random.text(PASSWORD, length);
    let quoted = random.text(BASE62, 1) + &random.text(&format!("{PASSWORD} "), length) + "9";
    match random.below(9) {
        0 => Case::new(&format!("{name}="), &value, "\n"),
        1 => Case::new(&format!("export {name}=\""), &quoted, "\"\n"),
        2 => Case::new(&format!("  {name}: "), &value, "\n"),
        3 => Case::new(&format!("{{\"{name}\": \""), &quoted, "\", \"x\": 1}"),
        4 => Case::new(&format!("{{\"{name}\":\""), &quoted, "\"}"),
        5 => Case::new(&format!("\"{{\\\"{name}\\\":\\\""), &quoted, "\\\"}\""),
        6 => Case::new(&format!("{name} = "), &value, "\r\n"),
        7 => Case::new(&format!("'{name}' => '"), &quoted, "',"),
        _ => Case::new(&format!("+ {name}='"), &quoted, "' make"),
    }
}

fn url(random: &mut Random) -> Case {
    let scheme = random.pick(&[
        "postgres",
        "postgresql",
        "mysql",
        "mongodb+srv",
        "redis",
        "amqps",
        "https",
    ]);
    let user = random.pick(&["app", "", "svc-1", "ann%40example.org"]);
    let length = 6 + random.below(30);
    let password = random.text(&format!("{BASE62}-._~!$&()*+,;=%"), length);
    let host = random.pick(&["db", "db.example:5432", "10.0.0.7/app?ssl=1", "[::1]:5432/x"]);
    Case::new(
        &format!("connecting to {scheme}://{user}:"),
        &password,
        &format!("@{host}\n"),
    )
}

fn block(random: &mut Random) -> Case {
    let label = random.pick(&[
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ]);
    let lines = 1 + random.below(6);
    let mut body: Vec<String> = (0..lines).map(|_| random.text(STD64, 64)).collect();
    let length = 8 + random.below(40);
    body.push(random.text(STD64, length) + "==");
    let ends = random.pick(&["\n", "\r\n", "\\n"]);
    let mut case = Case::new(
        &format!("-----BEGIN {label}-----{ends}"),
        &body.join(ends),
        &format!("{ends}-----END {label}-----\nafter\n"),
    );
    case.secret = body.join("\n");
    case
}

fn header(random: &mut Random) -> Case {
    let scheme = random.pick(&["Bearer", "Basic", "token", "bearer"]);
    let length = 12 + random.below(60);
    let secret = random.text(STD64, length);
    let (before, after) = random.pick(&[
        ("> Authorization: ", "\r\n> Accept: */*\r\n"),
        ("curl -H 'authorization: ", "' https://api.example\n"),
        ("{\"Authorization\":\"", "\"}"),
        ("  authorization: \"", "\",\n"),
    ]);
    Case::new(&format!("{before}{scheme} "), &secret, after)
}

fn jwt(random: &mut Random) -> Case {
    let header = 17 + random.below(150);
    let payload = 20 + random.below(200);
    let secret = format!(
        "eyJ{}.eyJ{}.{}",
        random.text(URL64, header),
        random.text(URL64, payload),
        random.text(URL64, 43)
    );
    let (before, after) = random.pick(&AROUND);
    Case::new(before, &secret, after)
}

/// A hundred by hand, as documentation and real logs show them; values are the vendors' own examples or made up.
pub(crate) fn by_hand() -> Vec<Case> {
    let tokens = [
        "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG",
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "fk_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
        "github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789a",
        "glpat-8GMtG8Mf4EnMJzmAWDU-",
        "glrt-2CR8_eVxiioB1QmzPZwa",
        "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
        "xoxe-1-My0xLTE3NjUzNjcyNDgxLTE5ODc0Njk4MzIz",
        "xapp-1-A0123ABCD-1234567890-abcdef0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAY34FZKBOKMUTVV7A",
        "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
        "ya29.a0AfH6SMBx-abcdefghijklmnopqrstuvwxyz0123456789",
        "sk-ant-api03-R2D3C4P5abcdefghijklmnopqrstuvwxyz-0123456789",
        "sk-abcdefghijklmnopqrstT3BlbkFJuvwxyz0123456789ABCD",
        "sk-proj-abcdefghijklmnopqrstT3BlbkFJuvwxyz0123456789ABCD",
        "sk-svcacct-abcdefghijklmnopqrstT3BlbkFJuvwxyz0123456789",
        "rk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "npm_1a2B3c4D5e6F7g8H9i0J1k2L3m4N5o6P7q8R",
        "pypi-AgEIcHlwaS5vcmcCJDNkMjkyYzE0LTVhZDgtNDVmZC1iYzQ5",
        "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",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "shpss_0123456789abcdef0123456789abcdef",
        "hvs.CAESIJ1kZ0abcdefghijklmnopqrstuvwxyz0123456789",
        "dckr_pat_abcdefghijklmnopqrstuvwxy_z",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ];
    let mut cases = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        for turn in 0..2 {
            let (before, after) = AROUND[(index + 5 * turn) % AROUND.len()];
            cases.push(Case::new(before, token, after));
        }
    }
    let values: [(&str, &str, &str); 40] = [
        ("PASSWORD=", "hunter2", "\n"),
        ("DB_PASS=", "s3cr3t!", "\n"),
        ("PGPASSWORD=", "p@ss/w:rd", " psql\n"),
        ("export GITLAB_TOKEN='", "a bcdef", "'\n"),
        ("password: ", "correct-horse", "\n"),
        ("password: \"", "correct horse battery", "\"\n"),
        ("Password = ", "Tr0ub4dor&3", ""),
        ("\"password\": \"", "pa\\\"ss\\\\word", "\", \"user\": \"a\""),
        ("\"password\":\"", "päßwörd", "\"}"),
        ("{'api_key': '", "abcd1234efgh", "'}"),
        ("config[\"secret\"] = \"", "0123456789", "\""),
        ("--token=", "abcdefgh", " --verbose\n"),
        ("client_secret=", "8~Q8Q~aBcDeFgHiJ", "&grant_type=x\n"),
        (
            "AWS_SECRET_ACCESS_KEY=",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "\n",
        ),
        (
            "aws_secret_access_key = ",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "\n",
        ),
        ("aws_session_token = ", "FwoGZXIvYXdzEBYaDJ/abc+def==", "\n"),
        ("SecretAccessKey: ", "wJalrXUtnFEMI/K7MDENG", "\n"),
        (
            "AccountKey=",
            "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq==",
            ";EndpointSuffix=x\n",
        ),
        ("Server=db;Uid=app;Pwd=", "Passw0rd", ";\n"),
        (
            "//registry.npmjs.org/:_authToken=",
            "00000000-0000-0000-0000-123456789abc",
            "\n",
        ),
        ("SECRET_KEY_BASE=", "3eb6db5a9026c547c72708438d496d94", "\n"),
        ("\\\"access_token\\\":\\\"", "ya30.abcdef", "\\\",\\\"x\\\""),
        ("X-Api-Key: ", "0a1b2c3d4e5f", "\r\n"),
        ("private_key=", "0xabcdef0123456789", "\n"),
        ("TOKEN ?= ", "makefilevalue", "\n"),
        ("token := \"", "goland-value", "\""),
        ("ENCRYPTION_KEY: ", "bGl2ZSBsb25n", "\n"),
        ("passphrase for it; passphrase=", "open-sesame", " x\n"),
        ("Authorization: Bearer ", "mF_9.B5f-4.1JqM", "\r\n"),
        ("Authorization: Basic ", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "\r\n"),
        ("proxy-authorization: basic ", "QWxhZGRpbjpvcGVu", "\n"),
        ("{\"authorization\":\"Bearer ", "mF_9.B5f-4.1JqM", "\"}"),
        ("Authorization: ", "0a1b2c3d4e5f", "\n"),
        ("got bearer ", "abcdefghijklmnopqrst", " back"),
        (
            "postgres://postgres:",
            "mysupers3cr3t",
            "@localhost:5432/postgres\n",
        ),
        (
            "mongodb+srv://ann:",
            "D1fficultP%40ssw0rd",
            "@cluster0.example.net/?retryWrites=true",
        ),
        ("redis://:", "p4ssw0rd", "@cache:6379/0 "),
        ("git clone https://oauth2:", "abcdef0123", "@git.example/x.git\n"),
        ("amqp://guest:", "gu@st/1", "@mq\n"),
        ("'mysql://root:", "hunter2", "@127.0.0.1'"),
    ];
    cases.extend(values.map(|(before, secret, after)| Case::new(before, secret, after)));
    cases
}
