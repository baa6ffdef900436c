//! TCP ports of simulated workloads: programs listen, connections are made from outside.

use super::machine::Machine;
use crate::{BoxDuplex, Error, ErrorKind, ForwardRequest, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// The bytes a connection holds in each direction.
const CAPACITY: usize = 64 << 10;

/// Who listens in one workload.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<BTreeMap<u16, mpsc::Sender<DuplexStream>>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, mpsc::Sender<DuplexStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens at a port as long as the receiver is kept; `None` when someone does already.
    pub(super) fn listen(&self, port: u16) -> Option<mpsc::Receiver<DuplexStream>> {
        let mut all = self.lock();
        if all.get(&port).is_some_and(|l| !l.is_closed()) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(8);
        all.insert(port, sender);
        Some(receiver)
    }

    fn connect(&self, port: u16) -> Option<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(CAPACITY);
        self.lock().get(&port)?.try_send(theirs).ok().map(|()| ours)
    }
}

impl Machine {
    /// Connects to a port of the workload.
    pub(super) fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        request.validate()?;
        self.running()?;
        match self.listeners.connect(request.port) {
            Some(stream) => Ok(Box::pin(stream)),
            None => Err(Error::new(ErrorKind::Unavailable, "nothing listens at the port")
                .with_context("workload", self.name.as_str())
                .with_context("port", request.port.to_string())),
        }
    }
}
