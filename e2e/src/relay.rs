//! A network between a device and its bridge that can be slow, be cut or fall silent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

/// What the network does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It carries everything.
    Whole,
    /// It carries nothing, and nobody is told: as where packets are dropped. New connections are taken by nobody.
    Silent,
    /// It carries everything, and takes half a second for each piece of up to 16 KiB, in either direction.
    Slow,
    /// Connections break, and new ones are refused at once.
    Cut,
}

/// What a slow network takes for a piece.
const SLOWNESS: Duration = Duration::from_millis(500);

/// Forwards connections to one address, as long as it is whole. Dropping it cuts everything.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _acceptor: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    network: Network,
    sockets: Vec<TcpStream>,
}

impl Relay {
    /// A whole network to `target`, on a free loopback port.
    ///
    /// # Errors
    /// No port can be taken.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            network: Network::Whole,
            sockets: Vec::new(),
        }));
        let acceptor = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                for socket in listener.incoming().flatten() {
                    accept(socket, target, &state);
                }
            }
        });
        Ok(Self {
            address,
            state,
            _acceptor: acceptor,
        })
    }

    /// Its URL as an agent takes it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Changes what the network does from now on.
    pub fn set(&self, network: Network) {
        let mut state = lock(&self.state);
        state.network = network;
        if network != Network::Silent && network != Network::Slow {
            // What fell silent stays so: a connection whose bytes were lost cannot go on.
            for socket in state.sockets.drain(..) {
                let _gone = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.set(Network::Cut);
    }
}

fn accept(near: TcpStream, target: SocketAddr, state: &Arc<Mutex<State>>) {
    let mut locked = lock(state);
    if locked.network == Network::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target) else {
        return;
    };
    for socket in [&near, &far] {
        locked.sockets.extend(socket.try_clone());
    }
    drop(locked);
    for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
        if let (Ok(from), Ok(to)) = (from, to) {
            let state = Arc::clone(state);
            std::thread::spawn(move || carry(from, to, &state));
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut bytes)
        && read > 0
    {
        let network = lock(state).network;
        if network == Network::Slow {
            #[allow(clippy::disallowed_methods, reason = "slowness is what this network is")]
            std::thread::sleep(SLOWNESS);
        }
        let carries = matches!(network, Network::Whole | Network::Slow);
        if carries && to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    if lock(state).network != Network::Silent {
        let _gone = to.shutdown(Shutdown::Both);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
