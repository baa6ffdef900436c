//! Wrappers around a backend: each is a backend itself and forwards every method.
//!
//! [`Check`] is always on. [`Trace`], [`Timeout`] and [`Retry`] are [`Around`] policies: what happens
//! around one call. [`Wrapped`] carries any of them through a backend, its connections and its
//! networks.
//!
//! ```
//! use pod_core::layers::{Timeout, Wrapped};
//! use pod_core::{Backend, mem::MemBackend};
//! use std::{sync::Arc, time::Duration};
//! let backend: Arc<dyn Backend> = Arc::new(MemBackend::new());
//! let bounded = Wrapped::new(Timeout::new(Duration::from_secs(5)), backend);
//! # let _ = bounded;
//! ```

mod check;
mod retry;
mod timeout;
mod trace;
mod wrapped;

pub use check::Check;
pub use retry::Retry;
pub use timeout::Timeout;
pub use trace::Trace;
pub use wrapped::{Around, Call, CallKind, Wrapped};
