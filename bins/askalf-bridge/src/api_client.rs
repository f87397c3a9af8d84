//! How commands reach the API: through the socket of a running bridge, or, where none runs, in this process on the
//! database itself. Both are the same router.

use std::path::Path;
use std::time::Duration;

use askalf_bridge_core::api::ApiError;
use askalf_bridge_core::{Transport, router};
use askalf_cli::{ExitCode, Failure};
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::commands::note;
use crate::home::{Home, HomeLock, Location, Lock};
use crate::local_socket;
use crate::serve::open_bridge;

/// How long a command waits for a bridge that holds its folder but does not answer yet: it may be starting.
const START_WAIT: Duration = Duration::from_secs(5);

/// How long a bridge may take to answer. Far above what it needs with a database that is busy, so that past it the bridge
/// hangs.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// Longest answer that is read whole (128 MiB): twice the text of the longest listing, and eight times the largest result
/// that a device of an older generation gets recorded.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// Who is there to ask.
enum Found {
    Running(ApiClient),
    /// No bridge, and none can start until this is dropped.
    Nobody(HomeLock),
}

/// A way to the API.
pub(crate) enum ApiClient {
    /// A bridge runs.
    Running(hyper::client::conn::http1::SendRequest<Body>),
    /// None runs, and none can start until this is dropped.
    InProcess(
        axum::Router,
        #[expect(dead_code, reason = "held for its drop")] HomeLock,
    ),
}

impl ApiClient {
    /// Finds a way to the API of this folder.
    pub(crate) async fn connect(home: &Home) -> Result<Self, Failure> {
        let lock = match Self::find(home).await? {
            Found::Running(client) => return Ok(client),
            Found::Nobody(lock) => lock,
        };
        tell_of_new_database(home);
        let (bridge, _database) = open_bridge(home, Default::default()).await?;
        let uid = local_socket::own_uid();
        Ok(Self::InProcess(router(bridge, Transport::Local { uid }), lock))
    }

    /// The API of the bridge that runs on this folder. Where none does, that is said, and no database is opened or made.
    pub(crate) async fn running(home: &Home) -> Result<Option<Self>, Failure> {
        match Self::find(home).await? {
            Found::Running(client) => Ok(Some(client)),
            Found::Nobody(_) => Ok(None),
        }
    }

    async fn find(home: &Home) -> Result<Found, Failure> {
        home.create()?;
        let deadline = Instant::now() + START_WAIT;
        loop {
            if let Some(stream) = local_socket::connect(home).await {
                return Ok(Found::Running(Self::handshake(stream).await?));
            }
            let held = match home.lock()? {
                Lock::Taken(lock) => return Ok(Found::Nobody(lock)),
                Lock::Held(path) => path,
            };
            if Instant::now() >= deadline {
                return Err(unreachable(home, &held));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn handshake(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, Failure> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| gone())?;
        tokio::spawn(async move {
            // Its end shows as the end of the answer that is being read.
            let _ended = connection.await;
        });
        Ok(Self::Running(sender))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let response = self.send(method, path, body).await?;
        let bytes = whole(response.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|_| foreign())
    }

    /// Sends a request whose answer has no body.
    pub(crate) async fn tell(&mut self, method: Method, path: &str) -> Result<(), Failure> {
        self.send(method, path, None::<&()>).await.map(drop)
    }

    /// Sends a request whose answer is a stream.
    pub(crate) async fn stream(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Body, Failure> {
        Ok(self.send(method, path, body).await?.into_body())
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Body>, Failure> {
        let body = match body {
            Some(value) => Body::from(serde_json::to_vec(value).map_err(|_| foreign())?),
            None => Body::empty(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "bridge")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|_| foreign())?;
        let response = match self {
            Self::Running(sender) => {
                let answer = async {
                    // After an earlier answer the connection takes a moment to be free again.
                    sender.ready().await?;
                    sender.send_request(request).await
                };
                timeout(ANSWER_WAIT, answer)
                    .await
                    .map_err(|_| silent())?
                    .map_err(|_| gone())?
                    .map(Body::new)
            }
            Self::InProcess(router, _) => match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }
}

/// Whoever left out `--database` would take an empty one for their own.
fn tell_of_new_database(home: &Home) {
    if let Ok(Location::File(path)) = home.database()
        && !path.exists()
    {
        note(&format!(
            "no bridge runs on this home, and a new database is made: {}; name another with --database",
            path.display()
        ));
    }
}

/// A bridge holds the home, and is not to be reached.
#[cfg(unix)]
fn unreachable(home: &Home, held: &Path) -> Failure {
    Failure::new(
        ExitCode::Unavailable,
        format!(
            "a bridge holds {} but does not answer on {}",
            held.display(),
            home.socket().display()
        ),
    )
    .hint("name the home of that bridge with --home DIR; if it hangs, stop it and start it again")
}

/// A bridge holds the home, and takes no commands on this system.
#[cfg(windows)]
fn unreachable(_: &Home, held: &Path) -> Failure {
    Failure::new(
        ExitCode::Unavailable,
        format!(
            "a bridge holds {}, and on Windows a running bridge takes no commands",
            held.display()
        ),
    )
    .hint("stop the bridge for this command; for more than trying it out, run it on Linux")
}

async fn whole(body: Body) -> Result<Bytes, Failure> {
    let whole = timeout(ANSWER_WAIT, Limited::new(body, MAX_ANSWER).collect())
        .await
        .map_err(|_| silent())?;
    match whole {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::new(
            ExitCode::Failed,
            "the bridge's answer is larger than this command reads",
        )
        .hint("ask for less with --limit")),
        Err(_) => Err(gone()),
    }
}

/// The bridge's refusal as a failure of this command.
async fn refusal(response: Response<Body>) -> Failure {
    let status = response.status();
    let Ok(bytes) = whole(response.into_body()).await else {
        return gone();
    };
    let Ok(error) = serde_json::from_slice::<ApiError>(&bytes) else {
        return foreign();
    };
    Failure::new(exit_code(status, &error.id), error.message).hint(error.hint)
}

fn exit_code(status: StatusCode, id: &str) -> ExitCode {
    match (status, id) {
        (_, "device-offline" | "rotation-under-way") => ExitCode::TryAgain,
        (_, "bridge-unavailable") => ExitCode::Unavailable,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => ExitCode::Permission,
        (StatusCode::SERVICE_UNAVAILABLE, _) => ExitCode::TryAgain,
        _ => ExitCode::Failed,
    }
}

/// The bridge went away while it was asked.
pub(crate) fn gone() -> Failure {
    Failure::new(ExitCode::Unavailable, "the bridge went away before it answered")
        .hint("see whether it still runs, then try again")
}

fn silent() -> Failure {
    Failure::new(
        ExitCode::Unavailable,
        format!("the bridge did not answer within {} s", ANSWER_WAIT.as_secs()),
    )
    .hint("see whether it still runs; it may have done what was asked")
}

fn foreign() -> Failure {
    Failure::new(ExitCode::Failed, "the bridge's answer could not be read")
        .hint("use the askalf-bridge command of the same version as the bridge that runs")
}
