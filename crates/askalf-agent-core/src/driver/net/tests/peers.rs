//! Servers and proxies.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use super::authority::Identity;

/// Runs `serve` for each connection.
pub(super) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A TLS server that sends back what it is sent.
pub(super) async fn tls_echo(identity: &Identity) -> SocketAddr {
    let acceptor = acceptor(identity);
    listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                echo(stream).await;
            }
        }
    })
    .await
}

pub(super) fn acceptor(identity: &Identity) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

pub(super) async fn echo(stream: impl AsyncRead + AsyncWrite) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let _gone = copy(&mut reader, &mut writer).await;
}

/// An HTTP proxy that gives `answer` to each request, and where that is 200 leads to `target`, whatever was asked for. It
/// tells the requests' heads.
pub(super) async fn connect_proxy(
    answer: &'static str,
    target: SocketAddr,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heads, told) = mpsc::unbounded_channel();
    let address = listen(move |stream| serve_connect(stream, answer, target, heads.clone())).await;
    (address, told)
}

pub(super) async fn serve_connect(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &'static str,
    target: SocketAddr,
    heads: mpsc::UnboundedSender<String>,
) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(char::from(byte));
    }
    let _test_is_over = heads.send(head);
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    if answer.starts_with("HTTP/1.1 200") {
        let mut onward = TcpStream::connect(target).await.unwrap();
        let _gone = copy_bidirectional(&mut stream, &mut onward).await;
    }
}

/// A SOCKS5 proxy that demands this login, where there is one, and answers each request with `reply` (0: it leads to
/// `target`). It tells the names that are asked for.
pub(super) async fn socks_proxy(
    login: Option<(&'static str, &'static str)>,
    reply: u8,
    target: SocketAddr,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (names, told) = mpsc::unbounded_channel();
    let address = listen(move |stream| {
        let names = names.clone();
        async move {
            // A peer that hangs up ends it.
            let _hung_up = serve_socks(stream, login, reply, target, names).await;
        }
    })
    .await;
    (address, told)
}

async fn serve_socks(
    mut stream: TcpStream,
    login: Option<(&str, &str)>,
    reply: u8,
    target: SocketAddr,
    names: mpsc::UnboundedSender<String>,
) -> std::io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let methods = read_counted(&mut stream).await?;
    let wanted = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, wanted]).await?;
    if let Some((user, password)) = login {
        assert_eq!(stream.read_u8().await?, 1);
        let given = (read_counted(&mut stream).await?, read_counted(&mut stream).await?);
        let good = given == (user.as_bytes().to_vec(), password.as_bytes().to_vec());
        stream.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(());
        }
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    assert_eq!(head, [5, 1, 0, 3], "a name is looked up by the proxy");
    let name = read_counted(&mut stream).await?;
    let port = stream.read_u16().await?;
    let _test_is_over = names.send(format!("{}:{port}", String::from_utf8_lossy(&name)));
    stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if reply == 0 {
        let mut onward = TcpStream::connect(target).await?;
        copy_bidirectional(&mut stream, &mut onward).await?;
    }
    Ok(())
}

async fn read_counted(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
