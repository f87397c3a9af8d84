//! What must hold of any text in any pieces. The fuzz target and the test that replays its corpus share it.

use askalf_exec::redact::Secrets;

/// Stands in every text.
const PLANTED: &str = "opaque: key=of'the\"agent";
/// Most that is held back: what [`askalf_exec::redact::Redactor`] names.
const MOST_HELD: usize = 258;

/// The first two bytes of an input say where the secret is planted and how the text is cut; the rest is the text.
pub(crate) fn check(data: &[u8]) {
    let Some(([place, cut], text)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut text = String::from_utf8_lossy(text).into_owned();
    let place = usize::from(*place) * text.len() / 255;
    let place = (0..=place)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.insert_str(place, PLANTED);

    let secrets = Secrets::default();
    secrets.cover("agent-key", PLANTED);
    let redaction = secrets.redaction(None);
    let whole = redaction.text(&text);
    assert!(!whole.contains(PLANTED), "{text:?}");
    only_left_out(&text, &whole);

    let mut stream = redaction.stream();
    let mut out = String::new();
    let mut rest = text.as_str();
    let mut step = usize::from(*cut);
    while !rest.is_empty() {
        step = (step * 31 + 7) % 256;
        let at = (1 + step % (1 + usize::from(*cut)))..=rest.len();
        let at = at
            .into_iter()
            .find(|at| rest.is_char_boundary(*at))
            .unwrap_or(rest.len());
        out += &stream.push(&rest[..at]);
        rest = &rest[at..];
        assert!(stream.held() <= MOST_HELD, "{} held of {text:?}", stream.held());
    }
    out += &stream.finish();
    assert_eq!(out, whole, "{text:?}");
}

/// What stands between the marks stands in the text, in this order.
fn only_left_out(text: &str, out: &str) {
    if text.contains("[redacted:") {
        return;
    }
    let mut rest = text;
    for (index, part) in out.split("[redacted:").enumerate() {
        let part = match index {
            0 => part,
            _ => part.split_once(']').map_or("", |(_, behind)| behind),
        };
        let at = rest.find(part);
        assert!(at.is_some(), "{part:?} of {out:?} is not of {text:?}");
        rest = &rest[at.unwrap_or(0) + part.len()..];
    }
}
