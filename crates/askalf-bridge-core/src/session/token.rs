//! Where a client puts its token.

use askalf_proto::SUBPROTOCOL;
use http::request::Parts;
use http::{HeaderMap, header};

/// What a client presented. It has no `Debug`: it is secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Presented {
    pub(crate) token: Option<String>,
    /// Whether the client named our subprotocol, which the answer must then select.
    pub(crate) subprotocol: bool,
    /// Whether the token stood in the URL.
    pub(crate) in_query: bool,
}

impl Presented {
    /// Looks at `Authorization: Bearer`, then at the subprotocols, then, where that is allowed, at `?token=`.
    pub(crate) fn of(parts: &Parts, allow_query: bool) -> Self {
        let mut words = subprotocols(&parts.headers);
        let subprotocol = words.next().is_some_and(|word| word == SUBPROTOCOL);
        let from_subprotocol = || words.next().filter(|_| subprotocol);
        if let Some(token) = bearer(&parts.headers).or_else(from_subprotocol) {
            return Self {
                token: Some(token),
                subprotocol,
                in_query: false,
            };
        }
        let token = parts.uri.query().filter(|_| allow_query).and_then(query_token);
        Self {
            in_query: token.is_some(),
            token,
            subprotocol,
        }
    }
}

/// The token of `Authorization: Bearer`. Bytes that are no UTF-8 are replaced, which no stored key matches.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| String::from_utf8_lossy(token.trim_ascii()).into_owned())
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|word| String::from_utf8_lossy(word.trim_ascii()).into_owned())
}

fn query_token(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.split_at_checked(2)).flatten();
        let decoded =
            escaped.and_then(|(digits, _)| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match decoded {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn presented(uri: &str, headers: &[(&str, &str)], allow_query: bool) -> Presented {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Presented::of(&request.body(()).unwrap().into_parts().0, allow_query)
    }

    #[test]
    fn the_header_comes_first_then_the_subprotocol_then_the_query() {
        let auth = ("authorization", "bearer  sk_header ");
        let sub = ("sec-websocket-protocol", "askalf-agent-bridge, sk_sub");
        let all = presented("/ws?token=sk_query", &[auth, sub], true);
        assert_eq!(all.token.as_deref(), Some("sk_header"));
        assert!(all.subprotocol && !all.in_query);
        let two = presented("/ws?token=sk_query", &[sub], true);
        assert_eq!(two.token.as_deref(), Some("sk_sub"));
        let one = presented("/ws?a=1&token=sk%5Fquery%2", &[], true);
        assert_eq!(one.token.as_deref(), Some("sk_query%2"));
        assert!(one.in_query && !one.subprotocol);
    }

    #[test]
    fn a_query_is_not_looked_at_where_that_is_off() {
        assert_eq!(presented("/ws?token=sk_query", &[], false).token, None);
    }

    #[test]
    fn other_schemes_and_other_subprotocols_present_nothing() {
        assert_eq!(
            presented("/ws", &[("authorization", "Basic abc")], true).token,
            None
        );
        let other = presented("/ws", &[("sec-websocket-protocol", "chat, sk_sub")], true);
        assert_eq!(other.token, None);
        assert!(!other.subprotocol);
    }

    #[test]
    fn an_empty_bearer_counts_as_presented_and_is_missing_to_the_validator() {
        assert_eq!(
            presented("/ws", &[("authorization", "Bearer ")], true)
                .token
                .as_deref(),
            Some("")
        );
    }
}
