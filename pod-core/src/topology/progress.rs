//! What a caller sees of long work.

/// Hears what [`up`](super::Deployment::up), [`verify`](super::Deployment::verify) and
/// [`down`](super::Deployment::down) do. `()` hears nothing.
///
/// Calls come from the task that drives the work and must not block.
pub trait Progress: Send + Sync {
    /// A phase begins that has so many steps.
    fn phase(&self, name: &str, total: usize);
    /// A step of the phase is done: what it was, such as `workload a1`.
    fn step(&self, what: &str);
}

impl Progress for () {
    fn phase(&self, _: &str, _: usize) {}
    fn step(&self, _: &str) {}
}
