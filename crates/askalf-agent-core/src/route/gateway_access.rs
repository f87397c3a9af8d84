use askalf_bridge_auth::{Token, TokenError};
use http::{HeaderMap, HeaderName, HeaderValue};

const ID: HeaderName = HeaderName::from_static("cf-access-client-id");
const SECRET: HeaderName = HeaderName::from_static("cf-access-client-secret");

/// A service token of Cloudflare Access, which lets the device past the gateway to the bridge. Each request to the bridge
/// carries it.
#[derive(Debug, Clone)]
pub struct GatewayAccess {
    id: HeaderValue,
    secret: Token,
}

impl GatewayAccess {
    /// The token's id and its secret.
    ///
    /// # Errors
    /// [`GatewayAccessError`]: a header cannot carry it.
    pub fn new(id: &str, secret: Token) -> Result<Self, GatewayAccessError> {
        secret.header_value().map_err(GatewayAccessError::Secret)?;
        let id = HeaderValue::from_str(id.trim()).map_err(|_| GatewayAccessError::Id)?;
        if id.is_empty() {
            return Err(GatewayAccessError::Id);
        }
        Ok(Self { id, secret })
    }

    /// The secret.
    pub fn secret(&self) -> &Token {
        &self.secret
    }

    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(ID, self.id.clone());
        if let Ok(value) = self.secret.header_value()
            && let Ok(mut value) = HeaderValue::from_str(value)
        {
            value.set_sensitive(true);
            headers.insert(SECRET, value);
        }
    }
}

/// Why a service token cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayAccessError {
    /// The id is empty, or no header can carry it.
    #[error("the id of the Cloudflare Access token cannot be sent in a header")]
    Id,
    /// No header can carry the secret.
    #[error("the secret of the Cloudflare Access token cannot be sent in a header")]
    Secret(#[source] TokenError),
}

impl GatewayAccessError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Id => "cf-access-id",
            Self::Secret(_) => "cf-access-secret",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "copy the client id and the client secret again from where the service token was made"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_headers_are_set_and_the_secret_is_not_shown() {
        let secret = Token::parse("0123456789abcdef").unwrap();
        let access = GatewayAccess::new("id.access\n", secret.clone()).unwrap();
        let mut headers = HeaderMap::new();
        access.add_to(&mut headers);
        assert_eq!(headers["CF-Access-Client-Id"], "id.access");
        assert_eq!(headers["CF-Access-Client-Secret"], "0123456789abcdef");
        assert!(!format!("{access:?} {headers:?}").contains("0123456789abcdef"));
        assert_eq!(
            GatewayAccess::new("", secret.clone()).unwrap_err().id(),
            "cf-access-id"
        );
        assert_eq!(
            GatewayAccess::new("a\nb", secret).unwrap_err().id(),
            "cf-access-id"
        );
    }
}
