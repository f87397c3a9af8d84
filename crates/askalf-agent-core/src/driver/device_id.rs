//! Writing the device's id, one write at a time.

use std::sync::Arc;

use tracing::warn;

use super::event_loop::{Answer, EventLoop};

#[derive(Debug, Default)]
pub(super) struct DeviceIdWrites {
    under_way: bool,
    /// What is to be written after it. Only the last word counts, however often a bridge changes it.
    next: Option<Option<String>>,
}

impl EventLoop {
    pub(super) fn write_device_id(&mut self, device_id: Option<String>) {
        self.device_id_writes.next = Some(device_id);
        self.start_device_id_write();
    }

    pub(super) fn device_id_written(&mut self) {
        self.device_id_writes.under_way = false;
        self.start_device_id_write();
    }

    fn start_device_id_write(&mut self) {
        if self.device_id_writes.under_way {
            return;
        }
        let Some(device_id) = self.device_id_writes.next.take() else {
            return;
        };
        self.device_id_writes.under_way = true;
        let device_ids = Arc::clone(&self.device_ids);
        self.ask(Answer::DeviceIdWritten, move || {
            let written = match device_id {
                Some(device_id) => device_ids.save(&device_id),
                None => device_ids.forget(),
            };
            if let Err(error) = written {
                warn!("{error}. {}", error.hint());
            }
            Answer::DeviceIdWritten
        });
    }
}
