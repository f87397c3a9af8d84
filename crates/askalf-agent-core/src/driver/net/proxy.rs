//! A stream through a proxy: CONNECT (RFC 9110, section 9.3.6) or SOCKS5 (RFC 1928).

use std::future::{poll_fn, ready};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use tower::{Service, service_fn};

use super::{tcp, tls};
use crate::driver::dial::{Stream, within};
use crate::endpoint::retry_after;
use crate::machine::{Fault, Wait};
use crate::{Endpoint, Route, Timings};

/// Where SOCKS proxies listen (RFC 1928, section 3).
const SOCKS_PORT: u16 = 1080;

pub(super) async fn tunnel(
    intercept: &Intercept,
    endpoint: &Endpoint,
    route: &Route,
    timings: &Timings,
) -> Result<Box<dyn Stream>, Fault> {
    let uri = intercept.uri();
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(match scheme {
        "http" => 80,
        "https" => 443,
        _ => SOCKS_PORT,
    });
    let proxy = askalf_proto::one_line(&format!("{host} port {port}"));
    let unreachable = |fault: Fault| Fault::ProxyUnreachable {
        proxy: proxy.clone(),
        detail: of_proxy(&fault),
    };
    let mut stream: Box<dyn Stream> = Box::new(tcp(host, port, timings).await.map_err(unreachable)?);
    if scheme == "https" {
        // The pins are the bridge's, not the proxy's.
        let secured = tls::secure(stream, host, route, &[]);
        let secured = within(timings.handshake, Wait::Tls, secured.boxed())
            .await
            .and_then(|secured| secured);
        stream = Box::new(secured.map_err(unreachable)?);
    }
    let refused = |detail: String| Fault::ProxyRefused {
        proxy: proxy.clone(),
        detail,
    };
    if scheme.starts_with("socks") {
        let tunnel = socks5(stream, intercept, endpoint);
        return within(timings.handshake, Wait::Proxy, tunnel)
            .await?
            .map_err(refused);
    }
    let tunnel = connect(stream, intercept, endpoint);
    match within(timings.handshake, Wait::Proxy, tunnel.boxed())
        .await?
        .map_err(refused)?
    {
        Ok(stream) => Ok(stream),
        Err(answer) if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(Fault::HttpStatus {
                status: answer.status().as_u16(),
                server: answer
                    .headers()
                    .get(header::SERVER)
                    .and_then(|server| server.to_str().ok())
                    .map(askalf_proto::one_line),
                retry_after: retry_after(answer.headers()),
            })
        }
        Err(answer) => Err(refused(format!("it answered {}", answer.status().as_u16()))),
    }
}

/// What keeps the agent from the proxy itself. The verdict's text would speak of the bridge.
fn of_proxy(fault: &Fault) -> String {
    match fault {
        Fault::NameLookup { detail } => format!("its name cannot be looked up: {detail}"),
        Fault::Unreachable { detail } => detail.clone(),
        Fault::NoAnswer { waited, .. } => format!("it did not answer within {} s", waited.as_secs()),
        Fault::Certificate { detail, .. } => format!("its certificate is not good: {detail}"),
        Fault::TlsHandshake { detail } => format!("the TLS handshake failed: {detail}"),
        Fault::NotTls => "it does not speak TLS".to_owned(),
        other => other.verdict().reason.text,
    }
}

type Answer = Response<hyper::body::Incoming>;

/// Asks for a tunnel; an answer other than 2xx comes back.
async fn connect(
    stream: Box<dyn Stream>,
    intercept: &Intercept,
    endpoint: &Endpoint,
) -> Result<Result<Box<dyn Stream>, Answer>, String> {
    let mut target = endpoint.host_and_port();
    if target.parse::<http::uri::Authority>().is_err() {
        target = endpoint.authority().to_owned();
    }
    let mut request = Request::connect(&target).header(header::HOST, &target);
    if let Some(login) = intercept.basic_auth() {
        request = request.header(header::PROXY_AUTHORIZATION, login);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let text = |error: hyper::Error| askalf_proto::one_line(&error.to_string());
    let (mut sender, mut connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let mut ended = false;
    let answer = {
        let mut asking = pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => break answer.map_err(text)?,
                end = poll_fn(|context| connection.poll_without_shutdown(context)), if !ended => {
                    end.map_err(text)?;
                    ended = true;
                }
            }
        }
    };
    if !answer.status().is_success() {
        return Ok(Err(answer));
    }
    if !ended {
        poll_fn(|context| connection.poll_without_shutdown(context))
            .await
            .map_err(text)?;
    }
    let parts = connection.into_parts();
    if !parts.read_buf.is_empty() {
        // Neither TLS nor HTTP lets a server speak first.
        return Err("it sent data of its own into the tunnel".to_owned());
    }
    Ok(Ok(parts.io.into_inner()))
}

/// It borrows nothing, since the compiler does not see that the library's future is `Send` where it does.
fn socks5(
    stream: Box<dyn Stream>,
    intercept: &Intercept,
    endpoint: &Endpoint,
) -> BoxFuture<'static, Result<Box<dyn Stream>, String>> {
    let uri = match endpoint.http_uri("/") {
        Ok(uri) => uri,
        Err(error) => return ready(Err(error.to_string())).boxed(),
    };
    let stream = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    // The library wants a connector; the connection is there already, for one call.
    let connector = service_fn(move |_proxy: Uri| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        ready(stream.ok_or(io::ErrorKind::NotConnected))
    });
    let mut socks = SocksV5::new(intercept.uri().clone(), connector);
    if let Some((user, password)) = intercept.raw_auth() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    // Ready at once, as the connector is.
    let tunnel = socks.call(uri);
    tunnel
        .map(|outcome| match outcome {
            Ok(tunnel) => Ok(tunnel.into_inner() as Box<dyn Stream>),
            Err(error) => Err(askalf_proto::one_line(&error.to_string())),
        })
        .boxed()
}
