//! A backend that is wrong in one way: it proves the suite.
//!
//! [`wrap`] puts one [`Fault`] around any backend. A suite that still passes then has a hole. The table
//! of [`Fault::breaks`] says for each fault which cases must fail with it; the tests of this crate run
//! all of them, and check that every case of the suite is in it.

mod backend;
mod connection;
mod copying;
mod networking;
mod process;
mod table;

pub use table::Fault;

use async_trait::async_trait;
use pod_core::{
    Address, Backend, BackendFactory, BackendUri, Capabilities, Capability, Error, ErrorKind, Registry, Result,
    split_single,
};
use std::sync::Arc;

/// Puts a fault around a backend.
#[must_use]
pub fn wrap(inner: Arc<dyn Backend>, fault: Fault) -> Arc<dyn Backend> {
    Arc::new(backend::Faulty::new(inner, fault))
}

/// A backend that says it lacks a capability, and does what it is asked all the same.
#[must_use]
pub fn denying(inner: Arc<dyn Backend>, capability: Capability) -> Arc<dyn Backend> {
    Arc::new(backend::Faulty::new(inner, Fault::None).denying(capability))
}

#[derive(Debug)]
struct Factory {
    inner: Registry,
    schemes: &'static [&'static str],
    fault: Fault,
}

#[async_trait]
impl BackendFactory for Factory {
    fn schemes(&self) -> &'static [&'static str] {
        self.schemes
    }

    fn describe(&self) -> &'static str {
        "a backend with a fault"
    }

    fn split(&self, address: BackendUri) -> Result<Address> {
        split_single(address)
    }

    async fn connect(&self, uri: &BackendUri, wanted: Capabilities) -> Result<Arc<dyn Backend>> {
        let uri = match self.fault {
            Fault::OptionsIgnored => {
                uri.option("no-such-option").map_or(Ok(uri.clone()), |_| BackendUri::new(uri.scheme()))?
            }
            _ => uri.clone(),
        };
        Ok(wrap(self.inner.connect_for(&uri, wanted).await?, self.fault))
    }
}

/// A registry whose backends of these schemes are those of `inner`, with a fault.
#[must_use]
pub fn registry(inner: Registry, schemes: &'static [&'static str], fault: Fault) -> Registry {
    let mut registry = Registry::new();
    registry.register(Arc::new(Factory { inner, schemes, fault }));
    registry
}

/// The same error of another kind, or without a part.
fn changed(e: Error, kind: ErrorKind, exit_code: Option<u8>) -> Error {
    let mut new = Error::new(kind, e.message());
    for (key, value) in e.context() {
        new = new.with_context(key, value.clone());
    }
    if let Some(hint) = e.hint() {
        new = new.with_hint(hint);
    }
    match exit_code {
        Some(code) => new.with_exit_code(code),
        None => new,
    }
}

/// What a fault makes of an error.
fn spoilt(fault: Fault, e: Error) -> Error {
    match fault {
        Fault::KindsLost => {
            let code = e.exit_code();
            changed(e, ErrorKind::Unexpected, code)
        }
        Fault::ShellCodesLost => {
            let kind = e.kind();
            changed(e, kind, None)
        }
        _ => e,
    }
}
