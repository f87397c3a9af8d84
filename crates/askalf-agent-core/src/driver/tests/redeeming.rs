//! A pairing code on its way to a key.

use std::sync::Arc;

use askalf_bridge_auth::{PairCode, PairNonce, Token};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::rig::{TOKEN, pipes};
use crate::driver::redeem::redeem_on;
use crate::{GatewayAccess, RedeemError, Redeemed, Redemption, Route, Timings};

const NONCE: &str = "000102030405060708090a0b0c0d0e0f";

fn redemption(url: &str) -> Redemption {
    Redemption {
        url: url.to_owned(),
        route: Arc::default(),
        code: PairCode::mint().unwrap(),
        nonce: PairNonce::parse(NONCE).unwrap(),
        device_name: "laptop".to_owned(),
        device_id: None,
        timings: Timings::default(),
    }
}

type Outcome = JoinHandle<Result<Redeemed, RedeemError>>;

fn start(redemption: Redemption) -> (Outcome, UnboundedReceiver<DuplexStream>) {
    let (dialer, dials) = pipes();
    (
        tokio::spawn(async move { redeem_on(&dialer, &redemption).await }),
        dials,
    )
}

/// The head and the body of a request.
async fn request(stream: &mut DuplexStream) -> (String, Value) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.unwrap()));
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

async fn answer(stream: &mut DuplexStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
}

async fn answered_by(status: u16, body: &str) -> Result<Redeemed, RedeemError> {
    let (outcome, mut dials) = start(redemption("http://localhost"));
    let mut stream = dials.recv().await.unwrap();
    request(&mut stream).await;
    answer(&mut stream, status, body).await;
    outcome.await.unwrap()
}

#[tokio::test]
async fn a_code_is_exchanged_for_a_key() {
    let secret = Token::parse("0123456789abcdef").unwrap();
    let route = Route {
        gateway: Some(GatewayAccess::new("id.access", secret).unwrap()),
        ..Route::default()
    };
    let redemption = Redemption {
        route: Arc::new(route),
        device_id: Some("dev_1".to_owned()),
        ..redemption("https://bridge.test/base")
    };
    let code = redemption.code.to_string();
    let (outcome, mut dials) = start(redemption);
    let mut stream = dials.recv().await.unwrap();
    let (head, body) = request(&mut stream).await;
    assert!(head.starts_with("post /base/api/v1/pair http/1.1\r\n"), "{head}");
    for header in [
        "host: bridge.test",
        "content-type: application/json",
        "cf-access-client-id: id.access",
        "cf-access-client-secret: 0123456789abcdef",
    ] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
    }
    assert_eq!(
        body,
        json!({"code": code, "nonce": NONCE, "deviceName": "laptop", "deviceId": "dev_1"})
    );
    let granted = json!({"key": TOKEN, "name": "kitchen", "more": 1});
    answer(&mut stream, 200, &granted.to_string()).await;
    let redeemed = outcome.await.unwrap().unwrap();
    assert_eq!(
        (redeemed.key.expose_secret(), redeemed.name.as_deref()),
        (TOKEN, Some("kitchen"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_exchange_whose_answer_was_lost_is_repeated_word_for_word() {
    let begin = Instant::now();
    let (outcome, mut dials) = start(redemption("http://localhost"));
    let mut first = dials.recv().await.unwrap();
    let asked = request(&mut first).await;
    drop(first);
    let mut second = dials.recv().await.unwrap();
    assert_eq!(request(&mut second).await, asked);
    answer(&mut second, 503, "").await;
    let mut third = dials.recv().await.unwrap();
    assert_eq!(request(&mut third).await, asked);
    answer(&mut third, 200, &json!({"key": TOKEN}).to_string()).await;
    assert_eq!(outcome.await.unwrap().unwrap().key.expose_secret(), TOKEN);
    assert_eq!(begin.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_stays_away_is_given_up_with_the_code_unspent() {
    let (outcome, mut dials) = start(redemption("http://localhost"));
    for _ in 0..4 {
        let mut stream = dials.recv().await.unwrap();
        request(&mut stream).await;
        answer(&mut stream, 503, "").await;
    }
    let error = outcome.await.unwrap().unwrap_err();
    assert_eq!((error.id(), error.is_open()), ("bridge-fault", true));
    assert_eq!(
        error.hint(),
        "run the same command again: the code is not used up"
    );
    assert!(dials.recv().await.is_none());
}

#[tokio::test]
async fn a_refusal_of_the_bridge_is_told_in_its_words_without_the_secrets() {
    let refused =
        json!({"id": "pair-code-spent", "message": format!("no {NONCE}\n!"), "hint": "make another"});
    let error = answered_by(409, &refused.to_string()).await.unwrap_err();
    assert_eq!(
        (
            error.id(),
            error.to_string().as_str(),
            error.hint(),
            error.is_open()
        ),
        ("pair-code-spent", "no [key] !", "make another", false)
    );
}

#[tokio::test]
async fn what_is_no_bridge_or_an_older_one_is_said_to_be_so() {
    let refusal = |id: &str| json!({"id": id, "message": "m", "hint": "h"}).to_string();
    for (status, body, id) in [
        (404, "<html>".to_owned(), "no-pair-codes"),
        (404, refusal("no-such-route"), "no-pair-codes"),
        (401, refusal("missing"), "no-pair-codes"),
        (200, "<html>".to_owned(), "no-pair-codes"),
        (200, json!({"key": ""}).to_string(), "no-pair-codes"),
        (403, "<html>".to_owned(), "access-gateway"),
        (302, String::new(), "redirected"),
    ] {
        let error = answered_by(status, &body).await.unwrap_err();
        assert_eq!(error.id(), id, "{status} {body}");
        assert!(!error.hint().is_empty());
    }
}

#[tokio::test]
async fn a_code_never_crosses_a_network_in_plain_text() {
    let (outcome, mut dials) = start(redemption("http://bridge.test"));
    let error = outcome.await.unwrap().unwrap_err();
    assert_eq!(error.id(), "pair-code-plain-remote");
    assert!(dials.recv().await.is_none());
}
