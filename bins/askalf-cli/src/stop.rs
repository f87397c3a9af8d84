//! How a person or the system asks a program to stop.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

/// Interrupts from the terminal: Ctrl-C.
#[cfg(unix)]
pub type Interrupts = Signal;
/// Interrupts from the terminal: Ctrl-C.
#[cfg(windows)]
pub type Interrupts = CtrlC;

/// Catches interrupts from now on. Needs a runtime with I/O enabled.
///
/// # Errors
/// The system's, where they cannot be caught.
pub fn interrupts() -> io::Result<Interrupts> {
    #[cfg(unix)]
    return signal(SignalKind::interrupt());
    #[cfg(windows)]
    return ctrl_c();
}

/// Requests to stop in order: SIGTERM and SIGINT; on Windows Ctrl-C, Ctrl-Break, the close of the console and the system's
/// shutdown, where the system grants a few seconds.
#[derive(Debug)]
pub struct StopRequests {
    interrupt: Interrupts,
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(windows)]
    stop: CtrlBreak,
    #[cfg(windows)]
    close: CtrlClose,
    #[cfg(windows)]
    shutdown: CtrlShutdown,
}

impl StopRequests {
    /// Catches them from now on. Needs a runtime with I/O enabled.
    ///
    /// # Errors
    /// The system's, where they cannot be caught.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: interrupts()?,
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(windows)]
            stop: ctrl_break()?,
            #[cfg(windows)]
            close: ctrl_close()?,
            #[cfg(windows)]
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next one. Cancel-safe.
    #[cfg(windows)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.stop.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

/// Requests to read the files of the configuration again: SIGHUP. Windows has none.
#[derive(Debug)]
pub struct ReloadRequests {
    #[cfg(unix)]
    hangup: Signal,
}

impl ReloadRequests {
    /// Catches them from now on. Needs a runtime with I/O enabled.
    ///
    /// # Errors
    /// The system's, where they cannot be caught.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if self.hangup.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}
