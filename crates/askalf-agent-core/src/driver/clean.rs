//! Texts of the other side, made fit for logs and states.

use std::io;

use askalf_bridge_auth::Token;
use askalf_proto::{BridgeError, BridgeMessage, DecodeError, ErrorCode, Executor, one_line};

/// Makes one harmless line of a peer's text, without what was sent in secret, should the peer echo it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cleaner(Vec<Token>);

impl Cleaner {
    pub(crate) fn new(token: Token) -> Self {
        Self(vec![token])
    }

    /// Keeps another secret out too.
    pub(crate) fn and(mut self, secret: Token) -> Self {
        self.0.push(secret);
        self
    }

    pub(crate) fn text(&self, text: &str) -> String {
        let clean = self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.expose_secret(), "[key]")
        });
        one_line(&clean)
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret.expose_secret()))
    }

    /// The message with clean texts, where it has texts that are ever shown.
    ///
    /// # Errors
    /// An id holds the token: ids are logged, kept and shown, and must not be altered, so there is no such message.
    pub(crate) fn message(&self, message: BridgeMessage) -> Result<BridgeMessage, DecodeError> {
        let id = match &message {
            BridgeMessage::Registered(registered) => Some(&registered.device_id),
            BridgeMessage::Dispatch(dispatch) => Some(&dispatch.execution_id),
            BridgeMessage::Cancel(cancel) => Some(&cancel.execution_id),
            BridgeMessage::ExecutionAck(ack) => Some(&ack.execution_id),
            BridgeMessage::CredentialRotate(offer) => Some(&offer.rotation_id),
            BridgeMessage::CredentialCommitted(committed) => Some(&committed.rotation_id),
            BridgeMessage::Error(_) | BridgeMessage::Ping(_) | BridgeMessage::CapabilitiesScan(_) => None,
        };
        if id.is_some_and(|id| self.is_in(id)) {
            return Err(DecodeError::NotAMessage {
                detail: "an id in it holds the key of this device".to_owned(),
            });
        }
        Ok(match message {
            BridgeMessage::Error(error) => BridgeMessage::Error(BridgeError {
                code: match error.code {
                    ErrorCode::Other(code) => ErrorCode::Other(self.text(&code)),
                    known => known,
                },
                message: self.text(&error.message),
                ..error
            }),
            BridgeMessage::Dispatch(mut dispatch) => {
                for executor in [&mut dispatch.executor, &mut dispatch.mode] {
                    if let Some(Executor::Other(name)) = executor {
                        *name = self.text(name);
                    }
                }
                BridgeMessage::Dispatch(dispatch)
            }
            other => other,
        })
    }

    pub(crate) fn decode_error(&self, error: DecodeError) -> DecodeError {
        match error {
            DecodeError::UnknownType { kind } => DecodeError::UnknownType {
                kind: self.text(&kind),
            },
            DecodeError::NotAMessage { detail } => DecodeError::NotAMessage {
                detail: self.text(&detail),
            },
            DecodeError::InvalidPayload {
                kind,
                detail,
                execution_id,
            } => DecodeError::InvalidPayload {
                kind,
                detail,
                execution_id: execution_id.filter(|id| !self.is_in(id)),
            },
            other => other,
        }
    }
}

/// An error of the system without its number, which tells a person nothing.
pub(crate) fn io_text(error: &io::Error) -> String {
    // The TLS library says it with a link to its manual.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "it was closed without a goodbye".to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // Windows makes sentences of them.
    one_line(text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use askalf_proto::decode_bridge;

    use super::*;

    #[test]
    fn an_echoed_token_is_never_shown() {
        let secret = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
        let cleaner = Cleaner::new(Token::parse(secret).unwrap());
        let frame = format!(
            r#"{{"type":"device:error","payload":{{"code":"{secret}","message":"no {secret}\n\u001b[1m!"}}}}"#
        );
        let message = cleaner.message(decode_bridge(&frame).unwrap()).unwrap();
        assert!(!format!("{message:?}").contains(secret), "{message:?}");
        let BridgeMessage::Error(error) = message else {
            panic!("no error")
        };
        assert_eq!(error.message, "no [key]  [1m!");
        let unknown = decode_bridge(&format!(r#"{{"type":"{secret}"}}"#)).unwrap_err();
        assert!(!cleaner.decode_error(unknown).to_string().contains(secret));
    }

    #[test]
    fn error_numbers_are_left_out() {
        let refused = io::Error::from_raw_os_error(111);
        assert!(refused.to_string().contains("os error"), "{refused}");
        assert!(!io_text(&refused).contains("os error"));
    }
}
