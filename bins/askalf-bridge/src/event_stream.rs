//! Answers that are a stream of events.

use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// Longest line of the event stream (64 MiB): one may carry a whole frame of a device (16 MiB) as a string, with each
/// quote of it escaped, and the last one a whole execution.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// How long the stream may be silent: several times the interval at which a bridge says that it is alive.
const SILENCE: Duration = Duration::from_secs(60);

/// Events that the API sends as they happen, one JSON document a line.
pub(crate) struct EventStream<T> {
    body: Body,
    buffer: BytesMut,
    searched: usize,
    events: PhantomData<T>,
}

impl<T: DeserializeOwned> EventStream<T> {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            events: PhantomData,
        }
    }

    /// The next event; `None` at the end of the stream, an error where it broke off. Cancel-safe: what was read stays
    /// in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, ()> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                return serde_json::from_slice(&line).map(Some).map_err(drop);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(());
            }
            let frame = timeout(SILENCE, self.body.frame()).await.map_err(drop)?;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(()),
                None => return if self.buffer.is_empty() { Ok(None) } else { Err(()) },
            }
        }
    }
}
