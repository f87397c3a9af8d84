//! Who is connected: every live session, and which of them is the one of a device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::BridgeOptions;
use crate::link::Link;

/// Finds the session of a device. With several bridges it may be at another one; so it is asked, not assumed.
#[async_trait]
pub(crate) trait Router: Send + Sync {
    /// The session of a device, where it is connected. It stays that session: what is sent over it after a newer one
    /// took its place is refused, never carried over.
    async fn locate(&self, device_id: &str) -> Option<Arc<Link>>;
}

#[derive(Debug)]
struct Session {
    link: Arc<Link>,
    device_id: Option<String>,
}

/// The sessions of this bridge.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    last_number: AtomicU64,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    all: HashMap<u64, Session>,
    by_device: HashMap<String, Arc<Link>>,
    /// The number of the newest session that each device has had, ended or not: one entry a device.
    newest: HashMap<String, u64>,
}

impl Hub {
    /// The number of a connection that was just made. The order of connections is the order in which their devices dialled;
    /// how long each check of a key takes must not change it.
    pub(crate) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes in a session that has authenticated, with the frames that wait to be written to it.
    pub(crate) fn open(
        &self,
        number: u64,
        key_id: &str,
        options: &BridgeOptions,
    ) -> (Arc<Link>, mpsc::Receiver<String>) {
        let (link, frames) = Link::new(number, key_id, options);
        let link = Arc::new(link);
        let session = Session {
            link: Arc::clone(&link),
            device_id: None,
        };
        self.sessions().all.insert(number, session);
        (link, frames)
    }

    /// Forgets a session that has ended, and the device with it where it still has one.
    pub(crate) fn closed(&self, link: &Link) {
        let mut sessions = self.sessions();
        let session = sessions.all.remove(&link.number());
        if let Some(device_id) = session.and_then(|session| session.device_id) {
            sessions.take_out(&device_id, link);
        }
    }

    /// Makes a session the one of a device, and answers the one whose place it takes. A session that is older than one that
    /// the device has had since is itself the one to end: what it says of the device is out of date.
    pub(crate) fn attach(&self, device_id: &str, link: &Arc<Link>) -> Option<Arc<Link>> {
        let mut sessions = self.sessions();
        let newest = sessions.newest.entry(device_id.to_owned()).or_default();
        if *newest > link.number() {
            return Some(Arc::clone(link));
        }
        *newest = link.number();
        if let Some(session) = sessions.all.get_mut(&link.number()) {
            session.device_id = Some(device_id.to_owned());
        }
        sessions.by_device.insert(device_id.to_owned(), Arc::clone(link))
    }

    /// Takes a device out, where this very session is still its own. Answers whether it was.
    pub(crate) fn detach(&self, device_id: &str, link: &Link) -> bool {
        self.sessions().take_out(device_id, link)
    }

    pub(crate) fn of_device(&self, device_id: &str) -> Option<Arc<Link>> {
        self.sessions().by_device.get(device_id).map(Arc::clone)
    }

    /// Every device that has a session, with it.
    pub(crate) fn devices(&self) -> Vec<(String, Arc<Link>)> {
        let sessions = self.sessions();
        let devices = sessions.by_device.iter();
        devices.map(|(id, link)| (id.clone(), Arc::clone(link))).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.sessions()
            .all
            .values()
            .map(|session| Arc::clone(&session.link))
            .collect()
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn take_out(&mut self, device_id: &str, link: &Link) -> bool {
        let current = self.by_device.get(device_id);
        let is_current = current.is_some_and(|current| current.number() == link.number());
        if is_current {
            self.by_device.remove(device_id);
        }
        is_current
    }
}

#[async_trait]
impl Router for Hub {
    async fn locate(&self, device_id: &str) -> Option<Arc<Link>> {
        self.of_device(device_id).filter(|link| !link.is_closing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(hub: &Hub) -> (Arc<Link>, mpsc::Receiver<String>) {
        hub.open(hub.next_number(), "key_1", &BridgeOptions::default())
    }

    #[test]
    fn the_end_of_a_replaced_session_leaves_the_newer_one_in_place() {
        let hub = Hub::default();
        let (old, _frames) = open(&hub);
        let (new, _frames) = open(&hub);
        assert!(hub.attach("dev_1", &old).is_none());
        assert_eq!(hub.attach("dev_1", &new).unwrap().number(), old.number());

        assert!(!hub.detach("dev_1", &old));
        assert_eq!(hub.of_device("dev_1").unwrap().number(), new.number());
        assert!(hub.detach("dev_1", &new));
        assert!(hub.of_device("dev_1").is_none());
    }

    #[test]
    fn an_older_session_that_registers_late_does_not_take_the_place_of_a_newer_one() {
        let hub = Hub::default();
        let (old, _frames) = open(&hub);
        let (new, _frames) = open(&hub);
        assert!(hub.attach("dev_1", &new).is_none());
        assert_eq!(hub.attach("dev_1", &old).unwrap().number(), old.number());
        assert_eq!(hub.of_device("dev_1").unwrap().number(), new.number());
    }

    #[test]
    fn an_older_session_does_not_come_back_when_the_newer_one_has_ended() {
        let hub = Hub::default();
        let number = hub.next_number();
        let (new, _frames) = open(&hub);
        assert!(hub.attach("dev_1", &new).is_none());
        hub.closed(&new);
        // Its check took longer than all of the newer one.
        let (old, _frames2) = hub.open(number, "key_1", &BridgeOptions::default());
        assert_eq!(hub.attach("dev_1", &old).unwrap().number(), number);
        assert!(hub.of_device("dev_1").is_none());
    }

    #[test]
    fn a_session_that_ends_takes_its_device_out() {
        let hub = Hub::default();
        let (one, _frames) = open(&hub);
        let (_other, _frames2) = open(&hub);
        hub.attach("dev_1", &one);
        hub.closed(&one);
        assert!(hub.of_device("dev_1").is_none());
        assert_eq!(hub.all().len(), 1);
    }
}
