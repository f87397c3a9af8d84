//! `/api/v1/pair`: a device exchanges a pairing code for its key. Nobody has a key yet, so this path asks for none.

use std::net::IpAddr;

use askalf_bridge_auth::{KeyHash, KeyPrefix, PairCode, PairKeys, PairNonce, Scopes, Token, key_preview};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;

use super::input::JsonBody;
use super::pair_budget::Spent;
use super::{HttpError, NO_STORE, new_keys, pair_codes};
use crate::api::{Pair, Paired};
use crate::bridge::Core;
use crate::ids::new_id;
use crate::stores::{Exchanged, Kind, NewKey, Principal, StoreError};
use crate::{Bridge, PeerAddr, TransportSecurity};

/// How many keys a code and a nonce can give: the next where the prefix of the one before is taken.
const DRAWS: u8 = 8;

/// Most characters of a device's own words in a log line.
const MAX_LOGGED_CHARS: usize = 100;

pub(super) async fn exchange(
    State(bridge): State<Bridge>,
    security: Option<Extension<TransportSecurity>>,
    address: Option<Extension<PeerAddr>>,
    JsonBody(wanted): JsonBody<Pair>,
) -> Result<Response, HttpError> {
    let core = &bridge.core;
    // A request that says nothing of its transport was made within the process.
    let is_private = security.is_none_or(|Extension(security)| security.is_private());
    if !is_private && !core.options.plain_pairing {
        return Err(insecure());
    }
    let keys = pair_codes::pair_keys(core)?;
    let code = PairCode::parse(&wanted.code)
        .map_err(|error| HttpError::bad_value(error.id(), error.to_string(), error.hint()))?;
    let nonce = PairNonce::parse(&wanted.nonce)
        .map_err(|error| HttpError::bad_value(error.id(), error.to_string(), error.hint()))?;
    let address = address.map(|Extension(PeerAddr(address))| address);
    let guess = core.pair_budget.spend(address, core.now()).map_err(spent)?;
    let outcome = trade(core, &keys, &code, &nonce).await;
    match &outcome {
        Err(Refused::Unknown) => {
            tracing::warn!(
                address = address.map(tracing::field::display),
                device = logged(&wanted.device_name),
                "a pairing code was refused"
            );
        }
        // Neither a code that was good nor a fault of the bridge is a guess.
        Ok(_) | Err(Refused::Other(_)) => core.pair_budget.give_back(guess),
    }
    let (token, exchanged) = outcome?;
    tracing::info!(
        key = exchanged.key_id,
        device = logged(&wanted.device_name),
        again = exchanged.again,
        address = address.map(tracing::field::display),
        "a pairing code was exchanged"
    );
    let paired = Paired {
        key: token.expose_secret().to_owned(),
        device_id: exchanged.device_id,
        name: exchanged.name,
    };
    Ok((NO_STORE, Json(paired)).into_response())
}

enum Refused {
    /// There is no such code, or no longer.
    Unknown,
    Other(HttpError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(Kind::PairCode) => Self::Unknown,
            error => Self::Other(error.into()),
        }
    }
}

impl From<Refused> for HttpError {
    fn from(refused: Refused) -> Self {
        match refused {
            // One answer for codes that are wrong, spent, withdrawn or over: nobody learns which.
            Refused::Unknown => Self::new(
                StatusCode::NOT_FOUND,
                "pair-code-unknown",
                "this pairing code is not, or no longer, good",
                "make a new one with 'askalf-bridge pair-code new'",
            ),
            Refused::Other(error) => error,
        }
    }
}

async fn trade(
    core: &Core,
    keys: &PairKeys,
    code: &PairCode,
    nonce: &PairNonce,
) -> Result<(Token, Exchanged), Refused> {
    let code_mac = keys.code_mac(code);
    if !core.store.has_pair_code(&code_mac).await? {
        return Err(Refused::Unknown);
    }
    let nonce_mac = keys.nonce_mac(code, nonce);
    for draw in 0..DRAWS {
        let token = keys.token(code, &nth(nonce, draw));
        let key = new_key(core, &token).await.map_err(Refused::Other)?;
        let now = core.now();
        match core
            .store
            .exchange_pair_code(&code_mac, &nonce_mac, key, now)
            .await
        {
            Ok(exchanged) if exchanged.again => {
                let token = token_of(core, keys, code, nonce, &exchanged).await?;
                return Ok((token, exchanged));
            }
            Ok(exchanged) => return Ok((token, exchanged)),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let error = HttpError::internal("no-free-prefix", "no free key prefix was found");
    Err(Refused::Other(error))
}

async fn new_key(core: &Core, token: &Token) -> Result<NewKey, HttpError> {
    let derived = token.clone();
    let hash = core
        .authenticator
        .derive_within_budget(move || KeyHash::mint(&derived))
        .await?
        .map_err(new_keys::no_random)?;
    let now = core.now();
    Ok(NewKey {
        id: new_id("key_", now).map_err(|_| HttpError::no_id())?,
        user_id: None,
        name: String::new(),
        hash,
        prefix: KeyPrefix::of(token),
        preview: key_preview(token),
        scopes: Scopes::default(),
        device_id: None,
        expires_at: None,
        created_at: now,
    })
}

/// Which of the keys that code and nonce can give was the one: that of the row's prefix.
async fn token_of(
    core: &Core,
    keys: &PairKeys,
    code: &PairCode,
    nonce: &PairNonce,
    exchanged: &Exchanged,
) -> Result<Token, Refused> {
    let row = core.store.key(&Principal::Bridge, &exchanged.key_id).await?;
    (0..DRAWS)
        .map(|draw| keys.token(code, &nth(nonce, draw)))
        .find(|token| KeyPrefix::of(token).as_str() == row.prefix)
        .ok_or(Refused::Unknown)
}

/// The nonce of the nth key: the device's own for the first.
fn nth(nonce: &PairNonce, draw: u8) -> PairNonce {
    let mut bytes = *nonce.as_bytes();
    bytes[15] ^= draw;
    PairNonce::from_bytes(bytes)
}

fn logged(text: &str) -> String {
    let line = askalf_proto::one_line(text);
    line.chars().take(MAX_LOGGED_CHARS).collect()
}

fn insecure() -> HttpError {
    HttpError::new(
        StatusCode::FORBIDDEN,
        "insecure-transport",
        "a pairing code is exchanged by TLS only, or from the bridge's own machine",
        "give the bridge a certificate (serve --tls-cert --tls-key) and use an https URL; behind a proxy that speaks TLS: \
         serve --pair-behind-proxy",
    )
}

fn spent(spent: Spent) -> HttpError {
    HttpError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-pair-codes",
        match spent.address {
            Some(address) => format!("too many wrong pairing codes came from {}", shown(address)),
            None => "too many wrong pairing codes came in".to_owned(),
        },
        "wait, then try again with the code that 'askalf-bridge pair-code new' printed",
    )
    .with_retry_after(spent.retry_after)
}

fn shown(address: IpAddr) -> String {
    address.to_string()
}
