//! A PostgreSQL server for tests: a throwaway cluster from the binaries of this machine, on a socket in a folder of its
//! own, or the server that `ASKALF_TEST_DATABASE_URL` names.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A cluster that ends with this value, or with the process that made it, however that ends.
pub(crate) struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
    account: Option<Account>,
    /// Runs the server, and stops it and removes the folder once its standard input closes.
    keeper: Child,
}

/// Whom the server runs as where this process is root: it refuses to run as that.
#[derive(Debug, Clone)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Makes a cluster and starts it. `settings` are lines for its configuration.
    ///
    /// # Panics
    /// With one clear line, where there is no PostgreSQL.
    pub(crate) fn start(settings: &str) -> Self {
        let bin = binaries().unwrap_or_else(|| {
            panic!(
                "PostgreSQL is not installed: install its server (Debian: apt-get install postgresql), \
                 or name a server with ASKALF_TEST_DATABASE_URL"
            )
        });
        let account = account();
        // Short: the path of a socket has 107 characters at most. No destructor: the keeper removes it.
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        give(&folder, account.as_ref());
        let data = folder.join("data");
        let made = as_account(&bin.join("initdb"), account.as_ref())
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .args(["--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut configuration = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        // What a crash of the machine would lose does not matter here; what a crash of the server loses does.
        write!(
            configuration,
            "\nlisten_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n\
             max_connections = 200\nmax_wal_size = 4GB\nshared_buffers = 64MB\nautovacuum = off\n{settings}\n",
            folder.display()
        )
        .unwrap();
        let keeper = keep(&bin, &folder, account.as_ref());
        let cluster = Self {
            bin,
            folder,
            account,
            keeper,
        };
        cluster.wait_until_ready();
        cluster
    }

    /// The URL of a database of it.
    pub(crate) fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{folder}/{database}")
    }

    /// Runs SQL on a database of it as somebody with a shell does, and answers with what is printed.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> std::io::Result<String> {
        let output = Command::new(self.bin.join("psql"))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
            ])
            .args([
                "--username=postgres",
                "--dbname",
                database,
                "--command",
                sql,
                "--host",
            ])
            .arg(&self.folder)
            .output()?;
        if !output.status.success() {
            return Err(std::io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Kills the server at once, as the system would when memory is short, and waits until all of it has gone.
    pub(crate) fn kill(&self) {
        let main = self.pid().unwrap();
        let children: Vec<u32> = children_of(main);
        signal("KILL", main);
        wait("the killed server to be gone", || {
            !exists(main) && !children.iter().any(|child| exists(*child))
        });
        // Where nobody has asked yet how it ended, its process id still counts as taken.
        for lock in ["data/postmaster.pid", ".s.PGSQL.5432.lock"] {
            fs::remove_file(self.folder.join(lock)).unwrap();
        }
    }

    /// Starts the server that was killed.
    pub(crate) fn restart(&self) {
        // Not a child of the keeper, which finds it by its process id all the same.
        let log = fs::File::create(self.folder.join("restart.log")).unwrap();
        give(&self.folder.join("restart.log"), self.account.as_ref());
        let status = as_account(&self.bin.join("pg_ctl"), self.account.as_ref())
            .args(["start", "--wait", "--silent", "--pgdata"])
            .arg(self.folder.join("data"))
            .arg("--log")
            .arg(self.folder.join("restart.log"))
            .stdout(log)
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.log());
    }

    fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    fn wait_until_ready(&self) {
        let ready = || {
            Command::new(self.bin.join("pg_isready"))
                .args(["--quiet", "--host"])
                .arg(&self.folder)
                .status()
                .is_ok_and(|status| status.success())
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            assert!(
                Instant::now() < deadline,
                "the server does not start: {}",
                self.log()
            );
            pause();
        }
    }

    fn log(&self) -> String {
        ["server.log", "restart.log"]
            .iter()
            .filter_map(|name| fs::read_to_string(self.folder.join(name)).ok())
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of its input tells the keeper.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Starts the server under a shell that ends it when this process has gone, by whatever death: the shell's standard input
/// is a pipe that nobody else holds.
fn keep(bin: &Path, folder: &Path, account: Option<&Account>) -> Child {
    const SCRIPT: &str = "
        trap : INT TERM HUP
        \"$0\" -D \"$1/data\" > \"$1/server.log\" 2>&1 < /dev/null &
        cat > /dev/null
        while pid=$(head -n 1 \"$1/data/postmaster.pid\" 2> /dev/null) && kill -QUIT \"$pid\" 2> /dev/null; do sleep 0.05; done
        wait
        rm -rf \"$1\"
    ";
    as_account(Path::new("/bin/sh"), account)
        .args(["-c", SCRIPT])
        .arg(bin.join("postgres"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn as_account(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C");
    if let Some(account) = account {
        command
            .uid(account.uid)
            .gid(account.gid)
            .env("USER", &account.name);
    }
    command
}

fn give(path: &Path, account: Option<&Account>) {
    if let Some(account) = account {
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).unwrap();
    }
}

/// The folder of `initdb` and `postgres`: the newest that the distributions' layouts have, or what the path has.
fn binaries() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = ["/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt"]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.trim_start_matches("postgresql@").parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    let mut folders: Vec<PathBuf> = found.into_iter().rev().map(|(_, folder)| folder).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    folders.into_iter().find(|folder| {
        ["initdb", "postgres", "pg_ctl"]
            .iter()
            .all(|name| folder.join(name).is_file())
    })
}

fn account() -> Option<Account> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| {
        Some(Account {
            name: (*name).to_owned(),
            uid: id(&["-u", name])?,
            gid: id(&["-g", name])?,
        })
    })
}

fn children_of(pid: u32) -> Vec<u32> {
    let output = Command::new("ps")
        .args(["-o", "pid=", "--ppid", &pid.to_string()])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn exists(pid: u32) -> bool {
    // A zombie has ended: only its parent has not asked yet.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        pause();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "another process is waited for, which tells nobody when it is ready"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
